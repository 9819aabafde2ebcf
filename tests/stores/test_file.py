"""The file store beyond the store contract: whose files it trusts, what it leaves behind, who is told to hold its lock."""

import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobform.model.clock import SystemClock
from jobform.model.errors import InputError, JobformError, LockHeldError, StateError
from jobform.protocols import Store, no_effect
from jobform.stores import file
from jobform.stores.disk import read_private
from jobform.stores.file import TYPE
from jobform.testing.clock import ManualClock
from jobform.testing.store_fixtures import lock_info, locked


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def opened(directory: Path, clock: ManualClock | None = None, path: str = "jobform.state.json") -> Store:
    return TYPE.open({"path": path}, directory, clock or SystemClock(), no_effect)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Store:
    """With a snapshot and a journal."""
    store = opened(tmp_path, clock)
    with locked(store):
        store.write(b"one", "")
        store.append(b"line\n", 0)
    return store


def finding(error: "pytest.ExceptionInfo[JobformError]") -> tuple[str, str]:
    [found] = error.value.diagnostics
    return found.code, f"{found.summary} {found.detail} {found.hint}"


# --- whose files ---


@pytest.mark.parametrize("name", ["jobform.state.json", "jobform.state.journal", "jobform.state.json.lock"])
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_may_write_is_refused(store: Store, tmp_path: Path, name: str, mode: int) -> None:
    (tmp_path / name).chmod(mode)
    with pytest.raises(StateError) as caught, locked(opened(tmp_path)):
        store.read()
    code, text = finding(caught)
    assert (code, f"chmod 600 {tmp_path / name}" in text) == ("state_mode", True)


def test_readable_by_others_is_accepted(store: Store, tmp_path: Path) -> None:
    (tmp_path / "jobform.state.json").chmod(0o644)
    assert store.read().data == b"one"


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the owner needs root")
def test_file_of_another_user_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path / "jobform.state.json", 4711, -1)
    assert store.read().data == b"one", "root reads it: root could do anything anyway"
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(StateError) as caught:
        store.read()
    assert finding(caught)[0] == "state_owner"
    assert "4711" in finding(caught)[1]


def test_everything_is_private(store: Store, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with locked(store):
            version = store.write(b"two", store.read().version)
            store.append(b"line\n", 0)
            store.write(b"three", version)
            store.append(b"line\n", 0)
            store.keep("a.log", b"text")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes.pop("jobform.state.logs") == 0o700
    assert modes.keys() == {
        "jobform.state.json", "jobform.state.json.backup", "jobform.state.json.lock", "jobform.state.journal", "a.log",
    }
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("name", ["jobform.state.json", "jobform.state.journal", "jobform.state.json.lock"])
def test_no_regular_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name, 0o600)
    store = opened(tmp_path)
    with pytest.raises(StateError), locked(store):
        store.read()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir(mode=0o700)
    with pytest.raises(StateError), locked(store):
        store.read()


def test_absurdly_large_file_is_not_read(store: Store, tmp_path: Path) -> None:
    os.truncate(tmp_path / "jobform.state.json", 1 << 33)
    with pytest.raises(StateError) as caught:
        store.read()
    assert finding(caught)[0] == "state_too_large"


# --- links and paths ---


def test_symbolic_link_is_resolved_once_and_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "jobform.state.json"
    link.symlink_to("elsewhere/real.json")
    store = opened(tmp_path)
    with locked(store):
        version = store.write(b"one", "")
        store.write(b"two", version)
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "real.json").read_bytes() == b"two"
    assert (tmp_path / "elsewhere" / "real.json.backup").read_bytes() == b"one"
    assert store.location == str(tmp_path / "elsewhere" / "real.json")


def test_link_put_in_place_later_is_not_followed(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"of someone else")
    (tmp_path / "jobform.state.journal").unlink()
    (tmp_path / "jobform.state.journal").symlink_to(target)
    with locked(store), pytest.raises(StateError):
        store.append(b"line\n", 0)
    assert target.read_bytes() == b"of someone else"


