"""Manifests of kubernetes jobs: read from files and inline, arranged, placed, and refused with the place of the mistake."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from jobform.config.read import ReadOptions
from jobform.model.values import deferred
from tests.config.manifests import FILE, JOB, PROJECT, inline, messages, read, registry

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  text: "{{ not.ours }} {% raw"
"""


def objects(directory: Path, files: dict[str, Any], address: str = "train") -> Any:
    return read(directory, files).jobs[address].spec["objects"]


def test_a_file_becomes_objects_and_every_value_has_its_place(tmp_path: Path) -> None:
    project = read(tmp_path, FILE | {"k8s/train.yaml": CONFIG + "---\n" + JOB})
    job = project.jobs["train"]
    assert list(job.spec) == ["objects"]
    assert list(job.spec["objects"]) == ["ConfigMap/settings", "Job"]  # type: ignore[arg-type]  # a map of objects
    at = {
        ("spec", "objects", "Job", "metadata", "name"): "k8s/train.yaml:10:9",
        ("spec", "objects", "Job", "spec", "template", "spec", "containers", "[name=main]", "image"): "k8s/train.yaml:17:16",
        ("spec", "objects", "Job", "spec", "template", "spec", "containers", 0, "image"): "k8s/train.yaml:17:16",
        ("spec", "objects", "Job", "spec", "template", "spec", "containers", "[name=other]", "image"): "k8s/train.yaml:16:7",
        ("spec", "objects", "Job", "spec", "backoffLimit"): "k8s/train.yaml:11:1",
        ("spec", "objects", "ConfigMap/settings", "data", "text"): "k8s/train.yaml:5:9",
        ("spec", "objects"): "k8s/train.yaml:1:1",
        ("spec",): "jobs/a.yaml:4:11",
        (): "jobs/a.yaml:2:3",
    }
    assert {path: str(job.locate(path)) for path in at} == at


def test_an_inline_manifest_has_its_places_in_the_job_file(tmp_path: Path) -> None:
    job = read(tmp_path, {"jobs/a.yaml": "jobs:\n" + inline(JOB)}).jobs["train"]
    path = ("spec", "objects", "Job", "spec", "template", "spec", "containers", "[name=main]", "image")
    assert str(job.locate(path)) == "jobs/a.yaml:16:24"
    body = JOB.replace("\n", "\n        ").rstrip()
    listed = f"jobs:\n  train:\n    backend: gpu\n    spec:\n      manifest:\n      - {body}\n"
    job = read(tmp_path, {"jobs/a.yaml": listed}).jobs["train"]
    assert str(job.locate(path)) == "jobs/a.yaml:16:24"


def test_literal_braces_of_a_file_stay_as_they_are(tmp_path: Path) -> None:
    made = objects(tmp_path, FILE | {"k8s/train.yaml": CONFIG + "---\n" + JOB})
    assert made["ConfigMap/settings"]["data"] == {"text": "{{ not.ours }} {% raw"}
    assert not list(deferred(made))


