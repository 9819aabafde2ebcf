"""The only place that changes a `State`: each event is folded in once, in the order in which events became durable.

Rules that every fold keeps: attempt numbers of an address only rise, also across tombstones; an attempt that has ended is never
changed except by what is done to its remains; a settled change stays settled, but what was done may still be cancelled: that
ends its retries. An event that does not fit raises StateError with code `journal_inconsistent`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jobform.model.change import Action
from jobform.model.errors import JobformError, StateError
from jobform.model.event import (
    Begun,
    ChangeAccepted,
    Ended,
    Event,
    Held,
    Imported,
    Moved,
    Observed,
    Released,
    Removed,
    Resolved,
    RunEnded,
    RunStarted,
    Settled,
    SpecStored,
)
from jobform.model.state import (
    ASSERTED,
    ENDED,
    KEPT_RUNS,
    Attempt,
    Hold,
    Intent,
    Op,
    Record,
    Run,
    RunChange,
    State,
    Tombstone,
    Update,
)

SETTLED_DONE = "done"
SETTLED_SUPERSEDED = "superseded"


def fold(state: State, event: Event) -> None:
    """Change the state by one event. Raises StateError (`journal_inconsistent`) when the event does not fit the state."""
    Recorder(state).fold(event)


def prune(state: State) -> None:
    """Drop what a snapshot no longer needs: specs that nothing names, and the oldest finished runs beyond KEPT_RUNS."""
    finished = [run.id for run in state.runs.values() if _finished(run)]
    for excess in finished[: max(0, len(state.runs) - KEPT_RUNS)]:
        del state.runs[excess]
    used = _used_specs(state)
    for unused in state.specs.keys() - used:
        del state.specs[unused]


class Recorder:
    """Folds many events into one state; it remembers where a run keeps each address, so that settling costs no search."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._places: dict[str, dict[str, int]] = {}

    def fold(self, event: Event) -> None:
        """As `fold`."""
        _FOLDS[type(event)](self, event)

    # --- runs and accepted changes ---

    def _run_started(self, event: RunStarted) -> None:
        if event.run in self._state.runs:
            raise _misfit(f"run {event.run} started twice")
        self._state.runs[event.run] = Run(
            event.run, event.command, event.at, event.who, event.commit, event.digest, event.changes,
        )

    def _run_ended(self, event: RunEnded) -> None:
        run = self._state.runs.get(event.run)
        if run is None:
            raise _misfit(f"run {event.run} ended and never started")
        self._state.runs[event.run] = replace(run, ended_at=event.at, outcome=event.outcome, exit=event.exit)

    def _spec(self, event: SpecStored) -> None:
        self._state.specs[event.digest] = event.spec

    def _accepted(self, event: ChangeAccepted) -> None:
        record = self._state.jobs.get(event.address)
        if record is None:
            if event.desired is None:
                raise _misfit("a change without a desire was accepted for an address without a record", event.address)
            record = Record(event.desired.backend)
        elif record.accepted and record.accepted.settled is None and record.accepted.run != event.accepted.run:
            self._settle_run(record.accepted.run, event.address, SETTLED_SUPERSEDED)
        if event.desired is not None:
            record = replace(record, desired=event.desired, backend=event.desired.backend)
        self._state.jobs[event.address] = replace(record, accepted=event.accepted, hold=None)

    def _settled(self, event: Settled) -> None:
        if event.address not in self._state.jobs and event.address in self._state.tombstones:
            return  # the removal settled it
        self._settle(event.address, event.how)

    def _settle(self, address: str, how: str) -> None:
        """Close the open accepted change of an address, in its record and in its run; quiet when it is closed already.

        What was done can still be cancelled, or lose its need: its attempt ended, and no retry is to follow.
        """
        record = self._record(address)
        accepted = record.accepted
        if accepted is None or (accepted.settled is not None and (accepted.settled != SETTLED_DONE or how == SETTLED_DONE)):
            return
        self._state.jobs[address] = replace(record, accepted=replace(accepted, settled=how))
        self._settle_run(accepted.run, address, how)

    def _settle_run(self, run_id: str, address: str, how: str) -> None:
        self._change_run(run_id, address, lambda change: change if change.settled else replace(change, settled=how))

    def _change_run(self, run_id: str, address: str, edit: Callable[[RunChange], RunChange]) -> None:
        """Edit a run's line for an address; quiet when the run is no longer kept or has no such line."""
        run = self._state.runs.get(run_id)
        if run is None:
            return
        places = self._places.get(run_id)
        if places is None:
            places = self._places[run_id] = {change.address: place for place, change in enumerate(run.changes)}
        place = places.get(address)
        if place is None:
            return
        changed = edit(run.changes[place])
        if changed is not run.changes[place]:
            self._state.runs[run_id] = replace(run, changes=(*run.changes[:place], changed, *run.changes[place + 1 :]))

    # --- calls and what was seen ---

    def _begun(self, event: Begun) -> None:
        intent, record = event.intent, self._state.jobs.get(event.address)
        open_intent = record.intent if record else None
        if open_intent and (open_intent.op, open_intent.attempt) != (intent.op, intent.attempt):
            raise _misfit(f"{intent.op} of attempt {intent.attempt} began inside another call", event.address)
        if intent.op is Op.SUBMIT:
            if open_intent is None and intent.attempt <= self._state.last_attempt(event.address):
                raise _misfit(f"attempt {intent.attempt} began after a later one", event.address)
            record = record or Record(intent.backend, intent.scope)
        elif record is None or _position(record, intent.attempt) is None:
            raise _misfit(f"{intent.op} of attempt {intent.attempt}, which does not exist", event.address)
        self._state.jobs[event.address] = replace(record, intent=intent)

    def _ended(self, event: Ended) -> None:
        record = self._record(event.address)
        intent = record.intent
        if intent is None or (intent.op, intent.attempt) != (event.op, event.attempt):
            raise _misfit(f"{event.op} of attempt {event.attempt} ended and was not begun", event.address)
        record = replace(record, intent=None)
        if event.ok and event.op is Op.SUBMIT:
            attempts = (*record.attempts, _attempt(intent, event))
            record = replace(record, backend=intent.backend, scope=intent.scope, attempts=attempts)
        elif event.ok:
            record = _edit(record, event.attempt, lambda attempt: _after_call(attempt, intent, event))
        self._state.jobs[event.address] = record
        accepted = record.accepted
        if event.ok and event.op in (Op.SUBMIT, Op.UPDATE) and accepted and accepted.attempt == event.attempt:
            self._settle(event.address, SETTLED_DONE)

    def _observed(self, event: Observed) -> None:
        record = self._state.jobs.get(event.address)
        if record is not None and _position(record, event.attempt) is not None:
            self._state.jobs[event.address] = _edit(record, event.attempt, lambda attempt: _after_look(attempt, event))
            return
        tombstone = self._state.tombstones.get(event.address)
        known = tombstone.attempts if tombstone else ()
        if tombstone is None or all(attempt.n != event.attempt for attempt in known):
            raise _misfit(f"attempt {event.attempt} was observed and does not exist", event.address)
        attempts = tuple(_after_look(attempt, event) if attempt.n == event.attempt else attempt for attempt in known)
        tombstone = replace(tombstone, attempts=attempts)
        if event.attempt == tombstone.last_attempt and event.phase in ENDED:
            tombstone = _at_rest(tombstone)
        self._state.tombstones[event.address] = tombstone

    def _held(self, event: Held) -> None:
        record = self._record(event.address)
        self._state.jobs[event.address] = replace(record, hold=Hold(event.reason, event.detail, event.at))

    def _released(self, event: Released) -> None:
        self._state.jobs[event.address] = replace(self._record(event.address), hold=None)

    def _resolved(self, event: Resolved) -> None:
        record, tombstone = self._state.jobs.get(event.address), self._state.tombstones.get(event.address)
        if record is None and tombstone is None:
            raise _misfit("it was resolved and is not known", event.address)
        if record is not None:
            self._state.jobs[event.address] = replace(record, hold=None)
        if tombstone is not None and tombstone.live:
            self._state.tombstones[event.address] = _at_rest(tombstone)

    # --- addresses that come and go ---

    def _imported(self, event: Imported) -> None:
        address, attempt = event.address, event.attempt
        record, tombstone = self._state.jobs.get(address), self._state.tombstones.get(address)
        if attempt.n <= self._state.last_attempt(address):
            raise _misfit(f"attempt {attempt.n} was imported after a later one", address)
        if record and (record.intent or (record.last and not record.last.ended)):
            raise _misfit(f"attempt {attempt.n} was imported beside one that has not ended", address)
        if record and record.accepted and record.accepted.settled is None:
            self._settle_run(record.accepted.run, address, SETTLED_SUPERSEDED)
        before = tuple(_given_up(other, attempt) for other in record.attempts) if record else ()
        self._state.jobs[address] = Record(
            attempt.backend, attempt.scope, event.desired, replace(event.accepted, settled=SETTLED_DONE),
            attempts=(*before, attempt),
        )
        self._settle_run(event.accepted.run, address, SETTLED_DONE)
        if tombstone is not None:
            rest = _at_rest(tombstone) if tombstone.live and _same_run(tombstone, attempt) else tombstone
            self._state.tombstones[address] = replace(rest, attempts=tuple(_given_up(one, attempt) for one in rest.attempts))
        if attempt.asserted and ASSERTED not in self._state.features:
            self._state.features = (*self._state.features, ASSERTED)

    def _moved(self, event: Moved) -> None:
        record, there = self._record(event.address), self._state.jobs.get(event.to)
        if there is not None:
            if there.attempts or there.intent or event.to == event.address:
                raise _misfit(f"it was moved to {event.to}, which has a record", event.address)
            record = self._overlaid(event.address, record, there)
        elif record.accepted:
            run = record.accepted.run
            self._change_run(run, event.address, lambda change: replace(change, address=event.to))
            self._places.pop(run, None)
        self._bury(event.address, event.at, "moved", None)
        self._state.jobs[event.to] = record

    def _overlaid(self, address: str, record: Record, accepted: Record) -> Record:
        """What was accepted for the new address before the record came there."""
        if record.accepted and record.accepted.settled is None:
            self._settle_run(record.accepted.run, address, SETTLED_SUPERSEDED)
        return replace(
            record, backend=accepted.backend, desired=accepted.desired or record.desired, accepted=accepted.accepted,
            hold=accepted.hold,
        )

    def _removed(self, event: Removed) -> None:
        record = self._record(event.address)
        went = record.accepted is not None and record.accepted.action in (Action.DELETE, Action.FORGET)
        self._settle(event.address, SETTLED_DONE if went else SETTLED_SUPERSEDED)
        self._bury(event.address, event.at, event.how, record)

    def _bury(self, address: str, at: str, how: str, record: Record | None) -> None:
        """Replace a record by a tombstone. record None: what ran lives on under another address."""
        last = self._state.last_attempt(address)
        old = self._state.tombstones.get(address)
        tombstone = replace(old, last_attempt=last, at=at, how=how) if old else Tombstone(last, at, how)
        if record is not None:
            tombstone = replace(tombstone, attempts=tombstone.attempts + record.attempts)
            attempt, intent = record.last, record.intent
            if intent and intent.op is Op.SUBMIT:
                tombstone = replace(tombstone, ref=None, mark=intent.mark, backend=intent.backend, scope=intent.scope)
            elif attempt and not attempt.ended:
                tombstone = replace(
                    tombstone, ref=attempt.ref, mark=attempt.mark, backend=attempt.backend, scope=attempt.scope,
                )
        self._state.tombstones[address] = tombstone
        del self._state.jobs[address]

    def _record(self, address: str) -> Record:
        record = self._state.jobs.get(address)
        if record is None:
            raise _misfit("it has no record", address)
        return record


