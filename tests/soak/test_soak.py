"""Several commands at once on one project, round after round, while its files change between the rounds."""

import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobform.model.clock import SystemClock
from jobform.protocols import no_effect
from jobform.stores.file import TYPE as FILE
from jobform.testing.ledger import assert_never_two_live
from jobform.testing.server import ReferenceServer
from tests.entry import Hook
from tests.identity.life import KINDS, Life, LocalLife, ServerLife, life_of
from tests.support import Result, StateWatch, Warm

PROCESSES = 4
ROUNDS = 10
KILLED = -9

COMMANDS: tuple[tuple[tuple[str, ...], set[int]], ...] = (
    (("apply", "--auto-approve"), {0, 4, 6, 7, 8}),
    (("apply", "--auto-approve", "--detach"), {0, 4, 6, 7, 8}),
    (("apply", "--auto-approve", "--lock-timeout", "0"), {0, 4, 6, 7, 8}),
    (("advance",), {0, 2, 7, 8}),
    (("plan",), {0}),
    (("plan", "--detailed-exitcode"), {0, 2}),
    (("status", "--exit-code"), {0, 2, 8}),
)
"""What a process may run, and the exit codes that the documentation has for it here."""

WEIGHTS = (4, 3, 2, 3, 1, 1, 1)


def write_round(life: Life, chance: random.Random) -> None:
    """Other labels, other commands, jobs that come and go; some need others, and some say what happens to a live run."""
    jobs: dict[str, Any] = {}
    for number in range(8):
        if chance.random() < 0.2:
            continue
        more: dict[str, Any] = {}
        needs = [name for name in jobs if chance.random() < 0.25]
        if needs:
            more["needs"] = needs
        if chance.random() < 0.5:
            more["on_change_while_running"] = chance.choice(["refuse", "finish", "cancel"])
        if number == 3:
            more["matrix"] = {"n": [1, 2, 3][: chance.randint(1, 3)]}
        job = life.job(f"{number}-{chance.randrange(3)}", **more)
        job["spec"]["labels"] = {"round": str(chance.randrange(3))}
        jobs[f"job{number}"] = job
    if jobs:
        life.declare(**jobs)


@contextmanager
def watching(directory: Path) -> Iterator[None]:
    """Somebody who looks at the state all the time: it is always whole, of one lineage, and goes on."""
    watch, stop, errors = StateWatch(directory), threading.Event(), []

    def look() -> None:
        try:
            while not stop.wait(0.02):
                watch.look()
        except BaseException as error:  # noqa: BLE001 - shown by the test itself
            errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]
    assert len(watch.seen) > ROUNDS


def one(life: Life, warm: Warm, chance: random.Random, kills: bool) -> tuple[tuple[str, ...], Result]:
    """What one process does in one round; with kills, some are killed at some effect."""
    arguments, allowed = chance.choices(COMMANDS, WEIGHTS)[0]
    hook = Hook(at=chance.randint(1, 40)) if kills and chance.random() < 0.3 else None
    if hook and arguments[0] in ("apply", "advance"):  # no request of another thread is on its way when it is killed
        arguments = (*arguments, "--parallelism", "1")
    result = warm.run(*arguments, cwd=life.directory, env=life.env, hook=hook)
    expected = allowed | ({KILLED} if hook else set())
    assert result.exit in expected, f"{' '.join(arguments)}: {result}"
    assert "fault in jobform" not in result.stderr, result
    return arguments, result


def assert_never_beside(life: Life) -> None:
    """Over the whole time: no address had two live runs. Nothing is moved here, so a name without its number is an address."""
    if isinstance(life, ServerLife):
        assert_never_two_live(life.entries())
        return
    live: dict[str, str] = {}
    for line in (life.directory / "ledger").read_text().splitlines():
        word, name = line.split()
        address = name.rpartition("-")[0]
        if word == "start":
            assert address not in live, f"{name} was started beside {live[address]}"
            live[address] = name
        elif live.get(address) == name:
            del live[address]


def assert_settled(life: Life) -> None:
    """After the storm: one apply makes it so, and then there is nothing to do."""
    life.run("wait", exits=(0, 7, 8))
    life.apply()
    assert life.live() == []
    life.run("plan", "--detailed-exitcode")
    assert {action for action, _ in life.planned().values()} == {"no-op"}
    before = life.created()
    life.apply()
    assert life.created() == before
    assert_never_beside(life)
    state = life.state
    known = {life.identify(attempt) for record in state.jobs.values() for attempt in record.attempts}
    known |= {life.identify(attempt) for grave in state.tombstones.values() for attempt in grave.attempts}
    assert set(before) <= known
    assert not [address for address, record in state.jobs.items() if record.intent or record.hold]
    store = FILE.open({}, life.directory, SystemClock(), no_effect)
    assert store.holder() is None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [False, True], ids=["", "kills"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_many_commands_at_once(kind: str, seed: int, kills: bool, tmp_path: Path, server: ReferenceServer) -> None:
    chance = random.Random(f"{kind} {seed} {kills}")
    met: dict[int, int] = defaultdict(int)
    with ExitStack() as stack:
        warms = [stack.enter_context(Warm()) for _ in range(PROCESSES)]
        life = life_of(kind, tmp_path / "project", warms[0], server)
        assert isinstance(life, ServerLife | LocalLife)
        life.declare(first=life.job("first"))
        life.apply()
        pool = stack.enter_context(ThreadPoolExecutor(PROCESSES))
        with watching(life.directory):
            for _ in range(ROUNDS):
                write_round(life, chance)
                chances = [random.Random(chance.random()) for _ in warms]
                for _, result in pool.map(lambda pair: one(life, pair[0], pair[1], kills), zip(warms, chances, strict=True)):
                    met[result.exit] += 1
                assert_never_beside(life)
                life.run("status", "--exit-code", exits=(0, 2, 8))
        assert_settled(life)
    assert met[0] > ROUNDS, f"hardly anything was done: {dict(met)}"
