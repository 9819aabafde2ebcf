"""A reader without the lock, overtaken by a writer in the middle of its read: it sees an older state, and that is no crime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobform.protocols import Store, Stored
from tests.state.test_manager import HELD, World


class Overtaken:
    """A store whose first read is followed, before it returns, by somebody else's whole command."""

    def __init__(self, store: Store, command: Callable[[], object]) -> None:
        self._store = store
        self._command: Callable[[], object] | None = command

    def read(self) -> Stored:
        found = self._store.read()
        command, self._command = self._command, None
        if command:
            command()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_reader_that_is_overtaken_by_a_writer_reads_the_state_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.apply()
    before = world.read().serial
    store: Any = Overtaken(world.store(), lambda: world.apply(HELD))
    assert world.manager(store).open().serial == before
    assert world.read().serial == before + 1


def test_a_reader_that_is_overtaken_by_the_first_apply_reads_no_state(tmp_path: Path) -> None:
    world = World(tmp_path)
    store: Any = Overtaken(world.store(), world.apply)
    manager = world.manager(store)
    manager.open()
    assert not manager.stored
    assert world.read().serial == 2
