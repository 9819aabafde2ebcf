"""State in a file, with a journal, a lock and a backup beside it.

For `jobform.state.json`: `jobform.state.journal`, `jobform.state.json.backup`, `jobform.state.json.lock` and
`jobform.state.logs/`. All are 0600 (the directory 0700). A path that is a symbolic link is resolved once; the link stays.
Locking is `flock`, which the kernel frees when its holder dies; where `flock` does nothing (some network file systems) the
comparison of the version right before the rename and of the journal's length before an append is the second layer.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from jobform.model.errors import InputError, JobformError, LockHeldError, StateError
from jobform.model.locks import is_free
from jobform.model.values import Json
from jobform.protocols import Clock, Effect, LockInfo, Store, Stored
from jobform.stores.disk import (
    MAX_FILE,
    append_durably,
    fsync_directory,
    identity,
    open_private,
    read_private,
    remove_stale,
    replace_durably,
    write_temporary,
)

DEFAULT_PATH = "jobform.state.json"
MAX_LOCK_INFO = 64 * 1024
POLL = 0.1
"""Seconds between two looks at a lock that is held."""

MOMENT = 1.0
"""Seconds in which a lock that nobody has for long is awaited even by who does not wait: see `_passing`."""

_LOG_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


class FileStore:
    """`Store` on the local file system."""

    def __init__(self, path: Path, clock: Clock, effect: Effect) -> None:
        self._path = Path(os.path.realpath(path))
        stem = self._path.name.removesuffix(".json")
        self._journal = self._path.with_name(f"{stem}.journal")
        self._backup = self._path.with_name(f"{self._path.name}.backup")
        self._lock = self._path.with_name(f"{self._path.name}.lock")
        self._logs = self._path.with_name(f"{stem}.logs")
        self._clock = clock
        self._effect = effect
        self._lock_fd: int | None = None

    @property
    def location(self) -> str:
        return str(self._path)

    # --- reading ---

    def read(self) -> Stored:
        """The journal is read first: what is folded in between is then in the snapshot, so nothing is ever missed."""
        with self._acting("read"):
            journal, journal_identity = read_private(self._journal)
            data, version = read_private(self._path)
        return Stored(data, version, journal or b"", f"{version}/{journal_identity}")

    def stamp(self) -> str:
        with self._acting("read"):
            return f"{identity(self._path)}/{identity(self._journal)}"

    # --- writing ---

    def write(self, data: bytes, expected_version: str) -> str:
        if len(data) > MAX_FILE:
            raise StateError.of("state_too_large", f"The state has {len(data):,} bytes, more than the limit of {MAX_FILE:,}")
        with self._acting("write"), self._around("store.write"):
            temporary = write_temporary(self._path, data)
            try:
                self._keep_backup(expected_version)
                self._check_version(expected_version)
                with self._around("store.rename"):
                    temporary.rename(self._path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            version = identity(self._path)
            self._settle_directory()
            with self._around("store.drop_journal"):
                self._journal.unlink(missing_ok=True)
        return version

    def append(self, entries: bytes, expected_size: int) -> None:
        with self._acting("append to"), self._around("store.append"):
            append_durably(self._journal, entries, expected_size)

    def check(self) -> None:
        with self._acting("write beside"), self._around("store.check"):
            remove_stale(self._path)
            write_temporary(self._path, b"probe\n").unlink()

    # --- the lock ---

    def lock(self, info: LockInfo, timeout: float) -> None:
        if self._lock_fd is not None:
            raise RuntimeError("this store holds its lock already")
        self._effect("store.lock.before", "")
        with self._acting("lock"):
            fd = open_private(self._lock, os.O_RDWR | os.O_CREAT)
        try:
            self._wait_for(fd, timeout)
            with self._acting("lock"):
                os.ftruncate(fd, 0)
                os.pwrite(fd, json.dumps(asdict(info)).encode("ascii"), 0)
        except BaseException:
            os.close(fd)
            raise
        self._lock_fd = fd
        self._effect("store.lock.after", "")

    def unlock(self) -> None:
        fd, self._lock_fd = self._lock_fd, None
        if fd is None:
            return
        self._effect("store.unlock.before", "")
        with suppress(OSError):  # the lock is freed whatever becomes of the note about its holder
            os.ftruncate(fd, 0)
        with suppress(OSError):  # a process that a thread starts just now has a copy of the descriptor, until it executes
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
        self._effect("store.unlock.after", "")

    def holder(self) -> LockInfo | None:
        """An empty note means that nobody holds it; one that a dead holder left is told from a live one by trying the lock."""
        try:
            fd = open_private(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure("read the lock of", error) from None
        try:
            if os.fstat(fd).st_size == 0:
                return None
            info = _lock_info(fd)
            return None if is_free(fd) else info
        finally:
            os.close(fd)

    def _wait_for(self, fd: int, timeout: float) -> None:
        deadline = self._clock.monotonic() + max(0.0, timeout)
        while not self._try(fd):
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0 and (remaining <= -MOMENT or not _passing(fd)):
                raise _held(self.location, _lock_info(fd), timeout)
            self._clock.sleep(min(POLL, remaining) if remaining > 0 else MOMENT / 100)

    def _try(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._failure("lock", error) from None
        return True

    # --- kept logs ---

    def keep(self, name: str, data: bytes) -> None:
        path = self._log_path(name)
        with self._acting("keep a log beside"):
            self._logs.mkdir(mode=0o700, exist_ok=True)
            replace_durably(path, data)

    def kept(self, name: str) -> bytes | None:
        with self._acting("read a log beside"):
            return read_private(self._log_path(name))[0]

    def _log_path(self, name: str) -> Path:
        if not name or name.startswith(".") or len(name) > 200 or not _LOG_NAME.issuperset(name):
            raise StateError.of("log_name", f"{ascii(name)[:80]} is not a name for a kept log")
        return self._logs / name

    # --- inside ---

    def _keep_backup(self, expected_version: str) -> None:
        """The present snapshot gets a second name before it loses its own: without a backup there is no overwriting."""
        if expected_version == "":
            return
        temporary = self._backup.with_name(f"{self._backup.name}.{os.getpid()}.tmp")
        with self._around("store.backup"):
            temporary.unlink(missing_ok=True)
            try:
                os.link(self._path, temporary)
            except FileNotFoundError:
                return  # the comparison of versions says what that means
            except OSError:  # a file system without hard links
                temporary = write_temporary(self._backup, read_private(self._path)[0] or b"")
            temporary.rename(self._backup)

    def _check_version(self, expected: str) -> None:
        found = identity(self._path)
        if found != expected:
            raise StateError.of(
                "state_moved", f"{self.location} was changed by someone else while this command held its lock",
                detail=f"Expected version {expected or 'none'}, found {found or 'none'}. It was not overwritten.",
                hint="Does its file system honour flock? Run the command again.",
            )

    def _settle_directory(self) -> None:
        try:
            fsync_directory(self._path.parent)
        except OSError as error:
            raise StateError.of(
                "state_durability_unknown", f"{self.location} was replaced, but whether that survives a power cut is unknown",
                detail=f"{error.strerror or error} while making its directory durable.",
                hint="The next command reads the new file as it is.",
            ) from None

    @contextmanager
    def _around(self, name: str) -> Iterator[None]:
        self._effect(f"{name}.before", "")
        yield
        self._effect(f"{name}.after", "")

    @contextmanager
    def _acting(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(verb, error) from None

    def _failure(self, verb: str, error: OSError) -> JobformError:
        return StateError.of(
            "state_io", f"Cannot {verb} {self.location}: {error.strerror or error}", hint=_HINTS.get(error.errno or 0, ""),
        )


class FileStoreType:
    """`StoreType` of `state: {type: file}`."""

    name = "file"

    def settings_schema(self) -> dict[str, Json]:
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "path": {
                    "type": "string", "minLength": 1, "maxLength": 4000, "default": DEFAULT_PATH,
                    "description": "Where the state is kept, relative to the project.",
                },
            },
        }

    def open(self, settings: Mapping[str, Json], directory: Path, clock: Clock, effect: Effect) -> Store:
        path = settings.get("path", DEFAULT_PATH)
        if not isinstance(path, str) or "\0" in path or Path(path).name in ("", ".."):
            raise InputError.of(
                "state_path", f"{ascii(path)[:80]} is not a path of a file", hint=f"Write for example `path: {DEFAULT_PATH}`.",
            )
        return FileStore(directory / path, clock, effect)


TYPE = FileStoreType()



_HINTS = {
    errno.EXDEV: "It seems to be mounted by itself: mount its directory instead, so that the file can be replaced as a whole.",
    errno.EBUSY: "It seems to be mounted by itself: mount its directory instead, so that the file can be replaced as a whole.",
    errno.ENOSPC: "The disk is full.",
    errno.EDQUOT: "The disk quota is used up.",
    errno.EFBIG: "The file would be larger than this process or file system allows.",
    errno.EROFS: "Its file system is mounted read-only.",
    errno.EACCES: "This user may not write to its directory.",
    errno.EPERM: "This user may not write to its directory.",
    errno.ENOENT: "Create its directory first.",
    errno.ELOOP: "A symbolic link took its place while this command ran.",
    errno.EIO: "The disk reported an error. What was being written counts as not written.",
}


def _passing(fd: int) -> bool:
    """Whether what is in the way is over in a moment: a holder that says its name next, or leaves; or one who only looks."""
    return os.fstat(fd).st_size == 0 or is_free(fd)


def _lock_info(fd: int) -> LockInfo:
    """What the holder wrote of itself; unknown where that cannot be read."""
    try:
        found = json.loads(os.pread(fd, MAX_LOCK_INFO, 0))
        text = {key: str(found[key])[:500] for key in ("id", "who", "host", "command", "at", "run_url")}
        return LockInfo(pid=int(found["pid"]), **text)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return LockInfo("", "unknown", "unknown", 0, "unknown", "")


def _held(location: str, holder: LockInfo, timeout: float) -> JobformError:
    waited = f"waited {timeout:g} s" if timeout > 0 else "did not wait"
    run = f", {holder.run_url}" if holder.run_url else ""
    return LockHeldError.of(
        "lock_held", f"The state is locked by `{holder.command}` of {holder.who} on {holder.host} (process {holder.pid})",
        detail=f"Since {holder.at or 'an unknown time'}{run}; {waited}. State: {location}. Lock id: {holder.id or 'unreadable'}.",
        hint="Wait for it to end, or use --lock-timeout. The lock is free as soon as that process ends.",
    )
