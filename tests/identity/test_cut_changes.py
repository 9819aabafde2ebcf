"""kill -9 at the effects of a replace, a destroy and a move, then the same again: what was cut in two is finished once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobform.testing.server import ReferenceServer
from tests.entry import Hook
from tests.identity.life import KINDS, Life, life_of
from tests.identity.test_identity import start, until
from tests.support import Warm, until_heard

KILLED = -9


def replace(life: Life) -> tuple[str, ...]:
    """A live run of another command is to be stopped for a new one, and a job that needs it waits."""
    life.declare(train=life.job("a", long=True))
    start(life, "train")
    life.declare(train=life.job("b", on_change_while_running="cancel"), after=life.job("c", needs=["train"]))
    return ("apply", "--auto-approve")


def replaced(life: Life) -> None:
    assert life.history("train") == [(1, "cancelled"), (2, "succeeded")]
    assert life.history("after") == [(1, "succeeded")]
    assert {action for action, _ in life.planned().values()} == {"no-op"}


def destroy(life: Life) -> tuple[str, ...]:
    life.declare(train=life.job("a", long=True), other=life.job("o"))
    start(life, "train")
    return ("destroy", "--auto-approve", "--allow-cancel", "*")


def destroyed(life: Life) -> None:
    assert life.state.jobs == {}
    assert life.history("train") == [(1, "cancelled")]
    assert {change["attempt"] for change in life.plan().values()} == {2}


def move(life: Life) -> tuple[str, ...]:
    """A saved plan that renames two jobs, one of which runs again under its new name."""
    life.declare(fit=life.job("a"), old=life.job("o"))
    life.apply()
    life.declare(train=life.job("b"), new=life.job("o"), moved={"fit": "train", "old": "new"})
    life.run("plan", "--out", "plan.json")
    return ("apply", "plan.json")


def moved(life: Life) -> None:
    assert set(life.state.jobs) == {"train", "new"}
    assert life.history("train") == [(1, "succeeded"), (2, "succeeded")]
    assert life.history("new") == [(1, "succeeded")]
    assert {action for action, _ in life.planned().values()} == {"no-op"}


SCENES: dict[str, tuple[Callable[[Life], tuple[str, ...]], Callable[[Life], None]]] = {
    "replace": (replace, replaced),
    "destroy": (destroy, destroyed),
    "move": (move, moved),
}


def cut(kind: str, scene: str, every: int, tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """every: 1 for each effect, 5 for each fifth."""
    prepare, done = SCENES[scene]
    whole = life_of(kind, tmp_path / "whole", warm, server)
    record = tmp_path / "points"
    result = warm.run(*prepare(whole), cwd=whole.directory, env=whole.env, hook=Hook(record=str(record)))
    assert result.exit == 0, result
    done(whole)
    points = record.read_text().splitlines()
    for number in range(1, len(points) + 1, every):
        life = life_of(kind, tmp_path / str(number), warm, server)
        try:
            arguments = prepare(life)
            killed = warm.run(*arguments, cwd=life.directory, env=life.env, hook=Hook(at=number))
            assert killed.exit in (KILLED, 0), killed
            until_heard(server.url)
            life.check()
            life.run(*arguments, exits=(0, 6))  # 6: the plan was applied to its end already
            until(lambda life=life: not life.live())
            done(life)
        except AssertionError as error:
            raise AssertionError(f"killed at effect {number}, {points[number - 1]}: {error}") from error
        finally:
            life.end_all()


@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_many_effects_of_a_change(scene: str, tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    cut("always_creates", scene, 6, tmp_path, warm, server)


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_every_effect_of_a_change(
    kind: str, scene: str, tmp_path: Path, warm: Warm, server: ReferenceServer,
) -> None:
    cut(kind, scene, 1, tmp_path, warm, server)


def test_an_acceptance_that_was_torn_anywhere_is_resumed(tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """The machine lost power while the acceptance of a saved plan was written: only the first of its lines are there."""
    for lines in range(20):
        life = life_of("always_creates", tmp_path / str(lines), warm, server)
        arguments = move(life)
        hook = Hook(at=1, name="backend.submit.before")
        assert warm.run(*arguments, cwd=life.directory, env=life.env, hook=hook).exit == KILLED
        until_heard(server.url)
        journal = life.directory / "jobform.state.journal"
        written = journal.read_bytes().splitlines(keepends=True)
        if lines > len(written):
            break
        journal.write_bytes(b"".join(written[:lines]))
        try:
            life.run(*arguments)
            moved(life)
        except AssertionError as error:
            raise AssertionError(f"torn after {lines} of {len(written)} lines, {written[lines - 1]!r}: {error}") from error
    assert lines > 5


def test_a_plan_to_move_where_somebody_is_by_now_is_stale(life: Life) -> None:
    life.declare(fit=life.job("a"))
    life.apply()
    life.declare(train=life.job("a"), moved={"fit": "train"})
    life.run("plan", "--out", "plan.json")
    life.declare(fit=life.job("a"), train=life.job("other"))
    life.apply()
    stale = life.run("apply", "plan.json", exits=6)
    assert "train" in stale.stderr
