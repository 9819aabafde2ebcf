"""--context and --namespace: another place than jobform.yaml names, wherever a backend has that setting."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.testing.server import ReferenceServer
from tests.cli.conftest import Cli, job
from tests.support import project


@pytest.fixture(scope="module")
def server() -> Iterator[ReferenceServer]:
    with ReferenceServer() as server:
        yield server


@pytest.fixture
def directory(server: ReferenceServer, tmp_path: Path) -> Path:
    """One job on a service that has namespaces, one on this machine, which has none."""
    service = {"type": "reference", "url": server.url, "namespace": f"{tmp_path.name.replace('_', '-')}-a"}
    jobs = {"far": {"backend": "far", "spec": {"command": ["x"], "seconds": 0}}, "near": job("true")}
    return project(tmp_path / "p", jobs, {"far": service, "here": {"type": "local"}})


def other(directory: Path) -> str:
    return f"{directory.parent.name.replace('_', '-')}-b"


def test_jobs_go_where_the_command_line_says(cli: Cli, server: ReferenceServer, directory: Path) -> None:
    done = cli("apply", "--auto-approve", "--namespace", other(directory), cwd=directory)
    assert done.exit == 0, done
    assert [entry.address for entry in server.entries(other(directory)) if entry.kind == "created"] == ["far"]
    assert server.entries(f"{directory.parent.name.replace('_', '-')}-a") == []
    assert cli("status", "--namespace", other(directory), cwd=directory).exit == 0


def test_an_approved_plan_is_for_one_place(cli: Cli, server: ReferenceServer, directory: Path) -> None:
    assert cli("plan", "--out", "plan.json", cwd=directory).exit == 0
    elsewhere = ("--namespace", other(directory))
    assert cli("apply", "plan.json", *elsewhere, cwd=directory).exit == 6
    here = cli("plan", "--format", "json", cwd=directory).json["digest"]
    there = cli("plan", "--format", "json", *elsewhere, cwd=directory).json["digest"]
    assert here != there
    assert cli("apply", "--approved", here, *elsewhere, cwd=directory).exit == 6
    assert not [entry for entry in server.entries() if entry.namespace == other(directory)]
    done = cli("apply", "--approved", there, *elsewhere, cwd=directory)
    assert done.exit == 0, done


def test_the_same_place_named_twice_is_the_same(cli: Cli, directory: Path) -> None:
    same = f"{directory.parent.name.replace('_', '-')}-a"
    assert cli("plan", "--out", "plan.json", cwd=directory).exit == 0
    done = cli("apply", "plan.json", "--namespace", same, cwd=directory)
    assert done.exit == 0, done


@pytest.mark.parametrize(("arguments", "words"), [
    (("plan", "--context", "prod"), "--context: no backend of this project has a setting `context`"),
    (("status", "--context", "prod"), "backends: far (reference), here (local)"),
    (("plan", "--namespace", ""), "does not fit backend 'far'"),
])
def test_what_cannot_be_meant_is_a_usage_error(cli: Cli, directory: Path, arguments: tuple[str, ...], words: str) -> None:
    done = cli(*arguments, cwd=directory)
    assert done.exit == 64, done
    assert words in done.stderr


@pytest.mark.parametrize("command", ["plan", "apply", "destroy", "advance", "wait", "cancel", "rerun", "status", "logs"])
def test_every_command_that_asks_a_backend_takes_them(cli: Cli, directory: Path, command: str) -> None:
    shown = cli(command, "--help", cwd=directory).stdout
    assert "--context NAME" in shown
    assert "--namespace NAME" in shown
