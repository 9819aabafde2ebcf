"""One state in a real file: opened, recorded, folded, trusted, rescued, pushed."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobform import codec
from jobform.engine.journal import event_lines, header_line
from jobform.engine.manager import Manager
from jobform.engine.record import fold
from jobform.model.errors import LockHeldError, StateError
from jobform.model.event import Event, Held, Released, SpecStored
from jobform.model.state import State
from jobform.protocols import LockInfo, Store, Stored
from jobform.stores.file import TYPE
from jobform.testing.clock import ManualClock
from tests.state import samples

INFO = LockInfo("id", "me", "here", 1, "apply", samples.AT)


class World:
    """A project directory; `effects` are what the store and the manager announced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.effects: list[str] = []
        self.path = directory / "jobform.state.json"
        self.journal = directory / "jobform.state.journal"
        self.seen = directory / ".jobform" / "seen.json"

    def effect(self, name: str, address: str) -> None:
        self.effects.append(name)

    def store(self) -> Store:
        return TYPE.open({}, self.directory, self.clock, self.effect)

    def manager(self, store: Store | None = None) -> Manager:
        return Manager(
            store or self.store(), self.clock, self.effect, self.seen, recovery=(), new_lineage=lambda: samples.LINEAGE,
        )

    def apply(self, *events: Event, close: bool = True) -> Manager:
        """Record events as a command does."""
        manager = self.manager()
        manager.open()
        with manager.locked(INFO):
            manager.record(events or samples.first_apply())
        if close:
            manager.close()
        return manager

    def read(self) -> State:
        return self.manager().open()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def expected(*more: Event) -> State:
    state = State(samples.LINEAGE)
    for event in (*samples.first_apply(), *more):
        fold(state, event)
    return state


def same(one: State, other: State) -> bool:
    """Equal but for the serial."""
    return (one.lineage, one.jobs, one.tombstones, one.runs, one.specs) == (
        other.lineage, other.jobs, other.tombstones, other.runs, other.specs)


def code(call: Callable[[], object], *words: str) -> str:
    with pytest.raises(StateError) as caught:
        call()
    [finding] = caught.value.diagnostics
    told = f"{finding.summary} {finding.detail} {finding.hint}"
    assert [word for word in words if word not in told] == [], told
    return finding.code


HELD = Held("train", samples.AT, "lost", "")


# --- recording ---


def test_fresh_project_just_works(world: World) -> None:
    assert same(world.apply().state, expected())
    assert same(world.read(), expected())
    assert not world.journal.exists()
    assert world.read().serial == 2
    assert {path.stat().st_mode & 0o777 for path in world.directory.glob("jobform.state.json*")} == {0o600}


def test_recording_is_one_append(world: World) -> None:
    manager = world.apply(close=False)
    world.effects.clear()
    with manager.locked(INFO):
        manager.record([HELD, Released("train", samples.AT), HELD])
        manager.record([])
    assert world.effects.count("store.append.before") == 1
    assert "store.write.before" not in world.effects
    assert same(world.read(), expected(HELD))
    assert world.read().serial == 1


def test_reading_writes_nothing(world: World) -> None:
    world.apply(close=False)
    world.seen.unlink()
    for path in world.directory.rglob("*"):
        os.utime(path, (1, 1))  # a time that what is written in the same moment does not have
    before = {path: path.stat().st_mtime_ns for path in world.directory.rglob("*")}
    manager = world.manager()
    manager.open()
    manager.refresh()
    manager.pull()
    manager.close()
    assert {path: path.stat().st_mtime_ns for path in world.directory.rglob("*")} == before


def test_without_the_lock_nothing_is_recorded(world: World) -> None:
    manager = world.manager()
    manager.open()
    with pytest.raises(RuntimeError):
        manager.record([HELD])


def test_large_journal_is_folded(world: World) -> None:
    world.apply(close=False)
    manager = Manager(world.store(), world.clock, world.effect, world.seen, fold_at=3000)
    manager.open()
    with manager.locked(INFO):
        manager.record([SpecStored("unused", {"a": "b"})])
        for _ in range(200):
            manager.record([HELD])
        assert manager.state.spec("unused"), "a spec may be stored before the change that names it"
    assert world.journal.stat().st_size < 10_000
    assert manager.state.serial > 2
    assert same(world.read(), manager.state)
    manager.close()
    assert "unused" not in world.read().specs


