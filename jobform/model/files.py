"""Files below one directory, and nothing outside it: what a path may look like, and how it is opened and read."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class FileError(ValueError):
    """A file that cannot be used. code: of the diagnostic; summary: one plain sentence."""

    def __init__(self, code: str, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.code, self.summary, self.hint = code, summary, hint


def parts_of(path: str) -> list[str]:
    """A relative path's parts. Raises FileError for everything that is not plainly inside the project."""
    parts = path.split("/")
    odd = not path or "\\" in path or path.startswith(("~", "/")) or _SCHEME.match(path) or _CONTROL.search(path)
    if odd or ".." in parts:
        raise FileError("outside_project", f"{shown(path)} is not a path inside the project",
                        "write it relative to the project's directory, without .. and with / between its parts")
    plain = [part for part in parts if part not in ("", ".")]
    if not plain or path.endswith("/"):
        raise FileError("not_a_file", f"{shown(path)} is a directory, not a file")
    return plain


@contextmanager
def opened(directory: Path, path: str) -> Iterator[int]:
    """A descriptor of what a path names inside a directory, itself without links. Raises FileError.

    The real path is compared with the directory's part by part and then opened part by part without following links, so that a
    link which changes meanwhile leads nowhere.
    """
    real = Path(os.path.realpath(directory.joinpath(*parts_of(path))))
    if not real.is_relative_to(directory):
        raise FileError("outside_project", f"{shown(path)} leads outside the project",
                        "files must lie in the project's directory")
    descriptor = -1
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        inside = real.relative_to(directory).parts
        for number, part in enumerate(inside):
            below = open_below(descriptor, part, directory=number < len(inside) - 1)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def open_below(descriptor: int, name: str, *, directory: bool = False) -> int:
    """A descriptor of an entry of an open directory, no link followed and nothing waited for. Raises OSError."""
    kind = os.O_DIRECTORY if directory else os.O_NONBLOCK | os.O_NOCTTY
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=descriptor)


def contents(descriptor: int, path: str, limit: int) -> bytes:
    """The bytes of an open regular file. Raises FileError, and OSError where it cannot be read."""
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise FileError("not_a_file", f"{shown(path)} is not a regular file")
    data = b""
    if about.st_size <= limit:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(limit + 1)
    if about.st_size > limit or len(data) > limit:
        raise FileError("file_too_large", f"{shown(path)} is larger than {(limit + 1) // 1024} KiB")
    return data


def unreadable(path: str, error: Exception) -> FileError:
    """What an error of the system means for whoever wrote the path."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        return FileError("no_such_file", f"there is no file {shown(path)}",
                         "nothing in a path is expanded" if "$" in path else "")
    if number in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return FileError("not_a_file", f"{shown(path)} is not a regular file")
    reason = error.strerror if isinstance(error, OSError) else "the name is not valid"
    return FileError("unreadable_file", f"{shown(path)} cannot be read: {reason}")


def shown(path: str) -> str:
    """A path as messages show it."""
    return repr(path if len(path) <= 120 else f"{path[:117]}...")
