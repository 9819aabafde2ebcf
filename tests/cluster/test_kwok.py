"""Simulated nodes: what pods on them go through."""

from typing import Any

import pytest

from tests.cluster.api import JSON_PATCH
from tests.cluster.cluster import Cluster
from tests.cluster.kwok import AFTER, END, EXIT
from tests.cluster.test_cluster import job


@pytest.fixture(scope="module")
def many(cluster: Cluster) -> Cluster:
    """Twenty nodes with 8 GPUs each."""
    return cluster.with_simulated(20)


def run(many: Cluster, annotations: dict[str, str], **spec: Any) -> tuple[str, str]:
    namespace = many.namespace()
    body: Any = job("a", limits={"nvidia.com/gpu": "4"}, backoffLimit=0, **spec)
    body["spec"]["template"]["metadata"] = {"annotations": annotations}
    many.api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", body)
    return f"/apis/batch/v1/namespaces/{namespace}/jobs/a", f"/api/v1/namespaces/{namespace}/pods"


def condition(kind: str) -> Any:
    return lambda found: any(it["type"] == kind and it["status"] == "True" for it in found["status"].get("conditions", []))


def test_many_pods_run_to_the_end(many: Cluster) -> None:
    path, _ = run(many, {AFTER: "500ms"}, completions=40, parallelism=40, completionMode="Indexed")
    assert many.api.wait(path, condition("Complete"))["status"]["succeeded"] == 40


@pytest.mark.parametrize(("annotations", "code", "reason"), [
    ({END: "exit", EXIT: "3"}, 3, "Error"),
    ({END: "oom"}, 137, "OOMKilled"),
    ({END: "evicted"}, 137, "Error"),
])
def test_a_pod_ends_as_it_is_told(many: Cluster, annotations: dict[str, str], code: int, reason: str) -> None:
    path, pods = run(many, annotations)
    many.api.wait(path, condition("Failed"))
    status = many.api.items(pods)[0]["status"]
    state = status["containerStatuses"][0]["state"]["terminated"]
    assert (status["phase"], state["exitCode"], state["reason"]) == ("Failed", code, reason)
    assert (status.get("reason") == "Evicted") == (annotations[END] == "evicted")


def test_every_container_has_a_log(many: Cluster) -> None:
    path, pods = run(many, {})
    many.api.wait(path, condition("Complete"))
    name = many.api.items(pods)[0]["metadata"]["name"]
    assert many.api.raw("GET", f"{pods}/{name}/log") == (200, b"simulated\n")


def test_a_preempted_pod_is_marked_and_goes(many: Cluster) -> None:
    path, pods = run(many, {END: "never"}, podReplacementPolicy="Failed")
    many.api.wait(pods, lambda found: bool(found and found["items"] and found["items"][0]["status"]["phase"] == "Running"))
    name = many.api.items(pods)[0]["metadata"]["name"]
    hold = [{"op": "add", "path": "/metadata/finalizers/-", "value": "jobform.test/look"}]
    many.api.call("PATCH", f"{pods}/{name}", hold, content_type=JSON_PATCH)
    many.api.merge(f"{pods}/{name}", {"metadata": {"annotations": {END: "preempted"}}})
    seen = many.api.wait(f"{pods}/{name}", lambda pod: bool(pod and pod["metadata"].get("deletionTimestamp")))
    marks = [it["reason"] for it in seen["status"]["conditions"] if it["type"] == "DisruptionTarget"]
    assert marks == ["PreemptionByScheduler"]
    many.api.wait(path, condition("Failed"))
    many.api.merge(f"{pods}/{name}", {"metadata": {"finalizers": None}})


def test_a_pod_that_never_ends_goes_with_its_job(many: Cluster) -> None:
    path, pods = run(many, {END: "never"})
    many.api.wait(pods, lambda found: bool(found and found["items"] and found["items"][0]["status"]["phase"] == "Running"))
    many.api.delete(path, "Foreground")
    many.api.wait(path, lambda it: it is None)
    assert many.api.items(pods) == []