def test_what_does_not_fit_is_not_written(world: World) -> None:
    manager = world.apply()
    with manager.locked(INFO):
        assert code(lambda: manager.record([HELD, Held("nobody", samples.AT, "x", "")])) == "journal_inconsistent"
        assert same(manager.state, expected()), "nor is the half that did fit remembered"
        manager.record([HELD])
    assert same(world.read(), expected(HELD))


def test_closing_leaves_the_fold_to_whoever_has_the_lock(world: World) -> None:
    manager = world.apply(close=False)
    other = world.manager()
    other.open()
    with other.locked(INFO):
        manager.close()
        other.record([HELD])
    assert world.read().serial == 1
    assert same(world.read(), expected(HELD))


def test_lock_is_free_after_an_error(world: World) -> None:
    manager = world.apply()
    with pytest.raises(ValueError, match="inside"), manager.locked(INFO):
        raise ValueError("inside")
    other = world.manager()
    with other.locked(INFO), pytest.raises(LockHeldError), manager.locked(INFO):
        pass
    with manager.locked(INFO):
        pass


# --- refreshing ---


def test_refresh_reads_only_what_moved(world: World) -> None:
    reader = world.manager()
    writer = world.apply(close=False)
    reader.open()
    assert not reader.refresh()
    with writer.locked(INFO):
        writer.record([HELD])
    record = reader.state.jobs["prep"]
    assert reader.refresh()
    assert reader.state.jobs["train"].hold is not None
    assert reader.state.jobs["prep"] is record, "the snapshot was not read again"
    writer.close()
    assert reader.refresh()
    assert reader.state == writer.state


def test_refresh_survives_a_journal_that_was_cut_and_continued(world: World) -> None:
    """A reader saw a line that its writer then took back."""
    reader = world.manager()
    world.apply(close=False)
    whole = world.journal.read_bytes()
    world.journal.write_bytes(whole + event_lines([HELD]))
    reader.open()
    assert reader.state.jobs["train"].hold is not None
    for reason in ("same", "other length"):  # as long as the line that was seen, and not
        world.journal.write_bytes(whole + event_lines([Held("train", samples.AT, reason, ""), Held("prep", samples.AT, "x", "")]))
        reader.refresh()
        hold = reader.state.jobs["train"].hold
        assert hold is not None
        assert hold.reason == reason


def test_own_records_are_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = world.apply(close=False)
    monkeypatch.setattr("jobform.stores.file.FileStore.read", lambda self: pytest.fail("read again"))
    for _ in range(3):
        with manager.locked(INFO):
            manager.record([HELD])


# --- the journal ---


def test_torn_tail_is_ignored_and_cut(world: World) -> None:
    world.apply(close=False)
    whole = world.journal.read_bytes()
    for cut in (1, 20, len(event_lines([HELD])) - 1):
        world.journal.write_bytes(whole + event_lines([HELD])[:cut])
        reader = world.manager()
        assert same(reader.open(), expected())
        [warning] = reader.warnings
        assert warning.code == "journal_torn"
        assert f"jobform.state.journal:{len(whole.splitlines()) + 1} " in warning.summary
        world.apply(HELD, close=False)
        assert world.journal.read_bytes() == whole + event_lines([HELD])


def test_torn_header_is_no_journal(world: World) -> None:
    world.apply()
    serial = world.read().serial
    world.journal.write_bytes(header_line(samples.LINEAGE, serial)[:20])
    assert same(world.read(), expected())
    world.apply(HELD, close=False)
    assert world.journal.read_bytes() == header_line(samples.LINEAGE, serial) + event_lines([HELD])


def test_journal_of_an_earlier_serial_is_ignored(world: World) -> None:
    """Killed between the new snapshot and dropping the journal that it holds."""
    world.apply(close=False)
    leftover = world.journal.read_bytes()
    world.apply(HELD)
    world.journal.write_bytes(leftover)
    assert same(world.read(), expected(HELD))
    world.apply(Released("train", samples.AT), close=False)
    assert same(world.read(), expected())


@pytest.mark.parametrize(("lineage", "serial", "found"), [
    ("0000-other", 2, "state_lineage"), (samples.LINEAGE, 9, "journal_ahead"),
])
def test_foreign_journal_is_refused(world: World, lineage: str, serial: int, found: str) -> None:
    world.apply()
    world.journal.write_bytes(header_line(lineage, serial) + event_lines([HELD]))
    before = world.path.read_bytes()
    assert code(world.read) == found
    assert world.path.read_bytes() == before


