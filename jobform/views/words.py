"""The sentences of the plan: one for each reason, action and field class. Codes are for machines, these are for people."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from jobform.model.change import Action, Change, FieldChange, Reason

SYMBOLS: Mapping[Action, str] = {
    Action.DELETE: "-", Action.REPLACE: "-/+", Action.FORGET: "x", Action.RERUN: ">>", Action.UPDATE: "~", Action.CREATE: "+",
    Action.MOVE: "=>", Action.ADOPT: "<=", Action.BLOCK: "!", Action.HOLD: "?",
}
"""In the order in which a plan lists them: what destroys first."""

STYLE_OF: Mapping[Action, str] = {
    Action.DELETE: "red", Action.REPLACE: "red", Action.FORGET: "red", Action.RERUN: "cyan", Action.UPDATE: "yellow",
    Action.CREATE: "green", Action.MOVE: "blue", Action.ADOPT: "blue", Action.BLOCK: "magenta", Action.HOLD: "magenta",
}

LEGEND: Mapping[Action, str] = {
    Action.DELETE: "delete: what is left of it is removed, its history is kept",
    Action.REPLACE: "replace: the present run is stopped, then a new one is made",
    Action.FORGET: "forget: it is left running and no longer watched",
    Action.RERUN: "rerun: a further attempt, the last one has ended",
    Action.UPDATE: "update: in place, or only in jobform's record",
    Action.CREATE: "create: a first attempt",
    Action.MOVE: "move: another address or backend for the same record",
    Action.ADOPT: "adopt: take over a run that exists",
    Action.BLOCK: "block: declared, and a guard refuses it",
    Action.HOLD: "hold: a human must judge",
}

_WILL: Mapping[Action, str] = {
    Action.DELETE: "will be deleted", Action.REPLACE: "will be stopped and run again", Action.FORGET: "will be forgotten",
    Action.RERUN: "will run again", Action.UPDATE: "will be updated", Action.CREATE: "will be created",
    Action.MOVE: "will be moved", Action.ADOPT: "will be adopted", Action.BLOCK: "is blocked",
    Action.HOLD: "is on hold", Action.NO_OP: "is left as it is",
}

_BECAUSE: Mapping[Reason, str] = {
    Reason.NEW: "it has never run",
    Reason.SPEC_CHANGED: "its spec changed",
    Reason.POLICY_CHANGED: "only its policy changed",
    Reason.NEXT_ATTEMPT: "what changed only matters to the next attempt",
    Reason.BACKEND_CHANGED: "it is to run on another backend",
    Reason.DRIFTED: "the backend reports other values than were applied",
    Reason.GENERATION: "its generation was raised",
    Reason.REQUESTED: "it was asked for on the command line",
    Reason.RETRY: "its last attempt failed and its rerun policy allows another",
    Reason.LOST: "it disappeared while it was running, and nothing shows how it ended",
    Reason.FAILED: "its last attempt failed, and nothing allows another",
    Reason.CANCELLED: "it was cancelled",
    Reason.EXPIRED_AFTER_SUCCESS: "it succeeded, and the backend no longer keeps it",
    Reason.UNCHANGED: "nothing differs",
    Reason.IN_PROGRESS: "it is under way",
    Reason.IN_FLIGHT: "another command has a call for it open",
    Reason.REMOVED: "it is no longer declared",
    Reason.DESTROY: "everything is being destroyed",
    Reason.RENAMED: "it was renamed; no call is made",
    Reason.PROTECTED: "it is protected, and this would stop, delete or forget it",
    Reason.LIVE: "it is live, and nobody said that it may be stopped",
    Reason.LIVE_ORPHAN: "an earlier attempt of this address may still be running",
    Reason.UNKNOWN_PHASE: "the backend reports a phase that jobform does not know",
    Reason.UNKNOWN_SUBMISSION: "whether its last call took effect is not known",
    Reason.DEPENDENCY_RERAN: "a job that it needs ran again",
    Reason.DEPENDENCY_FAILED: "a job that it needs ended otherwise than required",
    Reason.INVALID_OUTPUT: "an output that it reads does not fit its spec",
    Reason.OTHER_MACHINE: "its run lives on another machine",
    Reason.SKIPPED: "the failure that it waits for did not happen",
    Reason.INTERRUPTED_REPLACE: "its replacement was interrupted after the stop, and goes on",
    Reason.REFUSED: "the backend would refuse it",
    Reason.NAME_TAKEN: "something that is not this job has its name",
}

_COUNTED = (
    ("create", "to create", True), ("update", "to update", True), ("replace", "to replace", True), ("rerun", "to rerun", True),
    ("delete", "to delete", True), ("move", "to move", False), ("adopt", "to adopt", False), ("forget", "to forget", False),
    ("accepted", "accepted earlier", False), ("hold", "held", True), ("block", "blocked", True), ("unchanged", "unchanged", True),
)


def will(change: Change) -> str:
    """`will run again`, `is blocked`: what becomes of an address."""
    return "will run again after its stop" if change.reason is Reason.INTERRUPTED_REPLACE else _WILL[change.action]


def because(change: Change) -> str:
    """Why, as a sentence with the code behind it."""
    return f"{_BECAUSE[change.reason]} ({change.reason})"


def summary(counts: Mapping[str, int]) -> str:
    """`Plan: 2 to create, ... 5 unchanged.`, from `Plan.summary`; the rarer actions only when there are any."""
    parts = [f"{counts.get(key, 0)} {words}" for key, words, always in _COUNTED if always or counts.get(key, 0)]
    return f"Plan: {', '.join(parts)}."


def meaning(change: Change, field: FieldChange) -> str:
    """What a differing field stands for and what follows from it."""
    if field.source == "actual":
        return f"{field.class_} field {'differs' if field.by else 'changed'} on the backend"
    if field.class_ == "policy":
        return "policy: recorded, no call" if change.action is Action.UPDATE else "policy"
    return f"{field.class_} field{_consequence(change, field)}"


def _consequence(change: Change, field: FieldChange) -> str:
    if change.action is Action.UPDATE:
        now = field.mutable == "always" or (change.phase == "pending" and field.mutable in ("queued", "suspended"))
        in_place = now and change.reason is not Reason.NEXT_ATTEMPT
        return ": changed in place" if in_place else ": recorded for the next attempt, no call"
    if change.action is Action.BLOCK:
        return ": needs a new attempt" if field.class_ == "result" else ""
    if field.class_ != "result":
        return ""
    if change.action is Action.RERUN:
        return ": the finished run is repeated" if change.phase == "succeeded" else ": the next attempt may end otherwise"
    if change.reason is Reason.INTERRUPTED_REPLACE:
        return ": the run that was stopped is made again"
    return ": the present run is stopped and made again" if change.action is Action.REPLACE else ""


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `3m 20s`, `6h 12m`, `2d 4h`; never negative."""
    seconds = max(0.0, seconds)
    if 0.05 <= seconds < 0.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def between(start: str | None, end: str | datetime | None) -> float | None:
    """Seconds between two recorded times, None if one of them is missing."""
    if not start or not end:
        return None
    return (_moment(end) - _moment(start)).total_seconds()


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 error`, `2 errors`, `10,000 instances`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def some(items: Iterable[str], limit: int = 5) -> str:
    """`a, b, c and 4 more`."""
    listed = list(items)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def _moment(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
