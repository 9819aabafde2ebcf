"""One state, kept in one store: lineage, serial, journal and checks. Stores below are dumb, the engine above never sees them.

A snapshot has a serial; the journal names the serial that it continues. Recording an event is one append. A snapshot with the
next serial is written when the journal outgrows it and when a command ends; the journal of an earlier serial is then a leftover
that every reader ignores. Reading takes no lock and writes nothing.
"""

import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from jobform.codec import state_from_bytes, state_to_bytes
from jobform.engine.journal import event_lines, header_line, read_events, read_journal
from jobform.engine.record import Recorder, prune
from jobform.engine.rescue import rescue
from jobform.engine.seen import Seen
from jobform.engine.trust import Trust, other_lineage
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import JobformError, LockHeldError, StateError
from jobform.model.event import Event
from jobform.model.state import State
from jobform.protocols import Clock, Effect, LockInfo, Store, Stored

_T = TypeVar("_T")

FOLD_AT = 1_000_000
"""Bytes of journal that are never worth a new snapshot."""

READS = 5
"""How often a reader looks again when writers were faster than it."""


@dataclass(slots=True)
class _Held:
    """What memory holds of the store. version "" means that nothing is stored yet. crc: of the journal's first `size` bytes."""

    state: State
    recorder: Recorder
    version: str = ""
    stamp: str = ""
    snapshot: int = 0
    size: int = 0
    lines: int = 0
    crc: int = 0
    leftover: bool = False


