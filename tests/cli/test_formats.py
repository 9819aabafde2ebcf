"""What machines read: every document against its published schema, the event stream, and where defaults come from."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from jobform.schema import document_names, load_document
from tests.cli.conftest import Cli, Make, job


def check(name: str, document: Any) -> None:
    documents = [load_document(other) for other in document_names()]
    registry: Registry[Any] = Registry().with_resources(
        [(document.get("$id", ""), Resource.from_contents(document)) for document in documents]
    )
    errors = list(Draft202012Validator(load_document(name), registry=registry).iter_errors(document))
    assert not errors, [f"{error.json_path}: {error.message}" for error in errors]


@pytest.fixture
def applied(make: Make, cli: Cli) -> Path:
    directory = make({
        "prep": job('echo \'{"rows": 3, "who": "me"}\' > "$JOBFORM_OUTPUT"'),
        "train": job("true", needs=["prep"]), "bad": job("exit 3"), "after": job("true", needs=["bad"]),
    })
    assert cli("apply", "--auto-approve", cwd=directory).exit == 7
    return directory


def test_plan(cli: Cli, make: Make, applied: Path) -> None:
    check("plan", cli("plan", "--format", "json", cwd=applied).json)
    check("plan", cli("plan", "--destroy", "--format", "json", cwd=applied).json)
    check("plan", cli("plan", "--offline", "--format", "json", cwd=applied).json)
    fresh = make({"a": job("true")}, name="fresh")
    check("plan", cli("plan", "--out", "x.json", "--format", "json", cwd=fresh).json)
    check("plan", cli("show", "x.json", "--format", "json", cwd=fresh).json)


def test_status_and_history(cli: Cli, applied: Path) -> None:
    document = cli("status", "--format", "json", cwd=applied).json
    check("status", document)
    assert {entry["address"]: entry["phase"] for entry in document["jobs"]} == {
        "prep": "succeeded", "train": "succeeded", "bad": "failed", "after": None,
    }
    check("history", cli("history", "bad", "--format", "json", cwd=applied).json)
    runs = cli("history", "--format", "json", cwd=applied).json["runs"]
    assert [(run["command"], run["exit"]) for run in runs] == [("apply", 7)]


def test_diagnostics(cli: Cli, applied: Path) -> None:
    good = cli("validate", "--format", "json", cwd=applied)
    check("diagnostics", good.json)
    assert (good.exit, good.json["valid"]) == (0, True)
    (applied / "jobs" / "jobs.yaml").write_text("jobs:\n  a: {backend: her, spec: {comand: [x]}}\n")
    bad = cli("validate", "--format", "json", cwd=applied)
    check("diagnostics", bad.json)
    assert (bad.exit, bad.json["valid"], bad.stderr) == (3, False, "")
    assert all(found["file"] and found["line"] for found in bad.json["diagnostics"])


def test_events(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true"), "b": job("exit 1", needs=["a"])})
    done = cli("apply", "--auto-approve", "--format", "json", cwd=directory)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    for line in lines:
        check("events", line)
    assert lines[0]["type"] == "version"
    assert (lines[-1]["type"], lines[-1]["exit"]) == ("summary", 8)
    assert done.exit == 8
    assert done.stderr == ""
    for command in (("advance",), ("wait",), ("rerun", "a"), ("cancel", "a"), ("destroy", "--auto-approve")):
        again = cli(*command, "--format", "json", cwd=directory)
        events = [json.loads(line) for line in again.stdout.splitlines()]
        assert (events[0]["type"], events[-1]["type"], events[-1]["exit"]) == ("version", "summary", again.exit), command
        for line in events:
            check("events", line)


@pytest.mark.parametrize("command", [
    ("plan",), ("status",), ("show",), ("state", "list"), ("output", "prep"), ("lock", "show"), ("history",),
])
def test_every_document_is_one_object_with_a_version(command: tuple[str, ...], cli: Cli, applied: Path) -> None:
    done = cli(*command, "--format", "json", cwd=applied)
    assert done.json["format_version"] == 1
    assert done.stderr == ""


@pytest.mark.parametrize("command", [("apply", "--auto-approve"), ("advance",), ("plan",), ("status",), ("show",)])
def test_errors_of_a_machine_format(command: tuple[str, ...], cli: Cli, applied: Path) -> None:
    """People read standard error; programs a stream that still ends with its summary, or a document of what was found."""
    (applied / "jobform.yaml").write_text("jobform: 1\nprojct: x\n")
    done = cli(*command, "--format", "json", cwd=applied)
    assert done.exit == 3
    assert "projct" in done.stderr
    if command[0] in ("apply", "advance"):
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert (lines[0]["type"], lines[-1]["type"], lines[-1]["exit"]) == ("version", "summary", 3)
        assert any(line["type"] == "diagnostic" for line in lines)
    else:
        check("diagnostics", done.json)


def test_step_summary(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({"a": job("true")})
    place = tmp_path / "summary.md"
    place.write_text("before\n")
    assert cli("plan", cwd=directory, env={"GITHUB_STEP_SUMMARY": str(place)}).exit == 0
    assert place.read_text().startswith("before\n")
    assert "1 to create" in place.read_text()
    refused = cli("plan", cwd=directory, env={"GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert refused.exit == 0
    assert "GITHUB_STEP_SUMMARY" in refused.stderr
    assert cli("apply", "--auto-approve", cwd=directory, env={"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "x")}).exit == 0


def test_default_arguments(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true")})
    assert cli("plan", cwd=directory, env={"JOBFORM_CLI_ARGS": "--format json"}).json["summary"]["create"] == 1
    env = {"JOBFORM_CLI_ARGS_PLAN": "--format json --detailed-exitcode"}
    assert cli("-C", str(directory), "plan", cwd=directory.parent, env=env).exit == 2
    assert cli("status", cwd=directory, env=env).stdout.startswith("The state knows")
    assert cli("plan", "--format", "human", cwd=directory, env=env).stdout.startswith("Plan for")
    assert cli("state", "list", cwd=directory, env={"JOBFORM_CLI_ARGS": "--format json"}).json["addresses"] == []
    assert cli("state", "list", cwd=directory, env={"JOBFORM_CLI_ARGS_STATE_LIST": "--format json"}).json["addresses"] == []
    broken = cli("plan", cwd=directory, env={"JOBFORM_CLI_ARGS": "--format 'json"})
    assert broken.exit == 64
    assert "JOBFORM_CLI_ARGS" in broken.stderr
    unknown = cli("plan", cwd=directory, env={"JOBFORM_CLI_ARGS_PLAN": "--frmat json"})
    assert unknown.exit == 64
    assert "--format" in unknown.stderr


def test_the_directory_before_and_after_the_command(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({"a": job("true")})
    for arguments in (
        ("-C", str(directory), "plan"), ("plan", "-C", str(directory)), ("--chdir", "p", "plan"), ("-C", "p", "state", "list"),
        ("state", "list", "-C", "p"), ("-Cp", "plan"), ("plan", "--chdir=p"), ("-C", "p", "lock", "show"),
    ):
        assert cli(*arguments, cwd=tmp_path).exit == 0, arguments
