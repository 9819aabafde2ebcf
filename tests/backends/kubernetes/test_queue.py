"""What a queue says of the jobs that it holds back, and what may be done to them: with Kueue played as the real one behaves."""

import json
from typing import Any

import pytest

from jobform.backends.kubernetes.queue import Queued, told
from jobform.backends.kubernetes.refs import JobRef
from jobform.model.state import Phase
from jobform.protocols import Gone, Ref, Submission
from tests.backends.kubernetes.desk import Desk, job
from tests.backends.kubernetes.hand import Hand, ended, stamp, status
from tests.cluster.api import Object
from tests.cluster.kueue import Kueue

T = "2026-01-02T03:04:05Z"


def queued(gpus: int = 1, **more: Any) -> Object:
    return job(queue="q", resources={"gpu": {"count": gpus}}, **more)


def name(ref: Ref) -> str:
    return JobRef.parse(ref).name


def until(desk: Desk, ref: Ref, words: str) -> None:
    desk.until(lambda: desk.actual(ref), lambda actual: words in actual.detail)


def test_a_job_waits_runs_and_ends(desk: Desk) -> None:
    with Kueue(desk.cluster, desk.namespace, quota=1) as kueue:
        first = desk.submit(queued(), desk.mark("first"), "first")
        desk.pod(first)
        second = desk.submit(queued(), desk.mark("second"), "second")
        until(desk, second, "queued in queue q: WaitingForQuota")
        waiting = desk.actual(second)
        assert (waiting.phase, waiting.started_at) == (Phase.PENDING, None)
        assert "insufficient unused quota for nvidia.com/gpu in flavor h100, 1 more needed" in waiting.detail
        assert kueue.workload(name(second)) is not None
        Hand(desk.api, desk.namespace).put(desk.pod(first)["metadata"]["name"], status("Succeeded", ended(0)))
        desk.reach(first, Phase.SUCCEEDED)
        desk.pod(second)


def test_what_will_never_run_says_why(desk: Desk) -> None:
    with Kueue(desk.cluster, desk.namespace, quota=1):
        until(desk, desk.submit(queued(6)), "queued in queue q: will never fit")
        nowhere = desk.submit(job(queue="nosuch"), desk.mark("nowhere"), "nowhere")
        until(desk, nowhere, "the queue is misconfigured: LocalQueue nosuch doesn't exist")
        spec = queued(labels={"kueue.x-k8s.io/priority-class": "nosuch"})
        until(desk, desk.submit(spec, desk.mark("class"), "class"), "WorkloadPriorityClassNotFound")


def test_eviction_and_deactivation_are_pending(desk: Desk) -> None:
    with Kueue(desk.cluster, desk.namespace) as kueue:
        ref = desk.submit(queued())
        desk.pod(ref)
        kueue.hold = True
        kueue.evict(name(ref))
        until(desk, ref, "evicted (Preempted); queued in queue q")
        assert desk.actual(ref).phase is Phase.PENDING
        kueue.hold = False
        desk.until(lambda: desk.job(ref), lambda found: not found["spec"]["suspend"])
        kueue.activate(name(ref), False)
        until(desk, ref, "deactivated")
        assert desk.actual(ref).phase is Phase.PENDING


def test_a_job_whose_time_in_the_queue_is_over_has_failed(desk: Desk) -> None:
    with Kueue(desk.cluster, desk.namespace):
        ref = desk.submit(queued(labels={"kueue.x-k8s.io/max-exec-time-seconds": "1"}))
        actual = desk.reach(ref, Phase.FAILED)
        assert (actual.class_, actual.native_reason) == ("timeout", "MaximumExecutionTimeExceeded")
        assert actual.ended_at is not None
        desk.backend.delete(ref)
        assert isinstance(desk.read(ref), Gone)


def test_a_waiting_job_is_cancelled(desk: Desk) -> None:
    with Kueue(desk.cluster, desk.namespace, quota=1, hold=True):
        ref = desk.submit(queued())
        until(desk, ref, "WaitingForQuota")
        desk.backend.cancel(ref, only_if_waiting=True)
        desk.until(lambda: desk.read(ref), lambda answer: isinstance(answer, Gone))


FLAVOUR = {"pool": "h100"}


