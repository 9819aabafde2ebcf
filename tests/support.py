"""Helpers for tests that run the command line: small projects, commands in real processes, and what must hold afterwards."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from jobform.engine.manager import Manager
from jobform.model.clock import SystemClock
from jobform.model.state import State
from jobform.protocols import no_effect
from jobform.stores.file import TYPE as FILE
from jobform.testing.ledger import CREATED, Entry, assert_never_two_live, assert_no_attempt_twice
from tests.entry import VARIABLE, Hook

ROOT = Path(__file__).parent.parent
TIMEOUT = 300.0

CLOSE_WAIT, FIN_WAIT = "08", ("04", "05")
"""What Linux calls the state of a connection that was closed by one of its ends: at the other one, and at that one."""


@dataclass(frozen=True)
class Result:
    """How a command ended. exit: negative for a signal."""

    exit: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit {self.exit}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.stdout)


def environ_for(env: Mapping[str, str] | None, hook: Hook | None) -> dict[str, str]:
    """The environment of a command under test: ours, what the test adds, and the hook."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("JOBFORM_")} | dict(env or {})
    return environ | ({VARIABLE: hook.to_json()} if hook else {})


def run_cli(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = TIMEOUT,
    hook: Hook | None = None,
) -> Result:
    """One command in a fresh interpreter."""
    environ = environ_for(env, hook) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.entry", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environ, input=stdin, timeout=timeout, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


class Warm:
    """Runs commands like `run_cli`, one at a time, each forked from a process that has imported everything: much faster."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="warm-")
        command = [sys.executable, "-m", "tests.entry", "--serve"]
        environ = environ_for(None, None) | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ)

    def run(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = TIMEOUT,
        hook: Hook | None = None,
    ) -> Result:
        paths = {name: Path(self._directory.name) / name for name in ("stdin", "stdout", "stderr")}
        paths["stdin"].write_text(stdin)
        request = {"arguments": arguments, "cwd": str(cwd), "environ": environ_for(env, hook), "timeout": timeout}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request | {name: str(path) for name, path in paths.items()}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the warm process has died with {self._process.poll()}"
        return Result(json.loads(answer)["exit"], paths["stdout"].read_text(), paths["stderr"].read_text())

    def close(self) -> None:
        self._process.communicate(timeout=TIMEOUT)
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def project(directory: Path, jobs: Mapping[str, Any], backends: Mapping[str, Any], **settings: Any) -> Path:
    """A project in `directory`: jobs and backends as they stand in YAML (JSON is YAML). settings: more keys of jobform.yaml."""
    (directory / "jobs").mkdir(parents=True, exist_ok=True)
    head = {"jobform": 1, "project": "test", "backends": backends, **settings}
    (directory / "jobform.yaml").write_text(json.dumps(head, indent=1))
    (directory / "jobs" / "jobs.yaml").write_text(json.dumps({"jobs": jobs}, indent=1))
    return directory


def until_heard(*urls: str) -> None:
    """Wait until the servers of these addresses have dealt with all that clients sent them which have ended since.

    A request may be on its way when its sender is killed: what the server makes of it must not come in the middle of what a test
    does next. The end of such a connection is there until the server has read it.
    """
    ports = {urlsplit(url).port for url in urls}
    end = time.monotonic() + TIMEOUT
    while _unheard(ports):
        assert time.monotonic() < end, f"there are requests that nobody has read: {urls}"
        time.sleep(0.002)


def _unheard(ports: set[int | None]) -> bool:
    """Whether a connection to one of the ports was closed by its client and not by its server. Linux only knows how to tell."""
    table = Path("/proc/net/tcp")
    for line in table.read_text().splitlines()[1:] if table.exists() else ():
        local, remote, state = line.split()[1:4]
        ours, theirs = (int(address.rpartition(":")[2], 16) for address in (local, remote))
        if (ours in ports and state == CLOSE_WAIT) or (theirs in ports and state in FIN_WAIT):
            return True
    return False


# --- invariants -------------------------------------------------------------------------------------------------------


def read_state(directory: Path) -> State | None:
    """The state of a project as a lock-free reader sees it; None if there is none. Raises StateError if it is not whole."""
    clock = SystemClock()
    store = FILE.open({}, directory, clock, no_effect)
    manager = Manager(store, clock, no_effect, directory / "no such directory" / "seen.json")
    state = manager.open()
    return state if manager.stored else None


@dataclass
class StateWatch:
    """I3: whenever it looks, the state is whole, its serial has not gone back and its lineage is the same."""

    directory: Path
    lineage: str = ""
    serial: int = 0
    seen: list[int] = field(default_factory=list)

    def look(self) -> State | None:
        state = read_state(self.directory)
        if state is None:
            assert not self.lineage, "the state has vanished"
            return None
        assert self.lineage in ("", state.lineage), "the lineage has changed"
        assert state.serial >= self.serial, f"the serial went back from {self.serial} to {state.serial}"
        self.lineage, self.serial = state.lineage, state.serial
        self.seen.append(state.serial)
        return state


def assert_known(state: State, entries: list[Entry]) -> None:
    """I2: every run that was created is an attempt in the state, or is under an open intent or a hold."""
    marks = {attempt.mark for record in state.jobs.values() for attempt in record.attempts}
    marks |= {record.intent.mark for record in state.jobs.values() if record.intent}
    marks |= {attempt.mark for tombstone in state.tombstones.values() for attempt in tombstone.attempts}
    marks |= {tombstone.mark for tombstone in state.tombstones.values()}
    unknown = [entry for entry in entries if entry.kind == CREATED and entry.mark not in marks]
    assert not unknown, f"runs that the state does not know: {unknown}"


def assert_exactly_once(state: State, entries: list[Entry]) -> None:
    """I1 and I2 on the ledger of a reference server."""
    assert_never_two_live(entries)
    assert_no_attempt_twice(entries)
    assert_known(state, entries)


def assert_no_secret(secret: str, directory: Path, *results: Result) -> None:
    """I6: the value is in no file of a project and in nothing that was printed."""
    found = [str(path) for path in directory.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    found += [f"output of a command: {result}" for result in results if secret in result.stdout + result.stderr]
    assert not found, f"the secret is in {found}"


def starts(ledger: Path) -> list[str]:
    """The addresses that a ledger of local processes says were started, in order; see `assert_one_process`."""
    return [line.split()[1] for line in _lines(ledger) if line.startswith("start ")]


def assert_one_process(ledger: Path) -> None:
    """I1 for local jobs that append `start ADDRESS` and `end ADDRESS` to one file."""
    live: set[str] = set()
    for line in _lines(ledger):
        word, address = line.split()
        if word == "start":
            assert address not in live, f"{address} was started while it ran: {_lines(ledger)}"
            live.add(address)
        else:
            live.discard(address)


def _lines(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []
