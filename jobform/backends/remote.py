"""What all services that keep a list of jobs have in common: finding a run by its mark, and when its absence is certain.

A service says how its calls look (`Service`); reading many runs in few calls, and never taking silence for absence, is here.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Protocol

from jobform.clients.keys import Key
from jobform.model.errors import BackendError, Started
from jobform.model.job import BackendBlock
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json, canonical
from jobform.protocols import (
    Absent,
    Actual,
    Backend,
    Clock,
    Found,
    Gone,
    Mark,
    Place,
    ReadError,
    Ref,
    Scope,
    Sighting,
    Submission,
    Unknown,
    timestamp,
)
from jobform.schema import load_definition, load_document

EARLY = timedelta(minutes=15)
"""How far before its `begin` a run may seem to be made: the service has a clock of its own."""

FEW = 8
"""Up to so many runs are asked for one by one: a list would bring every other run along."""

_RESTARTS = 3

_BARREN = 3
"""After so many pages without a run that is looked for, the rest is asked for one by one, if that is fewer calls."""

_OURS = "jf1-"


class PageExpiredError(BackendError):
    """The place in a list is no longer known to the service: the list begins again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as the service shows it. mark: "" when it carries none of jobform's. created: None where the service does not say.

    whole: False when a list shows less than asking for the run itself does.
    """

    id: str
    mark: str
    actual: Actual
    name: str = ""
    created: datetime | None = None
    whole: bool = True


class Service(Protocol):
    """The calls of one service. All raise BackendError. Methods are called from several threads."""

    def scope(self) -> Scope: ...

    def one(self, run_id: str) -> Seen | None:
        """The run of this id, None when the service is sure that there is none."""

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        """Every run, or at least every one created since then, a page at a time. Raises PageExpiredError."""

    def create(self, submission: Submission, mark: Mark) -> str:
        """The id of a new run. Ambiguous errors are looked into by whoever asked."""

    def update(self, run_id: str, submission: Submission, expected: Actual) -> Actual: ...

    def cancel(self, run_id: str) -> None:
        """Ask for the stop of a run that has not ended; quiet when it is over or gone."""

    def delete(self, run_id: str) -> None:
        """Remove an ended run; quiet when it is gone, or where nothing can be removed."""


@dataclass(frozen=True, slots=True)
class Promise:
    """When a run that is not found was surely never made. settle: seconds after its begin in which it may still appear.

    marked: whether runs carry a mark. Where they do not, any run made since the begin may be the one.
    """

    settle: float
    marked: bool = True


class RemoteBackend:
    """`protocols.Backend` over a `Service`. Its references are `{"id": ...}`."""

    def __init__(self, service: Service, promise: Promise, place: Place) -> None:
        self._service = service
        self._promise = promise
        self._clock: Clock = place.clock
        self._place = place

    def scope(self) -> Scope:
        return self._service.scope()

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Actual | Gone | ReadError]:
        """One call for each of a few runs; else the list, and one call for each run that it lacks or shows only in part."""
        answers: dict[Ref, Actual | Gone | ReadError] = {}
        wanted = {}
        for ref in refs:
            try:
                wanted[id_of(ref)] = ref
            except BackendError as error:
                answers[ref] = ReadError(error.summary, error.detail, retryable=False)
        listed = self._listed(wanted.keys()) if len(wanted) > FEW else {}
        for run, ref in wanted.items():
            seen = listed.get(run)
            answers[ref] = seen.actual if seen and (seen.whole or seen.actual.phase not in ENDED) else self._one(run)
        return answers

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        if not marks:
            return {}
        since = min(datetime.fromisoformat(mark.begun_at) for mark in marks) - EARLY
        asked_at = self._clock.now()
        by_key: dict[str, list[Seen]] = defaultdict(list)
        runs: list[Seen] = []
        for seen in self._all(since):
            by_key[mark_key(seen.mark)].append(seen)  # a mark says enough, whatever the time: clocks differ
            if seen.created is None or seen.created >= since:
                runs.append(seen)
        return {mark: self._judge(mark, by_key.get(mark_key(mark.text), []), runs, asked_at) for mark in marks}

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        self._place.effect("remote.create.before", mark.address)
        run = self._service.create(submission, mark)
        self._place.effect("remote.create.after", mark.address)
        return ref_of(run)

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        return self._service.update(id_of(ref), submission, expected)

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        """No service has a stop that depends on the state, so a run that starts between the look and the stop is stopped."""
        run = id_of(ref)
        seen = self._service.one(run)
        if seen is None or seen.actual.phase in ENDED:
            return
        if only_if_waiting and seen.actual.started_at is not None:
            raise Started(f"{run} is {seen.actual.phase}")
        self._service.cancel(run)

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        del whole  # attempts share nothing on these services
        run = id_of(ref)
        seen = self._service.one(run)
        if seen is None:
            return
        if seen.actual.phase not in ENDED:
            raise BackendError(f"{run} has not ended: it is {seen.actual.phase}")
        self._service.delete(run)

    def lookup(self, run_id: str) -> Sighting | None:
        seen = self._service.one(run_id)
        return sighting(seen) if seen else None

    def list(self) -> Iterator[Sighting]:
        yield from (sighting(seen) for seen in self._all(None))

    def _listed(self, wanted: Collection[str]) -> dict[str, Seen]:
        """Those of some runs that the list shows, without walking through years of other runs to find the last of them."""
        found: dict[str, Seen] = {}
        barren = 0
        for page in self._pages(None):
            before = len(found)
            found |= {seen.id: seen for seen in page if seen.id in wanted}
            left = len(wanted) - len(found)
            barren = 0 if len(found) > before else barren + 1
            if not left or barren >= max(_BARREN, left):
                break
        return found

    def _one(self, run: str) -> Actual | Gone | ReadError:
        try:
            seen = self._service.one(run)
        except BackendError as error:
            return ReadError(error.summary, error.detail, error.retryable)
        return seen.actual if seen else Gone()

    def _all(self, since: datetime | None) -> Iterator[Seen]:
        for page in self._pages(since):
            yield from page

    def _pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        """Every run once, from the start again when a place in the list has expired."""
        met: set[str] = set()
        for _ in range(_RESTARTS):
            try:
                for page in self._service.pages(since):
                    fresh = [seen for seen in page if seen.id not in met]
                    met |= {seen.id for seen in fresh}
                    yield fresh
            except PageExpiredError:
                continue
            return
        raise BackendError("the list cannot be read to its end", "its pages keep expiring", retryable=True)

    def _judge(self, mark: Mark, found: Sequence[Seen], runs: Sequence[Seen], asked_at: datetime) -> Found | Absent | Unknown:
        if len(found) > 1:
            return Unknown(f"{len(found)} runs carry the mark: {', '.join(seen.id for seen in found[:5])}")
        if found:
            return Found(ref_of(found[0].id), found[0].mark.rsplit("-", 1)[1])
        if not self._promise.marked and runs:
            near = ", ".join(seen.id for seen in runs[:5])
            return Unknown(f"runs carry no mark here, and some were made since it was begun: {near}")
        certain = datetime.fromisoformat(mark.begun_at) + timedelta(seconds=self._promise.settle)
        if asked_at < certain:
            return Unknown(f"it may still appear: its absence is certain from {timestamp(certain)} on")
        return Absent()


class RemoteType:
    """A backend type for a service: what the entry points `jobform.backends` of all of them answer alike.

    Its schemas are the document called by its name, and `$defs/settings` in that. opened: a backend for a block's settings.
    """

    completes = True  # but for what the schema calls endless
    max_submitted: int | None = None
    poll: ClassVar[tuple[float, float]] = (1.0, 15.0)
    foreign_scope = "error"
    secrets_visible = True

    def __init__(self, name: str, opened: Callable[[Mapping[str, Json], Place], Backend]) -> None:
        self.name = name
        self._opened = opened

    def spec_schema(self) -> dict[str, Json]:
        return load_document(self.name)

    def settings_schema(self) -> dict[str, Json]:
        return load_definition(self.name, "settings")

    def open(self, block: BackendBlock, place: Place) -> Backend:
        return self._opened(block.settings, place)


def key_scope(service: str, host: str, key: Key, described: str, source: str) -> Scope:
    """The place of a service that does not tell whose account a key is of: another key of the account reaches the same place, and
    what only another key does not show is not proven to be gone.
    """
    text = canonical({service: {"host": host}, "key": {"fingerprint": key.fingerprint}})
    return Scope(text, described, source)


def mark_key(mark: str) -> str:
    """A mark without the hash of its body: the attempt that it is of. "" for what is none of ours."""
    return mark.rsplit("-", 1)[0] if mark.startswith(_OURS) and mark.count("-") == 4 else ""


def ref_of(run: str) -> Ref:
    return Ref.of({"id": run})


def id_of(ref: Ref) -> str:
    """Raises BackendError for what this backend did not make: a state file may come from anywhere."""
    value = ref.value
    run = value if isinstance(value, str) else value.get("id") if isinstance(value, dict) else None
    if not isinstance(run, str) or not run or len(run) > 500 or not run.isprintable():
        raise BackendError("this is no reference of this backend", ref.text[:200])
    return run


def sighting(seen: Seen) -> Sighting:
    created = timestamp(seen.created) if seen.created else None
    return Sighting(ref_of(seen.id), seen.id, seen.mark, seen.actual, seen.name, created)


def moment(value: Json) -> datetime | None:
    """An RFC 3339 time of a service, None for none. Raises ValueError for anything else."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"a time is a text, not {value!r}")
    found = datetime.fromisoformat(value)
    try:
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:  # in the first or the last hours that a calendar has
        raise ValueError(f"{value!r} is no time that can be") from error


def phase_of(word: str, words: Mapping[str, Phase]) -> tuple[Phase, tuple[str, ...]]:
    """The phase that a service's word means, and warnings. An unknown one is `running`, since nothing follows from that."""
    known = words.get(word)
    if known is not None:
        return known, ()
    return Phase.RUNNING, (f"the service says {word!r}, which jobform does not know; it is taken for running",)


def shaped(read: Callable[[Json], Seen], value: Json, what: str) -> Seen:
    """A run out of an answer. Raises BackendError, never anything else, for one that is not what the service documents."""
    try:
        return read(value)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BackendError(f"the service's answer is no {what}", f"{type(error).__name__}: {str(error)[:200]}") from error
