"""What a manifest may be, and what is said of one that is not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.kubernetes.arrange import arrange
from jobform.model.values import Json
from jobform.protocols import Arranged, Spot
from tests.config.manifests import FILE, JOB, PROJECT, inline, messages, read

JOB_LINES = "apiVersion: batch/v1\nkind: Job\n"


class NoFiles:
    """A spec that names no file."""

    def documents(self, file: str, spot: Spot, *, templates: bool) -> Sequence[Json] | None:
        raise AssertionError(file)

    def source(self, spot: Spot) -> str:
        return ""


def arranged(spec: dict[str, Any], **settings: Json) -> Arranged:
    return arrange(spec, settings, NoFiles())


def said(directory: Path, text: str, more: str = "") -> list[str]:
    """The messages about one manifest in a file."""
    jobs = {"jobs/a.yaml": FILE["jobs/a.yaml"].replace("train.yaml", f"train.yaml{more}")}
    return messages(directory, jobs | {"k8s/train.yaml": text})


def test_the_vocabulary_is_left_as_it_is() -> None:
    spec: dict[str, Json] = {"image": "a", "command": ["b"]}
    assert arranged(spec) == Arranged(spec)


def test_what_stands_beside_a_manifest_stays() -> None:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
    found = arranged({"manifest": manifest, "labels": {"a": "b"}, "queue": "q"})
    assert found.spec == {"labels": {"a": "b"}, "queue": "q", "objects": {"Job": manifest}}
    assert manifest == {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}, "what was given is not changed"


@pytest.mark.parametrize(("api", "kind", "key"), [
    ("batch/v1", "Job", "Job"), ("jobset.x-k8s.io/v1alpha2", "JobSet", "JobSet"), ("kubeflow.org/v1", "PyTorchJob", "PyTorchJob"),
    ("kubeflow.org/v1", "MPIJob", "MPIJob"), ("kubeflow.org/v2beta1", "MPIJob", "MPIJob"), ("kubeflow.org/v1", "TFJob", "TFJob"),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob", "TrainJob"), ("ray.io/v1", "RayJob", "RayJob"),
    ("batch.volcano.sh/v1alpha1", "Job", "VolcanoJob"), ("kubeflow.org/v1", "XGBoostJob", "XGBoostJob"),
])
def test_every_kind_can_be_a_job_and_have_companions(api: str, kind: str, key: str) -> None:
    found = arranged({"manifest": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}, {"apiVersion": api, "kind": kind, "metadata": {}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "p"}},
    ]})
    assert found.complaints == ()
    assert list(found.spec["objects"]) == ["Service/s", key, "PersistentVolumeClaim/p"]  # type: ignore[arg-type]  # a map of objects
    assert [claim.identity for claim in found.claims] == ["/Service/s", "/PersistentVolumeClaim/p"]
    assert found.origins[("objects", key)] == Spot(("manifest", 1))


def test_lists_of_objects_are_taken_apart() -> None:
    found = arranged({"manifest": {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMapList", "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]},
        {"apiVersion": "batch/v1", "kind": "Job"},
    ]}})
    assert found.origins[("objects", "ConfigMap/c")] == Spot(("manifest", "items", 0, "items", 0))
    assert found.origins[("objects", "Job")] == Spot(("manifest", "items", 1))


@pytest.mark.parametrize(("text", "expected"), [
    ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\napiVersion: example.com/v1\nkind: Run\nmetadata: {name: r}\n", [
        ("k8s/train.yaml:2:7 error no_job_object: the manifest has no job-like object\n"
        "  it holds ConfigMap (v1), Run (example.com/v1)\n"
        "  if a Run ends by itself, add `kinds: {Run: {api: example.com/v1}}` to the backend in jobform.yaml"),
    ]),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", [
        ("k8s/train.yaml:2:7 error no_job_object: the manifest has no job-like object\n  it holds Pod (v1)\n"
        "  a Job, or another kind that ends by itself, must be among them"),
    ]),
    (f"{JOB_LINES}metadata: {{name: a}}\n---\n{JOB_LINES}metadata: {{name: b}}\n", [
        ("k8s/train.yaml:6:7 error several_jobs: a manifest holds one job-like object, and this is another\n"
        "  make it a job of its own\n  the first is here: k8s/train.yaml:2:7"),
    ]),
    ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n" * 2 + JOB, [
        ("k8s/train.yaml:7:18 error duplicate_object: the ConfigMap 'c' is there twice\n  keep one of them\n"
        "  the first is here: k8s/train.yaml:3:18"),
    ]),
    ("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: c-}\n---\n" + JOB, [
        ("k8s/train.yaml:3:1 error missing_key: the ConfigMap has no metadata.name\n"
        "  only the job-like object can go without: jobform names it"),
    ]),
    ("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\n", [
        ("k8s/train.yaml:2:7 error schedule: a CronJob is a schedule, and has no end that could be a success\n"
        "  jobform runs a job until it has succeeded once\n"
        "  take the job out of its template and let the scheduler of your CI run `jobform apply`"),
    ]),
    ("apiVersion: batch/v1beta1\nkind: CronJob\n", [
        ("k8s/train.yaml:2:7 error schedule: a CronJob is a schedule, and has no end that could be a success\n"
        "  jobform runs a job until it has succeeded once; batch/v1beta1 is not served any more either\n"
        "  take the job out of its template and let the scheduler of your CI run `jobform apply`"),
    ]),
    ("apiVersion: extensions/v1beta1\nkind: Job\n", [
        "k8s/train.yaml:1:13 error removed_api: extensions/v1beta1 of Job is not served any more\n  write apiVersion: batch/v1",
    ]),
    ("apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: b}\n---\n" + JOB, [
        ("k8s/train.yaml:1:13 error removed_api: policy/v1beta1 of PodDisruptionBudget is not served any more\n"
        "  write apiVersion: policy/v1"),
    ]),
    ("apiVersion: kubeflow.org/v9\nkind: PyTorchJob\n", [
        ("k8s/train.yaml:1:13 error unknown_api: jobform does not know kubeflow.org/v9 of PyTorchJob\n"
        "  it knows kubeflow.org/v1\n"
        "  write apiVersion: kubeflow.org/v1, or add the version under `kinds:` of the backend in jobform.yaml"),
    ]),
    ("apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n---\n" + JOB, [
        ("k8s/train.yaml:2:7 error refused_kind: a Namespace cannot be part of a job\n"
        "  deleting it with the job would delete everything in it\n  create it apart from jobform, and refer to it"),
    ]),
    ("apiversion: batch/v1\nkind: Job\n", [
        "k8s/train.yaml:1:1 error missing_key: a Kubernetes object needs apiVersion\n  is apiversion meant?",
    ]),
    ("apiVersion: 1\nkind: Job\n", ["k8s/train.yaml:1:13 error wrong_type: apiVersion must be a text"]),
    ("hello\n", [("k8s/train.yaml:1:1 error wrong_type: this is no Kubernetes object\n"
                 "  expected a map with apiVersion, kind and metadata")]),
    (f"{JOB_LINES}metadata: train\n", ["k8s/train.yaml:3:11 error wrong_type: metadata must be a map"]),
    (f"{JOB_LINES}metadata: {{name: 3}}\n", ["k8s/train.yaml:3:18 error wrong_type: metadata.name must be a text"]),
    (JOB.replace("name: train", "name: Train_1"), [
        ('k8s/train.yaml:4:9 error bad_format: "name" is not written as it must be\n'
        '  expected a name of at most 63 lower-case letters, digits, - and .; found "Train_1"'),
    ]),
    (JOB.replace("name: train", "name: train\n  namespace: other"), [
        ("k8s/train.yaml:5:14 error other_namespace: the manifest is for the namespace 'other', and the backend uses ml\n"
        "  jobs of one backend run in one namespace\n  write namespace: other in a backend's block, or remove it here"),
    ]),
    (JOB.replace("name: train", "name: train\n  ownerReferences: []"), [
        ("k8s/train.yaml:5:3 error owner_references: an object of a job cannot have another owner\n"
        "  the cluster would delete it with its owner, or at once if that is gone\n  remove ownerReferences"),
    ]),
    (JOB.replace("image: busybox:1", "env:\n        - {name: A, value: x}\n        - {name: A, value: z}"), [
        ("k8s/train.yaml:13:18 error duplicate_item: the environment variable A is there twice\n"
        "  server-side apply, by which jobform makes objects, refuses it; of two variables the last one counts\n"
        "  keep one of them\n  the first is here: k8s/train.yaml:12:18"),
    ]),
    (f"{JOB_LINES}spec: {{}}\n", [
        'k8s/train.yaml:3:1 error missing_key: the key "template" is missing in "spec"\n  add the key "template"',
    ]),
])
def test_what_is_wrong_is_said_where_it_stands(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert said(tmp_path, text) == expected


@pytest.mark.parametrize(("spec", "expected"), [
    ("{manifest: {}, manifest_file: a.yaml}", (
        "jobs/a.yaml:4:26 error exclusive_keys: manifest and manifest_file exclude each other\n"
        "  a job is written with image and the keys beside it, or as a manifest\n  keep one of them\n"
        "  manifest is here: jobs/a.yaml:4:12")),
    ("{image: a, manifest: {}}", (
        "jobs/a.yaml:4:22 error exclusive_keys: image and manifest exclude each other\n"
        "  a job is written with image and the keys beside it, or as a manifest\n  keep one of them\n"
        "  image is here: jobs/a.yaml:4:12")),
    ("{manifest: {}}", (
        "jobs/a.yaml:4:22 error wrong_type: manifest must be a Kubernetes object, or a list of them")),
    ("{manifest: k8s/a.yaml}", (
        "jobs/a.yaml:4:22 error wrong_type: manifest must be a Kubernetes object, or a list of them\n"
        "  a file's name goes under manifest_file")),
    ("{image: a, manifest_template: true}", (
        "jobs/a.yaml:4:22 error bad_value: manifest_template is about manifest_file, which is not here\n"
        "  templates in manifest are always rendered")),
    ("{manifest_file: a.yaml, manifest_template: maybe}", (
        "jobs/a.yaml:4:54 error wrong_type: manifest_template must be true or false")),
    ("{objects: {Job: {}}}", (
        "jobs/a.yaml:4:12 error unknown_key: 'objects' is what jobform makes of a manifest\n  write manifest or manifest_file")),
    ("{manifest_file: \"{{ secret('X') }}\"}", (
        "jobs/a.yaml:4:27 error template_not_allowed: manifest_file cannot depend on a secret or on another job's output")),
    ("{manifest: {apiVersion: batch/v1, kind: Job, metadata: {name: \"{{ secret('X') }}\"}}}", (
        "jobs/a.yaml:4:73 error template_not_allowed: metadata.name cannot depend on a secret or on another job's output\n"
        "  what an object is called must be known when it is planned")),
    (("{manifest: {apiVersion: batch/v1, kind: Job, metadata: {name: \"{{ var.nope }}\"}, spec: {template: {spec: {containers: "
     "[{name: a}]}}}}}"), "jobs/a.yaml:4:81 error unknown_name: unknown variable nope\n  there is no variable here"),
])
def test_how_a_job_names_its_manifest(tmp_path: Path, spec: str, expected: str) -> None:
    jobs = f"jobs:\n  train:\n    backend: gpu\n    spec: {spec}\n"
    assert messages(tmp_path, {"jobs/a.yaml": jobs}) == [expected]


COPIED = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: train
  namespace: ml
  uid: 7c8e
  resourceVersion: "12"
  generation: 1
  creationTimestamp: "2026-08-01T10:00:00Z"
  managedFields: []
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
    note: mine
  labels: {controller-uid: 7c8e, team: a}
spec:
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: 7c8e}}
  template:
    metadata:
      creationTimestamp: null
      labels: {job-name: train, batch.kubernetes.io/job-name: train, app: x}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "busybox:1"}]
status: {succeeded: 1}
"""


