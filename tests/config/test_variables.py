"""Where a variable's value comes from, and everything that can be wrong with it."""

from pathlib import Path

import click
import pytest

from jobform.cli.options import where
from jobform.config.read import ReadOptions
from jobform.model.errors import InputError
from jobform.model.job import Settings

from .projects import settings

TEXT = """\
jobform: 1
project: demo
variables:
  tag: {type: string, default: one}
  count: {type: integer, default: 1}
  rate: {type: number, default: 0.5}
  fast: {type: boolean, default: false}
  sites: {type: list, default: [a]}
  sizes: {type: map, default: {a: 1}}
  token: {sensitive: true}
targets:
  dev: {variables: {tag: target}, state: {type: file, path: dev.json}}
  prod: {}
default_target: dev
"""


def read(directory: Path, text: str = TEXT, **options: object) -> Settings:
    return settings(directory, text, ReadOptions(**options))  # type: ignore[arg-type]  # tests name what they give


def wrong(directory: Path, text: str = TEXT, **options: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(directory, text, **options)
    return [f"{found.code}: {found.summary}" for found in caught.value.diagnostics]


def test_the_last_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "v.yaml"
    file.write_text("tag: file\n")
    environ = {"JOBFORM_VAR_tag": "environ"}
    assert read(tmp_path, target="prod").variables["tag"] == "one"
    assert read(tmp_path).variables["tag"] == "target"
    assert read(tmp_path, environ=environ).variables["tag"] == "environ"
    assert read(tmp_path, environ=environ, var_files=(file,)).variables["tag"] == "file"
    assert read(tmp_path, environ=environ, var_files=(file,), variables=(("tag", "flag"),)).variables["tag"] == "flag"


def test_text_is_read_by_the_declared_type(tmp_path: Path) -> None:
    given = (("tag", "3.10"), ("count", "7"), ("rate", "1e-3"), ("fast", "true"), ("sites", "[a, b]"), ("sizes", '{"a": 2}'))
    found = read(tmp_path, variables=given).variables
    assert found == {"tag": "3.10", "count": 7, "rate": 0.001, "fast": True, "sites": ["a", "b"], "sizes": {"a": 2}}


def test_upper_case_names_in_the_environment_are_understood(tmp_path: Path) -> None:
    assert read(tmp_path, environ={"JOBFORM_VAR_TAG": "upper"}).variables["tag"] == "upper"
    assert read(tmp_path, environ={"JOBFORM_VAR_TAG": "upper", "JOBFORM_VAR_tag": "exact"}).variables["tag"] == "exact"


def test_undeclared_ones_in_the_environment_belong_to_others(tmp_path: Path) -> None:
    assert "other" not in read(tmp_path, environ={"JOBFORM_VAR_other": "x"}).variables


def test_sensitive_ones_have_no_value_here(tmp_path: Path) -> None:
    found = read(tmp_path, environ={"JOBFORM_VAR_token": "s3cret-value"})
    assert found.sensitive == {"token"}
    assert "s3cret-value" not in repr(found)


@pytest.mark.parametrize(("variables", "message"), [
    ((("tga", "1"),), "unknown_variable: the variable tga is not declared"),
    ((("tag", "1"), ("tag", "2")), "bad_variable: --var tag is given twice"),
    ((("", "1"),), "bad_assignment: --var needs a name before ="),
    ((("count", "1.5"),), "bad_variable: --var count must be a whole number, not '1.5'"),
    ((("count", "true"),), "bad_variable: --var count must be a whole number, not 'true'"),
    ((("fast", "yes"),), "bad_variable: --var fast must be true or false, not 'yes'"),
    ((("rate", ".nan"),), "bad_variable: --var rate must be a number: .nan is not allowed: JSON has no such number"),
    ((("sites", "a"),), "bad_variable: --var sites must be a list, not 'a'"),
    ((("sizes", "{a: 1, a: 2}"),), "bad_variable: --var sizes must be a map: the key 'a' is written twice"),
    ((("sizes", "[" * 100_000),), "bad_variable: --var sizes must be a map: values are nested too deep (limit 100)"),
    ((("token", "x"),), "sensitive_value: the variable token is sensitive and cannot be given by --var token"),
])
def test_what_is_wrong_on_the_command_line(tmp_path: Path, variables: tuple[tuple[str, str], ...], message: str) -> None:
    assert wrong(tmp_path, variables=variables) == [message]


@pytest.mark.parametrize(("name", "text", "message"), [
    ("v.json", '{"tag": "a", "tag": "b"}', "bad_json: the key 'tag' is written twice"),
    ("v.json", '{"rate": NaN}', "bad_json: NaN is not allowed: JSON has no such number"),
    ("v.json", '{"rate": 1e999}', "bad_json: the number 1e999 is too large"),
    ("v.json", "[" * 100_000, "nesting_too_deep: values are nested too deep (limit 100)"),
    ("v.json", '{"sites": ' + "[" * 200 + "]" * 200 + "}", "bad_json: values are nested too deep (limit 100)"),
    ("v.json", '{"tag": }', "json_syntax: this is not valid JSON: Expecting value"),
    ("v.json", "[1]", "wrong_type: {file} must be a map of variables"),
    ("v.yaml", "tag: a\ntag: b\n", "duplicate_key: the key 'tag' is written twice"),
    ("v.yaml", "tag: 3.10\n", "bad_variable: the value in {file} of the variable tag must be a string, not the value 3.1"),
    ("v.yaml", "tga: a\n", "unknown_variable: the variable tga is not declared"),
    ("v.yaml", "token: a\n", "sensitive_value: the variable token is sensitive and cannot be given by the value in {file}"),
])
def test_what_is_wrong_in_a_file_of_variables(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert wrong(tmp_path, var_files=(file,)) == [message.replace("{file}", str(file))]


def test_a_json_file_may_hold_what_yaml_cannot(tmp_path: Path) -> None:
    file = tmp_path / "v.json"
    file.write_text('{"tag": "\\ud83d\\ude00"}')
    assert read(tmp_path, var_files=(file,)).variables["tag"] == "\U0001f600"


def test_a_missing_file_of_variables(tmp_path: Path) -> None:
    (message,) = wrong(tmp_path, var_files=(tmp_path / "none.yaml",))
    assert message.startswith("no_such_file: --var-file: there is no file")


@pytest.mark.parametrize(("declaration", "message"), [
    ("a: {}", "no_value: the variable a has no value"),
    ("a: {default: 3.10}", "bad_variable: the default of the variable a must be a string, not the value 3.1"),
    ("a: {type: integer, default: true}",
     "bad_variable: the default of the variable a must be a whole number, not the value true"),
    ("a: {sensitive: true, default: x}", "sensitive_value: the sensitive variable a has its value in a file"),
    ("a: {default: x}\n  A: {default: y}", "confusable_names: the variables a and A differ only by case"),
    ('a: {default: "{{ target }}"}', "template_not_allowed: templates are not allowed in variables.a.default"),
    ("a-b: {default: x}", 'bad_key: the key "a-b" is not allowed here'),
])
def test_what_is_wrong_in_a_declaration(tmp_path: Path, declaration: str, message: str) -> None:
    assert wrong(tmp_path, f"jobform: 1\nproject: demo\nvariables:\n  {declaration}\n") == [message]


def test_assignments_on_the_command_line() -> None:
    def parsed(text: str) -> tuple[tuple[str, str], ...]:
        return where({"variables": (text,), "var_files": (), "chdir": ".", "target": None, "accept_older_state": False}).variables

    assert parsed("a=b=c") == (("a", "b=c"),)
    assert parsed("a=") == (("a", ""),)
    for text in ("a", "=1", ""):
        with pytest.raises(click.UsageError):
            parsed(text)
