"""The three-job projects that the sweeps apply, on the reference server and on this machine, and what must hold of them.

`prep` and `solo` start at once, `train` needs `prep`. One of them names a secret, the canary.
"""

import itertools
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobform.model.state import Phase, State
from jobform.testing.ledger import Entry, mutations
from jobform.testing.server import ReferenceServer
from tests.entry import Hook
from tests.support import (
    Result,
    StateWatch,
    Warm,
    assert_exactly_once,
    assert_no_secret,
    assert_one_process,
    project,
    starts,
    until_heard,
)

ADDRESSES = ["prep", "solo", "train"]
_NUMBERS = itertools.count()


@dataclass
class Scene:
    """One fresh project. Every command is followed by a look at the state (I3)."""

    directory: Path
    warm: Warm
    parallelism: int
    env: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.secret = f"canary-{uuid.uuid4().hex}"
        self.env = {"JOBFORM_SECRET_CANARY": self.secret, **self.env}
        self.watch = StateWatch(self.directory)

    def apply(self, *more: str, hook: Hook | None = None) -> Result:
        arguments = ("apply", "--auto-approve", "--parallelism", str(self.parallelism), *more)
        result = self.warm.run(*arguments, cwd=self.directory, env=self.env, hook=hook)
        self.results.append(result)
        self.watch.look()
        return result

    def settle(self) -> State:
        """Apply without faults until nothing is open: the first must do it all, the second must do nothing (I4, I5, I7, I8)."""
        result = self.apply()
        assert result.exit == 0, result
        self.check_once()
        before = self.calls()
        again = self.apply()
        assert again.exit == 0, again
        assert self.calls() == before, "a further apply made a mutating call"
        state = self.watch.look()
        assert state is not None
        assert {address: record.last and record.last.phase for address, record in state.jobs.items()} == dict.fromkeys(
            ADDRESSES, Phase.SUCCEEDED,
        )
        assert not [address for address, record in state.jobs.items() if record.intent or record.hold]
        assert_no_secret(self.secret, self.directory, *self.results)
        return state

    def check_once(self) -> None:
        """I1 and I2, at any moment."""
        raise NotImplementedError

    def calls(self) -> list[Any]:
        """What could have changed something so far."""
        raise NotImplementedError


class ServerScene(Scene):
    """On the reference server, in a namespace of its own."""

    server: ReferenceServer
    namespace: str

    @classmethod
    def make(
        cls, directory: Path, warm: Warm, parallelism: int, server: ReferenceServer, mode: str, seconds: float = 0.05,
    ) -> "ServerScene":
        namespace = f"sweep-{next(_NUMBERS)}"
        backend = {"type": "reference", "url": server.url, "namespace": namespace, "mode": mode}
        jobs = {
            "prep": {"backend": "ref", "spec": {"command": ["prep"], "seconds": seconds, "outputs": {"rows": 7}}},
            "solo": {"backend": "ref", "spec": {"command": ["solo"], "seconds": 2 * seconds, "token": "{{ secret('CANARY') }}"}},
            "train": {"backend": "ref", "spec": {"command": ["train", "{{ jobs.prep.outputs.rows }}"], "seconds": seconds}},
        }
        scene = cls(project(directory, jobs, {"ref": backend}), warm, parallelism)
        scene.server, scene.namespace = server, namespace
        return scene

    def apply(self, *more: str, hook: Hook | None = None) -> Result:
        result = super().apply(*more, hook=hook)
        until_heard(self.server.url)
        return result

    def entries(self) -> list[Entry]:
        return self.server.entries(self.namespace)

    def check_once(self) -> None:
        state = self.watch.look()
        assert state is not None
        assert_exactly_once(state, self.entries())

    def calls(self) -> list[Any]:
        return mutations(self.entries())


class LocalScene(Scene):
    """On this machine, in a home of its own: each job writes its start and its end to one ledger."""

    @classmethod
    def make(cls, directory: Path, warm: Warm, parallelism: int) -> "LocalScene":
        def job(name: str, seconds: float, after: str = "") -> dict[str, Any]:
            script = f"echo start {name} >> ledger; sleep {seconds}; {after}echo end {name} >> ledger"
            return {"backend": "here", "spec": {"command": ["/bin/sh", "-c", script]}}

        jobs = {
            "prep": job("prep", 0.05, """echo '{"rows": 7}' > "$JOBFORM_OUTPUT"; """),
            "solo": job("solo", 0.1),
            "train": job("train", 0.05),
        }
        jobs["solo"]["spec"]["env"] = {"TOKEN": "{{ secret('CANARY') }}"}
        jobs["train"]["spec"]["env"] = {"ROWS": "{{ jobs.prep.outputs.rows }}"}
        backend = {"type": "local", "max_parallel": 4}
        environ = {"HOME": str(directory), "XDG_STATE_HOME": str(directory / ".home"), "PATH": os.environ["PATH"]}
        return cls(project(directory, jobs, {"here": backend}), warm, parallelism, environ)

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    def check_once(self) -> None:
        assert_one_process(self.ledger)
        assert sorted(starts(self.ledger)) == ADDRESSES

    def calls(self) -> list[Any]:
        return starts(self.ledger)


KINDS = ("idempotent", "always_creates", "local")


def scene_of(kind: str, directory: Path, warm: Warm, parallelism: int, server: ReferenceServer) -> Scene:
    """A fresh project of a kind, in `directory`."""
    if kind == "local":
        return LocalScene.make(directory, warm, parallelism)
    return ServerScene.make(directory, warm, parallelism, server, kind)


def points_of(scene: Scene, record: Path) -> list[str]:
    """The effects of one apply without faults, `name address` each, in order."""
    result = scene.apply(hook=Hook(record=str(record)))
    assert result.exit == 0, result
    scene.settle()
    points = record.read_text().splitlines()
    assert any(point.startswith("backend.submit.before") for point in points), points
    return points


def chunks(numbers: Iterator[int] | range, share: int, of: int) -> list[int]:
    """Every `of`-th number, from the `share`-th on: what one of several tests takes."""
    return [number for number in numbers if number % of == share]
