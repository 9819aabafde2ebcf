"""The real commands against the sandbox."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobform.sandbox.faults import Fault, Then
from jobform.sandbox.host import Sandbox
from jobform.sandbox.world import State
from tests.backends.braket.conftest import posts
from tests.support import Result, project

Cli = Callable[..., Result]

SPEC: dict[str, Any] = {
    "algorithm_specification": {"script_mode_config": {"entry_point": "vqe:main", "source": "programs/vqe.py"}},
    "device_config": {"device": "arn:aws:braket:::device/quantum-simulator/amazon/sv1"},
    "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
    "output_data_config": {"s3_path": "s3://acme-braket/jobs/vqe"}, "hyper_parameters": {"shots": 1000, "layers": 3},
    "timeout": "2h", "tags": {"team": "chem"},
}
BACKENDS = {"qpu": {"type": "braket", "region": "us-east-1", "role_arn": "arn:aws:iam::123456789012:role/braket-jobs"}}


def write(directory: Path, *, backends: Any = None, **jobs: Any) -> None:
    (directory / "programs").mkdir(exist_ok=True)
    program = directory / "programs" / "vqe.py"
    if not program.exists():
        program.write_text("def main():\n    print('vqe')\n")
    project(directory, {name: {"backend": "qpu", **job} for name, job in jobs.items()}, backends or BACKENDS)


@pytest.fixture
def begun(cli: Cli, tmp_path: Path) -> Cli:
    write(tmp_path, vqe={"spec": SPEC})
    assert cli("init").exit == 0
    return cli


def job_of(sandbox: Sandbox) -> Any:
    (job,) = sandbox.world("braket").jobs.values()
    return job


def spec(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**SPEC, **changes}.items() if value is not None}


def hints(**values: Any) -> dict[str, Any]:
    return {"hyper_parameters": SPEC["hyper_parameters"] | {f"SANDBOX_{key.upper()}": value for key, value in values.items()}}


def test_a_job_from_its_plan_to_its_end(begun: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    assert begun("validate").exit == 0
    assert begun("plan", "--detailed-exitcode").exit == 2
    applied = begun("apply", "--auto-approve")
    assert applied.exit == 0, applied
    job = job_of(sandbox)
    assert job.state is State.SUCCEEDED
    assert job.body["algorithmSpecification"]["scriptModeConfig"]["s3Uri"].startswith("s3://amazon-braket-us-east-1-123456789012/jobform/")
    again = begun("plan", "--detailed-exitcode")
    assert again.exit == 0, again
    (attempt,) = begun("history", "vqe", "--format", "json").json["attempts"]
    assert attempt["outputs"] == {"results_s3_uri": "s3://acme-braket/jobs/vqe/output/model.tar.gz"}
    assert attempt["ref"] == {"id": job.id}
    status = begun("status", "--format", "json").json
    assert [each["phase"] for each in status["jobs"]] == ["succeeded"]
    assert begun("logs", "vqe").stdout == "hello from the sandbox\n"
    assert begun("destroy", "--auto-approve").exit == 0
    assert begun("destroy", "--auto-approve").exit == 0
    assert posts(sandbox) == 1


def test_a_tag_changes_in_place_and_a_changed_program_is_a_changed_job(begun: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    assert begun("apply", "--auto-approve").exit == 0
    write(tmp_path, vqe={"spec": spec(tags={"team": "quantum"})})
    plan = begun("plan")
    assert "changed in place" in plan.stdout
    assert "Plan: 0 to create, 1 to update" in plan.stdout
    assert begun("apply", "--auto-approve").exit == 0
    assert job_of(sandbox).body["tags"]["team"] == "quantum"
    assert begun("plan", "--detailed-exitcode").exit == 0
    (tmp_path / "programs" / "vqe.py").write_text("def main():\n    print('other')\n")
    plan = begun("plan")
    assert "inputs[programs/vqe.py]" in plan.stdout
    assert "1 to rerun" in plan.stdout
    assert begun("apply", "--auto-approve", "--detach").exit == 0
    assert posts(sandbox) == 2
    uris = {job.body["algorithmSpecification"]["scriptModeConfig"]["s3Uri"] for job in sandbox.world("braket").jobs.values()}  # type: ignore[index,call-overload]  # JSON of a known shape
    assert len(uris) == 2


@pytest.mark.slow
def test_numbers_and_their_texts_change_nothing(begun: Cli, tmp_path: Path) -> None:
    assert begun("apply", "--auto-approve").exit == 0
    write(tmp_path, vqe={"spec": spec(hyper_parameters={"shots": "1000", "layers": 3.0})})
    assert begun("plan", "--detailed-exitcode").exit == 0


def test_a_running_job_is_seen_and_drift_of_its_tags_is_taken_back(begun: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    write(tmp_path, vqe={"spec": spec(**hints(seconds="inf"))})
    assert begun("apply", "--auto-approve", "--detach").exit == 0
    assert begun("plan", "--detailed-exitcode").exit == 0, "what the service fills in is no drift"
    job_of(sandbox).body["tags"]["team"] = "somebody"
    plan = begun("plan", "--detailed-exitcode")
    assert plan.exit == 2, plan
    assert "somebody" in plan.stdout
    assert begun("apply", "--auto-approve", "--detach").exit == 0
    assert job_of(sandbox).body["tags"]["team"] == "chem"
    write(tmp_path, vqe={"spec": spec(**hints(seconds="inf"), timeout="3h")})
    assert begun("plan", "--detailed-exitcode").exit == 2
    write(tmp_path, vqe={"spec": spec(**hints(seconds="inf", more=1))})
    assert "1 blocked" in begun("plan").stdout, "a running job is never replaced without a yes"
    assert posts(sandbox) == 1


def test_cancel(begun: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    write(tmp_path, vqe={"spec": spec(**hints(seconds="inf"))})
    assert begun("apply", "--auto-approve", "--detach").exit == 0
    cancelled = begun("cancel", "vqe")
    assert cancelled.exit in (0, 8), cancelled
    assert begun("wait", "vqe").exit in (0, 8)
    assert job_of(sandbox).state is State.CANCELLED
    assert [each["phase"] for each in begun("status", "--format", "json").json["jobs"]] == ["cancelled"]


def test_a_failure_is_told_with_its_reason_and_class(begun: Cli, tmp_path: Path) -> None:
    write(tmp_path, vqe={"spec": spec(**hints(exit=3))})
    failed = begun("apply", "--auto-approve")
    assert failed.exit == 8, failed
    (attempt,) = begun("history", "vqe", "--format", "json").json["attempts"]
    assert (attempt["exit"], attempt["class"]) == (3, "user_error")
    assert "exit code: 3" in attempt["native_reason"]


@pytest.mark.slow
def test_a_job_that_runs_too_long_is_of_class_timeout(begun: Cli, tmp_path: Path) -> None:
    write(tmp_path, vqe={"spec": spec(**hints(seconds="inf"), timeout="1s")})
    assert begun("apply", "--auto-approve").exit == 8
    (attempt,) = begun("history", "vqe", "--format", "json").json["attempts"]
    assert attempt["class"] == "timeout"


@pytest.mark.slow
def test_no_capacity_may_be_tried_again(begun: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    again = {"on": ["no_capacity"], "max_attempts": 2}
    failing = spec(**hints(exit=1, reason="CapacityError: no capacity"))
    write(tmp_path, vqe={"spec": failing, "rerun": again})
    assert begun("apply", "--auto-approve").exit == 8
    assert [each["class"] for each in begun("history", "vqe", "--format", "json").json["attempts"]] == ["no_capacity"] * 2
    assert posts(sandbox) == 2


def test_a_lost_answer_after_the_effect_is_adopted(begun: Cli, sandbox: Sandbox) -> None:
    before = creates(sandbox)
    sandbox.faults.set([Fault("braket", "POST", "/job", then=Then.DROP, applied=True)])
    applied = begun("apply", "--auto-approve")
    assert applied.exit == 0, applied
    assert creates(sandbox) - before == 1
    assert begun("plan", "--detailed-exitcode").exit == 0


@pytest.mark.parametrize("fault", [
    Fault("braket", "POST", "/job", then=Then.DROP), Fault("braket", "POST", "/job", status=500),
])
def test_a_lost_answer_without_effect_is_on_hold_and_not_sent_again(begun: Cli, sandbox: Sandbox, fault: Fault) -> None:
    before = creates(sandbox)
    sandbox.faults.set([fault])
    applied = begun("apply", "--auto-approve")
    assert applied.exit == 7, applied
    assert "absence is certain from" in applied.stdout + applied.stderr
    again = begun("apply", "--auto-approve")
    assert "1 held" in again.stdout, again
    assert creates(sandbox) - before == 1, "no second POST before its absence is certain"
    assert not sandbox.world("braket").jobs
    assert begun("state", "resolve", "vqe", "--not-submitted").exit == 0
    assert begun("apply", "--auto-approve", "--detach").exit == 0
    assert creates(sandbox) - before == 2
    assert len(sandbox.world("braket").jobs) == 1


def creates(sandbox: Sandbox) -> int:
    """Every POST of a job in the whole ledger, answered or not."""
    return sum(1 for entry in sandbox.ledger.entries("request") if (entry["method"], entry["path"]) == ("POST", "/job"))


def test_a_refusal_is_final_and_leaves_nothing_open(begun: Cli, sandbox: Sandbox) -> None:
    headers, body = {"x-amzn-ErrorType": "ServiceQuotaExceededException"}, '{"message": "5 concurrent jobs at most"}'
    sandbox.faults.set([Fault("braket", "POST", "/job", status=402, headers=headers, body=body)])
    refused = begun("apply", "--auto-approve")
    assert refused.exit == 7, refused
    assert "5 concurrent jobs at most" in refused.stderr
    assert begun("apply", "--auto-approve", "--detach").exit == 0
    assert len(sandbox.world("braket").jobs) == 1


def test_a_plan_refuses_a_job_without_a_role(cli: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    write(tmp_path, backends={"qpu": {"type": "braket", "region": "us-east-1"}}, vqe={"spec": SPEC})
    assert cli("init").exit == 0
    plan = cli("plan", "--detailed-exitcode")
    assert plan.exit == 2, plan
    assert "no role is named for the job" in plan.stdout
    assert "set `role_arn` of the job, or of the backend" in plan.stdout
    given = spec(role_arn=BACKENDS["qpu"]["role_arn"])
    write(tmp_path, backends={"qpu": {"type": "braket", "region": "us-east-1"}}, vqe={"spec": given})
    assert cli("apply", "--auto-approve", "--detach").exit == 0


@pytest.mark.slow
def test_outputs_flow_to_another_job(cli: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    data = [{"channel_name": "first", "data_source": {"s3_data_source": {"s3_uri": "{{ jobs.vqe.outputs.results_s3_uri }}"}}}]
    write(tmp_path, vqe={"spec": SPEC}, after={"spec": spec(input_data_config=data)})
    assert cli("init").exit == 0
    applied = cli("apply", "--auto-approve")
    assert applied.exit == 0, applied
    bodies: list[Any] = [job.body for job in sandbox.world("braket").newest_first()]
    assert bodies[0]["inputDataConfig"][0]["dataSource"]["s3DataSource"]["s3Uri"] == "s3://acme-braket/jobs/vqe/output/model.tar.gz"
    assert cli("plan", "--detailed-exitcode").exit == 0


@pytest.mark.slow
def test_a_matrix_keeps_within_a_burst(cli: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    sweep = spec(hyper_parameters={"seed": "{{ matrix.seed }}"})
    write(tmp_path, sweep={"matrix": {"seed": [1, 2, 3, 4, 5]}, "spec": sweep})
    assert cli("init").exit == 0
    applied = cli("apply", "--auto-approve")
    assert applied.exit == 0, applied
    seeds: set[Any] = {job.body["hyperParameters"]["seed"] for job in sandbox.world("braket").jobs.values()}  # type: ignore[index,call-overload]  # JSON of a known shape
    assert seeds == {"1", "2", "3", "4", "5"}
    assert cli("plan", "--detailed-exitcode").exit == 0


def test_secrets_may_not_stand_in_hyper_parameters(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path, vqe={"spec": spec(hyper_parameters={"token": "{{ secret('TOKEN') }}"})})
    result = cli("validate")
    assert result.exit == 3, result
    assert "jobs/jobs.yaml" in result.stderr


def test_mistakes_are_told_by_validate_with_their_place(cli: Cli, tmp_path: Path) -> None:
    machine = {"instance_type": "m5", "volume_size_in_gb": 0}
    write(tmp_path, vqe={"spec": spec(image="python:3", timeout="6d", instance_config=machine)})
    result = cli("validate", "--format", "json")
    assert result.exit == 3, result
    found = json.loads(result.stdout)["diagnostics"]
    assert len(found) == 4
    assert {each["file"] for each in found} == {"jobs/jobs.yaml"}
