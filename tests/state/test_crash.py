"""kill -9 at every effect of a command that records: what was confirmed is there, the rest is whole, the next command goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobform.engine.manager import Manager
from jobform.model.state import State
from jobform.protocols import no_effect
from jobform.stores.file import TYPE
from jobform.testing.clock import ManualClock
from tests.state import samples, worker

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "tests.state.worker", *arguments], cwd=ROOT, check=True, timeout=250)


def read(directory: Path) -> State:
    clock = ManualClock()
    manager = Manager(TYPE.open({}, directory, clock, no_effect), clock, no_effect, directory / ".jobform" / "seen.json")
    return manager.open()


def survived(directory: Path, kills: int = 1) -> None:
    """Whole, nothing confirmed is lost, and the next command finishes the work; its temporary files are gone then.

    Each kill may have come between an append and its confirmation.
    """
    noted = directory / "acknowledged"
    acknowledged = int(noted.read_text(encoding="ascii")) if noted.exists() else 0
    state = read(directory)
    count = worker.position(state)
    assert acknowledged <= count <= acknowledged + kills
    worker.scenario(directory, no_effect)
    final = read(directory)
    assert worker.position(final) == len(worker.BATCHES)
    assert final.serial >= state.serial
    assert final.lineage == samples.LINEAGE
    assert list(directory.glob("*.tmp")) == []
    if count < len(worker.BATCHES):
        assert not (directory / "jobform.state.journal").exists()


def swept(base: Path) -> list[Path]:
    return sorted(base.iterdir(), key=lambda path: int(path.name))


def test_killed_at_every_effect(tmp_path: Path) -> None:
    run("sweep", str(tmp_path))
    directories = swept(tmp_path)
    assert len(directories) > 30
    for directory in directories:
        survived(directory)


@pytest.mark.slow
@pytest.mark.parametrize("first", [4, 8, 13, 17, 22, 26, 31])
def test_killed_again_while_recovering(tmp_path: Path, first: int) -> None:
    run("sweep", str(tmp_path), str(first))
    for directory in swept(tmp_path):
        survived(directory, 2)
