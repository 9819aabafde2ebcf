"""A batch job as the service writes it: a spec's body, and what an answer says of a run."""

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from jobform.backends.remote import Seen, moment, phase_of
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Mark, timestamp

MARK = "jobform.dev/mark"
ADDRESS = "jobform.dev/address"

_OWN = ("jobform.dev/", "fireworks.ai/")
"""Prefixes of annotations that are not the user's."""

_MOST_ANNOTATIONS = 256 << 10
"""Bytes of all keys and values of annotations together, as in Kubernetes."""

_PHASES: Mapping[str, Phase] = {
    "STATE_UNSPECIFIED": Phase.PENDING, "CREATING": Phase.PENDING, "QUEUED": Phase.PENDING, "PENDING": Phase.PENDING,
    "RUNNING": Phase.RUNNING, "CANCELLING": Phase.RUNNING, "COMPLETED": Phase.SUCCEEDED, "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED, "DELETING": Phase.RUNNING,
}
_SAID: Mapping[str, str] = {
    "CREATING": "it is being made", "QUEUED": "queued", "CANCELLING": "it is being cancelled", "DELETING": "it is being deleted",
}
"""What a state means where the service says nothing in `status`."""

_FIELDS: tuple[tuple[str, str, Json], ...] = (
    ("node_pool_id", "nodePoolId", ""), ("display_name", "displayName", ""), ("environment_id", "environmentId", ""),
    ("snapshot_id", "snapshotId", ""), ("image", "imageRef", ""), ("num_ranks", "numRanks", 0), ("env", "envVars", {}),
    ("role", "role", ""), ("shared", "shared", False),
)
"""Keys whose value is the service's own: of the spec, on the wire, and the value that the wire may leave out."""

_CHANGEABLE = tuple(field for field in _FIELDS if field[0] in ("display_name", "shared"))

_EXECUTORS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("python_executor", "pythonExecutor", {"target_type": "targetType", "target": "target", "args": "args"}),
    ("notebook_executor", "notebookExecutor", {"notebook_filename": "notebookFilename"}),
    ("shell_executor", "shellExecutor", {"command": "command"}),
)

_ID = re.compile(r"(?:.*/)?batchJobs/([A-Za-z0-9_-][A-Za-z0-9._~-]{0,199})", re.DOTALL)

_LONG_AGO = 2000
"""No job was made before this year: services write a moment of the first or of 1970 for none."""


def body_of(spec: Mapping[str, Json], mark: Mark) -> dict[str, Json]:
    """The body that makes a job. Raises BackendError for what no schema can say."""
    body: dict[str, Json] = {wire: spec[key] for key, wire, _ in _FIELDS if key in spec}
    for key, wire, names in _EXECUTORS:
        if isinstance(given := spec.get(key), dict):
            body[wire] = {names[name]: value for name, value in given.items()}
    if isinstance(command := spec.get("command"), list):
        body["shellExecutor"] = {"command": shlex.join(str(word) for word in command)}
    annotations = spec.get("annotations")
    whole = {**(annotations if isinstance(annotations, dict) else {}), MARK: mark.text, ADDRESS: mark.address}
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in whole.items())
    if size > _MOST_ANNOTATIONS:
        raise BackendError("the annotations are too large", f"{size} bytes with jobform's own; {_MOST_ANNOTATIONS} are allowed")
    return {**body, "annotations": whole}


def update_of(spec: Mapping[str, Json], changed: Collection[str], present: Mapping[str, Json]) -> dict[str, Json]:
    """The body that changes a job: what is to change, and beside it what the job has at present. A pool is always wanted.

    What stays is sent as it is, since nowhere stands what becomes of a field that is left out. present: as `_fields` tells it.
    """
    values = {key: spec.get(key, zero) if key in changed else present.get(key, zero) for key, _, zero in _CHANGEABLE}
    return {
        "nodePoolId": spec["node_pool_id"],
        **{wire: values[key] for key, wire, zero in _CHANGEABLE if key in changed or values[key] != zero},
    }


def state_of(value: Json) -> str:
    """The service's word for a job's state, "" for none."""
    word = value.get("state") if isinstance(value, dict) else None
    return word if isinstance(word, str) else ""


