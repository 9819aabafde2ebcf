"""The commands, from the first apply to the end, against the sandbox."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from jobform.sandbox.faults import Fault
from jobform.sandbox.world import Course, State
from tests.backends.fireworks.conftest import FOREVER, JOBS
from tests.sandboxed import Desk

TRAIN: Mapping[str, Any] = {"node_pool_id": "pool", "command": ["echo", "hello world"], "display_name": "train"}


def jobs(desk: Desk) -> list[Any]:
    return list(desk.sandbox.world("fireworks").jobs.values())


def test_from_the_first_plan_to_the_last(desk: Desk) -> None:
    desk.write({"train": TRAIN})
    desk.run("validate")
    desk.run("plan", "--detailed-exitcode", exits=2)
    assert "succeeded" in desk.run("apply", "--auto-approve").stdout
    desk.run("plan", "--detailed-exitcode")
    assert "succeeded" in desk.run("status").stdout
    assert desk.run("logs", "train").stdout == "hello from the sandbox\n"
    assert len(jobs(desk)) == 1
    desk.run("destroy", "--auto-approve")
    assert jobs(desk) == []


def test_a_failed_job_is_exit_8_and_says_what_the_service_said(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": {"SANDBOX_EXIT": "3"}}})
    desk.run("apply", "--auto-approve", exits=8)
    assert "the program ended with exit code 3" in desk.run("status").stdout


def test_the_output_stays_when_the_job_is_deleted(desk: Desk) -> None:
    desk.write({"train": TRAIN})
    desk.run("apply", "--auto-approve")
    world = desk.sandbox.world("fireworks")
    with world.held():
        world.jobs.clear()
    assert "hello from the sandbox" in desk.run("logs", "train").stdout
    desk.run("plan", "--detailed-exitcode")


def test_a_live_job_is_stopped_only_by_a_yes(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    assert "running" in desk.run("status").stdout
    desk.run("destroy", "--auto-approve", exits=7)
    assert jobs(desk)[0].state is State.RUNNING
    desk.run("cancel", "train")
    assert jobs(desk)[0].state in (State.CANCELLING, State.CANCELLED)
    desk.run("destroy", "--auto-approve")
    assert jobs(desk) == []


def test_destroy_with_a_yes_stops_waits_and_removes(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    desk.run("status")
    desk.run("destroy", "--auto-approve", "--allow-cancel", "train")
    assert jobs(desk) == []
    states = [entry["state"] for entry in desk.sandbox.ledger.entries("state")]
    assert states == ["queued", "running", "cancelling", "cancelled", "removed"]


def test_a_replacement_starts_after_the_end_of_what_it_replaces(desk: Desk) -> None:
    desk.write({"train": {"spec": {**TRAIN, "env": FOREVER}, "on_change_while_running": "cancel"}})
    desk.run("apply", "--auto-approve", "--detach")
    desk.run("status")
    desk.write({"train": {"spec": {**TRAIN, "num_ranks": 2}, "on_change_while_running": "cancel"}})
    desk.run("apply", "--auto-approve")
    states = [entry["state"] for entry in desk.sandbox.ledger.entries("state")]
    assert states.index("cancelled") < len(states) - 1 - states[::-1].index("queued")
    assert desk.posts() == 2


def test_what_may_change_is_changed_in_place(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    desk.write({"train": {**TRAIN, "env": FOREVER, "display_name": "renamed", "shared": True}})
    assert "1 to update" in desk.run("plan").stdout
    desk.run("apply", "--auto-approve", "--detach")
    assert desk.posts() == 1
    assert (jobs(desk)[0].body["displayName"], jobs(desk)[0].body["shared"]) == ("renamed", True)
    without = {key: value for key, value in TRAIN.items() if key != "display_name"}
    desk.write({"train": {**without, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    assert (jobs(desk)[0].body["displayName"], jobs(desk)[0].body["shared"]) == ("", False)
    desk.run("plan", "--detailed-exitcode")


@pytest.mark.parametrize(("key", "wire", "before", "after"), [
    ("shared", "shared", True, False), ("display_name", "displayName", "train", "somebody's"),
    ("display_name", "displayName", "train", ""),
])
def test_somebody_elses_change_is_noticed_and_taken_back(desk: Desk, key: str, wire: str, before: Any, after: Any) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER, key: before}})
    desk.run("apply", "--auto-approve", "--detach")
    desk.run("plan", "--detailed-exitcode")
    jobs(desk)[0].body[wire] = after
    shown = desk.run("plan", "--detailed-exitcode", exits=2).stdout
    assert f"spec.{key}" in shown
    assert "drifted" in shown
    desk.run("apply", "--auto-approve", "--detach")
    assert jobs(desk)[0].body[wire] == before
    desk.run("plan", "--detailed-exitcode")


@pytest.mark.parametrize("name", ["somebody's", "train"])
def test_what_may_drift_is_not_taken_back_with_what_may_not(desk: Desk, name: str) -> None:
    """What is sent is what the plan shows."""
    desk.write({"train": {"spec": {**TRAIN, "env": FOREVER, "shared": True}, "ignore_drift": ["shared"]}})
    desk.run("apply", "--auto-approve", "--detach")
    jobs(desk)[0].body |= {"displayName": name, "shared": False}
    assert ("spec.display_name" in desk.run("plan").stdout) == (name != "train")
    desk.run("apply", "--auto-approve", "--detach")
    assert (jobs(desk)[0].body["displayName"], jobs(desk)[0].body["shared"]) == ("train", False)
    desk.run("plan", "--detailed-exitcode")


def test_what_may_drift_is_not_taken_back_with_another_change(desk: Desk) -> None:
    """What is sent is what the plan shows."""
    train: dict[str, Any] = {"spec": {**TRAIN, "env": FOREVER, "shared": True}, "ignore_drift": ["shared"]}
    desk.write({"train": train})
    desk.run("apply", "--auto-approve", "--detach")
    jobs(desk)[0].body["shared"] = False
    train["spec"]["display_name"] = "renamed"
    desk.write({"train": train})
    assert "spec.shared" not in desk.run("plan").stdout
    desk.run("apply", "--auto-approve", "--detach")
    assert (jobs(desk)[0].body["displayName"], jobs(desk)[0].body["shared"]) == ("renamed", False)
    desk.run("plan", "--detailed-exitcode")


def test_what_the_service_fills_in_is_no_change(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER, "environment_id": "env"}})
    desk.run("apply", "--auto-approve", "--detach")
    assert jobs(desk)[0].body["snapshotId"]
    desk.run("plan", "--detailed-exitcode")


def test_a_secret_in_the_environment_is_neither_drift_nor_shown(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": {**FOREVER, "TOKEN": "{{ secret('TOKEN') }}"}}})
    desk.environ["JOBFORM_SECRET_TOKEN"] = "hush-hush-hush"
    planned = desk.run("plan").stdout
    assert "visible in fireworks" in planned, planned
    desk.run("apply", "--auto-approve", "--detach")
    assert jobs(desk)[0].body["envVars"]["TOKEN"] == "hush-hush-hush"
    del desk.environ["JOBFORM_SECRET_TOKEN"]  # whoever plans need not know it
    again = desk.run("plan", "--detailed-exitcode", "--format", "json")
    assert "hush-hush-hush" not in again.stdout + again.stderr
    assert "TOKEN" not in again.stdout + again.stderr, "the value is what was sent: nothing has drifted"
    for path in desk.directory.rglob("*"):
        assert not path.is_file() or b"hush-hush-hush" not in path.read_bytes(), path


# --- answers that never come ------------------------------------------------------------------------------------------


def test_a_lost_answer_before_any_effect_holds_the_job(desk: Desk) -> None:
    """The list shows no mark, and one may still appear: the job waits for ten minutes, and nothing is sent twice."""
    desk.write({"train": TRAIN})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} drop=before times=1")])
    desk.run("apply", "--auto-approve", exits=7)
    assert desk.posts() == 1
    assert jobs(desk) == []
    assert "its absence is certain from" in desk.run("plan").stdout
    held = desk.run("apply", "--auto-approve", exits=7)
    assert "unknown_submission" in held.stderr
    assert desk.posts() == 1
    desk.run("state", "resolve", "train", "--not-submitted")
    desk.run("apply", "--auto-approve", "--detach")
    assert (desk.posts(), len(jobs(desk))) == (2, 1)


@pytest.mark.parametrize("fault", ["drop=after", "status=502 applied=yes", "half=yes"])
def test_a_lost_answer_after_the_effect_is_adopted(desk: Desk, fault: str) -> None:
    desk.write({"train": TRAIN})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} times=1 {fault}")])
    desk.run("apply", "--auto-approve", "--detach")
    assert (desk.posts(), len(jobs(desk))) == (1, 1)
    assert jobs(desk)[0].id in desk.run("history", "train", "--format", "json").stdout, "it was adopted"
    desk.run("plan", "--detailed-exitcode")


def test_a_login_page_instead_of_an_answer_sends_nothing_twice(desk: Desk) -> None:
    desk.write({"train": TRAIN})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} times=1 html=yes")])
    desk.run("apply", "--auto-approve", exits=7)
    assert desk.posts() == 1


def test_a_refused_job_is_told_as_the_service_told_it(desk: Desk) -> None:
    desk.write({"train": TRAIN})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} times=1 status=400")])
    done = desk.run("apply", "--auto-approve", exits=7)
    assert "as asked" in done.stdout + done.stderr
    desk.run("apply", "--auto-approve", "--detach")
    assert (desk.posts(), len(jobs(desk))) == (2, 1)


# --- who asks, and where ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variables", "told", "exits"), [
    ({"FIREWORKS_API_KEY": "wrong"}, "FIREWORKS_API_KEY", 1),
    ({"FIREWORKS_API_KEY": ""}, "FIREWORKS_API_KEY", 1),
    ({"FIREWORKS_ACCOUNT_ID": "elsewhere"}, "FIREWORKS_ACCOUNT_ID", 1),
    ({"FIREWORKS_BASE_URL": "http://127.0.0.1:9"}, "FIREWORKS_BASE_URL", 1),
    ({"FIREWORKS_BASE_URL": "nonsense"}, "FIREWORKS_BASE_URL", 3),
])
def test_a_wrong_setting_is_one_diagnostic_that_names_it(
    desk: Desk, variables: dict[str, str], told: str, exits: int,
) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    state = (desk.directory / "jobform.state.json").read_bytes()
    desk.environ |= variables
    done = desk.run("plan", "--format", "json", exits=exits)
    found = json.loads(done.stdout)["diagnostics"] if done.stdout else done.stderr
    assert told in json.dumps(found)
    assert len(found) == 1 or isinstance(found, str)
    assert (desk.directory / "jobform.state.json").read_bytes() == state
    assert jobs(desk)[0].state is State.RUNNING


def test_another_account_is_another_place(desk: Desk) -> None:
    desk.write({"train": {**TRAIN, "env": FOREVER}}, {"account": "elsewhere"})
    done = desk.run("apply", "--auto-approve", exits=7)
    assert "`account` of the backend" in done.stdout + done.stderr
    assert desk.posts() == 0


def test_the_only_account_of_a_key_is_taken(desk: Desk) -> None:
    del desk.environ["FIREWORKS_ACCOUNT_ID"]
    desk.write({"train": TRAIN})
    desk.run("apply", "--auto-approve", "--detach")
    assert len(jobs(desk)) == 1


def test_validate_tells_every_mistake_where_it_stands(desk: Desk) -> None:
    spec = {"node_pool_id": "accounts/a/nodePools/b", "command": ["x"], "image": "a", "environment_id": "e", "num_ranks": 0}
    desk.write({"train": spec})
    done = desk.run("validate", exits=3)
    told = done.stdout + done.stderr
    for words in ('"image" and "environment_id" exclude each other', "short id of a node pool", "at least 1"):
        assert words in told
    assert told.count("jobs/jobs.yaml:") >= 3


# --- runs that were made elsewhere ------------------------------------------------------------------------------------------


def made_elsewhere(desk: Desk, **body: Any) -> str:
    """The id of a job that somebody made by hand."""
    world = desk.sandbox.world("fireworks")
    whole = {"nodePoolId": "pool", "numRanks": 1, "envVars": dict(FOREVER), **body}
    with world.held():
        world.add("byhand", "", whole, Course.of(FOREVER))
    return "byhand"


@pytest.mark.parametrize(("spec", "body"), [
    ({"command": ["echo", "a b"]}, {"shellExecutor": {"command": "echo 'a b'"}}),
    ({"shell_executor": {"command": "echo hi"}}, {"shellExecutor": {"command": "echo hi"}}),
    ({"shell_executor": {"command": "echo $A | cat"}, "shared": True},
     {"shellExecutor": {"command": "echo $A | cat"}, "shared": True}),
    ({"python_executor": {"target_type": "MODULE", "target": "t"}, "display_name": "n"},
     {"pythonExecutor": {"targetType": "MODULE", "target": "t"}, "displayName": "n"}),
    ({"notebook_executor": {"notebook_filename": "n"}, "environment_id": "e"},
     {"notebookExecutor": {"notebookFilename": "n"}, "environmentId": "e", "snapshotId": "e-latest"}),
])
def test_an_equal_run_is_taken_over(desk: Desk, spec: dict[str, Any], body: dict[str, Any]) -> None:
    run = made_elsewhere(desk, **body)
    desk.write({"train": {"node_pool_id": "pool", "env": FOREVER, **spec}})
    desk.run("import", "train", run)
    desk.run("plan", "--detailed-exitcode")
    assert desk.posts() == 0


@pytest.mark.parametrize(("spec", "body", "told"), [
    ({"shell_executor": {"command": "b"}}, {"shellExecutor": {"command": "a | b"}}, "shell_executor"),
    ({"command": ["b"]}, {"shellExecutor": {"command": "a"}}, "spec.command"),
    ({"command": ["b"]}, {"pythonExecutor": {"targetType": "MODULE", "target": "t"}}, "python_executor"),
    ({"command": ["b"], "shared": True}, {"shellExecutor": {"command": "b"}}, "spec.shared"),
    ({"command": ["b"]}, {"shellExecutor": {"command": "b"}, "envVars": {**FOREVER, "X": "1"}}, "spec.env.X"),
    ({"command": ["b"]}, {"shellExecutor": {"command": "b"}, "imageRef": "other"}, "spec.image"),
    ({"command": ["b"]}, {"shellExecutor": {"command": "b"}, "nodePoolId": "other"}, "spec.node_pool_id"),
])
def test_another_run_is_not_taken_over_unseen(desk: Desk, spec: dict[str, Any], body: dict[str, Any], told: str) -> None:
    run = made_elsewhere(desk, **body)
    desk.write({"train": {"node_pool_id": "pool", "env": FOREVER, **spec}})
    done = desk.run("import", "train", run, exits=1)
    assert told in done.stdout + done.stderr
    assert "train" not in desk.run("status").stdout
