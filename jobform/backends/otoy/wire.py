"""A job as the service writes it: the body that makes one, and what an answer says. Source: the pages `create-job` and `stop-job`
of its API reference.

The service keeps no field of ours and takes no request id, so a mark is the first line of a job's description: there it survives
a service that cuts long texts. Nobody can change it afterwards.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from jobform.backends.remote import Seen, moment, phase_of
from jobform.clients.text import short
from jobform.model.state import ENDED, Phase
from jobform.model.units import parse_duration, parse_quantity, plain_number
from jobform.model.values import Json
from jobform.protocols import Actual, Mark, timestamp

BATCH, PERSISTENT = "BATCH", "PERSISTENT"

_GIGABYTE = 1 << 30
"""Bytes of what the service calls a gigabyte; it does not say which of the two it means."""

_PHASES: Mapping[str, Phase] = {
    "PENDING": Phase.PENDING, "ASSIGNED": Phase.PENDING, "PREPARING": Phase.PENDING, "RUNNING": Phase.RUNNING,
    "CANCELLING": Phase.RUNNING, "FAILING": Phase.RUNNING, "COMPLETED": Phase.SUCCEEDED, "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
}
_SAID: Mapping[str, str] = {
    "PENDING": "waiting for a node", "ASSIGNED": "a node is chosen", "PREPARING": "the node prepares it",
    "CANCELLING": "it is being cancelled", "FAILING": "it is failing",
}
"""What a status means where the service gives no reason."""

_ENDING = ("CANCELLING", "FAILING")

_TEXTS = {"task": "task", "title": "title", "gpu_registry_uuid": "gpu_registry_uuid"}
_NUMBERS = {
    "max_node_count": "max_node_count", "retries": "max_retry_count", "min_storage_gb": "min_storage_gb",
    "min_vram_gb": "min_vram_gb",
}
_TIMES = {
    "timeout": "max_timeout_run_ms", "assign_timeout": "max_timeout_assign_ms", "start_timeout": "max_timeout_start_ms",
}
_LISTS = {"ports": "ports", "allowed_ips": "allowed_ips"}
_DOCKER = {**_LISTS, "env": "env", "ssh_key": "sshkey", "image_src": "imagesrc"}
"""Keys of the spec, and what the service calls them: of the job, as milliseconds, and of its container."""

_MARKED = re.compile(r"\s*jobform:(jf1-[0-9a-f]{16}-[0-9a-f]{16}-[0-9]+-[0-9a-f]{16})(?:\s+|$)")
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def body_of(spec: Mapping[str, Json], mark: Mark) -> dict[str, Json]:
    """The body that makes a job."""
    body: dict[str, Json] = {"task": BATCH, "title": mark.name, "max_timeout_run_ms": None}
    body |= {wire: spec[key] for key, wire in {**_TEXTS, **_NUMBERS}.items() if key in spec}
    body |= {wire: _milliseconds(spec[key]) for key, wire in _TIMES.items() if key in spec}
    if "allowed_region_codes" in spec:
        body["allowed_region_codes"] = spec["allowed_region_codes"]
    body |= _resources(_map(spec.get("resources")))
    docker: dict[str, Json] = {**_image(spec["image"], "host"), **_login(spec)}
    docker |= {wire: spec[key] for key, wire in _DOCKER.items() if key in spec}
    if isinstance(volumes := spec.get("volumes"), list):
        docker["volumes"] = [
            {**_image(_map(volume)["image"], "registry"), "mount": _map(volume)["mount"], **_login(_map(volume))}
            for volume in volumes
        ]
    text = spec.get("description")
    body["description"] = f"jobform:{mark.text}" + (f"\n{text}" if text else "")
    body["parameters"] = {"type": "docker", "parameters": docker}
    return body


def mark_in(description: Json) -> tuple[str, str]:
    """The mark in a job's description, "" for none, and what the user wrote."""
    if not isinstance(description, str):
        return "", ""
    found = _MARKED.match(description)
    return (found[1], description[found.end() :]) if found else ("", description)


def seen_of(value: Json) -> Seen:
    """Raises KeyError, TypeError or ValueError for what is no job."""
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    run, word = _text(value, "uuid"), _text(value, "status")
    if not _ID.fullmatch(run):
        raise ValueError(f"its uuid is {short(run, 80)!r}")
    phase, warnings = phase_of(short(word, 60), _PHASES)
    mark, _ = mark_in(value.get("description"))
    created, precise = _time(value, "created_at")
    ended = _ended(value) if phase in ENDED else None
    class_ = _class(value, ended) if phase is Phase.FAILED else None
    actual = Actual(
        phase, short(_text(value, "status_reason")) or _SAID.get(word, ""), class_, word if phase in ENDED else "",
        started_at=_stamp(_started(value, word, phase)), ended_at=_stamp(ended),
        fields=fields_of(value), warnings=warnings,
    )
    return Seen(run, mark, actual, short(_text(value, "title"), 200), created if precise else None)


def fields_of(job: Mapping[str, Json]) -> dict[str, Json]:
    """What the service reports, by the names of the spec; what it leaves out or calls null is not reported.

    Raises TypeError or ValueError for values of other types.
    """
    found: dict[str, Json] = {key: text for key, wire in _TEXTS.items() if (text := _text(job, wire))}
    found |= {key: plain for key, wire in _NUMBERS.items() if (plain := _number(job, wire)) is not None}
    found |= {key: _duration(plain) for key, wire in _TIMES.items() if (plain := _number(job, wire)) is not None}
    if text := mark_in(job.get("description"))[1]:
        found["description"] = text
    if isinstance(regions := job.get("allowed_region_codes"), list):
        found["allowed_region_codes"] = _texts(regions)
    if resources := dict(_reported_resources(job)):
        found["resources"] = resources
    return found | _reported_container(_map(_map(job.get("parameters")).get("parameters")))


