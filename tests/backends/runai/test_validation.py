"""What is refused before anything is asked: by the schema, and by the type where the schema cannot say it."""

from typing import Any

import pytest

from jobform.backends.runai.type import TYPE
from jobform.model.values import Json
from jobform.schema import SpecSchema, bundle, load_document
from jobform.schema_check import check_schema
from jobform.schema_rules import resolve_ref

SCHEMA = SpecSchema(TYPE.spec_schema())
SETTINGS = SpecSchema(TYPE.settings_schema())


def told(spec: dict[str, Json], api: str = "jobs") -> list[str]:
    """Place and summary of every complaint, the schema's first; a warning says so."""
    whole: dict[str, Json] = {"image": "a", **spec}
    found = [f"{'.'.join(map(str, each.path))}: {each.summary}" for each in SCHEMA.problems(whole)]
    arranged = TYPE.arrange(whole, {"api": api}, None)  # type: ignore[arg-type]  # it looks at nothing else
    assert arranged.spec == whole
    for each in arranged.complaints:
        found.append(f"{'warning: ' if each.warning else ''}{'.'.join(map(str, each.spot.path))}: {each.summary}")
    return found


def test_the_schema_is_sound() -> None:
    document = bundle(TYPE.spec_schema())
    check_schema(document, lambda ref: resolve_ref(document, ref))


@pytest.mark.parametrize(("spec", "said"), [
    ({"resources": {"gpu": {"count": 1}, "gpu_fraction": 0.5}},
     'resources.gpu_fraction: "gpu" and "gpu_fraction" exclude each other'),
    ({"resources": {"gpu": {"count": 1}, "gpu_memory": "4G"}}, 'resources.gpu_memory: "gpu" and "gpu_memory" exclude each other'),
    ({"resources": {"gpu_fraction": 0.5, "gpu_memory": "4G"}},
     'resources.gpu_memory: "gpu_fraction" and "gpu_memory" exclude each other'),
    ({"resources": {"gpu_fraction": 1.5}}, 'resources.gpu_fraction: "gpu_fraction" must be less than 1'),
    ({"resources": {"gpu_memory": "50M"}}, "resources.gpu_memory: gpu_memory must be at least 100M"),
    ({"resources": {"memory": "8GB"}}, 'resources.memory: "memory" is not a quantity'),
    ({"resources": {"cpu": 0}}, 'resources.cpu: "cpu" must be greater than 0'),
    ({"parallelism": 2}, 'parallelism: "parallelism" needs "completions" beside it'),
    ({"parallelism": 3, "completions": 2}, "parallelism: parallelism 3 is more than completions 2"),
    ({"parallelism": 2, "completions": 2, "elastic": True}, 'elastic: "parallelism" and "elastic" exclude each other'),
    ({"completions": 2, "interactive": True}, 'interactive: "completions" and "interactive" exclude each other'),
    ({"parallelism": 2, "completions": 2, "interactive": True},
     'interactive: "completions" and "interactive" exclude each other'),
    ({"retries": 1, "interactive": True}, 'interactive: "retries" and "interactive" exclude each other'),
    ({"tty": True}, 'tty: "tty" needs "stdin" beside it'), ({"tty": True, "stdin": False}, 'stdin: "stdin" must be true'),
    ({"service_type": "nodeport"}, 'service_type: "service_type" needs "ports" beside it'),
    ({"ports": [{"container": 1, "external": 2, "auto_generate": True}]},
     'ports.0.external: "auto_generate" and "external" exclude each other'),
    ({"ports": [{"container": 70000}]}, 'ports.0.container: "container" must be at most 65535'),
    ({"pvc": [{"path": "/d"}]}, 'pvc.0: one of the keys "size" or "claim_name" is needed'),
    ({"pvc": [{"path": "d", "size": "1G"}]}, 'pvc.0.path: "path" is not written as it must be'),
    ({"volume": {"data": "/d"}}, 'volume.data: the key "data" is not allowed here'),
    ({"volume": {"/d": "d"}}, 'volume./d: "/d" is not written as it must be'),
    ({"command": ["python train.py"]}, 'command.0: item 1 of "command" is not written as it must be'),
    ({"job_name": "Bert"}, 'job_name: "job_name" is not written as it must be'),
    ({"job_name": "x" * 64}, 'job_name: "job_name" must have at most 63 characters'),
    ({"ttl": 5}, 'ttl: "ttl" must be a duration, not the number 5'),
    ({"image_pull_policy": "always"}, 'image_pull_policy: "image_pull_policy" must be one of Always, IfNotPresent, Never'),
    ({"timeout": "5m"}, 'timeout: unknown key "timeout"'),
    ({"env": {"A": 5}}, 'env.A: "A" must be a string, not the number 5'),
    ({"preemptible": True}, "warning: preemptible: preemptible has no effect on a training"),
    ({"job_name_prefix": "fit"}, "warning: job_name_prefix: job_name_prefix has no effect"),
    ({"job_name": "fit", "job_name_prefix": "fit"}, "warning: job_name_prefix: job_name_prefix has no effect"),
    ({"tolerations": [{"key": "x", "value": "y"}]}, "tolerations: the job API (`api: jobs`) of Run:ai has no tolerations"),
    ({"resources": {"extended": {"rdma/hca": 1}}}, "resources.extended: the job API (`api: jobs`) of Run:ai has no extended"),
    ({"suspended": True}, "suspended: the job API (`api: jobs`) of Run:ai has no suspended"),
    ({"nodes": 2}, "nodes: the job API (`api: jobs`) of Run:ai has no nodes"),
    ({"pvc": [{"path": "/d", "claim_name": "x"}]}, "pvc.0.claim_name: the job API (`api: jobs`) of Run:ai has no claim_name"),
])
def test_one_sentence_for_each_mistake(spec: dict[str, Json], said: str) -> None:
    assert told(spec) == [said]


