"""A warm command line and small projects for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Result, Warm, project

Cli = Callable[..., Result]
Make = Callable[..., Path]


@pytest.fixture
def cli(warm: Warm) -> Cli:
    """`cli(*arguments, cwd=..., env=..., stdin=...)` runs a command to its end."""
    return warm.run


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(jobs, **settings)` is a project whose jobs run on this machine."""
    def made(jobs: dict[str, Any], name: str = "p", **settings: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        return project(directory, jobs, {"here": {"type": "local", "max_parallel": 8}}, **settings)  # also on one processor

    return made


@pytest.fixture(autouse=True)
def ended(tmp_path: Path) -> Iterator[None]:
    """What waits for `go` ends with its test, however that goes: the next one needs the place on this machine."""
    yield
    (tmp_path / "go").touch()


def job(script: str, **policy: Any) -> dict[str, Any]:
    """A job that runs a shell script. spec=...: more of the spec."""
    more = policy.pop("spec", {})
    return {"backend": "here", **policy, "spec": {"command": ["sh", "-c", script], "timeout": "10m", **more}}


def sleeper(path: Path, **policy: Any) -> dict[str, Any]:
    """A job that runs until a file appears."""
    return job(f"while ! test -e {path}; do sleep 0.05; done", **policy)
