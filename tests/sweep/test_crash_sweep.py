"""kill -9 at every effect of an apply, then apply again: one run per address at any time, nothing lost, nothing done twice."""

import random
from pathlib import Path

import pytest

from jobform.testing.ledger import twice, two_live
from jobform.testing.server import ReferenceServer
from tests.entry import Hook
from tests.support import Warm
from tests.sweep.scenes import KINDS, ServerScene, chunks, points_of, scene_of

SHARES = 4
MORE = 4
"""How many points beyond those of the recorded run are tried: threads and polls make runs differ a little."""

KILLED = -9


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("parallelism", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_every_effect(
    kind: str, parallelism: int, share: int, tmp_path: Path, warm: Warm, server: ReferenceServer,
) -> None:
    points = points_of(scene_of(kind, tmp_path / "whole", warm, parallelism, server), tmp_path / "points")
    for number in chunks(range(1, len(points) + MORE), share, SHARES):
        record = tmp_path / f"points-{number}"
        scene = scene_of(kind, tmp_path / str(number), warm, parallelism, server)
        killed = scene.apply(hook=Hook(record=str(record), at=number))
        assert killed.exit in (KILLED, 0), killed
        try:
            scene.settle()
        except AssertionError as error:
            raise AssertionError(f"killed at effect {number}, {record.read_text().splitlines()[-1]}: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_kill_again_while_recovering(kind: str, seed: int, tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """A sample of the pairs and triples of effects: the runs that recover are killed too."""
    chance = random.Random(f"{kind} {seed}")
    points = points_of(scene_of(kind, tmp_path / "whole", warm, 4, server), tmp_path / "points")
    for number in range(25):
        scene = scene_of(kind, tmp_path / str(number), warm, 4, server)
        at = [chance.randint(1, len(points)) for _ in range(chance.choice((2, 2, 3)))]
        for effect in at:
            assert scene.apply(hook=Hook(at=effect)).exit in (KILLED, 0)
        try:
            scene.settle()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, killed at effects {at}: {error}") from error


def test_sweep_notices_when_intents_are_not_recorded_first(tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """Where every request makes a run, the journalled intent is all that prevents a second one: without it there are two."""
    found = []
    for broken in (False, True):
        scene = ServerScene.make(tmp_path / f"broken-{broken}", warm, 1, server, "always_creates", seconds=3600)
        killed = scene.apply(hook=Hook(at=1, name="backend.submit.after", unrecorded_intents=broken))
        assert killed.exit == KILLED, killed
        scene.apply("--detach")
        found.append((two_live(scene.entries()), twice(scene.entries())))
    whole, without = found
    assert whole == ([], [])
    assert without[0], "two live runs of one address were to be seen"
    assert without[1], "two runs of one attempt were to be seen"


@pytest.mark.parametrize("error", ["MemoryError", "RuntimeError"])
@pytest.mark.parametrize("kind", ["always_creates", "local"])
def test_exception_around_every_call(kind: str, error: str, tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """Whatever breaks beside a backend call, the intent is kept, the lock is free, and the next apply finishes."""
    points = points_of(scene_of(kind, tmp_path / "whole", warm, 1, server), tmp_path / "points")
    calls = [number for number, point in enumerate(points, 1) if point.startswith(("backend.", "local.", "store.append"))]
    for number in calls[:: 3 if kind == "local" else 1]:
        scene = scene_of(kind, tmp_path / str(number), warm, 1, server)
        scene.apply(hook=Hook(at=number, do=error))
        try:
            scene.settle()
        except AssertionError as failure:
            raise AssertionError(f"{error} at effect {number}, {points[number - 1]}: {failure}") from failure


@pytest.mark.parametrize(("signal", "code"), [("INT", 130), ("TERM", 143)])
@pytest.mark.parametrize("kind", ["always_creates", "local"])
def test_signal_at_many_effects(
    kind: str, signal: str, code: int, tmp_path: Path, warm: Warm, server: ReferenceServer,
) -> None:
    """Asked to stop, an apply finishes its calls, saves, frees the lock and says so by its exit code; the next one goes on."""
    points = points_of(scene_of(kind, tmp_path / "whole", warm, 4, server), tmp_path / "points")
    for number in range(2, len(points), 7):
        scene = scene_of(kind, tmp_path / str(number), warm, 4, server)
        stopped = scene.apply(hook=Hook(at=number, do=signal))
        assert stopped.exit in (code, 0), f"{signal} at effect {number}, {points[number - 1]}: {stopped}"
        try:
            scene.settle()
        except AssertionError as failure:
            raise AssertionError(f"{signal} at effect {number}, {points[number - 1]}: {failure}") from failure
