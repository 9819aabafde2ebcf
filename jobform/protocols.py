"""The seams: what a backend, a store and a view must offer, and the values that cross them.

Plug-ins register an object under the entry point groups `jobform.backends`, `jobform.stores` and `jobform.views`; what comes with
jobform registers the same way. Vendor exceptions never cross a seam: `BackendError` and `StateError` do.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO, runtime_checkable

from jobform.model.change import Plan
from jobform.model.diagnostic import Diagnostic
from jobform.model.event import Event
from jobform.model.job import BackendBlock
from jobform.model.state import Attempt, Phase, Run, State
from jobform.model.values import Json, canonical

Effect = Callable[[str, str], None]
"""`effect(name, address)`: called before and after every outside action, so that tests can stop the world there."""


def no_effect(name: str, address: str) -> None:
    """The effect hook of a shipped command: nothing."""
    del name, address


class Clock(Protocol):
    """Time as an argument: tests never wait."""

    def now(self) -> datetime:
        """The wall clock, timezone-aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""

    def sleep(self, seconds: float) -> None:
        """Wait, or return early when interrupted."""


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, microseconds: `2026-01-02T03:04:05.000006Z`. Sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- backends ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ref:
    """A backend's own name for one attempt: opaque JSON, kept as its canonical text so that it can be a key."""

    text: str

    @classmethod
    def of(cls, value: Json) -> "Ref":
        return cls(canonical(value))

    @property
    def value(self) -> Json:
        value: Json = json.loads(self.text)
        return value


@dataclass(frozen=True, slots=True)
class Mark:
    """How a run of ours is recognised. text: `jf1-<16 hex lineage>-<16 hex address>-<attempt>-<16 hex body>`, safe characters
    only.

    begun_at: when the first begin of this attempt was journalled; a backend's absence window counts from there.
    """

    address: str
    attempt: int
    token: str
    name: str
    text: str
    begun_at: str

    @property
    def body(self) -> str:
        """The 16 hex digits of the body hash that the mark carries."""
        return self.text.rsplit("-", 1)[1]


@dataclass(frozen=True, slots=True)
class Submission:
    """What to run. spec: fully resolved, secrets included, so it is never logged or stored.

    masks: secret values to blank in whatever is kept. described: the same spec with secrets as references, safe to show.
    """

    address: str
    spec: dict[str, Json] = field(repr=False)
    described: dict[str, Json] = field(default_factory=dict)
    masks: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Actual:
    """What a backend says of one attempt.

    fields: the values that the service reports, in the vocabulary of the spec; keys that it does not report are absent.
    detail: one line for people, such as why it is still pending. warnings: facts that the user should see once.
    """

    phase: Phase
    detail: str = ""
    class_: str | None = None
    native_reason: str = ""
    exit: int | None = None
    outputs: Mapping[str, Json] | None = None
    started_at: str | None = None
    ended_at: str | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """The service is sure that nothing with this reference exists. It says nothing about how it ended."""


@dataclass(frozen=True, slots=True)
class ReadError:
    """This reference could not be read; nothing follows from it."""

    summary: str
    detail: str = ""
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """A run that carries the mark. body: the 16 hex digits of the body hash in its mark."""

    ref: Ref
    body: str


@dataclass(frozen=True, slots=True)
class Absent:
    """No run carries the mark and none can appear any more."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Whether a run carries the mark cannot be said, or not yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The identity of the place that a backend's settings reach.

    text: compared; described: shown. source: the setting that chose it.
    """

    text: str
    described: str
    source: str = ""


class Backend(Protocol):
    """One configured place that runs jobs. Methods are called from several threads at once."""

    def scope(self) -> Scope:
        """Who am I talking to. Raises BackendError when that cannot be proven."""

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Actual | Gone | ReadError]:
        """The present of every ref: O(pages) calls where the service lists, never one per job where a list exists."""

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        """Whether a submission that was begun took place. Read-only."""

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        """Start a run and return without waiting for it.

        Submitting the same mark again never makes a second run where `find` is exact.
        """

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        """Change a run in place; refuse with BackendError if it is not as expected any more."""

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        """Ask for the stop; return when it is accepted. Raises Started; quiet when the run is already over."""

    def delete(self, ref: Ref) -> None:
        """Remove what remains of an ended run; quiet when it is gone."""


@runtime_checkable
class LogSource(Protocol):
    """A backend that can show output."""

    def logs(self, ref: Ref, *, follow: bool, tail: int | None) -> Iterator[bytes]:
        """The run's output, oldest first, in chunks; with follow until the run has ended. tail: only the last lines, at first."""

    def kept(self, ref: Ref, limit: int) -> bytes:
        """The last `limit` bytes with known secrets masked, to be stored beside the state; empty when there is nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backend works: what it may need of its surroundings. project: the project's directory."""

    project: Path
    clock: Clock
    effect: Effect
    environ: Mapping[str, str]


