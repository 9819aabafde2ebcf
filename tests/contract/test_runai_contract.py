"""The runai backend keeps the backend contract, over HTTP, with either API."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest

from jobform.backends.runai.type import TYPE
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.testing.backend_fixtures import MakeSubmission, Wish
from tests.sandboxed import SandboxContract

HINTS: dict[Wish, dict[str, Json]] = {
    Wish.ENDS: {}, Wish.FAILS: {"SANDBOX_EXIT": "3"}, Wish.RUNS: {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"},
    Wish.WAITS: {"SANDBOX_QUEUED": "inf"},
}


def submission(wish: Wish, address: str) -> Submission:
    if wish is Wish.OUTPUTS:
        pytest.skip("the service gives no outputs")
    return Submission(address, {"image": "python:3.12", "command": ["true"], "env": HINTS[wish]})


class TestJobs(SandboxContract):
    type = TYPE
    settings: ClassVar = {"project": "team-a"}
    reports_exit = False
    marks_body = False  # a name tells whose a job is, and nothing of what was submitted
    operations: ClassVar = {
        "scope": ("GET", "/api/v1/projects"), "read": ("GET", "/api/v1/jobs/.*"), "find": ("GET", "/api/v1/jobs/.*"),
        "submit": ("POST", "/api/v1/jobs"), "cancel": ("DELETE", "/api/v1/jobs"), "delete": ("DELETE", "/api/v1/jobs"),
    }

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        return submission


WORKLOADS = "/api/v1/workloads"


class TestWorkloads(SandboxContract):
    type = TYPE
    settings: ClassVar = {"api": "workloads", "project": "team-a"}
    exact = False
    reports_exit = False
    many = 40
    most_calls = 90  # a list has no marks: each workload of a name that is looked for is asked for itself, in two calls
    operations: ClassVar = {
        "scope": ("GET", "/api/v1/org-unit/projects"), "read": ("GET", f"{WORKLOADS}.*"), "find": ("GET", WORKLOADS),
        "submit": ("POST", f"{WORKLOADS}/trainings"), "cancel": ("DELETE", f"{WORKLOADS}/trainings/.*"),
        "delete": ("DELETE", f"{WORKLOADS}/trainings/.*"),
    }

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        return submission

    @pytest.fixture
    def relabel(self) -> Callable[[Submission], Submission]:
        return lambda given: replace(given, spec={**given.spec, "suspended": True})
