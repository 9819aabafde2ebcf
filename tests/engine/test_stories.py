"""Long seeded stories beside the property test: more jobs, faults and changes than a search for small examples tries."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.engine.test_property import NAMES, Player

FAULTS = (
    ("submit", "before", False, True), ("submit", "after", False, True), ("submit", "before", False, False),
    ("cancel", "before", True, False), ("cancel", "after", False, False), ("delete", "after", False, True),
    ("update", "before", False, False),
)
WORDS = {
    "plan": 1, "apply": 8, "advance": 3, "pass": 3, "edit": 9, "drop": 2, "cancel": 2, "rerun": 2, "forget": 1, "vanish": 1,
    "drift": 1, "rename": 2,
}


def a_spec(random: Random) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "command": [random.choice("xyz")], "seconds": random.choice([0, 3, 40]), "exit": random.choice([0, 0, 0, 1]),
        "start_after": random.choice([0, 0, 6]), "grace": random.choice([0, 8]),
    }
    extras = {"labels": {"t": random.choice("xy")}, "region": random.choice(["eu", "us"]), "image": random.choice("12")}
    return spec | {key: value for key, value in extras.items() if random.random() < 0.35}


def a_job(random: Random, name: str) -> dict[str, Any]:
    earlier = NAMES[: NAMES.index(name)]
    needs = random.sample(earlier, min(len(earlier), random.choice([0, 0, 1, 2])))
    whens = ["succeeded", "succeeded", "finished", "failed", "started"]
    return {
        "spec": a_spec(random), "generation": random.randint(1, 3), "keep_objects": random.randint(0, 2),
        "rerun": random.choice([
            {"on": ["changed"]}, {"on": ["changed", "failed"], "max_attempts": 2, "backoff": "5s..5s"},
            {"on": ["changed", "lost"]}, {"on": ["lost"]},
        ]),
        "needs": [{"job": needed, "when": random.choice(whens)} for needed in needs],
        "on_change_while_running": random.choice(["refuse", "cancel", "finish"]),
    }


def a_step(random: Random) -> tuple[Any, ...]:
    word = random.choices(list(WORDS), list(WORDS.values()))[0]
    name = random.choice(NAMES)
    if word == "apply":
        return (word, random.choice([0.0, 4.0, None]), random.choice([None, None, *FAULTS]), random.random() < 0.3)
    rest: dict[str, tuple[Any, ...]] = {
        "plan": (), "advance": (), "pass": (random.choice([1, 10, 100]),), "edit": (name, a_job(random, name)),
        "drop": (name, random.choice([None, True, False])), "rename": (name, random.choice(NAMES)),
    }
    return (word, *rest.get(word, (name,)))


def tell(directory: Path, seed: int) -> None:
    random = Random(seed)
    player = Player(directory)
    player.play(("write", {name: a_job(random, name) for name in NAMES}))
    for _ in range(random.randint(4, 25)):
        player.play(a_step(random))


@pytest.mark.parametrize("seed", range(40))
def test_story(tmp_path: Path, seed: int) -> None:
    tell(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_stories(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 100):
        tell(tmp_path / str(seed), seed)
