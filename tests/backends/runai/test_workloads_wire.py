"""What is sent to the workloads API for each field, and what is read back of it."""

from typing import Any

import pytest

from jobform.backends.runai.drift import differences
from jobform.backends.runai.type import TYPE
from jobform.backends.runai.workloads_wire import KEYS, as_reported, kind_of, mark_of, reported, wire_body
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Difference
from jobform.schema import SpecSchema

SCHEMA = SpecSchema(TYPE.spec_schema())

FIELDS: list[tuple[dict[str, Json], dict[str, Json]]] = [
    ({}, {}),
    ({"command": ["python", "train.py"], "args": ["--name", "a b"]}, {"command": "python", "args": "train.py --name 'a b'"}),
    ({"args": ["-e", "$HOME"]}, {"args": "-e '$HOME'"}),
    ({"env": {"A": "1"}}, {"environmentVariables": [{"name": "A", "value": "1"}]}),
    ({"env": {"A": "1"}, "secrets": {"T": {"name": "hf", "key": "token"}}},
     {"environmentVariables": [{"name": "A", "value": "1"}, {"name": "T", "secret": {"name": "hf", "key": "token"}}]}),
    ({"image_pull_policy": "Never"}, {"imagePullPolicy": "Never"}),
    ({"image_pull_secrets": ["registry"]}, {"imagePullSecrets": [{"name": "registry"}]}),
    ({"working_dir": "/w", "create_home_dir": True, "stdin": True, "tty": True},
     {"workingDir": "/w", "createHomeDir": True, "stdin": True, "tty": True}),
    ({"resources": {"cpu": "500m", "cpu_limit": 2, "memory": "8G", "memory_limit": "16G"}},
     {"compute": {"cpuCoreRequest": 0.5, "cpuCoreLimit": 2, "cpuMemoryRequest": "8G", "cpuMemoryLimit": "16G"}}),
    ({"resources": {"gpu": {"count": 2}}},
     {"compute": {"gpuDevicesRequest": 2, "gpuRequestType": "portion", "gpuPortionRequest": 1}}),
    ({"resources": {"gpu": {"count": 0}}}, {"compute": {"gpuDevicesRequest": 0}}),
    ({"resources": {"gpu_fraction": 0.5}},
     {"compute": {"gpuDevicesRequest": 1, "gpuRequestType": "portion", "gpuPortionRequest": 0.5}}),
    ({"resources": {"gpu_memory": "4G"}},
     {"compute": {"gpuDevicesRequest": 1, "gpuRequestType": "memory", "gpuMemoryRequest": "4G"}}),
    ({"large_shm": True}, {"compute": {"largeShmRequest": True}}),
    ({"pvc": [{"path": "/data", "size": "3G", "storage_class": "fast", "read_only": True}]},
     {"storage": {"pvc": [{"path": "/data", "existingPvc": False, "claimInfo": {"size": "3G", "storageClass": "fast"},
                           "readOnly": True}]}}),
    ({"pvc": [{"path": "/data", "claim_name": "datasets"}]},
     {"storage": {"pvc": [{"path": "/data", "existingPvc": True, "claimName": "datasets"}]}}),
    ({"volume": {"/raid": "/data"}}, {"storage": {"hostPath": [{"path": "/raid", "mountPath": "/data", "readOnly": False}]}}),
    ({"nfs": [{"path": "/data", "server": "nfs.example.com", "export": "/x", "read_only": True}]},
     {"storage": {"nfs": [{"server": "nfs.example.com", "path": "/x", "mountPath": "/data", "readOnly": True}]}}),
    ({"nfs": [{"path": "/data", "server": "nfs.example.com", "export": "/x"}]},
     {"storage": {"nfs": [{"server": "nfs.example.com", "path": "/x", "mountPath": "/data", "readOnly": False}]}}),
    ({"git": [{"path": "/code", "repository": "https://github.com/acme/train.git", "branch": "main", "revision": "9f1c2d0",
               "secret": {"name": "git", "method": "password", "user_key": "user", "password_key": "token"}}]},
     {"storage": {"git": [{
         "path": "/code", "repository": "https://github.com/acme/train.git", "branch": "main", "revision": "9f1c2d0",
         "secretRef": {"name": "git", "authenticationMethod": "password", "secretKeyOfUser": "user",
                       "secretKeyOfPassword": "token"}}]}}),
    ({"git": [{"path": "/code", "repository": "git@github.com:acme/train.git", "secret": {"name": "git", "method": "ssh-key"}}]},
     {"storage": {"git": [{"path": "/code", "repository": "git@github.com:acme/train.git",
                           "secretRef": {"name": "git", "authenticationMethod": "ssh-key"}}]}}),
    ({"resources": {"extended": {"rdma/hca": 1, "acme.example/fpga": 2}}},
     {"compute": {"extendedResources": [{"resource": "rdma/hca", "quantity": "1"},
                                        {"resource": "acme.example/fpga", "quantity": "2"}]}}),
    ({"ports": [{"container": 80, "external": 30080}], "service_type": "nodeport"},
     {"ports": [{"container": 80, "external": 30080, "serviceType": "NodePort"}]}),
    ({"ports": [{"container": 80}], "service_type": "loadbalancer"},
     {"ports": [{"container": 80, "serviceType": "LoadBalancer"}]}),
    ({"host_ipc": True, "host_network": True}, {"security": {"hostIpc": True, "hostNetwork": True}}),
    ({"prevent_privilege_escalation": True}, {"security": {"allowPrivilegeEscalation": False}}),
    ({"run_as_uid": 1000, "run_as_gid": 100},
     {"security": {"runAsUid": 1000, "runAsGid": 100, "uidGidSource": "custom"}}),
    ({"run_as_gid": 100, "supplemental_groups": [2000, 3000]},
     {"security": {"runAsGid": 100, "supplementalGroups": "2000,3000", "uidGidSource": "custom"}}),
    ({"uid_gid_source": "fromIdpToken", "run_as_non_root": True, "read_only_root_filesystem": True,
      "capabilities": ["IPC_LOCK"], "seccomp_profile": "RuntimeDefault"},
     {"security": {"uidGidSource": "fromIdpToken", "runAsNonRoot": True, "readOnlyRootFilesystem": True,
                   "capabilities": ["IPC_LOCK"], "seccompProfileType": "RuntimeDefault"}}),
    ({"tolerations": [{"key": "dedicated", "value": "training"}, {"key": "spot", "operator": "Exists", "effect": "NoSchedule"},
                      {"key": "drain", "operator": "Equal", "value": "", "effect": "NoExecute", "toleration_seconds": 60}]},
     {"tolerations": [
         {"key": "dedicated", "operator": "Equal", "effect": "Any", "value": "training"},
         {"key": "spot", "operator": "Exists", "effect": "NoSchedule"},
         {"key": "drain", "operator": "Equal", "effect": "NoExecute", "value": "", "seconds": 60}]}),
    ({"node_type": "dgx", "node_pools": ["a", "b"]}, {"nodeType": "dgx", "nodePools": ["a", "b"]}),
    ({"labels": {"team": "vision"}}, {"labels": [{"name": "team", "value": "vision"}]}),
    ({"annotations": {"acme.example/owner": "me"}}, {"annotations": [{"name": "acme.example/owner", "value": "me"}]}),
    ({"priority_class": "high"}, {"priorityClass": "high"}),
    ({"preemptible": True}, {"preemptibility": "preemptible"}),
    ({"preemptible": False}, {"preemptibility": "non-preemptible"}),
    ({"retries": 2, "completions": 4, "parallelism": 2}, {"backoffLimit": 2, "completions": 4, "parallelism": 2}),
    ({"ttl": "2h", "grace_period": "1m"},
     {"autoDeletionTimeAfterCompletionSeconds": 7200, "terminationGracePeriodSeconds": 60}),
    ({"suspended": True}, {}),
    ({"job_name": "mine"}, {}),
    ({"nodes": 1}, {}),
    ({"nodes": 4}, {"distributedFramework": "PyTorch", "numWorkers": 3}),
    ({"nodes": 4, "distributed": {"framework": "mpi", "slots_per_worker": 8, "clean_pods": "running"}},
     {"distributedFramework": "MPI", "numWorkers": 4, "slotsPerWorker": 8, "cleanPodPolicy": "Running"}),
    ({"nodes": 2, "distributed": {"framework": "tf"}}, {"distributedFramework": "TF", "numWorkers": 1}),
    ({"nodes": 2, "distributed": {"framework": "xgboost"}}, {"distributedFramework": "XGBoost", "numWorkers": 1}),
    ({"nodes": 2, "distributed": {"framework": "jax"}}, {"distributedFramework": "JAX", "numWorkers": 2}),
]


