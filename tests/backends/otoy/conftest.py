"""A sandbox of the service, a backend on it, and whole projects whose commands run against it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from jobform.backends.otoy.backend import TYPE, Otoy
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Backend, Place, Ref, Submission, no_effect
from jobform.sandbox.host import Sandbox
from jobform.testing.marks import make_mark
from tests.sandboxed import Answer, Desk, QuickClock, answering, assert_never_two_live, assert_no_bugs
from tests.support import Warm

JOBS = "/v1/jobs"
FOREVER = {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"}
BATCH: Mapping[str, Json] = {"image": "acme/batch:1", "timeout": "100h"}
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


@pytest.fixture
def answer(sandbox: Sandbox) -> Answer:
    return answering(sandbox, "otoy")


@pytest.fixture
def desk(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, warm, sandbox, "otoy", JOBS)
