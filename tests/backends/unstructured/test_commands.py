"""Whole commands against the sandbox: what a user sees, and what the service is asked."""

import json
from typing import Any

import pytest

from jobform.sandbox.faults import Fault, Then
from tests.backends.unstructured.conftest import FOREVER, JOBS, nodes
from tests.sandboxed import Desk

EMPTY = "--detailed-exitcode"


def read_state(desk: Desk, address: str) -> Any:
    return json.loads(desk.run("history", address, "--format", "json").stdout)["attempts"]


@pytest.fixture
def parse(desk: Desk) -> Desk:
    """One job that reads one document."""
    desk.file("docs/a.txt")
    desk.write({"parse": {"template_id": "hi_res_partition", "input_files": ["docs/a.txt"], "download_to": "out"}})
    return desk


def test_a_job_from_its_plan_to_its_end(parse: Desk) -> None:
    assert "no-op" not in parse.run("plan", EMPTY, exits=2).stdout
    parse.run("apply", "--auto-approve")
    assert [element["text"] for element in json.loads((parse.directory / "out/a.txt.json").read_text())] == ["one", "two"]
    parse.run("plan", EMPTY)
    assert "parse" in parse.run("status").stdout
    (attempt,) = read_state(parse, "parse")
    assert attempt["outputs"]["files"] == [{"file_id": "a.txt", "input": "docs/a.txt", "path": "out/a.txt.json"}]
    assert attempt["inputs"]["docs/a.txt"].startswith("sha256:")
    assert "job COMPLETED (SUCCESS)" in parse.run("logs", "parse").stdout
    assert parse.run("output", "parse", "directory").stdout == "out\n"
    parse.run("destroy", "--auto-approve")
    assert parse.posts() == 1


def test_a_changed_document_is_a_changed_job(parse: Desk) -> None:
    parse.run("apply", "--auto-approve")
    parse.file("docs/a.txt", "three\n")
    plan = parse.run("plan", EMPTY, exits=2).stdout
    assert "parse will run again on unstructured as attempt 2" in plan
    assert 'inputs[docs/a.txt]: "sha256:' in plan
    parse.run("apply", "--auto-approve")
    assert [element["text"] for element in json.loads((parse.directory / "out/a.txt.json").read_text())] == ["three"]
    parse.run("plan", EMPTY)
    assert parse.posts() == 2


def test_a_saved_plan_sends_what_was_planned_or_nothing(parse: Desk) -> None:
    parse.run("plan", "--out", "plan.json")
    parse.file("docs/a.txt", "another\n")
    done = parse.run("apply", "plan.json", exits=7)
    assert "'docs/a.txt' has changed since it was accepted" in done.stdout + done.stderr
    assert parse.posts() == 0
    parse.file("docs/a.txt")
    parse.run("apply", "plan.json")
    assert parse.posts() == 1


def test_needs_read_what_was_downloaded(desk: Desk) -> None:
    desk.file("docs/a.txt")
    desk.write({
        "parse": {"template_id": "hi_res_partition", "input_files": ["docs/a.txt"], "download_to": "out"},
        "count": {"backend": "here", "spec": {
            "command": ["sh", "-c", "cat out/a.txt.json > seen; echo $WHERE"],
            "env": {"WHERE": "{{ jobs.parse.outputs.directory }}"}, "working_dir": str(desk.directory),
        }},
    })
    desk.run("apply", "--auto-approve")
    assert "two" in (desk.directory / "seen").read_text()
    assert desk.run("logs", "count").stdout == "out\n"


def test_a_running_job_is_never_stopped_for_a_changed_document(desk: Desk) -> None:
    desk.file("docs/a.txt")
    desk.write({"parse": {"job_nodes": nodes(**FOREVER), "input_files": ["docs/a.txt"]}})
    desk.run("apply", "--auto-approve", "--detach")
    assert "IN_PROGRESS" in desk.run("logs", "parse").stdout
    desk.file("docs/a.txt", "new")
    assert "it is running, and the change needs a new attempt" in desk.run("plan", EMPTY, exits=2).stdout
    desk.run("cancel", "parse")
    assert "cancelled" in desk.run("status").stdout
    assert desk.posts() == 1


def test_a_failed_job_says_why(desk: Desk) -> None:
    desk.file("docs/a.txt")
    desk.write({"parse": {"job_nodes": nodes(SANDBOX_EXIT=2), "input_files": ["docs/a.txt"]}})
    desk.run("apply", "--auto-approve", exits=8)
    (attempt,) = read_state(desk, "parse")
    assert (attempt["phase"], attempt["native_reason"]) == ("failed", "the sandbox ended it with 2")


def test_failed_files_are_a_warning_and_in_the_outputs(desk: Desk) -> None:
    desk.file("docs/a.txt")
    desk.file("docs/b.txt")
    desk.write({"parse": {"job_nodes": nodes(SANDBOX_FAILED_FILES="b.txt"), "input_files": ["docs/a.txt", "docs/b.txt"]}})
    done = desk.run("apply", "--auto-approve")
    assert "it succeeded with 1 failed file: b.txt: as asked" in done.stdout + done.stderr
    (attempt,) = read_state(desk, "parse")
    assert attempt["outputs"]["failed_files"] == [{"document": "b.txt", "error": "as asked"}]


