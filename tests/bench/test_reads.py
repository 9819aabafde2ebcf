"""How many calls a plan makes for many jobs on each service, counted by the sandbox."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.braket.backend import TYPE as BRAKET
from jobform.backends.unstructured.backend import TYPE as UNSTRUCTURED
from jobform.model.inputs import hash_input
from jobform.protocols import Actual, Ref, Submission
from jobform.sandbox.host import Sandbox
from jobform.testing.marks import make_mark
from tests.sandboxed import open_backend
from tests.support import Result, Warm, project
from tests.sweep.five import BACKENDS, specs

MANY = 500
FEW = 60
"""Where creates are paced: a quota of Braket lets an account make one job a second, after a few at once."""

PAGES = {"braket": FEW, "fireworks": 200, "otoy": 50, "runai": 100, "unstructured": FEW}
"""Jobs on one page of a list, as each backend asks for them, or more."""

GETS, BURST = 5.0, 25
"""GetJob calls a second that the quota allows an account at first, and how many may go before."""


def make(directory: Path, name: str, count: int, seconds: float, settings: dict[str, Any]) -> Path:
    directory.mkdir()
    (directory / "a.txt").write_text("text")
    jobs = {f"job-{number}": {"backend": "away", "spec": specs(number, 1, seconds)[name]} for number in range(count)}
    return project(directory, jobs, {"away": {**BACKENDS[name], **settings}})


def run(warm: Warm, directory: Path, sandbox: Sandbox, *arguments: str) -> Result:
    environ = {**sandbox.variables, "HOME": str(directory)}
    return warm.run(*arguments, cwd=directory, env=environ, timeout=280)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_plan_of_many_live_jobs_reads_pages(name: str, tmp_path: Path, warm: Warm) -> None:
    settings = {"rate_factor": 2} if name == "braket" else {}
    many = FEW if name in ("braket", "unstructured") else MANY
    with Sandbox(only=frozenset({name})) as sandbox:
        directory = make(tmp_path / "p", name, many, float("inf"), settings)
        done = run(warm, directory, sandbox, "apply", "--auto-approve", "--detach")
        assert done.exit == 0, done
        before = len(list(sandbox.ledger.entries("request")))
        began = time.monotonic()
        planned = run(warm, directory, sandbox, "plan", "--detailed-exitcode")
        assert planned.exit == 0, planned
        calls = list(sandbox.ledger.entries("request"))[before:]
        print(f"\n{name}: {len(calls)} calls in {time.monotonic() - began:.1f} s for {many} jobs")
        assert len(calls) <= -(-many // PAGES[name]) + 3, [f"{each['method']} {each['path']}" for each in calls[:20]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["braket", "unstructured"])
def test_reading_many_live_jobs_takes_pages_where_creates_are_paced(name: str, tmp_path: Path) -> None:
    """What a plan asks for, of as many jobs as elsewhere: made in a time in which nobody waits for a quota."""
    kind = {"braket": BRAKET, "unstructured": UNSTRUCTURED}[name]
    (tmp_path / "a.txt").write_text("text")
    inputs = {"a.txt": hash_input(tmp_path, "a.txt")}
    settings = {key: value for key, value in BACKENDS[name].items() if key != "type"}
    with Sandbox(only=frozenset({name})) as sandbox:
        backend = open_backend(kind, settings, sandbox, tmp_path)

        def submit(number: int) -> Ref:
            spec = specs(number, 1, float("inf"))[name]
            return backend.submit(Submission(f"job-{number}", spec, spec, inputs=inputs), make_mark(f"job-{number}"))

        with ThreadPoolExecutor(8) as pool:
            refs = list(pool.map(submit, range(MANY)))
        before = len(list(sandbox.ledger.entries("request")))
        backend.scope()
        read = backend.read(refs)
        calls = list(sandbox.ledger.entries("request"))[before:]
        print(f"\n{name}: {len(calls)} calls for {MANY} jobs")
        assert all(isinstance(answer, Actual) for answer in read.values())
        assert len(read) == MANY
        assert len(calls) <= -(-MANY // 100) + 3, [f"{each['method']} {each['path']}" for each in calls[:20]]


@pytest.mark.slow
def test_braket_is_asked_no_faster_than_it_allows(tmp_path: Path, warm: Warm) -> None:
    """Its list does not say why a job ended, so each one that has ended since is asked for: at the rate of the quota."""
    with Sandbox(only=frozenset({"braket"}), speed=1000) as sandbox:
        directory = make(tmp_path / "p", "braket", 40, 1.0, {})
        assert run(warm, directory, sandbox, "apply", "--auto-approve", "--detach").exit == 0
        before = len(list(sandbox.ledger.entries("request")))
        assert run(warm, directory, sandbox, "advance").exit in (0, 2)
        gets = [
            datetime.fromisoformat(str(each["at"])).timestamp() for each in list(sandbox.ledger.entries("request"))[before:]
            if each["method"] == "GET"
        ]
        assert len(gets) >= 40
        assert gets[-1] - gets[0] >= (len(gets) - BURST - 1) / GETS