@pytest.mark.parametrize("own", [
    {}, {"node_selector": {"disk": "fast"}}, {"tolerations": [{"key": "mine", "operator": "Exists"}]},
])
def test_an_update_of_an_admitted_job_touches_nothing_of_the_queue(desk: Desk, own: Object) -> None:
    flavour = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    with Kueue(desk.cluster, desk.namespace, node_labels=FLAVOUR, tolerations=flavour):
        spec = queued(pod_labels={"team": "a"}, **own)
        ref = desk.submit(spec)
        pod = desk.pod(ref)
        Hand(desk.api, desk.namespace).put(pod["metadata"]["name"], status("Running", {"running": {"startedAt": stamp()}}))
        before = desk.job(ref)
        assert before["spec"]["template"]["spec"]["nodeSelector"].items() >= FLAVOUR.items()
        changed = {**spec, "labels": {"note": "new"}}
        after = desk.backend.update(ref, Submission("job", changed, changes=(("labels",),)), desk.actual(ref))
        assert after.phase is Phase.RUNNING
        live = desk.job(ref)
        assert live["metadata"]["labels"]["note"] == "new"
        assert live["spec"] == before["spec"]
        assert [each["metadata"]["uid"] for each in desk.pods_of(ref)] == [pod["metadata"]["uid"]]
        native = after.native
        assert isinstance(native, bytes)
        ours = next(entry for entry in json.loads(native)["metadata"]["managedFields"] if entry["manager"] == "jobform")
        assert "f:suspend" not in ours["fieldsV1"]["f:spec"]


def test_an_update_while_it_waits_changes_where_it_may_run(desk: Desk) -> None:
    with Kueue(desk.cluster, desk.namespace, hold=True) as kueue:
        ref = desk.submit(queued(node_selector={"disk": "slow"}))
        until(desk, ref, "queued")
        changed = Submission("job", queued(node_selector={"disk": "fast"}), changes=(("node_selector",),))
        desk.backend.update(ref, changed, desk.actual(ref))
        live = desk.job(ref)["spec"]
        assert live["template"]["spec"]["nodeSelector"] == {"disk": "fast"}
        assert live["suspend"] is True
        kueue.hold = False
        desk.pod(ref)


def workload(*conditions: tuple[str, str, str, str], active: bool = True, **more: Any) -> Object:
    listed = [
        {"type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": T}
        for kind, state, reason, message in conditions
    ]
    return {"metadata": {"name": "w"}, "spec": {"active": active, "queueName": "q"}, "status": {"conditions": listed, **more}}


@pytest.mark.parametrize(("load", "detail"), [
    (workload(), "queued in queue q"),
    (workload(("QuotaReserved", "False", "NoMatchingFlavor", "affinity")), "queued in queue q: no flavour fits: affinity"),
    (workload(("QuotaReserved", "False", "Suspended", "ClusterQueue is inactive")),
     "queued in queue q: Suspended: ClusterQueue is inactive"),
    (workload(("QuotaReserved", "False", "SomethingNew", "")), "queued in queue q: SomethingNew"),
    (workload(("Admitted", "True", "Admitted", "")), "admitted in queue q"),
    (workload(("Evicted", "True", "PodsReadyTimeout", ""), requeueState={"count": 3}),
     "evicted (PodsReadyTimeout, requeued 3 times); queued in queue q"),
    (workload(("Evicted", "False", "QuotaReserved", ""), ("Admitted", "True", "Admitted", "")), "admitted in queue q"),
    (workload(active=False), "suspended: its Workload is deactivated"),
    ({"status": {"conditions": 3}, "spec": []}, "queued"),
])
def test_what_a_workload_says(load: Object, detail: str) -> None:
    assert told(load).detail == detail


def test_time_over_is_told_with_its_moment() -> None:
    reason = "DeactivatedDueToMaximumExecutionTimeExceeded"
    said = told(workload(("Evicted", "True", reason, ""), active=False))
    assert isinstance(said, Queued)
    assert said.timed_out_at == T


def test_without_a_queue_a_suspended_job_says_so(desk: Desk) -> None:
    ref = desk.submit(job())
    desk.api.merge(f"{desk.jobs}/{name(ref)}", {"spec": {"suspend": True}})
    until(desk, ref, "suspended")
    assert desk.actual(ref).phase is Phase.PENDING
