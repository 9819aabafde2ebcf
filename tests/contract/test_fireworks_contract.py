"""The fireworks backend keeps the backend contract, over HTTP."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest

from jobform.backends.fireworks import TYPE
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.testing.backend_fixtures import MakeSubmission, Wish
from tests.sandboxed import SandboxContract

JOBS = "/v1/accounts/[^/]+/batchJobs"

HINTS: dict[Wish, dict[str, Json]] = {
    Wish.ENDS: {}, Wish.FAILS: {"SANDBOX_EXIT": "3"}, Wish.RUNS: {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"},
    Wish.WAITS: {"SANDBOX_QUEUED": "inf"},
}


class TestFireworks(SandboxContract):
    type = TYPE
    exact = False
    reports_exit = False
    operations: ClassVar = {
        "scope": ("GET", f"{JOBS}"), "read": ("GET", f"{JOBS}.*"), "find": ("GET", JOBS), "submit": ("POST", JOBS),
        "cancel": ("POST", f"{JOBS}/.*:cancel"), "delete": ("DELETE", f"{JOBS}/.*"),
    }

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        def make(wish: Wish, address: str) -> Submission:
            if wish is Wish.OUTPUTS:
                pytest.skip("a batch job gives no outputs")
            return Submission(address, {"node_pool_id": "pool", "command": ["true"], "env": HINTS[wish]})

        return make

    @pytest.fixture
    def relabel(self) -> Callable[[Submission], Submission]:
        def changed(submission: Submission) -> Submission:
            return replace(submission, spec={**submission.spec, "display_name": "another"}, changes=(("display_name",),))

        return changed
