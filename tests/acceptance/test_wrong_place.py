"""A wrong credential, region, project, account or address on any service: one error that says where the value comes from."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.model.values import Json
from jobform.sandbox.host import Sandbox
from tests.cli.terminal import until
from tests.clients.kube.faulty import closed_port
from tests.support import Result, Warm, project
from tests.sweep.five import BACKENDS, specs

CANARY = "canary-0123456789"
NOWHERE = "http://127.0.0.1:{port}"

Settings = dict[str, Json]
Variables = dict[str, str | None]

CASES: list[tuple[str, Settings, Variables, str]] = [
    ("braket", {}, {"AWS_SECRET_ACCESS_KEY": CANARY}, "AWS_SECRET_ACCESS_KEY"),
    ("braket", {}, {"AWS_ACCESS_KEY_ID": CANARY}, "AWS_ACCESS_KEY_ID"),
    ("braket", {}, {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "AWS_ACCESS_KEY_ID"),
    ("braket", {"region": "eu-west-2"}, {}, "`region` of the backend"),
    ("braket", {}, {"AWS_DEFAULT_REGION": "eu-west-2"}, "AWS_DEFAULT_REGION"),
    ("braket", {}, {"AWS_DEFAULT_REGION": None}, "`region` of the backend"),
    ("braket", {}, {"AWS_ENDPOINT_URL_BRAKET": NOWHERE}, "AWS_ENDPOINT_URL_BRAKET"),
    ("fireworks", {}, {"FIREWORKS_API_KEY": CANARY}, "FIREWORKS_API_KEY"),
    ("fireworks", {}, {"FIREWORKS_API_KEY": None}, "FIREWORKS_API_KEY"),
    ("fireworks", {"account": "other"}, {}, "`account` of the backend"),
    ("fireworks", {}, {"FIREWORKS_ACCOUNT_ID": "other"}, "FIREWORKS_ACCOUNT_ID"),
    ("fireworks", {"url": "https://evil.example"}, {"FIREWORKS_BASE_URL": None}, "`url` of the backend"),
    ("otoy", {}, {"OTOY_API_KEY": CANARY}, "OTOY_API_KEY"), ("otoy", {}, {"OTOY_API_SECRET": CANARY}, "OTOY_API_SECRET"),
    ("otoy", {}, {"OTOY_API_SECRET": None}, "OTOY_API_SECRET"), ("otoy", {}, {"OTOY_BASE_URL": NOWHERE}, "OTOY_BASE_URL"),
    ("runai", {}, {"RUNAI_TOKEN": CANARY}, "RUNAI_TOKEN"), ("runai", {}, {"RUNAI_TOKEN": None}, "RUNAI_TOKEN"),
    ("runai", {"project": "other"}, {}, "`project` of the backend"),
    ("unstructured", {}, {"UNSTRUCTURED_API_KEY": CANARY}, "UNSTRUCTURED_API_KEY"),
    ("unstructured", {}, {"UNSTRUCTURED_API_KEY": None}, "UNSTRUCTURED_API_KEY"),
    ("unstructured", {}, {"UNSTRUCTURED_API_URL": f"https://user:{CANARY}@x.example"}, "UNSTRUCTURED_API_URL"),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=20.0) as running:
        yield running


@pytest.fixture(scope="module")
def started(sandbox: Sandbox, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each service a project whose one job runs for ever."""
    directories = {}
    for name in BACKENDS:
        directories[name] = declare(tmp_path_factory.mktemp(name), name, {})
        done = apply(warm, directories[name], dict(sandbox.variables))
        assert done.exit == 0, done
    jobs = [job for name in BACKENDS for job in sandbox.world(name).jobs.values()]
    until(lambda: all(job.state == "running" for job in jobs), "every job runs: nothing happens to it any more by itself")
    return directories


def declare(directory: Path, name: str, settings: Settings) -> Path:
    (directory / "a.txt").write_text("text")
    spec = specs(0, 1, float("inf"))[name]
    return project(directory, {"job": {"backend": "away", "spec": spec}}, {"away": {**BACKENDS[name], **settings}})


def apply(warm: Warm, directory: Path, variables: dict[str, str], *options: str) -> Result:
    return warm.run("apply", "--auto-approve", "--detach", *options, cwd=directory, env={"HOME": str(directory), **variables})


@pytest.mark.parametrize(("name", "settings", "variables", "source"), CASES)
def test_one_error_that_names_the_source(
    name: str, settings: Settings, variables: Variables, source: str, sandbox: Sandbox, warm: Warm, started: dict[str, Path],
) -> None:
    """What was started is not believed to be gone, nothing is changed anywhere, and no secret is shown."""
    directory = declare(started[name], name, settings)
    given = {**sandbox.variables, **{key: value and value.format(port=closed_port()) for key, value in variables.items()}}
    state = directory / "jobform.state.json"
    before, entries = state.read_bytes(), len(list(sandbox.ledger.entries("state")))
    done = apply(warm, directory, {key: value for key, value in given.items() if value is not None})
    refused = "url" in settings or "https://" in str(variables)
    assert done.exit == (3 if refused else 1), done  # an address that is not even asked is a mistake of the input
    told = done.stdout + done.stderr
    assert told.count("error[") == 1, done
    assert "'away'" in told
    assert source in told
    assert CANARY not in told
    assert "Traceback" not in told
    assert state.read_bytes() == before
    assert len(list(sandbox.ledger.entries("state"))) == entries


def test_many_jobs_with_one_reason_are_one_error(sandbox: Sandbox, warm: Warm, tmp_path: Path) -> None:
    """Jobs that never ran, and credentials that nobody takes: one error, which names every job, and no call that makes one."""
    spec = specs(0, 1, 1.0)["fireworks"]
    jobs = {f"job{number}": {"backend": "away", "spec": spec} for number in range(8)}
    directory = project(tmp_path, jobs, {"away": BACKENDS["fireworks"]})
    made = len(list(sandbox.ledger.entries("state")))
    done = apply(warm, directory, {**sandbox.variables, "FIREWORKS_API_KEY": CANARY})
    assert done.exit == 7, done
    assert done.stderr.count("error[") == 1, done
    assert "in job0, job1, job2, job3, job4, job5, job6, job7\n" in done.stderr
    done = apply(warm, directory, {**sandbox.variables, "FIREWORKS_API_KEY": CANARY}, "--format", "json")
    told = [entry for entry in map(json.loads, done.stdout.splitlines()) if entry["type"] == "diagnostic"]
    assert [entry["address"] for entry in told] == list(jobs), "for machines each job has its own"
    assert len(list(sandbox.ledger.entries("state"))) == made
