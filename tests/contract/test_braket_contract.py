"""The braket backend keeps the backend contract, through boto3 over HTTP."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import pytest

from jobform.backends.braket.backend import TYPE
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.sandbox.host import Sandbox
from jobform.testing.backend_fixtures import MakeSubmission, Wish
from tests.sandboxed import SPEED, SandboxContract, assert_never_two_live, assert_no_bugs, await_aws

HINTS: dict[Wish, dict[str, Json]] = {
    Wish.ENDS: {}, Wish.FAILS: {"SANDBOX_EXIT": 3}, Wish.RUNS: {"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": "inf"},
    Wish.WAITS: {"SANDBOX_QUEUED": "inf"},
}

SPEC: dict[str, Json] = {
    "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4", "device_config": {"device": "local:pennylane/lightning"},
    "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
    "output_data_config": {"s3_path": "s3://acme-braket/jobs"},
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(speed=SPEED, only=frozenset({"braket"})) as running:
        await_aws(running)
        yield running
        assert_no_bugs(running.ledger.entries())


class TestBraket(SandboxContract):
    """A list shows a run without why it ended, so that of `many` ended ones each takes a call."""

    type = TYPE
    settings: ClassVar = {"role_arn": "arn:aws:iam::123456789012:role/braket-jobs"}
    removes = False
    many = 40
    most_calls = 41
    operations: ClassVar = {
        "scope": ("POST", "/jobs"), "read": ("GET", "/job/.*"), "find": ("POST", "/jobs"), "submit": ("POST", "/job"),
        "cancel": ("PUT", "/job/.*/cancel"),
    }

    @pytest.fixture
    def sandbox(self, shared: Sandbox) -> Iterator[Sandbox]:
        """One for the class: S3 and CloudWatch take a moment to start. Each test begins without jobs and faults."""
        yield shared
        assert_no_bugs(shared.ledger.entries())
        assert_never_two_live(shared.ledger.entries())
        shared.faults.set([])
        with shared.world("braket").held():
            shared.world("braket").jobs.clear()

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        def make(wish: Wish, address: str) -> Submission:
            if wish is Wish.OUTPUTS:
                pytest.skip("the outputs of a job on Braket are where its results are")
            return Submission(address, {**SPEC, "hyper_parameters": HINTS[wish]})

        return make

    @pytest.fixture
    def relabel(self) -> Callable[[Submission], Submission]:
        return lambda submission: replace(
            submission, spec={**submission.spec, "tags": {"team": "chem"}}, changes=(("tags", "team"),),
        )
