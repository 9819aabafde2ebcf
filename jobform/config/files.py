"""The project's files: found by pattern, read once, and never from outside the project's directory."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from jobform.config.source import MAX_BYTES
from jobform.model.files import FileError, contents, opened, parts_of, shown, unreadable
from jobform.model.inputs import hash_input
from jobform.model.outputs import check_directory

MAX_FILES = 10_000
"""How many job files a project may have."""

_MAX_VISITED = 200_000
_MAX_DEPTH = 100
_WILD = re.compile(r"[*?\[]")
_NO_JOBS = "write a job file there, or correct `jobs:`; plan with --dangerous-allow-empty if every job is to be deleted"
_BACKUP = re.compile(r".*(?:~|\.bak|\.orig|\.swp|\.tmp)|#.*#", re.DOTALL)


class ProjectFiles:
    """Reads below one directory. Paths are relative to it, with `/` between the parts; nothing in them is expanded."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._real = Path(os.path.realpath(directory))

    def read(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """The bytes of a regular file inside the project. Raises FileError."""
        with opened(self._real, path) as descriptor:
            return contents(descriptor, path, limit)

    def hashed(self, path: str, *, only_file: bool) -> str:
        """What the content of a file or directory is called; see `hash_input`. Raises FileError."""
        return hash_input(self._real, path, only_file=only_file)

    def check_output(self, path: str) -> None:
        """Whether results may be written to a directory. Raises FileError."""
        check_directory(self._real, path)

    def text(self, path: str) -> str:
        """A file's text for templates, at most 1 MiB of UTF-8. Raises FileError."""
        try:
            return self.read(path, 1024 * 1024).decode("utf-8")
        except UnicodeDecodeError:
            raise FileError("not_utf8", f"{shown(path)} is not UTF-8") from None

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
                report(index, FileError("no_match", f"no file matches {shown(pattern)}", hint))
        return tuple(sorted(found, key=os.fsencode))

    def _match(self, pattern: str) -> Iterator[str]:
        parts = parts_of(pattern)
        budget = [_MAX_VISITED]
        for count, path in enumerate(dict.fromkeys(self._walk("", parts, budget))):
            if count >= MAX_FILES:
                raise FileError("too_many_files", f"{shown(pattern)} matches more than {MAX_FILES} files")
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
        if dot and other and next(self._walk("", parts_of(f"{stem}.{other}"), [_MAX_VISITED]), None):
            return f"there are files that end with .{other}: add {stem}.{other}"
        return ""


def read_given(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file that the command line or the environment names. Raises FileError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise unreadable(str(path), error) from error
    try:
        return contents(descriptor, str(path), limit)
    except OSError as error:
        raise unreadable(str(path), error) from error
    finally:
        os.close(descriptor)
