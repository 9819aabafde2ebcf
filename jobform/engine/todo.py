"""What to do next for one address, from the state alone: the second comparison, one step at a time.

Both `apply` and `advance` ask this; it never looks at the project's files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from jobform.engine.needs import Completes, Verdict, ask, judge_record
from jobform.engine.retry import retry_due
from jobform.model.change import Action, Reason
from jobform.model.event import Event, Removed, Settled
from jobform.model.job import When
from jobform.model.state import Accepted, Attempt, Desired, Op, Record, State


@dataclass(frozen=True, slots=True)
class Call:
    """Make this call now. only_if_waiting: a cancel that must not stop a run that has started. whole: a delete that takes along
    what the job's attempts share.
    """

    op: Op
    attempt: int
    only_if_waiting: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Record these events; no call is needed."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done yet.

    why: `need`, `end` (of the own attempt), `room` (on the backend), `time` (of a retry), or `pace` (of a call to be made again).
    """

    why: str
    until: datetime | None = None
    addresses: tuple[str, ...] = field(default=())


Todo: TypeAlias = Call | Note | Wait | None


@dataclass(frozen=True, slots=True)
class World:
    """What the answer depends on beside the state. room: whether a backend takes another attempt.

    named: the name that a user gave to the object of a desired run, None for one that jobform names.
    """

    now: datetime
    at: str
    room: Callable[[str], bool]
    completes: Completes
    named: Callable[[Desired], str | None] = lambda _desired: None


def todo(state: State, address: str, world: World) -> Todo:
    """The next step of an address, None if there is none."""
    record = state.jobs.get(address)
    if record is None or record.intent is not None:
        return None
    accepted = record.accepted
    if accepted and accepted.settled is None:
        return _open(state, address, record, accepted, world)
    if accepted and accepted.settled != "done":
        return clean_up(record)
    retry = retry_due(record.desired.policy, record.attempts) if record.desired else None
    if retry:
        if world.now < retry.not_before:
            return Wait("time", until=retry.not_before)
        return _start(state, address, record, state.last_attempt(address) + 1, world)
    return clean_up(record)


def clean_up(record: Record) -> Call | None:
    """What an outcome that is recorded leaves to do: remove the object of an earlier attempt, once a later one was submitted,
    unless it is to be kept; and send what was held back until the end.
    """
    keep = record.desired.policy.keep_objects if record.desired else 0
    older = [attempt for attempt in record.attempts[:-1] if attempt.ended]
    for attempt in older[: max(0, len(older) - keep)]:
        if not attempt.removed:
            return Call(Op.DELETE, attempt.n)
    due = next((attempt for attempt in record.attempts if attempt.held and attempt.ended and not attempt.removed), None)
    return Call(Op.RELEASE, due.n) if due else None


def _open(state: State, address: str, record: Record, accepted: Accepted, world: World) -> Todo:
    if accepted.action == Action.DELETE:
        return _delete(address, record, accepted, world)
    if accepted.action == Action.FORGET:
        return Note((Settled(address, world.at, "done"), Removed(address, world.at, "forgotten")))
    if accepted.action in (Action.UPDATE, Action.MOVE):
        record_only = accepted.action == Action.MOVE or accepted.reason in (Reason.NEXT_ATTEMPT, Reason.POLICY_CHANGED)
        if record_only or record.last is None or record.last.removed:
            return Note((Settled(address, world.at, "done"),))
        return Call(Op.UPDATE, record.last.n)
    return _attempt(state, address, record, accepted, world)


def _attempt(state: State, address: str, record: Record, accepted: Accepted, world: World) -> Todo:
    """A new attempt was accepted: first the end of the last one, by itself or by our stop."""
    last = record.last
    if last is not None and last.n >= accepted.attempt:
        return Note((Settled(address, world.at, "done"),))
    if last is None or last.ended:  # a name that was used before has used numbers too
        return _start(state, address, record, max(accepted.attempt, state.last_attempt(address) + 1), world)
    if accepted.action != Action.REPLACE or last.asked_stop:
        return Wait("end")
    ready = _needs(state, address, record, world)
    return ready or _stop(address, last, accepted, world)


def _stop(address: str, last: Attempt, accepted: Accepted, world: World) -> Todo:
    """Stop the last attempt, if that was allowed: the yes covers one attempt, and a waiting one needs none."""
    if accepted.stop == last.n:
        return Call(Op.CANCEL, last.n)
    if last.waiting:
        return Call(Op.CANCEL, last.n, only_if_waiting=True)
    return Note((Settled(address, world.at, "refused", "it started before it could be stopped, and nobody said that it may be"),))


def _delete(address: str, record: Record, accepted: Accepted, world: World) -> Todo:
    last = record.last
    if last and not last.ended:
        return Wait("end") if last.asked_stop else _stop(address, last, accepted, world)
    left = next((attempt for attempt in record.attempts if not attempt.removed), None)
    if left and left is not last:
        return Call(Op.DELETE, left.n)
    if last and not last.cleared:
        return Call(Op.DELETE, last.n, whole=True)
    return Note((Settled(address, world.at, "done"), Removed(address, world.at, "deleted")))


def _start(state: State, address: str, record: Record, number: int, world: World) -> Todo:
    """Submit, when everything that it needs has happened and the backend has room.

    An object that the user named is one for all attempts: the ended one goes first, its outcome and its log being kept.
    """
    ready = _needs(state, address, record, world)
    if ready:
        return ready
    assert record.desired
    name = world.named(record.desired)
    in_the_way = (attempt for attempt in record.attempts if attempt.ended and not attempt.removed and attempt.name == name)
    if name is not None and (old := next(in_the_way, None)):
        return Call(Op.DELETE, old.n)
    return Call(Op.SUBMIT, number) if world.room(record.desired.backend) else Wait("room")


def _needs(state: State, address: str, record: Record, world: World) -> Wait | Note | None:
    """What stands between a job and its start; None when nothing does."""
    if record.desired is None or not record.desired.policy.needs:
        return None

    def judge(needed: str, when: When) -> tuple[Verdict, str]:
        other = state.jobs.get(needed)
        return judge_record(needed, other, when, world.completes)

    answer = ask(record.desired.policy, judge)
    if answer.verdict is Verdict.MET:
        return None
    if answer.verdict is Verdict.WAIT:
        return Wait("need", addresses=answer.waiting_for)
    how = "skipped" if answer.verdict is Verdict.SKIP else "dependency_failed"
    return Note((Settled(address, world.at, how, answer.detail),))
