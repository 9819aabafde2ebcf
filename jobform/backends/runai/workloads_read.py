"""What the answers of the workloads API say: a workload's kind, phase and times. Wire facts: as `workloads_wire`."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from jobform.backends.remote import Seen, moment
from jobform.backends.runai.workloads_wire import DISTRIBUTED, TRAININGS, mark_of, reported
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Actual, timestamp

_PHASES: Mapping[str, tuple[Phase, bool]] = {
    "creating": (Phase.PENDING, False), "initializing": (Phase.PENDING, False), "resuming": (Phase.PENDING, False),
    "pending": (Phase.PENDING, False), "stopping": (Phase.PENDING, True), "stopped": (Phase.PENDING, False),
    "running": (Phase.RUNNING, True), "updating": (Phase.RUNNING, True), "degraded": (Phase.RUNNING, True),
    "deleting": (Phase.RUNNING, True), "terminating": (Phase.RUNNING, True), "completed": (Phase.SUCCEEDED, True),
    "failed": (Phase.FAILED, True), "unknown": (Phase.UNKNOWN, False),
}
"""The phase, and whether from it follows that the program has been started, by the service's word in lower case."""

_SUSPENDED = frozenset({"stopping", "stopped"})
_PLAIN_WORDS = frozenset({"pending", "running", "completed", "failed"})


def kind_told(value: Json) -> str:
    """The kind of a listed workload, "" for what is no training."""
    told = str(value.get("type", "")).lower() if isinstance(value, dict) else ""
    if "workspace" in told or "interactive" in told or "inference" in told:
        return ""
    return DISTRIBUTED if isinstance(value, dict) and ("distributed" in told or value.get("distributedFramework")) else TRAININGS


def seen_of(summary: Json, whole: Mapping[str, Json] | None, kind: str, now: datetime) -> Seen:
    """summary: as the list shows it. whole: the workload itself, None where only the list was asked.

    Raises KeyError, TypeError or ValueError for what is no workload.
    """
    if not isinstance(summary, dict):
        raise TypeError("it is no object")
    run, name, word = (summary[key] for key in ("id", "name", "phase"))
    if not isinstance(run, str) or not is_uuid(run) or not isinstance(name, str) or not isinstance(word, str):
        raise ValueError(f"its id, name and phase are {str((run, name, word))[:100]}")
    created = _time(summary["createdAt"])
    if created is None:
        raise ValueError("it has no time of creation")
    fields: dict[str, Json] = {}
    if whole is not None:
        fields = reported(whole.get("spec")) | {"suspended": whole.get("desiredPhase") == "Stopped"}
    mark = mark_of(whole.get("spec")) if whole is not None else ""
    return Seen(f"{kind}/{run}", mark, _actual(summary, word, created, now, fields), name, created)


def _actual(summary: Mapping[str, Json], word: str, created: datetime, now: datetime, fields: Mapping[str, Json]) -> Actual:
    known = _PHASES.get(word.lower())
    warnings = () if known else (f"the service says {word[:100]!r}, which jobform does not know; it is taken for running",)
    phase, begun = known or (Phase.RUNNING, True)
    begun = begun or _number(summary.get("totalRunningTimeSeconds")) > 0
    started = min(now, created + timedelta(seconds=_number(summary.get("totalPendingTimeSeconds")))) if begun else None
    over = phase in ENDED
    ended = max(_time(summary.get("completedAt")) or now, started or created) if over else None
    said = str(summary.get("phaseMessage") or "")[:500]
    own = "suspended" if word.lower() in _SUSPENDED else "" if word.lower() in _PLAIN_WORDS else word
    return Actual(
        phase, ": ".join(part for part in (own, said) if part), "user_error" if phase is Phase.FAILED else None,
        said if phase is Phase.FAILED else "", started_at=timestamp(started) if started else None,
        ended_at=timestamp(ended) if ended else None, fields=fields, warnings=warnings,
    )


def _number(value: Json) -> float:
    """Seconds, 0 for what is none; a century at most."""
    return min(float(value), 3.2e9) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0


def _time(value: Json) -> datetime | None:
    """Raises ValueError for what is no time, or none of these centuries."""
    try:
        found = moment(value)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if found is not None and not 1970 <= found.year < 9000:
        raise ValueError(f"a time of the year {found.year}")
    return found


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
