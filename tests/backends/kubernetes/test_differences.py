"""Drift on a real API server: what somebody else changed is told with who did it; what the cluster fills in never is."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from jobform.backends.kubernetes.compose import compose
from jobform.backends.kubernetes.composed import Composed
from jobform.backends.kubernetes.differences import differences, is_queues
from jobform.backends.kubernetes.kinds import Kinds
from jobform.backends.kubernetes.names import ATTEMPT, JOB, LINEAGE, MARK, QUEUE_NAME
from jobform.model.errors import BackendError
from jobform.protocols import Actual, Comparing, Difference, Ref, Submission
from jobform.testing.marks import make_mark
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.policies import injecting, queueing
from tests.cluster.api import APPLY
from tests.cluster.kinds import JOBSET, declare

KINDS = Kinds.builtin()
TEMPLATE = ("objects", "Job", "spec", "template", "spec")


def told(desk: Desk, spec: dict[str, Any], ref: Ref) -> list[Difference]:
    """What a command that starts now says of a run."""
    backend = desk.open()
    assert isinstance(backend, Comparing)
    actual = backend.read([ref])[ref]
    assert isinstance(actual, Actual)
    return list(backend.differences(spec, actual))


def own(desk: Desk, name: str = "train") -> Any:
    """A mark under which a manifest keeps its own name."""
    return replace(desk.mark(), name=name)


def held(desk: Desk, ref: Ref) -> str:
    """The path of a run's object."""
    return f"{desk.jobs}/{desk.job(ref)['metadata']['name']}"


RICH = job(
    labels={"team": "vision"}, annotations={"note": "1"}, env={"MODE": "fast", "LEVEL": "1"}, timeout="1h", shm="1024Mi",
    resources={"cpu": "0.5", "memory": "1024Mi", "gpu": {"count": 1}}, node_selector={"zone": "a"},
    volumes={"/data": {"pvc": "d"}},
)


def test_what_the_server_fills_in_and_writes_anew_is_no_drift(desk: Desk) -> None:
    """Defaults, selectors, canonical quantities (`1024Mi` is stored as `1Gi`) and the status of the Job controller."""
    spec = job(**{**RICH, "timeout": "3600s"})
    ref = desk.submit(spec)
    desk.until(lambda: desk.job(ref), lambda seen: "status" in seen and seen["status"].get("active"))
    assert desk.job(ref)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    assert told(desk, spec, ref) == []


@pytest.mark.parametrize(("patch", "expected"), [
    ({"spec": {"parallelism": 3}}, Difference(("parallelism",), 3, by="kubectl-edit")),
    ({"spec": {"activeDeadlineSeconds": 6000}}, Difference(("timeout",), 6000, by="kubectl-edit")),
    ({"spec": {"activeDeadlineSeconds": None}}, Difference(("timeout",), None, False)),
    ({"metadata": {"labels": {"team": "other"}}}, Difference(("labels", "team"), "other", by="kubectl-edit")),
    ({"metadata": {"labels": {"team": None}}}, Difference(("labels", "team"), None, False)),
    ({"metadata": {"annotations": {"note": "1.0"}}}, Difference(("annotations", "note"), "1.0", by="kubectl-edit")),
    ({"metadata": {"annotations": {"note": None}}}, Difference(("annotations", "note"), None, False)),
    ({"metadata": {"labels": {JOB: None}}}, Difference(("labels", JOB), None, False)),
    ({"metadata": {"labels": {ATTEMPT: "7"}}}, Difference(("labels", ATTEMPT), "7", by="kubectl-edit")),
], ids=str)
def test_a_field_of_ours_that_somebody_changes_is_told_with_who_did_it(desk: Desk, patch: Any, expected: Difference) -> None:
    spec = job(**RICH, parallelism=2)
    ref = desk.submit(spec)
    desk.api.merge(held(desk, ref), patch, manager="kubectl-edit")
    found = told(desk, spec, ref)
    assert found == [expected]


def test_a_job_whose_mark_was_removed_is_still_compared(desk: Desk) -> None:
    """What its labels should be is not known then; the rest is."""
    spec = job(**RICH, parallelism=2)
    ref = desk.submit(spec)
    removed = {"metadata": {"labels": {MARK: None, LINEAGE: None}}, "spec": {"parallelism": 3}}
    desk.api.merge(held(desk, ref), removed, manager="kubectl-edit")
    assert told(desk, spec, ref) == [Difference(("parallelism",), 3, by="kubectl-edit")]
    with pytest.raises(BackendError, match="could not be changed in place") as error:
        desk.backend.update(ref, Submission("job", spec), desk.actual(ref))
    assert MARK in error.value.detail


