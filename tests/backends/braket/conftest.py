"""One sandbox for all of these tests, empty for each; a backend on it; and a project for commands."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest

from jobform.backends.braket.backend import TYPE, BraketBackend
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Mark, Place, Ref, Submission, no_effect
from jobform.sandbox.host import Sandbox
from jobform.testing.marks import make_mark
from tests.sandboxed import QuickClock, assert_never_two_live, assert_no_bugs, await_aws
from tests.support import Result, Warm

ROLE = "arn:aws:iam::123456789012:role/braket-jobs"

SPEC: dict[str, Json] = {
    "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4", "device_config": {"device": "local:pennylane/lightning"},
    "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
    "output_data_config": {"s3_path": "s3://acme-braket/jobs"},
}

RUNS: dict[str, Json] = {"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": "inf"}
WAITS: dict[str, Json] = {"SANDBOX_QUEUED": "inf"}

_lineage = [""]
"""Of the test that runs: the sandbox remembers every token."""

Open = Callable[..., BraketBackend]
Start = Callable[..., Ref]


class Brisk(QuickClock):
    """The real time, in which nobody sleeps: the paces of the service are tested by themselves."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.001))


@pytest.fixture(scope="package", autouse=True)
def quick_models() -> Iterator[None]:
    """botocore's models are read once for all of these tests, not once for each backend."""
    loader = botocore.loaders.Loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        yield


@pytest.fixture(scope="package")
def running() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"braket"}), record=True) as sandbox:
        await_aws(sandbox)
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    """Without jobs, faults and calls of earlier tests."""
    running.faults.set([])
    running.servers["braket"].calls.clear()
    _lineage[0] = uuid.uuid4().hex
    before = len(list(running.ledger.entries()))
    yield running
    running.faults.set([])
    with running.world("braket").held():
        running.world("braket").jobs.clear()
    entries = list(running.ledger.entries())[before:]
    assert_no_bugs(entries)
    assert_never_two_live(entry for entry in entries if entry.get("owner"))  # what boto3 makes alone is of nobody


@pytest.fixture
def open_backend(sandbox: Sandbox, tmp_path: Path) -> Open:
    """`open_backend(environ={...}, **settings)`; the sandbox's variables are there, and those of `environ` before them."""

    def opened(environ: Mapping[str, str] | None = None, **settings: Json) -> BraketBackend:
        whole = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **sandbox.variables, **(environ or {})}
        place = Place(tmp_path, Brisk(), no_effect, {key: value for key, value in whole.items() if value})
        block = BackendBlock("qpu", "braket", {"role_arn": ROLE, **settings})
        backend = TYPE.open(block, place)
        assert isinstance(backend, BraketBackend)
        return backend

    return opened


@pytest.fixture
def backend(open_backend: Open) -> BraketBackend:
    return open_backend()


@pytest.fixture
def start(backend: BraketBackend) -> Start:
    """`start(address="job", attempt=1, **spec)` submits a job."""

    def submit(address: str = "job", attempt: int = 1, **spec: Json) -> Ref:
        return backend.submit(submission(address, **spec), mark(address, attempt))

    return submit


def submission(address: str = "job", **spec: Json) -> Submission:
    whole = {key: value for key, value in {**SPEC, **spec}.items() if value is not None}
    return Submission(address, whole, whole)


def mark(address: str = "job", attempt: int = 1) -> Mark:
    return make_mark(address, attempt, lineage=_lineage[0])


def posts(sandbox: Sandbox, path: str = "/job") -> int:
    """How often something was posted there, whether or not it was answered."""
    return sum(1 for call in sandbox.servers["braket"].calls if call.method == "POST" and call.path == path)


@pytest.fixture
def cli(warm: Warm, sandbox: Sandbox, tmp_path: Path) -> Callable[..., Result]:
    """`cli(*arguments, env={...})` in the project of this test, against the sandbox."""

    def run(*arguments: str, env: Mapping[str, Any] | None = None) -> Result:
        whole = {"AWS_EC2_METADATA_DISABLED": "true", **sandbox.variables, **(env or {})}
        return warm.run(*arguments, cwd=tmp_path, env=whole)

    return run
