"""The client on a real API server."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.clients.kube.settings import KubeSettings
from jobform.model.values import Json
from jobform.testing.clock import ManualClock
from tests.cluster.cluster import Cluster
from tests.cluster.quota import forbid


def job(name: str, **spec: Json) -> dict[str, Json]:
    template: Json = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    metadata: Json = {"name": name, "labels": {"test": "yes"}}
    whole: Json = {"suspend": True, "template": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": whole}


def with_uid(body: dict[str, Any], uid: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "uid": uid}}


def path(namespace: str, name: str | None = None) -> str:
    return object_path("batch/v1", "jobs", namespace, name)


def failure(call: Callable[[], object]) -> KubeError:
    with pytest.raises(KubeError) as caught:
        call()
    return caught.value


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> KubeClient:
    return KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig)), {})


def test_an_object_from_birth_to_end(client: KubeClient, namespace: str) -> None:
    where = path(namespace, "a")
    made = client.apply(where, job("a"))
    assert made.status == 201
    again = client.apply(where, job("a"))
    assert (again.status, again.body["spec"]) == (200, made.body["spec"])
    assert client.get(where).body["spec"] == made.body["spec"]
    uid = made.body["metadata"]["uid"]  # type: ignore[index,call-overload]  # raw JSON
    assert failure(lambda: client.delete(where, uid="11111111-1111-1111-1111-111111111111")).conflict == "uid"
    assert failure(lambda: client.delete(where, uid=str(uid), resource_version="1")).conflict == "version"
    client.delete(where, uid=str(uid), dry_run=True)
    client.get(where)
    client.delete(where, uid=str(uid), propagation="Background")
    assert failure(lambda: client.get(where)).status == 404


def test_refusals_of_a_real_server(client: KubeClient, namespace: str) -> None:
    where = path(namespace, "a")
    client.apply(where, job("a"))
    other = "11111111-1111-1111-1111-111111111111"
    wrong = failure(lambda: client.apply(where, with_uid(job("a", completions=3), other), dry_run=True))
    assert (wrong.status, wrong.other_object, wrong.immutable) == (422, True, ())
    fixed = failure(lambda: client.apply(where, job("a", completions=3), dry_run=True))
    assert (fixed.status, fixed.immutable) == (422, ("spec.completions",))
    gone = failure(lambda: client.apply(path(namespace, "b"), with_uid(job("b"), other), dry_run=True))
    assert (gone.status, gone.conflict) == (409, "gone")
    assert failure(lambda: client.request("POST", path(namespace), body=job("a"))).conflict == "exists"
    client.request(
        "PATCH", where, query={"fieldManager": "kubectl-edit"}, body={"spec": {"backoffLimit": 3}},
        content_type="application/merge-patch+json",
    )
    taken = failure(lambda: client.apply(where, job("a", backoffLimit=2)))
    assert [(conflict.field, conflict.manager) for conflict in taken.conflicts] == [(".spec.backoffLimit", "kubectl-edit")]
    assert client.apply(where, job("a", backoffLimit=2), force=True).status == 200


def test_an_unknown_field_is_refused_at_once(cluster: Cluster, namespace: str) -> None:
    clock = ManualClock()
    client = KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig)), {}, clock)
    error = failure(lambda: client.apply(path(namespace, "a"), job("a", nope=1)))
    assert error.undeclared == (".spec.nope",)
    assert clock.monotonic() == 0, "it is not tried again"


def test_a_template_is_never_dumped(client: KubeClient, namespace: str) -> None:
    client.apply(path(namespace, "a"), job("a"))
    container: Json = {"name": "main", "image": "other", "env": [{"name": "KEY", "value": "hunter2"}]}
    changed = job("a", template={"spec": {"restartPolicy": "Never", "containers": [container]}})
    error = failure(lambda: client.apply(path(namespace, "a"), changed, dry_run=True))
    assert error.immutable == ("spec.template",)
    assert "hunter2" not in f"{error}{error.causes}"
    assert error.message.endswith("field is immutable")


def test_rights_are_told_apart(cluster: Cluster, namespace: str) -> None:
    viewer = KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig_for("viewer"))), {})
    error = failure(lambda: viewer.apply(path(namespace, "a"), job("a")))
    assert (error.status, error.denied_by) == (403, "rbac")


def test_a_quota_is_no_missing_right(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    forbid(cluster.api, namespace, "q", "count/jobs.batch")
    assert failure(lambda: client.apply(path(namespace, "a"), job("a"))).denied_by == "quota"


def test_a_wrong_token_names_context_and_user(cluster: Cluster, tmp_path: Any) -> None:
    text = cluster.kubeconfig.read_text()
    token = cluster.user("admin").token
    if not token:
        pytest.skip("the given cluster does not use a token")
    bad = tmp_path / "config"
    bad.write_text(text.replace(token, "wrong"))
    error = failure(KubeClient.open(KubeSettings(kubeconfig=str(bad)), {}).version)
    assert error.status == 401
    assert "user test of context test" in error.message


def test_an_authority_that_did_not_sign_is_refused(cluster: Cluster) -> None:
    from urllib.parse import urlsplit

    server = cluster.user("admin").server
    error = failure(KubeClient.open(KubeSettings(server=server), {}).version)
    assert error.reason == "TLS"
    assert f"{urlsplit(server).hostname}:{urlsplit(server).port}" in error.message
    assert "certificate verify failed" in error.message


def test_discovery_and_version(client: KubeClient) -> None:
    assert client.version() >= (1, 27)
    served = client.served()
    assert (served["batch/v1", "Job"].plural, served["batch/v1", "Job"].namespaced) == ("jobs", True)
    assert not served["v1", "Namespace"].namespaced
    assert client.served() is served
    assert client.served(fresh=True) == served


def test_hundreds_in_parallel_and_in_pages(client: KubeClient, namespace: str) -> None:
    names = [f"j{number}" for number in range(501)]
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda name: client.apply(path(namespace, name), job(name)).status, names))
    assert set(made) == {201}
    listing = client.list(path(namespace), {"labelSelector": "test=yes"}, lambda item: (item["kind"], item["metadata"]))
    assert len(listing) == 501
    assert {kind for kind, _ in listing} == {"Job"}
    assert listing.resource_version.isdecimal()


def test_a_request_costs_little(client: KubeClient, namespace: str) -> None:
    client.apply(path(namespace, "a"), job("a"))
    began = time.thread_time()
    for _ in range(100):
        client.get(path(namespace, "a"))
    assert (time.thread_time() - began) / 100 < 0.003  # 0.5 ms here; room for a slower machine
