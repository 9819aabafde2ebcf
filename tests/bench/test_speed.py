"""The comparison with terraform: both in turn in one run, medians of three.

A job is compared with a `terraform_data` resource, which calls no API: it is terraform's best case.
"""

import json
import os
import statistics
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import terraform
import workload
from measure import Measured, measure

ROUNDS = 3
JOBFORM = (str(Path(sysconfig.get_path("scripts")) / "jobform"),)
INSTANT = (sys.executable, str(Path(__file__).with_name("instant.py")))
MEGABYTE = 1_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not terraform.installed(), reason="terraform is not installed"),
]


@pytest.fixture
def environ() -> Mapping[str, str]:
    """As users have it: byte-compiled."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


Step = Callable[[int], Measured]


def in_turn(**steps: Step) -> dict[str, Measured]:
    """Each step in each round, one after the other; the median in time and the greatest peak of each."""
    found: dict[str, list[Measured]] = {name: [] for name in steps}
    for turn in range(ROUNDS):
        for name, step in steps.items():
            done = step(turn)
            assert done.code == 0, f"{name}: exit {done.code}\n{done.output[-2000:]}"
            found[name].append(done)
    medians = {}
    for name, all_done in found.items():
        seconds, peak = statistics.median(done.seconds for done in all_done), max(done.peak for done in all_done)
        medians[name] = Measured(0, seconds, peak, all_done[-1].output)
        print(f"\n{name:>24}: {seconds:7.2f} s, {peak / MEGABYTE:5.0f} MB", end="")
    print()
    return medians


def planned(project: Path, environ: Mapping[str, str], count: int) -> Path:
    """The project, with a state in which every job has succeeded; one empty plan proves it."""
    applied = measure([*INSTANT, "apply", "--auto-approve"], project, environ)
    assert applied.code == 0, applied.output[-2000:]
    plan = measure([*JOBFORM, "plan", "--detailed-exitcode", "--format", "json"], project, environ)
    assert plan.code == 0, plan.output[-2000:]
    assert json.loads(plan.output)["summary"]["unchanged"] == count
    return project


def test_plan_of_10000_unchanged_jobs(tmp_path: Path, environ: Mapping[str, str]) -> None:
    workload.files(tmp_path / "files", 10_000)
    workload.matrix(tmp_path / "matrix", 100)
    ours = {name: planned(tmp_path / name, environ, 10_000) for name in ("files", "matrix")}
    peer = tmp_path / "terraform"
    terraform.project(peer, 10_000, applied=True)

    plan = [*JOBFORM, "plan", "--detailed-exitcode"]
    found = in_turn(
        terraform=lambda turn: measure(["terraform", "plan", "-input=false", "-detailed-exitcode"], peer, terraform.ENVIRON),
        files=lambda turn: measure(plan, ours["files"], environ),
        matrix=lambda turn: measure(plan, ours["matrix"], environ),
    )
    for name in ours:
        assert found[name].seconds <= found["terraform"].seconds / 5, name
        assert found[name].peak < 400 * MEGABYTE, name


def test_apply_of_1000_jobs(tmp_path: Path, environ: Mapping[str, str]) -> None:
    def peer(turn: int) -> Measured:
        terraform.project(tmp_path / f"terraform-{turn}", 1_000, applied=False)
        return measure(["terraform", "apply", "-auto-approve", "-input=false"], tmp_path / f"terraform-{turn}", terraform.ENVIRON)

    def thread(turn: int) -> Measured:
        workload.files(tmp_path / f"thread-{turn}", 1_000, type_="reference")
        return measure([*INSTANT, "apply", "--auto-approve"], tmp_path / f"thread-{turn}", environ)

    def processes(turn: int) -> Measured:
        workload.files(tmp_path / f"processes-{turn}", 1_000, settings=", max_parallel: 16")
        return measure([*JOBFORM, "apply", "--auto-approve"], tmp_path / f"processes-{turn}", environ)

    found = in_turn(terraform=peer, thread=thread, processes=processes)
    assert found["thread"].seconds <= found["terraform"].seconds / 20
    assert found["processes"].seconds <= found["terraform"].seconds / 2
    for name in ("thread", "processes"):
        assert succeeded(tmp_path / f"{name}-0") == 1_000


def succeeded(project: Path) -> int:
    """How many jobs of a project have succeeded in their first attempt, as its state says."""
    jobs = json.loads((project / "jobform.state.json").read_text())["jobs"].values()
    return sum([attempt["phase"] for attempt in job["attempts"]] == ["succeeded"] for job in jobs)
