"""What is watched: from the second look on a collection is followed instead of listed, so that waiting costs no requests.

A watch can be a moment behind. It is used for runs that go on; what has ended, and what it does not show, is asked for anew.
"""

import threading
import weakref
from collections.abc import Mapping

from jobform.backends.kubernetes.kinds import Kinds
from jobform.backends.kubernetes.look import Seen, seen_of
from jobform.backends.kubernetes.names import LINEAGE
from jobform.backends.kubernetes.pods import slim
from jobform.backends.kubernetes.shapes import text
from jobform.backends.kubernetes.site import Site
from jobform.backends.kubernetes.watch import Watched, Watcher
from jobform.clients.kube.paths import object_path
from jobform.model.state import ENDED
from jobform.model.values import Json


class Current:
    """The collections of one backend. Safe to use from several threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._asked: set[Watched] = set()
        self._workloads: Watcher[Seen] | None = None
        self._pods: Watcher[dict[str, Json]] | None = None

    def workloads(self, path: str, lineage: str) -> Mapping[str, Seen] | None:
        """The workloads of a project that go on, by uid; None where they must be listed."""
        watched = Watched(path, f"{LINEAGE}={lineage}")
        if not self._again(watched):
            return None
        with self._lock:
            if self._workloads is None:
                kinds = self._site.kinds
                self._workloads = Watcher(self._site.client, lambda obj: _going(kinds, obj))
                self._end_with_us(self._workloads)
            watcher = self._workloads
        watcher.start([watched])
        return watcher.objects(watched)

    def pods(self, namespace: str, lineage: str) -> Mapping[str, dict[str, Json]] | None:
        """The pods of a project, made small, by uid; None where they must be listed."""
        watched = Watched(object_path("v1", "pods", namespace), f"{LINEAGE}={lineage}")
        if not self._again(watched):
            return None
        with self._lock:
            if self._pods is None:
                self._pods = Watcher(self._site.client, slim)
                self._end_with_us(self._pods)
            watcher = self._pods
        watcher.start([watched])
        return watcher.objects(watched)

    def close(self) -> None:
        """Follow nothing any more."""
        with self._lock:
            watchers = [watcher for watcher in (self._workloads, self._pods) if watcher is not None]
            self._workloads, self._pods = None, None
            self._asked.clear()
        for watcher in watchers:
            watcher.stop()

    def _again(self, watched: Watched) -> bool:
        """Whether it was asked for before: a command that looks once does not watch."""
        with self._lock:
            known = watched in self._asked
            self._asked.add(watched)
        return known

    def _end_with_us(self, watcher: Watcher[Seen] | Watcher[dict[str, Json]]) -> None:
        """The threads are daemons, so nobody waits for them when the process ends."""
        weakref.finalize(self, _stop, watcher).atexit = False


def _stop(watcher: Watcher[Seen] | Watcher[dict[str, Json]]) -> None:
    """In a thread of its own: what is not needed any more is found wherever memory is tidied, in the watching threads too."""
    threading.Thread(target=watcher.stop, args=(0.0,), name="end of watch", daemon=True).start()


def _going(kinds: Kinds, obj: dict[str, Json]) -> Seen | None:
    kind = kinds.of(text(obj, "apiVersion"), text(obj, "kind"))
    seen = seen_of(kind, obj) if kind is not None else None
    return None if seen is None or seen.judged.phase in ENDED else seen
