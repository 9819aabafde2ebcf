"""The reference backend keeps the backend contract: as a server in both modes, and as a thread on a clock that the test moves."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Backend, Clock, Place, Submission, no_effect
from jobform.sandbox.faults import Fault, Then
from jobform.testing.backend_contract import BackendContract
from jobform.testing.backend_fixtures import OUTPUTS, Break, MakeSubmission, Wish
from jobform.testing.clock import ManualClock
from jobform.testing.reference import TYPE, ReferenceType
from jobform.testing.server import ReferenceServer
from jobform.testing.world import World

SPECS: dict[Wish, dict[str, Json]] = {
    Wish.ENDS: {},
    Wish.FAILS: {"exit": 3},
    Wish.RUNS: {"seconds": 3600},
    Wish.WAITS: {"stay_pending": True},
    Wish.OUTPUTS: {"outputs": dict(OUTPUTS)},
}

REQUESTS = {
    "scope": ("GET", "/v1/namespaces/{}"),
    "read": ("GET", "/v1/namespaces/{}/runs.*"),
    "find": ("GET", "/v1/namespaces/{}/runs"),
    "submit": ("POST", "/v1/namespaces/{}/runs"),
    "cancel": ("POST", "/v1/namespaces/{}/runs/[^/]+/cancel"),
    "delete": ("DELETE", "/v1/namespaces/{}/runs/[^/]+"),
}

FAULTS = {
    Break.ERROR: {"status": 500},
    Break.ERROR_AFTER: {"status": 502, "applied": True},
    Break.LOST: {"then": Then.DROP, "applied": True},
    Break.THROTTLED: {"status": 429, "headers": {"Retry-After": "1"}},
    Break.DENIED: {"status": 403, "body": '{"code": "denied", "message": "not yours"}'},
    Break.HTML: {"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<html>\x1b[2Jplease log in</html>"},
    Break.HALF: {"then": Then.HALF},
    Break.EXPIRED_PAGE: {"status": 410, "skip": 1, "body": '{"code": "expired", "message": "the token has expired"}'},
}

NAMESPACES = (f"contract-{number}" for number in itertools.count())


def make(wish: Wish, address: str) -> Submission:
    return Submission(address, SPECS[wish])


def relabelled(submission: Submission) -> Submission:
    return Submission(submission.address, {**submission.spec, "labels": {"team": "vision"}})


class ServerFaults:
    """Breaks the reference server's answers, by method and path."""

    def __init__(self, server: ReferenceServer, namespace: str) -> None:
        self._server = server
        self._namespace = namespace

    def break_next(self, operation: str, how: Break) -> None:
        method, path = REQUESTS[operation]
        self._server.faults(Fault(".*", method, path.format(self._namespace), **FAULTS[how]))


class ServerForm(BackendContract):
    """The server form; a subclass says in which mode."""

    mode = ""

    @pytest.fixture
    def namespace(self) -> str:
        return next(NAMESPACES)

    @pytest.fixture
    def backend(self, server: ReferenceServer, namespace: str, tmp_path: Path) -> Backend:
        settings: dict[str, Json] = {"url": server.url, "namespace": namespace, "mode": self.mode}
        return TYPE.open(BackendBlock("ref", "reference", settings), Place(tmp_path, SystemClock(), no_effect, {}))

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        return make

    @pytest.fixture
    def relabel(self) -> Callable[[Submission], Submission]:
        return relabelled

    @pytest.fixture
    def faults(self, server: ReferenceServer, namespace: str) -> ServerFaults:
        return ServerFaults(server, namespace)

    @pytest.fixture
    def calls(self, server: ReferenceServer, namespace: str) -> Callable[[], int]:
        return lambda: sum(entry.kind == "request" for entry in server.entries(namespace))


class TestServer(ServerForm):
    mode = "idempotent"


class TestServerThatAlwaysCreates(ServerForm):
    mode = "always_creates"
    exact = False


class TestThread(BackendContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def backend(self, clock: Clock, tmp_path: Path) -> Backend:
        world = World(lambda: clock.now().timestamp())
        return ReferenceType(world=world).open(BackendBlock("ref", "reference", {}), Place(tmp_path, clock, no_effect, {}))

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        return make

    @pytest.fixture
    def relabel(self) -> Callable[[Submission], Submission]:
        return relabelled

    @pytest.fixture
    def wait_until(self, clock: ManualClock) -> Callable[[Callable[[], bool]], None]:
        def wait(condition: Callable[[], bool]) -> None:
            for _ in range(60):
                if condition():
                    return
                clock.advance(1.0)
            pytest.fail("it did not come true within a minute of the clock")

        return wait
