"""One project whose jobs come and go, on the reference server or as processes of this machine, and who is who all the while.

After every command the state is looked at and compared with what really runs: each live run belongs to one address, no address
has two, no attempt number of an address is ever used again, and neither is a token or a name.
"""

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobform.backends.local.proof import read_record
from jobform.model.state import Attempt, Intent, State
from jobform.testing.ledger import CREATED, Entry, assert_no_attempt_twice
from jobform.testing.server import ReferenceServer
from tests.support import Result, StateWatch, Warm, project

KINDS = ("idempotent", "always_creates", "local")
BACKEND = "place"
_NUMBERS = itertools.count()


@dataclass
class Life:
    """A project and everything that it ever did. jobs: as they stand in the YAML file."""

    directory: Path
    warm: Warm
    env: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watch = StateWatch(self.directory)

    # --- what a user does ---

    def declare(self, moved: Mapping[str, str] | None = None, removed: list[dict[str, Any]] | None = None, **jobs: Any) -> None:
        """Let the job file say exactly this. moved: old address to new."""
        document: dict[str, Any] = {"jobs": jobs}
        document |= {"moved": [{"from": old, "to": new} for old, new in moved.items()]} if moved else {}
        document |= {"removed": removed} if removed else {}
        (self.directory / "jobs" / "jobs.yaml").write_text(json.dumps(document, indent=1))

    def run(self, *arguments: str, exits: int | tuple[int, ...] = 0) -> Result:
        """One command; its exit code is checked, and all that must hold at any time."""
        result = self.warm.run(*arguments, cwd=self.directory, env=self.env)
        assert result.exit in ((exits,) if isinstance(exits, int) else exits), f"{' '.join(arguments)}: {result}"
        self.check()
        return result

    def apply(self, *more: str, exits: int | tuple[int, ...] = 0) -> Result:
        return self.run("apply", "--auto-approve", *more, exits=exits)

    def plan(self, *more: str) -> dict[str, dict[str, Any]]:
        """The changes by address, as the JSON plan says them."""
        return {change["address"]: change for change in self.run("plan", "--format", "json", *more).json["changes"]}

    def planned(self, *more: str) -> dict[str, tuple[str, str]]:
        """Action and reason by address."""
        return {address: (change["action"], change["reason"]) for address, change in self.plan(*more).items()}

    def history(self, address: str) -> list[tuple[int, str]]:
        """Number and phase of every attempt that `history` lists, in its order."""
        listed = self.run("history", address, "--format", "json").json["attempts"]
        return [(attempt["n"], attempt["phase"]) for attempt in listed]

    # --- what must hold ---

    @property
    def state(self) -> State:
        state = self.watch.look()
        assert state is not None
        return state

    def check(self) -> None:
        state = self.watch.look()
        if state is None:
            return
        self._check_numbers(state)
        self._check_identities(state)
        owners = owners_of(state, self.identify)
        for run in self.created():
            assert run in owners, f"{run} was started and no address of the state knows it"
        for address, runs in self.live_by_address(owners).items():
            assert len(runs) < 2, f"{address} has several live runs: {runs}"

    def live_by_address(self, owners: Mapping[str, str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for run in self.live():
            found.setdefault(owners[run], []).append(run)
        return found

    def running(self) -> dict[str, list[str]]:
        """What really runs now, by the address to which the state says it belongs."""
        return self.live_by_address(owners_of(self.state, self.identify))

    def _check_numbers(self, state: State) -> None:
        for address in {*state.jobs, *state.tombstones, *self.numbers}:
            number = last_made(state, address)
            assert number >= self.numbers.get(address, 0), f"the attempts of {address} went back to {number}"
            self.numbers[address] = number
        for address, record in state.jobs.items():
            used = [attempt.n for attempt in record.attempts]
            assert used == sorted(set(used)), f"the attempts of {address} do not rise: {used}"

    def _check_identities(self, state: State) -> None:
        """Of every attempt ever seen: its token, name and mark are its own."""
        attempts = every_attempt(state)
        for what in ("token", "name", "mark"):
            values = [str(getattr(attempt, what)) for attempt in attempts]
            assert len(values) == len(set(values)), f"a {what} was used twice: {sorted(values)}"
            for value, attempt in zip(values, attempts, strict=True):
                known = self.identities.setdefault(f"{what} {value}", attempt.begun_at)
                assert known == attempt.begun_at, f"the {what} {value} is another attempt's by now"

    # --- what kinds of places do differently ---

    def job(self, does: str, *, long: bool = False, **more: Any) -> dict[str, Any]:
        """A job with a result field of this value. long: it runs until `end`."""
        raise NotImplementedError

    def identify(self, attempt: Attempt | Intent) -> str:
        """What the place knows of an attempt."""
        raise NotImplementedError

    def created(self) -> list[str]:
        """Every run that was ever made, as `identify` gives it."""
        raise NotImplementedError

    def live(self) -> list[str]:
        """Every run that has not ended."""
        raise NotImplementedError

    def end(self, run: str) -> None:
        """Let a long run succeed."""
        raise NotImplementedError

    def end_all(self) -> None:
        for run in self.live():
            self.end(run)


class ServerLife(Life):
    """On the reference server, in a namespace of its own."""

    server: ReferenceServer
    namespace: str

    def entries(self) -> list[Entry]:
        return self.server.entries(self.namespace)

    def job(self, does: str, *, long: bool = False, **more: Any) -> dict[str, Any]:
        return {"backend": BACKEND, "spec": {"command": [does], "seconds": 600 if long else 0.02}, **more}

    def identify(self, attempt: Attempt | Intent) -> str:
        return attempt.mark

    def created(self) -> list[str]:
        return [entry.mark for entry in self.entries() if entry.kind == CREATED]

    def live(self) -> list[str]:
        return list(self._live())

    def end(self, run: str) -> None:
        self.server.end(self._live()[run])

    def check(self) -> None:
        super().check()
        assert_no_attempt_twice(self.entries())

    def _live(self) -> dict[str, str]:
        """The service's id of every live run, by mark."""
        entries = self.entries()
        over = {entry.run for entry in entries if entry.kind in ("ended", "vanished")}
        return {entry.mark: entry.run for entry in entries if entry.kind == CREATED and entry.run not in over}


class LocalLife(Life):
    """As processes of this machine: each writes its start and its end to one ledger."""

    def job(self, does: str, *, long: bool = False, **more: Any) -> dict[str, Any]:
        wait = 'while [ ! -e "go-$JOBFORM_NAME" ]; do sleep 0.02; done; ' if long else ""
        script = (
            'trap \'echo "end $JOBFORM_NAME" >> ledger; exit 143\' TERM; '
            f'echo "start $JOBFORM_NAME" >> ledger; {wait}echo "end $JOBFORM_NAME" >> ledger'
        )
        return {"backend": BACKEND, "spec": {"command": ["/bin/sh", "-c", script, does]}, **more}

    def identify(self, attempt: Attempt | Intent) -> str:
        return attempt.name

    def created(self) -> list[str]:
        return self._said("start")

    def live(self) -> list[str]:
        """Those included that have said their last word, as long as their launchers have not written down how they ended."""
        ended = set(self._said("end")) - self._open()
        return [run for run in self.created() if run not in ended]

    def end(self, run: str) -> None:
        (self.directory / f"go-{run}").touch()

    def check(self) -> None:
        super().check()
        started = self.created()
        assert len(started) == len(set(started)), f"a run was started twice: {started}"

    def _open(self) -> set[str]:
        """The names of runs whose end is not recorded."""
        proofs = (Path(self.env["XDG_STATE_HOME"]) / "jobform" / "runs").glob("[0-9a-f]*")
        records = ((read_record(proof / "run.json"), (proof / "exit.json").exists()) for proof in proofs)
        return {str(record["name"]) for record, over in records if record and not over}

    def _said(self, word: str) -> list[str]:
        ledger = self.directory / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return [line.split()[1] for line in lines if line.startswith(f"{word} ")]


def every_attempt(state: State) -> list[Attempt]:
    """Every attempt in a state, those of removed jobs included."""
    kept = [attempt for tombstone in state.tombstones.values() for attempt in tombstone.attempts]
    return kept + [attempt for record in state.jobs.values() for attempt in record.attempts]


def last_made(state: State, address: str) -> int:
    """The highest number that an attempt of this address got; one that never arrived gives its number back."""
    record, tombstone = state.jobs.get(address), state.tombstones.get(address)
    made = record.attempts[-1].n if record and record.attempts else 0
    return max(made, tombstone.last_attempt if tombstone else 0)


def owners_of(state: State, identify: Any) -> dict[str, str]:
    """The address to which each attempt in a state belongs now, those included whose submission is not known to have ended."""
    owners = {identify(attempt): address for address, record in state.jobs.items() for attempt in record.attempts}
    owners |= {identify(record.intent): address for address, record in state.jobs.items() if record.intent}
    return owners | {
        identify(attempt): address for address, tombstone in state.tombstones.items() for attempt in tombstone.attempts
    }


def life_of(kind: str, directory: Path, warm: Warm, server: ReferenceServer) -> Life:
    """A fresh project of a kind without a job."""
    if kind == "local":
        environ = {"HOME": str(directory), "XDG_STATE_HOME": str(directory / ".home"), "PATH": os.environ["PATH"]}
        project(directory, {}, {BACKEND: {"type": "local", "max_parallel": 8, "kill_grace": "2m"}})
        return LocalLife(directory, warm, environ)
    namespace = f"identity-{next(_NUMBERS)}"
    backend = {"type": "reference", "url": server.url, "namespace": namespace, "mode": kind}
    life = ServerLife(project(directory, {}, {BACKEND: backend}), warm)
    life.server, life.namespace = server, namespace
    return life
