"""What a batch job prints: entries with a time, a rank and a text, read a page at a time from either end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobform.backends.remote import EARLY, moment
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Clock, LogOptions, timestamp

KEPT_IN_ALL = 1 << 20
"""Bytes that are kept of one run, however many ranks it has."""

MOST_KEPT = 16
"""Ranks of which output is kept: each takes a call of its own."""

_PAGE = 1000
_MOST_PAGE = 10_000
"""Entries of a page: the service cuts a larger one to it."""

_LEAST = 100
"""Entries that are read when only the last lines are wanted: they say what is not new when more is read."""

_PAUSE = 2.0
"""Seconds between two looks at a run that is followed."""

_LATE = timedelta(seconds=15)
"""So far back a look begins again: ranks write at the same time, and one may be late."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record. data: whole lines."""

    at: datetime
    rank: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of the run: how many ranks it has (0: it is not told), when it was made, whether it is over."""

    ranks: int
    created: datetime | None
    over: bool

    @property
    def begin(self) -> datetime | None:
        """No line is older: the nodes have clocks of their own."""
        return self.created - EARLY if self.created else None


Ask = Callable[[Sequence[tuple[str, str]]], Json]
"""One call, by the parameters of `:getLogs`. Raises BackendError."""


class Reader:
    """The records of one run. look: reads the run anew. Raises BackendError."""

    def __init__(self, ask: Ask, look: Callable[[], Run], clock: Clock) -> None:
        self._ask = ask
        self._look = look
        self._clock = clock

    def lines(self, options: LogOptions) -> Iterator[bytes]:
        """The output, each line with its rank where there are several. With follow until the run has ended."""
        run = self._look()
        if options.index is not None and run.ranks and options.index >= run.ranks:
            raise BackendError(f"there is no rank {options.index}", f"the run has {run.ranks}, counted from 0")
        several = run.ranks > 1 and options.index is None
        ranks = [options.index] if options.index is not None else []
        since = self._clock.now() - timedelta(seconds=options.since) if options.since is not None else None
        recent: list[Entry] = []
        floor = since
        for entries in self._so_far(run, ranks, since, options.tail):
            shown = entries if options.tail is None else _last_lines(entries, options.tail)
            yield from (_labelled(entry, several) for entry in shown)
            recent = _since(recent + entries, _LATE)
            if options.tail is not None and len(entries) >= _LEAST:
                floor = entries[0].at  # what is older is not wanted, and may not have been read
        if not options.follow:
            return
        for entries in self._from_now(run, ranks, recent, floor):
            yield from (_labelled(entry, several) for entry in entries)

    def end(self, ranks: Sequence[int], limit: int) -> bytes:
        """The last whole lines that some ranks wrote, at most so many bytes of them."""
        found: list[Entry] = []
        for page in self._pages(ranks, [("pageSize", str(_PAGE))]):
            found = page + found
            if sum(len(entry.data) for entry in found) > limit:
                break
        data = b"".join(entry.data for entry in _in_order(found))
        return data if len(data) <= limit else data[-limit:].partition(b"\n")[2]

    def _so_far(self, run: Run, ranks: Sequence[int], since: datetime | None, tail: int | None) -> Iterator[list[Entry]]:
        """What there is now, oldest first: all of it, or the last lines that are wanted and some before them, in one piece."""
        if tail is None:
            yield from self._forwards(ranks, since or run.begin)
            return
        found: list[Entry] = []
        for page in self._pages(ranks, [("pageSize", str(min(_MOST_PAGE, max(_LEAST, tail))))]):
            found = [*(entry for entry in page if since is None or entry.at >= since), *found]
            if sum(entry.data.count(b"\n") for entry in found) >= tail or any(since and entry.at < since for entry in page):
                break
        yield _in_order(found)

    def _from_now(
        self, run: Run, ranks: Sequence[int], recent: list[Entry], floor: datetime | None,
    ) -> Iterator[list[Entry]]:
        """What comes after the entries that are known, until the run is over and nothing more can come.

        floor: nothing up to this moment is wanted.
        """
        while not run.over:
            self._clock.sleep(_PAUSE)
            run = self._look()  # before the records: when it is over, all that it wrote is there
            left = Counter(recent)
            fresh: list[Entry] = []
            edge = max(entry.at for entry in recent) - _LATE if recent else run.begin
            for entries in self._forwards(ranks, edge):
                for entry in entries:
                    if left[entry] > 0:
                        left[entry] -= 1
                    elif floor is None or entry.at > floor:
                        fresh.append(entry)
            recent = _since(recent + fresh, _LATE)
            yield _in_order(fresh)

    def _forwards(self, ranks: Sequence[int], start: datetime | None) -> Iterator[list[Entry]]:
        first = [("startTime", timestamp(start))] if start else []
        for page in self._pages(ranks, [("pageSize", str(_PAGE)), ("startFromHead", "true"), *first]):
            yield _in_order(entry for entry in page if start is None or entry.at >= start)

    def _pages(self, ranks: Sequence[int], query: Sequence[tuple[str, str]]) -> Iterator[list[Entry]]:
        """Page after page as the service gives them, each oldest first."""
        whole = [*(("ranks", str(rank)) for rank in ranks), *query]
        token, met = "", set[str]()
        while True:
            value = self._ask([*whole, *([("pageToken", token)] if token else [])])
            if not isinstance(value, dict) or not isinstance(entries := value.get("entries", []), list):
                raise BackendError("the service's answer is no page of output")
            page = [_entry(each) for each in entries]
            yield page[::-1] if page and page[0].at > page[-1].at else page
            token = str(value.get("nextPageToken") or "")
            if not token:
                return
            if token in met:
                raise BackendError("the service's pages of output repeat themselves")
            met.add(token)


def _entry(value: Json) -> Entry:
    """Raises BackendError for what is none."""
    try:
        if not isinstance(value, dict):
            raise TypeError("it is no object")
        at, rank, message = moment(value.get("logTime")), value.get("rank", 0), value.get("message", "")
        if at is None or not isinstance(rank, int) or not isinstance(message, str):
            raise TypeError("logTime, rank or message is of another type")
    except (TypeError, ValueError, OverflowError) as error:
        raise BackendError("the service's answer is no page of output", short(str(error))) from error
    data = message.encode("utf-8", "replace")
    return Entry(at, rank, data if data.endswith(b"\n") else data + b"\n")


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.at)


def _since(entries: list[Entry], span: timedelta) -> list[Entry]:
    """Those of the last span of time."""
    if not entries:
        return []
    edge = max(entry.at for entry in entries) - span
    return [entry for entry in entries if entry.at >= edge]


def _last_lines(entries: Sequence[Entry], count: int) -> list[Entry]:
    """The last so many lines of records in order."""
    found: list[Entry] = []
    for entry in reversed(entries):
        if count <= 0:
            break
        lines = entry.data.splitlines(keepends=True)[-count:]
        count -= len(lines)
        found.insert(0, Entry(entry.at, entry.rank, b"".join(lines)))
    return found


def _labelled(entry: Entry, several: bool) -> bytes:
    if not several:
        return entry.data
    return b"".join(b"[rank %d] %s" % (entry.rank, line) for line in entry.data.splitlines(keepends=True))
