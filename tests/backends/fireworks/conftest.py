"""A sandbox of the service, a backend on it, and whole projects whose commands run against it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobform.backends.fireworks import TYPE
from jobform.model.values import Json
from jobform.protocols import Backend, Ref, Submission
from jobform.sandbox.host import Sandbox
from jobform.testing.marks import make_mark
from tests.sandboxed import Answer, Desk, answering, assert_never_two_live, assert_no_bugs, open_backend
from tests.support import Warm

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


@pytest.fixture
def answer(sandbox: Sandbox) -> Answer:
    return answering(sandbox, "fireworks")


@pytest.fixture
def desk(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, warm, sandbox, "fireworks", "/v1/accounts/sandbox/batchJobs")