@pytest.mark.parametrize(("spec", "sent"), FIELDS, ids=[", ".join(spec) or "nothing" for spec, _ in FIELDS])
def test_each_field_is_sent_and_read_back(spec: dict[str, Json], sent: dict[str, Json]) -> None:
    whole: dict[str, Json] = {"image": "python:3.12", **spec}
    assert not list(SCHEMA.problems(whole))
    body = wire_body(whole, "fit-1", "4501", "71f69d83-ba66-4822-adf5-55ce55efd210", {})
    distributed = kind_of(whole) == "distributed"
    assert body == {
        "name": "fit-1", "projectId": "4501", "clusterId": "71f69d83-ba66-4822-adf5-55ce55efd210",
        "spec": {"image": "python:3.12", **sent}, **({"masterSpecSameAsWorker": True} if distributed else {}),
    }
    assert list(differences(as_reported(whole), reported(body["spec"]))) == []


def test_every_key_of_this_api_is_tested() -> None:
    assert {key for spec, _ in FIELDS for key in spec} | {"image"} == KEYS


def test_a_key_of_the_other_api_is_never_dropped() -> None:
    with pytest.raises(BackendError, match="has no interactive"):
        wire_body({"image": "a", "interactive": True}, "x", "1", "c", {})


def test_the_mark_stands_beside_the_users_annotations() -> None:
    body = wire_body({"image": "a", "annotations": {"x": "y"}}, "n", "1", "c", {"jobform.dev/mark": "jf1-a-b-1-c"})
    spec: Any = body["spec"]
    assert spec["annotations"] == [{"name": "x", "value": "y"}, {"name": "jobform.dev/mark", "value": "jf1-a-b-1-c"}]
    assert mark_of(spec) == "jf1-a-b-1-c"
    assert reported(spec)["annotations"] == {"x": "y"}