def test_what_others_add_is_no_drift(desk: Desk) -> None:
    ref = desk.submit(RICH)
    added = {"labels": {"theirs": "x"}, "annotations": {"kubectl.kubernetes.io/last": "y"}, "finalizers": ["example.com/f"]}
    desk.api.merge(held(desk, ref), {"metadata": added, "spec": {"ttlSecondsAfterFinished": 9}}, manager="kubectl-annotate")
    try:
        assert told(desk, RICH, ref) == []
    finally:
        desk.api.merge(held(desk, ref), {"metadata": {"finalizers": None}})


def test_a_value_that_is_set_to_what_it_was_is_no_drift_whoever_has_it_now(desk: Desk) -> None:
    spec = job(**RICH, parallelism=2)
    ref = desk.submit(spec)
    desk.api.merge(held(desk, ref), {"spec": {"parallelism": 3}}, manager="one")
    desk.api.merge(held(desk, ref), {"spec": {"parallelism": 2}}, manager="two")
    assert told(desk, spec, ref) == []


def test_somebody_who_applies_by_force_is_named(desk: Desk) -> None:
    spec = job(**RICH, parallelism=2)
    ref = desk.submit(spec)
    body = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"parallelism": 5}}
    desk.api.call("PATCH", held(desk, ref), body, query={"fieldManager": "argocd", "force": "true"}, content_type=APPLY)
    assert told(desk, spec, ref) == [Difference(("parallelism",), 5, by="argocd")]


def test_who_has_it_is_who_came_last(desk: Desk) -> None:
    spec = job(**RICH, parallelism=2)
    ref = desk.submit(spec)
    desk.api.merge(held(desk, ref), {"spec": {"parallelism": 3}, "metadata": {"labels": {"team": "x"}}}, manager="first")
    desk.api.merge(held(desk, ref), {"spec": {"parallelism": 4}}, manager="second")
    assert sorted(told(desk, spec, ref), key=lambda each: each.path) == [
        Difference(("labels", "team"), "x", by="first"), Difference(("parallelism",), 4, by="second"),
    ]


