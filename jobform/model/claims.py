"""What is known of runs that jobform did not record: those that were found, and one that was taken over."""

from dataclasses import dataclass
from enum import StrEnum

from jobform.model.change import FieldChange
from jobform.model.state import Phase


class Why(StrEnum):
    """Why a run is listed as an orphan: stable codes for machines."""

    UNRECORDED = "unrecorded"
    DUPLICATE = "duplicate"
    LEFT_BEHIND = "left_behind"
    UNOWNED = "unowned"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A run of a configured backend that the state does not account for.

    id: as `import` takes it, "" where only its mark is known. address: whose it is by its mark, "" where that cannot be told;
    attempt: which one, None without a mark.
    """

    backend: str
    id: str
    name: str
    phase: Phase
    why: Why
    detail: str = ""
    address: str = ""
    attempt: int | None = None
    mark: str = ""
    created_at: str | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A backend whose runs could not be listed. able: False when its type has no list at all."""

    backend: str
    summary: str
    detail: str = ""
    able: bool = True


@dataclass(frozen=True, slots=True)
class Orphans:
    """What was found, and which backends could not be asked: of those nothing is known."""

    found: tuple[Orphan, ...]
    unlisted: tuple[Unlisted, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every backend that has a list was asked."""
        return not any(one.able for one in self.unlisted)


@dataclass(frozen=True, slots=True)
class Takeover:
    """A run that was taken over, or would be. attempt: its number, 0 when nothing was recorded.

    differences: what the files say (before) against what the run has (after). asserted: dotted fields that nobody could compare.
    """

    address: str
    backend: str
    id: str
    name: str
    phase: Phase
    attempt: int = 0
    differences: tuple[FieldChange, ...] = ()
    asserted: tuple[str, ...] = ()

    @property
    def recorded(self) -> bool:
        return self.attempt > 0
