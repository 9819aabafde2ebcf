"""What a job prints, from CloudWatch Logs: the group `/aws/braket/jobs`, in it one stream for each instance of the job, whose
name begins with the job's name and the last part of its ARN.
"""

import heapq
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from jobform.backends.braket.outcome import OVER
from jobform.backends.braket.service import Braket, uuid_of
from jobform.backends.remote import moment
from jobform.clients.aws import Turns
from jobform.clients.aws_errors import AwsError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Clock, LogOptions

GROUP = "/aws/braket/jobs"

_PAGE = 10_000
_EVERY = 1.0
"""Seconds between two looks while a run is followed."""

_LATE, _PAUSE, _LOOKS = 10.0, 2.0, 3
"""CloudWatch shows lines late: for so many seconds after a job's end more are expected; seconds between looks, and how many."""

_Line = tuple[int, bytes]
"""Milliseconds since the epoch, and the line with its end."""


class Logs:
    """Safe to use from several threads. All methods raise BackendError."""

    def __init__(self, service: Braket, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    def logs(self, arn: str, options: LogOptions) -> Iterator[bytes]:
        """Whole lines by the time that CloudWatch gives them; where there are several streams, each begins with `[stream] `."""
        refuse_options(options)
        prefix, job = self._prefix(arn)
        since = None if options.since is None else int((self._clock.now().timestamp() - options.since) * 1000)
        if not options.follow:
            yield from self._once(self._streams(prefix), prefix, options, since)
            return
        yield from self._follow(arn, prefix, job, options, since)

    def kept(self, arn: str, limit: int) -> bytes:
        """The last `limit` bytes of each stream, under a line that names it if there are several."""
        prefix, job = self._prefix(arn)
        for _ in range(_LOOKS):
            streams = self._streams(prefix)
            parts = {name: self._end_of(name, limit) for name in streams}
            if any(parts.values()) or not self._late(job):
                break
            self._clock.sleep(_PAUSE)
        if len(parts) < 2:
            return b"".join(parts.values())
        return b"".join(f"==> {label(name, prefix)} <==\n".encode() + data for name, data in parts.items())

    def _prefix(self, arn: str) -> tuple[str, Mapping[str, Json]]:
        job = self._service.job(arn)
        if job is None:
            raise BackendError(f"there is no job {arn}", "so nothing says what it printed")
        name = job.get("jobName")
        if not isinstance(name, str) or not name:
            raise BackendError("the service's answer is no job", "it has no name")
        return f"{name}/{uuid_of(arn)}", job

    def _once(self, streams: list[str], prefix: str, options: LogOptions, since: int | None) -> Iterator[bytes]:
        chosen = _chosen(streams, options.index)
        several = len(streams) > 1
        if options.tail is not None:
            found: list[tuple[int, str, bytes]] = []
            for name in chosen:
                lines, _ = self._tail(name, options.tail, since)
                found += [(at, name, line) for at, line in lines]
            for _, name, line in sorted(found, key=lambda each: each[0])[max(0, len(found) - options.tail) :]:
                yield _told_apart(line, name, prefix, several=several)
            return
        sources = [self._named(name, since) for name in chosen]
        for _, name, line in heapq.merge(*sources, key=lambda each: each[0]):
            yield _told_apart(line, name, prefix, several=several)

    def _named(self, stream: str, since: int | None) -> Iterator[tuple[int, str, bytes]]:
        return ((at, stream, line) for at, line in self._forward(_Cursor(stream, since=since)))

    def _follow(
        self, arn: str, prefix: str, job: Mapping[str, Json], options: LogOptions, since: int | None,
    ) -> Iterator[bytes]:
        cursors: dict[str, _Cursor] = {}
        tail, last = options.tail, False
        while True:
            over = job.get("status") in OVER
            late = over and self._late(job)
            streams = self._streams(prefix)
            if not streams and not cursors:
                options.tell("there is no output yet")
            found: list[tuple[int, str, bytes]] = []
            for name in _chosen(streams, options.index, waiting=not over):
                cursor = cursors.get(name)
                if cursor is None and tail is not None:
                    lines, cursor = self._tail(name, tail, since)
                    found += [(at, name, line) for at, line in lines]
                cursors[name] = cursor = cursor or _Cursor(name, since=since)
                found += [(at, name, line) for at, line in self._forward(cursor)]
            if tail is not None and found:
                found, tail = sorted(found, key=lambda each: each[0])[max(0, len(found) - tail) :], None
            for _, name, line in sorted(found, key=lambda each: each[0]):
                yield _told_apart(line, name, prefix, several=len(streams) > 1)
            if over and (last or not late):
                return
            last = over
            self._clock.sleep(_PAUSE if over else _EVERY)
            if not over:
                _, job = self._prefix(arn)

    def _late(self, job: Mapping[str, Json]) -> bool:
        """Whether a job ended so recently that lines of it may still come."""
        try:
            ended: datetime | None = moment(job.get("endedAt"))
        except ValueError:
            return False
        return ended is not None and (self._clock.now() - ended).total_seconds() < _LATE

    def _streams(self, prefix: str) -> list[str]:
        """The names of a job's streams, sorted; none before anything was ever printed."""
        names: list[str] = []
        token: dict[str, Json] = {}
        turns = Turns("the list of the job's log streams")
        while True:
            try:
                value = self._service.aws.often(
                    "logs", "describe_log_streams", logGroupName=GROUP, logStreamNamePrefix=prefix, orderBy="LogStreamName",
                    **token,
                )
            except AwsError as error:
                if error.code == "ResourceNotFoundException":
                    return []  # the group appears with the first line of the first job
                raise
            listed, after = value.get("logStreams"), value.get("nextToken")
            for stream in listed if isinstance(listed, list) else ():
                name = stream.get("logStreamName") if isinstance(stream, dict) else None
                if isinstance(name, str) and name.startswith(prefix) and not name[len(prefix) :][:1].isalnum():
                    names.append(name)
            if not isinstance(after, str) or not after or {"nextToken": after} == token:
                return sorted(set(names), key=_in_order)
            turns.turn(after, empty=not listed)
            token = {"nextToken": after}

    def _events(self, cursor: "_Cursor", *, backwards: bool = False, limit: int = _PAGE) -> tuple[list[_Line], str, str]:
        """A page of a stream's lines, and the tokens before and after it."""
        more: dict[str, Json] = {"nextToken": cursor.token} if cursor.token else {}
        if cursor.since is not None:
            more["startTime"] = cursor.since
        try:
            value = self._service.aws.often(
                "logs", "get_log_events", logGroupName=GROUP, logStreamName=cursor.stream, startFromHead=not backwards,
                limit=limit, **more,
            )
        except AwsError as error:
            if error.code == "ResourceNotFoundException":  # its time to be kept is over
                return [], cursor.token, cursor.token
            raise
        listed = value.get("events")
        lines = [line for event in (listed if isinstance(listed, list) else ()) if (line := _line(event))]
        before, after = value.get("nextBackwardToken"), value.get("nextForwardToken")
        return lines, before if isinstance(before, str) else "", after if isinstance(after, str) else ""

    def _forward(self, cursor: "_Cursor") -> Iterator[_Line]:
        """Every line that is new, up to the present end, which CloudWatch tells by giving the same token again."""
        turns = Turns(f"the log stream {cursor.stream}")
        while True:
            lines, _, after = self._events(cursor)
            yield from lines
            if not after or after == cursor.token:
                return
            turns.turn(after, empty=not lines)
            cursor.token = after

    def _tail(self, stream: str, count: int, since: int | None) -> tuple[list[_Line], "_Cursor"]:
        """The last lines, and where to go on."""
        cursor, end = _Cursor(stream, since=since), _Cursor(stream, since=since)
        found: list[_Line] = []
        turns = Turns(f"the log stream {stream}")
        while True:
            lines, before, after = self._events(cursor, backwards=True, limit=max(1, min(_PAGE, count - len(found))))
            found = lines + found
            end.token = end.token or after
            if len(found) >= count or not before or before == cursor.token:
                return found[max(0, len(found) - count) :], end
            turns.turn(before, empty=not lines)
            cursor.token = before

    def _end_of(self, stream: str, limit: int) -> bytes:
        cursor, size = _Cursor(stream), 0
        pages: list[bytes] = []
        turns = Turns(f"the log stream {stream}")
        while True:
            lines, before, _ = self._events(cursor, backwards=True)
            pages.insert(0, b"".join(line for _, line in lines))
            size += len(pages[0])
            if size >= limit or not before or before == cursor.token:
                data = b"".join(pages)
                return data[max(0, len(data) - limit) :]
            turns.turn(before, empty=not lines)
            cursor.token = before


@dataclass(slots=True)
class _Cursor:
    """A place in a stream. since: milliseconds, None for its beginning."""

    stream: str
    token: str = ""
    since: int | None = None


def refuse_options(options: LogOptions) -> None:
    """A job is one program on each of its instances, which nobody starts again."""
    for given, flag, why in (
        (options.container, "--container", "An instance of a job runs one container; --index chooses an instance."),
        (options.previous, "--previous", "The service starts no job again by itself; --attempt shows an earlier attempt."),
    ):
        if given:
            raise BackendError(f"{flag} has no meaning for a job on Braket", why)


def label(stream: str, prefix: str) -> str:
    """What a stream is called beside those of the other instances."""
    return stream.removeprefix(prefix).strip("/") or stream


def _in_order(stream: str) -> list[tuple[int, str]]:
    """`algo-2` before `algo-10`."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"([0-9]{1,18})", stream)]


def _chosen(streams: list[str], index: int | None, *, waiting: bool = False) -> list[str]:
    if index is None:
        return streams
    if not waiting and not 0 <= index < max(1, len(streams)):
        count = f"{len(streams)} instance{'' if len(streams) == 1 else 's'}"
        raise BackendError(f"the job has no instance {index}", f"{count} printed something; they are counted from 0")
    return streams[index : index + 1] if index >= 0 else []


def _told_apart(line: bytes, stream: str, prefix: str, *, several: bool) -> bytes:
    return f"[{label(stream, prefix)}] ".encode() + line if several else line


def _line(event: Json) -> _Line | None:
    if not isinstance(event, dict) or not isinstance(event.get("message"), str):
        return None
    at, text = event.get("timestamp"), str(event["message"])
    return at if isinstance(at, int) else 0, text.rstrip("\n").encode("utf-8", "replace") + b"\n"
