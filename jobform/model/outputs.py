"""Directories of the project that results are written to: nothing is followed out of them, and no file is ever half written."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from jobform.model.files import FileError, parts_of, shown, unreadable

_MOST_NAME = 200
_UNSAFE = re.compile(r"[^\w .()+,=@-]+")


def check_directory(project: Path, path: str) -> None:
    """Whether results may be written there, as far as that can be told now. Makes nothing. Raises FileError."""
    with _directory(project, path, make=False):
        pass


def write_result(project: Path, path: str, name: str, data: bytes) -> None:
    """Put a file into a directory of the project, which is made where it is missing: wholly, or not at all.

    A file of that name is replaced; a link of that name is replaced too, not followed. Raises FileError.
    """
    with _directory(project, path, make=True) as directory:
        assert directory is not None
        part = f".{secrets.token_hex(8)}.part"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(part, flags, 0o666, dir_fd=directory)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        except OSError as error:
            with suppress(OSError):
                os.unlink(part, dir_fd=directory)
            raise FileError("not_written", f"{shown(f'{path}/{name}')} cannot be written: {error.strerror or error}") from error


def safe_name(text: str, suffix: str = "") -> str:
    """A file's name out of a text that anybody may have written: no path, nothing hidden, and different for different texts."""
    plain = _UNSAFE.sub("_", text.rpartition("/")[2]).strip(". ")
    if plain and plain == text and len(text.encode()) <= _MOST_NAME:
        return f"{text}{suffix}"
    kept = plain.encode()[: _MOST_NAME - 9].decode("utf-8", "ignore")
    return f"{kept or 'file'}-{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{suffix}"


@contextmanager
def _directory(project: Path, path: str, *, make: bool) -> Iterator[int | None]:
    """A descriptor of the directory, no link followed on the way. None where it is missing and not to be made."""
    whole = path.rstrip("/") or path
    if whole.startswith(".") and all(part in ("", ".") for part in whole.split("/")):
        raise FileError("whole_project", f"{shown(path)} is the project's own directory, which holds its state",
                        "name a directory inside it")
    descriptor = -1
    try:
        descriptor = os.open(Path(os.path.realpath(project)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts_of(whole):
            below = _below(descriptor, part, path, make=make)
            if below is None:
                yield None
                return
            os.close(descriptor)
            descriptor = below
        yield descriptor
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _below(directory: int, name: str, path: str, *, make: bool) -> int | None:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=directory)
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        said = f"{shown(path)} is no directory to write to: {shown(name)} is a file or a link"
        raise FileError("no_directory", said) from error
