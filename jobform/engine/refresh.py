"""What the backends say: the ends of interrupted calls, and the present of every attempt that has not ended.

Both answer with the events that would record it, so a plan folds them into a copy and an apply into the state itself.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from jobform.engine.absence import is_proven, not_proven, other_key
from jobform.engine.collect import collected
from jobform.engine.places import Places
from jobform.model.errors import BackendError, FailedError
from jobform.model.event import Ended, Event, Held, Observed, Released, Resolved
from jobform.model.state import ENDED, Attempt, Intent, Op, Phase, Record, State
from jobform.model.values import Json
from jobform.protocols import (
    Absent,
    Actual,
    Backend,
    Comparing,
    Difference,
    Found,
    Gone,
    Mark,
    Preparing,
    ReadError,
    Ref,
    Unknown,
)


@dataclass(slots=True)
class Sights:
    """Beside the events: reported fields by address, drift that a backend told itself, addresses whose run lives elsewhere, and
    reads that failed.
    """

    fields: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    differences: dict[str, tuple[Difference, ...]] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    unread: dict[str, ReadError] = field(default_factory=dict)
    warnings: list[tuple[str, str]] = field(default_factory=list)


def recover(state: State, places: Places, addresses: Iterable[str], at: str) -> list[Event]:
    """The ends of calls that were begun and whose end nobody recorded. Raises FailedError when a backend cannot be asked."""
    events: list[Event] = []
    asked: dict[str, dict[Mark, str]] = defaultdict(dict)
    for address in addresses:
        record = state.jobs[address]
        intent = record.intent
        if intent is None:
            continue
        if intent.op is Op.SUBMIT:
            asked[intent.backend][mark_of(address, intent, _spec(state, intent))] = address
        else:  # update, cancel and delete may be made again: what is open is driven from what was accepted
            events.append(Ended(address, intent.op, intent.attempt, at, ok=False, error="interrupted"))
    for name, marks in asked.items():
        here = {m: a for m, a in marks.items() if not _elsewhere(places, name, state.jobs[a].intent, a)}
        answers = _ask(places, name, here)
        for mark, address in here.items():
            record, answer = state.jobs[address], answers[mark]
            if isinstance(answer, Absent) and record.intent and not is_proven(state, places, name, record.intent.scope):
                answer = Unknown(other_key(places, name))
            events += _resolved(address, record, answer, at)
    return events


def abandon(state: State, places: Places, events: Iterable[Event], at: str) -> tuple[list[Event], list[tuple[str, str]]]:
    """Have removed what was made for submissions that never arrived, as `recover` found: before that is recorded, so that it is
    done again if this is cut.

    The events to record: where something may be removed later, the call stays open, held. Then address and text of what could
    not be removed.
    """
    held: dict[str, Held] = {}
    left: list[tuple[str, str]] = []
    known = list(events)
    for event in known:
        if not isinstance(event, Ended) or event.op is not Op.SUBMIT or event.ok:
            continue
        record = state.jobs[event.address]
        intent = record.intent
        backend = places.backend(intent.backend) if intent else None
        if intent is None or not isinstance(backend, Preparing):
            continue
        mark = mark_of(event.address, intent, _spec(state, intent))
        try:
            backend.abandon(mark, kept_runs(state, event.address))
        except BackendError as error:
            left.append((event.address, f"{error.summary}: {error.detail}" if error.detail else error.summary))
            if error.retryable or error.ambiguous:
                held[event.address] = Held(event.address, at, "unknown_submission", left[-1][1])
    going = [event for event in known if not (isinstance(event, Ended | Released) and event.address in held)]
    said = [event for address, event in held.items() if (hold := state.jobs[address].hold) is None or hold.detail != event.detail]
    return [*going, *said], left


def kept_runs(state: State, address: str) -> list[Ref]:
    """The references of all runs of an address that the state knows, on whatever backend: a block may have got another name."""
    record, tombstone = state.jobs.get(address), state.tombstones.get(address)
    attempts = [*(record.attempts if record else ()), *(tombstone.attempts if tombstone else ())]
    return [Ref.of(attempt.ref) for attempt in attempts]


def observe(
    state: State, places: Places, addresses: Iterable[str], at: str, *, patient: bool = False, compare: bool = False,
    collect: bool = False,
) -> tuple[list[Event], Sights]:
    """One bulk read per backend of the last attempts of these addresses, as far as they have not ended. compare: look for drift.
    collect: the events will be recorded, so what runs left is fetched first.

    Raises FailedError when a backend's scope cannot be proven or is not that of a live attempt, where a run that is not shown may
    be there all the same, and when a read fails, unless patient: then its addresses are `unread`, because there will be another
    look.
    """
    sights, events = Sights(), list[Event]()
    refs: dict[str, dict[Ref, str]] = defaultdict(dict)
    for address in addresses:
        last = state.jobs[address].last
        if last and not last.ended:
            if _elsewhere(places, last.backend, last, address):
                sights.foreign.add(address)
            else:
                refs[last.backend][Ref.of(last.ref)] = address
    for name, by_ref in refs.items():
        try:
            answers = places.backend(name).read(list(by_ref))
        except BackendError as error:
            if patient:
                failed = ReadError(error.summary, error.detail, error.retryable)
                sights.unread |= dict.fromkeys(by_ref.values(), failed)
                continue
            raise FailedError.of(
                "read_failed", f"backend {name!r} could not be read: {error.summary}", detail=error.detail,
                hint="nothing was changed; try again",
            ) from error
        _check_gone(state, places, name, {address: answers.get(ref) for ref, address in by_ref.items()})
        if collect:
            answers = collected(places.backend(name), answers, partial(_applied, state, by_ref))
        for ref, address in by_ref.items():
            last = state.jobs[address].last
            assert last
            answer = answers.get(ref, ReadError("the backend gave no answer for this run"))
            events += _seen(address, last, answer, at, sights, lambda attempt: places.completes(attempt, state.specs))
            if compare and isinstance(answer, Actual) and answer.phase not in ENDED:
                _compare(places.backend(name), address, state.spec(last.applied), answer, sights)
    return events, sights


def _check_gone(
    state: State, places: Places, name: str, answers: Mapping[str, Actual | Gone | ReadError | None],
) -> None:
    """Raises FailedError for what a backend does not show and may be there all the same. answers: by address."""
    scopes = {address: last.scope for address in answers if (last := state.jobs[address].last)}
    for address, answer in answers.items():
        if isinstance(answer, Actual):
            places.vouch(name, scopes[address])
    doubtful = [
        address for address, answer in answers.items()
        if isinstance(answer, Gone) and not is_proven(state, places, name, scopes[address])
    ]
    if doubtful:
        raise not_proven(places, name, doubtful)


def _applied(state: State, addresses: Mapping[Ref, str], ref: Ref) -> Mapping[str, Json]:
    """The spec in force of the last attempt of an address, by its reference."""
    last = state.jobs[addresses[ref]].last
    assert last
    return state.spec(last.applied)


def _compare(backend: Backend, address: str, spec: Mapping[str, Json], actual: Actual, sights: Sights) -> None:
    if isinstance(backend, Comparing):
        try:
            found = tuple(backend.differences(spec, actual))
        except BackendError as error:
            raise FailedError.of(
                "read_failed", f"{address} could not be compared: {error.summary}", detail=error.detail, address=address,
                hint="nothing was changed; try again",
            ) from error
        if found:
            sights.differences[address] = found
    elif actual.fields:
        sights.fields[address] = actual.fields


def _spec(state: State, intent: Intent) -> Mapping[str, Json]:
    return state.spec(intent.spec) if intent.spec in state.specs else {}


def observe_orphans(state: State, places: Places, at: str, only: Container[str] | None = None) -> list[Resolved]:
    """Whether the runs that removed jobs left behind have ended since; what cannot be read is left as it is."""
    refs: dict[str, dict[Ref, str]] = defaultdict(dict)
    for address, tombstone in state.tombstones.items():
        name = tombstone.backend
        if only is not None and address not in only:
            continue
        if tombstone.ref is not None and places.configured(name) and places.scope(name).is_place(tombstone.scope):
            refs[name][Ref.of(tombstone.ref)] = address
    events: list[Resolved] = []
    for name, by_ref in refs.items():
        try:
            answers = places.backend(name).read(list(by_ref))
        except BackendError:  # it stays what it is: not known to have ended, which blocks, and says how to go on
            continue
        for ref, address in by_ref.items():
            answer, scope = answers.get(ref), state.tombstones[address].scope
            gone = isinstance(answer, Gone) and is_proven(state, places, name, scope)
            if gone or (isinstance(answer, Actual) and answer.phase in ENDED):
                events.append(Resolved(address, at, "the backend", "ended"))
    return events


def mark_of(address: str, intent: Intent | Attempt, spec: Mapping[str, Json]) -> Mark:
    """The mark that an intent stored; none is ever computed again. spec: what it meant to submit, as the state has it."""
    begun = intent.at if isinstance(intent, Intent) else intent.begun_at
    number = intent.attempt if isinstance(intent, Intent) else intent.n
    return Mark(address, number, intent.token, intent.name, intent.mark, begun, spec)


def outcome(address: str, attempt: Attempt, actual: Actual, at: str) -> Observed | None:
    """The event for what a backend reported, None if it says nothing new."""
    ended_at = (actual.ended_at or at) if actual.phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED) else None
    class_ = (actual.class_ or "user_error") if actual.phase is Phase.FAILED else None
    seen = Observed(
        address, attempt.n, at, actual.phase, actual.detail, class_, actual.native_reason, actual.exit, actual.outputs,
        actual.started_at or attempt.started_at, ended_at,
    )
    known = (
        attempt.phase,
        attempt.detail,
        attempt.class_,
        attempt.native_reason,
        attempt.exit,
        attempt.started_at,
        attempt.ended_at,
    )
    said = (seen.phase, seen.detail, seen.class_, seen.native_reason, seen.exit, seen.started_at, seen.ended_at)
    return None if known == said else seen


def first_look(
    address: str, attempt: Attempt, actual: Actual, at: str, completes: Callable[[Attempt], bool],
) -> tuple[list[Event], tuple[str, ...]]:
    """What is to be recorded of a run that is seen for the first time, and what a user should hear of it."""
    sights = Sights()
    events = _seen(address, attempt, actual, at, sights, completes)
    return events, tuple(warning for _, warning in sights.warnings)


def _seen(
    address: str, last: Attempt, answer: Actual | Gone | ReadError, at: str, sights: Sights,
    completes: Callable[[Attempt], bool],
) -> list[Event]:
    if isinstance(answer, ReadError):
        sights.unread[address] = answer
        return []
    if isinstance(answer, Gone):
        phase = Phase.CANCELLED if last.asked_stop else Phase.FAILED
        class_ = None if last.asked_stop else "lost"
        why = (
            "removed after its stop was asked for"
            if last.asked_stop
            else f"it is gone from {last.backend}, and nothing says how it ended"
        )
        return [Observed(address, last.n, at, phase, "", class_, why, None, None, last.started_at, at)]
    if answer.phase is Phase.SUCCEEDED and not completes(last):
        answer = _ended_service(answer, asked=last.asked_stop)
    sights.warnings += [(address, warning) for warning in answer.warnings]
    event = outcome(address, last, answer, at)
    return [event] if event else []


def _ended_service(answer: Actual, *, asked: bool) -> Actual:
    """The end of a run that goes on until it is stopped: no success, whatever the service calls it."""
    if asked:
        return replace(answer, phase=Phase.CANCELLED)
    return replace(answer, phase=Phase.FAILED, class_="infra", native_reason="it ended, although its kind goes on running")


def _resolved(address: str, record: Record, answer: Found | Absent | Unknown, at: str) -> list[Event]:
    intent = record.intent
    assert intent
    released: list[Event] = [Released(address, at)] if record.hold else []
    if isinstance(answer, Absent):
        return [Ended(address, Op.SUBMIT, intent.attempt, at, ok=False, error="it never arrived"), *released]
    if isinstance(answer, Found):
        if answer.body == intent.body_hash[:16]:
            return [Ended(address, Op.SUBMIT, intent.attempt, at, ok=True, ref=answer.ref.value, adopted=True), *released]
        detail = f"{intent.name} exists on {intent.backend} with another content than the one that was to be submitted"
    else:
        detail = answer.reason
    if record.hold and record.hold.detail == detail:
        return []
    return [Held(address, at, "unknown_submission", detail)]


def _ask(places: Places, name: str, marks: Iterable[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
    wanted = list(marks)
    try:
        answers = places.backend(name).find(wanted) if wanted else {}
    except BackendError as error:
        return {mark: Unknown(f"{name} could not be asked: {error.summary}") for mark in wanted}
    return {mark: answers.get(mark, Unknown("the backend gave no answer for this run")) for mark in wanted}


def _elsewhere(places: Places, name: str, attempt: Attempt | Intent | None, address: str) -> bool:
    """Whether an attempt lives in a place that the settings do not reach. Raises FailedError where that is an error."""
    if attempt is None or not attempt.scope:
        return False
    scope = places.scope(name)
    if scope.is_place(attempt.scope):
        return False
    if places.type(name).foreign_scope == "hold":
        return True
    raise FailedError.of(
        "other_scope", f"backend {name!r} now reaches {scope.described}, but {address} runs somewhere else",
        detail=f"the setting that decides this is {scope.source or 'its credentials'}", address=address,
        hint="point the backend back, or let the job end there first",
    )
