"""The kit itself: what other tests rely on."""

import pytest

from tests.cluster.api import ApiFailure
from tests.cluster.cluster import Cluster


def job(name: str, **spec: object) -> dict[str, object]:
    container = {"name": "main", "image": "docker.io/local/busybox:1", "command": ["true"]}
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
    watch = {"watch": "true", "resourceVersion": page["metadata"]["resourceVersion"], "timeoutSeconds": 2}
    _, content = own_cluster.api.raw("GET", path, query=watch)
    assert b'"code":410' in content