# --- what is sent -----------------------------------------------------------------------------------------------------


def _resources(resources: Mapping[str, Json]) -> dict[str, Json]:
    body: dict[str, Json] = {}
    if "cpu" in resources:
        body["cpu_count"] = _quantity(resources["cpu"])
    if "memory" in resources:
        body["min_ram_gb"] = plain_number(_quantity(resources["memory"]) / _GIGABYTE)
    gpu = _map(resources.get("gpu"))
    return body | {wire: gpu[key] for key, wire in (("count", "gpu_count"), ("type", "gpu_name")) if key in gpu}


def _image(reference: Json, registry: str) -> dict[str, Json]:
    """`host/path:tag` in its parts. registry: what the part with the host is called."""
    name, _, tag = str(reference).rpartition(":")
    host, slash, path = name.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return {registry: host, "image": path, "tag": tag}
    return {"image": name, "tag": tag}


def _login(holder: Mapping[str, Json]) -> dict[str, Json]:
    registry = _map(holder.get("registry"))
    return {key: registry[key] for key in ("user", "secret") if key in registry}


def _milliseconds(duration: Json) -> int:
    return round(parse_duration(str(duration)) * 1000)


def _quantity(value: Json) -> float:
    return parse_quantity(value if isinstance(value, int | float) else str(value))


# --- what is reported -------------------------------------------------------------------------------------------------


def _reported_resources(job: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    cpu, memory = _number(job, "cpu_count"), _number(job, "min_ram_gb")
    if cpu is not None:
        yield "cpu", cpu
    if memory is not None:
        yield "memory", f"{memory}Gi"
    count, model = _number(job, "gpu_count"), _text(job, "gpu_name")
    if count is not None:
        yield "gpu", {"count": count, **({"type": model} if model else {})}


def _reported_container(docker: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {key: text for key, wire in (("ssh_key", "sshkey"), ("image_src", "imagesrc"))
                              if (text := _text(docker, wire))}
    if image := _reference(docker, "host"):
        found["image"] = image
    if user := _text(docker, "user"):
        found["registry"] = {"user": user}
    if isinstance(env := docker.get("env"), dict):
        found["env"] = {name: _string(text, name) for name, text in env.items()}
    found |= {key: list(items) for key, wire in _LISTS.items() if isinstance(items := docker.get(wire), list)}
    if isinstance(volumes := docker.get("volumes"), list):
        found["volumes"] = [_reported_volume(_map(volume)) for volume in volumes]
    return found


def _reported_volume(volume: Mapping[str, Json]) -> dict[str, Json]:
    user = _text(volume, "user")
    found: dict[str, Json] = {"image": _reference(volume, "registry"), "mount": _text(volume, "mount")}
    return found | ({"registry": {"user": user}} if user else {})


def _reference(holder: Mapping[str, Json], registry: str) -> str:
    host, image, tag = _text(holder, registry), _text(holder, "image"), _text(holder, "tag")
    return f"{f'{host}/' if host else ''}{image}{f':{tag}' if tag else ''}" if image else ""


def _class(job: Mapping[str, Json], ended: datetime | None) -> str:
    """Why it failed, as far as its times tell: the service has no code for it."""
    started, precise = _time(job, "started_at")
    if ended is None:
        return "user_error"
    if started is None:
        latest = _number(job, "timeout_assign_at_ms")
        return "no_capacity" if latest is not None and ended.timestamp() * 1000 >= latest else "user_error"
    most = _number(job, "max_timeout_run_ms") if precise else None
    return "timeout" if most is not None and (ended - started).total_seconds() * 1000 >= most else "user_error"


def _started(job: Mapping[str, Json], word: str, phase: Phase) -> datetime | None:
    """When it started; of one that surely runs or ran and does not say when, the earliest time that is known and stays."""
    started, _ = _time(job, "started_at")
    if started is not None or phase not in (Phase.RUNNING, Phase.SUCCEEDED) or word in _ENDING:
        return started
    created, _ = _time(job, "created_at")
    if created is None:
        raise ValueError("it has started and has no time")
    return created


def _ended(job: Mapping[str, Json]) -> datetime | None:
    for key in ("completed_at", "updated_at"):
        found, precise = _time(job, key)
        if found is not None and precise:
            return found
    return None


def _time(job: Mapping[str, Json], key: str) -> tuple[datetime | None, bool]:
    """A time, and whether it is more than a day: older pages of the service show dates alone."""
    value = job.get(key)
    try:
        found = moment(value)
    except OverflowError as error:
        raise ValueError(f"its {key} is out of range") from error
    return found, not (isinstance(value, str) and len(value) <= len("2023-12-25"))


def _stamp(found: datetime | None) -> str | None:
    return timestamp(found.astimezone(UTC)) if found else None


def _duration(milliseconds: float) -> str:
    whole = round(milliseconds)
    return f"{whole}ms" if whole % 1000 else f"{whole // 1000}s"


def _text(holder: Mapping[str, Json], key: str) -> str:
    """A text, "" for null and for none."""
    value = holder.get(key)
    return "" if value is None else _string(value, key)


def _string(value: Json, key: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"its {short(key, 40)} is no text")
    return value


def _texts(values: list[Json]) -> list[Json]:
    return [_string(value, "list") for value in values]


def _number(holder: Mapping[str, Json], key: str) -> int | float | None:
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"its {key} is no number")
    return plain_number(value)


def _map(value: Json) -> Mapping[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError("a part of it is no object")
    return value
