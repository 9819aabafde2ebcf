"""Stopping and removing on a real API server: only what was meant, never an outcome, nothing left behind."""

from pathlib import Path

import pytest

from jobform.backends.kubernetes.backend import TYPE
from jobform.backends.kubernetes.refs import JobRef
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError, Started
from jobform.model.job import BackendBlock
from jobform.model.state import Phase
from jobform.protocols import Gone, Place, ReadError, Ref, Submission, no_effect
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.hand import Hand, ended, stamp, status
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


def gone(desk: Desk, ref: Ref) -> None:
    desk.until(lambda: desk.read(ref), lambda answer: isinstance(answer, Gone))


def finish(desk: Desk, ref: Ref) -> None:
    """Let the Job controller end a run."""
    Hand(desk.api, desk.namespace).put(desk.pod(ref)["metadata"]["name"], status("Succeeded", ended(0)))
    desk.reach(ref, Phase.SUCCEEDED)


def test_cancel_takes_the_pods_along(desk: Desk) -> None:
    ref = desk.submit(job())
    desk.pod(ref)
    desk.backend.cancel(ref, only_if_waiting=True)
    gone(desk, ref)
    assert desk.pods_of(ref) == []
    desk.backend.cancel(ref, only_if_waiting=True)


def test_an_outcome_that_arrives_before_the_delete_is_kept(desk: Desk) -> None:
    ref = desk.submit(job())
    name = desk.pod(ref)["metadata"]["name"]
    points = []

    def meanwhile(point: str, address: str) -> None:
        points.append((point, address))
        if point == "kubernetes.delete.before" and len(points) == 1:
            Hand(desk.api, desk.namespace).put(name, status("Succeeded", ended(0)))
            desk.until(lambda: desk.job(ref), lambda job: job["status"].get("succeeded") == 1)

    desk.open(meanwhile).cancel(ref, only_if_waiting=False)
    assert points[0] == ("kubernetes.delete.before", "job")
    assert desk.reach(ref, Phase.SUCCEEDED).exit == 0


def test_a_start_that_is_seen_after_the_first_look_stops_a_conditional_cancel(desk: Desk) -> None:
    ref = desk.submit(job())
    name = desk.pod(ref)["metadata"]["name"]

    def meanwhile(point: str, address: str) -> None:
        if point == "kubernetes.delete.before":
            Hand(desk.api, desk.namespace).put(name, status("Running", {"running": {"startedAt": stamp()}}))
            desk.until(lambda: desk.job(ref), lambda job: job["status"].get("ready") == 1)

    with pytest.raises(Started):
        desk.open(meanwhile).cancel(ref, only_if_waiting=True)
    assert "deletionTimestamp" not in desk.job(ref)["metadata"]


def test_an_init_container_that_has_started_counts(desk: Desk) -> None:
    ref = desk.submit(job())
    new = status("Pending", {"waiting": {"reason": "PodInitializing"}})
    new["initContainerStatuses"] = [new["containerStatuses"][0] | {"name": "fetch", "state": {"running": {"startedAt": stamp()}}}]
    Hand(desk.api, desk.namespace).put(desk.pod(ref)["metadata"]["name"], new)
    with pytest.raises(Started):
        desk.backend.cancel(ref, only_if_waiting=True)


def test_another_object_of_the_name_is_never_touched(desk: Desk) -> None:
    mark = desk.mark()
    ref = desk.submit(job(), mark)
    path = f"{desk.jobs}/{JobRef.parse(ref).name}"
    desk.api.delete(path)
    desk.until(lambda: desk.api.maybe(path), lambda found: found is None)
    again = desk.submit(job(), mark)
    assert again != ref
    for call in (
        lambda: desk.backend.cancel(ref, only_if_waiting=False), lambda: desk.backend.cancel(ref, only_if_waiting=True),
        lambda: desk.backend.delete(ref), lambda: desk.backend.delete(ref, whole=True),
        lambda: desk.backend.release(ref, Submission("job", job(ttl="1s"))),
    ):
        call()
    assert desk.api.get(path)["metadata"]["uid"] == JobRef.parse(again).uid
    assert "deletionTimestamp" not in desk.api.get(path)["metadata"]
    assert "ttlSecondsAfterFinished" not in desk.api.get(path)["spec"]
    assert isinstance(desk.read(ref), Gone)


