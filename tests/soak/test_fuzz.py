"""The whole command line on damaged files: an answer in time, a documented exit code, never a traceback, nothing else touched."""

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.entry import Hook
from tests.soak import mutate
from tests.support import Result, Warm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 60.0
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64}
LOTS = settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

PROJECT = {
    "jobform": 1, "project": "fuzz", "variables": {"x": {"type": "string", "default": "v"}},
    "backends": {"here": {"type": "local", "max_parallel": 2}},
}
JOBS = {
    "jobs": {
        "prep": {"backend": "here", "spec": {"command": ["/bin/sh", "-c", 'echo "{\\"rows\\": 7}" > "$JOBFORM_OUTPUT"']}},
        "train": {
            "backend": "here", "needs": ["prep"], "matrix": {"n": [1, 2]}, "generation": 1, "rerun": {"on": ["changed", "oom"]},
            "spec": {
                "command": ["true", "{{ matrix.n }}", "{{ var.x }}", "{{ jobs.prep.outputs.rows }}"], "labels": {"a": "b"},
                "timeout": "10m", "env": {"E": "1"},
            },
        },
        "fails": {"backend": "here", "protect": False, "spec": {"command": ["false"]}},
    },
    "moved": [{"from": "fit", "to": "fails"}], "removed": [{"job": "old", "cancel": True}],
}
YAML = """\
jobs:
  prep: &prep
    backend: here
    spec: {command: ["true", '{{ var.x }}'], labels: {a: "b"}}   # a comment
  train:
    <<: *prep
    needs:
      - prep
    matrix: {n: [1, 2]}
"""
STATE = "jobform.state.json"
JOURNAL = "jobform.state.journal"

READ = [("plan",), ("plan", "--offline"), ("plan", "--format", "markdown"), ("status",), ("state", "list")]
FILES = [("validate",), ("graph",), *READ]
ACT = [("apply", "--auto-approve", "--timeout", "1s"), ("advance",), ("destroy", "--auto-approve", "--timeout", "1s")]
LOOK = [
    ("history",), ("history", "train[n=1]"), ("show",), ("state", "show", "train"), ("output", "prep"), ("logs", "fails"),
    ("state", "pull"), ("status", "--format", "json"), ("wait", "--timeout", "1s"), ("cancel", "train", "--timeout", "1s"),
    ("rerun", "prep", "--timeout", "1s"),
    ("state", "rm", "prep"), ("state", "resolve", "prep", "--not-submitted"), ("lock", "show"),
]


@dataclass(frozen=True)
class Lab:
    """A directory with a project that has run, and the environment that it ran in. Each example gets a copy."""

    base: Path
    warm: Warm

    def try_(self, file: str, data: bytes, arguments: tuple[str, ...]) -> Result:
        """One command on a copy in which one file is another."""
        with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as name:
            root = Path(name) / "root"
            shutil.copytree(self.base, root, symlinks=True)
            own = str(self.base).encode(), str(root).encode()
            for place in (*(root / "home").rglob("*.json"), root / "project" / ".jobform" / "seen.json"):
                place.write_bytes(place.read_bytes().replace(*own))  # they name the project's directory
            (root / "project" / file).write_bytes(data.replace(*own))
            before = untouchable(root)
            result = self.warm.run(*arguments, cwd=root / "project", env=environ(root), timeout=SECONDS)
            event(f"{arguments[0]}: exit {result.exit}")
            said = f"{' '.join(arguments)} with {file}:\n{data[:3000]!r}\n{result}"
            assert result.exit in DOCUMENTED, said
            assert "Traceback" not in result.stdout + result.stderr, said
            assert "fault in jobform" not in result.stderr, said
            assert untouchable(root) == before, said
            return result


def environ(root: Path) -> dict[str, str]:
    """With the trace of a fault, for whoever has to mend it."""
    home = {"HOME": str(root / "home"), "XDG_STATE_HOME": str(root / "home" / "state")}
    return {**home, "PATH": os.environ["PATH"], "JOBFORM_LOG": "debug"}