def test_a_new_directory_is_filled_without_a_new_run(parse: Desk) -> None:
    parse.run("apply", "--auto-approve")
    parse.write({"parse": {"template_id": "hi_res_partition", "input_files": ["docs/a.txt"], "download_to": "other"}})
    assert "spec.download_to" in parse.run("plan", EMPTY, exits=2).stdout
    parse.run("apply", "--auto-approve")
    assert (parse.directory / "other/a.txt.json").exists()
    parse.run("plan", EMPTY)
    assert parse.posts() == 1


@pytest.mark.parametrize("applied", [False, True])
def test_a_lost_answer_is_held_unless_nothing_was_made(parse: Desk, applied: bool) -> None:
    """Whether it took effect cannot be told: nothing in a job is ours, and the one that is there may be anybody's."""
    parse.sandbox.faults.set([Fault("unstructured", "POST", JOBS, then=Then.DROP, applied=applied)])
    parse.run("apply", "--auto-approve", exits=7)
    assert parse.posts() == 1
    assert "parse: held: unknown_submission" in parse.run("apply", "--auto-approve", exits=7).stdout
    assert parse.posts() == 1, "no second POST, whatever became of the first"
    assert len(parse.sandbox.world("unstructured").jobs) == int(applied)
    plan = parse.run("plan", EMPTY).stdout
    assert "jobform state resolve 'parse' --found ID | --not-submitted" in plan
    if applied:
        (run,) = parse.sandbox.world("unstructured").jobs
        assert run in plan, "the candidates are named"
        parse.run("state", "resolve", "parse", "--found", run)
    else:
        assert "its absence is certain from" in plan
        parse.run("state", "resolve", "parse", "--not-submitted")
    parse.run("apply", "--auto-approve")
    assert parse.posts() == 2 - int(applied)
    assert (parse.directory / "out/a.txt.json").exists(), "what was found is fetched like any other"
    parse.run("plan", EMPTY)


def test_an_output_that_is_late_is_waited_for(parse: Desk) -> None:
    parse.sandbox.faults.set([
        Fault("unstructured", "GET", ".*/download", times=2, then=Then.ANSWER, status=200, body="<html>",
              headers={"Content-Type": "text/html"}),
    ])
    parse.run("apply", "--auto-approve")
    assert (parse.directory / "out/a.txt.json").exists()


@pytest.mark.parametrize(("change", "said"), [
    ({"UNSTRUCTURED_API_KEY": "other"}, "UNSTRUCTURED_API_KEY"),
    ({"UNSTRUCTURED_API_KEY": ""}, "UNSTRUCTURED_API_KEY"),
    ({"UNSTRUCTURED_API_URL": "http://127.0.0.1:9"}, "UNSTRUCTURED_API_URL"),
])
def test_a_wrong_account_is_one_diagnostic_and_changes_nothing(parse: Desk, change: dict[str, str], said: str) -> None:
    parse.environ |= change
    done = parse.run("apply", "--auto-approve", "--format", "json", exits=1)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [line for line in found if line.get("severity") == "error"]
    assert len(errors) == 1, done
    assert said in json.dumps(errors[0])
    assert list(parse.sandbox.world("unstructured").jobs) == []


def test_files_that_cannot_be_sent_block_the_plan(desk: Desk) -> None:
    desk.file("docs/a.txt", "x" * 100)
    desk.write({"parse": {"template_id": "hi_res_partition", "input_files": ["docs/a.txt"]}}, {"max_file_bytes": 99})
    plan = desk.run("plan", EMPTY, exits=2).stdout
    assert "'docs/a.txt' is larger than 99 bytes: max_file_bytes of the backend is 99 bytes" in plan
    desk.run("apply", "--auto-approve", exits=7)
    assert desk.posts() == 0


@pytest.mark.parametrize(("spec", "said", "place"), [
    ({"template_id": "x", "input_files": ["docs/none.txt"]}, "there is no file 'docs/none.txt'", "8:6"),
    ({"template_id": "x", "input_files": ["docs"]}, "'docs' is a directory, not a file", "8:6"),
    ({"template_id": "x", "input_files": ["../../etc/passwd"]}, "is not a path inside the project", "8:6"),
    ({"template_id": "x", "download_to": "docs/a.txt"}, "is no directory to write to", "7:20"),
    ({"template_id": "x", "download_to": "/tmp/out"}, "is not a path inside the project", "7:20"),
    ({"template_id": "x", "download_to": "{{ jobs.other.outputs.x }}"}, "must be known when the job is planned", "7:20"),
    ({"job_nodes": []}, '"job_nodes" must have at least 1 item', "6:18"),
    ({}, 'one of the keys "template_id" or "job_nodes" is needed', "5:4"),
])
def test_what_is_wrong_is_told_at_its_place_without_a_network(desk: Desk, spec: Any, said: str, place: str) -> None:
    desk.file("docs/a.txt")
    desk.write({"parse": spec, "other": {"template_id": "x"}})
    desk.environ = {}
    done = desk.run("validate", exits=3)
    assert said in done.stdout + done.stderr
    assert f"--> jobs/jobs.yaml:{place}\n" in done.stdout + done.stderr
    assert list(desk.sandbox.ledger.entries("request")) == []
    assert said in str(desk.run("plan", "--offline", exits=3))


def test_an_offline_plan_hashes_without_a_network(parse: Desk) -> None:
    parse.environ = {}
    assert "parse will be created" in parse.run("plan", "--offline").stdout
