"""The local backend keeps the backend contract, with real processes."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.backends.local.backend import TYPE
from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.model.state import Phase
from jobform.protocols import Actual, Backend, Place, Ref, Submission, no_effect
from jobform.testing.backend_contract import BackendContract
from jobform.testing.backend_fixtures import OUTPUTS, PATIENCE, MakeSubmission, Wish
from jobform.testing.marks import make_mark

SLOTS = 4

SCRIPTS = {
    Wish.ENDS: "exit 0",
    Wish.FAILS: "exit 3",
    Wish.RUNS: "exec sleep 3600",
    Wish.WAITS: "exec sleep 3600",
    Wish.OUTPUTS: f"cat > \"$JOBFORM_OUTPUT\" <<'END'\n{json.dumps(dict(OUTPUTS))}\nEND",
}


class Sandbox:
    """A backend whose runs are all stopped at the end of the test; the slots are its own, in a home of its own."""

    def __init__(self, directory: Path) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_STATE_HOME": str(directory / "home")}
        block = BackendBlock("here", "local", {"max_parallel": SLOTS, "kill_grace": "1s"})
        self.backend = TYPE.open(block, Place(directory, SystemClock(), no_effect, environ))
        self._runs = directory / "home" / "jobform" / "runs"

    def fill(self) -> None:
        """Take every slot."""
        refs = [self.backend.submit(make(Wish.RUNS, f"blocker{n}"), make_mark(f"blocker{n}")) for n in range(SLOTS)]
        self._until(refs, Phase.RUNNING)

    def stop(self) -> None:
        refs = []
        for run in self._runs.glob("[0-9a-f]*/run.json"):
            refs.append(Ref.of({"run": run.parent.name, "name": json.loads(run.read_bytes())["name"]}))
            self.backend.cancel(refs[-1], only_if_waiting=False)
        self._until(refs, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)

    def _until(self, refs: list[Ref], *phases: Phase) -> None:
        end = time.monotonic() + PATIENCE
        while not all(isinstance(a, Actual) and a.phase in phases for a in self.backend.read(refs).values()):
            assert time.monotonic() < end, self.backend.read(refs)
            time.sleep(0.02)


def make(wish: Wish, address: str) -> Submission:
    return Submission(address, {"command": ["/bin/sh", "-c", SCRIPTS[wish]]})


class TestLocal(BackendContract):
    @pytest.fixture
    def sandbox(self, tmp_path: Path) -> Iterator[Sandbox]:
        sandbox = Sandbox(tmp_path)
        yield sandbox
        sandbox.stop()

    @pytest.fixture
    def backend(self, sandbox: Sandbox) -> Backend:
        return sandbox.backend

    @pytest.fixture
    def make_submission(self, sandbox: Sandbox) -> MakeSubmission:
        def submission(wish: Wish, address: str) -> Submission:
            if wish is Wish.WAITS:
                sandbox.fill()
            return make(wish, address)

        return submission
