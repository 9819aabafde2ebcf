"""A sandbox of the service, a backend on it, and whole projects whose commands run against it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.unstructured import TYPE
from jobform.backends.unstructured.backend import UnstructuredBackend
from jobform.model.inputs import hash_input
from jobform.model.state import ENDED
from jobform.model.values import Json
from jobform.protocols import Actual, Ref, Submission
from jobform.sandbox.host import Sandbox
from jobform.testing.backend_fixtures import read_one
from jobform.testing.marks import make_mark
from tests.sandboxed import Answer, Desk, answering, assert_never_two_live, assert_no_bugs, open_backend
from tests.support import Warm

JOBS = "/api/v1/jobs/"
FOREVER: dict[str, Json] = {"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": "inf"}


def nodes(name: str = "Partitioner", **settings: Json) -> list[Json]:
    """A chain of one node, whose settings also say how the job goes in the sandbox."""
    return [{"name": name, "type": "partition", "subtype": "unstructured_api", "settings": dict(settings)}]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"unstructured"}), record=True) as running:
        yield running
        assert_no_bugs(running.ledger.entries())
        assert_never_two_live(running.ledger.entries())


@pytest.fixture
def backend(sandbox: Sandbox, tmp_path: Path) -> UnstructuredBackend:
    return opened(sandbox, tmp_path)


def opened(sandbox: Sandbox, directory: Path, **settings: Json) -> UnstructuredBackend:
    backend = open_backend(TYPE, settings, sandbox, directory)
    assert isinstance(backend, UnstructuredBackend)
    return backend


Start = Callable[..., Ref]


@pytest.fixture
def submission(tmp_path: Path) -> Callable[..., Submission]:
    """`submission(files={"docs/a.txt": "text"}, **spec)` writes the files and names them in the spec."""

    def make(address: str = "job", files: Mapping[str, str | bytes] | None = None, **spec: Json) -> Submission:
        for path, text in (files or {}).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        whole: dict[str, Json] = {} if "template_id" in spec else {"job_nodes": nodes(address, **FOREVER)}
        whole |= {"input_files": list(files)} if files else {}
        inputs = {path: hash_input(tmp_path, path) for path in files or {}}
        return Submission(address, {**whole, **spec}, {**whole, **spec}, inputs=inputs)

    return make


@pytest.fixture
def start(backend: UnstructuredBackend, submission: Callable[..., Submission]) -> Start:
    """Submits; the run ends only when it is stopped, unless its nodes say otherwise."""

    def submit(address: str = "job", **given: Any) -> Ref:
        return backend.submit(submission(address, **given), make_mark(address))

    return submit


@pytest.fixture
def ended(backend: UnstructuredBackend) -> Callable[[Ref], Actual]:
    """What is read of a run once it has ended, which the sandbox does soon."""
    import time

    def wait(ref: Ref) -> Actual:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            actual = read_one(backend, ref)
            assert isinstance(actual, Actual), actual
            if actual.phase in ENDED:
                return actual
            time.sleep(0.02)
        pytest.fail("it did not end")

    return wait


@pytest.fixture
def answer(sandbox: Sandbox) -> Answer:
    return answering(sandbox, "unstructured")


@pytest.fixture
def desk(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> Desk:
    return Desk(tmp_path, warm, sandbox, "unstructured", JOBS)