SPEC: dict[str, Json] = {
    "image": "python:3.12", "command": ["python", "a b.py"], "env": {"A": "1", "B": "2"}, "labels": {"team": "vision"},
    "resources": {"cpu": "500m", "memory": "8G", "gpu": {"count": 2}}, "ttl": "2h", "pvc": [{"path": "/data", "size": "3G"}],
    "ports": [{"container": 80}], "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "training"}],
    "capabilities": ["IPC_LOCK"], "git": [{"path": "/code", "repository": "https://github.com/acme/train.git", "revision": "v1"}],
}
DEDICATED: dict[str, Json] = {"key": "dedicated", "operator": "Equal", "value": "training", "effect": "Any"}
CODE: dict[str, Json] = {"path": "/code", "repository": "https://github.com/acme/train.git", "revision": "v1"}


@pytest.mark.parametrize(("change", "path", "value"), [
    ({"image": "python:3.13"}, ("image",), "python:3.13"),
    ({"args": "other.py"}, ("command",), ["python", "other.py"]),
    ({"args": "it's"}, ("command",), ["python", "it's"]),
    ({"environmentVariables": [{"name": "A", "value": "9"}, {"name": "B", "value": "2"}]}, ("env", "A"), "9"),
    ({"labels": [{"name": "other", "value": "x"}]}, ("labels", "team"), None),
    ({"compute": {"cpuCoreRequest": 2, "cpuMemoryRequest": "8G", "gpuDevicesRequest": 2}}, ("resources", "cpu"), 2),
    ({"compute": {"cpuCoreRequest": 0.5, "cpuMemoryRequest": "8G", "gpuDevicesRequest": 4}}, ("resources", "gpu", "count"), 4),
    ({"autoDeletionTimeAfterCompletionSeconds": 60}, ("ttl",), "60s"),
    ({"storage": {"pvc": [{"path": "/other"}]}}, ("pvc", "[path=/data]"), None),
    ({"storage": {"git": [{**CODE, "revision": "v2"}]}}, ("git", "[path=/code]", "revision"), "v2"),
    ({"tolerations": [{**DEDICATED, "value": "x"}]}, ("tolerations",), [{"key": "dedicated", "value": "x"}]),
    ({"tolerations": [{**DEDICATED, "effect": "NoSchedule"}]}, ("tolerations",),
     [{"key": "dedicated", "value": "training", "effect": "NoSchedule"}]),
    ({"security": {"capabilities": ["CHOWN"]}}, ("capabilities",), ["CHOWN"]),
    ({"ports": [{"container": 81}]}, ("ports", "[container=80]"), None),
])
def test_drift(change: dict[str, Json], path: tuple[str, ...], value: Json) -> None:
    wire = wire_body(SPEC, "n", "1", "c", {})["spec"]
    assert isinstance(wire, dict)
    found = list(differences(as_reported(SPEC), reported({**wire, **change})))
    assert found == [Difference(path, value, value is not None)]


