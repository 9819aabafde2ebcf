"""kill -9 at the effects of every change on a cluster, then the same again: never two live runs, and nothing left behind."""

from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.entry import Hook
from tests.support import Warm
from tests.sweep.lives import BEGIN, CHAPTERS, CREATE, DESTROY, KILLED, Life

SHARES = 8


@pytest.mark.parametrize("side", ["before", "after"])
def test_kill_at_the_calls_of_every_change(side: str, tmp_path: Path, simulated: Cluster, warm: Warm) -> None:
    """Each change is killed at its first call, its repetition at the second, and so on: the repetitions are killed too."""
    life = Life.begin_at(tmp_path / "project", simulated, warm)
    for chapter in CHAPTERS:
        hooks = [Hook(at=1, name=f"kubernetes.{call}.{side}") for call in chapter.calls]
        assert chapter.live(life, *hooks) > 0, f"{chapter.name}: none of {chapter.calls} was met"
    life.check_ledger()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(SHARES))
def test_kill_at_every_effect_of_every_change(share: int, tmp_path: Path, simulated: Cluster, warm: Warm) -> None:
    """One project per effect number: each of its changes is killed at that effect, until no change has so many."""
    number, killed = share + 1, 1
    while killed:
        life = Life.begin_at(tmp_path / str(number), simulated, warm)
        killed = sum(chapter.live(life, Hook(at=number)) for chapter in CHAPTERS)
        life.check_ledger()
        simulated.drop(life.namespace)
        number += SHARES


ABANDONED = [f"kubernetes.{call}.{side}" for call in CREATE.calls for side in ("before", "after")]
QUICK = {"kubernetes.apply-companion.after", "kubernetes.apply.after"}


@pytest.mark.parametrize("point", [pytest.param(it, marks=[] if it in QUICK else pytest.mark.slow) for it in ABANDONED])
def test_destroyed_after_a_kill_in_a_submission(point: str, tmp_path: Path, simulated: Cluster, warm: Warm) -> None:
    """Nobody applies again: what the killed command has made is known well enough to go."""
    life = Life.begin_at(tmp_path / "project", simulated, warm)
    CREATE.change(life)
    assert life.command(*BEGIN, hook=Hook(at=1, name=point)).exit == KILLED
    DESTROY.live(life)


def test_the_sweep_notices_names_that_are_made_up_each_time(tmp_path: Path, simulated: Cluster, warm: Warm) -> None:
    """The name of an attempt is what finds it after a crash: where it is another one each time there are two live Jobs."""
    found = []
    for broken in (False, True):
        life = Life.begin_at(tmp_path / f"broken-{broken}", simulated, warm)
        CREATE.change(life)
        assert life.command(*BEGIN, hook=Hook(at=1, name="kubernetes.apply.after", names_at_random=broken)).exit == KILLED
        assert life.command(*BEGIN).exit == 0
        try:
            life.check_ledger()
            found.append("")
        except AssertionError as error:
            found.append(str(error))
    whole, without = found
    assert not whole
    assert "two live objects" in without