@pytest.mark.parametrize("path", ["", ".", "..", "a/..", "nul\0byte", 3, None])
def test_paths_that_name_no_file(tmp_path: Path, path: object) -> None:
    with pytest.raises(InputError):
        TYPE.open({"path": path}, tmp_path, SystemClock(), no_effect)  # type: ignore[dict-item]  # hostile on purpose


def test_missing_directory(tmp_path: Path) -> None:
    store = opened(tmp_path, path="missing/state.json")
    assert store.read().data is None
    with pytest.raises(StateError) as caught, locked(store):
        pass
    assert "Create its directory first" in finding(caught)[1]


def test_path_without_suffix(tmp_path: Path) -> None:
    store = opened(tmp_path, path="state")
    with locked(store):
        store.write(b"one", "")
        store.append(b"line\n", 0)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "state.journal", "state.lock"}


# --- what is left behind ---


def test_temporary_files_of_dead_processes_are_removed(store: Store, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = [f"jobform.state.json.{process.pid}.tmp", f"jobform.state.json.backup.{process.pid}.tmp"]
    kept = [f"jobform.state.json.{os.getppid()}.tmp", "jobform.state.json.x.tmp", "other.json.1.tmp", "notes.txt"]
    for name in dead + kept:
        (tmp_path / name).write_bytes(b"")
    with locked(store):
        store.check()
    left = {path.name for path in tmp_path.iterdir()}
    assert left.isdisjoint(dead)
    assert left.issuperset(kept)


def test_backup_is_the_previous_snapshot(store: Store, tmp_path: Path) -> None:
    with locked(store):
        version = store.read().version
        for data in (b"two", b"three"):
            version = store.write(data, version)
    assert (tmp_path / "jobform.state.json.backup").read_bytes() == b"two"
    assert (tmp_path / "jobform.state.json").read_bytes() == b"three"


def test_change_behind_the_lock_is_noticed(store: Store, tmp_path: Path) -> None:
    """As where flock does nothing: another writer got in between."""
    with locked(store):
        version = store.read().version
        other = tmp_path / "other"
        other.write_bytes(b"one")
        other.chmod(0o600)
        other.rename(tmp_path / "jobform.state.json")
        with pytest.raises(StateError) as caught:
            store.write(b"mine", version)
    assert finding(caught)[0] == "state_moved"
    assert (tmp_path / "jobform.state.json").read_bytes() == b"one"


def test_reader_misses_nothing_while_the_journal_is_folded(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new snapshot comes between the reader's two files: what the dropped journal held is in one of them."""
    calls = []

    def read_and_fold(path: Path) -> tuple[bytes | None, str]:
        found = read_private(path)
        calls.append(path)
        if len(calls) == 1:
            other = opened(tmp_path)
            with locked(other):
                other.write(b"one line", file.identity(tmp_path / "jobform.state.json"))
        return found

    monkeypatch.setattr(file, "read_private", read_and_fold)
    stored = store.read()
    assert b"line" in (stored.data or b"")


# --- the lock ---


def test_waiting_uses_the_clock_given(store: Store, tmp_path: Path, clock: ManualClock) -> None:
    started = time.monotonic()
    with locked(opened(tmp_path), "first"):
        for timeout in (0.0, 5.0, 3600.0):
            before = clock.monotonic()
            with pytest.raises(LockHeldError) as caught:
                store.lock(lock_info("second"), timeout)
            assert timeout <= clock.monotonic() - before < timeout + 0.001
            code, text = finding(caught)
            assert code == "lock_held"
            told = ("tester", "machine", "test first", "first", "2030-01-01", store.location)
            assert [word for word in told if word not in text] == []
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"id":1}', b"[" * 60_000, b'{"pid":"x","id":""}'])
def test_unreadable_note_is_still_a_lock(store: Store, tmp_path: Path, text: bytes) -> None:
    with locked(opened(tmp_path)):
        (tmp_path / "jobform.state.json.lock").write_bytes(text)
        with pytest.raises(LockHeldError) as caught:
            store.lock(lock_info("second"), 0)
        assert "unknown" in finding(caught)[1]
        holder = store.holder()
        assert text == b"" or (holder is not None and holder.who == "unknown")


def test_note_of_a_dead_holder_is_no_lock(store: Store, tmp_path: Path) -> None:
    note = b'{"id":"x","who":"w","host":"h","pid":1,"command":"c","at":"","run_url":""}'
    (tmp_path / "jobform.state.json.lock").write_bytes(note)
    assert store.holder() is None
    with locked(store, "mine"):
        assert store.holder() == lock_info("mine")


def test_jobs_do_not_inherit_the_lock(store: Store, tmp_path: Path) -> None:
    """A process that the holder started, with every inheritable file open, does not keep the lock alive."""
    store.lock(lock_info("first"), 0)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        store.unlock()
        with locked(opened(tmp_path), "second"):
            pass
    finally:
        child.communicate(b"\n")


def test_a_process_that_is_being_started_does_not_keep_the_lock(store: Store, tmp_path: Path) -> None:
    """Between its fork and its execution it has every descriptor of a command whose other thread gives the lock back."""
    store.lock(lock_info("first"), 0)
    waits, goes_on = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(goes_on)
            os.read(waits, 1)
        finally:
            os._exit(0)
    try:
        store.unlock()
        opened(tmp_path, ManualClock()).lock(lock_info("second"), 0)
    finally:
        os.close(goes_on)
        os.close(waits)
        os.waitpid(child, 0)


class BusyClock(ManualClock):
    """Somebody else does something while one sleeps."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._meanwhile()


@contextmanager
def looked_at(directory: Path) -> Iterator[int]:
    """What `holder` does, held on to."""
    fd = os.open(directory / "jobform.state.json.lock", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield fd
    finally:
        os.close(fd)


def test_who_only_looks_does_not_have_the_lock(store: Store, tmp_path: Path) -> None:
    """As `holder` does, of the note that a dead holder left."""
    (tmp_path / "jobform.state.json.lock").write_bytes(b'{"id":"x"}')
    with looked_at(tmp_path) as fd:
        mine = opened(tmp_path, BusyClock(lambda: fcntl.flock(fd, fcntl.LOCK_UN)))
        mine.lock(lock_info("mine"), 0)
        assert store.holder() == lock_info("mine")
        mine.unlock()
    with looked_at(tmp_path), pytest.raises(LockHeldError):
        store.lock(lock_info("mine"), 0)  # whoever looks for so long was stopped by somebody


def test_a_holder_has_a_moment_to_say_who_it_is(store: Store, tmp_path: Path) -> None:
    note = tmp_path / "jobform.state.json.lock"
    with locked(store, "first"):
        text = note.read_bytes()
        note.write_bytes(b"")
        with pytest.raises(LockHeldError) as caught:
            opened(tmp_path, BusyClock(lambda: note.write_bytes(text))).lock(lock_info("second"), 0)
        assert "`test first` of tester" in finding(caught)[1]


def test_a_holder_that_leaves_is_not_told_as_one(store: Store, tmp_path: Path) -> None:
    """Its note is gone before its lock is."""
    store.lock(lock_info("first"), 0)
    (tmp_path / "jobform.state.json.lock").write_bytes(b"")
    late = opened(tmp_path, BusyClock(store.unlock))
    late.lock(lock_info("second"), 0)
    late.unlock()


def test_command_inside_a_job_is_told_at_once(store: Store, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from jobform.stores.file import TYPE;"
        "from jobform.model.clock import SystemClock; from jobform.protocols import no_effect;"
        "from jobform.testing.store_fixtures import lock_info;"
        "from jobform.model.errors import LockHeldError\n"
        "try: TYPE.open({}, Path(sys.argv[1]), SystemClock(), no_effect).lock(lock_info('inner'), 0)\n"
        "except LockHeldError: sys.exit(4)"
    )
    with locked(store, "outer"):
        command = [sys.executable, "-c", script, str(tmp_path)]
        inner = subprocess.run(command, cwd=Path(__file__).parents[2], timeout=240, check=False)
    assert inner.returncode == 4


def test_one_instance_locks_once(store: Store) -> None:
    with locked(store), pytest.raises(RuntimeError):
        store.lock(lock_info("again"), 0)
