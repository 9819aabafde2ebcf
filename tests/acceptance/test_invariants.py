"""What holds for every example that this machine can run, whatever it does."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobform.sandbox.host import Sandbox
from tests.sandboxed import assert_never_two_live, assert_no_bugs

Jobform = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]
ELSEWHERE = {"errors": "it has none but mistakes", "kubernetes-gpu": "it needs a cluster: tests/kubernetes/test_example.py"}
SERVICES = re.compile(r"\btype: (braket|fireworks|otoy|runai|unstructured)\b")
SECRETS = re.compile(r"""\bsecret\(['"](\w+)['"]\)""")
EXAMPLES = [
    pytest.param(path.parent, id=path.parent.name, marks=[pytest.mark.slow] if SERVICES.search(path.read_text()) else [])
    for path in sorted(ROOT.glob("examples/*/jobform.yaml")) if path.parent.name not in ELSEWHERE
]
"""Those of remote services take a while: what they wait for is looked at every few seconds."""


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project, with the secrets that it wants; the services that it names are sandboxed."""
    project = copy(request.param, tmp_path / "project")
    for name in {name for path in project.glob("jobs/*.yaml") for name in SECRETS.findall(path.read_text())}:
        monkeypatch.setenv(f"JOBFORM_SECRET_{name}", "hunter2-hunter2")
    named = frozenset(SERVICES.findall((project / "jobform.yaml").read_text()))
    if not named:
        yield project
        return
    with Sandbox(speed=50, only=named) as sandbox:
        for name, value in sandbox.variables.items():
            monkeypatch.setenv(name, value)
        yield project
        assert_no_bugs(sandbox.ledger.entries())
        assert_never_two_live(sandbox.ledger.entries())


def copy(source: Path, to: Path) -> Path:
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("out", ".jobform", "jobform.state.*", "__pycache__"))
    return to


def succeed(jobform: Jobform, cwd: Path, *arguments: str, stdin: str = "") -> str:
    done = jobform(*arguments, cwd=cwd, stdin=stdin)
    assert done.returncode == 0, f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def outcome(state: str) -> dict[str, Any]:
    """What a state says apart from ids, times and what follows from them."""
    document = json.loads(state)
    facts = {}
    for address, record in document["jobs"].items():
        attempts = [
            {key: attempt.get(key) for key in ("n", "phase", "exit", "outputs", "fingerprint", "spec", "used", "generation")}
            for attempt in record["attempts"]
        ]
        facts[address] = {"desired": record["desired"], "settled": record["accepted"]["settled"], "attempts": attempts}
    return facts


def test_a_plan_after_an_apply_is_empty(example: Path, jobform: Jobform) -> None:
    succeed(jobform, example, "apply", "--auto-approve")
    succeed(jobform, example, "plan", "--detailed-exitcode")


def test_an_apply_after_an_apply_calls_nobody(example: Path, jobform: Jobform) -> None:
    succeed(jobform, example, "apply", "--auto-approve")
    before = outcome(succeed(jobform, example, "state", "pull"))
    succeed(jobform, example, "apply", "--auto-approve")
    assert outcome(succeed(jobform, example, "state", "pull")) == before


def test_a_saved_plan_does_what_a_direct_apply_does(example: Path, tmp_path: Path, jobform: Jobform) -> None:
    direct = copy(example, tmp_path / "direct")
    succeed(jobform, direct, "apply", "--auto-approve")
    succeed(jobform, example, "plan", "--out", "plan.json")
    succeed(jobform, example, "apply", "plan.json")
    assert outcome(succeed(jobform, example, "state", "pull")) == outcome(succeed(jobform, direct, "state", "pull"))


def test_an_approved_digest_does_what_a_direct_apply_does(example: Path, tmp_path: Path, jobform: Jobform) -> None:
    direct = copy(example, tmp_path / "direct")
    succeed(jobform, direct, "apply", "--auto-approve")
    succeed(jobform, example, "plan", "--out", "plan.json")
    digest = json.loads((example / "plan.json").read_text())["digest"]
    assert jobform("apply", "--approved", digest[::-1], cwd=example).returncode == 6
    succeed(jobform, example, "apply", "--approved", digest)
    assert outcome(succeed(jobform, example, "state", "pull")) == outcome(succeed(jobform, direct, "state", "pull"))


def test_a_second_destroy_is_quiet(example: Path, jobform: Jobform) -> None:
    succeed(jobform, example, "apply", "--auto-approve")
    jobs = json.loads(succeed(jobform, example, "status", "--format", "json"))["jobs"]
    live = [f"--allow-cancel={job['address']}" for job in jobs if job["phase"] == "running"]  # what has no end of its own
    succeed(jobform, example, "destroy", "--auto-approve", *live)
    assert json.loads(succeed(jobform, example, "state", "pull"))["jobs"] == {}
    serial = json.loads(succeed(jobform, example, "state", "pull"))["serial"]
    succeed(jobform, example, "destroy", "--auto-approve")
    assert json.loads(succeed(jobform, example, "state", "pull"))["serial"] == serial


def test_state_survives_pull_and_push(example: Path, jobform: Jobform) -> None:
    succeed(jobform, example, "apply", "--auto-approve")
    pulled = succeed(jobform, example, "state", "pull")
    (example / "pulled.json").write_text(pulled)
    succeed(jobform, example, "state", "push", "pulled.json")
    assert outcome(succeed(jobform, example, "state", "pull")) == outcome(pulled)
    succeed(jobform, example, "plan", "--detailed-exitcode")


def test_steps_finish_what_a_detached_apply_began(example: Path, jobform: Jobform) -> None:
    succeed(jobform, example, "apply", "--auto-approve", "--detach")
    (example / "jobs").rename(example / "away")  # steps read no job files
    succeed(jobform, example, "wait")
    (example / "away").rename(example / "jobs")
    succeed(jobform, example, "plan", "--detailed-exitcode")
