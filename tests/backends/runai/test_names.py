"""Names that users choose, which belong to nobody in particular, by the commands."""

import json
from pathlib import Path

import pytest

from jobform.sandbox.faults import Fault
from tests.backends.runai.conftest import Project
from tests.backends.runai.test_commands import FOREVER, TRAIN, TRAININGS, only
from tests.support import Warm


@pytest.mark.parametrize("api", ["jobs", "workloads"])
def test_two_jobs_of_one_name_are_refused_before_anything_is_asked(made: Project, api: str) -> None:
    """The second would have been taken for the first, and be done without ever having run."""
    made.write({"train": {"matrix": {"seed": [1, 2]}, "spec": {**TRAIN, "job_name": "bert"}}}, api=api)
    shown = made.run("apply", "--auto-approve", exits=3).stderr
    assert "train[seed=1] and train[seed=2] both name the Run:ai job 'bert'" in shown
    assert not made.jobs


@pytest.mark.parametrize("api", ["jobs", "workloads"])
def test_the_job_of_another_project_is_never_taken_for_ours(made: Project, warm: Warm, tmp_path: Path, api: str) -> None:
    """Of the same name and content, made a moment ago."""
    other = Project(made.sandbox, tmp_path / "other", warm)
    for each in (made, other):
        each.directory.mkdir(exist_ok=True)
        each.write({"train": {**FOREVER, "job_name": "bert"}}, api=api)
    made.run("apply", "--auto-approve", "--detach")
    shown = other.run("apply", "--auto-approve", "--detach", exits=7)
    assert "named bert exists in team-a and is not this one" in shown.stderr
    other.run("destroy", "--auto-approve", "--allow-cancel", "train")
    assert not only(made).over, "the other project's job was stopped"
    made.run("plan", "--detailed-exitcode")


def test_each_attempt_under_a_chosen_name_is_a_run_of_its_own(made: Project) -> None:
    made.write({"train": {
        "rerun": {"on": ["changed", "failed"], "max_attempts": 3},
        "spec": {**TRAIN, "job_name": "bert", "env": {"SANDBOX_EXIT": "3", "SANDBOX_SECONDS": "0", "SANDBOX_QUEUED": "0"}},
    }})
    made.run("apply", "--auto-approve", exits=8)
    attempts = json.loads(made.run("history", "train", "--format", "json").stdout)["attempts"]
    assert len({attempt["ref"]["id"] for attempt in attempts}) == made.posts("/api/v1/jobs") == 3


def test_a_lost_answer_to_a_chosen_name_is_adopted(made: Project) -> None:
    made.write({"train": {**FOREVER, "job_name": "bert"}})
    made.sandbox.faults.set([Fault.parse("method=POST path=/api/v1/jobs drop=after")])
    made.run("apply", "--auto-approve", "--detach")
    assert made.posts("/api/v1/jobs") == 1
    made.run("plan", "--detailed-exitcode")


def test_the_body_of_an_earlier_begin_is_not_taken_for_the_present_one(made: Project) -> None:
    """A workload that appears after its absence was certain, and after another spec was accepted."""
    made.write({"train": FOREVER}, api="workloads")
    made.sandbox.faults.set([Fault.parse(f"method=POST path={TRAININGS} status=400 applied=yes")])
    made.run("apply", "--auto-approve", "--detach", exits=7)
    made.sandbox.faults.set([])
    made.write({"train": {**FOREVER, "command": ["echo", "other"]}}, api="workloads")
    shown = made.run("apply", "--auto-approve", "--detach", exits=7)
    assert "exists with another content" in shown.stderr
    assert made.posts(TRAININGS) == 2
    assert len(made.jobs) == 1
