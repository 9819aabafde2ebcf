"""Kueue as it is played: what a Job and its Workload look like on the way."""

from collections.abc import Callable
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.kueue import PRIORITY, PRIORITY_LABEL, QUEUE_LABEL, WORKLOAD, Kueue
from tests.cluster.test_cluster import job


def queued(cluster: Cluster, namespace: str, name: str, gpus: int, queue: str = "q", priority: str = "") -> str:
    """Applies a queued Job as jobform would; the path of it."""
    body: Any = job(name, limits={"nvidia.com/gpu": str(gpus)})
    body["metadata"]["labels"] = {QUEUE_LABEL: queue} | ({PRIORITY_LABEL: priority} if priority else {})
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"
    cluster.api.apply(path, body, manager="jobform", force=False)
    return path


def owners(found: Any, *path: str) -> list[str]:
    """The managers that own a field of the object."""
    return [entry["manager"] for entry in found["metadata"]["managedFields"] if _within(entry["fieldsV1"], path)]


def _within(fields: Any, path: tuple[str, ...]) -> bool:
    return not path or (f"f:{path[0]}" in fields and _within(fields[f"f:{path[0]}"], path[1:]))


def running(found: Any) -> bool:
    return found["spec"]["suspend"] is False


def reserved(kueue: Kueue, name: str) -> Any:
    load = kueue.workload(name) or {"status": {}}
    return next((it for it in load.get("status", {}).get("conditions", []) if it["type"] == "QuotaReserved"), {})


def waits(kueue: Kueue, name: str, reason: str) -> Callable[[Any], bool]:
    return lambda _: reserved(kueue, name).get("reason") == reason


