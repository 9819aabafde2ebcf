"""Private files that survive a crash: 0600, never through a symbolic link, whole or not at all.

Everything here raises OSError for what the system refuses, and StateError for what is not to be trusted.
"""

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from jobform.model.errors import StateError

MAX_FILE = 1 << 30
"""A larger file is not read: it is nothing that jobform wrote."""

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def identity(path: Path) -> str:
    """A text that changes whenever the file is replaced or written to; "" if there is none."""
    try:
        return _identity(path.lstat())
    except FileNotFoundError:
        return ""


def read_private(path: Path) -> tuple[bytes | None, str]:
    """The file's bytes and its identity at the time of reading; None and "" if there is none."""
    try:
        fd = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None, ""
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if found.st_size > MAX_FILE:
            raise StateError.of("state_too_large", f"{path} has {found.st_size:,} bytes, more than the limit of {MAX_FILE:,}")
        return file.read(MAX_FILE), _identity(found)


def open_private(path: Path, flags: int) -> int:
    """Open a file that nobody else can have written. A new one is 0600."""
    fd = os.open(path, flags | _FLAGS, 0o600)
    try:
        _refuse_untrusted(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_temporary(path: Path, data: bytes) -> Path:
    """A durable file beside `path` whose name carries our process id; on any error it is gone again."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with suppress(OSError):  # the first error is the one that matters
            temporary.unlink()
        raise
    return temporary


def replace_durably(path: Path, data: bytes) -> None:
    """Put a whole file in place of what is there."""
    temporary = write_temporary(path, data)
    try:
        temporary.rename(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one that matters
            temporary.unlink()
        raise
    fsync_directory(path.parent)


def append_durably(path: Path, entries: bytes, expected_size: int) -> None:
    """Write after the first `expected_size` bytes, cutting the torn line that may follow them; undone when it fails.

    Raises StateError when the file is shorter, or when whole lines follow: then someone else wrote to it.
    """
    created = identity(path) == ""
    fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        found = os.fstat(fd).st_size
        if found < expected_size or b"\n" in os.pread(fd, max(0, found - expected_size), expected_size):
            raise StateError.of(
                "journal_moved", f"{path} was changed by someone else while this command held its lock",
                detail=f"Expected {expected_size:,} bytes, found {found:,}. Nothing was added.",
                hint="Does its file system honour flock? Run the command again.",
            )
        try:
            if found > expected_size:
                os.ftruncate(fd, expected_size)
            _write_all(fd, entries)
            os.fsync(fd)
        except BaseException:
            with suppress(OSError):  # a torn tail is cut by the next writer
                os.ftruncate(fd, expected_size)
            raise
    finally:
        os.close(fd)
    if created:
        fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_stale(path: Path) -> None:
    """Remove the temporary files that dead processes left beside a file. Only for who holds the lock."""
    pattern = re.compile(rf"{re.escape(path.name)}(?:\.backup)?\.([0-9]{{1,10}})\.tmp", re.ASCII)
    with os.scandir(path.parent) as entries:
        for found in entries:
            match = pattern.fullmatch(found.name)
            if match and not _alive(int(match[1])):
                Path(found.path).unlink(missing_ok=True)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _identity(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"


def _refuse_untrusted(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StateError.of("state_not_a_file", f"{path} is not a regular file")
    if os.geteuid() not in (0, found.st_uid) and found.st_uid != 0:
        raise StateError.of(
            "state_owner", f"{path} belongs to another user (uid {found.st_uid})",
            detail="Whoever owns it can make this command do anything to the jobs in it.",
            hint="Run as its owner, or change its owner to the user that runs jobform.",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateError.of(
            "state_mode", f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})",
            detail="Whoever writes it can make this command do anything to the jobs in it.", hint=f"Run `chmod 600 {path}`.",
        )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
