"""Files of the project that a job sends along: what their content is called, and how they are read when they are sent.

A job accepts the content that its files had when it was planned. Whoever sends them reads them here, so that other content is
never sent under the old name.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jobform.model.errors import BackendError
from jobform.model.files import FileError, contents, open_below, opened, shown, unreadable
from jobform.model.values import Json, digest

MAX_BYTES = 256 * 1024 * 1024
"""The largest input, a directory with all of its files."""

MAX_FILES = 10_000
MAX_DEPTH = 50

LEFT_OUT = frozenset({
    ".git", ".hg", ".svn", ".jobform", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints",
    ".DS_Store",
})
"""Names that are no part of a directory: what tools leave in it changes by itself."""

_CHUNK = 1 << 20
_SHOWN = 12

_Sink = Callable[[str, int, os.stat_result], None]
"""Gets each file: its name in the input, a descriptor, and what the system says of it."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input. name: in its directory, with `/` between the parts, "" for an input that is a file itself."""

    name: str
    data: bytes = field(repr=False)
    executable: bool = False


def hash_input(project: Path, path: str, *, only_file: bool = False) -> str:
    """What the content of a file or directory of the project is called. Raises FileError.

    `sha256:` and the digest of a file's bytes; `tree:` and the digest of the sorted list of a directory's files, each with its
    name, its bytes' digest and whether it may be executed. Times, owners, empty directories and `LEFT_OUT` do not count.
    only_file: a directory is an error.
    """
    entries: list[Json] = []

    def add(name: str, descriptor: int, about: os.stat_result) -> None:
        entries.append([name, _digest_of(descriptor), _executable(about)])

    return _name_of(_visit(project, path, MAX_BYTES, add), entries, path, only_file=only_file)


def read_input(project: Path, path: str, expected: str, limit: int = MAX_BYTES) -> tuple[InputFile, ...]:
    """The files of an input whose content must be called `expected`, in the order of their names. limit: bytes in all.

    Raises FileError, with code `input_changed` when the content is another one by now.
    """
    files: list[InputFile] = []
    entries: list[Json] = []

    def add(name: str, descriptor: int, about: os.stat_result) -> None:
        data = contents(descriptor, f"{path}/{name}" if name else path, limit)
        files.append(InputFile(name, data, _executable(about)))
        entries.append([name, hashlib.sha256(data).hexdigest(), _executable(about)])

    found = _name_of(_visit(project, path, limit, add), entries, path, only_file=False)
    if found != expected:
        raise FileError("input_changed", f"{shown(path)} has changed since it was accepted", "plan and apply again")
    return tuple(sorted(files, key=lambda file: file.name.encode()))


def accepted_input(project: Path, inputs: Mapping[str, str], path: str, limit: int = MAX_BYTES) -> tuple[InputFile, ...]:
    """As `read_input`, for a backend: of a path that a submission names, with the content that was accepted for it.

    Raises BackendError, without a hope that trying again helps.
    """
    expected = inputs.get(path)
    if expected is None:
        raise BackendError(f"nobody accepted the content of {shown(path)}", "plan and apply again")
    try:
        return read_input(project, path, expected, limit)
    except FileError as error:
        raise BackendError(error.summary, error.hint) from error


def short(name: str) -> str:
    """A content's name as people compare it: `sha256:1f2e3d4c5b6a`."""
    kind, colon, digits = name.partition(":")
    return f"{kind}{colon}{digits[:_SHOWN]}"


def _name_of(is_directory: bool, entries: list[Json], path: str, *, only_file: bool) -> str:
    if not is_directory:
        (entry,) = entries
        assert isinstance(entry, list)
        return f"sha256:{entry[1]}"
    if only_file:
        raise FileError("not_a_file", f"{shown(path)} is a directory, not a file")
    if not entries:
        raise FileError("no_files", f"the directory {shown(path)} holds no files")
    return f"tree:{digest(sorted(entries, key=lambda entry: str(entry[0]).encode() if isinstance(entry, list) else b''))}"


