"""The last look at a rendered spec."""

import time
from typing import Any

import pytest

from jobform.config.problem import Problem
from jobform.config.validate import validate_spec
from jobform.model.diagnostic import Severity
from jobform.model.job import Policy
from jobform.model.values import Json
from jobform.schema import SpecSchema

SCHEMA = SpecSchema({
    "type": "object", "required": ["command"], "additionalProperties": False,
    "properties": {
        "command": {
            "type": "array", "items": {"type": "string"}, "x-jobform-secret": "never", "x-jobform-reason": "everyone can read it",
        },
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "count": {"type": "integer"},
        "share": {"type": ["string", "number"]},
        "limits": {"type": "object", "additionalProperties": False, "properties": {"gpu": {"type": "integer"}}},
    },
})


NO_POLICY = Policy()


def look(spec: dict[str, Any], written: dict[str, Any] | None = None, policy: Policy = NO_POLICY) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    return validate_spec(spec, spec if written is None else written, SCHEMA, policy, problems.append), problems


def test_numbers_and_booleans_of_expressions_become_strings_where_strings_are_wanted() -> None:
    spec = {"command": ["a", 0.1, True, 1.0, 1e-07, 3], "env": {"A": 2}, "share": 0.5, "count": 2.0}
    written = {
        "command": ["a", "{{ x }}", "{{ x }}", "{{ x }}", "{{ x }}", "{{ x }}"], "env": {"A": "{{ x }}"}, "share": "{{ x }}",
        "count": "{{ x }}",
    }
    result, problems = look(spec, written)
    assert problems == []
    assert result == {"command": ["a", "0.1", "true", "1", "1e-7", "3"], "env": {"A": "2"}, "share": 0.5, "count": 2}
    assert str(result["count"]) == "2"


def test_a_whole_list_or_map_from_an_expression_counts_too() -> None:
    assert look({"command": ["a", 1], "env": {"A": False}}, {"command": "{{ x }}", "env": "{{ y }}"}) == (
        {"command": ["a", "1"], "env": {"A": "false"}}, [])


def test_a_number_that_was_written_stays_a_mistake() -> None:
    result, (problem,) = look({"command": ["a", 3.1]})
    assert result == {"command": ["a", 3.1]}
    assert (problem.path, problem.code, problem.hint) == (("command", 1), "wrong_type", 'quote it: "3.1"')


def test_lists_and_maps_do_not_become_strings() -> None:
    _, problems = look({"command": ["a", [1], {"b": 1}]}, {"command": ["a", "{{ x }}", "{{ y }}"]})
    assert [problem.path for problem in problems] == [("command", 1), ("command", 2)]


def test_outputs_are_judged_at_submission_and_values_are_not_shown() -> None:
    later = {"expr": "{{ jobs.p.outputs.x }}", "with": {}}
    assert look({"command": ["a"], "count": later}) == ({"command": ["a"], "count": later}, [])
    written = {"command": ["a", later], "count": later}
    assert look({"command": ["a", 4], "count": 4}, written) == ({"command": ["a", "4"], "count": 4}, [])
    _, (problem,) = look({"command": ["a", "b"], "count": "canary"}, written)
    assert problem.path == ("count",)
    assert "canary" not in repr(problem)


def test_optional_keys_are_left_out_where_the_schema_lacks_them() -> None:
    spec = {"command": ["a"], "ttl": "1h", "limits": {"gpu": 1, "tpu": 2}, "nodes": 2, "count": 1}
    result, problems = look(spec, policy=Policy(optional_keys=("ttl", "limits.tpu", "count", "elsewhere.x", "command.0")))
    assert result == {"command": ["a"], "limits": {"gpu": 1}, "nodes": 2, "count": 1}
    assert [(problem.code, problem.path, problem.at_key) for problem in problems] == [("unknown_key", ("nodes",), True)]
    assert spec["ttl"] == "1h"


TOKENS = {
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE", "a GitHub token": "ghp_" + "a1" * 18, "an API key": "sk-" + "x9" * 20,
    "a Hugging Face token": "hf_" + "aB" * 17, "a Slack token": "xoxb-" + "1234567890-abc",
    "a GitLab token": "glpat-" + "x_9-" * 5,
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nabc", "a Google API key": "AIza" + "x" * 35,
    "a signed token (JWT)": "eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0" + ".abc",
    "a password in a URL": "postgres://me:hunter2@db/x",
}


