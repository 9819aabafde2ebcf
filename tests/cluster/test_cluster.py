"""The kit itself: what other tests rely on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.api import ApiFailure
from tests.cluster.cluster import Cluster
from tests.cluster.images import BUSYBOX, PYTHON
from tests.cluster.roles import let_apply


def job(name: str, *command: str, image: str = BUSYBOX, limits: object = None, **spec: object) -> dict[str, object]:
    container = {"name": "main", "image": image, "command": command or ["true"], "resources": {"limits": limits or {}}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}


def test_jobs_get_pods_from_real_controllers(cluster: Cluster, namespace: str) -> None:
    cluster.api.apply(f"/apis/batch/v1/namespaces/{namespace}/jobs/a", job("a"))
    seen = cluster.api.wait(f"/apis/batch/v1/namespaces/{namespace}/jobs/a", lambda it: bool(it and it["status"].get("active")))
    assert seen["status"]["active"] == 1


def test_rights_are_those_of_the_user(cluster: Cluster, namespace: str) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert cluster.api_of("viewer").items(path) == []
    with pytest.raises(ApiFailure, match="403 Forbidden"):
        cluster.api_of("viewer").apply(f"{path}/a", job("a"))
    with pytest.raises(ApiFailure, match="403 Forbidden"):
        cluster.api_of("nobody").items(path)


def test_a_shipped_role_is_bound_to_the_user_who_stands_for_it(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    rule = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "patch", "create"]}
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": namespace, "namespace": "elsewhere"}}
    binding = {
        "kind": "RoleBinding", "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": namespace},
        "subjects": [{"kind": "ServiceAccount", "name": "ci", "namespace": "elsewhere"}],
    }
    file = tmp_path / "rbac.yaml"
    file.write_text(yaml.safe_dump_all([head | {"kind": "Role", "rules": [rule]}, head | binding]))
    api = cluster.api_of("nobody")
    let_apply(cluster.api, namespace, "nobody", file)
    cluster.api.wait(jobs, lambda _: api.raw("GET", jobs)[0] == 200)
    assert api.apply(f"{jobs}/a", job("a", suspend=True))["metadata"]["namespace"] == namespace
    with pytest.raises(ApiFailure, match="403 Forbidden"):
        api.delete(f"{jobs}/a")


def test_the_api_server_comes_back_where_it_was(own_cluster: Cluster) -> None:
    path = f"/apis/batch/v1/namespaces/{own_cluster.namespace()}/jobs"
    uid = own_cluster.api.create(path, job("kept", suspend=True))["metadata"]["uid"]
    own_cluster.restart_apiserver()
    assert own_cluster.api.get(f"{path}/kept")["metadata"]["uid"] == uid


def test_after_compaction_old_positions_are_gone(own_cluster: Cluster) -> None:
    path = f"/apis/batch/v1/namespaces/{own_cluster.namespace()}/jobs"
    for name in ("a", "b", "c"):
        own_cluster.api.create(path, job(name, suspend=True))
    page = own_cluster.api.get(path, limit=1)
    own_cluster.api.create(path, job("d", suspend=True))
    own_cluster.compact()
    with pytest.raises(ApiFailure, match="410"):
        own_cluster.api.get(path, limit=1, **{"continue": page["metadata"]["continue"]})
    watch = {"watch": "true", "resourceVersion": page["metadata"]["resourceVersion"], "timeoutSeconds": 50}
    _, content = own_cluster.api.raw("GET", path, query=watch)
    assert b'"code":410' in content


def ended(cluster: Cluster, path: str) -> dict[str, object]:
    """The state of the only container of the only pod, once it has ended."""
    def over(pods: Any) -> bool:
        return bool(pods["items"] and "terminated" in state(pods))

    def state(pods: Any) -> Any:
        return (pods["items"][0]["status"].get("containerStatuses") or [{"state": {}}])[0]["state"]

    terminated: dict[str, object] = state(cluster.api.wait(path, over, what="the end of the container"))["terminated"]
    return terminated


def pending(reason: str) -> Callable[[Any], bool]:
    """Whether a list of pods has one that the scheduler could not place for `reason`."""
    return lambda found: any(
        reason in condition.get("message", "") for pod in found["items"] for condition in pod["status"].get("conditions", [])
    )


def test_a_container_really_runs_and_its_output_and_code_are_kept(node: Cluster, node_namespace: str) -> None:
    pods = f"/api/v1/namespaces/{node_namespace}/pods"
    script = "echo out; echo err >&2; echo result > /dev/termination-log; exit 3"
    node.api.create(f"/apis/batch/v1/namespaces/{node_namespace}/jobs", job("a", "sh", "-c", script, backoffLimit=0))
    state = ended(node, pods)
    assert (state["exitCode"], state["reason"], state["message"]) == (3, "Error", "result\n")
    name = node.api.items(pods)[0]["metadata"]["name"]
    status, log = node.api.raw("GET", f"{pods}/{name}/log")
    assert (status, sorted(log.splitlines())) == (200, [b"err", b"out"])

    def failed(found: Any) -> bool:
        return "Failed" in [condition["type"] for condition in found["status"].get("conditions", [])]

    node.api.wait(f"/apis/batch/v1/namespaces/{node_namespace}/jobs/a", failed)


def test_memory_over_the_limit_is_killed(node: Cluster, node_namespace: str) -> None:
    script = "held = b'1' * (300 << 20); print(len(held))"
    body = job("a", "python", "-c", script, image=PYTHON, limits={"memory": "64Mi"}, backoffLimit=0)
    node.api.create(f"/apis/batch/v1/namespaces/{node_namespace}/jobs", body)
    state = ended(node, f"/api/v1/namespaces/{node_namespace}/pods")
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")


def test_gpus_are_counted(cluster: Cluster, node: Cluster, node_namespace: str) -> None:
    if cluster is node:
        pytest.skip("the cluster was given: nobody knows its GPUs")
    pods = f"/api/v1/namespaces/{node_namespace}/pods"
    node.api.create(f"/apis/batch/v1/namespaces/{node_namespace}/jobs", job("a", limits={"nvidia.com/gpu": "9"}))
    node.api.wait(pods, pending("Insufficient nvidia.com/gpu"))


def test_foreground_delete_ends_a_running_pod_first(node: Cluster, node_namespace: str) -> None:
    jobs, pods = f"/apis/batch/v1/namespaces/{node_namespace}/jobs", f"/api/v1/namespaces/{node_namespace}/pods"
    node.api.create(jobs, job("a", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"))
    node.api.wait(pods, lambda found: bool(found and found["items"] and found["items"][0]["status"]["phase"] == "Running"))
    pod = node.api.items(pods)[0]["metadata"]["name"]
    node.api.merge(f"{pods}/{pod}", {"metadata": {"labels": {"seen": "true"}}})
    assert node.api.delete(f"{jobs}/a", "Foreground")["metadata"]["deletionTimestamp"]
    node.api.wait(f"{jobs}/a", lambda it: it is None, timeout=60)
    assert node.api.items(pods) == []


def test_an_image_that_nobody_has_fails_at_once(node: Cluster, node_namespace: str) -> None:
    node.api.create(f"/apis/batch/v1/namespaces/{node_namespace}/jobs", job("a", image="registry.example.net/none:1"))

    def refused(found: Any) -> bool:
        states = [it["state"] for pod in found["items"] for it in pod["status"].get("containerStatuses", [])]
        return any(state.get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff") for state in states)

    node.api.wait(f"/api/v1/namespaces/{node_namespace}/pods", refused)


def test_without_a_pool_the_real_node_takes_nothing(cluster: Cluster, node: Cluster, namespace: str) -> None:
    if cluster is node:
        pytest.skip("the cluster was given: its nodes take every pod")
    cluster.api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", job("a"))
    cluster.api.wait(f"/api/v1/namespaces/{namespace}/pods", pending("untolerated taint"))
