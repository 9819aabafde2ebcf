"""What the runs of a job printed. The service gives a run's output as one text, whole or cut, and no stream: to follow is to ask
again, and to print what is new."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobform.backends.remote import Seen
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.state import ENDED
from jobform.model.values import Json
from jobform.protocols import Clock, LogOptions

_POLL = 3.0
_KEPT_RUNS = 20
_ANCHOR = 4096
"""Characters of what was printed last by which the rest of a text is found when its beginning is gone."""

_OVER = ("COMPLETED", "FAILED", "CANCELLED")

_ABSENT = (
    ("container", "--container", "a run is one container"),
    ("previous", "--previous", "a container that starts again is a run of its own: --index shows each"),
    ("since", "--since", "the lines of a run carry no time; --tail shows the last ones"),
)


class Runs(Protocol):
    """The calls that output needs. All raise BackendError."""

    def one(self, run_id: str) -> Seen | None: ...

    def runs(self, run_id: str) -> list[Mapping[str, Json]]: ...

    def run(self, run_id: str) -> Mapping[str, Json]: ...


@dataclass(slots=True)
class _Run:
    """One run as far as it was printed. rest: a line whose end is still to come. over: its text was read after its end."""

    id: str
    text: str = ""
    rest: str = ""
    tail: int | None = field(default=None)
    over: bool = False


class Output:
    """The output of one job."""

    def __init__(self, service: Runs, job: str, clock: Clock) -> None:
        self._service = service
        self._job = job
        self._clock = clock

    def lines(self, options: LogOptions) -> Iterator[bytes]:
        """Oldest run first; of several runs every line begins with `[run N]`. Raises BackendError."""
        _refuse(options)
        known: dict[str, _Run] = {}
        told: set[str] = set()
        while True:
            seen = self._service.one(self._job)  # before the texts: what it printed last is in them once it is over
            over = seen is None or seen.actual.phase in ENDED
            listed = self._listed()
            self._tell(options, seen, listed, told)
            for number, run in enumerate(listed):
                mine = known.setdefault(_id(run), _Run(_id(run), tail=options.tail))
                if options.index in (None, number) and (over or not mine.over):  # the last look is at all: a text may come late
                    mine.over = run.get("status") in _OVER
                    label = f"[run {number}] " if len(listed) > 1 and options.index is None else ""
                    yield from _fresh(mine, self._text(mine.id), label, options, whole=over or not options.follow)
            if over or not options.follow:
                if options.index is not None and options.index >= len(listed):
                    raise BackendError(f"the job has no run {options.index}", f"it has {len(listed)}, counted from 0")
                return
            self._clock.sleep(_POLL)

    def kept(self, limit: int) -> bytes:
        """The last bytes of the output of each run; of very many runs only that of the last ones."""
        listed = list(enumerate(self._listed()))[-_KEPT_RUNS:]
        parts = []
        for number, run in listed:
            data = self._text(_id(run)).encode("utf-8", "replace")[-limit:]
            prefix = f"[run {number}] ".encode() if len(listed) > 1 else b""
            parts += [prefix + line for line in data.splitlines(keepends=True)]
            if parts and not parts[-1].endswith(b"\n") and prefix:
                parts.append(b"\n")
        return b"".join(parts)

    def _listed(self) -> list[Mapping[str, Json]]:
        """The job's runs in the order in which they began; those that did not begin last."""
        met: dict[str, Mapping[str, Json]] = {}
        for run in self._service.runs(self._job):
            if run.get("job_uuid", self._job) == self._job:
                met.setdefault(_id(run), run)
        return sorted(met.values(), key=_began)

    def _text(self, run: str) -> str:
        text = self._service.run(run).get("logs")
        if text is not None and not isinstance(text, str):
            raise BackendError("the service's answer is no job run", "its `logs` is no text")
        return text or ""

    def _tell(self, options: LogOptions, seen: Seen | None, listed: list[Mapping[str, Json]], told: set[str]) -> None:
        """Say once each why there is nothing yet, and where a run answers."""
        texts = [f"run {number} answers at {address}" for number, run in enumerate(listed) for address in _addresses(run)]
        if seen is None:
            texts.append("the service does not know this job, or does not show it to this key")
        elif not listed:
            why = f": {seen.actual.detail}" if seen.actual.detail else ""
            texts.append(f"no run of this job has begun{why}")
        for text in texts:
            if text not in told:
                told.add(text)
                options.tell(text)


def _fresh(run: _Run, text: str, label: str, options: LogOptions, *, whole: bool) -> Iterator[bytes]:
    """What was not printed yet, in whole lines where lines get a label. whole: nothing more follows."""
    new = _after(run.text, text)
    if new is None:
        options.tell(f"the service shows another output of {run.id} than before: all of it follows")
        new = text
    run.text = text
    if run.tail is not None:
        lines = new.splitlines(keepends=True)
        new, run.tail = "".join(lines[-run.tail :] if run.tail else []), None
    if not label:
        if new or run.rest:
            yield (run.rest + new).encode("utf-8", "replace")
        run.rest = ""
        return
    *lines, run.rest = (run.rest + new).split("\n")
    if whole and run.rest:
        lines, run.rest = [*lines, run.rest], ""
    if lines:
        yield "".join(f"{label}{line}\n" for line in lines).encode("utf-8", "replace")


def _after(before: str, now: str) -> str | None:
    """What follows the part that was seen before, also where a beginning was cut off since; None where nothing of it is left."""
    if now.startswith(before):
        return now[len(before) :]
    anchor = before[-_ANCHOR:]
    place = now.rfind(anchor)
    return now[place + len(anchor) :] if place >= 0 else None


def _refuse(options: LogOptions) -> None:
    for name, flag, why in _ABSENT:
        if getattr(options, name):
            raise BackendError(f"{flag} has no meaning for a job on an otoy backend", f"{why[0].upper()}{why[1:]}.")


def _id(run: Mapping[str, Json]) -> str:
    found = run.get("uuid")
    if not isinstance(found, str) or not found or len(found) > 100:
        raise BackendError("the service's answer is no job run", "it has no uuid")
    return found


def _began(run: Mapping[str, Json]) -> tuple[float, str]:
    at = run.get("started_at_ms")
    return (at if isinstance(at, int | float) and not isinstance(at, bool) else float("inf"), _id(run))


def _addresses(run: Mapping[str, Json]) -> Iterator[str]:
    """Where the ports of a run that goes on are reached."""
    urls = run.get("node_urls")
    if run.get("status") != "RUNNING" or not isinstance(urls, list):
        return
    for url in urls:
        if isinstance(url, dict) and url.get("hostname") and url.get("port"):
            what = f" ({url['description']})" if url.get("description") else ""
            yield short(f"{url.get('protocol') or 'tcp'}://{url['hostname']}:{url['port']}{what}", 200)