def test_templates_of_a_file_are_rendered_where_asked(tmp_path: Path) -> None:
    jobs = (
        "jobs:\n  prep:\n    backend: gpu\n    spec: {image: 'a:1', command: [x]}\n  train:\n    backend: gpu\n"
        "    matrix: {lr: [0.1, 2]}\n    spec: {manifest_file: 'k8s/{{ target or \"train\" }}.yaml', manifest_template: true}\n"
    )
    text = JOB.replace("name: train", 'name: "train-{{ matrix.lr }}"') + (
        '        env:\n        - {name: LR, value: "{{ matrix.lr }}"}\n'
        '        - {name: COUNT, value: "{{ jobs.prep.outputs.n }}"}\n'
    )
    text = text.replace("spec:\n", 'spec:\n  parallelism: "{{ 1 + 1 }}"\n', 1)
    project = read(tmp_path, {"jobs/a.yaml": jobs, "k8s/train.yaml": text})
    job = project.jobs["train[lr=0.1]"]
    made: Any = job.spec["objects"]["Job"]  # type: ignore[index, call-overload]  # JSON of a known shape
    assert made["metadata"] == {"name": "train-0.1"}
    assert made["spec"]["parallelism"] == 2, "an expression alone keeps its type"
    env = made["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env[0] == {"name": "LR", "value": "0.1"}, "a number becomes text where text is wanted"
    assert env[1]["value"] == {"expr": "{{ jobs.prep.outputs.n }}", "with": {}}
    assert [need.job for need in job.policy.needs] == ["prep"], "reading outputs in a file is a need"


def test_a_template_that_is_wrong_in_a_file_is_shown_there(tmp_path: Path) -> None:
    jobs = {"jobs/a.yaml": FILE["jobs/a.yaml"].replace("train.yaml", "train.yaml, manifest_template: true")}
    assert messages(tmp_path, jobs | {"k8s/train.yaml": JOB.replace("busybox:1", '"busybox:{{ var.tga }}"')}) == [
        "k8s/train.yaml:11:32 error unknown_name: unknown variable tga\n  there is no variable here",
    ]


def test_files_mean_what_they_mean_to_kubectl(tmp_path: Path) -> None:
    """Expected values: `kubectl label --local -o json` (1.32) of the same text."""
    text = """\
a1: 0644
a2: yes
a3: y
a4: 08
a5: 0o17
a6: 1_000
a7: 0b11
a8: 1e3
a9: .5
b1: 2024-01-02
b2: 12:30
b3: 0x1F
b5: off
b6: 1.0
b7: -0x1f
b8: +12
b9: 5.
c1: 1_0.5
c2: 1e400
c3: 0_8
c4: .5e1_0
c5: ._5
c6: "0644"
c7: ~
c8: No
8080: x
"""
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    custom = f"apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: t}}\nspec:\n{indented}"
    assert objects(tmp_path, FILE | {"k8s/train.yaml": f"{custom}---\n{JOB}"})["Thing/t"]["spec"] == {
        "a1": 420, "a2": True, "a3": True, "a4": 8, "a5": 15, "a6": 1000, "a7": 3, "a8": 1000, "a9": 0.5, "b1": "2024-01-02",
        "b2": "12:30", "b3": 31, "b5": False, "b6": 1, "b7": -31, "b8": 12, "b9": 5, "c1": 10.5, "c2": "1e400", "c3": 8,
        "c4": 5000000000, "c5": "._5", "c6": "0644", "c7": None, "c8": False, "8080": "x",
    }


def test_merge_keys_of_a_file_are_merged_as_kubectl_does(tmp_path: Path) -> None:
    """Expected values: as above."""
    text = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: &base
  <<: [{q: "1", r: "2"}, {q: "5", s: "6"}]
  s: "7"
binaryData:
  <<: *base
---
"""
    job = read(tmp_path, FILE | {"k8s/train.yaml": text + JOB}).jobs["train"]
    made: Any = job.spec["objects"]["ConfigMap/c"]  # type: ignore[index, call-overload]  # JSON of a known shape
    assert made["data"] == made["binaryData"] == {"s": "7", "q": "1", "r": "2"}
    assert str(job.locate(("spec", "objects", "ConfigMap/c", "binaryData", "r"))) == "k8s/train.yaml:5:20"


@pytest.mark.parametrize(("line", "said"), [
    ('r: "3"\n  <<: {r: "2"}', ("k8s/train.yaml:6:3 error merge_key: a merge key (<<) after a key that it holds too\n"
     "  write << first: kubectl lets it win over the keys before it")),
    ("<<: 3", "k8s/train.yaml:5:3 error merge_key: what follows << must be a mapping, or a list of mappings"),
    ("on: x", "k8s/train.yaml:5:3 error key_not_string: keys must be strings, and on is true to kubectl\n  quote it"),
    ("0x1: x", "k8s/train.yaml:5:3 error key_not_string: keys must be strings, and 0x1 is 1 to kubectl\n  quote it"),
    ("~: x", "k8s/train.yaml:5:3 error key_not_string: keys must be strings, and an empty key is no string\n  quote it"),
    ("a: 9007199254740993", ("k8s/train.yaml:5:6 error number_too_large: the number 9007199254740993 would lose digits in JSON\n"
     "  quote it if it is meant as text")),
    ("a: .inf", ("k8s/train.yaml:5:6 error not_a_number: .inf is not allowed: JSON has no such number\n"
     "  quote it if it is meant as text")),
    ("a: !!binary aGk=", ("k8s/train.yaml:5:6 error tag_not_allowed: YAML tags are not allowed\n"
     "  remove it, or quote a value that starts with !")),
    ("a: {expr: x, with: {}}", ("k8s/train.yaml:5:6 error reserved_shape: a map of just expr and with is reserved\n"
     "  jobform writes it for values that are not known yet\n  rename a key or add another")),
    ("a: *none", ("k8s/train.yaml:5:6 error undefined_alias: the alias *none has no anchor before it\n"
     "  quote the value if * was meant as text")),
    ("a: 1", 'k8s/train.yaml:5:6 error wrong_type: "a" must be a string, not the number 1\n  quote it: "1"'),
])
def test_what_nobody_can_mean_is_refused_where_it_stands(tmp_path: Path, line: str, said: str) -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  {line}\n---\n{JOB}"
    assert messages(tmp_path, FILE | {"k8s/train.yaml": text}) == [said]


def test_anchors_end_with_their_document(tmp_path: Path) -> None:
    text = JOB.replace("name: train", "name: &n train") + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: *n}\n"
    assert messages(tmp_path, FILE | {"k8s/train.yaml": text}) == [
        ("k8s/train.yaml:4:9 warning unused_anchor: the anchor &n is never used\n"
         "  remove it; quote the value if & was meant as text"),
        ("k8s/train.yaml:15:18 error undefined_alias: the alias *n has no anchor before it\n"
         "  quote the value if * was meant as text"),
    ]


def test_json_files_are_read_too(tmp_path: Path) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "x/y\té\U0001f600\\ud83d"}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "train-"}, "spec": {"template": {"spec": {
            "containers": [{"name": "main", "image": "a"}]}}}},
    ]}
    jobs = {"jobs/a.yaml": FILE["jobs/a.yaml"].replace("train.yaml", "train.json")}
    text = json.dumps(listed, indent="\t").replace("x/y", "x\\/y")
    job = read(tmp_path, jobs | {"k8s/train.json": text}).jobs["train"]
    made: Any = job.spec["objects"]
    assert made["ConfigMap/c"]["data"] == {"a": "x/y\té\U0001f600\\ud83d"}
    assert made["Job"]["metadata"] == {}, "a generated name is ours to give"
    assert str(job.locate(("spec", "objects", "Job", "kind"))) == "k8s/train.json:18:12"


def test_empty_documents_are_passed_by(tmp_path: Path) -> None:
    assert list(objects(tmp_path, FILE | {"k8s/train.yaml": f"---\n# nothing\n---\n{JOB}---\n...\n"})) == ["Job"]


@pytest.mark.parametrize(("file", "said"), [
    ("k8s/other.yaml", "jobs/a.yaml:4:27 error no_such_file: there is no file 'k8s/other.yaml'"),
    ("../x.yaml", ("jobs/a.yaml:4:27 error outside_project: '../x.yaml' is not a path inside the project\n"
     "  write it relative to the project's directory, without .. and with / between its parts")),
    ("/etc/passwd", ("jobs/a.yaml:4:27 error outside_project: '/etc/passwd' is not a path inside the project\n"
     "  write it relative to the project's directory, without .. and with / between its parts")),
    ("k8s/link.yaml", ("jobs/a.yaml:4:27 error outside_project: 'k8s/link.yaml' leads outside the project\n"
     "  files must lie in the project's directory")),
    ("k8s", "jobs/a.yaml:4:27 error not_a_file: 'k8s' is not a regular file"),
    ("k8s/large.yaml", "jobs/a.yaml:4:27 error file_too_large: 'k8s/large.yaml' is larger than 4096 KiB"),
    ("k8s/empty.yaml", ("jobs/a.yaml:4:27 error no_job_object: k8s/empty.yaml holds no object\n"
     "  it must hold one job-like object, such as a Job")),
    ("3", "jobs/a.yaml:4:27 error wrong_type: manifest_file must be the path of one file in the project"),
])
def test_files_that_cannot_be_used(tmp_path: Path, file: str, said: str) -> None:
    directory = tmp_path / "project"
    (directory / "k8s").mkdir(parents=True)
    (tmp_path / "outside.yaml").write_text(JOB)
    (directory / "k8s" / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    jobs = {"jobs/a.yaml": FILE["jobs/a.yaml"].replace("k8s/train.yaml", file)}
    assert messages(directory, jobs | {"k8s/large.yaml": "#" * (4 << 20), "k8s/empty.yaml": "---\n# nothing\n"}) == [said]


def test_a_file_with_a_mistake_is_reported_once_however_many_jobs_name_it(tmp_path: Path) -> None:
    paths = ("k8s/a.yaml", "./k8s//a.yaml")
    jobs = {"jobs/a.yaml": "jobs:\n" + "".join(
        f"  j{i}:\n    backend: gpu\n    spec: {{manifest_file: {path}}}\n" for i, path in enumerate(paths))}
    (said,) = messages(tmp_path, jobs | {"k8s/a.yaml": "a: [1\n"})
    assert said.startswith("k8s/a.yaml:1:4 error")


def test_secrets_stand_in_a_secret_and_nowhere_else(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: \"{{ secret('TOKEN') }}\"}\n"
    env = JOB + "        env: [{name: T, value: \"{{ secret('TOKEN') }}\"}]\n"
    jobs = {"jobs/a.yaml": FILE["jobs/a.yaml"].replace("train.yaml", "train.yaml, manifest_template: true")}
    made = objects(tmp_path, jobs | {"k8s/train.yaml": f"{secret}---\n{JOB}"})
    assert made["Secret/s"]["stringData"] == {"token": {"expr": "{{ secret('TOKEN') }}", "with": {}}}
    (said,) = messages(tmp_path, jobs | {"k8s/train.yaml": env})
    assert said.startswith("k8s/train.yaml:12:32 error secret_not_allowed: a secret must not stand in "
                           "objects.Job.spec.template.spec.containers[0].env[0].value\n")
    assert "a secret belongs into a Secret, to which valueFrom refers" in said


def test_plain_values_of_a_secret_are_refused_unless_they_are_no_secret(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  token: aHVudGVyMg==\n  user: bWU=\n---\n"
    said = messages(tmp_path, FILE | {"k8s/train.yaml": secret + JOB})
    assert [text.split(" error ")[0] for text in said] == ["k8s/train.yaml:5:10", "k8s/train.yaml:6:9"]
    assert "aHVudGVyMg" not in "".join(said)
    allowed = {"jobs/a.yaml": FILE["jobs/a.yaml"].replace("    spec", "    allow_plain: [user]\n    spec")}
    (said_one,) = messages(tmp_path, allowed | {"k8s/train.yaml": secret + JOB})
    assert said_one == (
        "k8s/train.yaml:5:10 error plain_secret: the Secret holds token in plain\n  job files, plans and state would hold it\n"
        "  write it under stringData as \"{{ secret('NAME') }}\", in a file with manifest_template: true, or make the Secret "
        "apart from jobform; if it is no secret, list token in allow_plain"
    )


def test_two_jobs_cannot_be_one_object(tmp_path: Path) -> None:
    other = JOB.replace("busybox:1", "busybox:2")
    jobs = {"jobs/a.yaml": "jobs:\n" + inline(JOB, "one") + inline(other, "two")}
    assert messages(tmp_path, jobs) == [
        ("jobs/a.yaml:24:17 error duplicate_object: one and two both name the Job 'train'\n"
        "  there can be only one of it, and one job would overwrite the other's\n  give one of them another name\n"
        "  one has it here: jobs/a.yaml:9:17"),
    ]


def test_two_jobs_cannot_have_one_companion(tmp_path: Path) -> None:
    jobs = {"jobs/a.yaml": "".join(["jobs:\n", *(
        f"  {name}:\n    backend: gpu\n    spec: {{manifest_file: k8s/{name}.yaml}}\n" for name in ("one", "two"))])}
    files = {f"k8s/{name}.yaml": f"{CONFIG}---\n{JOB.replace('train', name)}" for name in ("one", "two")}
    assert messages(tmp_path, jobs | files) == [
        ("k8s/two.yaml:3:18 error duplicate_object: one and two both name the ConfigMap 'settings'\n"
        "  there can be only one of it, and one job would overwrite the other's\n  give one of them another name\n"
        "  one has it here: k8s/one.yaml:3:18"),
    ]


def test_the_instances_of_a_matrix_cannot_be_one_object(tmp_path: Path) -> None:
    jobs = {"jobs/a.yaml": "jobs:\n" + inline(JOB, more="    matrix: {lr: [1, 2, 3]}\n")}
    assert messages(tmp_path, jobs) == [
        ("jobs/a.yaml:10:17 error duplicate_object: train[lr=1] and train[lr=2] both name the Job 'train' (2)\n"
        "  there can be only one of it, and one job would overwrite the other's\n  put a value of the matrix into its name"),
    ]
    named = {"jobs/a.yaml": jobs["jobs/a.yaml"].replace("name: train", 'name: "train-{{ matrix.lr }}"')}
    assert len(read(tmp_path, named).jobs) == 3
    unnamed = {"jobs/a.yaml": jobs["jobs/a.yaml"].replace("name: train", "generateName: train-")}
    assert len(read(tmp_path, unnamed).jobs) == 3


def test_one_name_in_two_namespaces_is_two_objects(tmp_path: Path) -> None:
    project = PROJECT + "  other: {type: kubernetes, context: test, namespace: other}\n"
    second = inline(JOB, "two").replace("backend: gpu", "backend: other")
    assert len(read(tmp_path, {"jobform.yaml": project, "jobs/a.yaml": "jobs:\n" + inline(JOB, "one") + second}).jobs) == 2
    same = PROJECT + "  other: {type: kubernetes, namespace: ml, context: test}\n"
    (said,) = messages(tmp_path, {"jobform.yaml": same, "jobs/a.yaml": "jobs:\n" + inline(JOB, "one") + second})
    assert "one and two both name the Job 'train'" in said


KINDS = PROJECT.replace("namespace: ml}", """namespace: ml, kinds: {
    MyJob: {api: example.com/v1, templates: [spec.template], ttl: spec.ttl,
            fields: {spec.priority: {class: operational, mutable: always, reason: it may change}}}}}""")


def test_a_project_adds_kinds_with_their_field_rules(tmp_path: Path) -> None:
    text = JOB.replace("batch/v1", "example.com/v1").replace("Job", "MyJob")
    text = text.replace("spec:\n", "spec:\n  priority: 3\n  ttl: 5\n", 1)
    project = read(tmp_path, FILE | {"jobform.yaml": KINDS, "k8s/train.yaml": text})
    spec = project.jobs["train"].spec
    schema = registry().spec("kubernetes", [block.settings for block in project.settings.backends.values()])
    below = ("objects", "MyJob", "spec")
    found = {name: schema.rule((*below, name)) for name in ("priority", "ttl", "other")}
    assert {name: (rule.class_, rule.mutable) for name, rule in found.items()} == {
        "priority": ("operational", "always"), "ttl": ("operational", "always"), "other": ("result", "never"),
    }
    assert schema.rule((*below, "template", "spec", "containers")).list_key == "name"
    assert (schema.given_name(spec), schema.holds_back(spec)) == ("train", True)
    changed = json.loads(json.dumps(spec).replace('"priority": 3', '"priority": 4'))
    assert schema.fingerprint(changed, {}) == schema.fingerprint(spec, {})
    assert schema.fingerprint(json.loads(json.dumps(spec).replace("busybox:1", "busybox:2")), {}) != schema.fingerprint(spec, {})


def test_blocks_that_describe_one_kind_differently_are_refused(tmp_path: Path) -> None:
    project = KINDS + "  other: {type: kubernetes, context: o, namespace: ml, kinds: {MyJob: {api: example.com/v2}}}\n"
    said = messages(tmp_path, FILE | {"jobform.yaml": project, "k8s/train.yaml": JOB})
    assert said and all("two backends describe the kind MyJob differently" in text for text in said)


def test_settings_that_are_wrong_say_nothing_of_the_jobs(tmp_path: Path) -> None:
    project = KINDS.replace("class: operational", "class: other")
    (said,) = messages(tmp_path, FILE | {"jobform.yaml": project, "k8s/train.yaml": JOB})
    assert said.startswith("jobform.yaml:6:45 error")


def test_many_files_are_read_quickly(tmp_path: Path) -> None:
    """About 1 ms of processor time for each: as much for each of many as for each of few, however quick the machine is."""
    filler = "".join(f"        - {{name: V{i}, value: \"{i}\"}}\n" for i in range(24))
    text = JOB + "        env:\n" + filler
    assert 900 < len(text) < 1200

    def project(count: int) -> Path:
        jobs = "".join(f"  j{i}:\n    backend: gpu\n    spec: {{manifest_file: k8s/{i}.yaml}}\n" for i in range(count))
        files = {f"k8s/{i}.yaml": text.replace("name: train", f"name: train-{i}") for i in range(count)}
        read(tmp_path / str(count), {"jobs/a.yaml": f"jobs:\n{jobs}"} | files)
        return tmp_path / str(count)

    def taken(count: int, directory: Path, times: int) -> float:
        start = time.process_time()
        assert all(len(read(directory, {}).jobs) == count for _ in range(times))
        return time.process_time() - start

    few, many = project(50), project(500)
    assert taken(500, many, 1) < 3 * taken(50, few, 10)


def test_variables_reach_inline_manifests_only_as_everywhere_else(tmp_path: Path) -> None:
    project = PROJECT + "variables: {tag: {type: string, default: '1'}}\n"
    text = JOB.replace("busybox:1", '"busybox:{{ var.tag }}"')
    options = ReadOptions(variables=(("tag", "7"),))
    job = read(tmp_path, {"jobform.yaml": project, "jobs/a.yaml": "jobs:\n" + inline(text)}, options).jobs["train"]
    assert '"busybox:7"' in json.dumps(job.spec)
