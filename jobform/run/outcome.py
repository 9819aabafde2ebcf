"""What a command that changes things ends with: an exit code, counts, and everything that did not go as accepted."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobform.engine.apply import Scheduler
from jobform.engine.means import Stop
from jobform.engine.retry import retry_due
from jobform.model.address import address_key
from jobform.model.change import Action, Plan
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.state import Phase, State

WORDS = {0: "done", 1: "declined", 7: "incomplete", 8: "failed", 9: "timeout", 130: "interrupted", 143: "terminated"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """exit: as in the documentation of exit codes. counts: what became of this run's changes and of the watched attempts.

    progress: whether something is still on its way. declined: the person who was asked said no.
    """

    exit: int
    plan: Plan | None = None
    counts: dict[str, int] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    progress: bool = False
    declined: bool = False
    note: str = ""

    @property
    def word(self) -> str:
        return WORDS.get(self.exit, "failed")


def outcome_of(plan: Plan | None, run: str, scheduler: Scheduler, state: State, *, stopped: Stop, timed_out: bool) -> Outcome:
    """The first exit code that applies, in the documented order."""
    report = scheduler.report
    unsettled = _unsettled(run, scheduler, state, stopped.requested or timed_out)
    incomplete = [*_in_order(report.problems.values()), *_in_order(unsettled), *_left(plan)]
    failed = _failed(scheduler, state)
    code = 0
    if stopped.requested:
        code = stopped.exit_code
    elif incomplete:
        code = 7
    elif failed:
        code = 8
    elif timed_out:
        code = 9
    late = (
        [
            Diagnostic(
                Severity.ERROR,
                "timeout",
                f"not everything ended in time: {scheduler.live} live, {scheduler.unstarted} waiting to start",
                hint="what is live goes on; `jobform wait` waits for it and starts the rest",
            )
        ]
        if timed_out
        else []
    )
    told = (*_in_order(report.warnings), *incomplete, *failed, *late)
    return Outcome(code, plan, _counts(run, scheduler, state), told, scheduler.pending)


def _in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By address, whichever job it happened to first; of one job as it was told."""
    return sorted(diagnostics, key=lambda diagnostic: address_key(diagnostic.address or ""))


def _unsettled(run: str, scheduler: Scheduler, state: State, interrupted: bool) -> list[Diagnostic]:
    """Changes of this run that will not be made by it."""
    found = []
    for change in state.runs[run].changes if run in state.runs else ():
        if change.address in scheduler.report.problems or change.settled in ("done", "skipped"):
            continue
        if change.settled is not None:
            found.append(
                Diagnostic(
                    Severity.ERROR,
                    f"change_{change.settled}",
                    f"the {change.action} was not completed: {change.settled.replace('_', ' ')}",
                    address=change.address,
                )
            )
        elif scheduler.report.given_up or not (scheduler.pending or interrupted):
            found.append(
                Diagnostic(
                    Severity.ERROR,
                    "given_up",
                    f"the {change.action} was not started, because " + (
                        "something failed before and --fail-fast was given" if scheduler.report.given_up
                        else "something that comes first did not happen"
                    ),
                    hint="run again to resume",
                    address=change.address,
                )
            )
    return found


def _left(plan: Plan | None) -> list[Diagnostic]:
    """What a guard refused; and of a destroy what it had to leave as it is."""
    words = {Action.BLOCK: "blocked", **({Action.HOLD: "held"} if plan and plan.destroy else {})}
    return [
        Diagnostic(
            Severity.ERROR,
            f"{words[change.action]}_{change.reason}",
            f"{words[change.action]}: {change.detail}",
            hint=change.hint,
            range=change.range,
            address=change.address,
        )
        for change in (plan.changes if plan else ())
        if change.action in words
    ]


def _failed(scheduler: Scheduler, state: State) -> list[Diagnostic]:
    """Attempts that this command submitted or watched, that ended without success, and that nothing follows by itself."""
    found = []
    for address in sorted(scheduler.report.watched, key=address_key):
        record = state.jobs.get(address)
        last = record.last if record else None
        if record is None or last is None or not last.ended or last.phase is Phase.SUCCEEDED:
            continue
        if (record.accepted and record.accepted.settled is None) or (
            record.desired and retry_due(record.desired.policy, record.attempts)
        ):
            continue
        why = f"exit code {last.exit}" if last.exit is not None else last.native_reason or last.detail
        said = f"{last.phase}" + (f" ({last.class_})" if last.class_ else "") + (f": {why}" if why else "")
        found.append(Diagnostic(
            Severity.ERROR, f"job_{last.phase}", f"attempt {last.n} {said}",
            hint=f"jobform logs '{address}'", address=address,
        ))
    return found


def _counts(run: str, scheduler: Scheduler, state: State) -> dict[str, int]:
    counts = {"changed": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "live": scheduler.live, "waiting": scheduler.unstarted}
    for change in state.runs[run].changes if run in state.runs else ():
        counts["changed"] += change.settled == "done"
    for address in scheduler.report.watched:
        record = state.jobs.get(address)
        if record and record.last and record.last.ended:
            counts[record.last.phase.value] += 1
    return counts