def tell(kueue: Kueue, name: str, *kinds: str) -> None:
    """Tells a Workload conditions as the played controller does, and nothing of what belongs to them."""
    load = kueue.workload(name)
    assert load is not None
    told = [
        {"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in kinds
    ]
    path = WORKLOAD.path(kueue.namespace, load["metadata"]["name"])
    kueue.cluster.api.merge(f"{path}/status", {"status": {"conditions": told}})


def test_a_job_is_suspended_by_nobody_and_admitted_by_kueue(cluster: Cluster, namespace: str) -> None:
    with Kueue(cluster, namespace, node_labels={"pool": "h100"}, tolerations=[{"key": "gpu", "operator": "Exists"}]) as kueue:
        kueue.hold = True
        path = queued(cluster, namespace, "a", 2)
        born = cluster.api.get(path)
        assert born["spec"]["suspend"] is True
        assert owners(born, "spec", "suspend") == []
        kueue.hold = False
        found = cluster.api.wait(path, running)
        assert owners(found, "spec", "suspend") == ["kueue"]
        spec = found["spec"]["template"]["spec"]
        assert (spec["nodeSelector"], spec["tolerations"]) == ({"pool": "h100"}, [{"key": "gpu", "operator": "Exists"}])
        assert found["spec"]["template"]["metadata"]["labels"]["kueue.x-k8s.io/local-queue-name"] == "q"
        load = kueue.workload("a")
        assert load is not None
        assert load["metadata"]["labels"]["kueue.x-k8s.io/job-uid"] == found["metadata"]["uid"]


def test_a_job_that_changed_during_its_admission_gets_the_whole_of_it(cluster: Cluster, namespace: str) -> None:
    """The Workload is told first: if the update of the Job is refused then, the next round makes it, with all that it has."""
    with Kueue(cluster, namespace, node_labels={"pool": "h100"}) as kueue:
        kueue.hold = True
        path = queued(cluster, namespace, "a", 2)
        cluster.api.wait(path, waits(kueue, "a", "WaitingForQuota"))
        tell(kueue, "a", "QuotaReserved", "Admitted")
        found = cluster.api.wait(path, running)
        assert found["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "h100"}


def test_a_job_whose_admission_is_made_whole_holds_its_quota(cluster: Cluster, namespace: str) -> None:
    with Kueue(cluster, namespace, hold=True) as kueue:
        first, second = (queued(cluster, namespace, name, 4) for name in ("a", "b"))
        for name in ("a", "b"):
            cluster.api.wait(first, waits(kueue, name, "WaitingForQuota"))
        kueue.stop()
        tell(kueue, "a", "QuotaReserved", "Admitted")
        kueue.hold = False
        kueue._round()
        assert running(cluster.api.get(first))
        assert not running(cluster.api.get(second))


def test_an_eviction_that_was_refused_in_the_middle_is_done_whole(cluster: Cluster, namespace: str) -> None:
    """The Workload is told first here too: whoever is told that it goes does not go on, and nobody else gets its quota before."""
    with Kueue(cluster, namespace, node_labels={"pool": "h100"}) as kueue:
        path = queued(cluster, namespace, "a", 2)
        cluster.api.wait(path, running)
        kueue.hold = True
        tell(kueue, "a", "QuotaReserved", "Admitted", "Evicted")
        found = cluster.api.wait(path, lambda it: "nodeSelector" not in (it or {})["spec"]["template"]["spec"])
        assert found["spec"]["suspend"] is True
        cluster.api.wait(path, waits(kueue, "a", "WaitingForQuota"))


def test_quota_is_waited_for_and_given_on(cluster: Cluster, namespace: str) -> None:
    with Kueue(cluster, namespace) as kueue:
        first = queued(cluster, namespace, "a", 3)
        cluster.api.wait(first, running)
        second = queued(cluster, namespace, "b", 2)
        queued(cluster, namespace, "c", 6)
        queued(cluster, namespace, "d", 1, queue="nosuch")
        for name, reason in (("b", "WaitingForQuota"), ("c", "ExceedsMaxQuota"), ("d", "Misconfigured")):
            cluster.api.wait(second, waits(kueue, name, reason))
        assert reserved(kueue, "b")["message"].endswith("1 more needed")
        cluster.api.delete(first)
        cluster.api.wait(second, running)


def test_an_evicted_job_is_as_it_was(cluster: Cluster, namespace: str) -> None:
    with Kueue(cluster, namespace, node_labels={"pool": "h100"}) as kueue:
        path = queued(cluster, namespace, "a", 2)
        born = cluster.api.wait(path, running)["metadata"]["uid"]
        kueue.hold = True
        kueue.evict("a")
        found = cluster.api.wait(path, lambda it: "nodeSelector" not in (it or {})["spec"]["template"]["spec"])
        assert (found["spec"]["suspend"], found["metadata"]["uid"]) == (True, born)
        assert "startTime" not in found["status"]
        kueue.hold = False
        cluster.api.wait(path, running)
        kueue.activate("a", active=False)
        cluster.api.wait(path, lambda it: not running(it) and reserved(kueue, "a").get("reason") == "Deactivated")


def test_the_higher_priority_takes_the_quota(cluster: Cluster, namespace: str) -> None:
    with Kueue(cluster, namespace) as kueue:
        body = {"apiVersion": PRIORITY.api, "kind": PRIORITY.kind, "metadata": {"name": namespace}, "value": 100}
        cluster.api.create(PRIORITY.path(""), body)
        low = queued(cluster, namespace, "low", 4)
        cluster.api.wait(low, running)
        high = queued(cluster, namespace, "high", 4, priority=namespace)
        cluster.api.wait(high, running)
        assert not running(cluster.api.get(low))
        load = kueue.workload("low")
        assert load is not None
        marks = {it["type"]: it["reason"] for it in load["status"]["conditions"] if it["status"] == "True"}
        assert (marks["Evicted"], marks["Preempted"]) == ("Preempted", "InClusterQueue")


def test_without_its_priority_class_a_job_gets_an_event_and_no_workload(cluster: Cluster, namespace: str) -> None:
    with Kueue(cluster, namespace) as kueue:
        queued(cluster, namespace, "a", 1, priority="nosuch")
        events = f"/api/v1/namespaces/{namespace}/events"
        cluster.api.wait(events, lambda found: "WorkloadPriorityClassNotFound" in [it["reason"] for it in (found or {})["items"]])
        assert kueue.workload("a") is None
