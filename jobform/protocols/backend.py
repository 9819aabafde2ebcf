"""What a backend must offer, and the values that cross that seam."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Protocol, runtime_checkable

from jobform.model.job import BackendBlock
from jobform.model.state import Op, Phase
from jobform.model.values import Json, Path, canonical
from jobform.protocols.world import Clock, Effect

_KEY = "key"


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

    begun_at: when the first begin of this attempt was journalled; a backend's absence window counts from there. spec: what was to
    be submitted, secrets and unknown values as `{expr, with}`; empty when that is not known.
    """

    address: str
    attempt: int
    token: str
    name: str
    text: str
    begun_at: str
    spec: Mapping[str, Json] = field(default_factory=dict, compare=False, repr=False)

    @property
    def body(self) -> str:
        """The 16 hex digits of the body hash that the mark carries."""
        return self.text.rsplit("-", 1)[1]


@dataclass(frozen=True, slots=True)
class Submission:
    """What to run. spec: fully resolved, secrets included, so it is never logged or stored.

    masks: secret values to blank in whatever is kept. described: the same spec with secrets as references, safe to show.
    changes: of an update, the paths in the spec that differ from what was applied; none when it only takes back what is not ours.
    inputs: what the content of the project's files that the spec names is called, by path: they are read with
    `model.inputs.read_input`, which refuses other content. earlier: the job's other runs, also on other backends. ignored: of
    an update, what `ignore_drift` covers, dotted: what others made of it stays as it is, where it is no change.
    """

    address: str
    spec: dict[str, Json] = field(repr=False)
    described: dict[str, Json] = field(default_factory=dict)
    masks: tuple[str, ...] = field(default=(), repr=False)
    changes: tuple[Path, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    earlier: Collection[Ref] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Actual:
    """What a backend says of one attempt.

    fields: the values that the service reports, in the vocabulary of the spec; keys that it does not report are absent.
    detail: one line for people, such as why it is still pending. warnings: facts that the user should see once. native: what the
    backend wants to have back for `Comparing` and `update`; never stored.
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
    native: object = field(default=None, compare=False, repr=False)


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

    text: compared and recorded; described: shown. source: the setting that chose it. A text that is a JSON object of objects,
    such as `{"cluster": {"server": ..., "uid": ...}, "namespace": {"name": ...}}`, names each part of the place by all that may
    be read of it. A part `key` tells by which key a place was reached whose account nobody names.
    """

    text: str
    described: str
    source: str = ""

    def is_place(self, recorded: str) -> bool:
        """Whether a recorded text names this place: equal, or each part of it equal in what both sides know.

        A `uid` that both know decides alone: one place can be reached by several names. A part of which both know nothing in
        common is not proven. Another key is no other place: keys of one account are exchanged.
        """
        if recorded == self.text:
            return True
        mine, theirs = _parts(self.text), _parts(recorded)
        if not mine or mine.keys() != theirs.keys():
            return False
        return all(_same_part(part, theirs[name]) for name, part in mine.items() if name != _KEY)

    def shows_all(self, recorded: str) -> bool:
        """Whether what is not seen in this place has gone from the recorded one. Not by another key: it may be of another
        account, which shows nothing of the first one.
        """
        return self.is_place(recorded) and _parts(self.text).get(_KEY) == _parts(recorded).get(_KEY)


def _parts(text: str) -> dict[str, dict[str, str]]:
    """The parts of a scope's text, {} for a text that has none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    whole = isinstance(value, dict) and all(isinstance(part, dict) for part in value.values())
    return value if whole else {}


def _same_part(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    common = one.keys() & other.keys()
    if "uid" in common:
        return one["uid"] == other["uid"]
    return bool(common) and all(one[key] == other[key] for key in common)


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

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        """Remove what remains of an ended run; quiet when it is gone.

        whole: its job goes too, and with it everything that the job's attempts shared.
        """


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of an applied spec whose present value is not the applied one. path: in the spec.

    present: whether the field exists now, and then its value. by: who set it, as the service calls them, "" when it does not say.
    settable: an update sets it back while the run goes on, also where a change that is declared needs another attempt.
    """

    path: Path
    value: Json = None
    present: bool = True
    by: str = ""
    settable: bool = False


@runtime_checkable
class Comparing(Protocol):
    """A backend that tells drift itself, from what its service records, instead of reporting `Actual.fields`."""

    def differences(self, spec: Mapping[str, Json], actual: Actual) -> Iterable[Difference]:
        """Where the present differs from the applied spec because somebody else changed it.

        It may ask for what the last `read` did not need, for all of its runs at once. Raises BackendError.
        """


@runtime_checkable
class Releasing(Protocol):
    """A backend that holds back, until an outcome is recorded, what could make its service forget the run.

    Which fields those are, the schema says (`x-jobform-after-end`).
    """

    def release(self, ref: Ref, submission: Submission) -> None:
        """The outcome is recorded: apply what was held back. May be made again; quiet when the run is gone."""


@runtime_checkable
class Collecting(Protocol):
    """A backend whose runs leave something behind that is fetched before their success counts."""

    def collect(self, ref: Ref, spec: Mapping[str, Json], actual: Actual) -> Actual:
        """Fetch what a run that has succeeded left; the run as it is recorded then, and others that need it may start.

        spec: the one in force, secrets and outputs of others as `{expr, with}`. It may be asked again, as after a crash. Raises
        BackendError: with one that is retryable the end is not recorded, and the next look tries again; any other is a warning.
        """


@runtime_checkable
class Preparing(Protocol):
    """A backend that makes other things before the run itself."""

    def abandon(self, mark: Mark, kept: Collection[Ref]) -> None:
        """No run carries this mark: remove what was made for it and is of none of the runs `kept`. May be made again.

        kept: the job's other runs, also those on other backends. Raises BackendError.
        """


@dataclass(frozen=True, slots=True)
class Intended:
    """A call that a plan means to make. op: submit or update. ref: the present run, None when there is none.

    submission: as far as it is known; texts that are not known yet are `UNKNOWN_TEXT`, and then `partial` is true. mark: what the
    call would carry. fields: paths in the spec that an update changes. ends: the present run is stopped or removed before it.
    """

    op: Op
    submission: Submission
    mark: Mark
    ref: Ref | None = None
    fields: tuple[Path, ...] = ()
    partial: bool = False
    ends: bool = False


UNKNOWN_TEXT = "jobform-not-known-yet"
"""Stands in a preview for a secret and for an output of a job that has not run."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the service says that an intended call would do.

    verdict: `ok`; `fixed`: `paths` cannot be changed in place; `restarts`: changing `paths` in place would stop and start the run
    again; `refused`: it would not be accepted; `taken`: something that is not ours has its name; `unasked`: it may not be asked
    (detail says why), nothing follows. path: the field that the verdict is about, None for the whole.
    """

    verdict: str
    paths: tuple[Path, ...] = ()
    path: Path | None = None
    summary: str = ""
    detail: str = ""
    hint: str = ""
    warnings: tuple[str, ...] = ()


@runtime_checkable
class Preflight(Protocol):
    """A backend whose service can be asked what a call would do without making it."""

    def preflight(self, intended: Collection[Intended], parallelism: int) -> Mapping[str, Forecast]:
        """By address; changes nothing. Raises BackendError only when nobody can be asked at all."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backend works: what it may need of its surroundings. project: the project's directory.

    attended: a person is at a terminal, who may be asked for a password there.
    """

    project: FilePath
    clock: Clock
    effect: Effect
    environ: Mapping[str, str]
    attended: bool = False


class BackendType(Protocol):
    """What the entry point group `jobform.backends` holds."""

    @property
    def name(self) -> str:
        """The `type` in jobform.yaml."""

    @property
    def completes(self) -> bool:
        """Whether its jobs end by themselves; one that does not is converged while running.

        Where only some do not, this is true, and the schema lists the values that tell them (`x-jobform-endless`).
        """

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
