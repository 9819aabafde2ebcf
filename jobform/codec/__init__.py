"""State, events and plans to bytes and back. Reading trusts nothing and ends in a value or in one diagnostic.

State is ASCII JSON, one entry per line, so that a difference between two snapshots is readable. Its last key is `checksum`:
SHA-256, as hex digits, of every byte before the comma and the line that hold it.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from jobform.codec.shape import Kind, Malformed, Shape, array, boolean, document, mapping, natural, optional, text
from jobform.codec.strict import collector_paused, read_json, write_json
from jobform.codec.tables import CHANGE, DIAGNOSTIC, EVENTS, RECORD, RUN, TOMBSTONE
from jobform.model.change import Plan
from jobform.model.errors import JobformError, StaleError, StateError
from jobform.model.event import EVENT_TYPES, Event
from jobform.model.state import ASSERTED, State
from jobform.model.values import Json
from jobform.model.version import VERSION

STATE_FORMAT = 1
PLAN_FORMAT = 1
FEATURES: frozenset[str] = frozenset({ASSERTED})
"""What a state may say that it uses and that this version understands."""

UPGRADES: Mapping[int, Callable[[dict[str, Json]], dict[str, Json]]] = {}
"""From each older state format to the next one. The document changes; `format_version` is set by the reader."""

MAX_STATE = 1 << 30
MAX_PLAN = 1 << 28

_NAMES: dict[type[Event], str] = {kind: name for name, kind in EVENT_TYPES.items()}
_EVENT_SHAPES: dict[str, Shape[Event]] = {name: EVENTS[kind] for name, kind in EVENT_TYPES.items()}
_SEAL = re.compile(rb',\n"checksum":"([0-9a-f]{64})"\}\n\Z')
_T = TypeVar("_T")
_NEW_PLAN = "Make a new plan with `jobform plan --out`."


# --- state ------------------------------------------------------------------------------------------------------------


def state_to_bytes(state: State) -> bytes:
    """The snapshot. Attempts are all kept here: the model's KEPT_ATTEMPTS holds once older ones have a place to move to.

    Raises StateError when a value inside is not JSON.
    """
    try:
        body = ",\n".join(_sections(state)).encode("ascii")
    except Malformed as problem:
        raise StateError.of("state_not_json", "The state holds a value that JSON cannot hold", detail=str(problem)) from None
    body = b"{" + body
    return body + b',\n"checksum":"' + hashlib.sha256(body).hexdigest().encode("ascii") + b'"}\n'


def state_from_bytes(data: bytes, what: str = "the state", *, sealed: bool = True) -> State:
    """The state that a snapshot holds. what: its name in messages.

    sealed False accepts a document without `checksum`, which is how a person says that it was edited. Raises StateError for
    anything malformed, of a newer format, with unknown features or with a checksum that does not fit.
    """
    try:
        with collector_paused():
            whole = _seal_fits(data)
            content = _as_object(read_json(data, MAX_STATE, unique=not whole))
            version = _format(content, STATE_FORMAT)
            if version > STATE_FORMAT:
                raise _newer(what, content, version)
            if not whole and (sealed or "checksum" in content):
                raise _damaged(what)
            content.pop("checksum", None)
            for older in range(version, STATE_FORMAT):
                content = UPGRADES[older](content)
            return _state(content, what)
    except Malformed as problem:
        raise StateError.of(
            "state_malformed", f"{what} is not a valid state file", detail=str(problem),
            hint="Nothing was changed. Restore it from its .backup or with `jobform state push`.",
        ) from None


def _sections(state: State) -> Iterator[str]:
    yield f'"format_version":{STATE_FORMAT}'
    yield f'"jobform_version":{write_json(VERSION)}'
    yield f'"lineage":{write_json(state.lineage)}'
    yield f'"serial":{state.serial}'
    yield f'"features":{write_json(list(state.features))}'
    yield f'"jobs":{{{_entries(state.jobs, RECORD.write)}}}'
    yield f'"tombstones":{{{_entries(state.tombstones, TOMBSTONE.write)}}}'
    runs = ",\n".join(write_json(RUN.write(run)) for run in state.runs.values())
    yield f'"runs":[{runs}]'
    yield f'"specs":{{{_entries(state.specs, lambda spec: spec)}}}'


def _entries(items: Mapping[str, _T], write: Callable[[_T], Json]) -> str:
    return ",\n".join(f"{write_json(key)}:{write_json(write(items[key]))}" for key in sorted(items))


_STATE_KINDS: dict[str, Kind[Any]] = {
    "format_version": natural, "jobform_version": text, "lineage": text, "serial": natural, "features": array(text),
    "jobs": mapping(RECORD), "tombstones": mapping(TOMBSTONE), "runs": array(RUN), "specs": mapping(document),
}


def _state(content: dict[str, Json], what: str) -> State:
    unknown = [item for item in array(text).decode(content.get("features", [])) if item not in FEATURES]
    if unknown:
        raise StateError.of(
            "state_features", f"{what} uses features that this jobform {VERSION} does not know: {', '.join(unknown)[:200]}",
            hint="Use the version of jobform that wrote it, or a newer one.",
        )
    found = _decode(content, _STATE_KINDS)
    if not found["lineage"]:
        raise Malformed("the lineage is empty", ("lineage",))
    return State(
        found["lineage"], found["serial"], found["features"], dict(found["jobs"]), dict(found["tombstones"]),
        {run.id: run for run in found["runs"]}, dict(found["specs"]),
    )


def _seal_fits(data: bytes) -> bool:
    """Whether the bytes are exactly what a jobform wrote."""
    seal = _SEAL.search(data, max(0, len(data) - 96))
    return seal is not None and hashlib.sha256(memoryview(data)[: seal.start()]).hexdigest().encode("ascii") == seal[1]


def _damaged(what: str) -> JobformError:
    return StateError.of(
        "state_checksum", f"The checksum of {what} does not fit its content",
        detail="It was changed by something other than jobform, or damaged on the way.",
        hint="Restore it from its .backup. To use an edited state, remove its checksum line and use `jobform state push`.",
    )


# --- events -----------------------------------------------------------------------------------------------------------


def event_to_json(event: Event, *, full: bool = False) -> dict[str, Json]:
    """`{type, ...fields}`. full writes empty fields too, as documents for machines want."""
    result: dict[str, Json] = {"type": _NAMES[type(event)]}
    shape = EVENTS[type(event)]
    result.update(_as_object(shape.write(event, full)))
    return result


def event_from_json(value: Json) -> Event:
    """The event that `event_to_json` wrote. Raises StateError."""
    try:
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            raise Malformed("expected an object with a type")
        shape = _EVENT_SHAPES.get(str(value["type"]))
        if shape is None:
            raise Malformed(f"unknown type {ascii(value['type'])[:60]}")
        return shape.decode({key: item for key, item in value.items() if key != "type"})
    except Malformed as problem:
        raise StateError.of(
            "journal_malformed", "The journal holds an entry that is not valid", detail=str(problem),
            hint="If a newer jobform wrote it, use that version.",
        ) from None


# --- plans ------------------------------------------------------------------------------------------------------------


_PLAN_FIELDS: dict[str, Kind[Any]] = {
    "project": text, "lineage": text, "target": optional(text), "digest": optional(text), "created_at": text, "destroy": boolean,
    "changes": array(CHANGE), "diagnostics": array(DIAGNOSTIC), "notes": mapping(text),
}
_PLAN_KINDS: dict[str, Kind[Any]] = {
    "format_version": natural, "jobform_version": text, **_PLAN_FIELDS, "summary": mapping(natural),
}


def plan_to_json(plan: Plan) -> dict[str, Json]:
    """The plan document: every key is always there. The summary is for readers and is derived."""
    result: dict[str, Json] = {"format_version": PLAN_FORMAT, "jobform_version": VERSION}
    result.update({key: kind.write(getattr(plan, key), True) for key, kind in _PLAN_FIELDS.items()})
    result["summary"] = dict(plan.summary)
    return result


def plan_from_json(value: Json) -> Plan:
    """The plan in a document. Hashes are taken as they are: the engine recomputes them. Raises StaleError."""
    try:
        content = _as_object(value)
        version = _format(content, PLAN_FORMAT)
        if version != PLAN_FORMAT:
            raise StaleError.of(
                "plan_format", f"The plan is of format {version}, this jobform {VERSION} reads format {PLAN_FORMAT}",
                detail=f"It was written by jobform {ascii(content.get('jobform_version'))[:40]}.", hint=_NEW_PLAN,
            )
        found = _decode(content, _PLAN_KINDS)
        plan = Plan(**{key: found[key] for key in _PLAN_FIELDS})
        if found["summary"] != plan.summary:
            raise Malformed("the counts differ from the changes listed", ("summary",))
        return plan
    except Malformed as problem:
        raise StaleError.of(
            "plan_malformed", "This is not a valid plan file", detail=str(problem), hint=_NEW_PLAN,
        ) from None


def plan_to_bytes(plan: Plan) -> bytes:
    """A plan file. Raises StaleError when a value inside is not JSON."""
    try:
        return write_json(plan_to_json(plan)).encode("ascii") + b"\n"
    except Malformed as problem:
        raise StaleError.of("plan_malformed", "The plan holds a value that JSON cannot hold", detail=str(problem)) from None


def plan_from_bytes(data: bytes) -> Plan:
    """The plan in a file. Raises StaleError."""
    try:
        value = read_json(data, MAX_PLAN)
    except Malformed as problem:
        raise StaleError.of(
            "plan_malformed", "This is not a valid plan file", detail=str(problem), hint=_NEW_PLAN,
        ) from None
    return plan_from_json(value)


# --- what both documents share ----------------------------------------------------------------------------------------


def _as_object(value: object) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise Malformed("expected an object")
    return value


def _format(content: dict[str, Json], newest: int) -> int:
    version = natural.decode(content.get("format_version"))
    if version < 1 or (version < newest and version not in UPGRADES):
        raise Malformed(f"unknown format {version}", ("format_version",))
    return version


def _newer(what: str, content: dict[str, Json], version: int) -> JobformError:
    writer = ascii(content.get("jobform_version"))[:40]
    return StateError.of(
        "state_newer", f"{what} is of format {version}, this jobform {VERSION} reads up to format {STATE_FORMAT}",
        detail=f"It was written by jobform {writer}. It was left as it is.", hint="Use that version of jobform, or a newer one.",
    )


def _decode(content: dict[str, Json], kinds: Mapping[str, Kind[Any]]) -> dict[str, Any]:
    """Each key's value, read. Raises Malformed for a key too many or too few."""
    if content.keys() != kinds.keys():
        odd = min(content.keys() ^ kinds.keys())
        raise Malformed(f"{'unknown' if odd in content else 'missing'} key {ascii(odd)[:60]}")
    found: dict[str, Any] = {}
    for key, kind in kinds.items():
        try:
            found[key] = kind.decode(content[key])
        except Malformed as problem:
            raise problem.within(key) from None
    return found
