"""The reference type's schemas, and what the fields of a spec make a run do.

The fields cover every class with every mutability, a list with a key, a sensitive, a write-only and a backend-default field, a
duration, a quantity and a set, so that every row of a decision table can be met with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from jobform.model.units import parse_duration
from jobform.model.values import Json

DEFAULTS: Mapping[str, Json] = {"zone": "zone-a", "shard": 1}
"""What the service fills in when the spec leaves it out."""

WRITE_ONLY = frozenset({"token"})

_STRING: dict[str, Json] = {"type": "string"}
_STRINGS: dict[str, Json] = {"type": "array", "items": {"type": "string"}}
_SECONDS: dict[str, Json] = {"type": "number", "minimum": 0}
_MAP: dict[str, Json] = {"type": "object", "additionalProperties": {"type": "string"}}


def _field(shape: dict[str, Json], class_: str, mutable: str, reason: str, **annotations: Json) -> Json:
    rules: dict[str, Json] = {"x-jobform-class": class_, "x-jobform-mutable": mutable, "x-jobform-reason": reason}
    rules |= {f"x-jobform-{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"description": reason, **shape, **rules}


_FIELDS: dict[str, Json] = {
    "command": _field(_STRINGS, "result", "never", "What the job computes; the service only keeps it."),
    "args": _field(_STRINGS, "result", "never", "More of what the job computes."),
    "env": _field(_MAP, "result", "never", "Surroundings of the job; the service only keeps them."),
    "token": _field(_STRING, "result", "never", "A credential that is never returned.", sensitive=True, write_only=True),
    "containers": _field(
        {"type": "array", "items": {
            "type": "object", "required": ["name"], "additionalProperties": False,
            "properties": {"name": _STRING, "image": _STRING, "args": _STRINGS},
        }},
        "result", "never", "Parts with a name; their order means nothing.", list_key="name",
    ),
    "files": _field(_STRINGS, "result", "never", "Files of the project that it works on; the service keeps their names.",
                    input=True),
    "image": _field(_STRING, "result", "queued", "Fetched when the run starts."),
    "precision": _field(_STRING, "result", "suspended", "Read again when the run resumes."),
    "checkpoint": _field(_STRING, "result", "always", "Read again whenever it changes."),
    "seconds": _field(_SECONDS, "result", "never", "How long the run takes."),
    "exit": _field({"type": "integer"}, "result", "never", "The exit code; 0 is success."),
    "fail_class": _field(
        {"enum": ["user_error", "oom", "timeout", "preempted", "no_capacity", "infra"]},
        "result", "never", "Ends the run as failed with this class.",
    ),
    "outputs": _field({"type": "object"}, "result", "never", "What the run gives when it has succeeded."),
    "region": _field(_STRING, "placement", "never", "Where the run is kept."),
    "zone": _field(_STRING, "placement", "never", "Chosen by the service when left out.", backend_default=True),
    "stay_pending": _field({"type": "boolean"}, "placement", "queued", "Never start while this is true."),
    "start_after": _field(_SECONDS, "placement", "queued", "Seconds in the queue."),
    "resources": _field(
        {"type": "object", "additionalProperties": False, "properties": {
            "cpu": {"type": ["string", "number"], "x-jobform-type": "quantity"},
            "memory": {"type": ["string", "number"], "x-jobform-type": "quantity"},
        }},
        "placement", "suspended", "Given to a run when it starts or resumes.",
    ),
    "priority": _field({"type": "integer"}, "placement", "always", "Order in the queue."),
    "notify": _field(_STRING, "operational", "never", "Told when the run was created."),
    "queue_label": _field(_STRING, "operational", "queued", "Shown while the run is queued."),
    "note": _field(_STRING, "operational", "suspended", "Shown while the run is suspended."),
    "labels": _field(_MAP, "operational", "always", "Names for people; also after the end."),
    "tags": _field({"type": "array", "items": _STRING, "x-jobform-type": "set"}, "operational", "always", "An unordered set."),
    "shard": _field({"type": "integer"}, "operational", "always", "Chosen by the service when left out.", backend_default=True),
    "suspend": _field({"type": "boolean"}, "operational", "always", "Hold the run, before its start or in its middle."),
    "timeout": _field({"type": "string", "x-jobform-type": "duration"}, "operational", "always", "Longest time from the start."),
    "grace": _field(_SECONDS, "operational", "always", "Seconds between an accepted cancel and the end."),
    "ttl": _field(_SECONDS, "operational", "always", "Seconds after its end at which the service forgets the run."),
}

SPEC: dict[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "spec of the reference backend",
    "type": "object",
    "additionalProperties": False,
    "properties": _FIELDS,
}

SETTINGS: dict[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "settings of the reference backend",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "url": {"type": "string", "description": "What the reference server printed; left out for the thread form."},
        "namespace": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$", "description": "`default` if left out."},
        "mode": {
            "enum": ["idempotent", "always_creates"],
            "description": "Whether a second request with the same mark gives the same run (the default) or a second one.",
        },
        "timeout": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds for each request; 120 if left out."},
        "page": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "Runs per page of a list; 100 if left out."},
        "window": {
            "type": "number", "minimum": 0,
            "description": "Seconds since a submission was begun before its absence is certain; 0 if left out.",
        },
        "api_key": {**_STRING, "x-jobform-sensitive": True, "description": "Sent with each request; the server takes any."},
    },
}

MUTABLE: Mapping[str, str] = {
    name: str(rules["x-jobform-mutable"]) for name, rules in _FIELDS.items() if isinstance(rules, dict)
}
"""When the service lets a field change: `always`, `queued` (never started yet), `suspended` (that or suspended), `never`."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a run does.

    Times are seconds: start_after from its creation, seconds and timeout from its start, grace from the cancel, ttl from its end.
    seconds is infinite for a service that no one ends; timeout and ttl are infinite when there is none.
    """

    start_after: float = 0.0
    stay_pending: bool = False
    suspend: bool = False
    seconds: float = 0.0
    exit: int = 0
    fail_class: str | None = None
    outputs: Mapping[str, Json] | None = None
    timeout: float = inf
    grace: float = 0.0
    ttl: float = inf


def behaviour(spec: Mapping[str, Json], *, service: bool) -> Behaviour:
    """What a spec makes a run do. Raises ValueError with a plain sentence for a value of the wrong kind."""
    timeout = spec.get("timeout")
    fail_class, outputs, code = spec.get("fail_class"), spec.get("outputs"), spec.get("exit", 0)
    if not isinstance(code, int) or not isinstance(outputs, dict | None) or not isinstance(fail_class, str | None):
        raise ValueError("exit is an integer, outputs an object and fail_class a string")
    return Behaviour(
        start_after=_seconds(spec, "start_after", 0.0), stay_pending=spec.get("stay_pending") is True,
        suspend=spec.get("suspend") is True, seconds=_seconds(spec, "seconds", inf if service else 0.0),
        exit=code, fail_class=fail_class, outputs=outputs,
        timeout=parse_duration(timeout) if isinstance(timeout, str) else inf,
        grace=_seconds(spec, "grace", 0.0), ttl=_seconds(spec, "ttl", inf),
    )


def _seconds(spec: Mapping[str, Json], key: str, default: float) -> float:
    value = spec.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{key} is a number of seconds, not negative")
    return float(value)
