"""The proof directory of one run: what makes it certain whether a run exists, runs, or how it ended.

    <state home>/jobform/runs/<first 32 hex of the token>/
        lock        held (flock) by the launcher as long as it lives, by the submitting command before that; it contains the
                    launcher's process number, start time and boot, so that a cancel can wake it
        run.json    what the run is; written under the lock before the launcher begins
        cancel      a stop was asked for; durable
        start.json  process number, start time and boot of the job; durable before the job's program is executed
        tail        the end of the job's output, known secrets blanked
        exit.json   how it ended; durable

The directory itself is the gate: who holds its flock decides between `cancel` and `start.json`, so only one of them can be first.
The launcher uses this module too, so it and what it imports need the standard library only.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from jobform.model.locks import is_free

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

KEPT = 64 * 1024
"""Bytes of output that are kept, and the largest outputs document."""


def shares(out: int, err: int, limit: int) -> tuple[int, int]:
    """How many bytes of stdout and of stderr are kept, given their sizes: half of the room each, or what the other leaves."""
    errors = min(err, max(limit // 2, limit - out))
    return min(out, limit - errors), errors


class Proof:
    """Where the files of one run are. Making one touches nothing."""

    __slots__ = ("directory",)

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def run(self) -> Path:
        return self.directory / "run.json"

    @property
    def cancel(self) -> Path:
        return self.directory / "cancel"

    @property
    def start(self) -> Path:
        return self.directory / "start.json"

    @property
    def tail(self) -> Path:
        return self.directory / "tail"

    @property
    def exit(self) -> Path:
        return self.directory / "exit.json"

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Alone to decide whether this run starts. Raises FileNotFoundError when the run was deleted."""
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not self.directory.exists():  # deleted while we waited
                raise FileNotFoundError(self.directory)
            yield
        finally:
            os.close(fd)


def take(path: Path, flags: int = os.O_CREAT) -> int | None:
    """An open file that holds the lock at `path`, or None when someone else does.

    A reader that is just looking (`is_held`) does not count as someone else.
    """
    fd = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not is_free(fd):
                    os.close(fd)
                    return None
            else:
                return fd
    except BaseException:
        os.close(fd)
        raise


def is_held(path: Path) -> bool:
    """Whether someone holds the lock at `path`; False when there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not is_free(fd)
    finally:
        os.close(fd)


def read_record(path: Path) -> dict[str, Value] | None:
    """A JSON object of ours, None when the file does not exist. Raises ValueError when it is damaged, OSError when unreadable."""
    try:
        with path.open("rb", buffering=0) as file:
            value = json.loads(file.read())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return value


def write_record(path: Path, record: dict[str, Value], *, durable: bool) -> None:
    """Put a whole record in place, never half of one; with durable it survives a power cut."""
    write_whole(path, json.dumps(record, separators=(",", ":")).encode("ascii"), durable=durable)
    if durable:
        sync_directory(path.parent)


def write_whole(path: Path, data: bytes, *, durable: bool) -> None:
    """As `write_record`, for bytes; the caller syncs the directory."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def stamp(nanoseconds: int | None = None) -> str:
    """RFC 3339, UTC, microseconds, as everywhere in the state."""
    seconds, rest = divmod(time.time_ns() if nanoseconds is None else nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"
