"""One address as the decision table sees it: what its files say, what was accepted, and what became of that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from jobform.engine.compare import dotted_field
from jobform.model.change import Reason
from jobform.model.job import Job
from jobform.model.state import Accepted, Attempt, Desired, Record, Tombstone
from jobform.model.values import Json
from jobform.protocols import Difference, Forecast
from jobform.schema import SpecSchema


@dataclass(frozen=True, slots=True)
class Flags:
    """The explicit words of a command line that concern one address.

    allow_cancel: a live run may be stopped. recreate_lost: a lost run may be made again. rerun: another attempt is wanted.
    """

    destroy: bool = False
    allow_cancel: bool = False
    recreate_lost: bool = False
    rerun: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that decides about one address.

    job, wanted: from the project's files, both None when the address is not there. removal: None, or whether `removed:` says
    cancel. fields: what the backend reports of the last attempt; differences: where its backend says that somebody changed it.
    forecast: what the service said that the change would do. foreign: it lives in a place that the settings do not reach.
    in_flight: somebody holds the lock and has a call open. next_attempt: the number of a new attempt.
    """

    address: str
    job: Job | None
    wanted: Desired | None
    record: Record | None
    tombstone: Tombstone | None
    next_attempt: int
    specs: Callable[[str], dict[str, Json]]
    schema: Callable[[str], SpecSchema]
    removal: bool | None = None
    fields: Mapping[str, Json] | None = None
    differences: tuple[Difference, ...] = ()
    forecast: Forecast | None = None
    foreign: bool = False
    in_flight: bool = False
    flags: Flags = Flags()

    @property
    def last(self) -> Attempt | None:
        return self.record.last if self.record else None

    @property
    def same(self) -> bool:
        """Whether the project's files say what was accepted.

        Once an attempt exists and none is to follow, it does not matter that a selector in `needs` chooses other jobs by now.
        """
        accepted = self.record.desired if self.record else None
        if accepted is None or self.wanted is None or accepted == self.wanted:
            return accepted is not None and self.wanted is not None
        settled = self.last is not None and self.open is None
        return settled and _unresolved(accepted) == _unresolved(self.wanted)

    @property
    def open(self) -> Accepted | None:
        """The accepted change that is not settled yet."""
        accepted = self.record.accepted if self.record else None
        return accepted if accepted and accepted.settled is None else None

    @property
    def settled(self) -> str | None:
        """How the accepted change was settled, if it was and nothing new is declared."""
        accepted = self.record.accepted if self.record else None
        return accepted.settled if accepted and self.same else None

    @property
    def requested(self) -> bool:
        """Whether somebody asked for another attempt by name, and it has not begun."""
        asked = self.open is not None and self.open.reason == Reason.REQUESTED and self.open.attempt == self.next_attempt
        return self.flags.rerun or asked

    @property
    def stoppable(self) -> bool:
        """Whether somebody said yes to stopping the last attempt: now, or when the open change was accepted."""
        waiting_yes = self.open is not None and self.last is not None and self.open.stop == self.last.n
        return self.flags.allow_cancel or (waiting_yes and (self.same or self.wanted is None))

    @property
    def fixed(self) -> tuple[str, ...]:
        """Dotted fields that cannot be changed in place, whatever their rule says."""
        if self.forecast is None or self.forecast.verdict not in ("fixed", "restarts"):
            return ()
        return tuple(dotted_field(path) for path in self.forecast.paths)

    @property
    def protected(self) -> bool:
        accepted = self.record.desired if self.record else None
        return bool((accepted and accepted.policy.protect) or (self.wanted and self.wanted.policy.protect))


def _unresolved(desired: Desired) -> Desired:
    """A desire as it is written: what its needs choose is left out."""
    needs = tuple(replace(need, addresses=()) for need in desired.policy.needs)
    return replace(desired, policy=replace(desired.policy, needs=needs))
