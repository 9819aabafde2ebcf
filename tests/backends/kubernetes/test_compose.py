"""What a spec becomes in a cluster, and how a part of it leads back to the user's field."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobform.backends.kubernetes.compose_values import literal
from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.names import parse_mark, volume_name
from jobform.model.errors import BackendError
from jobform.model.values import Path
from jobform.protocols import UNKNOWN_TEXT
from tests.backends.kubernetes.specs import MARK, SPECS, composed

SECRET = {"expr": "{{ secret('API_KEY') }}", "with": {}}
OUTPUT = {"expr": "{{ jobs.prep.outputs.path }}", "with": {}}
CONTAINER: Path = ("spec", "template", "spec", "containers", "[name=main]")


def loose(manifest: Manifest) -> Any:
    """An object whose shape the test knows."""
    return manifest


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    """The pod's spec of a composed Job."""
    found = loose(composed({"image": "a", **spec}).workload)["spec"]["template"]["spec"]
    assert isinstance(found, dict)
    return found


def container(spec: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(spec)["containers"]
    assert isinstance(only, dict)
    return only


def job(spec: dict[str, Any]) -> dict[str, Any]:
    found = composed({"image": "a", **spec}).workload["spec"]
    assert isinstance(found, dict)
    return found


def env(spec: dict[str, Any]) -> dict[str, Any]:
    """Each variable's value, or where it comes from."""
    listed = container(spec)["env"]
    found = {entry["name"]: entry.get("value", entry.get("valueFrom", "")) for entry in listed}
    assert len(found) == len(listed), "a name stands once"
    return found


# --- the whole --------------------------------------------------------------------------------------------------------


def test_a_job_carries_its_identity_and_no_queue_state() -> None:
    made = composed({"image": "a", "labels": {"team": "vision"}})
    metadata = made.workload["metadata"]
    assert metadata == {
        "name": MARK.name, "namespace": "ml", "annotations": {"jobform.dev/address": "train"}, "labels": {
            "team": "vision", "app.kubernetes.io/managed-by": "jobform", "jobform.dev/lineage": "a" * 16,
            "jobform.dev/job": "b" * 16, "jobform.dev/attempt": "1", "jobform.dev/mark": MARK.text,
        },
    }
    assert not made.queued
    queued = composed(SPECS["in a queue"])
    assert queued.queued
    assert "suspend" not in str(queued.workload)


def test_a_failed_pod_ends_the_job_and_a_disrupted_one_does_not() -> None:
    assert job({}) | {"template": 0} == {"backoffLimit": 0, "template": 0, "podFailurePolicy": {"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}}
    assert pod({})["restartPolicy"] == "Never"
    assert job({"retries": 3})["backoffLimit"] == 3
    assert "podFailurePolicy" not in job({"pod_failure_policy": []})


def test_retries_per_index_bring_no_limit_over_all() -> None:
    assert "backoffLimit" not in job({"indexed": True, "completions": 2, "retries_per_index": 1})
    assert job({"indexed": True, "completions": 2, "retries_per_index": 1, "retries": 4})["backoffLimit"] == 4


def test_the_time_to_live_is_held_back() -> None:
    made = composed({"image": "a", "ttl": "90.5s"})
    assert made.held_back == {"spec": {"ttlSecondsAfterFinished": 91}}
    assert "ttlSecondsAfterFinished" not in str(made.workload)
    assert composed({"image": "a"}).held_back is None
    assert composed({"image": "a", "ttl": "0s"}).held_back == {"spec": {"ttlSecondsAfterFinished": 0}}


@pytest.mark.parametrize(("timeout", "limit"), [("90s", 90), ("1ms", 1), ("1h30m", 5400), ("1.2s", 2)])
def test_a_timeout_is_never_shorter_than_what_was_asked(timeout: str, limit: int) -> None:
    assert job({"timeout": timeout})["activeDeadlineSeconds"] == limit


def test_exit_codes_are_in_order() -> None:
    (rule, *_) = job(SPECS["an indexed job"])["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2, 42]


# --- the environment --------------------------------------------------------------------------------------------------


def test_the_program_gets_its_texts_as_they_were_written() -> None:
    assert env({"env": {"A": "$(HOME) $$ $x"}})["A"] == "$$(HOME) $$$$ $x"
    assert container({"command": ["sh", "-c", "echo $(date) $1"], "args": ["$$"]})["command"][2] == "echo $$(date) $1"
    assert literal("$$$(") == "$$$$$$("
    assert env({"env": {"A": ""}})["A"] == ""


@pytest.mark.parametrize("text", ["", "$", "$$", "$(A)", "$$(A)", "a$", "$a$$b$(", "$$$", "$($($$)"])
def test_the_kubelet_gives_back_what_was_written(text: str) -> None:
    assert _as_the_kubelet_expands(literal(text), {"A": "wrong"}) == text


def _as_the_kubelet_expands(text: str, values: dict[str, str]) -> str:
    """The kubelet's rule: `$$` is `$`, `$(NAME)` a value where there is one, every other `$` itself."""
    out, i = "", 0
    while i < len(text):
        if text[i:i + 2] == "$$":
            out, i = out + "$", i + 2
        elif text[i:i + 2] == "$(" and (end := text.find(")", i)) > 0:
            out, i = out + values.get(text[i + 2:end], text[i:end + 1]), end + 1
        else:
            out, i = out + text[i], i + 1
    return out


def test_a_secret_is_in_no_job() -> None:
    spec = {"image": "a", "env": {"KEY": "s3cret-$(A)", "MODE": "fast"}}
    made = composed(spec, described={**spec, "env": {"KEY": SECRET, "MODE": "fast"}})
    (secret,) = made.companions
    assert secret["kind"] == "Secret"
    assert secret["data"] == {"KEY": base64.b64encode(b"s3cret-$(A)").decode()}
    assert "s3cret" not in str(made.workload) + repr(made)
    entries = loose(made.workload)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": MARK.name, "key": "KEY"}}} in entries
    assert made.companion_path(0, ("data", "KEY")) == ("env", "KEY")


@pytest.mark.parametrize(("value", "is_secret"), [
    (SECRET, True), (OUTPUT, False), ({"expr": "{{ var.token }}", "with": {}}, True),
    ({"expr": "{{ var['token'] }}", "with": {}}, True),
    ({"expr": "{{ var.size }} {{ jobs.a.outputs.b }}", "with": {"var.size": 3}}, False),
    ({"expr": "{{ jobs.secret_maker.outputs.x }}", "with": {}}, False),
    ({"expr": "{{ secret('X') }} {{ jobs.a.outputs.b }}", "with": {"jobs.a.outputs.b": 1}}, True),
])
def test_what_is_kept_apart_is_known_before_its_value_is(value: dict[str, Any], is_secret: bool) -> None:
    assert ("secretKeyRef" in env({"env": {"A": value}})["A"]) is is_secret
    assert env({"env": {"A": OUTPUT}})["A"] == UNKNOWN_TEXT


def test_a_variable_has_one_value() -> None:
    with pytest.raises(BackendError, match="env and secrets both set A"):
        composed({"image": "a", "env": {"A": "1"}, "secrets": {"A": {"name": "x", "key": "y"}}})
    assert env({"nodes": 2, "env": {"MASTER_PORT": "1"}})["MASTER_PORT"] == "1"


# --- several nodes ----------------------------------------------------------------------------------------------------


def test_nodes_find_each_other() -> None:
    made = composed(SPECS["two nodes under torchrun"])
    (service,) = made.companions
    spec = loose(made.workload)["spec"]
    template = spec["template"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert template["spec"]["subdomain"] == loose(service)["metadata"]["name"] == MARK.name
    selector = loose(service)["spec"]["selector"]
    assert selector.items() <= template["metadata"]["labels"].items()
    values = env(SPECS["two nodes under torchrun"])
    assert values["MASTER_ADDR"] == f"{MARK.name}-0.{MARK.name}"
    assert values["NODE_RANK"]["fieldRef"]["fieldPath"].endswith("['batch.kubernetes.io/job-completion-index']")
    assert (values["NNODES"], values["NPROC_PER_NODE"], values["WORLD_SIZE"]) == ("2", "8", "16")
    assert values["PET_NNODES"] == "2"
    assert "RANK" not in values


def test_one_node_needs_no_address() -> None:
    made = composed({"image": "a", "nodes": 1, "processes_per_node": 4})
    assert made.companions == ()
    values = env({"nodes": 1, "processes_per_node": 4})
    assert (values["MASTER_ADDR"], values["NODE_RANK"], values["WORLD_SIZE"]) == ("127.0.0.1", "0", "4")
    assert env({"nodes": 3})["RANK"] == env({"nodes": 3})["NODE_RANK"]
    assert "MASTER_ADDR" not in env({})


# --- resources and scheduling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gpu", "resource", "toleration"), [
    ({"count": 2}, "nvidia.com/gpu", "nvidia.com/gpu"),
    ({"count": 2, "mig": "3g.40gb"}, "nvidia.com/mig-3g.40gb", "nvidia.com/gpu"),
    ({"count": 2, "share": True}, "nvidia.com/gpu.shared", "nvidia.com/gpu"),
    ({"count": 2, "share": False}, "nvidia.com/gpu", "nvidia.com/gpu"),
    ({"count": 2, "resource": "amd.com/gpu"}, "amd.com/gpu", "amd.com/gpu"),
])
def test_gpus(gpu: dict[str, Any], resource: str, toleration: str) -> None:
    spec = {"resources": {"gpu": gpu}}
    assert container(spec)["resources"] == {"limits": {resource: "2"}}
    assert pod(spec)["tolerations"] == [{"key": toleration, "operator": "Exists", "effect": "NoSchedule"}]


def test_no_gpus_need_no_node_with_gpus() -> None:
    assert not {"tolerations", "nodeSelector"} & pod(SPECS["no GPU"]).keys()
    assert container(SPECS["no GPU"])["resources"] == {"requests": {"cpu": "0.5"}}


def test_a_toleration_of_ones_own_takes_the_place_of_ours() -> None:
    own = {"key": "nvidia.com/gpu", "operator": "Equal", "value": "h100"}
    spec = {"resources": {"gpu": {"count": 1}}, "tolerations": [own]}
    assert pod(spec)["tolerations"] == [own]
    assert len(pod({**spec, "tolerations": [{"key": "a", "operator": "Exists"}]})["tolerations"]) == 2


def test_memory_is_set_aside_and_limited_and_cpu_is_set_aside() -> None:
    assert container({"resources": {"cpu": 8, "memory": "1Gi"}})["resources"] == {
        "requests": {"cpu": "8", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}


def test_every_mount_has_a_volume_of_its_own() -> None:
    made = pod(SPECS["volumes"])
    names = [volume["name"] for volume in made["volumes"]]
    assert len(set(names)) == len(names) == len(SPECS["volumes"]["volumes"]) + 1
    assert [mount["name"] for mount in made["containers"][0]["volumeMounts"]] == names
    assert volume_name("/data") == "v-data"
    assert all(len(name) <= 63 and not name.endswith("-") for name in names)


# --- the way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "path", "field"), [
    ("one GPU", (*CONTAINER, "resources", "limits", "nvidia.com/gpu"), ("resources", "gpu", "count")),
    ("one GPU", (*CONTAINER, "resources", "requests", "memory"), ("resources", "memory")),
    ("one GPU", (*CONTAINER, "image"), ("image",)), ("one GPU", (*CONTAINER, "command"), ("command",)),
    ("one GPU", ("spec", "template", "spec", "nodeSelector", "nvidia.com/gpu.product"), ("resources", "gpu", "type")),
    ("one GPU", ("spec", "template", "spec", "tolerations"), ("resources", "gpu")),
    ("one GPU", ("spec", "activeDeadlineSeconds"), ("timeout",)), ("one GPU", ("spec", "backoffLimit"), ("retries",)),
    ("one GPU", ("spec", "ttlSecondsAfterFinished"), ("ttl",)),
    ("two nodes under torchrun", ("spec", "parallelism"), ("nodes",)),
    ("two nodes under torchrun", (*CONTAINER, "env", "[name=NCCL_DEBUG]", "value"), ("env", "NCCL_DEBUG")),
    ("two nodes under torchrun", (*CONTAINER, "env", "[name=WORLD_SIZE]"), ("nodes",)),
    ("a pool of workers", ("spec", "parallelism"), ("parallelism",)),
    ("volumes", (*CONTAINER, "volumeMounts", "[mountPath=/data]", "readOnly"), ("volumes", "/data")),
    ("volumes", ("spec", "template", "spec", "volumes", "[name=v-data]"), ("volumes", "/data")),
    ("volumes", (*CONTAINER, "volumeMounts", "[mountPath=/dev/shm]"), ("shm",)),
    ("secrets", (*CONTAINER, "env", "[name=HF_TOKEN]"), ("secrets", "HF_TOKEN")),
    ("in a queue", ("metadata", "labels", "kueue.x-k8s.io/queue-name"), ("queue",)),
    ("in a queue", ("metadata", "labels", "team"), ("labels", "team")),
    ("in a queue", ("spec", "template", "metadata", "labels", "tier"), ("pod_labels", "tier")),
    ("in a queue", ("metadata", "labels", "jobform.dev/job"), None), ("in a queue", ("spec", "suspend"), None),
    ("a place of its own", ("spec", "template", "spec", "serviceAccountName"), ("service_account",)),
    ("a place of its own", ("spec", "template", "spec", "affinity", "nodeAffinity"), ("node_affinity",)),
])
def test_a_part_of_the_job_leads_back_to_its_field(name: str, path: Path, field: Path | None) -> None:
    assert composed(SPECS[name]).spec_path(path) == field


def test_all_that_jobform_does_not_add_itself_leads_back() -> None:
    """Every leaf of every composed Job, but identity and what every Job of ours has."""
    own = (
        "jobform.dev/", "app.kubernetes.io/managed-by", "[name=JOBFORM_", "restartPolicy", "apiVersion", "kind", "metadata.name",
        ".name=",
    )
    for name, spec in SPECS.items():
        made = composed(spec)
        for path in leaves(made.workload):
            if not any(text in ".".join(path) + "=" for text in own):
                assert made.spec_path(path) is not None, (name, path)


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of the values, items of lists of maps by their name or mount path."""
    if isinstance(value, dict) and value:
        return [found for key, item in value.items() for found in leaves(item, (*path, key))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [found for item in value for found in leaves(item, (*path, *named(item)))]
    return [path]


def named(item: dict[str, Any]) -> list[str]:
    key = next((key for key in ("mountPath", "name") if key in item), "")
    return [f"[{key}={item[key]}]"] if key else []


# --- objects ----------------------------------------------------------------------------------------------------------

MANIFEST: dict[str, Any] = {
    "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "fit", "generateName": "fit-", "labels": {"a": "b"}},
    "spec": {
        "ttlSecondsAfterFinished": 60, "parallelism": 2, "template": {"spec": {"containers": [{"name": "x", "image": "y"}]}},
    },
}
CONFIG: dict[str, Any] = {
    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "labels": None}, "data": {"a": "1"},
}


def test_a_manifest_stays_what_it_is() -> None:
    spec = {"objects": {"ConfigMap/settings": CONFIG, "Job": MANIFEST}, "labels": {"team": "v"}, "queue": "q"}
    before = str(spec)
    made = composed(spec, mark=replace(MARK, name="fit"))
    assert str(spec) == before, "what is given is not changed"
    assert made.workload["spec"] == {
        "parallelism": 2, "template": {"spec": MANIFEST["spec"]["template"]["spec"], "metadata": {"labels": {
            "app.kubernetes.io/managed-by": "jobform", "jobform.dev/lineage": "a" * 16, "jobform.dev/job": "b" * 16,
            "jobform.dev/attempt": "1"}}},
    }
    metadata = loose(made.workload)["metadata"]
    assert metadata["name"] == "fit"
    assert "generateName" not in metadata
    assert {"a": "b", "team": "v", "kueue.x-k8s.io/queue-name": "q"}.items() <= metadata["labels"].items()
    assert made.held_back == {"spec": {"ttlSecondsAfterFinished": 60}}
    assert made.queued
    (companion,) = made.companions
    assert loose(companion)["metadata"]["name"] == "settings"
    assert loose(companion)["metadata"]["labels"]["team"] == "v"
    assert made.spec_path(("spec", "parallelism")) == ("objects", "Job", "spec", "parallelism")
    assert made.spec_path(("metadata", "labels", "team")) == ("labels", "team")
    assert made.companion_path(0, ("data", "a")) == ("objects", "ConfigMap/settings", "data", "a")


@pytest.mark.parametrize("queue", [True, False])
def test_a_queue_alone_decides_about_suspend(queue: bool) -> None:
    manifest = {**MANIFEST, "spec": {**MANIFEST["spec"], "suspend": True}}
    made = composed({"objects": {"Job": manifest}, **({"queue": "q"} if queue else {})})
    assert ("suspend" in loose(made.workload)["spec"]) is not queue


def test_what_a_manifest_does_not_know_yet_is_a_text() -> None:
    made = composed({"objects": {"Job": {**MANIFEST, "spec": {"activeDeadlineSeconds": OUTPUT}}}})
    assert made.workload["spec"] == {"activeDeadlineSeconds": UNKNOWN_TEXT}


def test_the_templates_of_other_kinds_are_labelled_too() -> None:
    pods: dict[str, Any] = {"template": {"spec": {"template": {"spec": {}}}}}
    manifest: dict[str, Any] = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "spec": {"replicatedJobs": [{"name": "w", **pods}]},
    }
    made = composed({"objects": {"JobSet": manifest}})
    (replicated,) = loose(made.workload)["spec"]["replicatedJobs"]
    assert replicated["template"]["spec"]["template"]["metadata"]["labels"]["jobform.dev/job"] == "b" * 16


@pytest.mark.parametrize(("objects", "sentence"), [
    ({"Job": {**MANIFEST, "metadata": {"namespace": "other"}}}, "for namespace other, but the backend's namespace is ml"),
    ({"Job": MANIFEST, "ConfigMap/a": {**CONFIG, "metadata": {"namespace": "other"}}},
     "manifest's ConfigMap is for namespace other"),
    ({"Thing": {"apiVersion": "a/v1", "kind": "Thing"}}, "a/v1 Thing is no kind of job"),
    ({"ConfigMap/a": CONFIG}, "no job-like object"), ({}, "no job-like object"), ({"Job": []}, "is no map"),
])
def test_manifests_that_cannot_be_run_here_are_refused(objects: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BackendError, match=sentence):
        composed({"objects": objects})


# --- robustness and speed ---------------------------------------------------------------------------------------------


def test_values_that_are_not_known_yet_break_nothing() -> None:
    """Any field of any spec may still be an `{expr, with}` when a recorded spec is compared."""
    for spec in SPECS.values():
        for key in spec:
            inside = spec[key] if isinstance(spec[key], dict) else {}
            for unknown in (OUTPUT, *({**inside, name: OUTPUT} for name in inside)):
                made = composed({**spec, key: unknown})
                assert made.workload["kind"] == "Job"
                assert '"expr"' not in json.dumps(made.workload), f"{key}: the server would be sent an expression"


def test_marks_of_others_are_none() -> None:
    assert parse_mark(MARK.text) == ("a" * 16, "b" * 16, 1, "c" * 16)
    for text in ("", "jf1-", MARK.text + "0", MARK.text.upper(), MARK.text + "\n", "jf2" + MARK.text[3:]):
        assert parse_mark(text) is None


def test_composing_is_pure_and_fast() -> None:
    """Some 50 µs, against the time in which the same machine, as busy as it is, reads the outcome from its JSON."""
    spec = SPECS["one GPU"]
    assert composed(spec) == composed(spec)
    written = json.dumps(composed(spec).workload)

    def seconds(work: Callable[[], object]) -> float:
        start = time.process_time()
        for _ in range(200):
            work()
        return time.process_time() - start

    ratios = [seconds(lambda: composed(spec)) / seconds(lambda: json.loads(written)) for _ in range(5)]
    assert min(ratios) < 20, "5,000 jobs in a plan: a second at most"