def _visit(project: Path, path: str, limit: int, sink: _Sink) -> bool:
    """Give every file of an input to the sink; whether it is a directory."""
    whole = path.rstrip("/") or path
    if whole.startswith(".") and all(part in ("", ".") for part in whole.split("/")):
        raise _whole_project(path)
    budget = _Budget(path, limit)
    root = Path(os.path.realpath(project))
    with opened(root, whole) as descriptor:
        about = os.fstat(descriptor)
        if not stat.S_ISDIR(about.st_mode):
            _regular(about, path)
            budget.take(about)
            sink("", descriptor, about)
            return False
        if os.path.samestat(about, os.stat(root)):  # noqa: PTH116  # beside os.fstat
            raise _whole_project(path)
        for name, below, seen in _files(root, whole, "", descriptor, 1):
            budget.take(seen)
            sink(name, below, seen)
        return True


def _files(root: Path, path: str, prefix: str, directory: int, depth: int) -> Iterator[tuple[str, int, os.stat_result]]:
    """Name, descriptor and facts of every file below an open directory."""
    if depth > MAX_DEPTH:
        raise FileError("too_many_files", f"{shown(path)} is nested deeper than {MAX_DEPTH} levels")
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        if name in LEFT_OUT:
            continue
        inner = f"{prefix}{name}"
        try:
            inner.encode("utf-8")
        except UnicodeEncodeError:
            raise FileError("bad_file_name", f"the name of {inner!a} in {shown(path)} is not UTF-8", "rename it") from None
        try:
            with _entry(root, f"{path}/{inner}", directory, name) as (descriptor, linked):
                about = os.fstat(descriptor)
                if stat.S_ISDIR(about.st_mode) and not linked:
                    yield from _files(root, path, f"{inner}/", descriptor, depth + 1)
                    continue
                _regular(about, f"{path}/{inner}", linked=linked)
                yield inner, descriptor, about
        except OSError as error:
            raise unreadable(f"{path}/{inner}", error) from error


@contextmanager
def _entry(root: Path, path: str, directory: int, name: str) -> Iterator[tuple[int, bool]]:
    """A descriptor of an entry of a directory, and whether it is a link, which must stay inside the project."""
    if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        with opened(root, path) as descriptor:
            yield descriptor, True
        return
    descriptor = open_below(directory, name)
    try:
        yield descriptor, False
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Budget:
    """How much more of an input there may be."""

    path: str
    limit: int
    size: int = 0
    files: int = 0

    def take(self, about: os.stat_result) -> None:
        self.size += about.st_size
        self.files += 1
        if self.size > self.limit:
            raise FileError("file_too_large", f"{shown(self.path)} is larger than {size_text(self.limit)}")
        if self.files > MAX_FILES:
            raise FileError("too_many_files", f"{shown(self.path)} holds more than {MAX_FILES} files")


def size_text(size: int) -> str:
    """A limit as people read it: `10 MiB`, `10 MB`, `500 bytes`."""
    for unit, name in ((1 << 20, "MiB"), (1_000_000, "MB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def _whole_project(path: str) -> FileError:
    return FileError("whole_project", f"{shown(path)} is the project's own directory, which holds its state",
                     "name a directory inside it")


def _regular(about: os.stat_result, path: str, *, linked: bool = False) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise FileError("not_a_file", f"{shown(path)} {'leads to' if linked else 'is'} no regular file")


def _executable(about: os.stat_result) -> bool:
    return bool(about.st_mode & stat.S_IXUSR)


def _digest_of(descriptor: int) -> str:
    found, size = hashlib.sha256(), 0
    while data := os.read(descriptor, _CHUNK):
        size += len(data)
        if size > MAX_BYTES:
            raise FileError("file_too_large", f"a file grows beyond {size_text(MAX_BYTES)} while it is read")
        found.update(data)
    return found.hexdigest()
