"""Whole projects: what their jobs are, and what is said of everything that is wrong with them."""

from pathlib import Path

import pytest

from jobform.config.read import ReadOptions, read_settings
from jobform.model.diagnostic import Severity
from jobform.model.errors import InputError
from jobform.model.job import Need, OnChange, Rerun, When

from .projects import PROJECT, Types, errors, read, settings, told, write

JOB = "backend: here, spec: {command: [x]}"


def jobs(text: str) -> dict[str, str | bytes]:
    """A project whose jobs are in one file; each line of `text` is one entry."""
    return {"jobs/a.yaml": "jobs:\n" + "".join(f"  {line}\n" for line in text.strip().splitlines())}


# --- what works -------------------------------------------------------------------------------------------------------


def test_a_job_has_its_policy_and_its_place(tmp_path: Path) -> None:
    project = read(tmp_path, {"jobs/a.yaml": """\
jobs:
  prep:
    backend: here
    spec: {command: [a]}
  train:
    backend: here
    needs: [prep, {job: "pre*", when: finished}]
    rerun: {on: [lost, infra], max_attempts: 5, backoff: 2m..30m}
    generation: 3
    on_change_while_running: finish
    protect: true
    ignore_drift: [labels, resources.gpu.*]
    spec: {command: [b, "{{ 1 + 1 }}c"], labels: {team: a}}
"""})
    job = project.jobs["train"]
    assert job.policy.needs == (Need("prep", When.SUCCEEDED, ("prep",)), Need("pre*", When.FINISHED, ("prep",)))
    assert job.policy.rerun == Rerun(("lost", "infra"), 5, (120.0, 1800.0))
    assert (job.generation, job.policy.on_change_while_running, job.policy.protect) == (3, OnChange.FINISH, True)
    assert str(job.locate(())) == "jobs/a.yaml:5:3"
    assert str(job.locate(("spec", "command", 1))) == "jobs/a.yaml:13:25"
    assert project.jobs["prep"].policy.rerun == Rerun(("changed",), 3, (0.0, 0.0))
    assert list(project.jobs) == ["prep", "train"]


def test_defaults_of_the_backend_lie_under_the_spec(tmp_path: Path) -> None:
    project = PROJECT.replace("{type: local}", "{type: local, defaults: {labels: {team: a, tier: b}, timeout: 1h, args: [x, y]}}")
    spec = "{command: [x], labels: {tier: c, team: null}, timeout: null, args: [z]}"
    files = {"jobform.yaml": project} | jobs(f"a: {{backend: here, spec: {spec}}}")
    job = read(tmp_path, files).jobs["a"]
    assert job.spec == {"command": ["x"], "labels": {"tier": "c"}, "args": ["z"]}


def test_a_value_from_the_defaults_is_located_in_jobform_yaml(tmp_path: Path) -> None:
    project = PROJECT.replace("{type: local}", "{type: local, defaults: {timeout: 5 minutes}}")
    assert [told(found) for found in errors(tmp_path, {"jobform.yaml": project} | jobs(f"a: {{{JOB}}}"))] == [
        'jobform.yaml:4:43 bad_duration: "timeout" is not a duration',
    ]


def test_a_need_may_name_the_own_instance_of_another_job(tmp_path: Path) -> None:
    project = read(tmp_path, jobs("""
        prep: {backend: here, matrix: {lr: [0.1, 5]}, spec: {command: [x]}}
        train: {backend: here, matrix: {lr: [0.1, 5]}, needs: ["prep[lr={{ matrix.lr }}]"], spec: {command: [x]}}
    """.replace("        ", "")))
    assert project.jobs["train[lr=5]"].policy.needs == (Need("prep[lr=5]", When.SUCCEEDED, ("prep[lr=5]",)),)


def test_reading_outputs_implies_a_need(tmp_path: Path) -> None:
    project = read(tmp_path, jobs("""
a: {backend: here, matrix: {n: [2, 10]}, spec: {command: [x]}}
b: {backend: here, spec: {command: [x], env: {N: "{{ jobs.a.outputs | length }}"}}}
c: {backend: here, needs: [{job: a, when: finished}], spec: {command: [x], env: {N: "{{ jobs.a.outputs | length }}"}}}
"""))
    assert project.jobs["b"].policy.needs == (Need("a", When.SUCCEEDED, ("a[n=2]", "a[n=10]")),)
    assert [need.when for need in project.jobs["c"].policy.needs] == [When.FINISHED]