def _attempt(intent: Intent, event: Ended) -> Attempt:
    return Attempt(
        intent.attempt, intent.token, intent.name, intent.mark, intent.backend, intent.scope, intent.generation,
        intent.fingerprint, intent.rules, intent.spec, intent.body_hash, intent.run, intent.at, event.at, event.ref,
        used=intent.used, inputs=intent.inputs, held=intent.held,
    )


def _after_call(attempt: Attempt, intent: Intent, event: Ended) -> Attempt:
    if event.op is Op.UPDATE:
        updates = (*attempt.updates, Update(event.at, intent.run, intent.spec))
        return replace(attempt, updates=updates, held=intent.held)
    if event.op is Op.CANCEL:
        return replace(attempt, asked_stop=True)
    if event.op is Op.RELEASE:
        return replace(attempt, held=False)
    return replace(attempt, removed=True, held=False, cleared=attempt.cleared or intent.whole)


def _after_look(attempt: Attempt, event: Observed) -> Attempt:
    """An attempt completed by an observation. One that has ended stays as it is; what was known once is not forgotten."""
    if attempt.ended:
        return attempt
    ended = event.phase in ENDED
    return replace(
        attempt, phase=event.phase, detail=event.detail, class_=event.class_, native_reason=event.native_reason,
        exit=event.exit, outputs=attempt.outputs if event.outputs is None else event.outputs,
        started_at=event.started_at or attempt.started_at, ended_at=(event.ended_at or event.at) if ended else None,
    )


