"""The kubernetes backend keeps the backend contract, on a real control plane behind a proxy; a thread plays the kubelet."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from jobform.model.state import Phase
from jobform.protocols import Actual, Backend, Gone, Ref, Submission, timestamp
from jobform.testing.backend_contract import BackendContract
from jobform.testing.backend_fixtures import OUTPUTS, Break, FaultSource, MakeSubmission, Wish, read_one
from tests.backends.kubernetes.desk import Desk, job
from tests.backends.kubernetes.hand import Hand
from tests.cluster.cluster import Cluster
from tests.cluster.proxy import DROP_AFTER, HALF, Proxy, html, refuse

COMMANDS = {
    Wish.ENDS: ["ends"], Wish.FAILS: ["fails"], Wish.RUNS: ["runs"], Wish.WAITS: ["waits"],
    Wish.OUTPUTS: ["says", json.dumps(dict(OUTPUTS))],
}

JOBS = r"/apis/batch/v1/namespaces/[^/?]+/jobs"
REQUESTS = {
    "scope": ("GET", r"^/api/v1/namespaces/[^/?]+$"), "read": ("GET", JOBS), "find": ("GET", JOBS), "submit": ("PATCH", JOBS),
    "cancel": ("DELETE", JOBS), "delete": ("DELETE", JOBS),
}
DENIED = b'{"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403}'
FAULTS = {
    Break.ERROR: refuse(503), Break.ERROR_AFTER: refuse(502, forward=True), Break.LOST: DROP_AFTER, Break.HALF: HALF,
    Break.THROTTLED: refuse(429, retry_after=60), Break.DENIED: refuse(403, DENIED), Break.HTML: html(),
}


class Breaks:
    """Breaks one request of an operation, as a client sees it that tries once, and that is told to wait longer than it may."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def break_next(self, operation: str, how: Break) -> None:
        if how is Break.EXPIRED_PAGE:
            pytest.skip("a page holds 500: the client's own tests have lists with several")
        if (operation, how) == ("scope", Break.DENIED):
            pytest.skip("a namespace that may not be read is left out of the proof, which says so")
        method, path = REQUESTS[operation]
        self._proxy.rule(FAULTS[how], method, path)


@pytest.fixture(scope="module")
def line(cluster: Cluster) -> Iterator[Proxy]:
    """One proxy for all tests of this module."""
    with Proxy.start(cluster) as line:
        yield line


class TestKubernetes(BackendContract):
    many = 120
    most_calls = 20  # a mark whose spec is not known is looked for among all kinds that the cluster serves: one list each

    @pytest.fixture
    def desk(self, cluster: Cluster, namespace: str, line: Proxy) -> Iterator[Desk]:
        with Hand(cluster.api, namespace):
            desk = Desk(cluster, namespace, access=line.access, timeout="30s")
            yield desk
            desk.close()
            line.forget()

    @pytest.fixture
    def backend(self, desk: Desk) -> Backend:
        return desk.backend

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        return lambda wish, address: Submission(address, job(command=COMMANDS[wish]))

    @pytest.fixture
    def faults(self, line: Proxy, monkeypatch: pytest.MonkeyPatch) -> FaultSource:
        for limit in ("_TRIES", "_TRIES_OF_A_STRANGER"):
            monkeypatch.setattr(f"jobform.clients.kube.client.{limit}", 1)
        return Breaks(line)

    @pytest.fixture
    def calls(self, line: Proxy) -> Callable[[], int]:
        return line.count

    @pytest.fixture
    def reach(self, backend: Backend, wait_until: Callable[[Callable[[], bool]], None]) -> Callable[..., Actual]:
        """As the contract's, but what was cancelled is gone: the engine, which asked for the stop, records that as cancelled."""

        def until(ref: Ref, *phases: Phase) -> Actual:
            seen: list[Actual] = []

            def there() -> bool:
                answer = read_one(backend, ref)
                if isinstance(answer, Gone):
                    answer = Actual(Phase.CANCELLED, ended_at=timestamp(datetime.now(UTC)))
                assert isinstance(answer, Actual), f"{ref.text} cannot be read: {answer}"
                seen.append(answer)
                return answer.phase in phases

            wait_until(there)
            return seen[-1]

        return until
