"""One home and one project for real local runs, and a way to leave nothing of them behind."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobform.backends.local.backend import LocalBackend, LocalType
from jobform.backends.local.facts import Facts, system_facts
from jobform.backends.local.proof import Proof
from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.model.state import ENDED, Phase
from jobform.protocols import Actual, Effect, Mark, Place, Ref, Submission, no_effect
from jobform.testing.marks import make_mark

PATIENCE = 120.0
"""Seconds: tells a hang from a busy machine."""


class World:
    """`open` connects as a command would; each call gives a backend with a spawner of its own."""

    def __init__(self, directory: Path) -> None:
        self.project = directory / "project"
        self.project.mkdir()
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_STATE_HOME": str(directory / "state")}
        self.home = directory / "state" / "jobform"

    def open(
        self, *, facts: Facts | None = None, effect: Effect = no_effect, environ: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> LocalBackend:
        block = BackendBlock("here", "local", {"kill_grace": "500ms", "max_parallel": 8, **settings})
        place = Place(self.project, SystemClock(), effect, self.environ | dict(environ or {}))
        backend = LocalType(lambda: facts or system_facts()).open(block, place)
        assert isinstance(backend, LocalBackend)
        return backend

    def proof(self, mark: Mark) -> Proof:
        return Proof(self.home / "runs" / mark.token[:32])

    def record(self, mark: Mark, name: str) -> Any:
        return json.loads((self.proof(mark).directory / name).read_bytes())

    def run_dir(self, mark: Mark) -> Path:
        return self.project / ".jobform" / "runs" / mark.name

    def launcher(self, mark: Mark) -> int:
        """The launcher's process number, as soon as it is known."""
        until(lambda: self.proof(mark).lock.exists() and self.proof(mark).lock.read_bytes())
        pid = json.loads(self.proof(mark).lock.read_bytes())["pid"]
        assert isinstance(pid, int)
        return pid

    def end(self) -> None:
        """Kill whatever is left of any run, launchers first; only processes that are what was recorded."""
        facts = system_facts()
        for directory in (self.home / "runs").glob("*"):
            for name in ("lock", "start.json"):
                try:
                    record = json.loads((directory / name).read_bytes())
                except (OSError, ValueError):
                    continue
                if facts.start_time(record["pid"]) == record["started"] is not None:
                    with suppress(ProcessLookupError):
                        (os.kill if name == "lock" else os.killpg)(record["pid"], signal.SIGKILL)


def job(*command: str, address: str = "job", masks: tuple[str, ...] = (), **spec: Any) -> Submission:
    whole = {"command": list(command), **spec}
    return Submission(address, whole, dict(whole), masks)


def shell(script: str, **spec: Any) -> Submission:
    return job("/bin/sh", "-c", script, **spec)


def python(script: str, **spec: Any) -> Submission:
    return job(sys.executable, "-I", "-S", "-c", script, **spec)


def until(true: Any, why: str = "") -> Any:
    """Wait until a condition holds, and give its value."""
    end = time.monotonic() + PATIENCE
    while not (value := true()):
        assert time.monotonic() < end, why or "it did not happen in time"
        time.sleep(0.005)
    return value


def now(backend: LocalBackend, ref: Ref) -> Actual:
    actual = backend.read([ref])[ref]
    assert isinstance(actual, Actual), actual
    return actual


def reach(backend: LocalBackend, ref: Ref, *phases: Phase) -> Actual:
    """Wait until the run is in one of the phases; ended if none is named."""
    wanted = phases or tuple(ENDED)
    last: list[Actual] = []

    def arrived() -> bool:
        last[:] = [now(backend, ref)]
        return last[0].phase in wanted

    until(arrived, f"never {wanted}")
    return last[0]


def finish(backend: LocalBackend, submission: Submission, mark: Mark | None = None) -> Actual:
    """Submit and wait for the end."""
    return reach(backend, backend.submit(submission, mark or make_mark(submission.address)))


def alive(pid: int) -> bool:
    return system_facts().start_time(pid) is not None
