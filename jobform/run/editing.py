"""Commands that act on one address: cancel, rerun, and the settling of what no machine can know."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from jobform.engine.calls import Done, make
from jobform.engine.intents import intent_of
from jobform.engine.manager import Manager
from jobform.engine.means import Stop
from jobform.engine.needs import NEW_ATTEMPT
from jobform.engine.refresh import abandon, observe_orphans
from jobform.engine.retry import retry_due
from jobform.model.address import Selector
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import BackendError, FailedError, InputError
from jobform.model.event import Begun, ChangeAccepted, Ended, Event, Released, Removed, Resolved, RunStarted, Settled
from jobform.model.graph import closure
from jobform.model.state import Accepted, Attempt, Op, Record, RunChange, State
from jobform.model.suggest import suggest
from jobform.model.values import Json, digest
from jobform.protocols import Ref
from jobform.run.applying import ApplyOptions, Observer, follow, record, sleep
from jobform.run.outcome import Outcome
from jobform.run.session import Session

ORPHAN_PATIENCE = 60.0
"""Seconds that `cancel` waits for the end of a run which a removed job left behind."""

_LONGEST_PAUSE = 5.0


def select(state: State, selectors: Iterable[str]) -> list[str]:
    """The recorded addresses that the selectors choose. Raises InputError for a selector that chooses none."""
    chosen: dict[str, None] = {}
    for text in selectors:
        try:
            selector = Selector.parse(text)
        except ValueError as error:
            raise InputError.of("bad_selector", f"{text!r} is not a selector: {error}") from error
        found = [address for address in state.jobs if selector.matches_address(address)]
        if not found:
            near = suggest(text, state.jobs)
            raise InputError.of(
                "unknown_job",
                f"the state has no job {text!r}",
                hint=f"did you mean {near!r}?" if near else "see `jobform state list`",
            )
        chosen |= dict.fromkeys(found)
    return list(chosen)


def with_needs(state: State, addresses: Iterable[str]) -> frozenset[str]:
    """Recorded addresses with everything that they need, directly or not."""
    edges = {
        address: [needed for need in record.desired.policy.needs for needed in need.addresses] if record.desired else []
        for address, record in state.jobs.items()
    }
    return frozenset(closure(edges, addresses) & edges.keys())


def cancel(session: Session, selectors: Iterable[str], options: ApplyOptions, observer: Observer, stop: Stop) -> Outcome:
    """Stop the live or waiting attempts of these jobs and settle what was accepted of them.

    The command itself is the explicit yes. Raises FailedError, before anything is stopped, where it is not known whether there is
    a run, and after all else was stopped, for what could not be.
    """
    wanted = list(selectors)
    chosen: list[str] = []
    orphans: list[str] = []
    withdrawn = 0

    def stop_all(manager: Manager) -> None:
        nonlocal withdrawn
        orphans.extend(text for text in wanted if text not in manager.state.jobs and _orphan(manager.state, text))
        chosen.extend(select(manager.state, [text for text in wanted if text not in orphans]))
        unknown = [problem for address in chosen for problem in _unknown(manager.state.jobs[address], address)]
        if unknown:
            raise FailedError(unknown)
        failed: list[Diagnostic] = []
        for address in (*orphans, *chosen):  # what cannot be stopped keeps nothing else running
            try:
                withdrawn += _cancel_orphan(session, address) if address in orphans else _cancel(session, observer, address)
            except FailedError as error:
                failed += error.diagnostics
        if failed:
            raise FailedError(failed)

    outcome = follow(session, options, observer, stop, lambda address: address in chosen, stop_all)
    if not options.detach:
        _await_orphans(session, observer, orphans, stop)
    others = tuple(found for found in outcome.diagnostics if found.code not in ("job_cancelled", "change_cancelled"))
    stopped = outcome.exit == 8 and all(found.severity is Severity.WARNING for found in others)
    counts = {**outcome.counts, "cancelled": outcome.counts["cancelled"] + withdrawn}
    return replace(outcome, exit=0 if stopped else outcome.exit, counts=counts, diagnostics=others)


def rerun(session: Session, selectors: Iterable[str], options: ApplyOptions, observer: Observer, stop: Stop) -> Outcome:
    """Accept another attempt of what was accepted before, whatever the project's files say now.

    Raises FailedError for a live job.
    """
    wanted = list(selectors)
    followed: set[str] = set()

    def accept(manager: Manager) -> None:
        chosen = select(manager.state, wanted)
        record(session, observer, _rerun_events(session, manager.state, chosen))
        followed.update(with_needs(manager.state, chosen))  # what has to come first is waited for as well

    return follow(session, options, observer, stop, followed.__contains__, accept)


def forget(session: Session, selectors: Iterable[str], observer: Observer, lock_timeout: float) -> list[str]:
    """`state rm`: drop records and call nothing. A run that may still be live leaves a tombstone that names it."""
    with session.locked("state rm", lock_timeout) as manager:
        chosen = select(manager.state, selectors)
        record(session, observer, [Removed(address, session.now(), "forgotten") for address in chosen])
    return chosen


def push(session: Session, data: bytes, *, force: bool, lock_timeout: float) -> State:
    """`state push`: replace the state by a document. Raises StateError when it does not belong here, unless forced."""
    manager = session.unopened
    with manager.locked(session.lock_info("state push"), lock_timeout):
        return manager.push(data, force=force)


def resolve(
    session: Session, address: str, how: str, found: str | None, observer: Observer, lock_timeout: float,
) -> list[Diagnostic]:
    """`state resolve`: a person says what became of a call or of a run. how: found, not_submitted or ended. Raises InputError.

    Of a call that submitted nothing, what it had made before is removed, with a warning where that is not possible.
    """
    with session.locked("state resolve", lock_timeout) as manager:
        state, at = manager.state, session.now()
        said = Resolved(address, at, session.who, how)
        entry = state.jobs.get(address)
        if how == "ended":
            if address in state.jobs or not _orphan(state, address):
                raise InputError.of(
                    "nothing_to_resolve", f"{address} is no removed job whose run may still be live",
                    hint="--ended settles what `live_orphan` names; see `jobform status`",
                )
            record(session, observer, [said])
            return []
        intent = entry.intent if entry else None
        if entry is None or intent is None or intent.op is not Op.SUBMIT:
            raise InputError.of(
                "nothing_to_resolve", f"{address} has no submission whose fate is unknown", hint="see `jobform status`"
            )
        ended = Ended(address, Op.SUBMIT, intent.attempt, at, ok=False, error="said so by a person")
        left: list[tuple[str, str]] = []
        if how == "found":
            ended = replace(ended, ok=True, error="", ref=_as_ref(found or ""), adopted=True)
        elif session.places.configured(intent.backend):
            _, left = abandon(state, session.places, [ended], at)
        record(session, observer, [said, ended, *([Released(address, at)] if entry.hold else [])])
        return [Diagnostic(Severity.WARNING, "backend_warning", text, address=address) for _, text in left]


def _as_ref(text: str) -> Json:
    """An id as the backend writes it: JSON when it is JSON, else plain text."""
    try:
        value: Json = json.loads(text)
    except ValueError:
        return text
    return value


def _cancel(session: Session, observer: Observer, address: str) -> bool:
    """Whether something was withdrawn that had no run to stop."""
    state, at = session.manager.state, session.now()
    entry = state.jobs[address]
    accepted, last = entry.accepted, entry.last
    open_attempt = accepted is not None and accepted.settled is None and accepted.action in NEW_ATTEMPT
    retry = entry.desired is not None and retry_due(entry.desired.policy, entry.attempts) is not None
    if open_attempt or retry:
        record(session, observer, [Settled(address, at, "cancelled")])
    if last and not last.ended:
        _call(session, observer, address, last, Op.CANCEL)
        return False
    return open_attempt or retry


def _unknown(entry: Record, address: str) -> Iterator[Diagnostic]:
    if entry.intent is not None:
        yield Diagnostic(
            Severity.ERROR, "unknown_submission",
            f"whether attempt {entry.intent.attempt} of {address} was submitted is not known yet",
            "nothing was stopped", f"jobform state resolve '{address}' --found ID | --not-submitted", address=address,
        )


def _call(session: Session, observer: Observer, address: str, attempt: Attempt, op: Op) -> None:
    """One journalled call outside the scheduler. Raises FailedError when the backend refuses."""
    at = session.now()
    run = session.manager.state.jobs[address].accepted
    intent = intent_of(attempt, op, attempt.body_hash, at, run.run if run else "")
    record(session, observer, [Begun(address, intent)])
    backend = session.places.backend(attempt.backend)
    answer = make(
        backend, address, intent, Ref.of(attempt.ref), None, session.runtime.effect, only_if_waiting=False,
        keep=partial(session.keep_log, address, attempt.n),
    )
    done = isinstance(answer, Done)
    record(
        session,
        observer,
        [Ended(address, op, attempt.n, session.now(), ok=done, error="" if done else getattr(answer, "summary", ""))],
    )
    if not done:
        raise FailedError.of(
            f"{op}_failed",
            f"the {op} call failed: {getattr(answer, 'summary', 'unclear')}",
            detail=getattr(answer, "detail", ""),
            address=address,
        )


def _orphan(state: State, address: str) -> bool:
    tombstone = state.tombstones.get(address)
    return tombstone is not None and tombstone.live


def _cancel_orphan(session: Session, address: str) -> bool:
    """Ask for the stop of the run that a removed job left behind. It is no journalled call: made twice, it does the same."""
    tombstone = session.manager.state.tombstones[address]
    if tombstone.ref is None:
        raise FailedError.of(
            "no_reference",
            f"the run that {address} left behind has no reference",
            hint="look for it on the backend by its mark " + tombstone.mark,
        )
    backend, scope = session.places.backend(tombstone.backend), session.places.scope(tombstone.backend)
    if not scope.is_place(tombstone.scope):
        raise FailedError.of(
            "other_scope", f"backend {tombstone.backend!r} now reaches {scope.described}, but {address} runs somewhere else",
            detail=f"the setting that decides this is {scope.source or 'its credentials'}", address=address,
            hint="point the backend back, and stop it then",
        )
    try:
        backend.cancel(Ref.of(tombstone.ref), only_if_waiting=False)
    except BackendError as error:
        raise FailedError.of(
            "cancel_failed", f"the run of {address} could not be stopped: {error.summary}", detail=error.detail, address=address,
        ) from error
    return True


def _await_orphans(session: Session, observer: Observer, addresses: Iterable[str], stop: Stop) -> None:
    """Look, and let the lock go between two looks, until the backend says that these runs have ended. Raises FailedError."""
    clock, left = session.runtime.clock, set(addresses)
    deadline, pause = clock.monotonic() + ORPHAN_PATIENCE, 0.1
    while left and not stop.requested:
        with session.locked("cancel", 5.0) as manager:
            over = observe_orphans(manager.state, session.places, session.now(), left)
            record(session, observer, over)
            left -= {event.address for event in over}
        if left and clock.monotonic() > deadline:
            raise FailedError.of(
                "still_live", f"the run that {min(left)} left behind has not ended yet", address=min(left),
                hint="its stop was asked for; the next plan looks again",
            )
        if left:
            sleep(clock, pause, stop)
            pause = min(_LONGEST_PAUSE, pause * 1.5)


def _rerun_events(session: Session, state: State, addresses: Iterable[str]) -> list[Event]:
    run, at = session.new_run(), session.now()
    events: list[Event] = []
    changes: list[RunChange] = []
    for address in addresses:
        entry = state.jobs[address]
        _refuse_rerun(address, entry)
        number = state.last_attempt(address) + 1
        key = digest(["rerun", address, number])
        action = "rerun" if entry.attempts else "create"
        changes.append(RunChange(address, action, key, number))
        events.append(ChangeAccepted(address, Accepted(action, "requested", run, at, key, number), None))
    return [RunStarted(run, at, "rerun", session.who, session.commit, "", tuple(changes)), *events]


def _refuse_rerun(address: str, entry: Record) -> None:
    if entry.desired is None:
        raise FailedError.of(
            "nothing_accepted", f"nothing was accepted of {address} yet", address=address, hint="use `jobform apply`"
        )
    if entry.intent is not None:
        raise FailedError.of(
            "unknown_submission", f"an earlier call of {address} is not settled", address=address, hint="see `jobform status`"
        )
    if entry.last and not entry.last.ended:
        raise FailedError.of(
            "live", f"attempt {entry.last.n} of {address} is {entry.last.phase}", address=address,
            hint=f"wait for it, or stop it first: jobform cancel '{address}'",
        )

