"""One mutating call: made in a worker, answered with what is certain about it afterwards."""

from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import timedelta

from jobform.engine.body import Body
from jobform.engine.refresh import mark_of
from jobform.model.clock import SPREAD
from jobform.model.errors import BackendError, Started
from jobform.model.state import Intent, Op
from jobform.protocols import (
    Absent,
    Actual,
    Backend,
    Effect,
    Found,
    Gone,
    Mark,
    Preparing,
    Ref,
    Releasing,
    Submission,
    Unknown,
)

TRIES = 5
"""How often one command makes a call that fails in a way that may pass."""

LONGEST_PAUSE = 300.0
"""Seconds: a service may ask for more patience than this, but a command does not have it."""


@dataclass(frozen=True, slots=True)
class Done:
    """The call took effect. adopted: it was found to have done so after an ambiguous answer."""

    ref: Ref | None = None
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """It is certain that the call had no effect.

    started: a conditional cancel met a started run. gone: there is nothing left to update. retry_after: seconds that the service
    asked for. untidy: what was made for a submission before it failed may still be there, and can be removed later: its intent
    stays open until then.
    """

    summary: str
    detail: str = ""
    retryable: bool = False
    retry_after: float = 0.0
    started: bool = False
    gone: bool = False
    untidy: bool = False


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody can say whether the call took effect: its intent stays open."""

    reason: str


Answer = Done | Failed | Unclear


def make(
    backend: Backend, address: str, intent: Intent, ref: Ref | None, body: Body | None, effect: Effect, *, only_if_waiting: bool,
    keep: Callable[[], None] = lambda: None, kept: Collection[Ref] = (),
) -> Answer:
    """Make the call of an intent. Never raises for what a backend does; `effect` is told before and after.

    keep: stores the run's log; called before anything that may end what can still show it. kept: of a submission, the job's other
    runs, whose things stay when it fails.
    """
    if intent.op in (Op.CANCEL, Op.DELETE):
        keep()
    effect(f"backend.{intent.op}.before", address)
    try:
        answer = _call(backend, address, intent, ref, body, kept, only_if_waiting=only_if_waiting)
    except Started:
        answer = Failed("it has started", started=True)
    except BackendError as error:
        answer = _after_error(backend, address, intent, error, body, kept)
    except Exception as error:  # noqa: BLE001  # a plug-in's bug must not lose the intent: what it did is asked of the backend
        bug = BackendError(f"{type(error).__name__}: {error}", "this is a fault in the backend's plug-in", ambiguous=True)
        answer = _after_error(backend, address, intent, bug, body, kept)
    effect(f"backend.{intent.op}.after", address)
    return answer


def _call(
    backend: Backend, address: str, intent: Intent, ref: Ref | None, body: Body | None, kept: Collection[Ref], *,
    only_if_waiting: bool,
) -> Answer:
    if intent.op is Op.SUBMIT:
        assert body
        sent = replace(_submission(address, body), earlier=kept)
        return Done(backend.submit(sent, mark_of(address, intent, body.described)))
    assert ref
    if intent.op is Op.CANCEL:
        backend.cancel(ref, only_if_waiting=only_if_waiting)
    elif intent.op is Op.DELETE:
        backend.delete(ref, whole=intent.whole)
    elif intent.op is Op.RELEASE:
        assert body
        if isinstance(backend, Releasing):
            backend.release(ref, _submission(address, body))
    else:
        assert body
        present = backend.read([ref]).get(ref)
        if isinstance(present, Gone):
            return Failed("there is nothing left to update", gone=True)
        if not isinstance(present, Actual):
            raise BackendError("its present could not be read", present.detail if present else "", retryable=True)
        backend.update(ref, _submission(address, body), present)
    return Done(ref)


def _submission(address: str, body: Body) -> Submission:
    return Submission(address, body.spec, body.described, body.masks, body.changes, body.inputs, ignored=body.ignored)


def _after_error(
    backend: Backend, address: str, intent: Intent, error: BackendError, body: Body | None, kept: Collection[Ref],
) -> Answer:
    """Before anything is tried again after an ambiguous answer, the mark is looked up."""
    if intent.op is not Op.SUBMIT:  # update, cancel and delete may be made again
        return Failed(error.summary, error.detail, error.retryable or error.ambiguous, error.retry_after)
    mark = mark_of(address, intent, body.described if body else {})
    if error.ambiguous:
        try:
            found = backend.find([mark]).get(mark, Unknown("the backend gave no answer for this run"))
        except Exception as second:  # noqa: BLE001  # whatever went wrong, the answer is that nobody knows
            return Unclear(f"{error.summary}; and looking it up failed: {second}")
        if isinstance(found, Found) and found.body == intent.body_hash[:16]:
            return Done(found.ref, adopted=True)
        if not isinstance(found, Absent):
            reason = found.reason if isinstance(found, Unknown) else f"{intent.name} exists with another content"
            return Unclear(f"{error.summary}; {reason}")
    return _tidied(backend, mark, kept, Failed(error.summary, error.detail, error.retryable, error.retry_after))


def _tidied(backend: Backend, mark: Mark, kept: Collection[Ref], failed: Failed) -> Failed:
    """A submission that failed leaves nothing behind, or says what."""
    if not isinstance(backend, Preparing):
        return failed
    try:
        backend.abandon(mark, kept)
    except BackendError as error:
        left, later = f"{error.summary}: {error.detail}" if error.detail else error.summary, error.retryable or error.ambiguous
    except Exception as error:  # noqa: BLE001  # a plug-in's bug must not lose the intent
        left, later = f"what was made for it could not be removed: {type(error).__name__}: {error}", False
    else:
        return failed
    return replace(failed, detail="; ".join(filter(None, (failed.detail, left))), untidy=later)


def pause_after(failed: Failed, tries: int) -> timedelta | None:
    """How long to wait before a call that has failed so many times is made again; None: this command does not make it again."""
    if not failed.retryable or failed.untidy or tries >= TRIES:
        return None
    pause = min(30.0, 0.5 * 2**tries) * SPREAD.uniform(0.5, 1.0)
    return timedelta(seconds=max(pause, min(failed.retry_after, LONGEST_PAUSE)))


def keep_logs(pool: Executor, keep: Callable[[str, int], None], ended: Collection[tuple[str, int]]) -> None:
    """Store the logs of attempts that have ended, many at a time; back when all is stored."""
    for future in [pool.submit(keep, address, number) for address, number in ended]:
        future.result()