def _edit(record: Record, number: int, edit: Callable[[Attempt], Attempt]) -> Record:
    place = _position(record, number)
    assert place is not None
    attempts = record.attempts
    changed = edit(attempts[place])
    if changed is attempts[place]:
        return record
    return replace(record, attempts=(*attempts[:place], changed, *attempts[place + 1 :]))


def _position(record: Record, number: int) -> int | None:
    """Where the attempt of that number is; the last one is by far the likeliest."""
    for place in range(len(record.attempts) - 1, -1, -1):
        if record.attempts[place].n == number:
            return place
    return None


def _given_up(old: Attempt, new: Attempt) -> Attempt:
    """An earlier attempt whose run is the new one's now: what remains of it is not its own to remove."""
    return replace(old, removed=True) if (old.backend, old.ref) == (new.backend, new.ref) else old


def _same_run(tombstone: Tombstone, attempt: Attempt) -> bool:
    if tombstone.ref is not None:
        return tombstone.ref == attempt.ref
    return tombstone.mark.rsplit("-", 1)[0] == attempt.mark.rsplit("-", 1)[0]


def _at_rest(tombstone: Tombstone) -> Tombstone:
    return replace(tombstone, ref=None, mark="", backend="", scope="")


def _finished(run: Run) -> bool:
    return run.exit is not None and all(change.settled for change in run.changes)