def is_absent(value: Json) -> bool:
    """Whether a job counts as gone although it is still shown: it had ended, and is being removed.

    One that had not ended may run until it is really gone. Raises ValueError for an end that is no time.
    """
    return isinstance(value, dict) and value.get("state") == "DELETING" and _ended(value) is not None


def seen_of(value: Json) -> Seen:
    """Raises KeyError, TypeError or ValueError for what is no batch job."""
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    found = _ID.fullmatch(_text(value, "name"))
    if found is None:
        raise ValueError(f"its name is {short(str(value.get('name')), 80)!r}")
    word = _text(value, "state") or "STATE_UNSPECIFIED"
    phase, warnings = phase_of(short(word, 60), _PHASES)
    created = _moment(value, "createTime")
    annotations = _map(value, "annotations")
    mark = annotations.get(MARK, "")
    actual = Actual(
        phase, _status(value) or _SAID.get(word, ""), "user_error" if phase is Phase.FAILED else None,
        word if phase in ENDED else "", started_at=_started(value, phase, created), fields=_fields(value), warnings=warnings,
        ended_at=_ended(value) if phase in ENDED else None,
    )
    if is_absent(value):  # it has ended, nobody knows how any more: whoever asks for it alone is told that it is gone
        actual = replace(actual, phase=Phase.FAILED, class_="lost", native_reason=word, ended_at=_ended(value))
    return Seen(found[1], mark if isinstance(mark, str) else "", actual, _text(value, "displayName"), created,
                whole=not is_absent(value))


def _fields(value: Mapping[str, Json]) -> dict[str, Json]:
    """What is reported, by the names of the spec. The wire leaves out what is empty, false or 0, so that is reported as such."""
    found: dict[str, Json] = {}
    for key, wire, zero in _FIELDS:
        given = value.get(wire)
        if given is None and key == "num_ranks":
            continue  # there is no job of 0 ranks: it is not told
        if given is not None and type(given) is not type(zero):
            raise TypeError(f"its {wire} is {short(str(given), 80)!r}")
        found[key] = zero if given is None else given
    annotations = {name: text for name, text in _map(value, "annotations").items() if not name.startswith(_OWN)}
    return {**found, "annotations": annotations, **_executor(value)}


def _executor(value: Mapping[str, Json]) -> dict[str, Json]:
    """What the job runs. A shell's text is told in both forms of the spec, which has one of them."""
    found: dict[str, Json] = {}
    for key, wire, names in _EXECUTORS:
        given = _map(value, wire)
        found[key] = {ours: given[theirs] for ours, theirs in names.items() if given.get(theirs)}
    text = _text(_map(value, "shellExecutor"), "command")
    try:
        words = shlex.split(text)
    except ValueError:  # an open quote, for example: no list of words was sent
        words = []
    return {**found, "command": list[Json](words) if shlex.join(words) == text else []}


def _started(value: Mapping[str, Json], phase: Phase, created: datetime | None) -> str | None:
    """When it started; of one that surely ran and does not say when, when it was made: no other time of it stays the same."""
    started = _moment(value, "startTime")
    if started is None and phase in (Phase.RUNNING, Phase.SUCCEEDED):
        started = created
    return timestamp(started) if started else None


def _ended(value: Mapping[str, Json]) -> str | None:
    ended = _moment(value, "endTime")
    return timestamp(ended) if ended else None


def _status(value: Mapping[str, Json]) -> str:
    """The service's own words about the state, on one line."""
    said = value.get("status")
    inner = said.get("message") if isinstance(said, dict) else said
    return short(inner) if isinstance(inner, str) else ""


def _moment(value: Mapping[str, Json], key: str) -> datetime | None:
    try:
        found = moment(value.get(key))
    except OverflowError as error:
        raise ValueError(f"its {key} is out of range") from error
    return found if found and found.year >= _LONG_AGO else None


def _text(value: Mapping[str, Json], key: str) -> str:
    text = value.get(key)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"its {key} is no text")
    return text


def _map(value: Mapping[str, Json], key: str) -> dict[str, Json]:
    found = value.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise TypeError(f"its {key} is no object")
    return found
