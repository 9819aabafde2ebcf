"""What people and machines see while an apply runs."""

from types import TracebackType
from typing import Self

from jobform.cli.app import App
from jobform.cli.plan import summarise
from jobform.model.change import Plan
from jobform.model.event import Event
from jobform.run.outcome import Outcome
from jobform.run.session import Session
from jobform.views.progress import PlainProgress, Progress, ProgressView


class LineObserver:
    """Lines on standard output; on a terminal a live part on standard error as well, once something has begun."""

    def __init__(self, target: App, session: Session) -> None:
        self._target, self._session = target, session
        self._progress: ProgressView = PlainProgress(target.out)
        self._shown: str | None = None
        self._open = False
        if target.err.isatty() and target.runtime.environ.get("TERM") != "dumb":
            self._progress = Progress(target.err, target.runtime.clock, 0, target.out, colour=target.error_screen.colour)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._open:
            self._progress.__exit__(kind, error, trace)
            self._open = False

    def planned(self, plan: Plan) -> None:
        """Shown once: the plan that a person confirmed is not repeated when it is made again under the lock."""
        self._progress.total = sum(change.acting or change.accepted for change in plan.changes)
        if self._shown is not None and self._shown == plan.digest:
            return
        self._shown = plan.digest
        self._target.print(self._target.view.plan(plan))
        summarise(self._target, plan)

    def event(self, event: Event) -> None:
        self._begin()
        self._progress.event(event)
        self._progress.line(self._target.view.event(event).rstrip("\n"))

    def waiting(self, left: int) -> None:
        """Jobs that were live before this command have had no event in it."""
        self._begin()
        if left > self._progress.live:
            for address, record in self._session.manager.state.jobs.items():
                if record.last and not record.last.ended:
                    self._progress.known(address, record.last.phase, record.last.detail)

    def ended(self, outcome: Outcome) -> None:
        """The last words: what went wrong, then the counts."""
        self.__exit__(None, None, None)
        self._target.tell(outcome.diagnostics)
        if outcome.note:
            self._target.say(outcome.note + "\n")
        if not outcome.declined:
            self._target.print(self._target.view.summary_line(outcome.counts, outcome.exit))

    def _begin(self) -> None:
        """Not earlier: a question on the terminal must stand still."""
        if not self._open:
            self._open = True
            self._progress.__enter__()


class StreamObserver:
    """JSON Lines on standard output: a version line first, a summary line last."""

    def __init__(self, target: App) -> None:
        self._target = target
        target.streams_events()
        target.print(target.view.version_line())

    def planned(self, plan: Plan) -> None:
        self._target.print(self._target.view.plan_line(plan))
        summarise(self._target, plan)

    def event(self, event: Event) -> None:
        self._target.print(self._target.view.event(event))

    def waiting(self, left: int) -> None:
        del left

    def ended(self, outcome: Outcome) -> None:
        for diagnostic in outcome.diagnostics:
            self._target.print(self._target.view.diagnostic_line(diagnostic))
        self._target.print(self._target.view.summary_line(outcome.counts, outcome.exit))
