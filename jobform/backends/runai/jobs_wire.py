"""Specs and jobs as the job API of a cluster has them: the body of `POST /api/v1/jobs`, and what the lists say of a job.

Wire facts: "Create a new Run:AI Job" and "List jobs" of the vendor's REST documentation; what the words of `status` mean is from
its "Job statuses".
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jobform.model.errors import BackendError
from jobform.model.state import ENDED, Phase
from jobform.model.units import parse_duration, parse_quantity, plain_number
from jobform.model.values import Json
from jobform.protocols import Actual, timestamp

_PLAIN: Mapping[str, str] = {
    "image": "image", "image_pull_policy": "imagePullPolicy", "stdin": "stdin", "tty": "tty", "working_dir": "workingDir",
    "create_home_dir": "createHomeDir", "large_shm": "largeShm", "volume": "volume", "host_ipc": "hostIpc",
    "host_network": "hostNetwork", "service_type": "serviceType", "retries": "backoffLimit", "completions": "completions",
    "parallelism": "parallelism", "elastic": "elastic", "preemptible": "preemptible", "interactive": "interactive",
    "prevent_privilege_escalation": "preventPrivilegeEscalation", "node_type": "nodeType", "job_name_prefix": "jobNamePrefix",
}
"""Keys of the spec whose value is the service's own, and what the service calls them."""

_PORT: Mapping[str, str] = {"container": "container", "external": "external", "auto_generate": "autoGenerate"}
_PVC: Mapping[str, str] = {"storage_class": "storageClass", "size": "size", "path": "path", "read_only": "readOnly"}

KEYS = frozenset(_PLAIN) | {"command", "args", "env", "resources", "ports", "pvc", "ttl", "job_name"}
"""Every key of a spec that this API has."""

_BEGUN = True
"""A word from which follows that the program has been started."""

_WORDS: Mapping[str, tuple[Phase, str | None, bool]] = {
    "pending": (Phase.PENDING, None, False), "containercreating": (Phase.PENDING, None, False),
    "podinitializing": (Phase.PENDING, None, False), "unschedulable": (Phase.PENDING, None, False),
    "errimagepull": (Phase.PENDING, None, False), "imagepullbackoff": (Phase.PENDING, None, False),
    "suspended": (Phase.PENDING, None, False), "terminating": (Phase.PENDING, None, _BEGUN),
    "running": (Phase.RUNNING, None, _BEGUN), "notready": (Phase.RUNNING, None, _BEGUN), "error": (Phase.RUNNING, None, _BEGUN),
    "crashloopbackoff": (Phase.RUNNING, None, _BEGUN), "init:crashloopbackoff": (Phase.RUNNING, None, _BEGUN),
    "init:error": (Phase.RUNNING, None, _BEGUN), "succeeded": (Phase.SUCCEEDED, None, _BEGUN),
    "completed": (Phase.SUCCEEDED, None, _BEGUN), "failed": (Phase.FAILED, "user_error", _BEGUN),
    "fail": (Phase.FAILED, "user_error", _BEGUN), "containercannotrun": (Phase.FAILED, "user_error", False),
    "timedout": (Phase.FAILED, "timeout", _BEGUN), "preempted": (Phase.FAILED, "preempted", _BEGUN),
    "deleted": (Phase.CANCELLED, None, False), "unknown": (Phase.UNKNOWN, None, False),
}
"""Phase, class of a failure, and whether it has begun, by the status in lower case.

`Terminating` is a job that is being removed, or that loses its place and will wait again; it has begun, so nobody may take it for
one that only waits. `Error` and the loops come before another try. `Unknown` is what the scheduler's absence at the end leaves.
"""

_PLAIN_WORDS = frozenset({"pending", "running", "succeeded", "failed", "completed"})
_STUCK = frozenset({"errimagepull", "imagepullbackoff"})
_INIT = re.compile(r"init:[0-9]+/[0-9]+")
_MOST_MS = 253402300800000  # the year 10000
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class View:
    """A job as a list shows it. image, interactive: "" and None where it does not say. going: it is being removed."""

    id: str
    project: str
    name: str
    actual: Actual
    created: datetime
    image: str = ""
    interactive: bool | None = None
    going: bool = False


