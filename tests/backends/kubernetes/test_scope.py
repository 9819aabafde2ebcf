"""The proof of where a backend works."""

import json
from collections.abc import Callable, Iterator

import pytest

from jobform.backends.kubernetes.scope import plain_server, prove
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.settings import KubeSettings
from jobform.model.errors import BackendError
from jobform.testing.clock import ManualClock
from tests.clients.kube.faulty import Faulty, Reply, Seen, closed_port, reply, status
from tests.cluster.cluster import Cluster

Serve = Callable[[Callable[[Seen], Reply]], Faulty]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Faulty] = []

    def start(script: Callable[[Seen], Reply]) -> Faulty:
        servers.append(Faulty(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def connect(server: str) -> KubeClient:
    return KubeClient.open(KubeSettings(server=server), {}, ManualClock())


def namespaces(**uids: str) -> Callable[[Seen], Reply]:
    """A server with these namespaces; a uid of "-" may not be read."""
    def answer(seen: Seen) -> Reply:
        name = seen.path.rpartition("/")[2]
        uid = uids.get(name.replace("-", "_"))
        if uid == "-":
            return status(403, "Forbidden", f'namespaces "{name}" is forbidden: User "u" cannot get resource "namespaces"')
        if uid is None:
            return status(404, "NotFound", f'namespaces "{name}" not found')
        return reply({"metadata": {"name": name, "uid": uid}, "status": {"phase": "Active"}})

    return answer


def test_a_real_cluster_and_namespace(cluster: Cluster, namespace: str) -> None:
    kubeconfig = cluster.kubeconfig_for("admin", namespace=namespace)
    client = KubeClient.open(KubeSettings(kubeconfig=str(kubeconfig)), {})
    scope = prove(client, client.namespace)
    text = json.loads(scope.text)
    assert text["cluster"]["uid"] == cluster.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert text["namespace"] == {"name": namespace, "uid": cluster.api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["uid"]}
    assert scope.described == f"namespace {namespace} of {text['cluster']['server']} (context test)"
    assert f"context test of {kubeconfig}" in scope.source


def test_who_may_not_read_namespaces_has_a_scope_all_the_same(cluster: Cluster, namespace: str) -> None:
    client = KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig_for("nobody"))), {})
    full = prove(KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig)), {}), namespace)
    scope = prove(client, namespace)
    assert json.loads(scope.text)["namespace"] == {"name": namespace}
    assert "kube-system may not be read" in scope.described
    assert f"{namespace} may not be read" in scope.described
    assert scope.is_place(full.text)
    assert full.is_place(scope.text)


def test_a_namespace_that_does_not_exist_names_the_setting(cluster: Cluster) -> None:
    client = KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig), namespace="no-such"), {})
    with pytest.raises(BackendError) as caught:
        prove(client, client.namespace)
    assert caught.value.summary.startswith("namespace no-such does not exist in the cluster of context test")
    assert "the setting `namespace`" in caught.value.detail
    assert not caught.value.retryable


def test_one_cluster_by_two_names_is_one_place_and_two_by_one_name_are_not(serve: Serve) -> None:
    server = serve(namespaces(kube_system="k", x="n"))
    one = prove(connect(server.url), "x")
    other = prove(connect(f"http://127.1:{server.port}"), "x")
    assert one.text != other.text
    assert one.is_place(other.text)
    server._script = namespaces(kube_system="another", x="n")
    assert not prove(connect(server.url), "x").is_place(one.text)
    server._script = namespaces(kube_system="k", x="again")
    assert not prove(connect(server.url), "x").is_place(one.text)


def test_a_namespace_that_ends_is_told(serve: Serve) -> None:
    server = serve(lambda seen: reply({"metadata": {"uid": "u"}, "status": {"phase": "Terminating"}}))
    assert "namespace x is being deleted" in prove(connect(server.url), "x").described


@pytest.mark.parametrize(("answer", "told"), [
    (status(401, "Unauthorized"), "cannot be asked"),
    (status(500, "InternalError"), "cannot be asked"),
    (Reply(200, b"<html>log in", kind="text/html"), "cannot be asked"),
    (Reply(404, b"404 page not found", kind="text/plain"), "does not answer like a Kubernetes API server"),
])
def test_what_proves_nothing_is_one_error(serve: Serve, answer: Reply, told: str) -> None:
    with pytest.raises(BackendError) as caught:
        prove(connect(serve(lambda seen: answer).url), "x")
    assert told in caught.value.summary


def test_a_server_that_is_away_is_one_error() -> None:
    with pytest.raises(BackendError) as caught:
        prove(connect(f"http://127.0.0.1:{closed_port()}"), "x")
    assert caught.value.retryable
    assert "cannot connect to 127.0.0.1" in caught.value.detail


@pytest.mark.parametrize(("url", "plain"), [
    ("HTTPS://Host", "https://host:443"), ("https://host:443/", "https://host:443"), ("http://h/p/", "http://h:80/p"),
    ("https://[FD00::1]:6443", "https://[fd00::1]:6443"),
])
def test_one_text_for_one_server(url: str, plain: str) -> None:
    assert plain_server(url) == plain
