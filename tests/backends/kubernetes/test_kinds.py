"""Kinds as data: what a status means, where pods are, and a project's own kinds."""

from typing import Any

import pytest

from jobform.backends.kubernetes.kinds import Kinds, data, kind_from
from jobform.backends.kubernetes.kinds_status import Judged
from jobform.model.state import Phase
from jobform.schema import SpecSchema, check, load_document

KINDS = Kinds.builtin()
AT = "2026-08-01T10:00:00Z"
LATER = "2026-08-01T11:00:00Z"


def judged(key: str, status: dict[str, Any], spec: dict[str, Any] | None = None, **metadata: Any) -> Judged:
    return KINDS.by_key[key].judge({"metadata": metadata, "spec": spec or {}, "status": status})


def condition(name: str, reason: str = "", message: str = "", status: str = "True") -> dict[str, Any]:
    return {"type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": LATER}


JOB_CASES: list[tuple[dict[str, Any], dict[str, Any], Judged]] = [
    ({}, {}, Judged(Phase.PENDING)),
    ({"startTime": AT, "active": 1, "ready": 0}, {}, Judged(Phase.PENDING)),
    ({"startTime": AT, "active": 1, "ready": 1}, {}, Judged(Phase.RUNNING, started_at=AT)),
    ({"startTime": AT, "active": 1, "succeeded": 2}, {}, Judged(Phase.RUNNING, started_at=AT)),
    ({"startTime": AT, "failed": 1}, {}, Judged(Phase.RUNNING, started_at=AT)),
    ({"conditions": [condition("Suspended", "JobSuspended")]}, {"suspend": True}, Judged(Phase.PENDING, suspended=True)),
    ({"startTime": AT, "completionTime": LATER, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}, {},
     Judged(Phase.SUCCEEDED, started_at=AT, ended_at=LATER)),
    ({"startTime": AT, "conditions": [condition("FailureTarget", "BackoffLimitExceeded", "Job has reached\nthe limit")]}, {},
     Judged(Phase.RUNNING, None, "BackoffLimitExceeded", "Job has reached the limit", AT, None, Phase.FAILED)),
    ({"startTime": AT, "conditions": [condition("SuccessCriteriaMet", "CompletionsReached")]}, {},
     Judged(Phase.RUNNING, None, "CompletionsReached", "", AT, None, Phase.SUCCEEDED)),
    ({"startTime": AT, "conditions": [condition("FailureTarget", "DeadlineExceeded"), condition("Failed", "DeadlineExceeded")]},
     {}, Judged(Phase.FAILED, "timeout", "DeadlineExceeded", "", AT, LATER)),
    ({"startTime": AT, "conditions": [condition("Failed", "BackoffLimitExceeded")]}, {"suspend": True},
     Judged(Phase.FAILED, None, "BackoffLimitExceeded", "", AT, LATER)),
    ({"conditions": [condition("Complete", status="False")]}, {}, Judged(Phase.PENDING)),
]


@pytest.mark.parametrize(("status", "spec", "expected"), JOB_CASES)
def test_a_job_is_judged_in_the_order_of_its_conditions(status: dict[str, Any], spec: dict[str, Any], expected: Judged) -> None:
    assert judged("Job", status, spec) == expected


def test_a_job_that_is_being_deleted_keeps_its_phase() -> None:
    running = judged("Job", {"ready": 1, "startTime": AT}, deletionTimestamp=LATER)
    assert (running.phase, running.deleting) == (Phase.RUNNING, True)
    ended = judged("Job", {"conditions": [condition("Complete")]}, deletionTimestamp=LATER)
    assert (ended.phase, ended.deleting) == (Phase.SUCCEEDED, True)


