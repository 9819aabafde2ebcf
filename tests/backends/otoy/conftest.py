"""A sandbox of the service, a backend on it, and whole projects whose commands run against it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.otoy.backend import TYPE, Otoy
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Backend, Place, Ref, Submission, no_effect
from jobform.sandbox.faults import Fault, Then
from jobform.sandbox.host import Sandbox
from jobform.sandbox.world import Job
from jobform.testing.marks import make_mark
from tests.sandboxed import QuickClock, assert_never_two_live, assert_no_bugs
from tests.support import Result, Warm, project

JOBS = "/v1/jobs"
FOREVER = {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"}
BATCH: Mapping[str, Json] = {"image": "acme/batch:1", "timeout": "6h"}
SERVER: Mapping[str, Json] = {"task": "PERSISTENT", "image": "acme/server:1"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"otoy"}), record=True) as running:
        yield running
        assert_no_bugs(running.ledger.entries())
        assert_never_two_live(running.ledger.entries())


@pytest.fixture
def place(sandbox: Sandbox, tmp_path: Path) -> Place:
    return Place(tmp_path, QuickClock(), no_effect, {"HOME": str(tmp_path), **sandbox.variables})


@pytest.fixture
def backend(place: Place) -> Backend:
    return TYPE.open(BackendBlock("otoy", "otoy", {}), place)


@pytest.fixture
def service(place: Place) -> Otoy:
    return Otoy({}, place)


Start = Callable[..., Ref]


@pytest.fixture
def start(backend: Backend) -> Start:
    """`start(address="job", base=BATCH, **spec)` submits a job that ends only when it is stopped, unless its spec says more."""

    def submit(address: str = "job", base: Mapping[str, Json] = BATCH, **spec: Json) -> Ref:
        whole: dict[str, Json] = {**base, "env": dict(FOREVER), **spec}
        return backend.submit(Submission(address, whole, whole), make_mark(address))

    return submit


Answer = Callable[..., None]


@pytest.fixture
def answer(sandbox: Sandbox) -> Answer:
    """`answer(method, path, body, status=200)` is what the service says from now on, whatever that is."""

    def say(method: str, path: str, body: str, status: int = 200, kind: str = "application/json", times: int = 1000) -> None:
        headers = {"Content-Type": kind}
        sandbox.faults.add(Fault("otoy", method, path, times=times, then=Then.ANSWER, status=status, headers=headers, body=body))

    return say


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


class Desk:
    """A project with one otoy backend, and commands in it."""

    def __init__(self, directory: Path, warm: Warm, sandbox: Sandbox) -> None:
        self.directory = directory
        self.sandbox = sandbox
        self._warm = warm
        self.environ: dict[str, str] = dict(sandbox.variables)

    def write(self, jobs: Mapping[str, Any], backend: Mapping[str, Json] | None = None, **more: Any) -> None:
        """jobs: by name, each as its spec, or whole with the key `spec`."""
        whole = {name: job if "spec" in job else {"spec": job} for name, job in jobs.items()}
        project(self.directory, {name: {"backend": "otoy", **job} for name, job in whole.items()},
                {"otoy": {"type": "otoy", **(backend or {})}}, **more)

    def run(self, *arguments: str, exits: int = 0) -> Result:
        done = self._warm.run(*arguments, cwd=self.directory, env={**self.environ, "HOME": str(self.directory)})
        assert done.exit == exits, done
        return done

    def posts(self) -> int:
        """How many jobs were asked for."""
        return sum(1 for e in self.sandbox.ledger.entries("request") if e["method"] == "POST" and e["path"] == JOBS)

    @property
    def jobs(self) -> list[Job]:
        return list(self.sandbox.world("otoy").jobs.values())


@pytest.fixture
def desk(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, warm, sandbox)
