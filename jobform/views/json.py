"""The view for machines: one JSON document per command, JSON Lines for the events of an apply. ASCII only.

Keys are the names of the model's fields (`class_` is written `class`). Every document has a `format_version` and always all of
its keys; the schemas of plan, status, diagnostics, history and events are in `schemas/`. Sensitive fields have null values.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from jobform.model.address import address_key
from jobform.model.change import Change, FieldChange, Plan
from jobform.model.claims import Orphans, Takeover
from jobform.model.diagnostic import Diagnostic, Range, Severity
from jobform.model.event import EVENT_TYPES, Begun, ChangeAccepted, Event, Imported, SpecStored
from jobform.model.state import Attempt, Record, Run, State
from jobform.model.values import Json
from jobform.protocols import LockInfo, Screen
from jobform.views.words import between

FORMAT_VERSION = 1

_TYPE_OF: Mapping[type[Event], str] = {cls: name for name, cls in EVENT_TYPES.items()}


class JsonView:
    """See `protocols.View`. Documents end with a line break, events and the lines around them do not."""

    def __init__(self, screen: Screen) -> None:
        del screen  # JSON has neither colour nor width

    def plan(self, plan: Plan) -> str:
        return _document({
            "project": plan.project, "lineage": plan.lineage, "target": plan.target, "digest": plan.digest,
            "destroy": plan.destroy, "created_at": plan.created_at, "changes": [_change(change) for change in plan.changes],
            "summary": dict(plan.summary), "notes": dict(plan.notes),
            "diagnostics": [_diagnostic(diagnostic) for diagnostic in plan.diagnostics],
        })

    def diagnostics(self, diagnostics: Iterable[Diagnostic]) -> str:
        shown = tuple(diagnostics)
        errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in shown)
        return _document({
            "valid": errors == 0, "error_count": errors, "warning_count": len(shown) - errors,
            "diagnostics": [_diagnostic(diagnostic) for diagnostic in shown],
        })

    def status(self, state: State, now: datetime) -> str:
        jobs: list[Json] = [_status(address, state.jobs[address], now) for address in sorted(state.jobs, key=address_key)]
        return _document({"lineage": state.lineage, "serial": state.serial, "jobs": jobs})

    def event(self, event: Event) -> str:
        """One object with its `type`; "" for `spec`, which only the state needs."""
        if isinstance(event, SpecStored):
            return ""
        return _line({"type": _TYPE_OF[type(event)], **_event(event)})

    def history(self, address: str, attempts: Iterable[Attempt], now: datetime) -> str:
        del now
        listed = sorted(attempts, key=lambda attempt: attempt.n)
        return _document({"address": address, "attempts": [plain(attempt) for attempt in listed]})

    def runs(self, runs: Iterable[Run]) -> str:
        return _document({"runs": [plain(run) for run in runs]})

    def outputs(self, outputs: Mapping[str, Json]) -> str:
        return _document({"outputs": dict(outputs)})

    def state_list(self, state: State) -> str:
        orphans = [address for address, tombstone in state.tombstones.items() if tombstone.live]
        return _document({
            "lineage": state.lineage, "serial": state.serial, "addresses": [*sorted(state.jobs, key=address_key)],
            "orphans": [*sorted(orphans, key=address_key)],
        })

    def show_record(self, state: State, address: str) -> str:
        record = state.jobs.get(address)
        tombstone = state.tombstones[address] if record is None else state.tombstones.get(address)
        keys = {record.desired.spec} if record and record.desired else set()
        keys |= {key for attempt in record.attempts for key in (attempt.spec, attempt.applied)} if record else set()
        return _document({
            "address": address, "record": plain(record), "tombstone": plain(tombstone),
            "specs": {key: state.specs[key] for key in sorted(keys) if key in state.specs},
        })

    def lock(self, info: LockInfo | None) -> str:
        return _document({"locked": info is not None, "lock": plain(info)})

    def takeover(self, taken: Takeover) -> str:
        return _document({
            "address": taken.address, "backend": taken.backend, "id": taken.id, "name": taken.name, "phase": taken.phase.value,
            "recorded": taken.recorded, "attempt": taken.attempt or None,
            "differences": [_field(field) for field in taken.differences], "asserted": list(taken.asserted),
        })

    def orphans(self, orphans: Orphans) -> str:
        return _document({
            "complete": orphans.complete, "orphans": [plain(found) for found in orphans.found],
            "unlisted": [plain(one) for one in orphans.unlisted],
        })

    def version_line(self) -> str:
        """The event stream's first line."""
        return _line({"type": "version", "format_version": FORMAT_VERSION, "jobform": _version()})

    def plan_line(self, plan: Plan) -> str:
        """The plan as an entry of the event stream: what `plan --format json` prints, on one line."""
        return _line({"type": "plan", **json.loads(self.plan(plan))})

    def diagnostic_line(self, diagnostic: Diagnostic) -> str:
        """A finding as an entry of the event stream."""
        return _line({"type": "diagnostic", **_diagnostic(diagnostic)})

    def summary_line(self, counts: Mapping[str, int], exit_code: int) -> str:
        """The event stream's last line."""
        return _line({"type": "summary", "counts": dict(counts), "exit": exit_code})


