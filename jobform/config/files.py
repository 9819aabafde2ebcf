"""The project's files: found by pattern, read once, and never from outside the project's directory."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from jobform.config.source import MAX_BYTES

MAX_FILES = 10_000
"""How many job files a project may have."""

_MAX_VISITED = 200_000
_MAX_DEPTH = 100
_WILD = re.compile(r"[*?\[]")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NO_JOBS = "write a job file there, or correct `jobs:`; plan with --dangerous-allow-empty if every job is to be deleted"
_BACKUP = re.compile(r".*(?:~|\.bak|\.orig|\.swp|\.tmp)|#.*#", re.DOTALL)


class FileError(ValueError):
    """A file that cannot be used. code: of the diagnostic; summary: one plain sentence."""

    def __init__(self, code: str, summary: str, hint: str = "") -> None:
        super().__init__(summary)
        self.code, self.summary, self.hint = code, summary, hint


class ProjectFiles:
    """Reads below one directory. Paths are relative to it, with `/` between the parts; nothing in them is expanded."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._real = Path(os.path.realpath(directory))

    def read(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """The bytes of a regular file inside the project. Raises FileError.

        The real path is compared with the project's part by part and then opened part by part without following links, so that a
        link which changes meanwhile leads nowhere.
        """
        parts = _parts(path)
        real = Path(os.path.realpath(self._real.joinpath(*parts)))
        if not real.is_relative_to(self._real):
            raise FileError("outside_project", f"{_shown(path)} leads outside the project",
                            "files must lie in the project's directory")
        descriptor = -1
        try:
            descriptor = os.open(self._real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            inside = real.relative_to(self._real).parts
            for number, part in enumerate(inside):
                kind = os.O_DIRECTORY if number < len(inside) - 1 else os.O_NONBLOCK | os.O_NOCTTY
                below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            return _contents(descriptor, path, limit)
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def text(self, path: str) -> str:
        """A file's text for templates, at most 1 MiB of UTF-8. Raises FileError."""
        try:
            return self.read(path, 1024 * 1024).decode("utf-8")
        except UnicodeDecodeError:
            raise FileError("not_utf8", f"{_shown(path)} is not UTF-8") from None

    def matching(self, patterns: Sequence[str], allow_empty: bool, report: Callable[[int, FileError], None]) -> tuple[str, ...]:
        """All files that match, each once, sorted by their bytes.

        Hidden files and editors' backups match no wildcard. report: gets the position of a pattern with what is wrong with it; a
        pattern that matches nothing is wrong, unless nothing matches any of them and `allow_empty` says that this is meant.
        """
        found: dict[str, None] = {}
        empty = []
        for index, pattern in enumerate(patterns):
            try:
                matches = list(self._match(pattern))
            except FileError as error:
                report(index, error)
                continue
            if not matches:
                empty.append(index)
            found.update(dict.fromkeys(matches))
        if found or not allow_empty:
            for index in empty:
                pattern = patterns[index]
                hint = self._other_suffix(pattern) or ("correct the pattern, or remove it" if found else _NO_JOBS)
                report(index, FileError("no_match", f"no file matches {_shown(pattern)}", hint))
        return tuple(sorted(found, key=os.fsencode))

    def _match(self, pattern: str) -> Iterator[str]:
        parts = _parts(pattern)
        budget = [_MAX_VISITED]
        for count, path in enumerate(dict.fromkeys(self._walk("", parts, budget))):
            if count >= MAX_FILES:
                raise FileError("too_many_files", f"{_shown(pattern)} matches more than {MAX_FILES} files")
            try:
                path.encode("utf-8")
            except UnicodeEncodeError:
                raise FileError("bad_file_name", f"the name of {path!a} is not UTF-8", "rename the file") from None
            yield path

    def _walk(self, below: str, parts: Sequence[str], budget: list[int]) -> Iterator[str]:
        """Files under the directory `below` (empty, or ending with a slash) that match the remaining parts."""
        part, rest = parts[0], parts[1:]
        if not _WILD.search(part):
            path = below + part
            if rest:
                yield from self._walk(f"{path}/", rest, budget)
            elif os.path.lexists(self._real / path):
                yield path
            return
        if part == "**" and rest:
            yield from self._walk(below, rest, budget)
        matches = re.compile(translate(part)).match
        for name, is_directory, is_link in self._entries(below, budget):
            if part == "**":
                if is_directory and not is_link:
                    yield from self._walk(f"{below}{name}/", parts, budget)
                elif not is_directory and not rest:
                    yield below + name
            elif matches(name) and is_directory == bool(rest):
                yield from self._walk(f"{below}{name}/", rest, budget) if rest else [below + name]

    def _entries(self, below: str, budget: list[int]) -> list[tuple[str, bool, bool]]:
        """Name, whether a directory, whether a link, of everything in a directory that a wildcard may match."""
        try:
            with os.scandir(self._real / below) as entries:
                listed = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
        except OSError:
            return []
        budget[0] -= len(listed)
        if budget[0] < 0 or below.count("/") > _MAX_DEPTH:
            raise FileError("too_many_files", f"a pattern looks through more than {_MAX_VISITED} files or {_MAX_DEPTH} levels",
                            "name the directory")
        return [entry for entry in listed if not entry[0].startswith(".") and not _BACKUP.fullmatch(entry[0])]

    def _other_suffix(self, pattern: str) -> str:
        stem, dot, suffix = pattern.rpartition(".")
        other = {"yaml": "yml", "yml": "yaml"}.get(suffix)
        if dot and other and next(self._walk("", _parts(f"{stem}.{other}"), [_MAX_VISITED]), None):
            return f"there are files that end with .{other}: add {stem}.{other}"
        return ""


def read_given(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file that the command line or the environment names. Raises FileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error
    try:
        return _contents(descriptor, str(path), limit)
    except OSError as error:
        raise _unreadable(str(path), error) from error
    finally:
        os.close(descriptor)


def _parts(path: str) -> list[str]:
    """A relative path's parts. Raises FileError for everything that is not plainly inside the project."""
    parts = path.split("/")
    odd = not path or "\\" in path or path.startswith(("~", "/")) or _SCHEME.match(path) or _CONTROL.search(path)
    if odd or ".." in parts:
        raise FileError("outside_project", f"{_shown(path)} is not a path inside the project",
                        "write it relative to the project's directory, without .. and with / between its parts")
    plain = [part for part in parts if part not in ("", ".")]
    if not plain or path.endswith("/"):
        raise FileError("not_a_file", f"{_shown(path)} is a directory, not a file")
    return plain


def _contents(descriptor: int, path: str, limit: int) -> bytes:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise FileError("not_a_file", f"{_shown(path)} is not a regular file")
    data = b""
    if about.st_size <= limit:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(limit + 1)
    if about.st_size > limit or len(data) > limit:
        raise FileError("file_too_large", f"{_shown(path)} is larger than {(limit + 1) // 1024} KiB")
    return data


def _unreadable(path: str, error: Exception) -> FileError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        return FileError("no_such_file", f"there is no file {_shown(path)}",
                         "nothing in a path is expanded" if "$" in path else "")
    if number in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return FileError("not_a_file", f"{_shown(path)} is not a regular file")
    reason = error.strerror if isinstance(error, OSError) else "the name is not valid"
    return FileError("unreadable_file", f"{_shown(path)} cannot be read: {reason}")


def _shown(path: str) -> str:
    return repr(path if len(path) <= 120 else f"{path[:117]}...")
