"""What Kueue says of a job that it holds back: its Workload objects, by the uid of the job.

Sources: the Workload type of kueue.x-k8s.io, what a real Kueue shows in each case (conditions, reasons, messages), and for
positions PendingWorkloadsSummary of visibility.kueue.x-k8s.io, which counts from 0.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from jobform.backends.kubernetes.names import QUEUE_NAME
from jobform.backends.kubernetes.shapes import at, condition, line, mapping, number, text
from jobform.backends.kubernetes.site import Site
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.model.values import Json

JOB_UID = "kueue.x-k8s.io/job-uid"
APIS = ("kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta1")
_POSITIONS = ("visibility.kueue.x-k8s.io/v1beta2", "visibility.kueue.x-k8s.io/v1beta1")
_POSITION_TIMEOUT = 3.0
"""Seconds for the positions in one queue: an API server waits up to 60 for whom it forwards to."""

_AT_ONCE = 40
"""Uids in one selector, so that the URL stays short."""

_OUT_OF_TIME = "MaximumExecutionTimeExceeded"
_NEVER = {
    "ExceedsMaxQuota": "will never fit", "NoMatchingFlavor": "no flavour fits", "Misconfigured": "the queue is misconfigured",
}


@dataclass(frozen=True, slots=True)
class Queued:
    """What a Workload says. detail: one line. timed_out_at: when its time was over, which leaves its job suspended for ever."""

    detail: str
    name: str = ""
    queue: str = ""
    waiting: bool = False
    timed_out_at: str | None = None


def queued(site: Site, namespace: str, uids: Collection[str]) -> Mapping[str, Queued] | None:
    """By uid of the job, for those that have a Workload. None where there is no Kueue, or where it may not be read."""
    try:
        api = next((api for api in APIS if (api, "Workload") in site.client.served()), None)
        if api is None:
            return None
        found: dict[str, Queued] = {}
        ordered = sorted(uids)
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            query = {"labelSelector": f"{JOB_UID} in ({','.join(some)})"}
            for workload in site.client.list(object_path(api, "workloads", namespace), query):
                found[text(mapping(workload, "metadata", "labels"), JOB_UID)] = told(workload)
        return _placed(site, namespace, found)
    except KubeError as error:
        if error.status in (403, 404):
            return None
        raise


def told(workload: Json) -> Queued:
    """What one Workload says."""
    name, queue = text(workload, "metadata", "name"), text(workload, "spec", "queueName")
    evicted, quota = condition(workload, "Evicted"), condition(workload, "QuotaReserved")
    where = f" in queue {queue}" if queue else ""
    if at(workload, "spec", "active") is False:
        if _OUT_OF_TIME in text(evicted, "reason"):
            return Queued("its maximum execution time is over", name, queue, timed_out_at=text(evicted, "lastTransitionTime"))
        return Queued("suspended: its Workload is deactivated", name, queue)
    if condition(workload, "Admitted").get("status") == "True":
        return Queued(f"admitted{where}", name, queue)
    times = number(workload, "status", "requeueState", "count")
    again = ""
    if evicted.get("status") == "True":
        often = f", requeued {times} times" if times else ""
        again = f"evicted ({text(evicted, 'reason')}{often}); "
    reason, message = text(quota, "reason"), line(text(quota, "message"))
    said = _NEVER.get(reason, reason)
    why = ": ".join(part for part in (said, message) if part)
    return Queued(line(f"{again}queued{where}" + (f": {why}" if why else "")), name, queue, waiting=True)


def held(obj: Mapping[str, Json], known: Queued | None, served: bool) -> str:
    """The line of detail of a job that is held back. known: its Workload, if it has one; served: whether there is a Kueue."""
    if known is not None:
        return known.detail
    queue = text(mapping(dict(obj), "metadata", "labels"), QUEUE_NAME)
    if not queue:
        return "suspended"
    return f"queued in queue {queue}: " + ("it has no Workload yet" if served else "no Kueue serves it, or it may not be read")


def _placed(site: Site, namespace: str, found: dict[str, Queued]) -> Mapping[str, Queued]:
    """The same with positions, where Kueue serves them: they are one more word in a line, worth neither a failure nor a wait."""
    offered = {api for api, _ in site.client.served()}  # its kinds have other names than the resources that hold them
    api = next((api for api in _POSITIONS if api in offered), None)
    place: dict[str, int] = {}
    for queue in sorted({each.queue for each in found.values() if each.waiting and each.queue}) if api else ():
        path = object_path(api or "", "localqueues", namespace, queue, "pendingworkloads")
        try:
            body = site.client.request("GET", path, timeout=_POSITION_TIMEOUT, repeatable=False).body
        except KubeError as error:
            if error.status == 404:  # nobody has made this queue
                continue
            break  # it may not be asked, or has no answer: not for another queue either
        items = body.get("items")
        for item in items if isinstance(items, list) else []:
            position = number(item, "positionInLocalQueue")
            if position is not None:
                place[text(item, "metadata", "name")] = position + 1
    for uid, each in found.items():
        if each.waiting and each.name in place:
            found[uid] = replace(each, detail=each.detail.replace(" in queue ", f" at place {place[each.name]} in queue ", 1))
    return found
