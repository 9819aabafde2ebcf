"""Collections kept current by list and watch."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jobform.backends.kubernetes.watch import Watched, Watcher
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.settings import KubeSettings
from tests.clients.kube.faulty import Faulty, Reply, Seen, reply, status
from tests.cluster.cluster import Cluster

PATH = "/api/v1/namespaces/x/configmaps"
COLLECTION = Watched(PATH, "a=b")


def label(item: dict[str, Any]) -> str | None:
    """What is kept of a config map: its data's text, nothing of one that says so."""
    text = str((item.get("data") or {}).get("text", ""))
    return None if text == "drop" else text


def config_map(name: str, text: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": text}}


def until(watcher: Watcher[str], holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait by the event alone, so that one that is not set is a failure."""
    ends = time.monotonic() + seconds
    while True:
        watcher.changed.clear()
        if holds():
            return
        assert watcher.changed.wait(ends - time.monotonic()), "nothing changed in time"


def shown(watcher: Watcher[str], collection: Watched = COLLECTION) -> list[str] | None:
    objects = watcher.objects(collection)
    return None if objects is None else sorted(objects.values())


@pytest.fixture
def on() -> Iterator[Callable[[KubeClient], Watcher[str]]]:
    watchers: list[Watcher[str]] = []

    def start(client: KubeClient) -> Watcher[str]:
        watchers.append(Watcher(client, label))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.stop()


def test_what_happens_on_a_real_server_is_seen(
    cluster: Cluster, namespace: str, on: Callable[[KubeClient], Watcher[str]],
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    here = Watched(path, "a=b")
    cluster.api.create(path, config_map("one", "1"))
    watcher = on(KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig)), {}))
    assert watcher.objects(here) is None
    watcher.start([here])
    until(watcher, lambda: shown(watcher, here) == ["1"])
    cluster.api.create(path, {**config_map("other", "x"), "metadata": {"name": "other"}})
    cluster.api.create(path, config_map("two", "2"))
    until(watcher, lambda: shown(watcher, here) == ["1", "2"])
    before = watcher.objects(here)
    cluster.api.merge(f"{path}/one", {"data": {"text": "3"}})
    until(watcher, lambda: shown(watcher, here) == ["2", "3"])
    assert sorted((before or {}).values()) == ["1", "2"], "a view does not change"
    cluster.api.delete(f"{path}/two")
    until(watcher, lambda: shown(watcher, here) == ["3"])
    cluster.api.merge(f"{path}/one", {"data": {"text": "drop"}})
    until(watcher, lambda: shown(watcher, here) == [])
    cluster.api.merge(f"{path}/one", {"data": {"text": "4"}})
    until(watcher, lambda: shown(watcher, here) == ["4"])
    cluster.api.merge(f"{path}/one", {"metadata": {"labels": {"a": None}}})
    until(watcher, lambda: shown(watcher, here) == [])


def test_stop_ends_the_threads_at_once(cluster: Cluster, namespace: str) -> None:
    watcher = Watcher(KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig)), {}), label)
    here = [Watched(f"/api/v1/namespaces/{namespace}/{plural}") for plural in ("configmaps", "pods", "secrets")]
    watcher.start(here)
    until(watcher, lambda: all(watcher.objects(one) is not None for one in here))
    wait_for(lambda: all(cache._stream is not None for cache in watcher._caches.values()))
    began = time.monotonic()
    watcher.stop(patience=60)
    assert time.monotonic() - began < 50, "none of them was waited for until it gave up"
    assert not [thread for thread in threading.enumerate() if f"/{namespace}/" in thread.name]
    assert all(watcher.objects(one) is None for one in here)
    watcher.start([Watched("/api/v1/nodes")])
    assert watcher.objects(Watched("/api/v1/nodes")) is None


def test_a_collection_that_may_not_be_watched_is_given_up(cluster: Cluster, on: Callable[[KubeClient], Watcher[str]]) -> None:
    watcher = on(KubeClient.open(KubeSettings(kubeconfig=str(cluster.kubeconfig_for("nobody"))), {}))
    here = Watched("/api/v1/namespaces/default/configmaps")
    watcher.start([here])
    until(watcher, lambda: not watcher.watchable(here))
    failure = watcher.failure(here)
    assert failure is not None
    assert failure.denied_by == "rbac"
    assert watcher.objects(here) is None


def test_a_server_that_restarts_and_forgets_is_followed(own_cluster: Cluster, on: Callable[[KubeClient], Watcher[str]]) -> None:
    path = f"/api/v1/namespaces/{own_cluster.namespace()}/configmaps"
    here = Watched(path, "a=b")
    watcher = on(KubeClient.open(KubeSettings(kubeconfig=str(own_cluster.kubeconfig)), {}))
    watcher.start([here])
    own_cluster.api.create(path, config_map("one", "1"))
    own_cluster.api.create(path, config_map("two", "2"))
    until(watcher, lambda: shown(watcher, here) == ["1", "2"])
    own_cluster.stop_apiserver()
    until(watcher, lambda: watcher.objects(here) is None)
    own_cluster.start_apiserver()
    own_cluster.api.delete(f"{path}/one")
    own_cluster.api.merge(f"{path}/two", {"data": {"text": "3"}})
    until(watcher, lambda: shown(watcher, here) == ["3"], 60)
    own_cluster.compact()
    own_cluster.api.delete(f"{path}/two")
    own_cluster.api.create(path, config_map("four", "4"))
    until(watcher, lambda: shown(watcher, here) == ["4"], 60)
    assert watcher.failure(here) is None


class Played:
    """A server whose first list is `u1` at version 10, any later one `u3` at 20. watches: the answers to its watches, in turn."""

    def __init__(self, *watches: Reply) -> None:
        self.lists = 0
        self.froms: list[str] = []
        self._watches = list(watches)
        self.server = Faulty(self._answer)
        self.client = KubeClient.open(KubeSettings(server=self.server.url), {})

    def _answer(self, seen: Seen) -> Reply:
        query = parse_qs(urlsplit(seen.path).query)
        assert query["labelSelector"] == ["a=b"]
        if "watch" not in query:
            self.lists += 1
            uid, text, version = ("u1", "1", "10") if self.lists == 1 else ("u3", "3", "20")
            items = [{"metadata": {"uid": uid}, "data": {"text": text}}]
            return reply({"kind": "ConfigMapList", "metadata": {"resourceVersion": version}, "items": items})
        assert query["allowWatchBookmarks"] == ["true"]
        self.froms.append(query["resourceVersion"][0])
        return self._watches.pop(0) if self._watches else Reply(body=b"", hold=30)


def events(*given: tuple[str, str, str, str]) -> bytes:
    lines = [
        {"type": kind, "object": {"metadata": {"uid": uid, "resourceVersion": version}, "data": {"text": text}}}
        for kind, uid, version, text in given
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture
def play() -> Iterator[Callable[..., tuple[Played, Watcher[str]]]]:
    played: list[tuple[Played, Watcher[str]]] = []

    def start(*watches: Reply) -> tuple[Played, Watcher[str]]:
        server = Played(*watches)
        played.append((server, Watcher(server.client, label)))
        played[-1][1].start([COLLECTION])
        return played[-1]

    yield start
    for server, watcher in played:
        watcher.stop()
        server.server.close()


def test_a_watch_goes_on_where_the_last_one_ended(play: Callable[..., tuple[Played, Watcher[str]]]) -> None:
    server, watcher = play(
        Reply(body=events(("MODIFIED", "u1", "11", "one"), ("BOOKMARK", "", "15", ""))),
        Reply(body=events(("ADDED", "u2", "16", "two"), ("DELETED", "u1", "17", "one"))),
    )
    until(watcher, lambda: len(server.froms) == 3 and shown(watcher) == ["two"])
    assert server.froms == ["10", "15", "17"]
    assert server.lists == 1


def wait_for(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}}


@pytest.mark.parametrize("gone", [status(410, "Expired"), Reply(body=json.dumps(GONE).encode() + b"\n")])
def test_both_forms_of_410_list_again(play: Callable[..., tuple[Played, Watcher[str]]], gone: Reply) -> None:
    server, watcher = play(Reply(body=events(("ADDED", "u2", "11", "2"))), gone)
    wait_for(lambda: len(server.froms) == 3)
    assert server.froms == ["10", "11", "20"]
    assert server.lists == 2
    assert watcher.failure(COLLECTION) is None


@pytest.mark.parametrize("broken", [
    Reply(body=b"{not json}\n"), Reply(body=b"[]\n"), Reply(body=b'{"type": "ADDED"}\n'), Reply(body=b"x" * 100, cut=50),
    Reply(body=b'{"type":"ERROR","object":{"code":"x"}}\n'),
])
def test_a_watch_that_talks_nonsense_is_opened_again_from_the_same_place(
    play: Callable[..., tuple[Played, Watcher[str]]], broken: Reply,
) -> None:
    server, _ = play(broken, Reply(body=events(("ADDED", "u2", "11", "2"))))
    wait_for(lambda: len(server.froms) == 3)
    assert server.froms == ["10", "10", "11"]
    assert server.lists == 1


def test_a_torn_event_is_not_believed(play: Callable[..., tuple[Played, Watcher[str]]]) -> None:
    whole = events(("ADDED", "u2", "11", "2"), ("DELETED", "u1", "12", "1"))
    server, _ = play(Reply(body=whole[:-1]))
    wait_for(lambda: len(server.froms) == 2)
    assert server.froms == ["10", "11"]


def test_a_server_that_ends_every_watch_is_not_hammered(play: Callable[..., tuple[Played, Watcher[str]]]) -> None:
    began = time.monotonic()
    server, _ = play(*[Reply(body=b"")] * 100)
    wait_for(lambda: len(server.froms) >= 4)
    assert time.monotonic() - began > 1, "each time it rests longer"


def test_a_kind_that_is_not_there_is_given_up() -> None:
    server = Faulty([status(404, "NotFound")])
    with Watcher(KubeClient.open(KubeSettings(server=server.url), {}), label) as watcher:
        watcher.start([COLLECTION])
        until(watcher, lambda: not watcher.watchable(COLLECTION))
        assert len(server.seen) == 1
    server.close()
