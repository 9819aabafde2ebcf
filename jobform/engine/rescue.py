"""Where a state goes that its store would not take: `errored.jobform.json`."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from jobform.protocols import Effect

NAME = "errored.jobform"
MAX_KEPT = 1000
"""How many rescued states may lie in one directory; none is ever overwritten."""


def rescue(data: bytes, directories: Iterable[Path], effect: Effect) -> Path | None:
    """Write a state to the first directory that takes it, else to a private temporary one; None when none does.

    The file appears whole or not at all, is 0600 and never replaces an earlier one.
    """
    effect("rescue.write.before", "")
    for directory in _places(directories):
        with suppress(OSError):  # the next directory may take it; the caller says so when none does
            path = _put(directory, data)
            effect("rescue.write.after", "")
            return path
    return None


def _places(directories: Iterable[Path]) -> Iterator[Path]:
    yield from directories
    with suppress(OSError):
        yield Path(tempfile.mkdtemp(prefix="jobform-"))


def _put(directory: Path, data: bytes) -> Path:
    temporary = directory / f"{NAME}.{os.getpid()}.tmp"
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        return _link(temporary, directory)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, directory: Path) -> Path:
    """Give the file the first free name: a hard link fails where a rename would overwrite."""
    for number in range(1, MAX_KEPT + 1):
        path = directory / (f"{NAME}.json" if number == 1 else f"{NAME}.{number}.json")
        with suppress(FileExistsError):
            os.link(temporary, path)
            return path
    raise FileExistsError(f"{MAX_KEPT} rescued states lie in {directory}")
