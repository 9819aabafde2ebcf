"""What the API server's own log says happened: the witness in tests of "never two"."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

JOB_LABEL = "jobform.dev/job"
LINEAGE_LABEL = "jobform.dev/lineage"
ENDED = {"Complete", "Completed", "Failed", "Succeeded"}
ENDED_WORDS = {"complete", "completed", "failed", "succeeded", "stopped", "aborted", "terminated"}
FOREVER = "9999"


@dataclass(frozen=True, slots=True)
class Event:
    """One request that was carried out or refused. began, ended: when the server got it and when it had answered (ISO, UTC).

    object: the object in the answer of a write of something that runs, else the one that was sent, else empty.
    """

    verb: str
    user: str
    agent: str
    namespace: str
    resource: str
    subresource: str
    name: str
    status: int
    dry_run: bool
    began: str
    ended: str
    object: dict[str, Any]

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.ended)


def read(directory: Path, namespace: str = "", resource: str = "") -> list[Event]:
    """The log of the cluster in `directory`, in the order of the answers. "" is any; resource: the plural, such as jobs."""
    return sorted(_events(directory / "audit.log", namespace, resource), key=lambda event: event.ended)


def _events(path: Path, namespace: str, resource: str) -> Iterator[Event]:
    with path.open() as lines:
        for line in lines:
            if not line.endswith("\n"):
                return  # still being written
            if namespace not in line:
                continue  # most of the log is about somebody else, and decoding is what takes time
            entry = json.loads(line)
            about = entry.get("objectRef") or {}
            if (namespace and about.get("namespace") != namespace) or (resource and about.get("resource") != resource):
                continue
            answer = entry.get("responseObject") or {}
            found = answer if answer.get("metadata", {}).get("uid") else entry.get("requestObject") or {}
            yield Event(
                entry["verb"], entry["user"].get("username", ""), entry.get("userAgent", ""), about.get("namespace", ""),
                about.get("resource", ""), about.get("subresource", ""),
                about.get("name") or found.get("metadata", {}).get("name", ""),
                (entry.get("responseStatus") or {}).get("code", 0),
                "dryRun=" in entry["requestURI"], entry["requestReceivedTimestamp"], entry["stageTimestamp"], found,
            )


def creates(directory: Path, namespace: str, resource: str = "jobs") -> list[Event]:
    """The requests that really made an object: POST, and apply of a name that was free."""
    return [event for event in read(directory, namespace, resource) if _made(event)]


def deletes(directory: Path, namespace: str, resource: str = "jobs") -> list[Event]:
    """The delete requests that were taken."""
    return [
        event for event in read(directory, namespace, resource)
        if event.verb in ("delete", "deletecollection") and event.status < 300 and not event.dry_run
    ]


def _made(event: Event) -> bool:
    return event.status == 201 and event.verb in ("create", "patch", "update") and not event.subresource and not event.dry_run


@dataclass(frozen=True, slots=True)
class Interval:
    """While one object was live: from the answer that it is there until the request that ended or removed it was received."""

    uid: str
    name: str
    began: str
    ended: str


Live = dict[tuple[str, str], list[Interval]]


def live_intervals(directory: Path, namespace: str, resource: str = "jobs", job: str = "") -> Live:
    """Per lineage and job label (`jobform.dev/job`; job: only this one) the intervals of its objects, in order of creation.

    A run ends when its status says so, and otherwise when its object goes: by a delete, or, if finalizers hold it, with the
    removal of the last one. The bounds lie inside the true interval, so an overlap is one.
    """
    events = read(directory, namespace, resource)
    found: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    for made in (event for event in events if _made(event)):
        labels = made.object["metadata"].get("labels", {})
        if JOB_LABEL in labels and job in ("", labels[JOB_LABEL]):
            uid = made.object["metadata"]["uid"]
            later = [event for event in events if event.ended > made.ended and event.name == made.name]
            ended = next((event.began for event in later if _over(event, uid)), FOREVER)
            found[labels.get(LINEAGE_LABEL, ""), labels[JOB_LABEL]].append(Interval(uid, made.name, made.ended, ended))
    return dict(found)


def _over(event: Event, uid: str) -> bool:
    if event.status >= 300 or event.dry_run or event.verb in ("get", "list", "watch"):
        return False
    if _made(event):
        return bool(event.object["metadata"]["uid"] != uid)  # the name was free again, whoever freed it
    metadata = event.object.get("metadata", {})
    if event.verb == "delete":
        told = event.object if event.object.get("kind") == "Status" else {}
        held = bool(metadata.get("finalizers"))
        return bool((told.get("details") or {}).get("uid") == uid or (metadata.get("uid") == uid and not held))
    if metadata.get("uid") != uid:
        return False
    gone = bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers")
    return gone or _ended(event.object.get("status") or {})


def _ended(status: dict[str, Any]) -> bool:
    if any(it.get("type") in ENDED and it.get("status") == "True" for it in status.get("conditions") or []):
        return True
    state = status.get("state")
    words = [status.get("jobDeploymentStatus"), state.get("phase") if isinstance(state, dict) else None]
    return any(str(word).lower() in ENDED_WORDS for word in words)


def never_two_live(directory: Path, namespace: str, resource: str = "jobs", job: str = "") -> None:
    """Fails if at some moment two live objects had the same job label; and if none was ever made, for then nothing was tested."""
    found = live_intervals(directory, namespace, resource, job)
    assert found, f"nothing with the label {JOB_LABEL} was made in {namespace}"
    for label, intervals in found.items():
        ordered = sorted(intervals, key=lambda interval: interval.began)
        for earlier, later in pairwise(ordered):
            assert earlier.ended <= later.began, f"two live objects for {label}:\n{earlier}\n{later}"