def untouchable(root: Path) -> dict[str, bytes]:
    """What is in every file that no command may change: all but the state, what belongs to it, and the backend's own."""
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    ours = (f"project/{STATE.removesuffix('.json')}", "project/.jobform/", "project/errored.", "home/")
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(ours)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Lab:
    """Its state is a snapshot and a journal: the last command was killed in the middle of a submission."""
    root = tmp_path_factory.mktemp("fuzz") / "root"
    project = root / "project"
    for directory in (root / "home", project / "jobs"):
        directory.mkdir(parents=True)
    (root / "outside").write_text("not ours")
    (project / "jobform.yaml").write_text(json.dumps(PROJECT))
    (project / "jobs" / "jobs.yaml").write_text(json.dumps(JOBS))
    assert warm.run("apply", "--auto-approve", cwd=project, env=environ(root)).exit == 8
    (project / "jobs" / "jobs.yaml").write_text(json.dumps(JOBS).replace('"false"', '"false", "again"').replace('"10m"', '"11m"'))
    assert warm.run("plan", "--out", "plan.json", cwd=project, env=environ(root)).exit == 0
    hook = Hook(at=1, name="backend.submit.after")
    assert warm.run("apply", "plan.json", cwd=project, env=environ(root), hook=hook).exit == -9
    assert len((project / JOURNAL).read_bytes().splitlines()) > 3
    end = time.monotonic() + SECONDS
    while len(list(root.rglob("exit.json"))) < len(list(root.rglob("run.json"))):  # what was submitted last runs to its end
        assert time.monotonic() < end
        time.sleep(0.05)
    return Lab(root, warm)


@LOTS
@given(data=st.data())
def test_damaged_project_files(data: st.DataObject, lab: Lab) -> None:
    file, document = data.draw(st.sampled_from([("jobform.yaml", PROJECT), ("jobs/jobs.yaml", JOBS)]))
    content = data.draw((mutate.damaged_json(document) | mutate.twisted_json(document)).map(mutate.as_json))
    lab.try_(file, content, data.draw(st.sampled_from(FILES + ACT)))


@LOTS
@given(content=mutate.damaged_bytes(YAML.encode()), arguments=st.sampled_from(FILES + ACT))
def test_damaged_yaml(content: bytes, arguments: tuple[str, ...], lab: Lab) -> None:
    lab.try_("jobs/jobs.yaml", content, arguments)


@LOTS
@given(data=st.data())
def test_damaged_plan_files(data: st.DataObject, lab: Lab) -> None:
    whole = (lab.base / "project" / "plan.json").read_bytes()
    document = json.loads(whole)
    damaged = mutate.damaged_json(document) | mutate.twisted_json(document)
    content = data.draw(damaged.map(mutate.as_json) | mutate.damaged_bytes(whole))
    arguments = data.draw(st.sampled_from([
        ("show", "plan.json"), ("apply", "plan.json", "--timeout", "1s"), ("show", "plan.json", "--format", "markdown"),
    ]))
    lab.try_("plan.json", content, arguments)


@LOTS
@given(data=st.data())
def test_damaged_states(data: st.DataObject, lab: Lab) -> None:
    """Damaged, or written by somebody who knows how to seal: a state is read before it is believed."""
    whole = (lab.base / "project" / STATE).read_bytes()
    document = json.loads(whole)
    damaged, twisted = mutate.damaged_json(document), mutate.twisted_json(document)
    content = data.draw((damaged | twisted | twisted).map(mutate.sealed_state) | mutate.damaged_bytes(whole))
    lab.try_(STATE, content, data.draw(st.sampled_from(READ + ACT + LOOK)))


@LOTS
@given(data=st.data())
def test_damaged_journals(data: st.DataObject, lab: Lab) -> None:
    whole = (lab.base / "project" / JOURNAL).read_bytes()
    lines = mutate.journal_lines(whole)
    damaged, twisted = mutate.damaged_json(lines), mutate.twisted_json(lines)
    content = data.draw((damaged | twisted | twisted).map(mutate.sealed_journal) | mutate.damaged_bytes(whole))
    lab.try_(JOURNAL, content, data.draw(st.sampled_from(READ + ACT + LOOK)))


@LOTS
@given(data=st.data())
def test_damaged_markers(data: st.DataObject, lab: Lab) -> None:
    """What remembers which state belongs here, and documents that are pushed."""
    pushed = lab.warm.run("state", "pull", cwd=lab.base / "project", env=environ(lab.base)).stdout.encode()
    seen = (lab.base / "project" / ".jobform" / "seen.json").read_bytes()
    file, whole, arguments = data.draw(st.sampled_from([
        (".jobform/seen.json", seen, ("plan",)), (".jobform/seen.json", seen, ("advance",)),
        ("pushed.json", pushed, ("state", "push", "pushed.json")),
        ("pushed.json", pushed, ("state", "push", "--force", "pushed.json")),
    ]))
    document = json.loads(whole)
    document.pop("checksum", None)
    content = data.draw(mutate.damaged_json(document).map(mutate.as_json) | mutate.damaged_bytes(whole))
    lab.try_(file, content, arguments)
