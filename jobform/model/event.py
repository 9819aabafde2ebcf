"""What happens to the state: the journal's entries, in the order in which they became durable.

Events are facts. `engine.record.fold` is the only reader that changes a `State` by them; views show the same events to people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from jobform.model.state import Accepted, Attempt, Desired, Intent, Op, Phase, RunChange
from jobform.model.values import Json


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A command begins to change things; `digest` is the approved plan's, empty if it has none."""

    run: str
    at: str
    command: str
    who: str
    commit: str
    digest: str
    changes: tuple[RunChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The command's exit code and one word for it."""

    run: str
    at: str
    outcome: str
    exit: int


@dataclass(frozen=True, slots=True)
class SpecStored:
    """A spec that later events name by its digest."""

    digest: str
    spec: dict[str, Json]


@dataclass(frozen=True, slots=True)
class ChangeAccepted:
    """An apply accepted a change of this address. desired None leaves the accepted desire as it is (delete, forget)."""

    address: str
    accepted: Accepted
    desired: Desired | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The accepted change of this address is over: done, superseded, cancelled, dependency_failed or skipped."""

    address: str
    at: str
    how: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A mutating call is about to be made: durable before the call."""

    address: str
    intent: Intent


@dataclass(frozen=True, slots=True)
class Ended:
    """The mutating call is over. ok False: it is certain that it had no effect. adopted: the run was found, not made, by us."""

    address: str
    op: Op
    attempt: int
    at: str
    ok: bool
    ref: Json = None
    error: str = ""
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What a backend said of an attempt, when it differs from what was known."""

    address: str
    attempt: int
    at: str
    phase: Phase
    detail: str = ""
    class_: str | None = None
    native_reason: str = ""
    exit: int | None = None
    outputs: Mapping[str, Json] | None = None
    started_at: str | None = None
    ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """This address needs a human."""

    address: str
    at: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """The hold of this address is over."""

    address: str
    at: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The record of `address` is now that of `to`; a tombstone stays behind."""

    address: str
    to: str
    at: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The address has no record any more. how: deleted or forgotten."""

    address: str
    at: str
    how: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """A human settled a tombstone or a hold that no machine could: `state resolve`."""

    address: str
    at: str
    who: str
    how: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A run that was made elsewhere is this address's next attempt from now on. What became of it follows as `Observed`.

    One event says it all, so that no part of it can be lost: an accepted change without its attempt would make another run.
    """

    address: str
    at: str
    accepted: Accepted
    desired: Desired
    attempt: Attempt


Event: TypeAlias = (
    RunStarted | RunEnded | SpecStored | ChangeAccepted | Settled | Begun | Ended | Observed | Held | Released | Moved
    | Removed | Resolved | Imported
)

EVENT_TYPES: Mapping[str, type[Event]] = {
    "run_started": RunStarted, "run_ended": RunEnded, "spec": SpecStored, "accepted": ChangeAccepted, "settled": Settled,
    "begin": Begun, "end": Ended, "observed": Observed, "held": Held, "released": Released, "moved": Moved,
    "removed": Removed, "resolved": Resolved, "imported": Imported,
}
"""The `type` of each event in the journal and in the event stream."""