def test_what_the_server_put_into_a_copied_manifest_is_left_out_with_a_warning(tmp_path: Path) -> None:
    text = COPIED
    assert said(tmp_path, text) == [
        ("k8s/train.yaml:24:1 warning server_fields: status, metadata.uid, metadata.resourceVersion, metadata.generation and 8 "
        "more are left out\n  the server fills in such fields: this was copied from a cluster\n  remove them"),
    ]
    job = read(tmp_path, FILE | {"k8s/train.yaml": text}).jobs["train"]
    made: Any = job.spec["objects"]
    assert made["Job"] == {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "train", "annotations": {"note": "mine"}, "labels": {"team": "a"}},
        "spec": {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}},
    }


def test_a_selector_of_ones_own_stays(tmp_path: Path) -> None:
    text = COPIED.replace("  selector", "  manualSelector: true\n  selector")
    job = read(tmp_path, FILE | {"k8s/train.yaml": text}).jobs["train"]
    made: Any = job.spec["objects"]
    assert "selector" in made["Job"]["spec"]


def test_what_generators_leave_empty_needs_no_warning(tmp_path: Path) -> None:
    text = JOB.replace("  name: train", "  name: train\n  creationTimestamp: null") + "status: {}\n"
    assert said(tmp_path, text) == []


