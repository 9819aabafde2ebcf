"""What tests of the services' backends share: a sandbox of one service, its faults, and what its ledger must never show."""

import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from jobform.cli import main
from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Backend, BackendType, Place, no_effect
from jobform.run.runtime import Runtime
from jobform.sandbox.faults import HTML, Fault, Then
from jobform.sandbox.host import Sandbox
from jobform.sandbox.ledger import Entry
from jobform.sandbox.world import Job
from jobform.testing.backend_contract import BackendContract
from jobform.testing.backend_fixtures import Break
from tests.entry import Hook, LaterClock, plugins
from tests.support import Result, Warm, project

SPEED = 10.0

LIVE = frozenset({"queued", "running", "suspended", "cancelling"})


class QuickClock(SystemClock):
    """The real time, in which nobody sleeps for long: a pause is over after a moment, and counts in full for time limits."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        with self._lock:
            return super().monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        short = min(seconds, 0.05)
        time.sleep(short)
        with self._lock:
            self._skipped += max(0.0, seconds - short)


def await_aws(sandbox: Sandbox) -> None:
    """Return when S3 and CloudWatch Logs answer. To load them takes as long as the machine is busy; the calls that would meet
    that first have limits, and so have others that wait for them.
    """
    try:
        with urlopen(sandbox.variables["AWS_ENDPOINT_URL_LOGS"], timeout=280):
            pass
    except HTTPError as error:  # nobody signed this
        error.close()


class SandboxFaults:
    """`FaultSource`: operations of the contract are calls of a service. calls: by operation, method and path as patterns.

    expired: what the service answers to a place in a list that it has forgotten.
    """

    def __init__(self, sandbox: Sandbox, service: str, calls: Mapping[str, tuple[str, str]], expired: int) -> None:
        self._sandbox = sandbox
        self._service = service
        self._calls = calls
        self._expired = expired

    def break_next(self, operation: str, how: Break) -> None:
        if operation not in self._calls:
            pytest.skip(f"this service has no call for {operation}")
        method, path = self._calls[operation]
        times = 1 if operation in ("submit", "cancel", "delete") else 1000  # reads are tried again
        rules = {
            Break.ERROR: {"then": Then.ANSWER, "status": 503},
            Break.ERROR_AFTER: {"then": Then.ANSWER, "status": 502, "applied": True},
            Break.LOST: {"then": Then.DROP, "applied": True}, Break.HALF: {"then": Then.HALF, "applied": True},
            Break.THROTTLED: {"then": Then.ANSWER, "status": 429, "headers": {"Retry-After": "1" if times == 1 else "60"}},
            Break.DENIED: {"then": Then.ANSWER, "status": 403},
            Break.HTML: {"then": Then.ANSWER, "status": 200, "headers": {"Content-Type": "text/html"}, "body": HTML},
            Break.EXPIRED_PAGE: {"then": Then.ANSWER, "status": self._expired, "skip": 1},
        }
        rule = Fault(self._service, method, path, times=1 if how is Break.EXPIRED_PAGE else times, **rules[how])  # type: ignore[arg-type]  # each by its name
        self._sandbox.faults.set([rule])


class SandboxContract(BackendContract):
    """The contract of a backend whose service is sandboxed. operations: as `SandboxFaults.calls`."""

    type: ClassVar[BackendType]
    settings: ClassVar[Mapping[str, Json]] = {}
    operations: ClassVar[Mapping[str, tuple[str, str]]]  # a subclass annotates it again: `operations: ClassVar = {...}`
    expired: ClassVar[int] = 400

    @pytest.fixture
    def sandbox(self) -> Iterator[Sandbox]:
        with Sandbox(speed=SPEED, only=frozenset({self.type.name})) as running:
            yield running
            assert_no_bugs(running.ledger.entries())
            assert_never_two_live(running.ledger.entries())

    @pytest.fixture
    def backend(self, sandbox: Sandbox, tmp_path: Path) -> Backend:
        return open_backend(self.type, self.settings, sandbox, tmp_path)

    @pytest.fixture
    def faults(self, sandbox: Sandbox) -> SandboxFaults:
        return SandboxFaults(sandbox, self.type.name, self.operations, self.expired)

    @pytest.fixture
    def calls(self, sandbox: Sandbox) -> Callable[[], int]:
        return lambda: sum(1 for _ in sandbox.ledger.entries("request"))


def open_backend(kind: BackendType, settings: Mapping[str, Json], sandbox: Sandbox, project: Path) -> Backend:
    """A backend on a sandbox, with the sandbox's variables and nothing else in its environment."""
    place = Place(project, QuickClock(), no_effect, {"HOME": str(project), **sandbox.variables})
    return kind.open(BackendBlock("remote", kind.name, dict(settings)), place)


