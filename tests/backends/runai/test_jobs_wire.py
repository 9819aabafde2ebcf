"""What is sent to the job API for each field, and what its lists mean."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobform.backends.runai.jobs_wire import KEYS, view, wire_body
from jobform.backends.runai.type import TYPE
from jobform.backends.runai.workloads_wire import KEYS as WORKLOADS_KEYS
from jobform.model.errors import BackendError
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.schema import SpecSchema

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCHEMA = SpecSchema(TYPE.spec_schema())

FIELDS: list[tuple[dict[str, Json], dict[str, Json]]] = [
    ({}, {}),
    ({"command": ["python", "train.py", "--lr", "0.1"]}, {"command": "python", "arguments": ["train.py", "--lr", "0.1"]}),
    ({"command": ["python", "a b.py"], "args": ["-e", "x y"]}, {"command": "python", "arguments": ["a b.py", "-e", "x y"]}),
    ({"command": ["true"]}, {"command": "true"}),
    ({"args": ["-e", "-f"]}, {"arguments": ["-e", "-f"]}),
    ({"env": {"BATCH_SIZE": "50", "RATE": "0.2"}}, {"environment": {"BATCH_SIZE": "50", "RATE": "0.2"}}),
    ({"interactive": True}, {"interactive": True}),
    ({"image_pull_policy": "IfNotPresent"}, {"imagePullPolicy": "IfNotPresent"}),
    ({"stdin": True, "tty": True}, {"stdin": True, "tty": True}),
    ({"working_dir": "/work"}, {"workingDir": "/work"}),
    ({"create_home_dir": True}, {"createHomeDir": True}),
    ({"resources": {"gpu": {"count": 2}}}, {"gpu": 2}),
    ({"resources": {"gpu_fraction": 0.5}}, {"gpu": 0.5}),
    ({"resources": {"gpu_memory": "4G"}}, {"gpuMemory": "4G"}),
    ({"resources": {"cpu": 2, "cpu_limit": 4}}, {"cpu": 2, "cpuLimit": 4}),
    ({"resources": {"cpu": "500m", "cpu_limit": "1500m"}}, {"cpu": 0.5, "cpuLimit": 1.5}),
    ({"resources": {"memory": "8G", "memory_limit": "16Gi"}}, {"memory": "8G", "memoryLimit": "16Gi"}),
    ({"large_shm": True}, {"largeShm": True}),
    ({"pvc": [{"storage_class": "fast", "size": "3GB", "path": "/data", "read_only": True}]},
     {"pvc": [{"storageClass": "fast", "size": "3GB", "path": "/data", "readOnly": True}]}),
    ({"pvc": [{"storage_class": "", "size": "3Gi", "path": "/data"}]},
     {"pvc": [{"storageClass": "", "size": "3Gi", "path": "/data"}]}),
    ({"volume": {"/raid/data": "/data"}}, {"volume": {"/raid/data": "/data"}}),
    ({"host_ipc": True}, {"hostIpc": True}),
    ({"host_network": True}, {"hostNetwork": True}),
    ({"ports": [{"container": 80, "external": 32188, "auto_generate": False}, {"container": 443, "auto_generate": True}],
      "service_type": "ingress"},
     {"ports": [{"container": 80, "external": 32188, "autoGenerate": False}, {"container": 443, "autoGenerate": True}],
      "serviceType": "ingress"}),
    ({"retries": 2}, {"backoffLimit": 2}),
    ({"completions": 4, "parallelism": 2}, {"completions": 4, "parallelism": 2}),
    ({"elastic": True}, {"elastic": True}),
    ({"preemptible": True}, {"preemptible": True}),
    ({"ttl": "2h"}, {"ttlAfterFinish": "7200s"}),
    ({"ttl": "1500ms"}, {"ttlAfterFinish": "2s"}),
    ({"prevent_privilege_escalation": True}, {"preventPrivilegeEscalation": True}),
    ({"node_type": "dgx"}, {"nodeType": "dgx"}),
    ({"job_name_prefix": "fit"}, {"jobNamePrefix": "fit"}),
    ({"job_name": "mine"}, {}),
]


@pytest.mark.parametrize(("spec", "sent"), FIELDS, ids=[", ".join(spec) or "nothing" for spec, _ in FIELDS])
def test_each_field_is_sent_under_its_own_name(spec: dict[str, Json], sent: dict[str, Json]) -> None:
    whole: dict[str, Json] = {"image": "python:3.12", **spec}
    assert not list(SCHEMA.problems(whole))
    body = wire_body(whole, "fit-0a1b2c3d-1", "team-a")
    assert body == {"job": {"name": "fit-0a1b2c3d-1", "project": "team-a", "image": "python:3.12", **sent}}


def test_every_key_of_the_schema_belongs_to_an_api() -> None:
    assert set(SCHEMA.keys()) == KEYS | WORKLOADS_KEYS
    tested = {key for spec, _ in FIELDS for key in spec} | {"image"}
    assert tested == KEYS, "each key of this API has its line above"


def test_a_key_of_the_other_api_is_never_dropped() -> None:
    with pytest.raises(BackendError, match="has no suspended"):
        wire_body({"image": "a", "suspended": True}, "x", "team-a")
    with pytest.raises(BackendError, match="has no extended"):
        wire_body({"image": "a", "resources": {"cpu": 1, "extended": {"rdma/hca": 1}}}, "x", "team-a")


# --- what a list says -------------------------------------------------------------------------------------------------


def listed(**more: Any) -> dict[str, Any]:
    return {
        "id": "5f0c9b1e-7d7e-4b0e-9b35-1d2f0a0f7c11", "project": "nlp", "name": "bert", "status": "Running", "type": "Train",
        "nodes": [], "createdAt": 1767261600000, "images": "registry.example.net/nlp/train:1.8", "user": "ci-bot",
        "currentAllocatedGPUs": 0, **more,
    }


WORDS = [  # status, phase, class, begun
    ("Pending", Phase.PENDING, None, False), ("ContainerCreating", Phase.PENDING, None, False),
    ("PodInitializing", Phase.PENDING, None, False), ("Init:0/1", Phase.PENDING, None, False),
    ("Unschedulable", Phase.PENDING, None, False), ("Running", Phase.RUNNING, None, True),
    ("NotReady", Phase.RUNNING, None, True), ("Terminating", Phase.PENDING, None, True), ("Error", Phase.RUNNING, None, True),
    ("CrashLoopBackOff", Phase.RUNNING, None, True), ("Init:CrashLoopBackOff", Phase.RUNNING, None, True),
    ("Init:Error", Phase.RUNNING, None, True), ("ErrImagePull", Phase.PENDING, None, False),
    ("ImagePullBackOff", Phase.PENDING, None, False), ("Suspended", Phase.PENDING, None, False),
    ("Succeeded", Phase.SUCCEEDED, None, True), ("Completed", Phase.SUCCEEDED, None, True),
    ("Failed", Phase.FAILED, "user_error", True), ("Fail", Phase.FAILED, "user_error", True),
    ("ContainerCannotRun", Phase.FAILED, "user_error", False), ("TimedOut", Phase.FAILED, "timeout", True),
    ("Preempted", Phase.FAILED, "preempted", True), ("Deleted", Phase.CANCELLED, None, False),
    ("Unknown", Phase.UNKNOWN, None, False),
]


@pytest.mark.parametrize(("word", "phase", "class_", "begun"), WORDS)
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper])
def test_words_of_status(spelled: Any, word: str, phase: Phase, class_: str | None, begun: bool) -> None:
    actual = view(listed(status=spelled(word)), NOW).actual
    assert actual.phase is phase
    assert actual.class_ == class_
    assert (actual.started_at is not None) is begun
    assert (actual.ended_at is not None) is (phase in ENDED)
    assert bool(actual.warnings) is word.endswith(("ImagePull", "ImagePullBackOff"))


def test_a_word_that_tells_more_than_the_phase_is_shown() -> None:
    assert view(listed(status="ContainerCreating"), NOW).actual.detail == "ContainerCreating"
    assert view(listed(status="running"), NOW).actual.detail == ""
    assert view(listed(status="TimedOut"), NOW).actual.native_reason == "TimedOut"


def test_a_word_that_nobody_knows_is_taken_for_running_and_said() -> None:
    actual = view(listed(status="Rebalancing"), NOW).actual
    assert actual.phase is Phase.RUNNING
    assert "'Rebalancing'" in actual.warnings[0]


def test_times() -> None:
    actual = view(listed(status="Succeeded"), NOW).actual
    assert actual.started_at == "2026-01-01T10:00:00.000000Z"
    assert actual.ended_at == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize(("type_", "fields"), [
    ("Train", {"interactive": False}), ("Interactive", {"interactive": True}), ("Inference", {}), (None, {}), (7, {}),
    ("Interactive-Preemptible", {"interactive": True, "preemptible": True}),
])
def test_reported_fields(type_: Any, fields: dict[str, Json]) -> None:
    assert view(listed(type=type_), NOW).actual.fields == {"image": "registry.example.net/nlp/train:1.8", **fields}


@pytest.mark.parametrize("change", [
    {"id": None}, {"id": 7}, {"id": ""}, {"name": ["x"]}, {"name": "a\nb"}, {"project": "x" * 1000}, {"status": None},
    {"status": 3}, {"status": ""}, {"createdAt": None}, {"createdAt": "2026"}, {"createdAt": -1}, {"createdAt": 10**30},
    {"createdAt": True}, {"createdAt": float("inf")},
])
def test_what_is_no_job(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        view(listed(**change), NOW)


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [listed()]])
def test_what_is_no_object(value: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        view(value, NOW)
