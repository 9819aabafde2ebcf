"""What templates mean: types, texts, what is known now and what is kept for submission."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobform.config.problem import Problem
from jobform.config.render import Renderer, Resolved, resolve
from jobform.model.values import Json, is_deferred

VARIABLES: dict[str, Json] = {
    "image_tag": "2.4", "n": 3, "f": 0.1, "whole": 1.0, "yes": True, "nothing": None, "list": [1, 2],
    "map": {"items": "k", "a-b": 2},
    "hostile": "{{ var.n }} {% if %}", "yaml": "a: b\n- c # \"'",
}
MATRIX: dict[str, Json] = {"lr": 0.1, "seed": 2}


def read_file(path: str) -> str:
    if path == "missing":
        raise ValueError("there is no such file in the project")
    return f"<{path}>"


def renderer() -> Renderer:
    return Renderer(VARIABLES, {"token"}, "prod", read_file, ["prep", "my-prep", "train"])


def rendered(value: Json, matrix: dict[str, Json] = MATRIX) -> Json:
    problems: list[Problem] = []
    result = renderer().render(value, matrix, problems.append)
    assert problems == []
    return result.value


def problem_of(value: Json) -> Problem:
    problems: list[Problem] = []
    result = renderer().render(value, MATRIX, problems.append)
    assert result.value == {"expr": value, "with": {}}, "a broken scalar is one that later stages pass by"
    (problem,) = problems
    return problem


@pytest.mark.parametrize(("text", "value"), [
    ("plain", "plain"),
    ("{ not a template }}", "{ not a template }}"),
    ("{{ matrix.lr }}", 0.1),
    ("{{matrix.seed}}", 2),
    ("{{ var.list }}", [1, 2]),
    ("{{ var.yes }}", True),
    ("{{ var.nothing }}", None),
    ("{{ var.image_tag }}", "2.4"),
    ("{{ var.whole }}", 1.0),
    ("{{ '1.10' }}", "1.10"),
    ("{{ var.n }} ", "3 "),
    ("train:{{ var.image_tag }}-{{ matrix.seed }}", "train:2.4-2"),
    ("{{ var.f }}/{{ var.whole }}/{{ var.yes }}/{{ 1e-7 }}", "0.1/1/true/1e-7"),
    ("{{ var.f ~ '-' ~ var.yes ~ 1.0 }}", "0.1-true1"),
    ("{{ target }}", "prod"),
    ("{{ file('a/b.txt') }}", "<a/b.txt>"),
    ("{{ var.n + 1 }}", 4), ("{{ var.n * 2 - 1 }}", 5), ("{{ 7 // 2 }}", 3), ("{{ 7 % 4 }}", 3), ("{{ -var.n }}", -3),
    ("{{ 'a' + 'b' }}", "ab"), ("{{ var.list + [3] }}", [1, 2, 3]),
    ("{{ var.n > 2 and var.yes }}", True), ("{{ 'a' if var.n == 3 else 'b' }}", "a"), ("{{ 2 in var.list }}", True),
    ("{{ var.list[0] }}", 1), ("{{ var.list[1:] }}", [2]), ("{{ var.image_tag[0] }}", "2"),
    ("{{ {'a': [var.n, {'b': 1}]} }}", {"a": [3, {"b": 1}]}),
    ("{{ var.list | join('-') }}", "1-2"), ("{{ var.list | map(attribute='x') | length if false else 0 }}", 0),
    ("{{ ' a B ' | trim | upper }}", "A B"), ("{{ 'a.b' | replace('.', '-') }}", "a-b"), ("{{ '3' | int + 1 }}", 4),
    ("{{ '1e1' | float }}", 10.0), ("{{ [3, 1, 2] | sort | first }}", 1), ("{{ [3, 1] | max }}", 3),
    ("{{ [1, 1, 2] | unique }}", [1, 2]), ("{{ [1, 2.5] | sum }}", 3.5), ("{{ 2.567 | round(1) }}", 2.6),
    ("{{ 2.1 | round(0, 'ceil') }}", 3.0), ("{{ var.map | tojson }}", '{"a-b":2,"items":"k"}'), ("{{ 'ab' | reverse }}", "ba"),
    ("{{ var.list | count }}", 2), ("{{ -2 | abs }}", 2),
    ("{{ [{'k': 2}, {'k': 1}] | sort(attribute='k') | map(attribute='k') }}", [1, 2]),
    ("{{ matrix.extra | default('none') }}", "none"), ("{{ matrix.extra is defined }}", False), ("{{ var.n is odd }}", True),
    ("{{ 4 is divisibleby(2) }}", True), ("{{ var.n is number and 'a' is string }}", True),
    ("{% if var.n > 2 %}big{% elif var.n %}small{% else %}none{% endif %}-{{ var.yes }}", "big-true"),
    ("{% if false %}x{% endif %}", ""),
    ("${#name} {# {{ var.n }} #}", "${#name} {# 3 #}"), ("${#name}", "${#name}"),
    ("{% raw %}{{ kept }}{% endraw %}", "{{ kept }}"),
    ("{{ 'a }}' }}b", "a }}b"),
    ('{{ "}}" }}', "}}"),
    ("{{- var.n }} x", "3 x"), ("x {{ var.n -}} y", "x 3y"),
    ("line\n{{ var.n }}\n", "line\n3\n"),
    ("{{ var.n }}}", "3}"),
    ("{{ var.n }}{{ var.n }}", "33"),
])
def test_values(text: str, value: Json) -> None:
    result = rendered(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("key", ["items", "keys", "values", "get", "update", "copy", "pop"])
def test_a_dot_looks_up_a_key_and_never_a_method(key: str) -> None:
    problems: list[Problem] = []
    own = Renderer({key: "mine", "m": {key: "below"}}, (), None, read_file, ())
    assert own.render([f"{{{{ var.{key} }}}}", f"{{{{ var.m.{key} }}}}"], {}, problems.append).value == ["mine", "below"]
    own = Renderer({"m": {}}, (), None, read_file, ())
    own.render(f"{{{{ var.m.{key} }}}}", {}, problems.append)
    assert [problem.summary for problem in problems] == [f'there is no key "{key}"']


def test_values_of_variables_are_never_templates_and_cannot_change_the_structure() -> None:
    value = rendered({"a": "{{ var.hostile }}", "b": ["x {{ var.yaml }} y"], "c": "{{ var.hostile }}!"})
    assert value == {"a": "{{ var.n }} {% if %}", "b": ["x a: b\n- c # \"' y"], "c": "{{ var.n }} {% if %}!"}


def test_keys_and_other_scalars_are_left_alone() -> None:
    value: Json = {"{{ var.n }}": 1, "b": [None, True, 1.5, {"c": "d"}]}
    assert rendered(value) == value


def test_results_share_nothing() -> None:
    shared = renderer()
    first = shared.render("{{ var.list }}", {}, pytest.fail).value
    assert isinstance(first, list)
    first.append(9)
    assert shared.render("{{ var.list }}", {}, pytest.fail).value == [1, 2]
    assert VARIABLES["list"] == [1, 2]


NAMES = "there are var, matrix, target, secret, file, jobs"
JOINED = "it takes no filter and no test, it can only stand in a text"
SECRET = "a secret takes no filter and no test: it can only stand in a text"


@pytest.mark.parametrize(("text", "code", "summary", "hint", "offset"), [
    ("{{ var.imag_tag }}", "unknown_name", "unknown variable imag_tag", "did you mean image_tag?", 7),
    ("ab {{ matrix.lrr }}", "unknown_name", "unknown matrix key lrr", "did you mean lr?", 13),
    ("{{ jobs.prp.outputs.x }}", "unknown_name", "unknown job prp", "did you mean prep?", 8),
    ("{{ image_tag }}", "unknown_name", f"unknown name image_tag: {NAMES}", "a variable is var.image_tag", 3),
    ("{{ vars.x }}", "unknown_name", f"unknown name vars: {NAMES}", "did you mean var.NAME?", 3),
    ("{{ env.HOME }}", "unknown_name", f"unknown name env: {NAMES}", "a variable is var.env", 3),
    ("{{ var }}", "bad_template", "var is used as var.NAME, with a name that is written out", "", 3),
    ("{{ var[matrix.lr] }}", "bad_template", "var is used as var.NAME, with a name that is written out", "", 3),
    ("{{ jobs.prep.status }}", "bad_template", "jobs is used as jobs.NAME.outputs.KEY, with a name that is written out", "", 3),
    ("{{ jobs.my-prep.outputs.x }}", "bad_template", "jobs.my-prep reads as a subtraction", "write jobs['my-prep']", 3),
    ("{{ var.map.itemz }}", "unknown_name", 'there is no key "itemz"; did you mean items?', "", 2),
    ("{{ var.list[7] }}", "unknown_name", "there is no item 7: a list of length 2", "", 2),
    ("{{ var.n.x }}", "unknown_name", 'a number has no key "x"', "", 2),
    ("x{{ var.list }}", "bad_template", "a list cannot stand inside a text", "join it, or write it with tojson", 3),
    ("x{{ var.map }}", "bad_template", "a map cannot stand inside a text", "join it, or write it with tojson", 3),
    ("x{{ var.nothing }}", "bad_template", "null cannot stand inside a text", "", 3),
    ("{% if true %}{{ var.list }}{% endif %}", "bad_template", "a list cannot stand inside a text",
     "join it, or write it with tojson", 0),
    ("{{ 1 }} and {{ 1 / 0 }}", "bad_template", "division by zero", "", 14),
    ("{{ 'a' + 1 }}", "bad_template", "a string + a number has no meaning", "join with ~ instead", 2),
    ("{{ 'x' | int }}", "bad_template", "the filter int needs a number or a string that reads as one", "", 2),
    ("{{ 'a' < 1 }}", "bad_template", "the operators and filters do not fit the values that they are used on", "", 2),
    ("{{ var.n | uper }}", "forbidden_template", None, "did you mean upper?", 11),
    ("{{ var.n is prime }}", "forbidden_template", None, "", 12),
    ("{{ file('missing') }}", "unreadable_file", "there is no such file in the project", "", 2),
    ("{{ file(var.image_tag) }}", "bad_template", "file takes one name that is written out, as in file('path')", "", 3),
    ("{{ secret('hf') }}", "bad_template", "a secret's name is written in capitals, as in secret('HF_TOKEN')", "", 11),
    ("{{ secret('JOBFORM_VAR_X') }}", "bad_template", "a secret's name does not begin with JOBFORM_",
     "secret('NAME') reads JOBFORM_SECRET_NAME: write NAME alone", 11),
    ("{{ secret('A') | upper }}", "forbidden_template", SECRET, "", 11),
    ("{{ secret('A') == 'x' }}", "forbidden_template", SECRET, "", 11),
    ("{{ secret('A')[0] }}", "forbidden_template", SECRET, "", 11),
    ("{{ 1 if secret('A') else 2 }}", "forbidden_template", SECRET, "", 16),
    ("{{ var.token | upper }}", "forbidden_template", f"var.token is sensitive: {JOINED}", "", 7),
    ("{{ }}", "bad_template", "the expression is empty", "write {{ var.NAME }}", 2),
    ("{{ var.n", "bad_template", "{{ is never closed", "end the expression with }}", None),
    ("{% if var.n %}x", "bad_template", None, "", 0),
    ("{{ var.n + }}", "bad_template", None, "", 2),
    ("{{ {'expr': 'x', 'with': {}} }}", "reserved_shape", "a map of just expr and with is reserved", "", 2),
    ("a\r\n{{ var.n }}", "bad_template", "a text with a template cannot hold a carriage return",
     "save the file with LF line ends", None),
])
def test_mistakes(text: str, code: str, summary: str | None, hint: str, offset: int | None) -> None:
    problem = problem_of(text)
    assert (problem.code, problem.hint, problem.offset) == (code, hint, offset)
    assert summary is None or problem.summary == summary


def test_an_unknown_filter_lists_the_allowed_ones() -> None:
    assert "allowed are abs, capitalize, count, d, default, first," in problem_of("{{ var.n | nl2br }}").summary


def test_every_mistake_of_a_scalar_is_reported_at_its_place() -> None:
    problems: list[Problem] = []
    renderer().render({"a": ["{{ var.x1 }} {{ var.x2 }}"], "b": "{{ zz }}"}, {}, problems.append)
    assert [(problem.path, problem.offset) for problem in problems] == [(("a", 0), 7), (("a", 0), 20), (("b",), 3)]


# --- what is kept for submission --------------------------------------------------------------------------------------


def test_secrets_outputs_and_sensitive_variables_are_kept_with_what_is_known() -> None:
    problems: list[Problem] = []
    result = renderer().render({
        "a": "Bearer {{ secret('HF_TOKEN') }} {{ var.n }} {{ matrix.lr }} {{ target }} {{ file('p') }}",
        "b": "{{ jobs.prep.outputs.count + matrix.seed }}",
        "c": "{{ var.token }}",
        "d": "{% if var.yes %}{{ jobs['my-prep'].outputs.x }}{% endif %}",
        "e": "{{ var.n }}",
    }, MATRIX, problems.append)
    assert problems == []
    assert result.value == {
        "a": {
            "expr": "Bearer {{ secret('HF_TOKEN') }} {{ var.n }} {{ matrix.lr }} {{ target }} {{ file('p') }}",
            "with": {"file('p')": "<p>", "matrix.lr": 0.1, "target": "prod", "var.n": 3},
        },
        "b": {"expr": "{{ jobs.prep.outputs.count + matrix.seed }}", "with": {"matrix.seed": 2}},
        "c": {"expr": "{{ var.token }}", "with": {}},
        "d": {"expr": "{% if var.yes %}{{ jobs['my-prep'].outputs.x }}{% endif %}", "with": {"var.yes": True}},
        "e": 3,
    }
    assert (result.jobs, result.secrets) == ({"prep", "my-prep"}, {"HF_TOKEN", "JOBFORM_VAR_token"})


KEPT: Json = {
    "env": {
        "T": {"expr": "Bearer {{ secret('HF_TOKEN') }}", "with": {}},
        "C": {"expr": "{{ jobs.prep.outputs.count + var.n }}", "with": {"var.n": 3}},
        "S": {"expr": "{{ var.token }}-{{ jobs.prep.outputs.count }}", "with": {}},
    },
    "x": 1,
}


def env(result: Resolved) -> dict[str, Json]:
    assert isinstance(result.value, dict) and isinstance(result.value["env"], dict)
    return result.value["env"]


def test_outputs_are_put_in_and_secrets_stay_references_without_the_runner() -> None:
    result = resolve(KEPT, {"prep": {"count": 4}}, None)
    assert env(result) == {
        "T": {"expr": "Bearer {{ secret('HF_TOKEN') }}", "with": {}}, "C": 7,
        "S": {"expr": "{{ var.token }}-{{ jobs.prep.outputs.count }}", "with": {"jobs.prep.outputs.count": 4}},
    }
    assert (result.used, result.missing, result.problems) == ({"jobs.prep.outputs.count": 4}, frozenset(), ())


def test_everything_is_put_in_with_the_runner() -> None:
    result = resolve(KEPT, {"prep": {"count": 4}}, {"HF_TOKEN": "hunter2", "JOBFORM_VAR_token": "tok3n"}.get)
    assert env(result) == {"T": "Bearer hunter2", "C": 7, "S": "tok3n-4"}
    assert "hunter2" not in repr(result)
    assert result.used == {"jobs.prep.outputs.count": 4}


def test_what_is_missing_is_named_by_what_would_supply_it() -> None:
    result = resolve(KEPT, {}, lambda name: None)
    assert result.missing == {"JOBFORM_SECRET_HF_TOKEN", "JOBFORM_VAR_token", "jobs.prep.outputs.count"}
    assert result.value == KEPT
    assert resolve(KEPT, {"prep": {"other": 1}}, lambda name: "s3cr3t!").missing == {"jobs.prep.outputs.count"}


def test_outputs_that_do_not_fit_are_problems_and_show_no_value() -> None:
    result = resolve(KEPT, {"prep": {"count": "canary"}}, None)
    (problem,) = result.problems
    assert (problem.path, problem.summary) == (("env", "C"), "a string + a number has no meaning")
    assert "canary" not in str(problem)


def test_outputs_of_a_matrix_are_a_list() -> None:
    runs: list[Json] = [{"matrix": {"lr": 1}, "outputs": {"loss": 0.5}}, {"matrix": {"lr": 2}, "outputs": {"loss": 0.25}}]
    outputs: dict[str, Json] = {"train": runs}
    kept: Json = [
        {"expr": "{{ jobs.train.outputs | map(attribute='outputs.loss') | min }}", "with": {}},
        {"expr": "{{ jobs.train.outputs[1].matrix.lr }}", "with": {}},
        {"expr": "{{ jobs.train.outputs | length }} runs", "with": {}},
    ]
    result = resolve(kept, outputs, None)
    assert result.value == [0.25, 2, "2 runs"]
    assert result.used == {"jobs.train.outputs": outputs["train"]}
    (problem,) = resolve({"expr": "{{ jobs.train.outputs.loss }}", "with": {}}, outputs, None).problems
    assert problem.hint == "write jobs.train.outputs[0].outputs.loss, or map(attribute='outputs.loss')"


def test_an_output_may_be_optional() -> None:
    kept: Json = {"expr": "{{ jobs.prep.outputs.n | default(5) }}", "with": {}}
    assert resolve(kept, {"prep": {}}, None).value == 5
    assert resolve(kept, {"prep": {"n": 1}}, None).value == 1


def test_an_output_is_data_and_not_a_template_or_a_reference() -> None:
    kept: Json = {"expr": "{{ jobs.prep.outputs.x }}", "with": {}}
    assert resolve(kept, {"prep": {"x": "{{ secret('A') }}"}}, None).value == "{{ secret('A') }}"
    (problem,) = resolve(kept, {"prep": {"x": {"expr": "{{ secret('A') }}", "with": {}}}}, None).problems
    assert problem.code == "reserved_shape"


def test_a_kept_text_is_checked_again_because_it_may_come_from_a_file() -> None:
    for text in ("{{ ''.__class__ }}", "{{ secret('A') | upper }}", "{% for x in [] %}{% endfor %}", "{{ x", "{{ matrix.gone }}"):
        result = resolve({"expr": text, "with": {}}, {}, lambda name: "s3cr3t!")
        assert [problem.code for problem in result.problems] != [] and is_deferred(result.value)


def test_a_secret_with_a_character_that_no_process_takes_is_a_problem() -> None:
    (problem,) = resolve({"expr": "{{ secret('A') }}", "with": {}}, {}, lambda name: "canary\0").problems
    assert problem.summary == "the result holds a NUL character"


# --- promises about all texts -----------------------------------------------------------------------------------------

fragments = st.sampled_from([
    "{{", "}}", "{%", "%}", "{#", "#}", "if", "endif", "else", "raw", "endraw", "for", "x in", "var.n", "var.list", "matrix.lr",
    "target", "secret('A')", "file('p')", "jobs.prep.outputs.n", "'", '"', "(", ")", "[", "]", "{", "}", "|", "upper",
    "join", "int",
    "+", "-", "*", "**", "~", "%", "/", "//", ".", ",", ":", "is", "not", "defined", "0", "1", "9999999999", "1e300", "\\", "\n",
    " ", "a", "\u202e", "\ud800",
])


@given(st.lists(fragments, max_size=14).map("".join) | st.text(max_size=30).map(lambda text: "{{" + text + "}}"))
def test_no_text_breaks_rendering(text: str) -> None:
    """Any text is rendered, kept, or a problem; twice the same."""
    problems: list[Problem] = []
    first = renderer().render(text, MATRIX, problems.append)
    again: list[Problem] = []
    assert renderer().render(text, MATRIX, again.append).value == first.value
    assert problems == again
    json.dumps(first.value, allow_nan=False)
    if is_deferred(first.value) and not problems:
        resolve(first.value, {"prep": {"n": 1}}, lambda name: "s3cr3t!")


def test_rendering_gives_equal_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import json; from jobform.config.render import Renderer\n"
        "r = Renderer({'m': {'b': 1, 'a': [2]}, 'l': ['x', 'y', 'x']}, (), None, str, ['p'])\n"
        "v = r.render(['{{ var.m }}', '{{ var.m | tojson }}', '{{ var.l | unique }}',"
        " '{{ secret(\"A\") }}{{ var.m }}{{ var.l }}'], {}, print).value\n"
        "r.render('{{ var.x }}{{ var.l | foo }}', {}, print); print(json.dumps(v))"
    )
    here = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", code]
    outs = {
        subprocess.run(command, cwd=here, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(outs) == 1


def test_a_project_without_templates_does_not_import_jinja() -> None:
    code = (
        "import sys; from jobform.config.render import Renderer, resolve; from jobform.config.secrets import secret_names\n"
        "Renderer({}, (), None, str, ()).render({'a': ['b {c} }}']}, {}, print)\n"
        "resolve({'a': 1}, {}, None); secret_names({'a': 1})\n"
        "sys.exit('jinja2' in sys.modules)"
    )
    here = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=here, check=False).returncode == 0


@pytest.mark.slow
def test_ten_thousand_jobs_render_in_about_half_a_second() -> None:
    specs: list[dict[str, Any]] = [
        {"command": ["python", "--lr", "{{ matrix.lr }}"], "image": f"img-{i}:{{{{ var.image_tag }}}}", "timeout": "10m",
         "env": {"A": f"job {i} of {{{{ var.n + 1 }}}}"}}
        for i in range(10_000)
    ]
    shared = renderer()
    start = time.process_time()
    for spec in specs:
        shared.render(spec, MATRIX, pytest.fail)
    assert time.process_time() - start < 2