class BackendType(Protocol):
    """What the entry point group `jobform.backends` holds."""

    @property
    def name(self) -> str:
        """The `type` in jobform.yaml."""

    @property
    def completes(self) -> bool:
        """Whether its jobs end by themselves; one that does not is converged while running."""

    @property
    def max_submitted(self) -> int | None:
        """How many attempts may be submitted and not ended at a time; the rest stay accepted."""

    @property
    def poll(self) -> tuple[float, float]:
        """Seconds between reads: while things change, and at most."""

    @property
    def foreign_scope(self) -> str:
        """What a live job of another scope means: `error`, or `hold` with reason `other_machine`."""

    @property
    def secrets_visible(self) -> bool:
        """Whether the service shows secret values to those who may read the job; the plan says so."""

    def spec_schema(self) -> dict[str, Json]:
        """JSON Schema 2020-12 of `spec`, with field rules."""

    def settings_schema(self) -> dict[str, Json]:
        """JSON Schema 2020-12 of the backend's block without `type` and `defaults`; `x-jobform-sensitive` marks credentials."""

    def open(self, block: BackendBlock, place: Place) -> Backend:
        """Connect. Must not do input or output yet; the first call may."""


# --- stores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds a lock: shown to whoever finds it held."""

    id: str
    who: str
    host: str
    pid: int
    command: str
    at: str
    run_url: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds. data: the snapshot's bytes, None if there is none. version: for compare-and-swap, "" if there is none.

    journal: the journal's bytes, b"" if there is none. stamp: changes whenever data or journal changes.
    """

    data: bytes | None
    version: str
    journal: bytes
    stamp: str


class Store(Protocol):
    """Bytes in a place, with a lock. Lineage, serial, journal format and checks belong to `engine.manager`, on top of it.

    Everything that cannot be done raises StateError, a lock that is held LockHeldError.
    """

    @property
    def location(self) -> str:
        """Where it is, for messages and for `.jobform/seen.json`; without credentials."""

    def read(self) -> Stored:
        """Everything."""

    def stamp(self) -> str:
        """The present `Stored.stamp`, cheaply: equal stamps mean that nothing moved."""

    def write(self, data: bytes, expected_version: str) -> str:
        """Replace the snapshot if its version is the expected one: the new version.

        The previous one is kept as a backup, the journal is dropped.
        """

    def append(self, entries: bytes, expected_size: int) -> None:
        """Add whole lines to the journal and make them durable.

        expected_size: the journal's length before, cutting a torn tail.
        """

    def lock(self, info: LockInfo, timeout: float) -> None:
        """Take the lock, waiting up to `timeout` seconds."""

    def unlock(self) -> None:
        """Give it back; quiet when not held."""

    def holder(self) -> LockInfo | None:
        """Who holds the lock now, None if nobody."""

    def check(self) -> None:
        """Under the lock, before the first backend call: prove that writing works."""

    def keep(self, name: str, data: bytes) -> None:
        """Put a kept log under a name of `[a-z0-9.-]`."""

    def kept(self, name: str) -> bytes | None:
        """A kept log, None if there is none."""


class StoreType(Protocol):
    """What the entry point group `jobform.stores` holds."""

    @property
    def name(self) -> str:
        """The `type` in `state:`."""

    def settings_schema(self) -> dict[str, Json]:
        """JSON Schema 2020-12 of the `state:` block without `type`."""

    def open(self, settings: Mapping[str, Json], directory: Path, clock: Clock, effect: Effect) -> Store:
        """Connect; must not write."""


# --- views ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a view writes. colour: whether escape sequences are wanted; width: columns."""

    out: TextIO
    colour: bool = False
    width: int = 100


@runtime_checkable
class View(Protocol):
    """Turns values into text. A view never decides and never computes; it masks nothing itself: its `Screen` does."""

    def plan(self, plan: Plan) -> str:
        """A whole plan, summary last."""

    def diagnostics(self, diagnostics: Iterable[Diagnostic]) -> str:
        """Findings, in the order given."""

    def status(self, state: State, now: datetime) -> str:
        """What every address is doing."""

    def event(self, event: Event) -> str:
        """One event of a running apply as a line, "" when this view does not show it."""

    def history(self, address: str, attempts: Iterable[Attempt], now: datetime) -> str:
        """Every attempt of one address."""

    def runs(self, runs: Iterable[Run]) -> str:
        """The last applies, newest last."""

    def outputs(self, outputs: Mapping[str, Json]) -> str:
        """What a job gave."""

    def state_list(self, state: State) -> str:
        """Every address of a state."""

    def show_record(self, state: State, address: str) -> str:
        """All that is known of one address."""

    def lock(self, info: LockInfo | None) -> str:
        """Who holds the lock."""

    def version_line(self) -> str:
        """The first line of an event stream, "" when this view has none."""

    def plan_line(self, plan: Plan) -> str:
        """A plan as one entry of an event stream."""

    def diagnostic_line(self, diagnostic: Diagnostic) -> str:
        """A finding as one entry of an event stream."""

    def summary_line(self, counts: Mapping[str, int], exit_code: int) -> str:
        """The last line of a command that changed something."""