def test_reader_between_two_snapshots_looks_again(world: World) -> None:
    """Its journal is newer than its snapshot: the snapshot was replaced in between."""
    world.apply(close=False)
    old = world.store().read()
    world.apply(HELD)
    world.apply(Released("train", samples.AT), close=False)
    new = world.store().read()
    looks: list[Stored] = [Stored(old.data, old.version, new.journal, "mixed"), new]

    class Racing:
        location = str(world.path)

        def read(self) -> Stored:
            return looks.pop(0)

    assert same(world.manager(Racing()).open(), expected())  # type: ignore[arg-type]  # only reads
    assert looks == []


# --- trust ---


def test_missing_pinned_state(world: World) -> None:
    assert code(lambda: world.manager().open(samples.LINEAGE), "jobform init", str(world.path)) == "state_missing"


def test_vanished_state(world: World) -> None:
    world.apply()
    world.path.unlink()
    assert code(world.read, "serial 2", samples.LINEAGE) == "state_vanished"
    assert code(lambda: world.manager().open(samples.LINEAGE)) == "state_vanished"


def test_vanished_while_its_journal_is_there(world: World) -> None:
    world.apply(close=False)
    world.path.unlink()
    world.seen.unlink()
    assert code(world.read) == "state_vanished"


def test_vanished_during_a_command(world: World) -> None:
    manager = world.apply()
    world.path.unlink()
    world.seen.unlink()
    assert code(manager.refresh) == "state_vanished"


def test_older_state(world: World) -> None:
    world.apply()
    old = world.path.read_bytes()
    manager = world.apply(HELD)
    world.path.write_bytes(old)
    world.path.chmod(0o600)
    assert code(manager.refresh) == "state_went_back"
    assert code(world.read, "serial 2", "at 3", "--accept-older-state") == "state_went_back"
    accepting = world.manager()
    accepting.open(accept_older=True)
    with accepting.locked(INFO):
        accepting.record([HELD])
    accepting.close()
    assert same(world.read(), expected(HELD))


def test_other_lineage(world: World) -> None:
    world.apply()
    assert code(lambda: world.manager().open("another"), samples.LINEAGE, "another") == "state_lineage"
    world.path.write_bytes(codec.state_to_bytes(State("another", 50)))
    assert code(world.read) == "state_lineage"
    world.seen.unlink()
    assert world.read().lineage == "another"


@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b'{"format_version":9,"states":{}}', b'{"format_version":1,"states":{"a":1}}',
])
def test_unreadable_marker(world: World, text: bytes) -> None:
    world.apply()
    world.seen.write_bytes(text)
    assert code(world.read, "seen.json") == "seen_unreadable"


def test_marker_that_cannot_be_written_is_a_warning(world: World) -> None:
    (world.directory / ".jobform").write_text("in the way")
    manager = world.apply()
    assert [warning.code for warning in manager.warnings] == ["seen_not_written"]
    assert same(world.read(), expected())


def test_init(world: World) -> None:
    manager = world.manager()
    with manager.locked(INFO):
        state = manager.init()
    assert (state.lineage, state.serial) == (samples.LINEAGE, 1)
    assert world.manager().open(samples.LINEAGE) == state
    again = world.manager()
    with again.locked(INFO):
        assert code(again.init) == "state_exists"
    world.path.unlink()
    with again.locked(INFO):
        assert code(again.init) == "state_vanished"


def test_two_fresh_commands_agree_on_one_lineage(world: World) -> None:
    late = Manager(world.store(), world.clock, world.effect, world.seen, new_lineage=lambda: "late")
    assert late.open().lineage == "late"
    world.apply()
    with late.locked(INFO):
        late.record([HELD])
    assert late.state.lineage == samples.LINEAGE
    assert same(world.read(), expected(HELD))


# --- rescue ---


