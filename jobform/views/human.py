"""The view for people at a terminal: plain ASCII layout, colour only where it is wanted, everything from outside escaped."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from jobform.model.change import Plan
from jobform.model.claims import Orphans, Takeover
from jobform.model.diagnostic import Diagnostic
from jobform.model.event import Event
from jobform.model.state import Attempt, Run, State
from jobform.model.values import Json
from jobform.protocols import LockInfo, Screen
from jobform.views import claims, reports
from jobform.views.escape import ci_log, encodable
from jobform.views.events import EventLines
from jobform.views.findings import findings
from jobform.views.plans import plan_text
from jobform.views.screen import painter


class HumanView:
    """See `protocols.View`. The only control characters returned are LF and jobform's own colour codes."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._paint = painter(screen.colour)
        self._events = EventLines(self._paint)

    def plan(self, plan: Plan) -> str:
        return self._shown(plan_text(plan, self._paint, self._screen.width))

    def diagnostics(self, diagnostics: Iterable[Diagnostic]) -> str:
        return self._shown(findings(diagnostics, self._paint, self._screen.width))

    def status(self, state: State, now: datetime) -> str:
        return self._shown(reports.status_text(state, now, self._paint))

    def event(self, event: Event) -> str:
        return self._shown(self._events.line(event))

    def history(self, address: str, attempts: Iterable[Attempt], now: datetime) -> str:
        return self._shown(reports.history_text(address, attempts, now, self._paint))

    def runs(self, runs: Iterable[Run]) -> str:
        return self._shown(reports.runs_text(runs, self._paint))

    def outputs(self, outputs: Mapping[str, Json]) -> str:
        return self._shown(reports.outputs_text(outputs))

    def state_list(self, state: State) -> str:
        return self._shown(reports.state_list_text(state))

    def show_record(self, state: State, address: str) -> str:
        return self._shown(reports.record_text(state, address, self._paint, self._screen.width))

    def lock(self, info: LockInfo | None) -> str:
        return self._shown(reports.lock_text(info))

    def takeover(self, taken: Takeover) -> str:
        return self._shown(claims.takeover_text(taken, self._paint, self._screen.width))

    def orphans(self, orphans: Orphans) -> str:
        return self._shown(claims.orphans_text(orphans, self._paint))

    def version_line(self) -> str:
        return ""

    def plan_line(self, plan: Plan) -> str:
        return self.plan(plan)

    def diagnostic_line(self, diagnostic: Diagnostic) -> str:
        return self.diagnostics([diagnostic])

    def summary_line(self, counts: Mapping[str, int], exit_code: int) -> str:
        said = {"waiting": "waiting to start"}
        parts = [f"{number:,} {said.get(word, word)}" for word, number in counts.items() if number]
        word, nothing = "Done", "nothing to do"
        if exit_code:
            word, nothing = f"Ended with exit code {exit_code}", "nothing was changed"
        return self._shown(self._paint(f"{word}: {', '.join(parts) or nothing}.", "bold") + "\n")

    def _shown(self, text: str) -> str:
        """What every word goes through last: no line is a command to a CI runner, and the stream can carry every character."""
        return encodable(ci_log(text), self._screen.out.encoding)