def plain(value: object) -> Json:
    """A model value as JSON: dataclasses as objects with all their fields, in order. Raises TypeError for anything else."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(getattr(value, name)) for name, key in _keys(type(value))}
    raise TypeError(f"{type(value).__name__} is not JSON")


@cache
def _keys(cls: type) -> tuple[tuple[str, str], ...]:
    """Attribute and key of each field of a dataclass."""
    return tuple((field.name, field.name.rstrip("_")) for field in fields(cls)) if is_dataclass(cls) else ()


def _document(body: dict[str, Json]) -> str:
    return json.dumps({"format_version": FORMAT_VERSION, **body}, indent=2, allow_nan=False) + "\n"


def _line(body: dict[str, Json]) -> str:
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def _change(change: Change) -> dict[str, Json]:
    """What approval and review need. The whole spec is in the plan file, not here."""
    return {
        "address": change.address, "action": change.action.value, "reason": change.reason.value, "accepted": change.accepted,
        "backend": change.backend, "source": change.source, "phase": change.phase, "running_seconds": change.running_seconds,
        "attempt": change.attempt, "stop": change.stop, "after": list(change.after), "detail": change.detail,
        "hint": change.hint, "precondition": change.precondition, "desired_hash": change.desired_hash,
        "fixed": list(change.fixed), "range": plain(change.range), "fields": [_field(field) for field in change.fields],
    }


def _field(field: FieldChange) -> dict[str, Json]:
    return {
        "path": field.path,
        "before": None if field.sensitive else field.before, "after": None if field.sensitive else field.after,
        "has_before": field.has_before, "has_after": field.has_after, "source": field.source, "class": field.class_,
        "mutable": field.mutable, "sensitive": field.sensitive, "reason": field.reason, "by": field.by,
        "ignored": field.ignored, "range": plain(field.range),
    }


def _diagnostic(diagnostic: Diagnostic) -> dict[str, Json]:
    related: list[Json] = [{"message": related.message, **_place(related.range)} for related in diagnostic.related]
    return {
        "severity": diagnostic.severity.value, "code": diagnostic.code, "summary": diagnostic.summary,
        "detail": diagnostic.detail, "hint": diagnostic.hint, **_place(diagnostic.range),
        "address": diagnostic.address, "snippet": diagnostic.snippet, "related": related, "count": diagnostic.count,
    }


def _place(place: Range | None) -> dict[str, Json]:
    return {name: getattr(place, name) if place else None for name in ("file", "line", "column", "end_line", "end_column")}


def _status(address: str, record: Record, now: datetime) -> dict[str, Json]:
    last, accepted, intent = record.last, record.accepted, record.intent
    end = last.ended_at if last and last.ended else now
    return {
        "address": address, "backend": record.backend,
        "phase": last.phase.value if last else None, "attempt": last.n if last else None,
        "class": last.class_ if last else None, "exit": last.exit if last else None, "detail": last.detail if last else "",
        "submitted_at": last.submitted_at if last else None, "started_at": last.started_at if last else None,
        "ended_at": last.ended_at if last else None, "running_seconds": between(last.started_at, end) if last else None,
        "hold": plain(record.hold), "accepted": plain(accepted),
        "open_call": {"op": intent.op.value, "attempt": intent.attempt, "at": intent.at} if intent else None,
    }


def _event(event: Event) -> dict[str, Json]:
    """An event's fields, flat; tokens, hashes and specs stay in the state."""
    if isinstance(event, Begun):
        intent = event.intent
        return {
            "address": event.address, "op": intent.op.value, "attempt": intent.attempt, "name": intent.name,
            "backend": intent.backend, "at": intent.at, "run": intent.run,
        }
    if isinstance(event, ChangeAccepted):
        accepted = event.accepted
        return {
            "address": event.address, "action": accepted.action, "reason": accepted.reason, "attempt": accepted.attempt,
            "stop": accepted.stop, "digest": accepted.digest, "at": accepted.at, "run": accepted.run,
        }
    if isinstance(event, Imported):
        accepted, attempt = event.accepted, event.attempt
        return {
            "address": event.address, "action": accepted.action, "reason": accepted.reason, "attempt": attempt.n,
            "backend": attempt.backend, "name": attempt.name, "ref": attempt.ref, "asserted": list(attempt.asserted),
            "at": event.at, "run": accepted.run,
        }
    shown = plain(event)
    assert isinstance(shown, dict)
    return shown


@cache
def _version() -> str:
    try:
        return version("jobform")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
