"""A sandbox of the service, a backend on it, and whole projects whose commands run against it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.fireworks import TYPE
from jobform.model.values import Json
from jobform.protocols import Backend, Ref, Submission
from jobform.sandbox.faults import Fault, Then
from jobform.sandbox.host import Sandbox
from jobform.testing.marks import make_mark
from tests.sandboxed import assert_never_two_live, assert_no_bugs, open_backend
from tests.support import Result, Warm, project

JOBS = "/v1/accounts/[^/]+/batchJobs"
SPEC: dict[str, Json] = {"node_pool_id": "pool", "command": ["true"]}
FOREVER = {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"fireworks"}), record=True) as running:
        yield running
        assert_no_bugs(running.ledger.entries())
        assert_never_two_live(running.ledger.entries())


@pytest.fixture
def backend(sandbox: Sandbox, tmp_path: Path) -> Backend:
    return open_backend(TYPE, {}, sandbox, tmp_path)


Start = Callable[..., Ref]


@pytest.fixture
def start(backend: Backend) -> Start:
    """`start(address="job", **spec)` submits a run that ends only when it is stopped, unless the spec says otherwise."""

    def submit(address: str = "job", **spec: Json) -> Ref:
        whole: dict[str, Json] = {**SPEC, "env": dict(FOREVER), **spec}
        return backend.submit(Submission(address, whole, whole), make_mark(address))

    return submit


Answer = Callable[..., None]


@pytest.fixture
def answer(sandbox: Sandbox) -> Answer:
    """`answer(method, path, body, status=200)` is what the service says from now on, whatever that is."""

    def say(method: str, path: str, body: str, status: int = 200, kind: str = "application/json", times: int = 1000) -> None:
        rule = Fault("fireworks", method, path, times=times, then=Then.ANSWER, status=status, body=body)
        sandbox.faults.add(replace(rule, headers={"Content-Type": kind}))

    return say


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


class Desk:
    """A project with one fireworks backend, and commands in it."""

    def __init__(self, directory: Path, warm: Warm, sandbox: Sandbox) -> None:
        self.directory = directory
        self.sandbox = sandbox
        self._warm = warm
        self.environ: dict[str, str] = dict(sandbox.variables)

    def write(self, jobs: Mapping[str, Any], **backend: Json) -> None:
        """jobs: by name, each as its spec, or whole with the key `spec`."""
        whole = {name: job if "spec" in job else {"spec": job} for name, job in jobs.items()}
        project(self.directory, {name: {"backend": "fw", **job} for name, job in whole.items()},
                {"fw": {"type": "fireworks", **backend}})

    def run(self, *arguments: str, exits: int = 0) -> Result:
        done = self._warm.run(*arguments, cwd=self.directory, env={**self.environ, "HOME": str(self.directory)})
        assert done.exit == exits, done
        return done

    def posts(self) -> int:
        """How many jobs were asked for."""
        path = "/v1/accounts/sandbox/batchJobs"
        return sum(1 for e in self.sandbox.ledger.entries("request") if e["method"] == "POST" and e["path"] == path)


@pytest.fixture
def desk(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, warm, sandbox)
