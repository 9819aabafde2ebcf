"""What is known of every address: accepted desires, attempts, holds, tombstones and the history of applies.

A `State` is changed only by folding events into it (`engine.record`); everything inside it is frozen.
Times are UTC, RFC 3339 with microseconds and `Z`. Specs are kept once, under the digest of their JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jobform.model.job import Policy
from jobform.model.values import Json


class Phase(StrEnum):
    """Where an attempt is. Suspended is a detail of pending; lost is failed with class `lost`."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


class Op(StrEnum):
    """A mutating call: journalled by `Begun` before and `Ended` after."""

    SUBMIT = "submit"
    UPDATE = "update"
    CANCEL = "cancel"
    DELETE = "delete"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Desired:
    """What an apply has accepted. spec: digest of the rendered spec; inputs: as `Job.inputs`."""

    backend: str
    type: str
    spec: str
    policy: Policy
    generation: int
    matrix: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The change of the last apply that touched an address.

    attempt: the number of the attempt to make (create, rerun, replace, adopt), else of the attempt that is acted on.
    stop: the number of the attempt that may be stopped: the explicit yes; it covers no later attempt. fixed: dotted paths of
    fields that the service does not change in place, whatever their rule says; the next attempt gets them.
    settled: None while open, else done, superseded, cancelled, dependency_failed or skipped. A settled change never starts by
    itself.
    """

    action: str
    reason: str
    run: str
    at: str
    digest: str
    attempt: int
    stop: int | None = None
    settled: str | None = None
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """An in-place change of an attempt: `spec` is the digest of the whole spec from then on."""

    at: str
    run: str
    spec: str


@dataclass(frozen=True, slots=True)
class Intent:
    """A mutating call whose end is not recorded: resolved before its address is touched again.

    The fields from `generation` on are those of the attempt to be; they are empty unless op is submit (spec also for update).
    held: a part of the spec is not sent before the outcome is recorded. whole: a delete that takes what attempts shared along.
    """

    op: Op
    attempt: int
    token: str
    name: str
    mark: str
    body_hash: str
    at: str
    run: str
    backend: str
    scope: str
    generation: int = 0
    fingerprint: str = ""
    rules: str = ""
    spec: str = ""
    used: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    held: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One submission of a job: appended once, completed by what is observed, never rewritten.

    class_: the failure class when phase is failed (`user_error`, `oom`, `timeout`, `preempted`, `no_capacity`, `infra`, `lost`).
    exit: the process's exit code, negative for a signal. outputs: the job's JSON object, None when it gave none.
    asked_stop: a cancel of ours was accepted by the backend. removed: nothing of it remains on the backend. held: a part of its
    spec waits to be sent until its outcome is recorded. cleared: what it shared with the job's other attempts is gone too.
    asserted: of a run that was taken over, the dotted fields of its spec (`spec.env.TOKEN`) that nobody could compare with it.
    """

    n: int
    token: str
    name: str
    mark: str
    backend: str
    scope: str
    generation: int
    fingerprint: str
    rules: str
    spec: str
    body_hash: str
    run: str
    begun_at: str
    submitted_at: str
    ref: Json = None
    updates: tuple[Update, ...] = ()
    used: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    phase: Phase = Phase.PENDING
    detail: str = ""
    class_: str | None = None
    native_reason: str = ""
    exit: int | None = None
    outputs: Mapping[str, Json] | None = None
    started_at: str | None = None
    ended_at: str | None = None
    asked_stop: bool = False
    removed: bool = False
    held: bool = False
    cleared: bool = False
    asserted: tuple[str, ...] = ()

    @property
    def applied(self) -> str:
        """The digest of the spec that is in force: the last update's, else the submitted one."""
        return self.updates[-1].spec if self.updates else self.spec

    @property
    def ended(self) -> bool:
        return self.phase in ENDED

    @property
    def waiting(self) -> bool:
        """Submitted and never started: stopping it loses no work."""
        return self.phase is Phase.PENDING and self.started_at is None

    @property
    def live(self) -> bool:
        """It runs, ran, or may be running: never stopped without an explicit yes."""
        return not self.ended and not self.waiting

    @property
    def phase_class(self) -> str:
        """`waiting`, `live` or `ended`."""
        return "ended" if self.ended else "waiting" if self.waiting else "live"


@dataclass(frozen=True, slots=True)
class Hold:
    """A fact that a human must judge."""

    reason: str
    detail: str
    at: str


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of one address."""

    backend: str
    scope: str = ""
    desired: Desired | None = None
    accepted: Accepted | None = None
    intent: Intent | None = None
    hold: Hold | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What stays of an address that was deleted, forgotten or moved away, so that no token is ever used twice.

    ref, mark, backend, scope: of the last attempt when it is not known to have ended, else None and empty.
    history: the attempts, newest last, for `history`.
    """

    last_attempt: int
    at: str
    how: str
    ref: Json = None
    mark: str = ""
    backend: str = ""
    scope: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def live(self) -> bool:
        return self.ref is not None or self.mark != ""


@dataclass(frozen=True, slots=True)
class RunChange:
    """One accepted change of a run; settled as in `Accepted`. attempt: as in `Accepted`."""

    address: str
    action: str
    digest: str
    attempt: int
    settled: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One command that changed something.

    digest: of the approved plan, empty for commands without one. exit: None while unfinished.
    """

    id: str
    command: str
    at: str
    who: str
    commit: str
    digest: str
    changes: tuple[RunChange, ...] = ()
    ended_at: str | None = None
    outcome: str | None = None
    exit: int | None = None


ASSERTED = "asserted"
"""The feature of a state in which an attempt has `asserted`."""

KEPT_RUNS = 50
KEPT_ATTEMPTS = 10


@dataclass(slots=True)
class State:
    """One project's record for one target. serial counts snapshots, not events."""

    lineage: str
    serial: int = 0
    features: tuple[str, ...] = ()
    jobs: dict[str, Record] = field(default_factory=dict)
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    specs: dict[str, Json] = field(default_factory=dict)

    def last_attempt(self, address: str) -> int:
        """The highest attempt number that this address ever used, 0 if none. Numbers never restart."""
        record = self.jobs.get(address)
        tombstone = self.tombstones.get(address)
        numbers = [tombstone.last_attempt] if tombstone else []
        if record:
            numbers += [record.attempts[-1].n] if record.attempts else []
            numbers += [record.intent.attempt] if record.intent and record.intent.op is Op.SUBMIT else []
        return max(numbers, default=0)

    def spec(self, key: str) -> dict[str, Json]:
        """The spec with this digest. Raises KeyError if the state does not hold it."""
        value = self.specs[key]
        if not isinstance(value, dict):
            raise TypeError(f"spec {key[:12]} is not a mapping")
        return value