class Manager:
    """Opens, refreshes, records and saves one state.

    seen_path: `.jobform/seen.json`. recovery: further directories that may take a state that cannot be saved. warnings: what
    a user should hear of; filled on the way. fold_at: bytes of journal that are never worth a new snapshot. After a failed save
    it refuses to record anything more.
    """

    def __init__(
        self, store: Store, clock: Clock, effect: Effect, seen_path: Path, *,
        recovery: Sequence[Path] = (Path(),), new_lineage: Callable[[], str] = lambda: str(uuid.uuid4()), fold_at: int = FOLD_AT,
    ) -> None:
        self._store = store
        self._effect = effect
        self._trust = Trust(store.location, Seen(seen_path), clock)
        self._recovery = recovery
        self._new_lineage = new_lineage
        self._fold_at = fold_at
        self._held: _Held | None = None
        self._info: LockInfo | None = None
        self._locked = False
        self._checked = False
        self._recorded = False
        self._ahead = False
        self._broken = False
        self.warnings: list[Diagnostic] = []
        self.loads = 0

    # --- reading ---

    def open(self, pin: str | None = None, *, accept_older: bool = False) -> State:
        """Read the state. pin: the lineage that the project names.

        A state that is missing although it is pinned or was seen here before, is of another lineage, or went back to an earlier
        serial (unless accept_older) raises StateError. Where none was ever seen and none is pinned, an empty one begins with the
        first record.
        """
        self._trust.pin, self._trust.accept_older = pin, accept_older
        self._load()
        return self.state

    @property
    def state(self) -> State:
        """The state as last read or recorded. It is the manager's: change it by `record` alone."""
        if self._held is None:
            self._load()
        assert self._held is not None
        return self._held.state

    @property
    def stored(self) -> bool:
        """Whether the state exists in its store."""
        return self._held is not None and self._held.version != ""

    def refresh(self) -> bool:
        """Read what moved since the last look; False when nothing did."""
        if self._held is not None and (self._ahead or self._store.stamp() == self._held.stamp):
            return False  # ahead: we hold the lock, so what moved was moved by us
        self._load()
        return True

    def pull(self) -> bytes:
        """The state as one snapshot, the journal folded in."""
        self.refresh()
        return state_to_bytes(self.state)

    # --- writing ---

    @contextmanager
    def locked(self, info: LockInfo, timeout: float = 0.0) -> Iterator[None]:
        """Hold the lock. On entry writing is proven to work (once per manager) and an opened state is refreshed."""
        self._store.lock(info, timeout)
        self._info, self._locked = info, True
        try:
            if not self._checked:
                self._store.check()
                self._checked = True
            if self._held is not None:
                self.refresh()
                self._note_seen()
            yield
        finally:
            try:
                if self._ahead and self._held is not None:
                    self._held.stamp = self._store.stamp()
            finally:
                self._locked = self._ahead = False
                self._store.unlock()

    def init(self, lineage: str | None = None) -> State:
        """Create the empty state. Under the lock. Raises StateError when there is one, or was one."""
        self._must_be_writable()
        self._trust.look()
        stored = self._store.read()
        if stored.data is not None:
            raise StateError.of("state_exists", f"There is a state already: {self._store.location}")
        self._trust.refuse_vanished(self._before, bool(stored.journal))
        state = State(lineage or self._new_lineage())
        self._held = _Held(state, Recorder(state), stamp=stored.stamp)
        self._write()
        return state

    def record(self, events: Sequence[Event]) -> None:
        """Fold events and make them durable by one append. Under the lock. When it returns, whoever reads next reads them.

        Raises StateError: `journal_inconsistent` when one does not fit (nothing is written), else the message names the file that
        holds the rescued state, and nothing more can be recorded.
        """
        self._must_be_writable()
        if not events:
            return
        state = self.state
        held = self._held
        assert held is not None
        if held.version == "" or held.leftover:
            self._write()
        try:
            for event in events:
                held.recorder.fold(event)
            entries = event_lines(events)
        except BaseException:
            self._held = None  # memory is ahead of the store: the next look reads again
            raise
        if held.size == 0:
            entries = header_line(state.lineage, state.serial) + entries
        self._save(lambda: self._store.append(entries, held.size), state.serial + 1)
        self._recorded = True
        held.lines += len(events) + (held.size == 0)
        held.size += len(entries)
        held.crc = zlib.crc32(entries, held.crc)
        self._ahead = True
        if held.size > max(self._fold_at, held.snapshot):
            self._write()

    def compact(self) -> None:
        """Fold the journal into a snapshot with the next serial, leaving out what nothing needs. Under the lock."""
        self._must_be_writable()
        prune(self.state)
        self._write()

    def close(self) -> None:
        """The command ends: fold what it recorded, unless someone else has the lock by now; then they will."""
        if not self._recorded or self._broken or self._info is None:
            return
        if self._locked:
            self.compact()
        else:
            with suppress(LockHeldError), self.locked(self._info):
                self.compact()
        self._recorded = False

    def push(self, data: bytes, *, force: bool = False) -> State:
        """Replace the state by a document, such as a rescued one. Under the lock. Needs no `open`.

        Refused with StateError: a document that is malformed or of another lineage than the pinned one, always; of another
        lineage than the present one, of a lower serial, or of the same serial with other content, unless forced. A forced one
        gets a serial that is higher than any before. The present one stays as backup.
        """
        self._must_be_writable()
        pushed = state_from_bytes(data, "the pushed document", sealed=False)
        self._trust.refuse_unpinned("the pushed document", pushed)
        self._trust.look()
        stored = self._store.read()
        present = self._present(stored, force)
        if present is not None and pushed == present:
            return pushed
        pushed.serial = max(pushed.serial, self._trust.floor(pushed, present, force))
        self._held = _Held(pushed, Recorder(pushed), version=stored.version, stamp=stored.stamp)
        self._write(pushed.serial)
        return pushed

    # --- inside ---

    def _load(self) -> None:
        self.loads += 1
        for _ in range(READS):
            self._trust.look()
            stored = self._store.read()
            if stored.data is None:
                self._begin_empty(stored)
                return
            if self._read_on(stored) or self._read_all(stored.data, stored):
                return
        raise StateError.of(
            "journal_ahead", f"The journal of {self._store.location} continues a later state than the one that is there",
            detail=f"Read {READS} times.",
            hint="The state was replaced by an older one: restore the one that belongs to the journal.",
        )

    def _read_on(self, stored: Stored) -> bool:
        """Fold only the lines that were added since the last look; False when more than that happened."""
        held = self._held
        if held is None or held.version != stored.version or held.leftover or held.size == 0:
            return False
        if len(stored.journal) < held.size or zlib.crc32(memoryview(stored.journal)[: held.size]) != held.crc:
            return False
        events, size = read_events(stored.journal[held.size :], self._journal_name, held.lines + 1)
        try:
            for event in events:
                held.recorder.fold(event)
        except BaseException:
            self._held = None
            raise
        self._warn_torn(len(stored.journal) - held.size - size, held.lines + len(events) + 1)
        held.crc = zlib.crc32(memoryview(stored.journal)[held.size : held.size + size], held.crc)
        held.size, held.lines, held.stamp = held.size + size, held.lines + len(events), stored.stamp
        return True

    def _read_all(self, data: bytes, stored: Stored) -> bool:
        """Read snapshot and journal; False when the journal is newer than the snapshot, so that one has to look again."""
        state = state_from_bytes(data, self._store.location)
        journal = read_journal(stored.journal, self._journal_name)
        header = journal.header
        if header and header.lineage != state.lineage:
            raise other_lineage(self._journal_name, header.lineage, state.lineage)
        if header and header.serial > state.serial:
            return False
        self._trust.refuse_strange(state, self._before)
        held = _Held(state, Recorder(state), stored.version, stored.stamp, len(data))
        if header and header.serial < state.serial:
            held.leftover = True
        else:
            for event in journal.events:
                held.recorder.fold(event)
            held.size, held.lines = journal.size, journal.lines
            held.crc = zlib.crc32(memoryview(stored.journal)[: journal.size])
            self._warn_torn(len(stored.journal) - journal.size, journal.lines + 1)
        self._held = held
        return True

    def _begin_empty(self, stored: Stored) -> None:
        self._trust.refuse_vanished(self._before, bool(stored.journal))
        self._trust.refuse_missing()
        if self._held is None:
            state = State(self._new_lineage())
            self._held = _Held(state, Recorder(state))
        self._held.stamp = stored.stamp

    def _present(self, stored: Stored, force: bool) -> State | None:
        """The state that a push would replace; None when there is none, or none that can be read and the push is forced."""
        self._held = None
        if stored.data is None:
            return None
        try:
            with self._trust.suspended():
                self._load()
            return self.state
        except StateError:
            if not force:
                raise
            return None

    @property
    def _before(self) -> State | None:
        """The stored state that this manager saw last."""
        return self._held.state if self._held and self._held.version else None

    def _must_be_writable(self) -> None:
        if not self._locked:
            raise RuntimeError("state is written under the lock only")
        if self._broken:
            raise StateError.of(
                "state_not_saved", f"The state could not be saved to {self._store.location}: nothing more is recorded",
            )

    def _write(self, serial: int | None = None) -> None:
        """A snapshot with the next serial; the journal is then empty."""
        held = self._held
        assert held is not None
        serial = held.state.serial + 1 if serial is None else serial
        data = state_to_bytes(replace(held.state, serial=serial))
        held.version = self._save(lambda: self._store.write(data, held.version), serial)
        held.state.serial = serial
        held.snapshot, held.size, held.lines, held.crc, held.leftover = len(data), 0, 0, 0, False
        held.stamp = self._store.stamp()
        self._note_seen()

    def _save(self, action: Callable[[], _T], serial: int) -> _T:
        """Write to the store, or rescue the whole state under the serial that would have followed."""
        try:
            return action()
        except StateError as error:
            self._broken = True
            raise self._rescued(error, serial) from error
        except BaseException:
            self._held = None  # whether it was written is not known: the next look reads it
            raise

    def _rescued(self, cause: StateError, serial: int) -> JobformError:
        assert self._held is not None
        rescued = state_to_bytes(replace(self._held.state, serial=serial))
        location = Path(self._store.location)
        beside = [location.parent] if location.is_absolute() else []
        path = rescue(rescued, [*beside, *self._recovery], self._effect)
        first = cause.diagnostics[0]
        saved = f"The whole state was written to {path} instead." if path else "It could not be written anywhere else either."
        restore = f"When the cause is gone, run `jobform state push {path}`." if path else "What was journalled before is safe."
        return StateError.of(
            "state_not_saved", f"The state could not be saved to {self._store.location}",
            detail=" ".join(filter(None, (f"{first.summary}.", first.detail, saved))),
            hint=" ".join(filter(None, (first.hint, restore))),
        )

    def _note_seen(self) -> None:
        if self._broken or self._held is None or self._held.version == "":
            return
        trouble = self._trust.note(self._held.state)
        if trouble:
            self._warn(
                "seen_not_written", "It could not be noted which state belongs here",
                f"{trouble}. A state that vanishes or goes back is not noticed in this checkout.",
            )

    def _warn_torn(self, excess: int, line: int) -> None:
        if excess > 0:
            self._warn(
                "journal_torn", f"{self._journal_name}:{line} is not whole and is ignored",
                "A command was stopped while it wrote this line; nothing was done that depends on it.",
            )

    def _warn(self, code: str, summary: str, detail: str) -> None:
        finding = Diagnostic(Severity.WARNING, code, summary, detail)
        if finding not in self.warnings:
            self.warnings.append(finding)

    @property
    def _journal_name(self) -> str:
        return f"{self._store.location.removesuffix('.json')}.journal"