@pytest.mark.parametrize(("key", "status", "spec", "phase", "class_", "reason"), [
    ("JobSet", {"conditions": [condition("Completed", "AllJobsCompleted")]}, {}, Phase.SUCCEEDED, None, "AllJobsCompleted"),
    ("JobSet", {"terminalState": "Failed"}, {}, Phase.FAILED, None, ""),
    ("JobSet", {"conditions": [condition("Failed", "FailedJobs")]}, {}, Phase.FAILED, None, "FailedJobs"),
    ("JobSet", {"replicatedJobsStatus": [{"ready": 0}, {"ready": 1}]}, {}, Phase.RUNNING, None, ""),
    ("JobSet", {"replicatedJobsStatus": [{"ready": 0, "active": 1}]}, {}, Phase.PENDING, None, ""),
    ("JobSet", {}, {"suspend": True}, Phase.PENDING, None, ""),
    ("PyTorchJob", {"conditions": [condition("Created"), condition("Running", status="False"), condition("Succeeded")]}, {},
     Phase.SUCCEEDED, None, ""),
    ("PyTorchJob", {"conditions": [condition("Created"), condition("Running", "PyTorchJobRunning")]}, {}, Phase.RUNNING, None,
     "PyTorchJobRunning"),
    ("PyTorchJob", {"conditions": [condition("Created"), condition("Restarting")]}, {}, Phase.RUNNING, None, ""),
    ("TFJob", {"conditions": [condition("Created")]}, {}, Phase.PENDING, None, ""),
    ("MPIJob", {"conditions": [condition("Failed", "BackoffLimitExceeded/OOMKilled")]}, {}, Phase.FAILED, "oom",
     "BackoffLimitExceeded/OOMKilled"),
    ("MPIJob", {"conditions": [condition("Suspended")]}, {}, Phase.PENDING, None, ""),
    ("TrainJob", {"conditions": [condition("Complete", "JobsCompleted")]}, {}, Phase.SUCCEEDED, None, "JobsCompleted"),
    ("TrainJob", {"jobsStatus": [{"name": "node", "ready": 1}]}, {}, Phase.RUNNING, None, ""),
    ("RayJob", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, {}, Phase.SUCCEEDED, None, ""),
    ("RayJob", {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, {}, Phase.CANCELLED, None, ""),
    ("RayJob", {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}, {}, Phase.FAILED, "timeout", "DeadlineExceeded"),
    ("RayJob", {"jobDeploymentStatus": "ValidationFailed"}, {}, Phase.FAILED, "user_error", ""),
    ("RayJob", {"jobDeploymentStatus": "Suspended"}, {}, Phase.PENDING, None, "Suspended"),
    ("RayJob", {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, {}, Phase.RUNNING, None, "RUNNING"),
    ("RayJob", {"jobDeploymentStatus": "Initializing"}, {}, Phase.PENDING, None, "Initializing"),
    ("VolcanoJob", {"state": {"phase": "Completed"}}, {}, Phase.SUCCEEDED, None, ""),
    ("VolcanoJob", {"state": {"phase": "Terminated", "reason": "PodFailed"}}, {}, Phase.FAILED, None, "PodFailed"),
    ("VolcanoJob", {"state": {"phase": "Aborted"}}, {}, Phase.CANCELLED, None, ""),
    ("VolcanoJob", {"state": {"phase": "Restarting"}}, {}, Phase.RUNNING, None, ""),
    ("VolcanoJob", {"state": {"phase": "Pending"}}, {}, Phase.PENDING, None, ""),
])
def test_every_kind_says_what_its_status_means(
    key: str, status: dict[str, Any], spec: dict[str, Any], phase: Phase, class_: str | None, reason: str,
) -> None:
    found = judged(key, status, spec)
    assert (found.phase, found.class_, found.reason) == (phase, class_, reason)


@pytest.mark.parametrize("status", [
    None, 3, "x", [], {"conditions": None}, {"conditions": [None, 3, {}, {"type": 3}, {"type": "Failed"}]},
    {"conditions": {"type": "Complete", "status": "True"}}, {"ready": "9"}, {"ready": True}, {"state": {"phase": ["Completed"]}},
    {"state": []}, {"replicatedJobsStatus": "x"}, {"replicatedJobsStatus": [None, {"ready": None}]}, {"jobDeploymentStatus": {}},
])
@pytest.mark.parametrize("key", list(KINDS.by_key))
def test_a_status_of_any_shape_is_no_outcome(key: str, status: Any) -> None:
    assert KINDS.by_key[key].judge({"metadata": 3, "spec": None, "status": status}) == Judged(Phase.PENDING)
    assert KINDS.by_key[key].judge({}) == Judged(Phase.PENDING)


def test_texts_of_a_status_are_one_bounded_line() -> None:
    found = judged("Job", {"conditions": [condition("Failed", "R\x1bE", "a\n\tb " + "x" * 5000)]})
    assert "\n" not in found.detail
    assert len(found.detail) <= 1000


def test_kinds_are_found_by_api_and_kind() -> None:
    for api, name, key in [
        ("batch/v1", "Job", "Job"), ("batch.volcano.sh/v1alpha1", "Job", "VolcanoJob"), ("kubeflow.org/v1", "MPIJob", "MPIJob"),
        ("kubeflow.org/v2beta1", "MPIJob", "MPIJob"),
    ]:
        found = KINDS.of(api, name)
        assert found is not None
        assert (found.api, found.key) == (api, key)
    assert KINDS.of("batch/v1beta1", "Job") is None
    assert KINDS.of("v1", "ConfigMap") is None


def test_templates_and_pods_of_an_object() -> None:
    jobset: dict[str, Any] = {"metadata": {"name": "s"}, "spec": {"replicatedJobs": [
        {"template": {"spec": {"template": {}}}}, {"template": {"spec": {}}}, {"template": {"spec": {"template": {}}}}, 3,
    ]}}
    kind = KINDS.by_key["JobSet"]
    assert list(kind.templates(jobset)) == [("spec", "replicatedJobs", n, "template", "spec", "template") for n in (0, 2)]
    assert kind.pod_selectors(jobset) == ("jobset.sigs.k8s.io/jobset-name=s",)
    torch = KINDS.by_key["PyTorchJob"]
    replicas = {"Master": {"template": {}}, "Worker": {"template": {}}}
    assert list(torch.templates({"spec": {"pytorchReplicaSpecs": replicas}})) == [
        ("spec", "pytorchReplicaSpecs", role, "template") for role in replicas
    ]
    ray = KINDS.by_key["RayJob"]
    assert ray.pod_selectors({"metadata": {"name": "r"}}) == ("batch.kubernetes.io/job-name=r",)
    assert ray.pod_selectors({"metadata": {"name": "r"}, "status": {"rayClusterName": "c"}}) == (
        "batch.kubernetes.io/job-name=r", "ray.io/cluster=c")


def test_a_projects_kind_has_the_standard_conditions_unless_it_says_otherwise() -> None:
    plain = kind_from("MyJob", {"api": "example.com/v1"})
    for name, phase in {
        "Complete": Phase.SUCCEEDED, "Completed": Phase.SUCCEEDED, "Succeeded": Phase.SUCCEEDED, "Failed": Phase.FAILED,
        "Suspended": Phase.PENDING, "Running": Phase.RUNNING, "Odd": Phase.PENDING,
    }.items():
        assert plain.judge({"status": {"conditions": [condition(name)]}}).phase is phase
    own = kind_from("MyJob", {
        "api": ["example.com/v1", "example.com/v1beta1"], "kind": "Mine", "started": "status.began",
        "classes": {"Slow": "timeout"}, "status": [
            {"path": "status.phase", "equals": ["done"], "phase": "succeeded", "ended": "status.over"},
            {"path": "status.phase", "equals": ["bad"], "phase": "failed", "reason": "status.why", "message": "status.text"},
        ],
    })
    assert own.judge({"status": {"phase": "done", "began": AT, "over": LATER}}) == Judged(
        Phase.SUCCEEDED, started_at=AT, ended_at=LATER)
    assert own.judge({"status": {"phase": "bad", "why": "Slow", "text": "t"}}) == Judged(Phase.FAILED, "timeout", "Slow", "t")
    assert own.judge({"status": {"conditions": [condition("Complete")]}}).phase is Phase.PENDING


def test_a_projects_kinds_come_before_those_that_ship() -> None:
    kinds = KINDS.with_project({"Mine": {"api": "batch/v1", "kind": "Job", "plural": "jobs"}})
    assert (found := kinds.of("batch/v1", "Job")) is not None
    assert found.key == "Mine"
    assert KINDS.with_project(None) is KINDS


def test_the_table_that_ships_fits_the_form_of_a_projects_kinds() -> None:
    schema = SpecSchema({"$ref": "kubernetes-objects.schema.json#/$defs/kind"})
    table = data()["kinds"]
    assert isinstance(table, dict)
    for key, block in table.items():
        assert isinstance(block, dict)
        own = {name: value for name, value in block.items() if not name.startswith("generated")}
        assert list(schema.problems(own)) == [], key


def test_every_kind_has_its_fields_in_the_schema_with_a_reason() -> None:
    document = load_document("kubernetes-objects")
    check(document)
    properties = document["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == set(KINDS.by_key)
    schema = SpecSchema(document)
    for key, kind in KINDS.by_key.items():
        assert schema.given_name({key: {"metadata": {"name": "n"}}}) == "n"
        for held in (kind.ttl_path, kind.suspend_path):
            if held is not None:
                rule = schema.rule((key, *held))
                assert (rule.class_, rule.mutable) == ("operational", "always"), (key, held)
        if kind.ttl_path is not None:
            nested: Any = 60
            for part in reversed((key, *kind.ttl_path)):
                nested = {part: nested}
            assert schema.holds_back(nested), key
        for pattern in kind.template_paths:
            where = ("Worker" if part == "*" and "ReplicaSpecs" in pattern[1] else 0 if part == "*" else part for part in pattern)
            containers = schema.rule((key, *where, "spec", "containers"))
            assert containers.list_key == ("name" if pattern[-1] == "template" else None), (key, pattern)


@pytest.mark.parametrize(("path", "class_", "mutable"), [
    ("metadata.labels.team", "operational", "always"), ("metadata.annotations.x", "operational", "always"),
    ("spec.parallelism", "placement", "always"), ("spec.completions", "result", "never"),
    ("spec.activeDeadlineSeconds", "operational", "always"), ("spec.backoffLimit", "operational", "always"),
    ("spec.suspend", "operational", "always"), ("spec.podFailurePolicy.rules", "operational", "never"),
    ("spec.template.metadata.labels.x", "operational", "suspended"),
    ("spec.template.spec.nodeSelector.x", "placement", "suspended"), ("spec.template.spec.tolerations", "placement", "suspended"),
    ("spec.template.spec.affinity.podAffinity", "placement", "never"),
    ("spec.template.spec.affinity.nodeAffinity", "placement", "suspended"),
    ("spec.template.spec.priorityClassName", "placement", "never"), ("spec.template.spec.somethingNew.deep", "result", "never"),
    ("spec.template.spec.containers.0.image", "result", "never"), ("spec.template.spec.containers.0.env", "result", "never"),
    ("spec.template.spec.containers.0.resources.limits.cpu", "placement", "suspended"),
    ("spec.template.spec.containers.0.imagePullPolicy", "operational", "never"),
])
def test_what_a_change_of_a_field_of_a_job_means(path: str, class_: str, mutable: str) -> None:
    schema = SpecSchema(load_document("kubernetes-objects"))
    rule = schema.rule(("Job", *(int(part) if part.isdecimal() else part for part in path.split("."))))
    assert (rule.class_, rule.mutable, rule.known) == (class_, mutable, True)


def test_equal_quantities_and_room_are_no_new_run() -> None:
    schema = SpecSchema(load_document("kubernetes-objects"))

    def job(image: str, **limits: Any) -> dict[str, Any]:
        container = {"name": "main", "image": image, "resources": {"limits": limits}}
        return {"Job": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}}

    assert schema.normalise(job("a", cpu="1000m")) == schema.normalise(job("a", cpu=1))
    assert schema.fingerprint(job("a", cpu=1), {}) == schema.fingerprint(job("a", cpu=2), {})
    assert schema.fingerprint(job("a", cpu=1), {}) != schema.fingerprint(job("b", cpu=1), {})