def test_targets_choose_variables_state_and_lineage(tmp_path: Path) -> None:
    text = """\
jobform: 1
project: demo
variables: {bucket: {default: dev}}
state: {type: file, path: "{{ target }}-{{ var.bucket }}.json"}
backends: {here: {type: local}}
targets:
  dev: {}
  prod: {variables: {bucket: prod}, lineage: 00000000-0000-4000-8000-000000000000}
"""
    found = settings(tmp_path, text, ReadOptions(target="prod"))
    assert (found.target, found.state.settings, found.lineage) == (
        "prod", {"path": "prod-prod.json"}, "00000000-0000-4000-8000-000000000000")
    assert settings(tmp_path, text, ReadOptions(target="dev")).state.settings == {"path": "dev-dev.json"}


def test_no_job_files_at_all(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, {})
    assert told(found) == "jobform.yaml:1:1 no_match: no file matches 'jobs/*.yaml'"
    assert "--dangerous-allow-empty" in found.hint
    assert read(tmp_path, {}, ReadOptions(allow_empty=True)).jobs == {}


def test_an_empty_job_file_is_no_mistake(tmp_path: Path) -> None:
    assert read(tmp_path, {"jobs/a.yaml": "# later\n", "jobs/b.yaml": ""}).jobs == {}


SHARED = """\
jobform: 1
project: demo
default_target: a
targets: {a: {state: {type: file, path: x}}, b: {state: {type: file, path: ./x}}}
"""


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("entry", "expected"), [
    ("a: {backend: here, spec: {comand: [x]}}", '2:29 unknown_key: unknown key "comand"'),
    ("a: {backend: here}", '2:3 missing_key: the key "spec" is missing in "a"'),
    ("a: {spec: {command: [x]}}", '2:3 missing_key: the key "backend" is missing in "a"'),
    ("a: {backend: here, spec: {}}", '2:22 missing_key: the key "command" is missing'),
    ("a:", '2:3 no_value: "a" has no value'),
    ("a: {backend: here, spec: {command: python train.py}}",
     '2:38 wrong_type: "command" must be a list of strings, not the string "python train.py"'),
    ("a: {backend: here, spec: {command: [x, 3.10]}}",
     '2:42 wrong_type: item 2 of "command" must be a string, not the number 3.1'),
    ("a: {backend: here, spec: {command: [x], env: {A: yes, B: true}}}", '2:60 wrong_type: "B" must be a string, not true'),
    ("a: {backend: here, spec: {command: [x], timeout: 90}}", '2:52 wrong_type: "timeout" must be a duration, not the number 90'),
    ("a: {backend: here, spec: {command: [x], timeout: -5s}}", '2:52 bad_duration: "timeout" is not a duration'),
    ("a: {backend: here, protect: yes, spec: {command: [x]}}",
     '2:31 wrong_type: "protect" must be true or false, not the string "yes"'),
    ("a: {backend: hrer, spec: {command: [x]}}", "2:16 unknown_backend: there is no backend 'hrer'"),
    ("A: {backend: here, spec: {command: [x]}}", '2:3 bad_key: the key "A" is not allowed here'),
    ('"a ": {backend: here, spec: {command: [x]}}', '2:3 bad_key: the key "a " is not allowed here'),
    ('"a\\n": {backend: here, spec: {command: [x]}}', '2:3 bad_key: the key "a\\n" is not allowed here'),
    (f"a: {{needs: [b], {JOB}}}", "2:15 unknown_job: there is no job 'b'"),
    (f"a: {{needs: [a], {JOB}}}", "2:15 self_need: the job needs itself"),
    (f'a: {{needs: ["x*"], {JOB}}}', "2:15 unknown_job: no job matches 'x*'"),
    (f'a: {{needs: ["A["], {JOB}}}',
     "2:15 bad_selector: 'A[' is not a selector: write NAME or NAME[key=value]; NAME may contain *"),
    (f"a: {{needs: [{{job: a, wen: started}}], {JOB}}}", '2:24 unknown_key: unknown key "wen"'),
    (f'a: {{needs: ["{{{{ secret(\'A\') }}}}"], {JOB}}}', "2:7 template_not_allowed: needs may use var, matrix and target only"),
    (f"a: {{matrix: {{}}, {JOB}}}", '2:15 bad_length: "matrix" must have at least 1 key'),
    (f"a: {{matrix: {{k: [[1]]}}, {JOB}}}",
     '2:20 wrong_type: item 1 of "k" must be a string, a number, true or false or null, not a list'),
    (f'a: {{matrix: {{k: ["{{{{ var.x }}}}"]}}, {JOB}}}',
     "2:20 template_not_allowed: templates are not allowed in jobs.a.matrix.k[0]"),
    (f"a: {{matrix: {{a b: [1]}}, {JOB}}}", '2:16 bad_key: the key "a b" is not allowed here'),
    (f"a: {{generation: 0, {JOB}}}", '2:19 out_of_range: "generation" must be at least 1'),
    (f"a: {{rerun: {{backoff: 5}}, {JOB}}}", '2:24 wrong_type: "backoff" must be a string, not the number 5'),
    (f"a: {{rerun: {{backoff: 1h..1m}}, {JOB}}}", '2:24 bad_duration: "backoff" is not a duration or a range of two'),
    (f"a: {{rerun: {{on: [dependency]}}, {JOB}}}", "2:20 not_supported: rerun.on: dependency is not supported yet"),
    (f"a: {{ignore_drift: [lables], {JOB}}}", "2:22 unknown_field: 'lables' is no field of spec"),
    ("a: {backend: here, spec: {command: [x], env: {expr: a, with: {}}}}",
     "2:48 reserved_shape: a map of just expr and with is reserved"),
    ('a: {backend: here, spec: {command: [{expr: a, with: {}}]}}',
     "2:39 reserved_shape: a map of just expr and with is reserved"),
    ('a: {backend: here, spec: {command: [x, "{{ jobs.a.outputs.n }}"]}}',
     "2:22 self_need: the job reads its own outputs: jobs.a"),
])
def test_one_mistake_is_one_error_at_its_place(tmp_path: Path, entry: str, expected: str) -> None:
    assert [told(found) for found in errors(tmp_path, jobs(entry))] == [f"jobs/a.yaml:{expected}"]


