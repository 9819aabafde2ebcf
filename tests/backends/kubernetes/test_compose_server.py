"""What is composed is what a real API server accepts, without a word about unknown, missing or doubled fields."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobform.backends.kubernetes.composed import Composed
from jobform.model.values import merge_patch
from jobform.schema import SpecSchema, load_document
from tests.backends.kubernetes.specs import MARK, SPECS, composed
from tests.cluster.api import APPLY
from tests.cluster.cluster import Cluster

_PLACES = {
    "Job": "/apis/batch/v1/namespaces/{}/jobs", "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "ResourceClaimTemplate": "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaimtemplates",
}
_RUN: dict[str, Any] = {"fieldManager": "jobform", "fieldValidation": "Strict", "dryRun": "All"}


def rendered(cluster: Cluster, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """The server's own rendering of an object that it was shown and did not store."""
    path = f"{_PLACES[manifest['kind']].format(namespace)}/{manifest['metadata']['name']}"
    status, content = cluster.api.raw("PATCH", path, manifest, query=_RUN, content_type=APPLY)
    answer = json.loads(content)
    assert status == 201, answer.get("message")
    assert isinstance(answer, dict)
    return answer


def covers(applied: Any, stored: Any, path: str = "") -> list[str]:
    """The paths of applied values that the server left out: fields that it drops without a word."""
    if isinstance(applied, dict) and isinstance(stored, dict):
        parts = [(f"{path}.{key}", value, stored.get(key)) for key, value in applied.items()]
    elif isinstance(applied, list) and isinstance(stored, list) and len(applied) == len(stored):
        parts = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(applied, stored, strict=True))]
    else:
        return [] if type(applied) is type(stored) else [path]
    return [found for name, one, other in parts for found in covers(one, other, name)]


def whole(made: Composed) -> dict[str, Any]:
    """The workload with what is held back: that is sent later, and has to be right then too."""
    together = merge_patch(made.workload, made.held_back or {})
    assert isinstance(together, dict)
    return together


@pytest.mark.parametrize("name", SPECS)
def test_the_server_takes_what_is_composed_and_keeps_all_of_it(cluster: Cluster, namespace: str, name: str) -> None:
    made = composed(SPECS[name], namespace=namespace)
    for manifest in (*made.companions, whole(made)):
        assert covers(manifest, rendered(cluster, namespace, manifest)) == []


GPU = {"count": 1, "type": "NVIDIA-H100-80GB-HBM3"}
INDEXED = {"indexed": True, "completions": 4, "retries_per_index": 1, "max_failed_indexes": 1}
RULE = {"action": "FailJob", "on_exit_codes": {"operator": "In", "values": [2]}}

CHANGES: list[tuple[str, dict[str, Any], Any]] = [
    # field, the spec beside image before, the field's new value
    ("image", {}, "docker.io/local/other:1"), ("command", {"command": ["a"]}, ["b"]), ("args", {}, ["x"]),
    ("env", {"env": {"A": "1"}}, {"A": "2"}), ("secrets", {}, {"A": {"name": "a", "key": "b"}}),
    ("env_from", {}, [{"secret": "a"}]),
    ("working_dir", {}, "/x"), ("claims", {}, {"a": {"device_class": "x"}}), ("nodes", {"nodes": 2}, 3),
    ("processes_per_node", {"processes_per_node": 1}, 2), ("timeout", {"timeout": "1h"}, "2h"), ("retries", {}, 3),
    ("volumes", {}, {"/a": {"pvc": "x"}}), ("shm", {"shm": "1Gi"}, "2Gi"), ("completions", {"completions": 2}, 3),
    ("parallelism", {}, 0), ("indexed", {"completions": 4}, True), ("retries_per_index", INDEXED, 2),
    ("max_failed_indexes", INDEXED, 2), ("pod_failure_policy", {}, [RULE]), ("success_policy", INDEXED, [{"succeeded_count": 1}]),
    ("pod_replacement_policy", {"pod_failure_policy": []}, "Failed"), ("priority_class", {}, "system-node-critical"),
    ("node_selector", {"node_selector": {"a": "b"}}, {"a": "c"}), ("service_account", {}, "x"), ("scheduler", {}, "x"),
    ("node_affinity", {}, {"required": [{"key": "a", "operator": "Exists"}]}), ("tolerations", {}, [{"operator": "Exists"}]),
    ("runtime_class", {}, "x"), ("host_network", {}, True), ("image_pull_secrets", {}, ["a"]),
    ("image_pull_policy", {}, "Always"),
    ("security_context", {}, {"run_as_user": 1}), ("grace_period", {}, "1s"),
    ("pod_labels", {"pod_labels": {"a": "b"}}, {"a": "c"}),
    ("pod_annotations", {}, {"a": "b"}), ("labels", {"labels": {"a": "b"}}, {"a": "c"}), ("annotations", {}, {"a": "b"}),
    ("ttl", {}, "1h"), ("resources.gpu.type", {"resources": {"gpu": GPU}}, {"gpu": {**GPU, "type": "NVIDIA-A100"}}),
    ("resources.gpu.count", {"resources": {"gpu": GPU}}, {"gpu": {**GPU, "count": 2}}),
    ("resources.memory", {"resources": {"memory": "1Gi"}}, {"memory": "2Gi"}),
]
ON_NEWER_SERVERS = {"resources.gpu.count": (1, 36), "resources.memory": (1, 36)}


def _job(spec: dict[str, Any], namespace: str, name: str, *, suspended: bool) -> dict[str, Any]:
    job = whole(composed(spec, mark=replace(MARK, name=name), namespace=namespace))
    return {**job, "spec": {**job["spec"], "suspend": True}} if suspended else job


@pytest.mark.parametrize("waits", [False, True], ids=["running", "suspended"])
def test_a_field_may_change_when_its_rule_says_so(cluster: Cluster, namespace: str, waits: bool) -> None:
    """Each change is shown to the server for a Job that it has started and for one that waits suspended."""
    schema = SpecSchema(load_document("kubernetes"))
    version = cluster.api.get("/version")
    told: dict[str, tuple[bool, bool]] = {}
    for index, (field, before, value) in enumerate(CHANGES):
        spec, key = {"image": "docker.io/local/busybox:1", **before}, field.split(".")[0]
        job = _job(spec, namespace, f"job-{index}", suspended=waits)
        path = f"{_PLACES['Job'].format(namespace)}/job-{index}"
        stored = cluster.api.apply(path, job, manager="jobform")
        changed = _job({**spec, key: value}, namespace, f"job-{index}", suspended=waits)
        changed["metadata"] = {**changed["metadata"], "uid": stored["metadata"]["uid"]}
        status, content = cluster.api.raw("PATCH", path, changed, query=_RUN, content_type=APPLY)
        assert status in (200, 422), content
        mutable = schema.rule(tuple(field.split("."))).mutable
        expected = mutable == "always" or (mutable == "suspended" and waits)
        if (int(version["major"]), int(version["minor"].rstrip("+"))) < ON_NEWER_SERVERS.get(field, (0, 0)):
            expected = False
        told[field] = (status == 200, expected)
    assert {field: answer for field, (answer, expected) in told.items() if answer != expected} == {}


def test_every_field_of_the_vocabulary_is_shown_to_the_server() -> None:
    """All but those of other forms, and those whose changes only a queue judges."""
    others = {"manifest", "manifest_file", "manifest_template", "objects", "queue", "queue_priority"}
    shown = {field.split(".")[0] for field, _, _ in CHANGES}
    assert shown == set(SpecSchema(load_document("kubernetes")).keys()) - others
