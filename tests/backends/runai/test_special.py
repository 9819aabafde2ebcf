"""Commands for what only one of the APIs has: interactive jobs; suspending, resuming, and drift of every field."""

from typing import Any

from jobform.sandbox.world import State
from tests.backends.runai.conftest import RUNS, Project
from tests.backends.runai.test_commands import FOREVER, TRAININGS, only


def test_an_interactive_job_is_where_it_should_be_while_it_runs(made: Project) -> None:
    made.write({
        "notebook": {"image": "jupyter/base-notebook", "interactive": True, "env": {"SANDBOX_QUEUED": "0"},
                     "ports": [{"container": 8888, "auto_generate": True}], "service_type": "nodeport"},
        "after": {"needs": ["notebook"], "spec": {"image": "python:3.12", "env": {"SANDBOX_SECONDS": "0"}}},
    })
    assert "2 changed" in made.run("apply", "--auto-approve").stdout
    made.run("plan", "--detailed-exitcode")
    jobs: dict[str, Any] = {name.rsplit("-", 2)[0]: job.state for name, job in made.jobs.items()}
    assert jobs == {"notebook": State.RUNNING, "after": State.SUCCEEDED}
    with made.sandbox.world("runai").held():
        notebook = next(job for name, job in made.jobs.items() if name.startswith("notebook"))
        made.sandbox.world("runai").end(notebook, 1, "TimedOut")
    assert "timeout" in made.run("plan").stdout
    made.run("destroy", "--auto-approve")


def test_a_workload_is_suspended_and_resumed_in_place(made: Project) -> None:
    made.write({"train": FOREVER}, api="workloads")
    made.run("apply", "--auto-approve", "--detach")
    made.write({"train": {**FOREVER, "suspended": True}}, api="workloads")
    assert "1 to update" in made.run("plan").stdout
    made.run("apply", "--auto-approve", "--detach")
    assert only(made).state is State.SUSPENDED
    assert "suspended" in made.run("status").stdout
    made.run("plan", "--detailed-exitcode")
    made.write({"train": {**FOREVER, "suspended": False}}, api="workloads")
    made.run("apply", "--auto-approve", "--detach")
    assert only(made).state in (State.QUEUED, State.RUNNING)
    assert made.posts(TRAININGS) == 1
    made.run("plan", "--detailed-exitcode")


def test_somebody_elses_suspension_is_drift_where_it_is_ours_to_say(made: Project) -> None:
    made.write({"train": {**FOREVER, "suspended": False}, "free": FOREVER}, api="workloads")
    made.run("apply", "--auto-approve", "--detach")
    world = made.sandbox.world("runai")
    with world.held():
        for job in list(world.jobs.values()):
            world.suspend(job)
    shown = made.run("plan", "--detailed-exitcode", exits=2).stdout
    assert "1 to update" in shown
    assert "1 unchanged" in shown
    made.run("apply", "--auto-approve", "--detach")
    states = {name.rsplit("-", 2)[0]: job.state for name, job in made.jobs.items()}
    assert states["train"] in (State.QUEUED, State.RUNNING)
    assert states["free"] is State.SUSPENDED


def test_a_workload_that_is_made_suspended_never_starts(made: Project) -> None:
    made.write({"train": {**FOREVER, "suspended": True, "env": {**RUNS, "SANDBOX_QUEUED": "60"}}}, api="workloads")
    made.run("apply", "--auto-approve", "--detach")
    assert only(made).state is State.SUSPENDED
    assert only(made).started is None
    made.run("plan", "--detailed-exitcode")


def test_an_administrators_policy_is_no_drift(made: Project) -> None:
    made.write({"train": {**FOREVER, "labels": {"team": "vision"}, "command": ["python", "a b.py"]}}, api="workloads")
    made.run("apply", "--auto-approve", "--detach")
    body = only(made).body
    body["labels"].append({"name": "policy", "value": "on"})
    body["environmentVariables"].append({"name": "PROXY", "value": "http://proxy"})
    body["security"] = {"runAsUid": 1000, "capabilities": ["CHOWN"]}
    body["priorityClass"] = "low"
    made.run("plan", "--detailed-exitcode")
    assert "drift" not in made.run("plan").stdout


def test_a_distributed_training(made: Project) -> None:
    made.write({"fit": {**FOREVER, "nodes": 4, "distributed": {"framework": "pytorch"}}}, api="workloads")
    made.run("apply", "--auto-approve", "--detach")
    assert made.posts("/api/v1/workloads/distributed") == 1
    assert (only(made).body["numWorkers"], only(made).body["distributedFramework"]) == (3, "PyTorch")
    made.run("plan", "--detailed-exitcode")
    made.run("cancel", "fit")
    assert "cancelled" in made.run("status").stdout