def broken(world: World, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fail(*args: object) -> None:
        raise StateError.of("state_io", "Cannot append: No space left on device", hint="The disk is full.")

    monkeypatch.setattr(f"jobform.stores.file.FileStore.{method}", fail)


def test_state_that_cannot_be_saved_is_rescued(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = world.apply()
    with monkeypatch.context() as patch, manager.locked(INFO):
        broken(world, patch, "append")
        rescued = world.directory / "errored.jobform.json"
        found = code(
            lambda: manager.record([HELD]), str(world.path), str(rescued), f"jobform state push {rescued}", "disk is full",
        )
        assert found == "state_not_saved"
    with manager.locked(INFO):
        assert code(lambda: manager.record([HELD])) == "state_not_saved", "not even when writing works again"
    manager.close()
    assert rescued.stat().st_mode & 0o777 == 0o600
    assert same(world.read(), expected())
    pusher = world.manager()
    with pusher.locked(INFO):
        pusher.push(rescued.read_bytes())
    assert same(world.read(), expected(HELD))
    assert list(world.directory.glob("*.tmp")) == []


def test_no_rescued_state_is_overwritten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_files = []
    for _ in range(3):
        manager = world.manager()
        manager.open()
        with monkeypatch.context() as patch, manager.locked(INFO):
            if not world.path.exists():
                manager.record(samples.first_apply())
            broken(world, patch, "append")
            code(lambda manager=manager: manager.record([HELD]))  # type: ignore[misc]  # bound now
        broken_files = sorted(path.name for path in world.directory.glob("errored*"))
    assert broken_files == ["errored.jobform.2.json", "errored.jobform.3.json", "errored.jobform.json"]


def test_failed_snapshot_is_rescued_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = world.apply(close=False)
    broken(world, monkeypatch, "write")
    assert code(manager.close, "errored.jobform.json") == "state_not_saved"
    assert same(world.read(), expected())
    rescued = codec.state_from_bytes((world.directory / "errored.jobform.json").read_bytes())
    assert same(rescued, expected())
    assert rescued.serial == 2


# --- push and pull ---


def push(world: World, state: State | bytes, *, force: bool = False, pin: str | None = None) -> State:
    manager = world.manager()
    if pin:
        manager.open(pin)
    with manager.locked(INFO):
        return manager.push(state if isinstance(state, bytes) else codec.state_to_bytes(state), force=force)


def test_pull_edit_push(world: World) -> None:
    world.apply(close=False)
    document = json.loads(world.manager().pull())
    assert document["serial"] == 1
    push(world, world.manager().pull())
    assert world.read().serial == 1, "what is there already is not written again"
    del document["checksum"]
    del document["jobs"]["prep"]
    assert code(lambda: push(world, json.dumps(document).encode()), "other content") == "push_refused"
    document["serial"] = 2
    push(world, json.dumps(document).encode())
    assert list(world.read().jobs) == ["train"]
    assert not world.journal.exists()


def test_push_refuses_what_does_not_follow(world: World) -> None:
    world.apply()
    now = world.read()
    assert code(lambda: push(world, State(now.lineage, 1)), "serial 1") == "push_refused"
    assert code(lambda: push(world, State("another", 99)), "another") == "state_lineage"
    assert code(lambda: push(world, b"{}")) == "state_malformed"
    assert code(lambda: push(world, codec.state_to_bytes(now).replace(b"true", b"tru3")), "checksum") == "state_checksum"
    assert world.read() == now


def test_forced_push_still_rises(world: World) -> None:
    world.apply()
    serial = world.read().serial
    assert push(world, State(samples.LINEAGE, 1), force=True).serial == serial + 1
    assert world.read() == State(samples.LINEAGE, serial + 1)
    assert push(world, State("another", 1), force=True).lineage == "another"
    assert world.read().lineage == "another"
    assert code(lambda: push(world, State("third", 1), force=True, pin="another")) == "state_lineage"


def test_push_brings_back_what_vanished(world: World) -> None:
    world.apply()
    saved = world.path.read_bytes()
    world.path.unlink()
    push(world, saved)
    assert same(world.read(), expected())
    world.path.write_bytes(b"garbage")
    assert code(lambda: push(world, saved)) == "state_malformed"
    push(world, saved, force=True)
    assert same(world.read(), expected())
    assert (world.directory / "jobform.state.json.backup").read_bytes() == b"garbage"


# --- as another user ---


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_plan_on_a_read_only_checkout() -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        world.apply(close=False)
        for path in [world.directory, *world.directory.rglob("*")]:
            os.chown(path, 65534, 65534)
        world.directory.chmod(0o500)
        assert read_as_nobody(world) == 0


def read_as_nobody(world: World) -> int:
    """0 when another user can read the state and can not lock it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            assert same(world.read(), expected())
            manager = world.manager()
            manager.open()
            try:
                with manager.locked(INFO):
                    os._exit(2)
            except StateError:
                status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
