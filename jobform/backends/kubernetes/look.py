"""One look at a namespace: pods, queue and events, each asked at most once and only when some run needs them."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.disrupted import disrupted_pod
from jobform.backends.kubernetes.kinds import Judged, Kind
from jobform.backends.kubernetes.names import JOB, LINEAGE
from jobform.backends.kubernetes.outcome import actual_of
from jobform.backends.kubernetes.pods import Pod, is_of, key_of, pod_of
from jobform.backends.kubernetes.queue import Queued, held, queued
from jobform.backends.kubernetes.shapes import line, mapping, number, text
from jobform.backends.kubernetes.site import Site
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Actual

_FEW = 30
"""So many jobs are named in a selector; more are asked for by their project's label."""

_FEW_EVENTS = 3
_TELLING = {"FailedCreate", "WorkloadPriorityClassNotFound", "FailedScheduling", "ErrorCreating"}

Key = tuple[str, str, str]

Follow = Callable[[str, str], Mapping[str, dict[str, Json]] | None]
"""The pods of a namespace and a lineage as a watch shows them, by uid; None when they must be listed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A workload, as small as what follows needs: without managed fields and pod templates. native: what `Actual` carries."""

    obj: dict[str, Json] = field(repr=False)
    kind: Kind
    judged: Judged
    native: bytes = field(repr=False)

    @property
    def uid(self) -> str:
        return text(self.obj, "metadata", "uid")

    @property
    def version(self) -> str:
        return text(self.obj, "metadata", "resourceVersion")

    @property
    def key(self) -> Key:
        return key_of(self.obj)


def actuals(site: Site, namespace: str, seen: Sequence[Seen], follow: Follow | None = None) -> dict[str, Actual]:
    """The present of workloads of one namespace, by uid. follow: a watch of pods. Raises KubeError."""
    asked = [each for each in seen if _has_pods(each)]
    pods = _pods(site, namespace, asked, follow)
    waiting = _held(site, namespace, [each for each in seen if each.judged.suspended])
    bare = [
        each for each in asked
        if each.uid not in pods and each.judged.phase is Phase.PENDING and not each.judged.suspended and not each.judged.deleting
    ]
    causes = _events(site, namespace, [each.uid for each in bare])
    answers = {}
    for each in seen:
        known, served = waiting.get(each.uid, (None, False))
        if known is not None and known.timed_out_at is not None:
            answers[each.uid] = Actual(
                Phase.FAILED, known.detail, "timeout", "MaximumExecutionTimeExceeded", ended_at=known.timed_out_at or None,
                native=each.native,
            )
            continue
        waits = held(each.obj, known, served) if each.judged.suspended else causes.get(each.uid, "")
        if not waits and each in bare:
            waits = "waiting for its pods to be made"
        own = pods.get(each.uid, [])
        own = own + disrupted_pod(site, namespace, each.judged, own)
        answers[each.uid] = actual_of(each.obj, each.judged, own, waits, each.native)
    return answers


def _has_pods(seen: Seen) -> bool:
    """Whether pods of it may tell something; what a queue holds back has none, or they are being ended."""
    if not seen.judged.suspended:
        return True
    status = mapping(seen.obj, "status")
    return bool(number(status, "active") or number(status, "terminating"))