@pytest.mark.parametrize(("spec", "said"), [
    ({"interactive": True}, "interactive: the workloads API (`api: workloads`) of Run:ai has no interactive"),
    ({"ports": [{"container": 1, "auto_generate": True}]},
     "ports.0.auto_generate: the workloads API (`api: workloads`) of Run:ai has no auto_generate"),
    ({"ports": [{"container": 1}], "service_type": "ingress"},
     "service_type: the workloads API (`api: workloads`) of Run:ai has no service_type ingress"),
    ({"pvc": [{"path": "/d", "size": "3GB"}]}, "pvc.0.size: the workloads API (`api: workloads`) of Run:ai takes no unit B"),
    ({"nodes": 2, "completions": 2}, 'completions: "nodes" and "completions" exclude each other'),
    ({"distributed": {}}, 'distributed: "distributed" needs "nodes" beside it'),
    ({"nodes": 1, "distributed": {}}, 'nodes: "nodes" must be at least 2'),
    ({"nodes": 2, "distributed": {"slots_per_worker": 2}}, 'distributed: the key "framework" is missing in "distributed"'),
    ({"nodes": 2, "distributed": {"framework": "tf", "slots_per_worker": 2}}, 'distributed.framework: "framework" must be mpi'),
    ({"labels": {"a" * 64: "x"}}, f'labels.{"a" * 64}: the key "{"a" * 57}..." is not allowed here'),
    ({"annotations": {"jobform.dev/mark": "x"}},
     'annotations.jobform.dev/mark: the key "jobform.dev/mark" is not allowed here'),
    ({"pvc": [{"path": "/d", "claim_name": "x", "storage_class": "y"}]},
     'pvc.0.storage_class: "claim_name" and "storage_class" exclude each other'),
    ({"preemptible": True}, None),
    ({"tolerations": [{"key": "x"}]}, 'tolerations.0: the key "value" is missing in item 1 of "tolerations"'),
    ({"tolerations": [{"key": "x", "operator": "Exists", "value": "y"}]},
     'tolerations.0.value: "operator" and "value" exclude each other'),
    ({"tolerations": [{"key": "x", "operator": "Exists", "toleration_seconds": 5}]},
     'tolerations.0: the key "effect" is missing in item 1 of "tolerations"'),
    ({"tolerations": [{"key": "x", "operator": "Exists", "effect": "NoSchedule", "toleration_seconds": 5}]},
     'tolerations.0.effect: "effect" must be NoExecute'),
    ({"tolerations": [{"operator": "Exists"}]}, 'tolerations.0: the key "key" is missing in item 1 of "tolerations"'),
    ({"supplemental_groups": [1]}, 'supplemental_groups: "supplemental_groups" needs "run_as_gid" beside it'),
    ({"run_as_uid": 1, "uid_gid_source": "fromIdpToken"},
     'uid_gid_source: "run_as_uid" and "uid_gid_source" exclude each other'),
    ({"git": [{"repository": "https://u:p@example.com/x.git", "path": "/code"}]},
     'git.0.repository: "repository" is not written as it must be'),
    ({"git": [{"repository": "git@example.com:x.git", "path": "/code"}]}, None),
    ({"git": [{"repository": "a", "path": "/c", "secret": {"name": "s", "method": "ssh-key", "user_key": "u"}}]},
     'git.0.secret.user_key: "method" and "user_key" exclude each other'),
    ({"resources": {"extended": {"gpu": 1}}}, 'resources.extended.gpu: the key "gpu" is not allowed here'),
])
def test_the_other_api_has_other_keys(spec: dict[str, Json], said: str | None) -> None:
    assert told(spec, "workloads") == ([said] if said else [])


def test_a_capability_is_one_of_those_that_the_service_knows() -> None:
    assert told({"capabilities": ["IPC_LOCK", "SYS_PTRACE"]}, "workloads") == []
    [said] = told({"capabilities": ["CAP_CHOWN"]}, "workloads")
    assert said.startswith('capabilities.0: item 1 of "capabilities" must be one of AUDIT_CONTROL, ')


