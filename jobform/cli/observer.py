"""What people and machines see while an apply runs."""

from types import TracebackType
from typing import Self

from jobform.cli.app import App
from jobform.cli.plan import summarise
from jobform.model.change import Plan
from jobform.model.event import Event
from jobform.run.outcome import Outcome
from jobform.views.progress import PlainProgress, Progress, ProgressView


class LineObserver:
    """Lines on standard output; on a terminal a live part on standard error as well."""

    def __init__(self, target: App) -> None:
        self._target = target
        runtime = target.runtime
        self._progress: ProgressView = PlainProgress(target.out)
        if target.err.isatty() and runtime.environ.get("TERM") != "dumb":
            self._progress = Progress(target.err, runtime.clock, 0, target.out, colour=target.error_screen.colour)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.__exit__(kind, error, trace)

    def planned(self, plan: Plan) -> None:
        self._target.tell(plan.diagnostics)
        self._progress.line(self._target.view.plan(plan).rstrip("\n"))
        summarise(self._target, plan)

    def event(self, event: Event) -> None:
        text = self._target.view.event(event)
        if text:
            self._progress.line(text.rstrip("\n"))
        self._progress.event(event)

    def waiting(self, left: int) -> None:
        del left

    def ended(self, outcome: Outcome) -> None:
        """The last words: what went wrong, then the counts."""
        self._target.tell(outcome.diagnostics)
        if outcome.note:
            self._target.err.write(outcome.note + "\n")
        if not outcome.declined:
            self._target.print(self._target.view.summary_line(outcome.counts, outcome.exit))


class StreamObserver:
    """JSON Lines on standard output: a version line first, a summary line last."""

    def __init__(self, target: App) -> None:
        self._target = target
        target.print(target.view.version_line())

    def planned(self, plan: Plan) -> None:
        self._target.print(self._target.view.plan_line(plan))

    def event(self, event: Event) -> None:
        self._target.print(self._target.view.event(event))

    def waiting(self, left: int) -> None:
        del left

    def ended(self, outcome: Outcome) -> None:
        for diagnostic in outcome.diagnostics:
            self._target.print(self._target.view.diagnostic_line(diagnostic))
        self._target.print(self._target.view.summary_line(outcome.counts, outcome.exit))
