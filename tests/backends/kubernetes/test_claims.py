"""Workloads that no state of this project holds: looked up by name, compared by value, listed by our label."""

from collections.abc import Mapping
from typing import Any

import pytest

from jobform.backends.kubernetes.refs import JobRef
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.discovery import Resource
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.protocols import Sighting
from tests.backends.kubernetes.desk import IMAGE, NOBODY, Desk, job, manifest


def found(desk: Desk, run: str) -> Sighting:
    sighting = desk.backend.lookup(run)
    assert sighting is not None
    return sighting


def differing(desk: Desk, run: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What the run has instead of what is declared, by path."""
    seen = desk.backend.differences(spec, found(desk, run).actual)
    return {".".join(map(str, one.path)): one.value if one.present else None for one in seen}


def test_a_run_is_found_by_its_name(desk: Desk) -> None:
    mark = desk.mark()
    ref = desk.submit(job(), mark)
    for run in (mark.name, f"job/{mark.name}", f"Job/{mark.name}", f"jobs/{mark.name}"):
        sighting = found(desk, run)
        assert (sighting.ref, sighting.mark, sighting.name, sighting.id) == (ref, mark.text, mark.name, f"job/{mark.name}")
        assert sighting.actual.phase is Phase.PENDING
        assert sighting.created_at and sighting.created_at.endswith("Z")
    assert desk.actual(sighting.ref).phase is Phase.PENDING


def test_jobs_are_those_of_batch_where_volcano_has_its_own(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = desk.mark()
    ref = desk.submit(job(), mark)
    served = KubeClient.served

    def with_volcano(client: KubeClient, **options: bool) -> Mapping[tuple[str, str], Resource]:
        api = "batch.volcano.sh/v1alpha1"
        theirs = Resource(api, "Job", "jobs", namespaced=True, verbs=frozenset({"get", "list"}))
        return {**served(client, **options), (api, "Job"): theirs}

    monkeypatch.setattr(KubeClient, "served", with_volcano)
    for kind in ("job", "Job", "jobs"):
        assert found(desk, f"{kind}/{mark.name}").ref == ref


def test_what_is_not_there_is_not_found(desk: Desk) -> None:
    assert desk.backend.lookup("nothing") is None
    for odd in ("", "job/", "Job/UPPER", "nokind/name", "../../secrets/x", "a b", "job/a/b"):
        with pytest.raises(BackendError, match="names no workload"):
            desk.backend.lookup(odd)


def test_what_jobform_did_not_make_cannot_be_taken_over(desk: Desk) -> None:
    template = {"spec": {"restartPolicy": "Never", "schedulerName": NOBODY, "containers": [{"name": "main", "image": IMAGE}]}}
    theirs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "theirs"}, "spec": {"template": template}}
    desk.api.create(desk.jobs, theirs)
    with pytest.raises(BackendError, match="it was not made by jobform") as caught:
        desk.backend.lookup("theirs")
    assert "jobform.dev/mark" in caught.value.detail
    assert list(desk.backend.list()) == []


@pytest.mark.parametrize("spec", [
    job(), job(env={"A": "1"}, resources={"cpu": "500m", "memory": "1Gi"}, timeout="10m", labels={"team": "vision"}),
    job(nodes=2), manifest("named", parallelism=2),
], ids=["plain", "more", "nodes", "manifest"])
def test_an_equal_run_does_not_differ(desk: Desk, spec: dict[str, Any]) -> None:
    mark = desk.mark()
    name = JobRef.parse(desk.submit(spec, mark)).name
    assert differing(desk, name, spec) == {}
    assert list(desk.backend.differences(spec, desk.actual(found(desk, name).ref))) == [], "nor is there drift afterwards"


@pytest.mark.parametrize(("declared", "differs"), [
    ({"image": "docker.io/local/other:2"}, {"image": IMAGE}), ({"command": ["other"]}, {"command": ["runs"]}),
    ({"env": {"A": "2"}}, {"env.A": "1"}), ({"retries": 3}, {"retries": 0}), ({"labels": {"a": "b"}}, {"labels.a": None}),
    ({"env": {"A": {"expr": "{{ jobs.prep.outputs.a }}", "with": {}}}}, {}),
])
def test_a_run_that_differs_says_in_what(desk: Desk, declared: dict[str, Any], differs: dict[str, Any]) -> None:
    """By value: jobform owns these fields, but it was another spec that it applied."""
    name = JobRef.parse(desk.submit(job(env={"A": "1"}), desk.mark())).name
    assert differing(desk, name, {**job(env={"A": "1"}), **declared}) == differs


def test_runs_are_listed_by_our_label_newest_first(desk: Desk) -> None:
    marks = [desk.mark(f"job-{n}") for n in range(3)]
    refs = [desk.submit(job(), mark, mark.address) for mark in marks]
    seen = list(desk.backend.list())
    assert {one.ref for one in seen} == set(refs), "as the state has them, so that none seems to be another run"
    assert {one.mark for one in seen} == {mark.text for mark in marks}
    assert [one.created_at for one in seen] == sorted((one.created_at or "" for one in seen), reverse=True)


def test_a_run_with_companions_is_listed_as_it_was_recorded(desk: Desk) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}}
    ref = desk.submit(manifest("named", config))
    (one,) = desk.backend.list()
    assert one.ref == ref == found(desk, one.id).ref
    assert len(JobRef.parse(ref).companions) == 1


def test_a_run_that_has_ended_is_seen_as_ended(desk: Desk) -> None:
    ref = desk.submit(job())
    desk.pod(ref)
    name = JobRef.parse(ref).name
    desk.api.merge(f"{desk.jobs}/{name}", {"spec": {"activeDeadlineSeconds": 1}})
    desk.reach(ref, Phase.FAILED)
    assert found(desk, name).actual.class_ == "timeout"
    assert next(iter(desk.backend.list())).actual.phase is Phase.FAILED