def _used_specs(state: State) -> set[str]:
    used: set[str] = set()
    attempts = [attempt for tombstone in state.tombstones.values() for attempt in tombstone.attempts]
    for record in state.jobs.values():
        attempts += record.attempts
        if record.desired:
            used.add(record.desired.spec)
        if record.intent:
            used.add(record.intent.spec)
    for attempt in attempts:
        used.add(attempt.spec)
        used.update(update.spec for update in attempt.updates)
    return used


def _misfit(detail: str, address: str | None = None) -> JobformError:
    return StateError.of(
        "journal_inconsistent", "The journal says something that does not fit the state", detail=detail, address=address,
        hint="Nothing was changed. `jobform state pull` shows what is recorded.",
    )


_FOLDS: dict[type[Event], Callable[[Recorder, Any], None]] = {
    RunStarted: Recorder._run_started, RunEnded: Recorder._run_ended, SpecStored: Recorder._spec,
    ChangeAccepted: Recorder._accepted, Settled: Recorder._settled, Begun: Recorder._begun, Ended: Recorder._ended,
    Observed: Recorder._observed, Held: Recorder._held, Released: Recorder._released, Moved: Recorder._moved,
    Removed: Recorder._removed, Resolved: Recorder._resolved, Imported: Recorder._imported,
}
