"""What a backend type offers whose jobs can be written in several ways: it turns each into the one that its schema describes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jobform.model.values import Json, Path


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in what a user wrote.

    file: of the project, "" for the job's own spec. path: in the spec; in a file the first part is the number of a document.
    """

    path: Path
    file: str = ""

    def below(self, *parts: str | int) -> "Spot":
        """A place inside this one."""
        return Spot((*self.path, *parts), self.file)


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that is wrong with what was written. at_key: point at the key. warning: it is no error.

    related: other places that explain it, each with a few words.
    """

    spot: Spot
    code: str
    summary: str
    detail: str = ""
    hint: str = ""
    at_key: bool = False
    warning: bool = False
    related: tuple[tuple[str, Spot], ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A thing that a job is or has on the service, and that only one job of the project may be or have.

    identity: equal for the same thing in one place. described: as a sentence may name it.
    """

    identity: str
    described: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class Arranged:
    """A spec in its canonical form.

    origins: for prefixes of paths in it, where that part was written; what no prefix covers was written as it stands. What lies
    below a prefix was written below its place in the same shape, but for what was left out. judge: the schema can say something
    sensible of the spec; false only beside an error.
    """

    spec: dict[str, Json]
    origins: Mapping[Path, Spot] = field(default_factory=dict)
    complaints: tuple[Complaint, ...] = ()
    claims: tuple[Claim, ...] = ()
    judge: bool = True


class Written(Protocol):
    """What a user wrote around one spec."""

    def documents(self, file: str, spot: Spot, *, templates: bool) -> Sequence[Json] | None:
        """The documents of a YAML or JSON file of the project, read as kubectl reads it; an empty one is None.

        templates: its texts are templates, and are rendered for this job. spot: what names the file. None: it cannot be used,
        and why was said.
        """

    def source(self, spot: Spot) -> str:
        """How a scalar was written, quotes included; "" where nothing was."""


@runtime_checkable
class Arranging(Protocol):
    """A backend type that arranges specs."""

    def arrange(self, spec: dict[str, Json], settings: Mapping[str, Json], written: Written) -> Arranged:
        """The canonical form of a rendered spec; what no form fits is left to the schema. settings: the backend's valid block.

        Makes no calls, changes nothing of what it is given, and gives equal results for equal values.
        """


@runtime_checkable
class Extensible(Protocol):
    """A backend type whose spec a project can extend, in its blocks' settings."""

    def spec_schema_for(self, settings: Collection[Mapping[str, Json]]) -> dict[str, Json]:
        """What `spec_schema` gives, extended by what the blocks of one project say. Raises InputError if they disagree."""
