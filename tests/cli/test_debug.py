"""`JOBFORM_LOG=debug`: what the clients ask is told on standard error, without a word that could be a secret."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.sandbox.host import Sandbox
from tests.cli.conftest import Cli
from tests.support import Result, project

SPEC = {"node_pool_id": "pool", "command": ["true"], "env": {"T": "{{ secret('TOKEN') }}"}}
CANARY = "canary-in-the-coal-mines"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"fireworks"})) as running:
        yield running


def apply(cli: Cli, directory: Path, sandbox: Sandbox, **environ: str) -> Result:
    project(directory, {"train": {"backend": "fw", "spec": SPEC}}, {"fw": {"type": "fireworks"}})
    env = {**sandbox.variables, "JOBFORM_SECRET_TOKEN": CANARY, **environ}
    done: Result = cli("apply", "--auto-approve", cwd=directory, env=env)
    assert done.exit == 0, done
    return done


@pytest.mark.parametrize("word", ["debug", "TRACE"])
def test_requests_are_told(cli: Cli, tmp_path: Path, sandbox: Sandbox, word: str) -> None:
    done = apply(cli, tmp_path, sandbox, JOBFORM_LOG=word)
    lines = [line for line in done.stderr.splitlines() if line.startswith("jobform.http: ")]
    posts = [line for line in lines if line.startswith("jobform.http: POST /v1/accounts/sandbox/batchJobs: 200 in ")]
    assert len(posts) == 1
    assert any(line.startswith("jobform.http: GET /v1/accounts/sandbox/batchJobs") for line in lines)
    for hidden in (CANARY, sandbox.variables["FIREWORKS_API_KEY"], "Bearer", "pageSize", "nodePoolId"):
        assert hidden not in done.stderr
    assert "jobform.http" not in done.stdout


def test_nothing_is_told_without_it(cli: Cli, tmp_path: Path, sandbox: Sandbox) -> None:
    assert "jobform.http" not in apply(cli, tmp_path, sandbox).stderr
    assert "jobform.http" not in apply(cli, tmp_path, sandbox, JOBFORM_LOG="error").stderr


def test_what_is_logged_is_masked_and_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a logger of ours is given, and only while a command runs."""
    from jobform.cli import main

    monkeypatch.setenv("JOBFORM_LOG", "debug")
    monkeypatch.setenv("JOBFORM_SECRET_TOKEN", CANARY)
    logger = logging.getLogger("jobform.http")
    before = logging.getLogger("jobform").handlers[:]

    def loud(*_: object) -> dict[str, object]:
        logger.debug("GET %s", f"/\x1b[2J{CANARY}")
        logging.getLogger("httpx").debug("from elsewhere")
        return {}

    monkeypatch.setattr("jobform.schema.load_document", loud)
    assert main(["schema", "local"]) == 0
    said = capsys.readouterr().err
    assert said == "jobform.http: GET /\\x1b[2J***\n"
    logger.debug("afterwards")
    assert capsys.readouterr().err == ""
    assert logging.getLogger("jobform").handlers == before
