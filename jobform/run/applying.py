"""The apply use cases: accept a plan, then one step after another until what was accepted has ended."""

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from jobform.engine.accept import acceptance, wanted_specs
from jobform.engine.apply import Scheduler
from jobform.engine.calls import keep_logs
from jobform.engine.manager import Manager
from jobform.engine.means import Means, Stop
from jobform.engine.refresh import Sights, abandon, observe, observe_orphans, recover
from jobform.model.change import Action, Plan
from jobform.model.errors import LockHeldError
from jobform.model.event import Event, Observed, RunEnded
from jobform.protocols import Clock
from jobform.run.approval import Approval, resumable, verify
from jobform.run.bodies import Bodies
from jobform.run.outcome import Outcome, outcome_of
from jobform.run.planning import PlanOptions, check_not_empty, plan, plan_of
from jobform.run.session import Session

LAST_WORD = 5.0
"""Seconds that a command waits for the lock to record how its run ended."""


class Observer(Protocol):
    """Hears what happens, after it became durable."""

    def planned(self, plan: Plan) -> None:
        """The plan that is about to be applied, or confirmed."""

    def event(self, event: Event) -> None:
        """One durable event."""

    def waiting(self, left: int) -> None:
        """A step is over and so many attempts have not ended."""


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How to apply. timeout: seconds to wait in all, None for ever. detach: do not wait for the ends."""

    plan: PlanOptions = PlanOptions()
    approval: Approval = Approval()
    parallelism: int = 10
    lock_timeout: float = 30.0
    detach: bool = False
    timeout: float | None = None
    fail_fast: bool = False
    command: str = "apply"


@dataclass(slots=True)
class Work:
    """One command's loop: what it drives, which plan it accepted, and since when it waits."""

    session: Session
    options: ApplyOptions
    observer: Observer
    stop: Stop
    scheduler: Scheduler
    started: float
    plan: Plan | None = None
    run: str = ""
    loads: int = 0
    timed_out: bool = False


def apply(
    session: Session, options: ApplyOptions, observer: Observer, confirm: Callable[[Plan], bool], stop: Stop,
) -> Outcome:
    """Plan under the lock, compare with the approval, accept, and drive it to its end.

    confirm is asked, without the lock, only when nothing else approves. Raises JobformError before anything was accepted;
    afterwards the outcome says what happened.
    """
    approval = options.approval
    if approval.interactive:
        shown = plan(session, options.plan)
        observer.planned(shown)
        if shown.needs_approval:
            if not confirm(shown):
                return Outcome(1, shown, declined=True)
            approval = Approval(digest=shown.digest)
        else:
            approval = Approval(auto=True)
    if approval.file is None:
        check_not_empty(session, options.plan)
    with _pool(options) as pool:
        with session.locked(options.command, options.lock_timeout) as manager:
            work = _accept(session, options, approval, observer, stop, pool)
            _step(work)
            work.loads = manager.loads
        return _drive(work)


def advance(session: Session, options: ApplyOptions, observer: Observer, stop: Stop) -> Outcome:
    """One step from the state alone. Raises LockHeldError when somebody else is at work."""
    with _pool(options) as pool, session.locked(options.command, options.lock_timeout):
        stop.graceful = True
        work = _resume(session, options, observer, stop, pool, lambda _address: True)
        _step(work)
    return conclude(work)


def follow(
    session: Session, options: ApplyOptions, observer: Observer, stop: Stop, only: Callable[[str], bool],
    before: Callable[[Manager], None] | None = None,
) -> Outcome:
    """Steps from the state alone until the chosen addresses have ended. before: what to record first, under the same lock."""
    with _pool(options) as pool:
        with session.locked(options.command, options.lock_timeout) as manager:
            _, live = _catch_up(session, observer, pool)
            stop.graceful = True
            if before:
                before(manager)
            work = _resume(session, options, observer, stop, pool, only)
            work.scheduler.report.watched |= set(filter(only, live))
            _step(work)
            work.loads = manager.loads
        return _drive(work)


def record(session: Session, observer: Observer, events: Sequence[Event]) -> None:
    """Make events durable, then tell of them. Under the lock."""
    if events:
        session.manager.record(events)
        for event in events:
            observer.event(event)


def _accept(
    session: Session, options: ApplyOptions, approval: Approval, observer: Observer, stop: Stop, pool: Executor,
) -> Work:
    """Under the lock: settle what was interrupted, look, plan, compare with the approval, and write what is accepted."""
    state = session.manager.state
    sights, live = _catch_up(session, observer, pool)
    made = verify(session, approval.file, sights) if approval.file else plan_of(session, state, sights, options.plan)
    resumed = resumable(approval, made, state)
    observer.planned(made)
    bodies = Bodies(session.runtime.environ, session.schema_of)
    left = (Action.BLOCK, Action.HOLD) if made.destroy else ()  # it would be waited for, or begun, by a command that removes
    chosen = frozenset(change.address for change in made.changes if change.action not in left)
    bodies.require([(address, spec) for address, (_, spec) in wanted_specs(made.changes, state, chosen).items()])
    stop.graceful = True
    run = resumed.id if resumed else session.new_run() if made.needs_approval else ""
    if run and made.needs_approval:
        record(session, observer, acceptance(
            state, made.changes, run=run, at=session.now(), command=options.command, who=session.who, commit=session.commit,
            digest_=made.digest or "",
        ))
    scheduler = Scheduler(state, _means(session, options, pool, bodies, chosen.__contains__), stop)
    scheduler.report.watched |= chosen & live
    return Work(session, options, observer, stop, scheduler, session.runtime.clock.monotonic(), made, run)