def test_a_namespace_needs_one_in_the_backends_block(tmp_path: Path) -> None:
    text = JOB.replace("name: train", "name: train\n  namespace: ml")
    assert said(tmp_path, text) == []
    project = PROJECT.replace(", namespace: ml", "")
    assert messages(tmp_path, FILE | {"jobform.yaml": project, "k8s/train.yaml": text}) == [
        ("k8s/train.yaml:5:14 error other_namespace: the manifest is for the namespace 'ml', and the backend's block names none\n"
        "  jobs of one backend run in one namespace\n  write namespace: ml in a backend's block, or remove it here"),
    ]


def test_numbers_with_a_leading_zero_are_not_taken_two_ways(tmp_path: Path) -> None:
    volume = JOB + "      volumes: [{name: v, configMap: {name: c, defaultMode: 0644}}]\n"
    assert messages(tmp_path, {"jobs/a.yaml": "jobs:\n" + inline(volume)}) == [
        ("jobs/a.yaml:17:69 error octal_number: 0644 is 644 here, and 420 to kubectl\n"
        "  job files are YAML 1.2, in which a leading 0 means nothing\n  write 0o644 or 420"),
    ]
    good = inline(volume.replace("0644", "0o644"))
    made: Any = read(tmp_path, {"jobs/a.yaml": "jobs:\n" + good}).jobs["train"].spec["objects"]
    assert made["Job"]["spec"]["template"]["spec"]["volumes"][0]["configMap"]["defaultMode"] == 420


