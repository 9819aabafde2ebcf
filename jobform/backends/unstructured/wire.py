"""A job as the service writes it: the body that makes one, and what its answers say of a run, its nodes and its files."""

import json
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobform.backends.remote import Seen, moment, phase_of
from jobform.clients.rest.client import FilePart
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Actual, timestamp

_PHASES: Mapping[str, Phase] = {
    "SCHEDULED": Phase.PENDING, "IN_PROGRESS": Phase.RUNNING, "COMPLETED": Phase.SUCCEEDED, "STOPPED": Phase.CANCELLED,
    "FAILED": Phase.FAILED,
}

_ID = re.compile(r"[0-9A-Za-z-]{1,100}")
_RUNTIME = re.compile(r"P(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?")

_YEARS = (2000, 9000)
"""Between them a job was made: what else is told cannot be counted with."""

_MOST = 500
"""Characters of a reason that are kept, and files whose failure is told one by one."""


def request_data(spec: Mapping[str, Json]) -> str:
    """The text part of a create: what the spec says of the chain, as it stands there."""
    return json.dumps({key: spec[key] for key in ("template_id", "job_nodes") if key in spec}, separators=(",", ":"))


def file_name(path: str) -> str:
    """What a file of the project is called on the service."""
    return path.rstrip("/").rpartition("/")[2]


def same_names(paths: Sequence[str]) -> list[str]:
    """Two paths whose files would be called alike, [] when all are told apart."""
    met: dict[str, str] = {}
    for path in paths:
        if (name := file_name(path)) in met:
            return [met[name], path]
        met[name] = path
    return []


def part_of(path: str, data: bytes) -> FilePart:
    """A file as a part of the body."""
    kind, encoding = mimetypes.guess_type(path)
    return FilePart("input_files", file_name(path), data, kind if kind and not encoding else "application/octet-stream")


def seen_of(value: Json, now: datetime) -> Seen:
    """The run of a job as it is shown, with the job itself in `native`. now: when it was shown.

    The service tells when a job was made and how long it ran, not when it began or ended. So a run began no earlier than it was
    made, and what has ended did so that long after, or by now. Raises KeyError, TypeError or ValueError for what is no job.
    """
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    run = value["id"]
    if not isinstance(run, str) or not _ID.fullmatch(run):
        raise ValueError(f"its id is {short(str(run), 80)!r}")
    word = value["status"]
    if not isinstance(word, str):
        raise TypeError("its status is no text")
    phase, warnings = phase_of(short(word, 60), _PHASES)
    created, runtime = _moment(value["created_at"]), runtime_of(value.get("runtime"))
    began = created if phase is not Phase.PENDING and (phase is not Phase.CANCELLED or runtime is not None) else None
    ended = (min(now, created + runtime) if created and runtime is not None else now) if phase in ENDED else None
    actual = Actual(
        phase, "", "user_error" if phase is Phase.FAILED else None, word if phase in ENDED else "",
        started_at=timestamp(began) if began else None, ended_at=timestamp(max(ended, began or ended)) if ended else None,
        warnings=warnings, native=value,
    )
    name = value.get("workflow_name")
    return Seen(run, "", actual, short(name, 200) if isinstance(name, str) else "", created, whole=phase is not Phase.FAILED)


def _moment(value: Json) -> datetime | None:
    """A time that can be counted with, None for another."""
    found = moment(value)
    return found if found is not None and _YEARS[0] <= found.year <= _YEARS[1] else None


def runtime_of(value: Json) -> timedelta | None:
    """How long a job ran, an ISO 8601 duration, None where it is not told so that it can be read."""
    found = _RUNTIME.fullmatch(value) if isinstance(value, str) else None
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Node:
    """How far one node is. what: its type and subtype. The numbers are files."""

    name: str
    what: str
    ready: int
    in_progress: int
    success: int
    failure: int


@dataclass(frozen=True, slots=True)
class Details:
    """status: the service's second word, such as COMPLETED_WITH_ERRORS. message: why, "" for nothing."""

    status: str
    message: str
    nodes: tuple[Node, ...]

    @property
    def has_failures(self) -> bool:
        return self.status == "COMPLETED_WITH_ERRORS" or any(node.failure for node in self.nodes)


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that no output is given for."""

    document: str
    error: str


def details_of(value: Json) -> Details:
    """Raises BackendError for what are no details."""
    stats = value.get("node_stats") if isinstance(value, dict) else None
    word = value.get("processing_status") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(stats, list | None) or not isinstance(word, str):
        raise BackendError("the service's answer is no details of a job")
    return Details(_text(word), _text(value.get("message")), tuple(_nodes(stats or [])))


def failed_of(value: Json) -> list[FailedFile]:
    """Raises BackendError for what is no list of failed files."""
    listed = value.get("failed_files") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise BackendError("the service's answer is no list of failed files")
    some = [item for item in listed[:_MOST] if isinstance(item, dict)]
    return [FailedFile(_text(item.get("document")), _text(item.get("error"))) for item in some]


def input_ids(job: object) -> list[str]:
    """The ids of the files of a job, as it is shown; empty where it tells none."""
    listed = job.get("input_file_ids") if isinstance(job, dict) else None
    return [item for item in listed[:_MOST] if isinstance(item, str) and item] if isinstance(listed, list) else []


def named(ids: Sequence[str], paths: Sequence[str]) -> list[tuple[str, str]]:
    """Each file's id with the path that it was sent from, "" where that cannot be told.

    An id that is a file's name is that file's, and so is one that has it within, where that tells them all apart; else the ids
    are in the order of the upload, where there are as many.
    """
    by_name = {file_name(path): path for path in paths}
    if all(run in by_name for run in ids):
        return [(run, by_name[run]) for run in ids]
    within = [max((name for name in by_name if name in run), key=len, default="") for run in ids]
    if all(within) and len(set(within)) == len(ids):
        return [(run, by_name[name]) for run, name in zip(ids, within, strict=True)]
    if len(ids) == len(paths):
        return list(zip(ids, paths, strict=True))
    return [(run, by_name.get(run, "")) for run in ids]


def explain(body: Json) -> tuple[str, str]:
    """Message of an error: `{"detail": TEXT}`, or `{"detail": [{"loc", "msg", "type"}]}`, of which the first few are told."""
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, str):
        return "", detail
    if not isinstance(detail, list):
        return "", ""
    return "", "; ".join(_complaint(item) for item in detail[:5] if isinstance(item, dict))


def _complaint(item: Mapping[str, Json]) -> str:
    loc = item.get("loc")
    where = ".".join(str(part)[:100] for part in loc[:20]) if isinstance(loc, list) else ""
    return f"{where}: {_text(item.get('msg'))}" if where else _text(item.get("msg"))


def _nodes(stats: Sequence[Json]) -> Iterator[Node]:
    for item in stats[:_MOST]:
        if isinstance(item, dict):
            what = "/".join(part for part in (_text(item.get("node_type")), _text(item.get("node_subtype"))) if part)
            counts = (_count(item.get(key)) for key in ("ready", "in_progress", "success", "failure"))
            yield Node(_text(item.get("node_name")) or what or "node", what, *counts)


def _count(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: Json) -> str:
    return short(value, _MOST) if isinstance(value, str) else ""