def _resume(
    session: Session, options: ApplyOptions, observer: Observer, stop: Stop, pool: Executor, only: Callable[[str], bool],
) -> Work:
    bodies = Bodies(session.runtime.environ, session.schema_of)
    scheduler = Scheduler(session.manager.state, _means(session, options, pool, bodies, only), stop)
    return Work(session, options, observer, stop, scheduler, session.runtime.clock.monotonic())


def _means(session: Session, options: ApplyOptions, pool: Executor, bodies: Bodies, only: Callable[[str], bool]) -> Means:
    runtime = session.runtime
    return Means(
        session.places, session.schema_of, bodies, runtime.clock, runtime.effect, pool, session.keep_log, only,
        options.parallelism, options.fail_fast,
    )


def _pool(options: ApplyOptions) -> Executor:
    return ThreadPoolExecutor(max_workers=options.parallelism, thread_name_prefix="call")


def _catch_up(session: Session, observer: Observer, pool: Executor) -> tuple[Sights, frozenset[str]]:
    """Record how interrupted calls ended and what became of every attempt that had not ended; and the addresses of those.

    Whoever waits for such an attempt is told of its end also when this look was the first to see it.
    """
    state, at = session.manager.state, session.now()
    recovered = recover(state, session.places, [a for a, r in state.jobs.items() if r.intent], at)
    recovered, left = abandon(state, session.places, recovered, at)
    record(session, observer, recovered)
    live = [address for address, entry in state.jobs.items() if entry.last and not entry.last.ended]
    session.runtime.effect("engine.observe.before", "")
    events, sights = observe(state, session.places, live, at, compare=True, collect=True)
    sights.warnings += left
    events += observe_orphans(state, session.places, at)
    session.runtime.effect("engine.observe.after", "")
    record(session, observer, events)
    over = [(event.address, event.attempt) for event in events if isinstance(event, Observed) and event.ended_at is not None]
    keep_logs(pool, session.keep_log, over)
    return sights, frozenset(live)


def _step(work: Work) -> bool:
    """One step under the lock: every list of events is durable before the scheduler goes on. Whether there were any."""
    moved = False
    for events in work.scheduler.step():
        record(work.session, work.observer, events)
        moved = True
    return moved


def _drive(work: Work) -> Outcome:
    """Steps until nothing is left that this command waits for, then the end of its run."""
    scheduler, options, clock = work.scheduler, work.options, work.session.runtime.clock
    gc.freeze()  # what was read stays to the end; from here on this may run for days, so its own rings are collected
    gc.enable()
    low, high = _pace(work.session)
    delay = low
    while scheduler.pending and not work.stop.requested and not scheduler.report.given_up:
        if options.detach and not scheduler.startable:
            break
        if options.timeout is not None and clock.monotonic() - work.started >= options.timeout:
            work.timed_out = True
            break
        work.observer.waiting(scheduler.live)
        sleep(clock, delay, work.stop)
        delay = low if _later_step(work) else min(high, delay * 1.5)
    return conclude(work)


def sleep(clock: Clock, seconds: float, stop: Stop) -> None:
    """Wait, in slices short enough for a signal to be answered at once."""
    until = clock.monotonic() + seconds
    while not stop.requested and (left := until - clock.monotonic()) > 0:
        clock.sleep(min(left, 0.1))


def _later_step(work: Work) -> bool:
    """A step after the first; a lock that somebody else holds is tried again at the next poll. Whether anything moved."""
    try:
        with work.session.locked(work.options.command, 0.0) as manager:
            others = manager.loads != work.loads
            if others:
                work.scheduler.rebuild(manager.state)
            moved = _step(work)
            work.loads = manager.loads
            return moved or others
    except LockHeldError:
        return False


def _pace(session: Session) -> tuple[float, float]:
    """The shortest and the longest pause between reads that the configured backend types ask for."""
    paces = [session.places.type(name).poll for name in session.settings.backends]
    return min((low for low, _ in paces), default=1.0), min((high for _, high in paces), default=5.0)


def conclude(work: Work) -> Outcome:
    """The outcome, recorded as the end of the run if this command began one."""
    ended = outcome_of(
        work.plan, work.run, work.scheduler, work.session.manager.state, stopped=work.stop, timed_out=work.timed_out
    )
    ended = replace(ended, diagnostics=(*work.session.unkept.values(), *ended.diagnostics))
    if work.run:
        try:
            with work.session.locked(work.options.command, LAST_WORD):
                record(work.session, work.observer, [RunEnded(work.run, work.session.now(), ended.word, ended.exit)])
        except LockHeldError:
            return replace(ended, note="the end of this run is not in the history: somebody else holds the lock")
    return ended
