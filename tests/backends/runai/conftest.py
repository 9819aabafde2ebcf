"""A sandbox of Run:ai, and backends on it."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.runai.type import TYPE
from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Backend, Clock, Mark, Place, Submission, no_effect, timestamp
from jobform.sandbox.faults import Fault
from jobform.sandbox.host import Sandbox
from jobform.sandbox.ledger import Entry
from jobform.sandbox.runai import Runai
from jobform.sandbox.wire import Call
from jobform.sandbox.world import Job
from jobform.testing.marks import make_mark
from tests.entry import Hook
from tests.sandboxed import SPEED, QuickClock, assert_never_two_live, assert_no_bugs, attempt_of
from tests.support import Result, Warm, project

JOBS: dict[str, Json] = {"project": "team-a"}
WORKLOADS: dict[str, Json] = {"project": "team-a", "api": "workloads"}
RUNS: dict[str, Json] = {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"}
WAITS: dict[str, Json] = {"SANDBOX_QUEUED": "inf"}


class StillClock(QuickClock):
    """A moment that a test chose, whatever time it takes."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self._at = at

    def now(self) -> datetime:
        return self._at


class Desk:
    """One sandbox with what tests ask of it. backend: opens one, with further variables, where None takes one away."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox = sandbox
        self._directory = directory
        self._before = len(list(sandbox.ledger.entries()))

    def backend(self, settings: dict[str, Json] = JOBS, /, clock: Clock | None = None, **variables: str | None) -> Any:
        given = {"HOME": str(self._directory), **self.sandbox.variables, **variables}
        environ = {key: value for key, value in given.items() if value is not None}
        place = Place(self._directory, clock or QuickClock(), no_effect, environ)
        opened: Backend = TYPE.open(BackendBlock("gpu", "runai", dict(settings)), place)
        return opened

    @property
    def service(self) -> Runai:
        found = self.sandbox.servers["runai"].service
        assert isinstance(found, Runai)
        return found

    @property
    def calls(self) -> list[Call]:
        return list(self.sandbox.servers["runai"].calls)

    @property
    def jobs(self) -> dict[str, Job]:
        """By name, as they are now."""
        world = self.sandbox.world("runai")
        with world.held():
            return {str(job.extra["name"]): job for job in world.jobs.values()}

    def requests(self, method: str, path: str) -> list[Entry]:
        """What the ledger has of this method and exact path."""
        return [entry for entry in self.entries if (entry.get("method"), entry.get("path")) == (method, path)]

    @property
    def entries(self) -> list[Entry]:
        """What the ledger has of this test."""
        return list(self.sandbox.ledger.entries())[self._before :]

    def answer(self, method: str, path: str, body: Json, status: int = 200, times: int = 1000) -> None:
        """From now on, calls of this method and path are answered so."""
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if isinstance(body, str) else "application/json"
        self.fault(Fault(method=method, path=path, times=times, status=status, body=text, headers={"Content-Type": kind}))

    def fault(self, *rules: Fault) -> None:
        self.sandbox.faults.set(list(rules))


class Project(Desk):
    """A project with one backend, `gpu`, and commands in it."""

    def __init__(self, sandbox: Sandbox, directory: Path, warm: Warm) -> None:
        super().__init__(sandbox, directory)
        self.directory = directory
        self.environ: dict[str, str] = dict(sandbox.variables)
        self._warm = warm

    def write(self, jobs: Mapping[str, Any], **backend: Json) -> None:
        """jobs: by name, each as its spec, or whole with the key `spec`."""
        whole = {name: job if "spec" in job else {"spec": job} for name, job in jobs.items()}
        project(self.directory, {name: {"backend": "gpu", **job} for name, job in whole.items()},
                {"gpu": {"type": "runai", **backend}})

    def run(self, *arguments: str, exits: int = 0, hook: Hook | None = None) -> Result:
        done = self._warm.run(*arguments, cwd=self.directory, env={**self.environ, "HOME": str(self.directory)}, hook=hook)
        assert done.exit == exits, done
        return done

    def posts(self, path: str = "/api/v1/jobs") -> int:
        return len(self.requests("POST", path))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=SPEED, only=frozenset({"runai"}), record=True) as running:
        yield running
        assert_no_bugs(running.ledger.entries())


def _address(owner: str) -> str:
    """A name but for its attempt's number, or what a mark says."""
    return attempt_of(owner) if owner.startswith("jf1-") else re.sub(r"-[0-9]+\Z", "", owner)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(speed=SPEED, only=frozenset({"runai"}), record=True) as running:
        yield running


@pytest.fixture
def desk(shared: Sandbox, tmp_path: Path) -> Iterator[Desk]:
    """The sandbox of all tests of a module, as if it were new: to start one takes longer than most tests."""
    world, server = shared.world("runai"), shared.servers["runai"]
    with world.held():
        world.jobs.clear()
        world.stopping = 0.2
    desk = Desk(shared, tmp_path)
    desk.fault()
    server.calls.clear()
    desk.service.authenticated, desk.service.lifetime = True, 36000.0
    yield desk
    assert_no_bugs(desk.entries)


@pytest.fixture
def made(sandbox: Sandbox, tmp_path: Path, warm: Warm) -> Iterator[Project]:
    yield Project(sandbox, tmp_path, warm)
    assert_never_two_live(sandbox.ledger.entries(), key=_address)


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """What happens by itself; the limit tells only a hang."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def submission(env: dict[str, Json] | None = None, **spec: Any) -> Submission:
    whole: dict[str, Json] = {"image": "python:3.12", "env": RUNS if env is None else env, **spec}
    return Submission("job", whole, whole)


def mark(
    number: int = 1, *, begun: float | None = None, now: datetime | None = None, name: str | None = None,
    spec: dict[str, Json] | None = None,
) -> Mark:
    """Begun so many seconds ago, long ago by default. now: since when, if not from this moment."""
    made = make_mark("job", number, lineage="runai")
    at = made.begun_at if begun is None else timestamp((now or SystemClock().now()) - timedelta(seconds=begun))
    return Mark(made.address, number, made.token, name or made.name, made.text, at, spec or {})