@pytest.mark.parametrize("spec", [
    {}, {"parallelism": 1, "elastic": True}, {"completions": 4, "parallelism": 4}, {"interactive": True, "preemptible": True},
    {"interactive": True, "retries": 0}, {"tty": True, "stdin": True}, {"pvc": [{"path": "/d", "size": "3GB"}]},
    {"parallelism": {"expr": "jobs.a.outputs.n", "with": {}}, "completions": 4},
    {"resources": {"cpu": "500m", "gpu_fraction": 0.25}},
])
def test_what_is_right_is_left_alone(spec: dict[str, Json]) -> None:
    assert told(spec) == []


@pytest.mark.parametrize("spec", [
    {"ports": 3}, {"ports": [3]}, {"pvc": "x"}, {"resources": []}, {"resources": {"gpu_memory": []}}, {"parallelism": "x"},
    {"service_type": []}, {"preemptible": 3},
])
def test_what_the_schema_refuses_troubles_nobody_after_it(spec: dict[str, Any]) -> None:
    for api in ("jobs", "workloads"):
        assert told(spec, api)


def test_a_job_of_shared_words_moves_to_a_cluster_by_one_line() -> None:
    spec: dict[str, Json] = {
        "image": "python:3.12", "command": ["python", "train.py"], "args": ["--fast"], "env": {"A": "1"}, "working_dir": "/work",
        "resources": {"cpu": "500m", "cpu_limit": 2, "memory": "8Gi", "gpu": {"count": 1}}, "completions": 4, "parallelism": 2,
        "retries": 2, "image_pull_policy": "Always", "ttl": "2h", "host_network": True,
    }
    more: dict[str, Json] = {"labels": {"team": "nlp"}, "priority_class": "high", "grace_period": "1m",
                             "secrets": {"T": {"name": "hf", "key": "t"}}, "image_pull_secrets": ["registry"],
                             "tolerations": [{"key": "x", "value": "y", "effect": "NoExecute", "toleration_seconds": 9}]}
    kubernetes = SpecSchema(load_document("kubernetes"))
    assert told(spec) == told({**spec, **more}, "workloads") == []
    assert not list(kubernetes.problems({**spec, **more}))


def test_a_chosen_name_is_claimed_and_one_that_is_not_known_yet_is_not() -> None:
    def claimed(name: Json) -> list[str]:
        arranged = TYPE.arrange({"image": "a", "job_name": name}, {}, None)  # type: ignore[arg-type]  # it looks at nothing else
        return [claim.described for claim in arranged.claims]

    assert claimed("bert") == ["the Run:ai job 'bert'"]
    assert claimed({"expr": "jobs.a.outputs.n", "with": {}}) == []


def test_an_interactive_job_goes_on_until_it_is_stopped() -> None:
    assert SCHEMA.completes({"image": "a"})
    assert SCHEMA.completes({"image": "a", "interactive": False})
    assert not SCHEMA.completes({"image": "a", "interactive": True})


def test_which_fields_change_the_result_and_which_may_change() -> None:
    rules = {key: SCHEMA.rule((key,)) for key in SCHEMA.keys()}  # noqa: SIM118  # it is no mapping
    assert {key for key, rule in rules.items() if rule.mutable != "never"} == {"suspended"}
    assert {key for key, rule in rules.items() if rule.secret == "allowed"} == {"env"}
    assert {"image", "command", "args", "env", "interactive", "completions", "nodes"} <= {
        key for key, rule in rules.items() if rule.class_ == "result"}
    one: dict[str, Json] = {"image": "a", "pvc": [{"path": "/a", "size": "1G"}, {"path": "/b", "size": "1G"}]}
    other: dict[str, Json] = {"image": "a", "pvc": [{"path": "/b", "size": "2G"}, {"path": "/a", "size": "1G"}], "retries": 3}
    assert SCHEMA.fingerprint(one, {}) == SCHEMA.fingerprint(other, {}), "order and room of claims make no other result"


@pytest.mark.parametrize(("block", "said"), [
    ({}, []), ({"project": "a", "realm": "r", "auth_url": "https://x", "token_field": "id_token"}, []),
    ({"api": "workloads", "cluster": "c"}, []), ({"unauthenticated": True}, []),
    ({"cluster": "c"}, ['"cluster" needs "api" beside it']), ({"api": "jobs", "cluster": "c"}, ['"api" must be workloads']),
    ({"api": "workloads", "unauthenticated": True}, ['"api" and "unauthenticated" exclude each other']),
    ({"api": "job"}, ['"api" must be one of jobs, workloads']), ({"token": "x"}, ['unknown key "token"']),
])
def test_settings(block: dict[str, Json], said: list[str]) -> None:
    assert [each.summary for each in SETTINGS.problems(block)] == said