def _pods(site: Site, namespace: str, seen: Sequence[Seen], follow: Follow | None) -> Mapping[str, list[Pod]]:
    """The pods of each workload by its uid, in one list where the pods carry our labels.

    Those of what has ended are never taken from a watch: their exit codes must be in it.
    """
    found: dict[str, dict[str, Pod]] = defaultdict(dict)  # by name: a list that is begun again shows its first pages twice
    path = object_path("v1", "pods", namespace)
    labelled: dict[Key, Seen] = {}
    for each in seen:
        if each.kind.template_paths:
            labelled[each.key] = each
        for selector in () if each.kind.template_paths else each.kind.pod_selectors(each.obj):
            for pod in site.client.list(path, {"labelSelector": selector}):
                own = pod_of(pod, each.kind.index_label)
                found[each.uid][own.name] = own

    def keep(pod: dict[str, Json]) -> None:
        owner = labelled.get(key_of(pod))
        if owner is not None and is_of(owner.kind, owner.obj, pod):
            own = pod_of(pod, owner.kind.index_label)
            found[owner.uid][own.name] = own

    going = {key: each for key, each in labelled.items() if each.judged.phase not in ENDED}
    listed = set(labelled)
    for lineage in {key[0] for key in going} if follow is not None else ():
        followed = follow(namespace, lineage) if follow is not None else None
        if followed is not None:
            some = {key for key in going if key[0] == lineage}
            listed -= some
            for pod in followed.values():
                if key_of(pod) in some:
                    keep(pod)
    for selector in _selectors(listed):
        site.client.list(path, {"labelSelector": selector}, lambda pod: keep(pod) if key_of(pod) in listed else None)
    return {uid: list(pods.values()) for uid, pods in found.items()}


def _selectors(keys: Collection[Key]) -> Iterable[str]:
    by_lineage: dict[str, set[str]] = defaultdict(set)
    for lineage, job, _ in keys:
        by_lineage[lineage].add(job)
    for lineage, jobs in by_lineage.items():
        some = f",{JOB} in ({','.join(sorted(jobs))})" if len(jobs) <= _FEW else ""
        yield f"{LINEAGE}={lineage}{some}"


def _held(site: Site, namespace: str, seen: Sequence[Seen]) -> Mapping[str, tuple[Queued | None, bool]]:
    """What a queue says of suspended workloads, and whether there is one that says anything."""
    if not seen:
        return {}
    kept = [each for each in seen if each.kind.queue]
    answered = queued(site, namespace, [each.uid for each in kept]) if kept else None
    served, known = answered is not None, answered or {}
    missing = [each.uid for each in kept if served and each.uid not in known]
    causes = _events(site, namespace, missing)
    told: dict[str, tuple[Queued | None, bool]] = {}
    for each in seen:
        queue = known.get(each.uid)
        if queue is None and each.uid in causes:
            queue = Queued(f"suspended: {causes[each.uid]}")
        told[each.uid] = (queue, served)
    return told


def _events(site: Site, namespace: str, uids: Sequence[str]) -> Mapping[str, str]:
    """The last telling warning about each of these objects; nothing for who may not read events."""
    if not uids:
        return {}
    queries = [f"involvedObject.uid={uid},type=Warning" for uid in uids] if len(uids) <= _FEW_EVENTS else ["type=Warning"]
    wanted = set(uids)
    latest: dict[str, tuple[str, str]] = {}

    def keep(event: dict[str, Json]) -> None:
        uid, reason = text(event, "involvedObject", "uid"), text(event, "reason")
        if uid in wanted and reason in _TELLING:
            when = text(event, "lastTimestamp") or text(event, "eventTime") or text(event, "metadata", "creationTimestamp")
            latest[uid] = max(latest.get(uid, ("", "")), (when, line(f"{reason}: {text(event, 'message')}")))

    try:
        for query in queries:
            site.client.list(object_path("v1", "events", namespace), {"fieldSelector": query}, keep)
    except KubeError as error:
        if error.status != 403:
            raise
    return {uid: said for uid, (_, said) in latest.items()}

def seen_of(kind: Kind, obj: Manifest) -> Seen:
    """One object, judged and made small."""
    native = json.dumps({key: value for key, value in obj.items() if key != "status"}, separators=(",", ":"))
    metadata = {key: value for key, value in mapping(obj, "metadata").items() if key != "managedFields"}
    spec: dict[str, Json] = {key: value for key, value in mapping(obj, "spec").items() if not isinstance(value, dict | list)}
    small: dict[str, Json] = {
        "apiVersion": text(obj, "apiVersion"), "kind": text(obj, "kind"), "metadata": metadata, "spec": spec,
        "status": obj.get("status"),
    }
    return Seen(small, kind, kind.judge(obj), native.encode("utf-8", "surrogatepass"))
