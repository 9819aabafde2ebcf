"""The unstructured backend keeps the backend contract, over HTTP."""

from pathlib import Path
from typing import ClassVar

import pytest

from jobform.backends.unstructured import TYPE
from jobform.model.inputs import hash_input
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.testing.backend_fixtures import MakeSubmission, Wish
from tests.sandboxed import SandboxContract

JOBS = "/api/v1/jobs/"

HINTS: dict[Wish, dict[str, Json]] = {
    Wish.ENDS: {}, Wish.FAILS: {"SANDBOX_EXIT": 3}, Wish.RUNS: {"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": "inf"},
    Wish.WAITS: {"SANDBOX_QUEUED": "inf"},
}


class TestUnstructured(SandboxContract):
    type = TYPE
    exact = False
    reports_exit = False
    removes = False
    marked = False
    operations: ClassVar = {
        "scope": ("GET", JOBS), "read": ("GET", f"{JOBS}.*"), "find": ("GET", JOBS), "submit": ("POST", JOBS),
        "cancel": ("POST", f"{JOBS}.*/cancel"),
    }

    @pytest.fixture
    def make_submission(self, tmp_path: Path) -> MakeSubmission:
        (tmp_path / "a.txt").write_text("one\ntwo\n")
        inputs = {"a.txt": hash_input(tmp_path, "a.txt")}

        def make(wish: Wish, address: str) -> Submission:
            if wish is Wish.OUTPUTS:
                pytest.skip("a job's results are fetched, not told")
            node: dict[str, Json] = {
                "name": address, "type": "partition", "subtype": "unstructured_api", "settings": HINTS[wish],
            }
            return Submission(address, {"job_nodes": [node], "input_files": ["a.txt"]}, inputs=inputs)

        return make