def test_delete_refuses_what_goes_on_and_removes_what_has_ended(desk: Desk) -> None:
    ref = desk.submit(job())
    with pytest.raises(BackendError, match="has not ended"):
        desk.backend.delete(ref)
    finish(desk, ref)
    desk.backend.delete(ref)
    assert isinstance(desk.read(ref), Gone)
    assert desk.pods_of(ref) == []


def test_shared_companions_stay_until_the_job_goes(desk: Desk) -> None:
    path = f"/api/v1/namespaces/{desk.namespace}/configmaps/settings"
    ref = desk.submit(manifest("", CONFIG))
    finish(desk, ref)
    desk.backend.delete(ref)
    assert desk.api.maybe(path) is not None
    desk.backend.delete(ref, whole=True)
    assert desk.api.maybe(path) is None
    desk.backend.delete(ref, whole=True)


@pytest.mark.parametrize("change", ["made anew", "labels taken away"])
def test_a_companion_that_is_no_longer_ours_stays(desk: Desk, change: str) -> None:
    path = f"/api/v1/namespaces/{desk.namespace}/configmaps/settings"
    ref = desk.submit(manifest("", CONFIG))
    finish(desk, ref)
    if change == "made anew":
        desk.api.delete(path)
        desk.api.create(path.rsplit("/", 1)[0], CONFIG)
    else:
        desk.api.merge(path, {"metadata": {"labels": {"jobform.dev/lineage": None}}})
    desk.backend.delete(ref, whole=True)
    assert desk.api.maybe(path) is not None


def test_a_removal_that_hangs_does_not_hang_the_command_and_says_what_holds_it(desk: Desk) -> None:
    ref = desk.submit(job())
    path = f"{desk.jobs}/{JobRef.parse(ref).name}"
    desk.api.merge(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    desk.backend.cancel(ref, only_if_waiting=False)
    desk.backend.cancel(ref, only_if_waiting=False)
    assert "example.com/hold" in desk.actual(ref).detail
    desk.api.merge(path, {"metadata": {"finalizers": None}})
    gone(desk, ref)


def test_a_missing_right_is_told_and_changes_nothing(cluster: Cluster, desk: Desk) -> None:
    if cluster.directory is None:
        pytest.skip("a given cluster has no user who may only look")
    ref = desk.submit(job())
    viewer = Desk(cluster, desk.namespace, user="viewer")
    with pytest.raises(BackendError) as caught:
        viewer.backend.cancel(ref, only_if_waiting=True)
    assert not caught.value.retryable
    assert not caught.value.ambiguous
    assert "cannot delete" in caught.value.detail
    assert viewer.actual(ref).phase is Phase.PENDING


BAD: list[Object] = [
    {}, {"api": "batch/v1", "kind": "Job", "namespace": "a/../b", "name": "x", "uid": "u", "lineage": "0" * 16},
    {"api": "batch/v1", "kind": "Job", "namespace": "a", "name": "x?y", "uid": "u", "lineage": "0" * 16},
    {"api": "../v1", "kind": "Job", "namespace": "a", "name": "x", "uid": "u", "lineage": "0" * 16},
    {"api": "batch/v1", "kind": "Job", "namespace": "a", "name": "x", "uid": "u", "lineage": "x,y"},
    {"api": "batch/v1", "kind": "Job", "namespace": "a", "name": "x", "uid": "u", "lineage": "0" * 16, "companions": [["v1"]]},
    {"api": "example.com/v1", "kind": "Unheard", "namespace": "a", "name": "x", "uid": "u", "lineage": "0" * 16},
]


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_reference_is_refused_before_any_request(tmp_path: Path, value: Object) -> None:
    block = BackendBlock("gpu", "kubernetes", {"kubeconfig": str(tmp_path / "none")})
    backend = TYPE.open(block, Place(tmp_path, SystemClock(), no_effect, {}))
    ref = Ref.of(value)
    answer = backend.read([ref])[ref]
    assert isinstance(answer, ReadError)
    assert not answer.retryable
    with pytest.raises(BackendError, match=r"no reference|nothing is known"):
        backend.delete(ref)
