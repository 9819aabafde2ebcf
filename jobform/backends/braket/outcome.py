"""What the service's words say of a job: where it is, why it is there, and of which class its failure is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobform.backends.remote import moment, phase_of
from jobform.clients.text import short
from jobform.model.state import Phase
from jobform.model.values import Json

_PHASES: Mapping[str, Phase] = {
    "QUEUED": Phase.PENDING, "RUNNING": Phase.RUNNING, "CANCELLING": Phase.RUNNING, "COMPLETED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED, "CANCELLED": Phase.CANCELLED,
}
OVER = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
STOPPING = "CANCELLING"

_EXIT = re.compile(r"exit code:? *(-?[0-9]{1,9})", re.IGNORECASE)
"""`AlgorithmError: <text>, exit code: 1`, as the SDK's own tests have it."""

_TIMEOUT = re.compile(r"max(?:imum)?[ _]?runtime|runtime limit|timed out", re.IGNORECASE)
_CAPACITY = re.compile(r"capacity|no instances? (?:is|are) available", re.IGNORECASE)
_INFRA = re.compile(r"internal ?(?:server ?|service ?)?error|device (?:is )?(?:offline|retired|unavailable)|"
                    r"DeviceOffline|DeviceRetired|service unavailable", re.IGNORECASE)
"""Words, since the service gives no class; none of its pages lists them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a job is. Times are RFC 3339 texts."""

    phase: Phase
    detail: str
    class_: str | None
    reason: str
    exit: int | None
    warnings: tuple[str, ...]


def outcome_of(job: Mapping[str, Json], *, started: bool) -> Outcome:
    """From a document of GetJob, or a row of SearchJobs, which has no reasons. started: whether it ever ran.

    Raises TypeError or ValueError for what is neither.
    """
    word = job["status"]
    if not isinstance(word, str):
        raise TypeError(f"its status is {word!r}")
    phase, warnings = phase_of(word, _PHASES)
    reason, events = _text(job.get("failureReason")), _events(job.get("events"))
    if phase is Phase.RUNNING and word == STOPPING and not started:
        phase = Phase.PENDING
    too_long = any(event.get("eventType") == "MAX_RUNTIME_EXCEEDED" for event in events)
    if too_long and word in OVER:  # whatever the last word is then: it was cut before its end
        return Outcome(Phase.FAILED, "it ran longer than its timeout", "timeout", reason, None, warnings)
    if phase is not Phase.FAILED:
        return Outcome(phase, _detail(word, job, events), None, "", None, warnings)
    found = _EXIT.search(reason)
    code = int(found[1]) if found else None
    return Outcome(phase, "", _class_of(reason, code), reason, code, warnings)


def _class_of(reason: str, code: int | None) -> str:
    if code is not None or reason.startswith("AlgorithmError"):
        return "user_error"
    for pattern, name in ((_TIMEOUT, "timeout"), (_CAPACITY, "no_capacity"), (_INFRA, "infra")):
        if pattern.search(reason):
            return name
    return "user_error"


def _detail(word: str, job: Mapping[str, Json], events: Sequence[Mapping[str, Json]]) -> str:
    """One line for people: the place in the queue, or the last thing that happened."""
    if word == STOPPING:
        return "it is being cancelled"
    queue = job.get("queueInfo")
    if word == "QUEUED" and isinstance(queue, dict):
        position, message = _text(queue.get("position")), _text(queue.get("message"))
        which = "the queue of quantum tasks" if queue.get("queue") == "QUANTUM_TASKS_QUEUE" else "the queue of jobs"
        if position and position != "None":
            return f"position {position} in {which}{f': {message}' if message else ''}"
        if message:
            return message
    if word in OVER or not events:
        return ""
    last = max(events, key=lambda event: str(event.get("timeOfEvent") or ""))
    return _text(last.get("message")) or _text(last.get("eventType")).replace("_", " ").lower()


def _events(value: Json) -> list[Mapping[str, Json]]:
    listed = [] if value is None else value
    if not isinstance(listed, list) or not all(isinstance(event, dict) for event in listed):
        raise TypeError("its events are no list of objects")
    return [event for event in listed if isinstance(event, dict)]


def _text(value: Json) -> str:
    return short(value) if isinstance(value, str) else ""


def ended_moment(job: Mapping[str, Json]) -> tuple[str | None, str | None]:
    """When a job started and ended, as far as the service says, as checked texts."""
    times = []
    for key in ("startedAt", "endedAt"):
        found = moment(job.get(key))
        times.append(found.isoformat().replace("+00:00", "Z") if found else None)
    return times[0], times[1]