def wire_body(spec: Mapping[str, Json], name: str, project: str) -> dict[str, Json]:
    """The body that submits a spec. Raises BackendError for a key that this API does not have."""
    resources = spec.get("resources")
    extended = {"extended"} & resources.keys() if isinstance(resources, dict) else set()
    if foreign := sorted({*(spec.keys() - KEYS), *extended}):
        raise BackendError(f"the job API of Run:ai has no {foreign[0]}", "`api: workloads` of the backend may have it")
    job: dict[str, Json] = {wire: spec[key] for key, wire in _PLAIN.items() if key in spec}
    job |= {"name": name, "project": project}
    words = program(spec)
    if words[0]:
        job["command"] = words[0]
    if words[1]:
        job["arguments"] = list(words[1])
    if isinstance(env := spec.get("env"), dict):
        job["environment"] = {key: str(value) for key, value in env.items()}
    if isinstance(resources, dict):
        job |= _resources(resources)
    for key, names in (("ports", _PORT), ("pvc", _PVC)):
        if isinstance(items := spec.get(key), list):
            job[key] = [{names[part]: value for part, value in item.items()} for item in items if isinstance(item, dict)]
    if "ttl" in spec:
        job["ttlAfterFinish"] = f"{seconds(spec['ttl'])}s"
    return {"job": job}


def program(spec: Mapping[str, Json]) -> tuple[str, tuple[str, ...]]:
    """The program, "" for the image's own, and its arguments: both APIs take the program as one text, which blanks divide."""
    command, args = spec.get("command"), spec.get("args")
    words = [str(word) for word in command] if isinstance(command, list) else []
    more = [str(word) for word in args] if isinstance(args, list) else []
    return (words[0] if words else "", (*words[1:], *more))


def seconds(duration: Json) -> int:
    """Whole seconds, at least one: the service has no smaller unit."""
    return max(1, math.ceil(parse_duration(str(duration))))


def cores(value: Json) -> float:
    """A number of cores, whole where it is."""
    return plain_number(parse_quantity(value if isinstance(value, int | float | str) else ""))


def _resources(resources: Mapping[str, Json]) -> dict[str, Json]:
    gpu = resources.get("gpu")
    found: dict[str, Json] = {"gpu": gpu.get("count")} if isinstance(gpu, dict) else {}
    found |= {wire: cores(resources[key]) for key, wire in (("cpu", "cpu"), ("cpu_limit", "cpuLimit")) if key in resources}
    texts = (("memory", "memory"), ("memory_limit", "memoryLimit"), ("gpu_fraction", "gpu"), ("gpu_memory", "gpuMemory"))
    return found | {wire: resources[key] for key, wire in texts if key in resources}


def view(value: Json, now: datetime) -> View:
    """A job out of a list. now: stands for the end of one that has ended, since the service does not say when.

    Raises KeyError, TypeError or ValueError for what is no job.
    """
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    run, name, project = (_text(value[key], key) for key in ("id", "name", "project"))
    created = _created(value.get("createdAt"))
    status = _text(value["status"], "status")
    image, kind = value.get("images"), str(value.get("type") or "").lower()
    interactive = True if kind.startswith("interactive") else False if kind.startswith("train") else None
    fields: dict[str, Json] = {"image": image} if isinstance(image, str) and image else {}
    if interactive is not None:
        fields["interactive"] = interactive
        if interactive and kind.endswith("preemptible"):
            fields["preemptible"] = True
    return View(run, project, name, _actual(status, created, now, fields), created, image if isinstance(image, str) else "",
                interactive, status.lower() in ("terminating", "deleted"))


def _actual(status: str, created: datetime, now: datetime, fields: Mapping[str, Json]) -> Actual:
    """started_at: the service does not say when; its creation is the one time before that which never moves."""
    word = status.lower()
    warnings: tuple[str, ...] = ()
    known = _WORDS.get(word) or ((Phase.PENDING, None, False) if _INIT.fullmatch(word) else None)
    if known is None:
        known = (Phase.RUNNING, None, _BEGUN)
        warnings = (f"the service says {status!r}, which jobform does not know; it is taken for running",)
    elif word in _STUCK:
        warnings = (f"the image cannot be fetched ({status}): the job waits for it until it can, or until it is cancelled",)
    phase, class_, begun = known
    over = phase in ENDED
    return Actual(
        phase, "" if word in _PLAIN_WORDS else status, class_, status if class_ and word not in _PLAIN_WORDS else "",
        started_at=timestamp(created) if begun else None, ended_at=timestamp(max(now, created)) if over else None, fields=fields,
        warnings=warnings,
    )


def _created(value: Json) -> datetime:
    """Milliseconds since the epoch."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_MS:
        raise ValueError(f"createdAt is {str(value)[:60]}")
    return datetime.fromtimestamp(value / 1000, UTC)


def _text(value: Json, key: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"{key} is {str(value)[:60]!r}")
    return value
