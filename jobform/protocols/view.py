"""What a view must offer: it turns values into text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TextIO, runtime_checkable

from jobform.model.change import Plan
from jobform.model.claims import Orphans, Takeover
from jobform.model.diagnostic import Diagnostic
from jobform.model.event import Event
from jobform.model.state import Attempt, Run, State
from jobform.model.values import Json
from jobform.protocols.store import LockInfo


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a view writes. colour: whether escape sequences are wanted; width: columns."""

    out: TextIO
    colour: bool = False
    width: int = 100


@runtime_checkable
class View(Protocol):
    """Turns values into text. A view never decides and never computes; it masks nothing itself: its `Screen` does."""

    def plan(self, plan: Plan) -> str:
        """A whole plan, summary last."""

    def diagnostics(self, diagnostics: Iterable[Diagnostic]) -> str:
        """Findings, in the order given."""

    def status(self, state: State, now: datetime) -> str:
        """What every address is doing."""

    def event(self, event: Event) -> str:
        """One event of a running apply as a line, "" when this view does not show it."""

    def history(self, address: str, attempts: Iterable[Attempt], now: datetime) -> str:
        """Every attempt of one address."""

    def runs(self, runs: Iterable[Run]) -> str:
        """The last applies, newest last."""

    def outputs(self, outputs: Mapping[str, Json]) -> str:
        """What a job gave."""

    def state_list(self, state: State) -> str:
        """Every address of a state."""

    def show_record(self, state: State, address: str) -> str:
        """All that is known of one address."""

    def lock(self, info: LockInfo | None) -> str:
        """Who holds the lock."""

    def takeover(self, taken: Takeover) -> str:
        """A run that was taken over, or how it differs from what is declared."""

    def orphans(self, orphans: Orphans) -> str:
        """Runs that the state does not account for."""

    def version_line(self) -> str:
        """The first line of an event stream, "" when this view has none."""

    def plan_line(self, plan: Plan) -> str:
        """A plan as one entry of an event stream."""

    def diagnostic_line(self, diagnostic: Diagnostic) -> str:
        """A finding as one entry of an event stream."""

    def summary_line(self, counts: Mapping[str, int], exit_code: int) -> str:
        """The last line of a command that changed something."""
