"""kill -9 of an apply on five remote services at once: no second live run, nothing lost, and nobody asked without need."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.sandbox.faults import Fault
from jobform.sandbox.host import Sandbox
from tests.entry import Hook
from tests.support import Warm
from tests.sweep.five import FINDS_NOTHING, KILLED, SERVICES, Five

CREATES = {
    "braket": "/job", "fireworks": ".*/batchJobs", "otoy": "/v1/jobs", "runai": "/api/v1/jobs", "unstructured": ".*/jobs/",
}
APPLY = ("apply", "--auto-approve", "--detach")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=20.0) as running:
        yield running


def test_nothing_happens(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """Without a fault nobody has to settle anything, and each job is made once."""
    scene = Five(tmp_path / "p", warm, sandbox)
    assert scene.until_done() == set()
    scene.end()
    assert scene.run("apply", "--auto-approve").exit == 0
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 1)


def test_sweep_notices_when_intents_are_not_recorded_first(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """The journalled intent is all that prevents a second run: without it there are two."""
    scene = Five(tmp_path / "p", warm, sandbox, seconds=float("inf"))
    hook = Hook(at=2, name="remote.create.after", unrecorded_intents=True)
    assert scene.run(*APPLY, "--parallelism", "1", hook=hook).exit == KILLED
    scene.run(*APPLY)
    with pytest.raises(AssertionError, match="two live"):
        scene.check()


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 6))
def test_kill_around_every_create(number: int, point: str, tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """Killed right before a create: nothing was made, and a person or time has to say so. Right after it: it is found again,
    except where nothing can be found.
    """
    scene = Five(tmp_path / "p", warm, sandbox)
    killed = scene.run(*APPLY, "--parallelism", "1", hook=Hook(at=number, name=f"remote.create.{point}"))
    assert killed.exit == KILLED, killed
    made = {name for name in SERVICES if scene.made(name)}
    assert len(made) == number - (point == "before")
    settled = scene.until_done()
    if point == "before":
        assert len(settled) == 1
        assert not settled & made, "a person is asked of the one job that was about to be made"
    else:
        assert settled <= FINDS_NOTHING
    scene.end()
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 1)


def random_kills(scene: Five, chance: random.Random) -> None:
    """Killed up to three times at moments drawn at random, then repaired."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        done = scene.run(*APPLY, timeout=chance.uniform(0.02, 0.9))
        assert done.exit in (KILLED, 0, 7), done
        scene.check()
    scene.until_done()


def killed_at_random(seed: int, directory: Path, warm: Warm, sandbox: Sandbox) -> None:
    scene = Five(directory, warm, sandbox)
    random_kills(scene, random.Random(seed))
    scene.end()
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 1), f"seed {seed}"


@pytest.mark.parametrize("seed", range(10))
def test_kill_at_random(seed: int, tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    killed_at_random(seed, tmp_path / "p", warm, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 60))
def test_kill_at_random_many(seed: int, tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    killed_at_random(seed, tmp_path / "p", warm, sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kill_while_replacing(seed: int, tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """Every job runs for ever and is replaced by the next version: never two of them at a time, whenever it is killed."""
    chance = random.Random(seed)
    scene = Five(tmp_path / "p", warm, sandbox, seconds=float("inf"))
    scene.until_done()
    for version in (2, 3):
        scene.declare(version)
        for _ in range(chance.choice((1, 2))):
            done = scene.run(*APPLY, "--allow-cancel", "*", timeout=chance.uniform(0.05, 1.5))
            assert done.exit in (KILLED, 0, 7, 9), done
            scene.check()
        scene.until_done("--allow-cancel", "*")
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 3), f"seed {seed}"
    done = scene.run("destroy", "--auto-approve", "--allow-cancel", "*")
    assert done.exit == 0, done


@pytest.mark.parametrize("drop", ["before", "after"])
def test_lost_answers(drop: str, tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """The first create of each service is lost, on its way there or back: never a second one without looking."""
    scene = Five(tmp_path / "p", warm, sandbox)
    rules = [f"service={name} method=POST path={path} drop={drop}" for name, path in CREATES.items()]
    scene.sandbox.faults.set([Fault.parse(rule) for rule in rules])
    first = scene.run(*APPLY)
    posts = {
        name: sum(each["method"] == "POST" and each["fault"] is not None for each in scene.entries("request", name))
        for name in SERVICES
    }
    assert posts == dict.fromkeys(SERVICES, 1), "each was met once, and none repeated it"
    assert first.exit == 7, first
    settled = scene.until_done()
    if drop == "after":
        assert settled <= FINDS_NOTHING
    scene.end()
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 1)
