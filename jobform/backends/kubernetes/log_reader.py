"""One container's output, line by line, with no line twice however often the connection is lost.

The lines are asked for with the kubelet's timestamps, which are cut off again: they tell where to go on. A time to go on from
reaches the kubelet in whole seconds, so what was shown of that second comes again and is skipped.
Source: `LogLocation` in pkg/registry/core/pod/strategy.go and `logWriter` in pkg/kubelet/kuberuntime/logs.
"""

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from jobform.backends.kubernetes.log_sources import Source
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.paths import object_path
from jobform.clients.kube.wire import Stream
from jobform.protocols import LogOptions

LONGEST = 1 << 20
"""Bytes of a line that are held; a longer one goes on in a line of its own."""

EXCUSE = re.compile(
    rb"(?:\A|(?<=\n))(?:unable to retrieve container logs for [a-z0-9.-]+://[0-9a-f]{12,128}"
    rb'|failed to try resolving symlinks in path "[^"\n]{1,4096}": [^\n]{1,4096})\Z'
)
"""What the kubelet puts at the end of an output that it lost, without a line's end.

Source: GetContainerLogs in pkg/kubelet/kuberuntime, ReadLogs in its package logs.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BREAKS = b"\r\t "


class Reader:
    """Reads one container and remembers how far it came. `close` may be called from another thread.

    opened: how often the server began to answer.
    """

    def __init__(self, client: KubeClient, namespace: str, source: Source, options: LogOptions) -> None:
        self._client = client
        self._container = source.container
        self._path = object_path("v1", "pods", namespace, source.pod, "log")
        self._options = options
        self._place = _Position()
        self._stream: Stream | None = None
        self._closed = False
        self.opened = 0

    def read(self, *, follow: bool = False, previous: bool = False, final: bool = True) -> Iterator[list[bytes]]:
        """The lines that were not given yet, each with its line break, as they come. Raises KubeError.

        follow: until the container ends or the connection does. previous: of the container before its last start.
        final: what stands behind the last line break is a line too; without it, that is left to the next read.
        """
        query: dict[str, str | int | bool | None] = {"container": self._container, "timestamps": True, **self._from()}
        query |= {"follow": follow or None, "previous": previous or None}
        with self._client.stream(self._path, query) as stream:
            self._stream = stream
            self.opened += 1
            if not self._closed:
                yield from self._new(stream, final)

    def close(self) -> None:
        """End the present read, and those to come."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()

    def _from(self) -> dict[str, str | int]:
        if self._place.known:
            return {"sinceTime": self._place.second}
        query: dict[str, str | int] = {}
        if self._options.since is not None:
            query["sinceSeconds"] = max(1, math.ceil(self._options.since))
        if self._options.tail is not None:
            query["tailLines"] = self._options.tail
        return query

    def _new(self, chunks: Iterable[bytes], final: bool) -> Iterator[list[bytes]]:
        """Lines with their timestamps cut off. Of a line that is too long, only its first part has one."""
        self._place.again()
        rest = b""
        begun, shown = False, True

        def text_of(line: bytes) -> bytes | None:
            return (line if shown else None) if begun else self._place.take(line)

        for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            found = []
            for line in lines:
                text = text_of(line)
                begun = False
                if text is not None:
                    found.append(text + b"\n")
            if len(rest) > LONGEST:
                head, rest = _cut(rest)
                text = text_of(head)
                begun, shown = True, text is not None
                if text is not None:
                    found.append(text + b"\n")
            if found:
                yield found
        if rest and (final or begun) and not EXCUSE.match(rest):
            text = text_of(rest)
            if text is not None:
                yield [text + b"\n"]


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """A part of an endless line, and the rest: between words, so that no word is torn, if there are words at all."""
    place = max(data.rfind(bytes([mark]), LONGEST // 2) for mark in _BREAKS)
    return (data[: place + 1], data[place + 1 :]) if place > 0 else (data, b"")


class _Position:
    """The latest timestamp that was given, and how many lines had it."""

    def __init__(self) -> None:
        self._stamp = b""
        self._moment = -1
        self._count = 0
        self._skipping = False
        self._left = 0

    @property
    def known(self) -> bool:
        return self._moment >= 0

    @property
    def second(self) -> str:
        """The whole second to go on from, in UTC."""
        return (_EPOCH + timedelta(seconds=self._moment // 10**9)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def again(self) -> None:
        """A read begins: what was given already may come first."""
        self._skipping, self._left = self.known, self._count

    def take(self, line: bytes) -> bytes | None:
        """A line without its timestamp if it was not given yet, and then it counts as given. None if it was."""
        stamp, _, text = line.partition(b" ")
        if not self._skipping and stamp == self._stamp:
            self._count += 1
            return text
        moment = _nanoseconds(stamp)
        if moment is None:  # a word of the kubelet's own about the log
            return line
        if self._skipping and moment <= self._moment:
            self._left -= moment == self._moment
            if moment < self._moment or self._left >= 0:
                return None
        self._skipping = self._skipping and moment <= self._moment
        if moment > self._moment:
            self._stamp, self._moment, self._count = stamp, moment, 1
        elif moment == self._moment:
            self._count += 1
        return text


def _nanoseconds(stamp: bytes) -> int | None:
    """RFC 3339 with up to nine digits of a second, of any zone, as nanoseconds since 1970; None for what is no time."""
    try:
        text = stamp.decode("ascii")
        whole, zone = text[:19], text[19:].lstrip(".0123456789")
        fraction = text[19 : len(text) - len(zone)].lstrip(".")
        moment = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
        since = moment - _EPOCH
        return (since.days * 86400 + since.seconds) * 10**9 + int(f"{fraction:<09}"[:9])
    except (ValueError, TypeError, OverflowError):  # not ASCII, no time, or a time without a zone
        return None