@pytest.mark.parametrize(("text", "expected"), [
    ("- a\n", "1:1 wrong_type: jobform.yaml is a list, and must be a map"),
    ("text\n", "1:1 wrong_type: jobform.yaml is a single value, and must be a map"),
    ("", "1:1 wrong_type: jobform.yaml is empty, and must be a map"),
    ("jobform: 2\nproject: demo\n", '1:10 bad_value: "jobform" must be 1'),
    ("project: demo\n", '1:1 missing_key: the key "jobform" is missing'),
    ("jobform: 1\nproject: demo\nbackend: {}\n", '3:1 unknown_key: unknown key "backend"'),
    ("jobform: 1\nproject: demo\nbackends: {here: {typ: local}}\n", '3:12 missing_key: the key "type" is missing in "here"'),
    ('jobform: 1\nproject: "{{ var.x }}"\n', "2:10 template_not_allowed: templates are not allowed in project"),
    ("jobform: 1\nproject: demo\nlineage: abc\n", '3:10 bad_format: "lineage" is not written as it must be'),
    ('jobform: 1\nproject: demo\nstate: {type: file, path: "{{ matrix.x }}"}\n', "3:36 unknown_name: unknown matrix key x"),
    ("jobform: 1\nproject: demo\nstate: {type: file, path: \"{{ secret('A') }}\"}\n",
     "3:27 template_not_allowed: state.path cannot use a secret"),
    ("jobform: 1\nproject: demo\nstate: {type: file, path: \"{{ file('a') }}\"}\n",
     "3:30 unreadable_file: file('a') cannot be used here: only var and target may"),
    ("jobform: 1\nproject: demo\ntargets: {dev: {}, prod: {}}\n", "3:1 no_target: this project has targets, and none is chosen"),
    ("jobform: 1\nproject: demo\ntargets: {dev: {}, prod: {}}\ndefault_target: pord\n",
     "4:17 unknown_target: default_target names 'pord', which is no target"),
    ("jobform: 1\nproject: demo\ntargets: {dev: {}, prod: {}}\ndefault_target: dev\n",
     "3:20 shared_state: the targets dev and prod have the same state"),
    ("jobform: 1\nproject: d\ntargets: {a: {state: {type: file, path: x}}, b: {state: {type: file, path: ./x}}}",
     "3:1 no_target: this project has targets, and none is chosen"),
    (SHARED,
     "4:50 shared_state: the targets a and b have the same state"),
])
def test_what_is_wrong_with_the_project_file(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, {"jobform.yaml": text, "jobs/a.yaml": ""})
    with pytest.raises(InputError) as caught:
        read_settings(tmp_path, ReadOptions())
    assert told(caught.value.diagnostics[0]) == f"jobform.yaml:{expected}"


