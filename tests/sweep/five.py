"""A project with one job on each remote service, killed and repaired, with the sandbox's ledger as the witness.

Each job is named as its service. The sandbox outlives every command; each scene begins without jobs on it.
"""

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobform.model.values import Json
from jobform.sandbox.host import Sandbox
from jobform.sandbox.ledger import Entry
from tests.entry import Hook
from tests.sandboxed import assert_never_two_live, assert_no_bugs
from tests.support import TIMEOUT, Result, StateWatch, Warm, project, until_heard

SERVICES = ("braket", "fireworks", "otoy", "runai", "unstructured")
FINDS_NOTHING = frozenset({"unstructured"})
"""Services on which a run that was made cannot be told from a stranger's: a submission that nobody saw end is held."""

BACKENDS: dict[str, dict[str, Json]] = {
    "braket": {"type": "braket", "role_arn": "arn:aws:iam::123456789012:role/jobs"}, "fireworks": {"type": "fireworks"},
    "otoy": {"type": "otoy"}, "runai": {"type": "runai", "project": "team-a"}, "unstructured": {"type": "unstructured"},
}
KILLED = -9
_NUMBERS = itertools.count(1)


def hints(seconds: float) -> dict[str, str]:
    return {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": str(seconds)}


def specs(number: int, version: int, seconds: float) -> dict[str, dict[str, Any]]:
    """One spec for each service; another version is another result."""
    env = {**hints(seconds), "VERSION": str(version)}
    node = {
        "name": f"partition-{number}-{version}", "type": "partition", "subtype": "unstructured_api", "settings": hints(seconds),
    }
    return {
        "braket": {
            "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4", "hyper_parameters": env,
            "device_config": {"device": "local:pennylane/lightning"}, "output_data_config": {"s3_path": "s3://acme/jobs"},
            "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
        },
        "fireworks": {"node_pool_id": "pool", "command": ["true"], "env": env},
        "otoy": {"image": "acme/render:1", "timeout": "1h", "env": env},
        "runai": {"image": "acme/train:1", "command": ["true"], "env": env},
        "unstructured": {"job_nodes": [node], "input_files": ["a.txt"]},
    }


@dataclass
class Five:
    """One fresh project, and an empty sandbox. seconds: how long its jobs run, at the sandbox's speed."""

    directory: Path
    warm: Warm
    sandbox: Sandbox
    seconds: float = 1.0
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.number = next(_NUMBERS)
        self.sandbox.faults.set([])
        for name in SERVICES:
            world = self.sandbox.world(name)
            with world.held():
                for job in list(world.jobs.values()):
                    world.remove(job)
        self._before = len(list(self.sandbox.ledger.entries()))
        self.declare(1)
        (self.directory / "a.txt").write_text("one\ntwo\n")
        self.watch = StateWatch(self.directory)
        self.env = {**self.sandbox.variables, "HOME": str(self.directory)}

    def declare(self, version: int) -> None:
        jobs = {name: {"backend": name, "spec": spec} for name, spec in specs(self.number, version, self.seconds).items()}
        project(self.directory, jobs, BACKENDS)

    def run(self, *arguments: str, hook: Hook | None = None, timeout: float = TIMEOUT) -> Result:
        done = self.warm.run(*arguments, cwd=self.directory, env=self.env, hook=hook, timeout=timeout)
        self.results.append(done)
        until_heard(*(server.url for server in self.sandbox.servers.values()))
        self.watch.look()
        assert "Traceback" not in done.stderr, done
        return done

    def entries(self, event: str | None = None, service: str | None = None) -> list[Entry]:
        """What the ledger has of this scene."""
        entries = list(self.sandbox.ledger.entries())[self._before :]
        return [each for each in entries if event in (None, each["event"]) and service in (None, each["service"])]

    def made(self, service: str) -> list[str]:
        """The ids of the jobs that were made, in order."""
        return [str(each["id"]) for each in self.entries("state", service) if each["state"] == "queued"]

    def until_done(self, *more: str) -> set[str]:
        """Apply, and settle what only a person can, until nothing is open. The addresses that a person had to settle.

        Held is what the promise allows: a submission of which nothing is found, as long as it may still appear, and any on a
        service where nothing can be found.
        """
        settled: set[str] = set()
        for _ in range(20):
            done = self.run("apply", "--auto-approve", "--detach", *more)
            assert done.exit in (0, 7), done
            self.check()
            held, more_to_do = self._open()
            if not held and not more_to_do:
                assert done.exit == 0, done
                return settled
            for address in held:
                assert address not in settled, f"{address} is held a second time: {done}"
                self._settle(address)
                settled.add(address)
            time.sleep(0 if held else 0.1)
        raise AssertionError(f"still something to do: {done}")

    def check(self) -> None:
        assert_never_two_live(self.entries())
        assert_no_bugs(self.entries())

    def end(self) -> None:
        """Wait for the end of every job, and see that nothing is to be done then."""
        ends = time.monotonic() + 120
        while (done := self.run("advance")).exit == 2:
            assert time.monotonic() < ends, done
            time.sleep(0.1)
        assert done.exit == 0, done
        planned = self.run("plan", "--detailed-exitcode")
        assert planned.exit == 0, planned
        self.check()

    def _open(self) -> tuple[list[str], bool]:
        """The addresses that are held, and whether something else is to be done, such as what follows a stop."""
        changes = self.run("plan", "--format", "json").json["changes"]
        held = [each["address"] for each in changes if each["action"] == "hold"]
        assert {each["reason"] for each in changes if each["action"] == "hold"} <= {"unknown_submission"}, changes
        return held, any(each["action"] not in ("hold", "no-op") for each in changes)

    def _settle(self, address: str) -> None:
        """What a person would do who looks at the service."""
        known = self.known(address)
        unknown = [run for run in self.made(address) if run not in known]
        assert len(unknown) <= 1, f"more than one run that nobody knows: {unknown}"
        assert not unknown or address in FINDS_NOTHING, f"{unknown[0]} was made, can be found, and was not"
        said = ("--found", unknown[0]) if unknown else ("--not-submitted",)
        done = self.run("state", "resolve", address, *said)
        assert done.exit == 0, done

    def known(self, address: str) -> list[str]:
        """Ids of the runs that the state knows."""
        state = self.watch.look()
        record = state.jobs.get(address) if state else None
        text = json.dumps([attempt.ref for attempt in record.attempts] if record else [])
        return [run for run in self.made(address) if run in text]