def test_a_manifests_own_template_is_compared_item_by_item(desk: Desk) -> None:
    """The template of a suspended Job may be changed: labels and annotations of it, and how it is scheduled."""
    spec = manifest("train", suspend=True)
    pod = spec["objects"]["Job"]["spec"]["template"]
    pod["metadata"] = {"labels": {"app": "a"}, "annotations": {"size": "1"}}
    pod["spec"]["nodeSelector"] = {"zone": "a"}
    pod["spec"]["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
    pod["spec"]["schedulingGates"] = [{"name": "example.com/one"}, {"name": "example.com/two"}]
    ref = desk.submit(spec, own(desk))
    assert told(desk, spec, ref) == []
    changed = {"spec": {"template": {
        "metadata": {"labels": {"app": "b"}, "annotations": {"size": "1.0"}},
        "spec": {
            "nodeSelector": {"zone": "a", "disk": "ssd"}, "tolerations": [{"key": "cpu", "operator": "Exists"}],
            "schedulingGates": [{"name": "example.com/two"}],
        },
    }}}
    desk.api.merge(held(desk, ref), changed, manager="kubectl-edit")
    metadata = ("objects", "Job", "spec", "template", "metadata")
    assert sorted(told(desk, spec, ref), key=lambda each: each.path) == [
        Difference((*metadata, "annotations", "size"), "1.0", by="kubectl-edit"),
        Difference((*metadata, "labels", "app"), "b", by="kubectl-edit"),
        Difference((*TEMPLATE, "nodeSelector"), {"zone": "a", "disk": "ssd"}, by="kubectl-edit"),
        Difference((*TEMPLATE, "schedulingGates", "[name=example.com/one]"), None, False),
        Difference((*TEMPLATE, "tolerations"), [{"key": "cpu", "operator": "Exists"}], by="kubectl-edit"),
    ]


def test_suspend_of_a_job_without_a_queue_is_as_any_field(desk: Desk) -> None:
    spec = manifest("train", suspend=True)
    ref = desk.submit(spec, own(desk))
    desk.api.merge(held(desk, ref), {"spec": {"suspend": False}}, manager="kubectl-patch")
    assert told(desk, spec, ref) == [Difference(("objects", "Job", "spec", "suspend"), False, by="kubectl-patch")]


def test_what_webhooks_inject_is_never_drift(desk: Desk) -> None:
    with injecting(desk.api, desk.namespace):
        spec = job(**RICH)
        ref = desk.submit(spec)
        stored = desk.job(ref)
        assert stored["metadata"]["labels"]["team"] == "injected"
        assert {"name": "INJECTED", "value": "yes"} in stored["spec"]["template"]["spec"]["containers"][0]["env"]
        assert told(desk, spec, ref) == []
        desk.api.merge(held(desk, ref), {"spec": {"activeDeadlineSeconds": 5000}}, manager="x")
        assert told(desk, spec, ref) == [Difference(("timeout",), 5000, by="x")]


def test_what_a_queue_writes_is_never_drift(desk: Desk) -> None:
    """Admission, partial admission and eviction, as Kueue does them."""
    with queueing(desk.api, desk.namespace):
        spec = job(**RICH, queue="team-a", tolerations=[{"key": "gpu", "operator": "Exists"}], parallelism=4)
        ref = desk.submit(spec)
        assert desk.job(ref)["spec"]["suspend"] is True
        assert told(desk, spec, ref) == []
        admitted = {"spec": {"suspend": False, "parallelism": 2, "template": {
            "metadata": {"labels": {"kueue.x-k8s.io/podset": "main"}, "annotations": {"kueue.x-k8s.io/workload": "w"}},
            "spec": {"nodeSelector": {"zone": "a", "gpu": "h100"}, "tolerations": [{"key": "flavour", "operator": "Exists"}]},
        }}}
        desk.api.merge(held(desk, ref), admitted, manager="kueue")
        assert told(desk, spec, ref) == []
        desk.api.merge(held(desk, ref), {"spec": {"suspend": True}}, manager="kueue")
        assert told(desk, spec, ref) == []
        changed = {"metadata": {"labels": {QUEUE_NAME: "team-b"}}, "spec": {"activeDeadlineSeconds": 7}}
        desk.api.merge(held(desk, ref), changed, manager="kubectl-label")
        assert sorted(told(desk, spec, ref), key=lambda each: each.path) == [
            Difference(("queue",), "team-b", by="kubectl-label"), Difference(("timeout",), 7, by="kubectl-label"),
        ]


def test_a_list_of_a_kind_that_does_not_tell_its_items_apart_is_one_field(desk: Desk) -> None:
    """What a cluster's schema says of a list decides, and its managed fields show it."""
    declare(desk.api, JOBSET)
    listed = [{"name": "w", "replicas": 2}, {"name": "x", "replicas": 1}]
    body = {"apiVersion": JOBSET.api, "kind": "JobSet", "metadata": {"name": "set"}}
    spec = {"objects": {"JobSet": {**body, "spec": {"replicatedJobs": listed, "a": {"b": 1}}}}}
    ref = desk.submit(spec, own(desk, "set"))
    assert told(desk, spec, ref) == []
    changed = [{"name": "w", "replicas": 3}, {"name": "x", "replicas": 1}]
    desk.api.merge(JOBSET.path(desk.namespace, "set"), {"spec": {"replicatedJobs": changed, "a": {"c": 2}}}, manager="someone")
    assert told(desk, spec, ref) == [Difference(("objects", "JobSet", "spec", "replicatedJobs"), changed, by="someone")]


def test_without_managed_fields_only_values_tell(desk: Desk) -> None:
    """Somebody may clear them; what differs is then still told, by nobody."""
    spec = job(**RICH, parallelism=2)
    ref = desk.submit(spec)
    desk.api.merge(held(desk, ref), {"spec": {"parallelism": 3}, "metadata": {"managedFields": [{}]}}, manager="x")
    seen = json.loads(desk.actual(ref).native)  # type: ignore[arg-type]  # bytes, says the backend
    assert {entry["manager"] for entry in seen["metadata"].get("managedFields", [])} <= {"kube-controller-manager", "x"}
    assert [each.path for each in told(desk, spec, ref)] == [("parallelism",)]


# --- without a server


def composed(spec: dict[str, Any]) -> Composed:
    return compose(spec, make_mark("job"), "ns", KINDS)


def live(target: Composed, managed: Any, **changes: Any) -> bytes:
    """The present object as the cluster has it after somebody's changes to the spec."""
    workload = json.loads(json.dumps(target.workload))
    workload["metadata"] |= {"managedFields": managed}
    workload["spec"] |= changes
    return json.dumps(workload).encode()


@pytest.mark.parametrize("native", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000])
def test_what_is_no_object_is_one_error(native: bytes) -> None:
    with pytest.raises(BackendError, match="cannot be read"):
        differences(composed(job()), native)