def test_a_mistake_in_the_project_file_does_not_hide_those_in_job_files(tmp_path: Path) -> None:
    files = {"jobform.yaml": PROJECT + "stat: {}\n", "jobs/a.yaml": "jobs: {a: {}}\n", "jobs/b.yaml": "jobs: [\n"}
    assert [f"{found.range} {found.code}" for found in errors(tmp_path, files)] == [
        "jobform.yaml:5:1 unknown_key", "jobs/a.yaml:1:8 missing_key", "jobs/a.yaml:1:8 missing_key",
        "jobs/b.yaml:1:7 yaml_syntax",
    ]


def test_an_unknown_target_that_names_a_job(tmp_path: Path) -> None:
    files = jobs(f"train: {{{JOB}}}")
    (found,) = errors(tmp_path, files, ReadOptions(target="train"))
    assert (found.code, found.hint) == ("unknown_target", "did you mean --select train?")
    (found,) = errors(tmp_path, files, ReadOptions(target="prod"))
    assert (found.code, found.hint) == ("unknown_target", "leave --target out")


def test_a_missing_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(tmp_path / "none", ReadOptions())
    assert caught.value.diagnostics[0].code == "no_project"
    assert "jobform init" in caught.value.diagnostics[0].hint


def test_settings_from_elsewhere_are_not_ignored(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, {}, ReadOptions(environ={"JOBFORM_SETTINGS": "/etc/jobform.yaml"}))
    assert (found.code, found.range) == ("not_supported", None)


def test_names_that_are_taken_or_too_alike_show_both_places(tmp_path: Path) -> None:
    found = errors(tmp_path, jobs(f"my-prep: {{{JOB}}}\nmy_prep: {{{JOB}}}") | {"jobs/b.yaml": f"jobs:\n  my-prep: {{{JOB}}}\n"})
    assert [(told(item), str(item.related[0].range)) for item in found] == [
        ("jobs/a.yaml:3:3 confusable_names: the jobs my-prep and my_prep differ only by case, - and _", "jobs/a.yaml:2:3"),
        ("jobs/b.yaml:2:3 duplicate_job: the job my-prep is declared twice", "jobs/a.yaml:2:3"),
    ]


def test_one_mistake_in_many_instances_is_one_error_with_a_count(tmp_path: Path) -> None:
    spec = '{command: [x, "{{ matrix.m }}"], timeout: "{{ matrix.n }}", env: {A: "{{ var.b }}"}}'
    found = errors(tmp_path, jobs(f"a: {{backend: here, matrix: {{n: [1, 2, 3]}}, spec: {spec}}}"))
    assert [(item.code, item.count, item.address) for item in found] == [
        ("unknown_name", 3, "a[n=1]"), ("bad_duration", 3, "a[n=1]"), ("unknown_name", 3, "a[n=1]"),
    ]


def test_a_wrong_job_does_not_make_the_jobs_that_need_it_wrong(tmp_path: Path) -> None:
    found = errors(tmp_path, jobs(f"a: {{backend: here}}\nb: {{needs: [a], {JOB}}}\nc: {{needs: [x], {JOB}}}"))
    assert [item.code for item in found] == ["missing_key", "unknown_job"]


