"""The commands, from the first apply to the end, against the sandbox."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from jobform.sandbox.faults import Fault
from jobform.sandbox.world import State
from tests.backends.runai.conftest import RUNS, Project
from tests.entry import Hook

TRAIN: Mapping[str, Any] = {"image": "python:3.12", "command": ["echo", "hello"], "resources": {"gpu": {"count": 1}}}
FOREVER: Mapping[str, Any] = {**TRAIN, "env": RUNS}
TRAININGS = "/api/v1/workloads/trainings"

AHEAD = 300.0
"""Seconds: what was begun by a clock that is so far ahead has not been absent for long, however slow the machine is."""

BOTH = pytest.mark.parametrize("api", ["jobs", "workloads"])
MOSTLY = pytest.mark.parametrize("api", ["jobs", pytest.param("workloads", marks=pytest.mark.slow)])
"""For what takes a while and hardly depends on the API."""


def path(api: str) -> str:
    return {"jobs": "/api/v1/jobs", "workloads": TRAININGS}[api]


def only(project: Project) -> Any:
    [job] = project.sandbox.world("runai").jobs.values()
    return job


@MOSTLY
def test_from_the_first_plan_to_the_last(made: Project, api: str) -> None:
    made.write({"train": TRAIN}, api=api)
    made.run("validate")
    made.run("plan", "--detailed-exitcode", exits=2)
    assert "succeeded" in made.run("apply", "--auto-approve").stdout
    made.run("plan", "--detailed-exitcode")
    assert "succeeded" in made.run("status").stdout
    name = only(made).extra["name"]
    shown = made.run("logs", "train", exits=1).stderr
    assert "the Run:ai API has no logs" in shown
    assert f"runai logs {name} -p team-a" in shown
    assert made.posts(path(api)) == 1
    made.run("destroy", "--auto-approve")
    assert not made.jobs


@MOSTLY
def test_a_failed_job_is_exit_8(made: Project, api: str) -> None:
    made.write({"train": {**TRAIN, "env": {"SANDBOX_EXIT": "3"}}}, api=api)
    made.run("apply", "--auto-approve", exits=8)
    made.run("plan", "--detailed-exitcode")


@MOSTLY
def test_a_live_job_is_stopped_only_by_a_yes_and_is_cancelled_then(made: Project, api: str) -> None:
    made.write({"train": FOREVER}, api=api)
    made.run("apply", "--auto-approve", "--detach")
    assert "running" in made.run("status").stdout
    made.run("destroy", "--auto-approve", exits=7)
    assert only(made).state is State.RUNNING
    made.run("cancel", "train")
    assert "cancelled" in made.run("status").stdout
    assert not made.jobs or only(made).state is State.CANCELLED
    held = made.run("plan", "--detailed-exitcode").stdout
    assert "1 held" in held, "cancelled, and not lost"
    assert made.posts(path(api)) == 1


@BOTH
def test_a_job_that_vanished_is_lost_and_never_silently_done(made: Project, api: str) -> None:
    made.write({"train": {**FOREVER, "ttl": "1h"}}, api=api)
    made.run("apply", "--auto-approve", "--detach")
    world = made.sandbox.world("runai")
    with world.held():
        world.remove(only(made))
    shown = made.run("plan", "--detailed-exitcode").stdout
    assert "lost" in shown
    assert "1 held" in shown
    assert made.posts(path(api)) == 1


@BOTH
def test_a_lost_answer_before_any_effect_holds_the_job(made: Project, api: str) -> None:
    made.write({"train": TRAIN}, api=api)
    made.sandbox.faults.set([Fault.parse(f"method=POST path={path(api)} drop=before")])
    made.run("apply", "--auto-approve", exits=7, hook=Hook(ahead=AHEAD))
    assert "its absence is certain from" in made.run("plan").stdout
    made.run("apply", "--auto-approve", exits=7)
    assert made.posts(path(api)) == 1, "nothing is sent twice"
    assert not made.jobs


@BOTH
@pytest.mark.parametrize("fault", [
    "drop=after", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("status=502 applied=yes", "half=yes")),
])
def test_a_lost_answer_after_the_effect_is_adopted(made: Project, api: str, fault: str) -> None:
    made.write({"train": FOREVER}, api=api)
    made.sandbox.faults.set([Fault.parse(f"method=POST path={path(api)} {fault}")])
    made.run("apply", "--auto-approve", "--detach")
    assert made.posts(path(api)) == 1
    assert only(made).id in made.run("history", "train", "--format", "json").stdout, "it was adopted"
    made.run("plan", "--detailed-exitcode")


@MOSTLY
@pytest.mark.parametrize(("effect", "posts"), [("remote.create.before", 0), ("remote.create.after", 1)])
def test_a_kill_around_the_create_is_settled_by_the_next_command(made: Project, api: str, effect: str, posts: int) -> None:
    made.write({"train": FOREVER}, api=api)
    made.run("apply", "--auto-approve", "--detach", exits=-9, hook=Hook(at=1, name=effect, ahead=AHEAD))
    assert made.posts(path(api)) == posts
    made.run("apply", "--auto-approve", "--detach", exits=0 if posts else 7)
    assert made.posts(path(api)) == posts, "adopted, or on hold until the absence is certain"
    assert len(made.jobs) == posts
    if not posts:
        made.run("state", "resolve", "train", "--not-submitted")
        made.run("apply", "--auto-approve", "--detach")
    assert len(made.jobs) == 1
    made.run("plan", "--detailed-exitcode")


@BOTH
def test_a_lost_second_look_is_no_second_job(made: Project, api: str) -> None:
    """The id is read after the create: when that fails for a whole command, the next one finds the job by its name."""
    made.write({"train": FOREVER}, api=api)
    looks = f"{path(api)}/.*" if api == "jobs" else "/api/v1/workloads"
    made.sandbox.faults.set([
        Fault.parse(f"method=POST path={path(api)} drop=after"), Fault.parse(f"method=GET path={looks} status=404 times=1000"),
    ])
    made.run("apply", "--auto-approve", "--detach", exits=7)
    made.sandbox.faults.set([])
    made.run("apply", "--auto-approve", "--detach")
    assert made.posts(path(api)) == 1
    assert len(made.jobs) == 1
    made.run("plan", "--detailed-exitcode")


@MOSTLY
def test_a_name_of_ones_own_is_freed_before_it_is_used_again(made: Project, api: str) -> None:
    made.write({"train": {**TRAIN, "job_name": "bert-tiny"}}, api=api)
    made.run("apply", "--auto-approve")
    first = only(made).id
    made.write({"train": {**FOREVER, "job_name": "bert-tiny"}}, api=api)
    made.run("apply", "--auto-approve", "--detach")
    second = only(made)
    assert (second.id != first, second.extra["name"]) == (True, "bert-tiny")
    assert made.posts(path(api)) == 2
    made.write({"train": {**FOREVER, "job_name": "bert-tiny", "args": ["again"]}}, api=api)
    made.run("apply", "--auto-approve", "--detach", exits=7)  # it runs, and nobody said that it may be stopped
    made.run("apply", "--auto-approve", "--detach", "--allow-cancel", "train")
    made.run("advance", exits=2)
    assert only(made).id not in (first, second.id)
    assert made.posts(path(api)) == 3


@BOTH
def test_a_name_of_somebody_else_is_left_alone(made: Project, api: str) -> None:
    made.write({"train": {**FOREVER, "job_name": "bert-tiny"}}, api=api)
    made.run("apply", "--auto-approve", "--detach")
    theirs = only(made)
    theirs.created -= 3600
    (made.directory / "jobform.state.json").unlink()
    for file in made.directory.glob("jobform.state*"):
        file.unlink()
    seen = made.directory / ".jobform"
    for file in seen.glob("seen.json"):
        file.unlink()
    shown = made.run("apply", "--auto-approve", "--detach", exits=7)
    assert "exists in team-a and is not this one" in shown.stdout + shown.stderr
    assert only(made) is theirs


@MOSTLY
def test_a_secret_is_sent_and_never_shown(made: Project, api: str) -> None:
    made.write({"train": {**TRAIN, "env": {**RUNS, "TOKEN": "{{ secret('TOKEN') }}"}}}, api=api)
    made.environ["JOBFORM_SECRET_TOKEN"] = "hush-hush-hush"
    assert "visible in gpu" in made.run("plan").stdout
    made.run("apply", "--auto-approve", "--detach")
    [call] = [call for call in made.calls if call.method == "POST"]
    assert b"hush-hush-hush" in call.body
    del made.environ["JOBFORM_SECRET_TOKEN"]
    again = made.run("plan", "--detailed-exitcode", "--format", "json")
    assert "hush-hush-hush" not in again.stdout + again.stderr
    for file in made.directory.rglob("*"):
        assert not file.is_file() or b"hush-hush-hush" not in file.read_bytes(), file


@BOTH
def test_a_wrong_project_is_one_error_and_changes_nothing(made: Project, api: str) -> None:
    made.write({"a": TRAIN}, api=api, project="team-c")
    shown = made.run("apply", "--auto-approve", exits=7)
    assert (shown.stdout + shown.stderr).count("there is no project 'team-c'") == 1
    assert "`project` of the backend names it" in shown.stderr
    assert made.posts(path(api)) == 0


@BOTH
def test_drift_is_shown_and_ends_nothing(made: Project, api: str) -> None:
    made.write({"train": FOREVER}, api=api)
    made.run("apply", "--auto-approve", "--detach")
    only(made).body["image"] = "python:3.13"
    shown = made.run("plan", "--detailed-exitcode")
    assert "python:3.13" in shown.stdout + shown.stderr
    assert "spec.image" in shown.stdout + shown.stderr
    assert made.posts(path(api)) == 1


@MOSTLY
def test_an_optional_key_that_an_api_lacks_is_left_out(made: Project, api: str) -> None:
    key, value = {"jobs": ("labels", {"team": "nlp"}), "workloads": ("elastic", True)}[api]
    made.write({"train": {"optional_keys": [key], "spec": {**FOREVER, key: value}}}, api=api)
    made.run("validate")
    made.run("apply", "--auto-approve", "--detach")
    assert made.posts(path(api)) == 1
    made.run("plan", "--detailed-exitcode")


@BOTH
def test_what_an_api_lacks_is_said_with_its_place(made: Project, api: str) -> None:
    key, value = {"jobs": ("suspended", True), "workloads": ("interactive", True)}[api]
    made.write({"train": {**TRAIN, key: value}}, api=api)
    shown = made.run("validate", "--format", "json", exits=3)
    [found] = json.loads(shown.stdout)["diagnostics"]
    assert found["summary"].endswith(f"of Run:ai has no {key}")
    assert (found["file"], key in found["snippet"]) == ("jobs/jobs.yaml", True)
    assert made.posts(path(api)) == 0