@pytest.mark.parametrize(("below", "what"), [
    ("volumeMounts: [{name: a, mountPath: /x}, {name: b, mountPath: /x}]", "mount path /x"),
    ("ports: [{containerPort: 1}, {containerPort: 1, protocol: TCP}]", "port 1"),
    ("volumeDevices: [{name: a, devicePath: /x}, {name: b, devicePath: /x}]", "item of volumeDevices /x"),
])
def test_items_of_keyed_lists_are_there_once(tmp_path: Path, below: str, what: str) -> None:
    (found,) = said(tmp_path, JOB + f"        {below}\n")
    assert f"duplicate_item: the {what} is there twice" in found
    assert said(tmp_path, JOB + "        ports: [{containerPort: 1}, {containerPort: 1, protocol: UDP}]\n") == []


def test_a_manifest_of_too_many_objects_is_refused(tmp_path: Path) -> None:
    many = "".join(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{i}}}\n---\n" for i in range(100))
    (found,) = said(tmp_path, many + JOB)
    assert "too_many_objects: a job has at most 100 objects" in found


HOSTILE: list[Any] = [
    None, 3, "x", [], [None], [[]], [{}], {"kind": "List", "items": [3]}, {"kind": "List", "items": "x"},
    {"apiVersion": {}, "kind": []}, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": []}},
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": None},
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": 3}},
    {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
        "containers": [3, {"env": [3, {"name": []}]}], "volumes": 3}}}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": [3]}, {"expr": "x", "with": {}},
    {"apiVersion": {"expr": "x", "with": {}}, "kind": "Job"}, {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": []}},
]


@pytest.mark.parametrize("manifest", HOSTILE)
def test_nothing_that_can_be_written_is_too_much(manifest: Any) -> None:
    found = arranged({"manifest": manifest})
    assert found.complaints or found.spec["objects"]
