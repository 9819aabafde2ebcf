"""The witness itself: it sees every object, and two at once."""

from typing import Any

import pytest

from tests.cluster.api import APPLY
from tests.cluster.audit import FOREVER, creates, deletes, live_intervals, never_two_live
from tests.cluster.cluster import Cluster
from tests.cluster.kinds import JOBSET, declare, set_status
from tests.cluster.test_cluster import job


def ours(name: str, address: str, **spec: Any) -> dict[str, object]:
    body = job(name, suspend=True, **spec)
    return body | {"metadata": {"name": name, "labels": {"jobform.dev/job": address, "jobform.dev/lineage": "f00"}}}


def test_it_knows_who_made_and_removed_what(cluster: Cluster, namespace: str) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    cluster.api.apply(f"{jobs}/a", ours("a", "x"))
    cluster.api.apply(f"{jobs}/a", ours("a", "x", parallelism=2))
    cluster.api.call("PATCH", f"{jobs}/b", ours("b", "y"), query={"fieldManager": "t", "dryRun": "All"}, content_type=APPLY)
    cluster.api.delete(f"{jobs}/a")
    assert [(it.name, it.user, it.verb) for it in creates(cluster.folder, namespace)] == [("a", "admin", "patch")]
    assert [(it.name, it.user) for it in deletes(cluster.folder, namespace)] == [("a", "admin")]


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_one_after_the_other_is_no_overlap(cluster: Cluster, namespace: str, policy: str) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    for _ in range(2):
        cluster.api.apply(f"{jobs}/a", ours("a", "x"))
        cluster.api.delete(f"{jobs}/a", policy)
        cluster.api.wait(f"{jobs}/a", lambda it: it is None)
    never_two_live(cluster.folder, namespace)
    assert [len(it) for it in live_intervals(cluster.folder, namespace).values()] == [2]


def test_two_at_once_are_seen(cluster: Cluster, namespace: str) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    for name in ("a", "b"):
        cluster.api.apply(f"{jobs}/{name}", ours(name, "x"))
    cluster.api.apply(f"{jobs}/c", ours("c", "other"))
    with pytest.raises(AssertionError, match="two live objects"):
        never_two_live(cluster.folder, namespace)
    never_two_live(cluster.folder, namespace, job="other")


def test_an_ended_run_is_not_live(cluster: Cluster, namespace: str) -> None:
    declare(cluster.api, JOBSET)
    body = {"apiVersion": JOBSET.api, "kind": "JobSet", "spec": {}}
    for name in ("a", "b"):
        cluster.api.apply(JOBSET.path(namespace, name), body | {"metadata": ours(name, "x")["metadata"]})
        set_status(cluster.api, JOBSET, namespace, name, {"conditions": [{"type": "Completed", "status": "True"}]})
    never_two_live(cluster.folder, namespace, "jobsets")
    [[first, second]] = live_intervals(cluster.folder, namespace, "jobsets").values()
    assert (first.name, second.name) == ("a", "b")
    assert first.ended <= second.began < second.ended < FOREVER


def test_nothing_made_is_no_proof(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(AssertionError, match="nothing with the label"):
        never_two_live(cluster.folder, namespace)
