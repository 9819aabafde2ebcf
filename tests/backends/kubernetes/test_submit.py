"""Submission on a real API server: one object, ours or none, and nothing of anybody else's touched."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from jobform.backends.kubernetes.refs import JobRef
from jobform.model.errors import BackendError
from jobform.protocols import Absent, Found, Gone, Mark, Ref, Submission, Unknown
from jobform.testing.marks import make_mark
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.cluster.api import ApiFailure, Object
from tests.cluster.cluster import Cluster

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


class Stop(Exception):
    """A process that ends at an effect point."""


def named(desk: Desk, name: str, attempt: int = 1, *, address: str = "job", body: str = "") -> Mark:
    """The mark of an attempt whose manifest has its own name."""
    made = desk.mark(address, attempt, body=body)
    return Mark(made.address, attempt, made.token, name, made.text, made.begun_at)


def versions(desk: Desk, path: str) -> object:
    """What changes when anybody but a controller writes to an object."""
    metadata = desk.api.get(path)["metadata"]
    writers = [entry for entry in metadata["managedFields"] if entry.get("subresource") != "status"]
    return metadata["uid"], metadata.get("generation"), metadata.get("labels"), writers


def test_a_vocabulary_job_brings_its_secret_which_goes_with_it(desk: Desk) -> None:
    value = {"expr": "{{ secret('T') }}", "with": {}}
    spec, described = job(command=["waits"], env={"TOKEN": "s3cret"}), job(command=["waits"], env={"TOKEN": value})
    ref = desk.backend.submit(Submission("job", spec, described, ("s3cret",)), desk.mark())
    made = JobRef.parse(ref)
    assert [(each.kind, each.name) for each in made.companions] == [("Secret", made.name)]
    path = f"/api/v1/namespaces/{desk.namespace}/secrets/{made.name}"
    secret = desk.api.get(path)
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [made.uid]
    assert "s3cret" not in str(desk.job(ref))
    desk.backend.cancel(ref, only_if_waiting=True)
    desk.until(lambda: desk.read(ref), lambda answer: isinstance(answer, Gone))
    desk.until(lambda: desk.api.maybe(path), lambda found: found is None)


def test_the_same_mark_again_is_the_same_object_and_changes_nothing(desk: Desk) -> None:
    spec = manifest("mine", CONFIG)
    first = desk.submit(spec, named(desk, "mine"))
    before = versions(desk, f"{desk.jobs}/mine")
    again = desk.open()
    assert again.submit(Submission("job", spec), named(desk, "mine")) == first
    assert versions(desk, f"{desk.jobs}/mine") == before
    assert desk.backend.find([named(desk, "mine")]) == {named(desk, "mine"): Found(first, named(desk, "mine").body)}


def test_another_body_of_the_same_attempt_is_refused(desk: Desk) -> None:
    desk.submit(manifest("mine"), named(desk, "mine", body="one"))
    before = versions(desk, f"{desk.jobs}/mine")
    with pytest.raises(BackendError, match="another content") as caught:
        desk.submit(manifest("mine", parallelism=2), named(desk, "mine", body="two"))
    assert not caught.value.retryable
    assert not caught.value.ambiguous
    assert versions(desk, f"{desk.jobs}/mine") == before


def test_an_object_of_somebody_else_is_left_alone(desk: Desk) -> None:
    foreign = manifest("mine")["objects"]["Job"]
    desk.api.apply(f"{desk.jobs}/mine", foreign, manager="argo-controller")
    before = versions(desk, f"{desk.jobs}/mine")
    with pytest.raises(BackendError, match=r"not this job's.*argo-controller") as caught:
        desk.submit(manifest("mine", CONFIG), named(desk, "mine"))
    assert not caught.value.retryable
    assert versions(desk, f"{desk.jobs}/mine") == before
    assert desk.api.maybe(f"/api/v1/namespaces/{desk.namespace}/configmaps/settings") is None
    assert desk.backend.find([named(desk, "mine")]) == {named(desk, "mine"): Absent()}


def test_two_jobs_of_one_name_are_told_apart(desk: Desk) -> None:
    desk.submit(manifest("mine"), named(desk, "mine"))
    with pytest.raises(BackendError, match="attempt 1 of job"):
        desk.submit(manifest("mine"), named(desk, "mine", address="other"), address="other")


def test_an_earlier_attempt_that_stands_is_refused_and_one_that_goes_is_awaited(desk: Desk) -> None:
    desk.submit(manifest("mine"), named(desk, "mine"))
    with pytest.raises(BackendError, match="attempt 1") as caught:
        desk.submit(manifest("mine"), named(desk, "mine", 2))
    assert not caught.value.retryable
    desk.api.merge(f"{desk.jobs}/mine", {"metadata": {"finalizers": ["example.com/hold"]}})
    desk.api.delete(f"{desk.jobs}/mine")
    before = versions(desk, f"{desk.jobs}/mine")
    with pytest.raises(BackendError, match="still being removed") as caught:
        desk.submit(manifest("mine"), named(desk, "mine", 2))
    assert caught.value.retryable
    assert "example.com/hold" in caught.value.detail
    assert versions(desk, f"{desk.jobs}/mine") == before
    desk.api.merge(f"{desk.jobs}/mine", {"metadata": {"finalizers": None}})
    desk.until(lambda: desk.api.maybe(f"{desk.jobs}/mine"), lambda found: found is None)
    assert JobRef.parse(desk.submit(manifest("mine"), named(desk, "mine", 2))).name == "mine"


@pytest.mark.parametrize("manager", ["argo-controller", "jobform"])
def test_whoever_takes_the_name_between_look_and_apply_keeps_it(desk: Desk, manager: str) -> None:
    foreign = manifest("mine", parallelism=3)["objects"]["Job"]

    def meanwhile(point: str, address: str) -> None:
        if point == "kubernetes.apply.before":
            desk.api.apply(f"{desk.jobs}/mine", foreign, manager=manager)

    with pytest.raises(BackendError, match="not this job's"):
        desk.open(meanwhile).submit(Submission("job", manifest("mine")), named(desk, "mine"))
    found = desk.api.get(f"{desk.jobs}/mine")
    assert found["spec"]["parallelism"] == 3
    assert [entry["manager"] for entry in found["metadata"]["managedFields"] if "f:spec" in entry["fieldsV1"]] == [manager]


def test_two_commands_with_one_mark_make_one_job(desk: Desk) -> None:
    """Both have looked before either applies."""
    barrier = threading.Barrier(4, timeout=60)

    def together(point: str, address: str) -> None:
        if point == "kubernetes.apply.before":
            barrier.wait()

    with ThreadPoolExecutor(4) as pool:
        refs = list(pool.map(lambda _: desk.open(together).submit(Submission("job", job()), desk.mark()), range(4)))
    assert len(set(refs)) == 1
    assert len(desk.api.items(desk.jobs)) == 1


@pytest.mark.parametrize("point", [
    f"kubernetes.{what}.{when}" for what in ("apply-companion", "apply", "own") for when in ("before", "after")
])
def test_a_submission_that_was_cut_anywhere_goes_on(desk: Desk, point: str) -> None:
    value = {"expr": "{{ secret('T') }}", "with": {}}
    submission = Submission("job", job(env={"T": "x"}), job(env={"T": value}), ("x",))

    def cut(here: str, address: str) -> None:
        assert address == "job"
        if here == point:
            raise Stop

    with pytest.raises(Stop):
        desk.open(cut).submit(submission, desk.mark())
    exists = point in ("kubernetes.apply.after", "kubernetes.own.before", "kubernetes.own.after")
    answer = desk.backend.find([desk.mark()])[desk.mark()]
    assert isinstance(answer, Found if exists else Absent)
    ref = desk.backend.submit(submission, desk.mark())
    assert not exists or (isinstance(answer, Found) and answer.ref == ref)
    assert len(desk.api.items(desk.jobs)) == 1
    secret = desk.api.get(f"/api/v1/namespaces/{desk.namespace}/secrets/{JobRef.parse(ref).name}")
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [JobRef.parse(ref).uid]


def test_companions_are_made_first_kept_between_attempts_and_renewed(desk: Desk) -> None:
    path = f"/api/v1/namespaces/{desk.namespace}/configmaps/settings"
    first = desk.submit(manifest("", CONFIG), desk.mark())
    uid = desk.api.get(path)["metadata"]["uid"]
    assert JobRef.parse(first).companions[0].uid == uid
    changed = {**CONFIG, "data": {"a": "2"}}
    second = desk.submit(manifest("", changed), desk.mark(attempt=2))
    assert desk.api.get(path)["data"] == {"a": "2"}
    assert JobRef.parse(second).companions[0].uid == uid
    assert "ownerReferences" not in desk.api.get(path)["metadata"]


def test_a_companion_that_later_attempts_do_not_bring_goes_with_the_job(desk: Desk) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "other"}, "rules": []}
    paths = [f"/api/v1/namespaces/{desk.namespace}/configmaps/settings",
             f"/apis/rbac.authorization.k8s.io/v1/namespaces/{desk.namespace}/roles/other"]

    def submit(number: int, spec: Object, *earlier: Ref) -> Ref:
        return desk.backend.submit(Submission("job", spec, earlier=earlier), desk.mark(attempt=number))

    first = submit(1, manifest("", CONFIG), Ref.of("of a backend of another type that had the name before"))
    second = submit(2, manifest("", role), first)
    third = submit(3, manifest(""), first, second)
    assert [each.name for each in JobRef.parse(second).companions] == ["other", "settings"]
    assert {each.name for each in JobRef.parse(third).companions} == {"other", "settings"}
    assert desk.backend.find([desk.mark(attempt=3)])[desk.mark(attempt=3)] == Found(third, desk.mark(attempt=3).body)
    assert all(desk.api.maybe(path) for path in paths), "what may hold data is not removed by a rerun"
    desk.backend.cancel(third, only_if_waiting=True)
    desk.until(lambda: desk.read(third), lambda answer: isinstance(answer, Gone))
    desk.backend.delete(third, whole=True)
    assert [desk.api.maybe(path) for path in paths] == [None, None]


def test_a_companion_of_somebody_else_is_left_alone(desk: Desk) -> None:
    path = f"/api/v1/namespaces/{desk.namespace}/configmaps/settings"
    desk.api.create(path.rsplit("/", 1)[0], CONFIG)
    before = versions(desk, path)
    with pytest.raises(BackendError, match=r"ConfigMap settings.*not this job's"):
        desk.submit(manifest("", {**CONFIG, "data": {"a": "2"}}))
    assert versions(desk, path) == before
    assert desk.api.items(desk.jobs) == []


def test_a_namespace_that_is_not_there_says_so(cluster: Cluster) -> None:
    desk = Desk(cluster, "nowhere-at-all")
    with pytest.raises(BackendError, match="could not be submitted") as caught:
        desk.submit(job())
    assert "nowhere-at-all" in caught.value.detail


def test_a_kind_that_the_cluster_lacks_is_no_absence(desk: Desk) -> None:
    """One that no test declares: those stay in the cluster."""
    spec = {"objects": {"PaddleJob": {"apiVersion": "kubeflow.org/v1", "kind": "PaddleJob", "metadata": {}, "spec": {}}}}
    mark = make_mark("job", lineage=desk.namespace)
    mark = Mark(mark.address, 1, mark.token, mark.name, mark.text, mark.begun_at, spec)
    answer = desk.backend.find([mark])[mark]
    assert not isinstance(answer, Absent | Found), answer


def test_a_kind_that_nobody_describes_any_more_is_no_absence(desk: Desk) -> None:
    """A project took its own kind out of `kinds:` while a submission of it was open: the run may be there."""
    spec = {"objects": {"Sweep": {"apiVersion": "example.com/v1", "kind": "Sweep", "metadata": {}, "spec": {}}}}
    mark = replace(make_mark("job", lineage=desk.namespace), spec=spec)
    answer = desk.backend.find([mark])[mark]
    assert isinstance(answer, Unknown)
    assert "kinds:" in answer.reason


def test_a_policy_that_strips_our_labels_is_told_and_leaves_nothing(cluster: Cluster, desk: Desk) -> None:
    api, base = cluster.api, "/apis/admissionregistration.k8s.io/v1beta1"
    name = f"strip-{desk.namespace}"
    patch = 'JSONPatch{op: "remove", path: "/metadata/labels/jobform.dev~1mark"}'
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": desk.namespace}},
                "resourceRules": [
                    {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]},
                ],
            },
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patch}]"}}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name},
    }
    try:
        api.create(f"{base}/mutatingadmissionpolicies", policy)
    except ApiFailure as failure:
        pytest.skip(f"this cluster has no mutating policies: {failure}")
    try:
        api.create(f"{base}/mutatingadmissionpolicybindings", binding)
        probe = manifest()["objects"]["Job"]
        probe["metadata"] = {"name": "probe", "labels": {"jobform.dev/mark": "x"}}
        desk.until(
            lambda: api.create(desk.jobs, probe, dryRun="All"),
            lambda made: "jobform.dev/mark" not in made["metadata"].get("labels", {}),
        )
        with pytest.raises(BackendError, match="cannot be recognised"):
            desk.submit(job())
        desk.until(lambda: api.items(desk.jobs), lambda jobs: jobs == [])
    finally:
        api.delete(f"{base}/mutatingadmissionpolicybindings/{name}")
        api.delete(f"{base}/mutatingadmissionpolicies/{name}")