Answer = Callable[..., None]


def answering(sandbox: Sandbox, service: str) -> Answer:
    """`answer(method, path, body, status=200)` is what the service says from now on, whatever that is."""

    def say(method: str, path: str, body: str, status: int = 200, kind: str = "application/json", times: int = 1000) -> None:
        headers = {"Content-Type": kind}
        sandbox.faults.add(Fault(service, method, path, times=times, then=Then.ANSWER, status=status, headers=headers, body=body))

    return say


class Desk:
    """A project with one backend, named like its sandboxed service, and commands in it. path: where a job is asked for."""

    def __init__(self, directory: Path, warm: Warm, sandbox: Sandbox, service: str, path: str) -> None:
        self.directory = directory
        self.sandbox = sandbox
        self.warm = warm
        self.environ: dict[str, str] = {**sandbox.variables, "HOME": str(directory)}
        self._service = service
        self._path = path

    def write(self, jobs: Mapping[str, Any], backend: Mapping[str, Json] | None = None, **more: Any) -> None:
        """jobs: by name, each as its spec, or whole with the key `spec`. more: keys of jobform.yaml."""
        whole = {name: job if "spec" in job else {"spec": job} for name, job in jobs.items()}
        project(self.directory, {name: {"backend": self._service, **job} for name, job in whole.items()},
                {self._service: {"type": self._service, **(backend or {})}, "here": {"type": "local"}}, **more)

    def file(self, path: str, text: str = "one\ntwo\n") -> Path:
        found = self.directory / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text(text)
        return found

    def run(self, *arguments: str, exits: int = 0, hook: Hook | None = None) -> Result:
        done = self.warm.run(*arguments, cwd=self.directory, env=self.environ, hook=hook)
        assert done.exit == exits, done
        return done

    def killed(self, *arguments: str, effect: str, at: int = 1) -> None:
        """A command that is killed with -9 the n-th time that it comes to an effect."""
        self.run(*arguments, exits=-signal.SIGKILL, hook=Hook(at=at, name=effect))

    def later(self, *arguments: str, passed: timedelta, exits: int = 0) -> str:
        """What a command says on stderr that is run when so much time has passed, here and at the service."""
        world = self.sandbox.world(self._service)
        world.now = lambda: time.time() + passed.total_seconds()
        out, err = StringIO(), StringIO()
        runtime = Runtime(LaterClock(passed), no_effect, {**self.environ, "NO_COLOR": "1"}, plugins(), StringIO(), out, err)
        try:
            code = main(["-C", str(self.directory), *arguments], runtime) or 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        assert code == exits, (code, out.getvalue(), err.getvalue())
        return err.getvalue()

    def posts(self) -> int:
        """How many jobs were asked for."""
        requests = self.sandbox.ledger.entries("request")
        return sum(1 for each in requests if (each["method"], each["path"]) == ("POST", self._path))

    @property
    def jobs(self) -> list[Job]:
        """What the service has now."""
        world = self.sandbox.world(self._service)
        with world.held():
            return list(world.jobs.values())


def attempt_of(owner: str) -> str:
    """What two jobs of one address have in common, from what the ledger calls their owner: lineage and address of a mark, or a
    name without its attempt.
    """
    if owner.startswith("jf1-") and owner.count("-") == 4:
        return "-".join(owner.split("-")[1:3])
    return re.sub(r"(-[0-9a-f]{8})-\d+$", r"\1", owner)


def assert_never_two_live(entries: Iterable[Entry], key: Callable[[str], str] = attempt_of) -> None:
    """At no time two jobs of one address that are not over. key: which address an owner stands for."""
    live: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry["event"] != "state":
            continue
        mine = live[f"{entry['service']} {key(str(entry['owner']))}"]
        if entry["state"] in LIVE:
            mine.add(str(entry["id"]))
        else:
            mine.discard(str(entry["id"]))
        assert len(mine) <= 1, f"two live jobs of {entry['owner']}: {mine}"


def assert_no_bugs(entries: Iterable[Entry]) -> None:
    """The sandbox itself never failed."""
    bugs = [entry for entry in entries if entry["event"] == "bug"]
    assert not bugs, bugs[0]["trace"]