@pytest.mark.parametrize("change", [
    {"compute": {"cpuCoreRequest": 0.5, "cpuMemoryRequest": "8000M", "gpuDevicesRequest": 2, "gpuPortionRequest": 1.0}},
    {"image": None}, {"priorityClass": "low"},
    {"labels": [{"name": "team", "value": "vision"}, {"name": "policy", "value": "x"}]}, {"labels": None}, {"compute": None},
    {"tolerations": None}, {"security": {"capabilities": ["CHOWN", "IPC_LOCK"]}},
    {"tolerations": [{"key": "policy", "operator": "Exists", "effect": "NoSchedule"}, DEDICATED]},
    {"tolerations": [{**DEDICATED, "effect": "NoExecute"}, DEDICATED, {**DEDICATED, "value": "x", "exclude": True}]},
    {"storage": {"pvc": [{"path": "/data", "claimName": "generated-1"}]}}, {"security": {}},
    {"environmentVariables": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"},
                              {"name": "C", "value": "3", "exclude": True}]},
])
def test_what_is_no_drift(change: dict[str, Json]) -> None:
    wire = wire_body(SPEC, "n", "1", "c", {})["spec"]
    assert isinstance(wire, dict)
    assert list(differences(as_reported(SPEC), reported({**wire, **change}))) == []


def test_a_secret_is_never_compared() -> None:
    spec: dict[str, Json] = {"image": "a", "env": {"T": {"expr": "secret('T')", "with": {}}, "A": "1"}}
    fields: dict[str, Json] = {"image": "a", "env": {"T": "hush", "A": "2"}}
    assert list(differences(spec, fields)) == [Difference(("env", "A"), "2")]


STRANGE: list[Any] = [
    None, 3, "x", [], {}, [1], [None], {"a": 1}, [{"name": 3, "value": []}], True, -1, 1e400, "1,,x", "9" * 5000,
    [{"key": "x", "value": [], "seconds": {}, "effect": 3}], [{"resource": "x", "quantity": "9" * 5000}],
    [{"repository": "x", "path": "y", "branch": []}],
]


@pytest.mark.parametrize("key", [
    "image", "command", "args", "environmentVariables", "labels", "annotations", "compute", "storage", "security", "ports",
    "preemptibility", "autoDeletionTimeAfterCompletionSeconds", "backoffLimit", "nodePools", "tolerations",
])
def test_strange_values_are_read_without_a_fault(key: str) -> None:
    wire: Any = wire_body(SPEC, "n", "1", "c", {})["spec"]

    def read(spec: dict[str, Any]) -> None:
        fields = reported(spec)
        assert fields.keys() <= KEYS
        assert all(isinstance(each, Difference) for each in differences(as_reported(SPEC), fields))
        assert mark_of(spec) == ""

    for value in STRANGE:
        read({**wire, key: value})
    for part in ("compute", "storage", "security"):
        for inner in (
            "gpuDevicesRequest", "gpuPortionRequest", "cpuCoreRequest", "pvc", "hostPath", "git", "allowPrivilegeEscalation",
            "supplementalGroups", "capabilities", "extendedResources",
        ):
            for value in STRANGE:
                read({**wire, part: {inner: value}})


@pytest.mark.parametrize("value", STRANGE)
def test_a_strange_spec_reports_nothing(value: Any) -> None:
    assert not isinstance(value, dict) or reported(value) == {}
    assert isinstance(value, dict) or reported(value) == {}
    assert mark_of(value) == ""
