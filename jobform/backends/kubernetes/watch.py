"""Collections kept current by list and watch, so that waiting for an outcome costs no polling.

A cache says what the server said last. A deletion seen on the watch removes the object; that something is absent is still to be
asked by GET, because a cache can be behind.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from jobform.backends.kubernetes.shapes import text
from jobform.backends.kubernetes.site import uid_of
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError, refusal
from jobform.clients.kube.wire import Query, Stream
from jobform.model.clock import SPREAD
from jobform.model.values import Json

_LIFE = 280
"""Seconds after which the server is to end a watch, so that none lives for ever on a connection that a proxy has forgotten."""

_IDLE = 120.0
"""Seconds of silence after which a watch is opened anew; bookmarks come about every minute."""

_LONGEST_LINE = 8 << 20
_LONGEST_REST = 30.0
_FAILURES_BEFORE_LIST = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watched:
    """A collection: the path of its list and a label selector, "" for all of it."""

    path: str
    selector: str = ""


class _Forgotten(Exception):
    """The server cannot go on from where the watch was: list again."""


class Watcher(Generic[T]):
    """One daemon thread for each collection. keep: what is kept of an object; None drops it. Safe to use from several threads.

    `changed` is set whenever anything changes, a failure included; whoever waits for it clears it before looking.
    """

    def __init__(self, client: KubeClient, keep: Callable[[dict[str, Json]], T | None]) -> None:
        self.changed = threading.Event()
        self._client = client
        self._keep = keep
        self._caches: dict[Watched, _Cache[T]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self, collections: Iterable[Watched]) -> None:
        """Begin to watch; what is watched already goes on. Returns at once. Quiet after `stop`."""
        with self._lock:
            for collection in collections:
                if collection in self._caches or self._stop.is_set():
                    continue
                cache = _Cache(self._client, collection, self._keep, self.changed, self._stop)
                self._caches[collection] = cache
                cache.thread.start()

    def objects(self, collection: Watched) -> Mapping[str, T] | None:
        """What is kept of every object, by uid, as of now; None when that is not known, and then the caller lists."""
        cache = self._cache(collection)
        return cache.snapshot() if cache is not None else None

    def watchable(self, collection: Watched) -> bool:
        """False once the server has said that it may not be listed or watched, or does not have it: poll instead."""
        cache = self._cache(collection)
        return cache is not None and not cache.refused

    def failure(self, collection: Watched) -> KubeError | None:
        """Why it is not in sync, None when it is or when nothing has failed yet."""
        cache = self._cache(collection)
        return cache.failure if cache is not None else None

    def stop(self, patience: float = 2.0) -> None:
        """End the threads, waiting at most `patience` seconds for all of them. The caches are not current any more."""
        with self._lock:
            self._stop.set()
            caches = list(self._caches.values())
        for cache in caches:
            cache.interrupt()
        for cache in caches:
            cache.thread.join(patience / max(1, len(caches)))
        self.changed.set()

    def __enter__(self) -> "Watcher[T]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _cache(self, collection: Watched) -> "_Cache[T] | None":
        with self._lock:
            return self._caches.get(collection)


class _Cache(Generic[T]):
    """One collection and the thread that follows it. The fields below `_lock` change only under it."""

    def __init__(
        self, client: KubeClient, collection: Watched, keep: Callable[[dict[str, Json]], T | None],
        changed: threading.Event, stop: threading.Event,
    ) -> None:
        self.thread = threading.Thread(target=self._run, name=f"watch {collection.path}", daemon=True)
        self.refused = False
        self.failure: KubeError | None = None
        self._client = client
        self._collection = collection
        self._keep = keep
        self._changed = changed
        self._stop = stop
        self._version = ""
        self._lock = threading.Lock()
        self._objects: dict[str, T] = {}
        self._shown: Mapping[str, T] | None = None
        self._synced = False
        self._stream: Stream | None = None

    def snapshot(self) -> Mapping[str, T] | None:
        """An unchanging view of the present, None while out of sync. Made anew only after a change."""
        with self._lock:
            if not self._synced:
                return None
            if self._shown is None:
                self._shown = MappingProxyType(dict(self._objects))
            return self._shown

    def interrupt(self) -> None:
        """End a waiting read."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def _run(self) -> None:
        failures = 0
        try:
            while not self._stop.is_set():
                failures += 1  # until an event shows that it works: a server may also end every watch at once, politely
                told = 0.0
                try:
                    if not self._version or failures > _FAILURES_BEFORE_LIST:
                        self._list()
                    for _ in self._follow():
                        failures = 0
                except _Forgotten:
                    self._version = ""
                except KubeError as error:
                    if self._give_up(error):
                        return
                    told = error.retry_after
                if failures > 1 or told:
                    rest = told or min(_LONGEST_REST, 0.1 * 2 ** min(failures, 10))
                    self._stop.wait(rest * (1 + SPREAD.random() / 4))
        finally:
            self._out_of_sync(self.failure)

    def _list(self) -> None:
        listing = self._client.list(self._collection.path, self._query(), lambda item: (uid_of(item), self._keep(item)))
        objects = {uid: kept for uid, kept in listing if uid and kept is not None}
        with self._lock:
            self._objects, self._shown, self._synced = objects, None, True
        self._version = listing.resource_version
        self.failure = None
        self._changed.set()

    def _follow(self) -> Iterator[None]:
        """One watch from where the last one ended, until the server ends it; a beat for each event. Raises KubeError."""
        query: Query = {
            **self._query(), "watch": True, "allowWatchBookmarks": True, "resourceVersion": self._version,
            "timeoutSeconds": _LIFE,
        }
        try:
            with self._client.stream(self._collection.path, query, idle=_IDLE) as stream, self._open(stream):
                for line in _lines(stream):
                    self._take(_event(line))
                    yield
        except KubeError as error:
            if error.status == 410:
                raise _Forgotten from error
            raise

    @contextmanager
    def _open(self, stream: Stream) -> Iterator[None]:
        """The watch stands, so the cache is current, until it ends; meanwhile `interrupt` finds the stream."""
        with self._lock:
            again, self._synced, self._stream = not self._synced, True, stream
        self.failure = None
        if again:
            self._changed.set()
        if self._stop.is_set():
            stream.close()
        try:
            yield
        finally:
            with self._lock:
                self._stream, self._synced = None, False

    def _take(self, event: dict[str, Json]) -> None:
        kind, item = event.get("type"), event.get("object")
        if not isinstance(item, dict):
            raise KubeError(200, "BadAnswer", "a watch event without an object")
        if kind == "ERROR":
            code = item.get("code")
            raise refusal(code if isinstance(code, int) else 500, item, changing=False)
        uid, version = uid_of(item), text(item, "metadata", "resourceVersion")
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            kept = self._keep(item) if kind != "DELETED" else None
            with self._lock:
                if kept is None:
                    self._objects.pop(uid, None)
                elif uid:
                    self._objects[uid] = kept
                self._shown = None
            self._changed.set()
        self._version = version or self._version

    def _give_up(self, error: KubeError) -> bool:
        """Note a failure; True when it will never be otherwise."""
        self.refused = error.status in (403, 404, 405)
        self._out_of_sync(error)
        return self.refused

    def _out_of_sync(self, error: KubeError | None) -> None:
        with self._lock:
            self._synced = False
        self.failure = error
        self._changed.set()

    def _query(self) -> Query:
        return {"labelSelector": self._collection.selector or None}


def _lines(stream: Stream) -> Iterator[bytes]:
    """Whole lines; a last one without its end is dropped, for the connection was cut in it."""
    rest = b""
    for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise KubeError(200, "BadAnswer", f"a watch event of more than {_LONGEST_LINE >> 20} MiB")
        yield from (line for line in whole if line.strip())


def _event(line: bytes) -> dict[str, Json]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise KubeError(200, "BadAnswer", "a watch event that is no valid JSON") from error
    if not isinstance(event, dict):
        raise KubeError(200, "BadAnswer", "a watch event that is no object")
    return event
