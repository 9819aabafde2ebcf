"""Reading runs on a real API server: why they wait, what is gone and what only cannot be seen, and how much it costs."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from jobform.backends.kubernetes.pods import INDEX
from jobform.backends.kubernetes.refs import JobRef
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.protocols import Actual, Gone, ReadError, Ref, Submission, Unknown
from tests.backends.kubernetes.desk import IMAGE, Desk, job
from tests.backends.kubernetes.hand import Hand, ended, stamp, status
from tests.cluster.cluster import Cluster
from tests.cluster.kinds import Declared, await_discovery
from tests.cluster.proxy import Proxy, refuse
from tests.cluster.quota import forbid


def play(desk: Desk, ref: Ref, phase: str, state: dict[str, object]) -> None:
    Hand(desk.api, desk.namespace).put(desk.pod(ref)["metadata"]["name"], status(phase, state))


def many(desk: Desk, count: int) -> list[Ref]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda n: desk.submit(job(), desk.mark(f"job{n}"), f"job{n}"), range(count)))


def test_a_pod_without_a_place_says_what_is_missing(desk: Desk) -> None:
    spec = {"image": IMAGE, "resources": {"gpu": {"count": 64}}}
    ref = desk.submit(spec)
    desk.until(lambda: desk.actual(ref).detail, lambda detail: "unschedulable" in detail)
    actual = desk.actual(ref)
    assert (actual.phase, actual.started_at) == (Phase.PENDING, None)


def test_a_quota_that_refuses_the_pods_is_told(desk: Desk) -> None:
    forbid(desk.api, desk.namespace, "none", "pods")
    ref = desk.submit(job())
    actual = desk.until(lambda: desk.actual(ref), lambda actual: "FailedCreate" in actual.detail)
    assert "exceeded quota: none" in actual.detail
    assert actual.phase is Phase.PENDING


def test_the_start_and_the_end_of_a_run(desk: Desk) -> None:
    ref = desk.submit(job())
    assert desk.actual(ref).started_at is None
    play(desk, ref, "Running", {"running": {"startedAt": stamp()}})
    running = desk.reach(ref, Phase.RUNNING)
    assert running.started_at is not None
    play(desk, ref, "Failed", ended(3, message='{"a": 1}'))
    actual = desk.reach(ref, Phase.FAILED)
    assert (actual.exit, actual.class_, actual.outputs) == (3, "user_error", None)


def test_what_is_removed_by_hand_is_gone_and_what_replaced_it_is_another(desk: Desk) -> None:
    refs = many(desk, 4)
    assert all(isinstance(answer, Actual) for answer in desk.backend.read(refs).values())
    path = f"{desk.jobs}/{JobRef.parse(refs[0]).name}"
    desk.api.delete(path)
    desk.until(lambda: desk.api.maybe(path), lambda found: found is None)
    again = desk.submit(job(), desk.mark("job0"), "job0")
    for _ in range(3):
        read = desk.backend.read([*refs, again])
        assert isinstance(read[refs[0]], Gone)
        assert isinstance(read[again], Actual)
        assert all(isinstance(read[ref], Actual) for ref in refs[1:])


def test_nothing_is_gone_in_a_namespace_that_goes(cluster: Cluster) -> None:
    name = cluster.namespace()
    desk = Desk(cluster, name)
    refs = many(desk, 4)
    mark = desk.mark("other")
    cluster.api.create(f"/api/v1/namespaces/{name}/configmaps", {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]},
    })
    cluster.drop(name)
    try:
        desk.until(lambda: cluster.api.items(desk.jobs), lambda jobs: jobs == [])
        read = desk.backend.read(refs)
        assert all(isinstance(answer, ReadError) and "is being removed" in answer.detail for answer in read.values()), read
        assert isinstance(desk.backend.find([mark])[mark], Unknown)
        with pytest.raises(BackendError, match="could not be cancelled"):
            desk.backend.cancel(refs[0], only_if_waiting=False)
    finally:
        cluster.api.merge(f"/api/v1/namespaces/{name}/configmaps/held", {"metadata": {"finalizers": None}})
    desk.until(lambda: cluster.api.maybe(f"/api/v1/namespaces/{name}"), lambda found: found is None)
    assert all(isinstance(answer, ReadError) for answer in desk.backend.read(refs).values())
    assert isinstance(desk.backend.find([mark])[mark], Unknown)
    desk.close()


@pytest.mark.parametrize(("path", "status_code"), [
    ("/jobs", 403), ("/jobs", 404), ("/jobs", 503), ("/pods", 403), ("/pods", 500),
])
def test_a_list_that_is_refused_says_nothing_of_the_runs(
    desk: Desk, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, path: str, status_code: int,
) -> None:
    for limit in ("_TRIES", "_TRIES_OF_A_STRANGER"):
        monkeypatch.setattr(f"jobform.clients.kube.client.{limit}", 1)
    refs = many(desk, 4)
    body = b'{"kind": "Status", "message": "the server could not find the requested resource", "code": 404}'
    proxy.rule(refuse(status_code, body), "GET", path, count=-1)
    behind = Desk(desk.cluster, desk.namespace, access=proxy.access)
    for some in (refs, refs[:1]):
        read = behind.backend.read(some)
        assert all(isinstance(answer, ReadError) for answer in read.values()), read
    behind.close()


def test_a_list_that_is_begun_again_counts_no_pod_twice(desk: Desk, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = desk.submit({"image": IMAGE, "resources": {"gpu": {"count": 64}}, "completions": 5, "parallelism": 5})
    desk.until(lambda: desk.actual(ref).detail, lambda detail: "5 of 5 pods: unschedulable" in detail)
    monkeypatch.setattr("jobform.clients.kube.listing.PAGE", 2)
    forgotten = proxy.rule(refuse(410, b'{"kind": "Status", "reason": "Expired", "code": 410}'), "GET", "/pods.*continue=")
    with closing(Desk(desk.cluster, desk.namespace, access=proxy.access)) as behind:
        assert "5 of 5 pods: unschedulable" in behind.actual(ref).detail
    assert forgotten.hits == 1


def test_waiting_costs_no_requests(desk: Desk, proxy: Proxy) -> None:
    behind = Desk(desk.cluster, desk.namespace, access=proxy.access)
    refs = many(behind, 5)
    for _ in range(2):
        behind.backend.read(refs)
    behind.until(lambda: _asked(behind, proxy, refs), lambda asked: asked == 0)
    for _ in range(20):
        assert all(isinstance(answer, Actual) for answer in behind.backend.read(refs).values())
    play(desk, refs[0], "Running", {"running": {"startedAt": stamp()}})
    end = time.monotonic() + 60
    while behind.backend.read(refs)[refs[0]].phase is not Phase.RUNNING:  # type: ignore[union-attr]  # an Actual, as above
        assert time.monotonic() < end
        time.sleep(0.05)
    play(desk, refs[0], "Failed", ended(4))
    assert behind.reach(refs[0], Phase.FAILED).exit == 4
    behind.close()


def test_own_changes_are_seen_at_once_and_then_followed_again(desk: Desk, proxy: Proxy) -> None:
    behind = Desk(desk.cluster, desk.namespace, access=proxy.access)
    refs = many(behind, 3)
    behind.until(lambda: _asked(behind, proxy, refs), lambda asked: asked == 0)
    behind.backend.update(refs[0], Submission("job0", job(labels={"a": "new"})), behind.actual(refs[0]))
    native = behind.actual(refs[0]).native
    assert isinstance(native, bytes)
    assert b'"a":"new"' in native
    behind.backend.cancel(refs[1], only_if_waiting=True)
    answer = behind.read(refs[1])
    assert isinstance(answer, Gone) or "being removed" in answer.detail
    behind.until(lambda: _asked(behind, proxy, [refs[0], refs[2]]), lambda asked: asked == 0)
    behind.close()


def _asked(desk: Desk, proxy: Proxy, refs: list[Ref]) -> int:
    before = proxy.count("GET")
    desk.backend.read(refs)
    return proxy.count("GET") - before


def test_watching_goes_on_when_every_connection_was_cut(desk: Desk, proxy: Proxy) -> None:
    """A run that ends while nobody watches is seen all the same."""
    behind = Desk(desk.cluster, desk.namespace, access=proxy.access)
    refs = many(behind, 4)
    for _ in range(3):
        behind.backend.read(refs)
    play(desk, refs[1], "Succeeded", ended(0, message='{"a": 1}'))
    proxy.rule(refuse(403), "GET", "watch=", count=-1)
    actual = behind.reach(refs[1], Phase.SUCCEEDED)
    assert (actual.exit, actual.outputs) == (0, {"a": 1})
    behind.close()


def test_many_are_read_with_few_requests(desk: Desk, proxy: Proxy) -> None:
    behind = Desk(desk.cluster, desk.namespace, access=proxy.access)
    refs = many(desk, 40)
    for ref in refs:
        desk.pod(ref)
    before = proxy.count("GET")
    assert len(behind.backend.read(refs)) == 40
    assert proxy.count("GET") - before == 2
    behind.close()


def test_indexed_jobs_tell_their_indexes(desk: Desk) -> None:
    ref = desk.submit(job(completions=3, parallelism=3, indexed=True))
    pods = desk.until(lambda: desk.pods_of(ref), lambda pods: len(pods) == 3)
    by_index = {pod["metadata"]["annotations"][INDEX]: pod["metadata"]["name"] for pod in pods}
    hand = Hand(desk.api, desk.namespace)
    hand.put(by_index["0"], status("Succeeded", ended(0, message='{"rank": 0}')))
    hand.put(by_index["2"], status("Running", {"running": {"startedAt": stamp()}}))
    desk.until(lambda: desk.actual(ref), lambda actual: actual.detail.startswith("1 of 3 indexes done"))
    hand.put(by_index["1"], status("Failed", ended(5)))
    failed = desk.reach(ref, Phase.FAILED)
    assert failed.detail.startswith("index 1 failed")
    assert (failed.exit, failed.outputs) == (5, None)


def test_pods_of_an_earlier_attempt_of_the_same_name_do_not_speak(desk: Desk) -> None:
    """The object was removed and made again with the same mark, while pods of the first one linger."""
    ref = desk.submit(job())
    pod = desk.pod(ref)["metadata"]["name"]
    play(desk, ref, "Running", {"running": {"startedAt": stamp()}})
    desk.api.merge(f"{desk.pods}/{pod}", {"metadata": {"finalizers": ["example.com/hold"]}})
    path = f"{desk.jobs}/{JobRef.parse(ref).name}"
    desk.api.delete(path)
    desk.until(lambda: desk.api.maybe(path), lambda found: found is None)
    again = desk.submit(job())
    desk.until(lambda: desk.pods_of(again), lambda pods: len(pods) == 2)
    assert desk.actual(again).started_at is None
    desk.api.merge(f"{desk.pods}/{pod}", {"metadata": {"finalizers": None}})


def test_a_kind_of_the_projects_own(desk: Desk) -> None:
    """Described in the backend's block; the cluster has it, its controller does not exist."""
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "runs.test.jobform.dev"},
        "spec": {
            "group": "test.jobform.dev", "scope": "Namespaced", "names": {"kind": "Run", "plural": "runs", "singular": "run"},
            "versions": [{
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }],
        },
    }
    desk.api.apply("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runs.test.jobform.dev", crd)
    path = f"/apis/test.jobform.dev/v1/namespaces/{desk.namespace}/runs"
    desk.until(lambda: desk.api.raw("GET", path)[0], lambda code: code == 200)
    await_discovery(desk.api, Declared("test.jobform.dev", "v1", "Run", "runs"))
    kinds = {"Run": {"api": "test.jobform.dev/v1", "kind": "Run", "status": [
        {"condition": "Done", "phase": "succeeded"}, {"path": "status.going", "equals": [True], "phase": "running"},
    ]}}
    own = Desk(desk.cluster, desk.namespace, kinds=kinds)
    obj = {"apiVersion": "test.jobform.dev/v1", "kind": "Run", "metadata": {}, "spec": {"steps": 3}}
    ref = own.backend.submit(Submission("job", {"objects": {"Run": obj}}), own.mark())
    name = JobRef.parse(ref).name
    assert own.actual(ref).phase is Phase.PENDING
    desk.api.call("PATCH", f"{path}/{name}/status", {"status": {"going": True}}, content_type="application/merge-patch+json")
    own.reach(ref, Phase.RUNNING)
    with pytest.raises(BackendError, match="has not ended"):
        own.backend.delete(ref)
    done = {"conditions": [{"type": "Done", "status": "True", "lastTransitionTime": stamp()}]}
    desk.api.call("PATCH", f"{path}/{name}/status", {"status": done}, content_type="application/merge-patch+json")
    own.reach(ref, Phase.SUCCEEDED)
    own.backend.delete(ref)  # the garbage collector looks for new kinds every half minute
    own.until(lambda: own.read(ref), lambda answer: isinstance(answer, Gone))
    own.close()
