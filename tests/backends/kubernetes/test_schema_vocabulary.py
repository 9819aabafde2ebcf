"""The schema of a job's spec: what it accepts, and how it explains what it does not."""

from pathlib import Path
from typing import Any

import pytest

from jobform.backends.kubernetes.backend import TYPE
from jobform.config.read import ReadOptions, read_project, read_settings
from jobform.model.errors import InputError
from jobform.plugins import Registry
from jobform.schema import SpecSchema, authoring, load_document
from tests.backends.kubernetes.specs import SPECS

DOCUMENT = load_document("kubernetes")
SCHEMA = SpecSchema(DOCUMENT)
LATER = {"expr": "{{ jobs.a.outputs.b }}", "with": {}}
RULE = {"action": "FailJob", "on_exit_codes": {"operator": "In", "values": [2]}}


def told(spec: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Every finding as path, summary, detail; of a spec that has an image unless it says otherwise."""
    whole = spec if spec.keys() & {"image", "manifest", "objects", "manifest_file"} else {"image": "busybox:1", **spec}
    return [(".".join(map(str, found.path)), found.summary, found.detail) for found in SCHEMA.problems(whole)]


@pytest.mark.parametrize("name", SPECS)
def test_what_people_run_is_accepted(name: str) -> None:
    assert told(SPECS[name]) == []
    assert SpecSchema(authoring(DOCUMENT)).is_valid({**SPECS[name], "env": {"A": "{{ secret('X') }}"}})


@pytest.mark.parametrize("key", SCHEMA.keys())
def test_every_field_says_what_a_change_of_it_means(key: str) -> None:
    if key == "objects":
        return  # described where its kinds are
    properties = DOCUMENT["properties"]
    assert isinstance(properties, dict)
    field = properties[key]
    assert isinstance(field, dict)
    for annotation in ("description", "x-jobform-class", "x-jobform-mutable", "x-jobform-reason"):
        assert field.get(annotation), annotation
    description = str(field["description"])
    optional = key not in ("image", "env", "env_from", "secrets", "volumes", "claims", "manifest", "manifest_file")
    assert not optional or "default" in description, "an optional field says what holds without it"
    assert SCHEMA.rule((key,)).secret == ("allowed" if key == "env" else "never")


def test_a_value_that_is_not_known_yet_fits_everywhere() -> None:
    for spec in SPECS.values():
        for key in spec:
            assert SCHEMA.is_valid({**spec, key: LATER}), key


BESIDE = "expected labels, annotations, queue or queue_priority beside a manifest, which says everything else itself"
SAYS_MORE = "is not written as it must be"
JOB = {
    "apiVersion": "batch/v1", "kind": "Job",
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}},
}

MISTAKES: list[tuple[dict[str, Any], str, str, str]] = [
    # spec, path, summary, detail
    ({"image": "a", "manifest": {}}, "manifest", '"image" and "manifest" exclude each other', ""),
    ({"image": "a", "manifest": {}, "manifest_file": "x"}, "manifest_file",
     '"image", "manifest" and "manifest_file" exclude each other', ""),
    ({"manifest": {}, "command": ["a"], "labels": {"a": "b"}, "queue": "q"}, "command",
     'the key "command" is not allowed here', BESIDE),
    ({"objects": {"Job": JOB}, "timeout": "1h"}, "timeout", 'the key "timeout" is not allowed here', BESIDE),
    ({"manifest_template": True}, "manifest_template", '"manifest_template" needs "manifest_file" beside it', ""),
    ({"image": "Busy box"}, "image", f'"image" {SAYS_MORE}',
     'expected an image reference such as ghcr.io/acme/train:2.4 or name@sha256:<64 hex digits>; found "Busy box"'),
    ({"command": "python train.py"}, "command", '"command" must be a list of strings, not the string "python train.py"', ""),
    ({"indexed": True}, "indexed", '"indexed" needs "completions" beside it', ""),
    ({"retries_per_index": 1}, "retries_per_index", '"retries_per_index" needs "indexed" beside it', ""),
    ({"retries_per_index": 1, "indexed": False, "completions": 2}, "indexed", '"indexed" must be true', "found false"),
    ({"max_failed_indexes": 1}, "max_failed_indexes", '"max_failed_indexes" needs "retries_per_index" beside it', ""),
    ({"nodes": 2, "completions": 3}, "completions", '"nodes" and "completions" exclude each other', ""),
    ({"nodes": 2, "indexed": True}, "indexed", '"nodes" and "indexed" exclude each other', ""),
    ({"success_policy": [{"succeeded_count": 1}]}, "success_policy", '"success_policy" needs "indexed" beside it', ""),
    ({"success_policy": [{}], "nodes": 2}, "success_policy.0",
     'one of the keys "succeeded_indexes" or "succeeded_count" is needed', ""),
    ({"resources": {"gpu": {"count": 1, "mig": "1g.5gb", "share": True}}}, "resources.gpu.share",
     '"mig" and "share" exclude each other', ""),
    ({"resources": {"gpu": {"count": 1, "resource": "amd.com/gpu", "type": "MI300"}}}, "resources.gpu.type",
     'the key "type" is not allowed here',
     "expected count and resource; the models of other vendors are chosen by node_selector"),
    ({"resources": {"gpu": {"count": 1, "mig": "1g5gb"}}}, "resources.gpu.mig", f'"mig" {SAYS_MORE}',
     'expected a MIG profile such as 1g.5gb or 3g.40gb; found "1g5gb"'),
    ({"resources": {"memory": "32GB"}}, "resources.memory", '"memory" is not a quantity',
     "'GB' is no unit of quantities: write 32G"),
    ({"resources": {"memory": "0Gi"}}, "resources.memory", f'"memory" {SAYS_MORE}',
     'expected an amount greater than 0; found "0Gi"'),
    ({"resources": {"cpu": "-1"}}, "resources.cpu", f'"cpu" {SAYS_MORE}', 'expected an amount greater than 0; found "-1"'),
    ({"resources": {"cpu": 0}}, "resources.cpu", '"cpu" must be greater than 0', "found 0"),
    ({"timeout": "0s"}, "timeout", f'"timeout" {SAYS_MORE}', 'expected a time longer than nothing; found "0s"'),
    ({"volumes": {"/a": {}}}, "volumes./a",
     'one of the keys "pvc", "empty_dir", "config_map", "secret" or "host_path" is needed', ""),
    ({"volumes": {"/a": {"pvc": "a", "secret": "b"}}}, "volumes./a.secret", '"pvc" and "secret" exclude each other', ""),
    ({"volumes": {"a": {"pvc": "a"}}}, "volumes.a", 'the key "a" is not allowed here',
     "expected an absolute path without a colon"),
    ({"volumes": {"/dev/shm": {"empty_dir": {}}}, "shm": "1Gi"}, "volumes./dev/shm",
     'the key "/dev/shm" is not allowed here', "expected another path: shm is mounted there"),
    ({"pod_failure_policy": [{**RULE, "action": "FailIndex"}]}, "pod_failure_policy.0.action",
     '"action" must be one of FailJob, Ignore, Count', 'found the string "FailIndex"'),
    ({"pod_failure_policy": [RULE], "pod_replacement_policy": "TerminatingOrFailed"}, "pod_replacement_policy",
     '"pod_failure_policy" and "pod_replacement_policy" exclude each other', ""),
    ({"pod_failure_policy": [{"action": "Ignore", "on_exit_codes": {"operator": "In", "values": [0]}}]},
     "pod_failure_policy.0.on_exit_codes.values.0", 'item 1 of "values" must be at least 1', "found 0"),
    ({"tolerations": [{"effect": "NoSchedule"}]}, "tolerations.0",
     'the key "operator" is missing in item 1 of "tolerations"', ""),
    ({"labels": {"kueue.x-k8s.io/queue-name": "q"}}, "labels.kueue.x-k8s.io/queue-name",
     'the key "kueue.x-k8s.io/queue-name" is not allowed here',
     "expected a label that jobform does not set itself; for a queue write queue and queue_priority"),
    ({"labels": {"a": "b c"}}, "labels.a", f'"a" {SAYS_MORE}',
     'expected at most 63 letters, digits and . _ - between them; found "b c"'),
    ({"env": {"JOBFORM_NAME": "x"}}, "env.JOBFORM_NAME", 'the key "JOBFORM_NAME" is not allowed here',
     "expected a variable name that jobform does not set itself"),
    ({"node_selector": {"nvidia.com/gpu.product": "a"}, "resources": {"gpu": {"count": 1, "type": "b"}}},
     "node_selector.nvidia.com/gpu.product", 'the key "nvidia.com/gpu.product" is not allowed here',
     "expected another label: resources.gpu.type stands for this one"),
    ({"claims": {"a": {"device_class": "x", "count": 1, "all": True}}}, "claims.a.count",
     '"all" and "count" exclude each other', ""),
]


@pytest.mark.parametrize(("spec", "path", "summary", "detail"), MISTAKES)
def test_a_mistake_is_one_clear_sentence(spec: dict[str, Any], path: str, summary: str, detail: str) -> None:
    assert told(spec) == [(path, summary, detail)]


def test_a_spec_that_says_nothing_is_told_what_to_say() -> None:
    (found,) = SCHEMA.problems({"command": ["a"]})
    assert found.summary == 'one of the keys "image", "manifest" or "manifest_file" is needed'


PROJECT = "jobform: 1\nproject: vision\nbackends:\n  gpu: {type: kubernetes, namespace: ml}\n"
JOBS = """\
jobs:
  both:
    backend: gpu
    spec:
      image: busybox:1
      manifest:
        kind: Job
  text:
    backend: gpu
    spec:
      image: busybox:1
      command: python train.py
      indexed: true
      resources:
        gpu: {count: 1, mig: 1g.5gb, share: true}
  secret:
    backend: gpu
    spec:
      image: "{{ secret('IMAGE') }}"
      node_selector: {a: "{{ secret('X') }}"}
      env: {A: "{{ secret('X') }}"}
"""


def test_mistakes_are_shown_where_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "jobform.yaml").write_text(PROJECT)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.yaml").write_text(JOBS)
    options = ReadOptions()
    with pytest.raises(InputError) as caught:
        read_project(read_settings(tmp_path, options), options, Registry(backends={"kubernetes": TYPE}))
    both, *others = caught.value.diagnostics
    assert "image" in both.summary
    assert "manifest" in both.summary
    assert {str(both.range), *(str(place.range) for place in both.related)} == {"jobs/a.yaml:5:7", "jobs/a.yaml:6:7"}
    assert [f"{found.range}: {found.summary}" for found in others] == [
        'jobs/a.yaml:12:16: "command" must be a list of strings, not the string "python train.py"',
        'jobs/a.yaml:13:7: "indexed" needs "completions" beside it',
        'jobs/a.yaml:15:38: "mig" and "share" exclude each other',
        "jobs/a.yaml:19:14: a secret must not stand in image",
        "jobs/a.yaml:20:26: a secret must not stand in node_selector",
    ]
