"""What every store must do, as tests: subclass `StoreContract`, give its `place`, and pytest collects the rest.

    class TestMine(StoreContract):
        @pytest.fixture
        def place(self, tmp_path): return Place("mine.store:TYPE", tmp_path, {"bucket": "b"})      # empty, of this test's own

For full messages, call `pytest.register_assert_rewrite("jobform.testing.store_contract")` before the import.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import ClassVar

import pytest

from jobform.model.errors import LockHeldError, StateError
from jobform.protocols import Store
from jobform.testing.store_fixtures import PATIENCE, Place, count, lock_info, locked


class StoreContract:
    """frees_dead_lock: a lock whose holder was killed is free within a minute. soak: how often each of several writers counts."""

    frees_dead_lock: ClassVar[bool] = True
    soak: ClassVar[int] = 40

    # --- what a subclass gives ---

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    @pytest.fixture
    def store(self, place: Place) -> Store:
        return place.open()

    # --- snapshot ---

    def test_empty(self, store: Store) -> None:
        stored = store.read()
        assert (stored.data, stored.version, stored.journal) == (None, "", b"")
        assert stored.stamp == store.stamp()
        assert store.location

    def test_write_and_read(self, store: Store, place: Place) -> None:
        data = bytes(range(256)) * 5 + "grün\n".encode()
        with locked(store):
            version = store.write(data, "")
        for reader in (store, place.open()):
            stored = reader.read()
            assert (stored.data, stored.version, stored.journal) == (data, version, b"")

    def test_large_snapshot(self, store: Store) -> None:
        data = b"0123456789abcdef" * (1 << 19)
        with locked(store):
            store.write(data, "")
        assert store.read().data == data

    def test_each_write_has_its_own_version(self, store: Store) -> None:
        with locked(store):
            versions = [""]
            for number in range(20):
                versions.append(store.write(f"{number % 2}".encode(), versions[-1]))
                assert store.read().version == versions[-1]
        assert all(one != other for one, other in pairwise(versions))

    def test_stale_version_is_refused(self, store: Store) -> None:
        with locked(store):
            old = store.write(b"first", "")
            store.write(b"second", old)
            store.append(b"line\n", 0)
            before = store.read()
            for version in (old, "", "no such version"):
                with pytest.raises(StateError):
                    store.write(b"third", version)
                assert store.read() == before

    def test_version_of_nothing_is_refused(self, store: Store) -> None:
        with locked(store):
            with pytest.raises(StateError):
                store.write(b"data", "no such version")
            assert store.read().data is None

    # --- journal ---

    def test_append_and_read(self, store: Store, place: Place) -> None:
        with locked(store):
            version = store.write(b"snapshot", "")
            store.append(b"one\ntwo\n", 0)
            store.append(b"three\n", 8)
        stored = place.open().read()
        assert (stored.data, stored.version, stored.journal) == (b"snapshot", version, b"one\ntwo\nthree\n")

    def test_write_drops_the_journal(self, store: Store) -> None:
        with locked(store):
            version = store.write(b"one", "")
            store.append(b"line\n", 0)
            store.write(b"two", version)
            assert store.read().journal == b""
            store.append(b"next\n", 0)
            assert store.read().journal == b"next\n"

    def test_torn_tail_is_cut(self, store: Store) -> None:
        with locked(store):
            store.append(b"one\n", 0)
            store.append(b"to", 4)
            store.append(b"two\n", 4)
            assert store.read().journal == b"one\ntwo\n"

    @pytest.mark.parametrize("expected", [0, 4, 9])
    def test_journal_that_moved_is_refused(self, store: Store, expected: int) -> None:
        """0 and 4: whole lines of someone else would be lost; 9: there is less than was seen."""
        with locked(store):
            store.append(b"one\ntwo\n", 0)
            with pytest.raises(StateError):
                store.append(b"late\n", expected)
            assert store.read().journal == b"one\ntwo\n"

    def test_stale_writer_loses(self, store: Store, place: Place) -> None:
        """A writer that believes in an old journal or snapshot cannot undo what another one made durable."""
        late = place.open()
        with locked(store):
            version = store.write(b"one", "")
            store.append(b"line\n", 0)
        seen = late.read()
        with locked(store):
            store.append(b"more\n", 5)
        with locked(late), pytest.raises(StateError):
            late.append(b"late\n", len(seen.journal))
        with locked(store):
            store.write(b"two", version)
        with locked(late), pytest.raises(StateError):
            late.write(b"late", seen.version)
        assert store.read().data == b"two"

    # --- stamps ---

    def test_stamp_moves_exactly_when_bytes_move(self, store: Store, place: Place) -> None:
        other = place.open()
        seen = [other.stamp()]

        def moved() -> bool:
            seen.append(other.stamp())
            assert other.read().stamp == seen[-1]
            assert store.stamp() == seen[-1]
            return seen[-1] != seen[-2]

        with locked(store):
            assert not moved()
            version = store.write(b"one", "")
            assert moved()
            assert not moved()
            store.append(b"line\n", 0)
            assert moved()
            store.append(b"line\n", 5)
            assert moved()
            store.check()
            store.keep("job.log", b"text")
            assert not moved()
            store.write(b"one", version)
            assert moved()
        assert not moved()

    # --- lock ---

    def test_lock_excludes_another_instance(self, store: Store, place: Place) -> None:
        other = place.open()
        with locked(store, "first"):
            with pytest.raises(LockHeldError) as caught:
                other.lock(lock_info("second"), 0)
            told = " ".join(f"{each.summary} {each.detail}" for each in caught.value.diagnostics)
            for fact in ("first", "tester", "machine", "test first"):
                assert fact in told
        with locked(other, "second"), pytest.raises(LockHeldError):
            store.lock(lock_info("first"), 0.05)

    def test_holder(self, store: Store, place: Place) -> None:
        other = place.open()
        assert other.holder() is None
        with locked(store, "first"):
            assert other.holder() == lock_info("first")
            assert store.holder() == lock_info("first")
        assert other.holder() is None
        with locked(other, "second"):
            assert store.holder() == lock_info("second")

    def test_unlock_is_quiet(self, store: Store, place: Place) -> None:
        store.unlock()
        store.lock(lock_info("first"), 0)
        place.open().unlock()
        assert store.holder() == lock_info("first"), "an instance that does not hold the lock cannot free it"
        store.unlock()
        store.unlock()
        assert store.holder() is None

    def test_lock_can_be_taken_again(self, store: Store) -> None:
        for name in ("one", "two", "three"):
            with locked(store, name):
                assert store.holder() == lock_info(name)

    def test_lock_excludes_another_process(self, store: Store, place: Place) -> None:
        with place.held() as process:
            holder = store.holder()
            assert holder is not None
            assert (holder.id, holder.pid) == ("elsewhere", process.pid)
            started = time.monotonic()
            with pytest.raises(LockHeldError) as caught:
                store.lock(lock_info("here"), 0.3)
            assert time.monotonic() - started >= 0.3
            assert str(process.pid) in " ".join(f"{each.summary} {each.detail}" for each in caught.value.diagnostics)
        with locked(store, "here"):
            assert store.holder() == lock_info("here")

    def test_waiting_for_the_lock(self, store: Store, place: Place) -> None:
        with place.held() as process, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.lock, lock_info("here"), PATIENCE)
            time.sleep(0.2)
            assert not waiting.done()
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            waiting.result(PATIENCE)
        assert store.holder() == lock_info("here")
        store.unlock()

    def test_lock_of_a_killed_holder(self, store: Store, place: Place) -> None:
        with place.held() as process:
            process.kill()
            process.wait(PATIENCE)
        if self.frees_dead_lock:
            with locked(store, "here"):
                assert store.holder() == lock_info("here")
        else:
            with pytest.raises(LockHeldError):
                store.lock(lock_info("here"), 0)

    # --- kept logs and the probe ---

    def test_check_under_the_lock(self, store: Store) -> None:
        with locked(store):
            store.check()
        assert store.read().data is None

    def test_kept_logs(self, store: Store, place: Place) -> None:
        assert store.kept("train-1.log") is None
        with locked(store):
            store.keep("train-1.log", b"first")
            store.keep("train-1.log", b"\x00\xff" * 100)
            store.keep("train-2.log", b"")
        assert place.open().kept("train-1.log") == b"\x00\xff" * 100
        assert place.open().kept("train-2.log") == b""

    @pytest.mark.parametrize("name", ["../escape", "a/b", "", "..", "UPPER", "nul\0", "x" * 5000])
    def test_kept_log_names_are_checked(self, store: Store, name: str) -> None:
        with locked(store), pytest.raises(StateError):
            store.keep(name, b"data")

    # --- together ---

    def test_nothing_is_lost_between_processes(self, store: Store, place: Place) -> None:
        """Three writers, one of them in this process, take turns under the lock: every number is there once, in order."""
        processes = [place.start("count", str(self.soak)) for _ in range(2)]
        count(store, self.soak, "here")
        for process in processes:
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
        stored = place.open().read()
        lines = [*(stored.data or b"").splitlines(), *stored.journal.splitlines()]
        assert [int(line.split()[0]) for line in lines] == list(range(3 * self.soak))
        assert {line.split()[1] for line in lines} == {b"here", *(str(process.pid).encode() for process in processes)}

    def test_nothing_is_lost_between_threads(self, place: Place) -> None:
        with ThreadPoolExecutor(4) as pool:
            for work in [pool.submit(count, place.open(), 10, f"thread{number}") for number in range(4)]:
                work.result(PATIENCE)
        stored = place.open().read()
        lines = [*(stored.data or b"").splitlines(), *stored.journal.splitlines()]
        assert [int(line.split()[0]) for line in lines] == list(range(40))

    def test_readers_see_whole_snapshots(self, store: Store, place: Place) -> None:
        """While one writes, what another one reads is always a snapshot that was written, with its own version."""
        reader = place.open()
        with locked(store):
            version = store.write(b"0" * 100_000, "")
            with ThreadPoolExecutor(1) as pool:

                def rewrite() -> None:
                    last = version
                    for number in range(1, 30):
                        last = store.write(str(number % 10).encode() * 100_000, last)

                writing = pool.submit(rewrite)
                while not writing.done():
                    stored = reader.read()
                    assert stored.data is not None
                    assert len(stored.data) == 100_000
                    assert len(set(stored.data)) == 1
                writing.result(PATIENCE)