@pytest.mark.parametrize(("what", "value"), TOKENS.items())
def test_plain_secrets_are_found_and_not_repeated(what: str, value: str) -> None:
    for text in (value, f"--token={value} --other"):
        _, (problem,) = look({"command": ["a"], "env": {"KEY": text}})
        assert (problem.path, problem.code, problem.summary) == (("env", "KEY"), "plain_secret", f"env.KEY looks like {what}")
        assert value not in repr(problem)
        assert look({"command": ["a"], "env": {"KEY": text}}, policy=Policy(allow_plain=("KEY",)))[1] == []
    _, problems = look({"command": ["a", value]})
    assert [problem.code for problem in problems] == ["plain_secret"]


@pytest.mark.parametrize("text", [
    "https://example.com/a?b=c@d", "https://me@example.com/x", "git@github.com:acme/train.git", "s3://bucket/AKIA", "sk-learn",
    "hf_hub", "mask-sk-x", "image:tag@sha256:abc", "a" * 64, "https://host:8080/path@v1", "skill-" + "x" * 40,
])
def test_what_only_resembles_a_secret_is_let_through(text: str) -> None:
    assert look({"command": ["a"], "env": {"K": text}})[1] == []


def test_a_literal_beside_a_secret_is_found_and_a_reference_in_a_url_is_not() -> None:
    clean = {"expr": "postgres://me:{{ secret('DB') }}@db/x", "with": {}}
    assert look({"command": ["a"], "env": {"U": clean}})[1] == []
    dirty = {"expr": TOKENS["a GitHub token"] + "{{ secret('DB') }}", "with": {}}
    assert [problem.code for problem in look({"command": ["a"], "env": {"U": dirty}})[1]] == ["plain_secret"]


def test_secrets_stay_out_of_what_everyone_can_read() -> None:
    for expr in ("{{ secret('X') }}", "--key={{ var.token }}"):
        kept: Json = {"expr": expr, "with": {}}
        _, (problem,) = look({"command": ["a", kept], "env": {"K": kept}})
        assert (problem.path, problem.code) == (("command", 1), "secret_not_allowed")
        assert (problem.detail, problem.hint) == ("everyone can read it", "pass it through env")
    assert look({"command": ["a", {"expr": "{{ jobs.p.outputs.x }}{{ var.n }}", "with": {"var.n": 1}}]})[1] == []


@pytest.mark.parametrize(("text", "severity"), [
    ("a\u202eb", Severity.WARNING), ("\u200bx", Severity.WARNING), ("\x1b[2J", Severity.WARNING), ("\x07", Severity.WARNING),
    ("a\0b", Severity.ERROR), ("\ud800", Severity.ERROR), ("tab\tline\n\r", None), ("ä \u00e9 \u4e2d", None),
])
def test_characters_that_deceive(text: str, severity: Severity | None) -> None:
    _, problems = look({"command": ["a"], "env": {"K": text}})
    assert [(problem.code, problem.severity) for problem in problems] == ([("odd_character", severity)] if severity else [])


def test_characters_that_deceive_are_errors_in_keys() -> None:
    _, (problem,) = look({"command": ["a"], "env": {"K\u200b": "x"}})
    assert (problem.code, problem.severity, problem.at_key) == ("odd_character", Severity.ERROR, True)
    assert "U+200B" in problem.summary


def test_long_texts_are_searched_in_linear_time() -> None:
    for unit in ("eyJ", "://a:", "-----BEGIN ", "sk-", "ghp_", "://:", "eyJaaaaaaaa.", "xoxb-", "A", "hf_a"):
        start = time.process_time()
        look({"command": ["a"], "env": {"K": unit * (200_000 // len(unit))}}, policy=Policy(allow_plain=("K",)))
        assert time.process_time() - start < 10, unit


@pytest.mark.slow
def test_ten_thousand_specs_are_looked_at_in_about_a_quarter_of_a_second() -> None:
    written = {"command": ["python", "train.py", "--lr", "{{ x }}"]}
    specs = [{"command": ["python", "train.py", "--lr", 0.1], "env": {"A": f"job {i}", "B": "x" * 30}} for i in range(10_000)]
    start = time.process_time()
    for spec in specs:
        look(spec, written)
    assert time.process_time() - start < 1.5