@pytest.mark.parametrize("native", [
    {}, {"metadata": 1}, {"metadata": {"managedFields": 7}, "spec": []}, {"spec": {"template": "x"}},
    {"metadata": {"labels": ["a"], "annotations": 3}, "spec": {"template": {"spec": {"containers": [1, {"name": {}}]}}}},
], ids=str)
def test_an_object_of_any_shape_is_compared(native: dict[str, Any]) -> None:
    assert differences(composed(job()), json.dumps(native).encode())


def test_an_autoscaler_is_no_drift_and_a_person_who_scales_is() -> None:
    target = composed(job(parallelism=2))
    scaled = {"operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:parallelism": {}}}}
    rest = {"manager": "jobform", "operation": "Apply", "fieldsV1": {"f:metadata": {}, "f:spec": {
        f"f:{name}": {} for name in target.workload["spec"] if name != "parallelism"}}}  # type: ignore[union-attr]  # composed: maps
    labels = {name: {f"f:{key}": {} for key in values} for name, values in target.workload["metadata"].items()  # type: ignore[union-attr]  # composed: maps
              if isinstance(values, dict)}
    rest["fieldsV1"]["f:metadata"] = {f"f:{name}": tree for name, tree in labels.items()}  # type: ignore[index]  # composed: a map
    by_machine = live(target, [rest, {**scaled, "manager": "kube-controller-manager"}], parallelism=9)
    by_hand = live(target, [rest, {**scaled, "manager": "kubectl"}], parallelism=9)
    assert differences(target, by_machine) == []
    assert differences(target, by_hand) == [Difference(("parallelism",), 9, by="kubectl")]


def test_a_managers_name_is_made_harmless() -> None:
    target = composed(job(parallelism=2))
    name = "evil\x1b[31m\n" + "x" * 500
    other = {"manager": name, "operation": "Update", "fieldsV1": {"f:spec": {"f:parallelism": {}}}}
    found = differences(target, live(target, [other], parallelism=3))
    assert [(each.path, each.by) for each in found] == [(("parallelism",), "evil?[31m?" + "x" * 118)]


@pytest.mark.parametrize(("kind", "steps", "expected"), [
    ("Job", ("spec", "suspend"), True), ("Job", ("spec", "template", "spec", "nodeSelector", "a"), True),
    ("Job", ("spec", "template", "metadata", "labels", "a"), True), ("Job", ("spec", "template", "spec", "containers"), False),
    ("Job", ("metadata", "labels", "a"), False), ("Job", ("spec", "template"), False),
    ("JobSet", ("spec", "replicatedJobs", "[name=w]", "template", "spec", "template", "spec", "tolerations"), True),
    ("JobSet", ("spec", "replicatedJobs", 0, "template", "spec", "parallelism"), False),
])
def test_what_is_a_queues_follows_the_kinds_own_paths(kind: str, steps: Any, expected: bool) -> None:
    assert is_queues(KINDS.by_key[kind], steps) is expected


@pytest.mark.slow
def test_an_untouched_job_is_compared_in_some_microseconds(desk: Desk) -> None:
    """5,000 live jobs of a plan are compared one by one; what decoding the JSON costs on this machine is the measure."""
    ref = desk.submit(RICH)
    native = desk.actual(ref).native
    assert isinstance(native, bytes)
    target = compose(RICH, desk.mark(), desk.namespace, KINDS)
    assert differences(target, native) == []

    def best(call: Any) -> float:
        taken = []
        for _ in range(7):
            start = time.thread_time()  # the machine may have more to do
            for _ in range(200):
                call()
            taken.append(time.thread_time() - start)
        return min(taken) / 200

    assert best(lambda: differences(target, native)) < 3.5 * best(lambda: json.loads(native))
