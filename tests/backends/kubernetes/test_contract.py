"""The kubernetes backend keeps the backend contract, on a real control plane; a thread plays the kubelet."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from jobform.model.state import Phase
from jobform.protocols import Actual, Backend, Gone, Ref, Submission, timestamp
from jobform.testing.backend_contract import BackendContract
from jobform.testing.backend_fixtures import OUTPUTS, MakeSubmission, Wish, read_one
from tests.backends.kubernetes.desk import Desk, job
from tests.backends.kubernetes.hand import Hand
from tests.cluster.cluster import Cluster

COMMANDS = {
    Wish.ENDS: ["ends"], Wish.FAILS: ["fails"], Wish.RUNS: ["runs"], Wish.WAITS: ["waits"],
    Wish.OUTPUTS: ["says", json.dumps(dict(OUTPUTS))],
}


class TestKubernetes(BackendContract):
    many = 60

    @pytest.fixture
    def desk(self, cluster: Cluster, namespace: str) -> Iterator[Desk]:
        with Hand(cluster.api, namespace):
            yield Desk(cluster, namespace)

    @pytest.fixture
    def backend(self, desk: Desk) -> Backend:
        return desk.backend

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        return lambda wish, address: Submission(address, job(command=COMMANDS[wish]))

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