def test_a_backend_of_an_unknown_type(tmp_path: Path) -> None:
    project = PROJECT + "  far: {type: kubernets}\n  near: {type: local, max_parallel: 0}\n"
    found = errors(tmp_path, {"jobform.yaml": project} | jobs(f"a: {{{JOB}}}"))
    assert [told(item) for item in found] == [
        "jobform.yaml:5:15 unknown_backend_type: there is no backend type 'kubernets'",
        'jobform.yaml:6:37 out_of_range: "max_parallel" must be at least 1',
    ]
    assert found[0].detail == f"installed: {', '.join(Types().names())}"


@pytest.mark.parametrize(("entries", "expected"), [
    ("moved: [{from: a, to: b}]", "3:16 still_declared: a is moved away and still declared"),
    ("moved: [{from: 'b[n=1]', to: c}]", "3:16 still_declared: b[n=1] is moved away and still declared"),
    ("moved: [{from: a, to: a}]", "3:16 still_declared: a is moved away and still declared"),
    ("moved: [{from: x, to: b}, {from: x, to: c}]", "3:34 moved_twice: two moves have the same from: x"),
    ("moved: [{from: x, to: b}, {from: y, to: b}]", "3:41 moved_twice: two moves have the same to: b"),
    ("moved: [{from: 'X', to: b}]",
     "3:16 bad_address: 'X' is not an address: a job's name is [a-z][a-z0-9_-]*, at most 63 characters"),
    ("moved: [{form: x, to: b}]", '3:10 unknown_key: unknown key "form"'),
    ("removed: [{job: a, cancel: true}]", "3:17 still_declared: a is removed and still declared"),
    ("removed: [{job: 'a['}]", "3:17 bad_selector: 'a[': write the keys in brackets as key=value, separated by commas"),
    ("removed: [{job: old, cancel: yes}]", '3:30 wrong_type: "cancel" must be true or false, not the string "yes"'),
])
def test_moves_and_removals(tmp_path: Path, entries: str, expected: str) -> None:
    found = errors(tmp_path, {
        "jobs/a.yaml": f"jobs:\n  a: {{{JOB}}}\n{entries}\n", "jobs/b.yaml": f"jobs:\n  b: {{matrix: {{n: [1]}}, {JOB}}}\n",
    })
    assert told(found[0]) == f"jobs/a.yaml:{expected}"


def test_a_further_axis_may_keep_the_name(tmp_path: Path) -> None:
    files = {"jobs/a.yaml": f"jobs:\n  a: {{matrix: {{opt: [adam]}}, {JOB}}}\nmoved: [{{from: a, to: 'a[opt=adam]'}}]\n"}
    (rule,) = read(tmp_path, files).moved
    assert (rule.source, rule.to) == ("a", "a[opt=adam]")


def test_a_program_name_with_spaces_is_a_warning(tmp_path: Path) -> None:
    (found,) = read(tmp_path, jobs('a: {backend: here, spec: {command: ["python train.py"]}}')).warnings
    assert (found.severity, found.code, found.hint) == (Severity.WARNING, "command_one_word", "write [python, train.py]")


def test_no_more_than_a_hundred_errors_are_shown(tmp_path: Path) -> None:
    found = errors(tmp_path, jobs("\n".join(f"job{number}: {{backend: none, spec: {{command: [x]}}}}" for number in range(150))))
    assert len(found) == 101
    assert found[-1].summary == "50 more errors not shown"


def test_every_error_shows_its_line(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, jobs("a: {backend: hrer, spec: {command: [x]}}"))
    assert found.snippet == "  a: {backend: hrer, spec: {command: [x]}}"


def test_files_inside_the_project_only(tmp_path: Path) -> None:
    write(tmp_path, {"data.txt": "42"})
    files = jobs("a: {backend: here, spec: {command: [x, \"{{ file('data.txt') }}\"]}}")
    assert read(tmp_path, files).jobs["a"].spec["command"] == ["x", "42"]
    (found,) = errors(tmp_path, jobs("a: {backend: here, spec: {command: [x, \"{{ file('/etc/passwd') }}\"]}}"))
    assert found.summary == "'/etc/passwd' is not a path inside the project"
