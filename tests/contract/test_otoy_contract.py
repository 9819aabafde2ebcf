"""The otoy backend keeps the backend contract, over HTTP."""

from typing import ClassVar

import pytest

from jobform.backends.otoy.backend import TYPE
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.testing.backend_fixtures import MakeSubmission, Wish
from tests.sandboxed import SandboxContract

JOBS = "/v1/jobs"

HINTS: dict[Wish, dict[str, Json]] = {
    Wish.ENDS: {}, Wish.FAILS: {"SANDBOX_EXIT": "3"}, Wish.RUNS: {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"},
    Wish.WAITS: {"SANDBOX_QUEUED": "inf"},
}


class TestOtoy(SandboxContract):
    type = TYPE
    exact = False
    reports_exit = False
    removes = False
    most_calls = 10  # a page has 50 at most
    operations: ClassVar = {
        "scope": ("GET", JOBS), "read": ("GET", f"{JOBS}.*"), "find": ("GET", JOBS), "submit": ("POST", JOBS),
        "cancel": ("PUT", f"{JOBS}/.*/cancel"),
    }

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        def make(wish: Wish, address: str) -> Submission:
            if wish is Wish.OUTPUTS:
                pytest.skip("the service stores no outputs")
            spec: dict[str, Json] = {"image": "acme/batch:1", "timeout": "100h", "assign_timeout": "100h", "env": HINTS[wish]}
            return Submission(address, spec)

        return make
