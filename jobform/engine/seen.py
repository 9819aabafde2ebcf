"""What this checkout has seen of each state: `.jobform/seen.json`, so that a state that vanished or went back is noticed."""

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobform.codec.shape import Malformed, Shape, mapping, natural, text
from jobform.codec.strict import read_json, write_json
from jobform.model.errors import StateError
from jobform.model.values import Json

FORMAT = 1
MAX_SEEN = 1 << 22


@dataclass(frozen=True, slots=True)
class Sighting:
    """The lineage and serial that a state was last seen with, and when."""

    lineage: str
    serial: int
    at: str


_SIGHTINGS = mapping(Shape(Sighting, lineage=text, serial=natural, at=text))


class Seen:
    """The marker file. Reading it never creates anything; a missing file has seen nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, location: str) -> Sighting | None:
        """What was seen at a location. Raises StateError when the file cannot be read."""
        return self._load().get(location)

    def note(self, location: str, sighting: Sighting) -> None:
        """Remember a sighting. Raises OSError when it cannot be written, StateError when it cannot be read."""
        known = self._load()
        before = known.get(location)
        if before and (before.lineage, before.serial) == (sighting.lineage, sighting.serial):
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # a command for another target of this project notes another location just now
            self._save({**self._load(), location: sighting})
        finally:
            os.close(directory)

    def _load(self) -> Mapping[str, Sighting]:
        try:
            data = self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        try:
            document = read_json(data, MAX_SEEN)
            if not isinstance(document, dict) or document.keys() != {"format_version", "states"}:
                raise Malformed("expected an object with format_version and states")
            if document["format_version"] != FORMAT:
                raise Malformed(f"unknown format {ascii(document['format_version'])[:40]}")
            return _SIGHTINGS.decode(document["states"])
        except Malformed as problem:
            raise self._unreadable(str(problem)) from None

    def _save(self, known: Mapping[str, Sighting]) -> None:
        document: Json = {"format_version": FORMAT, "states": _SIGHTINGS.write(known)}
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(write_json(document).encode("ascii") + b"\n")
            temporary.rename(self._path)
        except BaseException:
            with suppress(OSError):  # the first error is the one that matters
                temporary.unlink()
            raise

    def _unreadable(self, detail: str) -> StateError:
        error = StateError.of(
            "seen_unreadable", f"{self._path} cannot be read", detail=detail,
            hint="It remembers which state belongs here. If the state is right, delete that file.",
        )
        assert isinstance(error, StateError)
        return error
