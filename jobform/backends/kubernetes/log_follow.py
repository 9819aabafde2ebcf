"""Following a run: one thread for each container that prints, one generator that gives their lines as they come.

The generator also looks at the pods again and again, so that it meets those that come later, knows when a container was started
again, and ends with the run.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TypeAlias

from jobform.backends.kubernetes.log_reader import Reader
from jobform.backends.kubernetes.log_run import Run
from jobform.backends.kubernetes.log_sources import Key, Source, labels_of, prefixed
from jobform.clients.kube.errors import KubeError

_HELD = 64
"""Pieces of output that wait to be shown; the threads wait when there are more."""

_PATIENCE = 300.0
"""Seconds for which a server that does not answer is asked again."""

_GRACE = 10.0
"""Seconds that containers may print on after the end of their run: some kinds leave them running for ever."""

_SETTLED = 1.5
"""Seconds without anything new after which the log of a container that has ended counts as whole."""

_SLICE = 0.1
_PAUSES = (0.2, 10.0)

Piece: TypeAlias = tuple[Key, list[bytes]] | str | KubeError
"""Lines of a container, a word for people, or what ends it all."""


class Follower:
    """Follows one run, once."""

    def __init__(self, run: Run, every: float, most: int) -> None:
        """every: seconds between looks at the pods. most: containers that are followed at a time."""
        self._run = run
        self._every = every
        self._most = most
        self._clock = run.site.clock
        self._pieces: Queue[Piece] = Queue(_HELD)
        self._stop = threading.Event()
        self._over_at: float | None = None
        self._present: dict[Key, Source] = {}
        self._known: dict[Key, Source] = {}
        self._labels: dict[Key, str] = {}
        self._several = False
        self._threads: dict[Key, threading.Thread] = {}
        self._readers: dict[Key, Reader] = {}
        self._told: set[str] = set()

    def lines(self) -> Iterator[bytes]:
        """Whole lines, until the run has ended. Raises KubeError and BackendError."""
        try:
            yield from self._lines()
        finally:
            self._stop.set()
            for reader in list(self._readers.values()):
                reader.close()
            for thread in self._threads.values():
                thread.join(_SLICE)

    def _lines(self) -> Iterator[bytes]:
        look_at = seen_at = self._clock.monotonic()
        while not self._ended():
            now = self._clock.monotonic()
            if now >= look_at:
                if self._look():
                    seen_at = self._clock.monotonic()
                elif now - seen_at > _PATIENCE:
                    self._update()  # once more, and this time its error is the end
                look_at = self._clock.monotonic() + self._every
            try:
                piece = self._pieces.get(timeout=_SLICE)
            except Empty:
                continue
            if isinstance(piece, KubeError):
                raise piece
            if isinstance(piece, str):
                self._tell(piece)
            else:
                key, lines = piece
                yield prefixed(self._labels[key], lines) if self._several else b"".join(lines)

    def _ended(self) -> bool:
        """Whether the run is over and everything was shown that a container of it printed before its end."""
        if self._over_at is None:
            return False
        alive = [key for key, thread in self._threads.items() if thread.is_alive()]
        if not alive:
            return self._pieces.empty()
        endless = all((source := self._present.get(key)) is not None and not source.over for key in alive)
        return endless and self._clock.monotonic() - self._over_at > _GRACE

    # --- what there is to follow ---

    def _look(self) -> bool:
        """Whether the server answered; False when it may do so later."""
        try:
            self._update()
        except KubeError as error:
            if not error.retryable:
                raise
            self._tell(f"the cluster does not answer ({error.message}); trying again")
            return False
        self._told = {text for text in self._told if not text.startswith("the cluster does not answer")}
        return True

    def _update(self) -> None:
        look = self._run.look()
        self._present = {source.key: source for source in look.sources}
        self._known |= self._present
        self._labels = labels_of(self._known.values(), self._run.ref.name)
        self._several = self._several or len(self._known) > 1 or (look.several and self._run.options.index is None)
        for source in look.sources:
            if source.key in self._threads:
                continue
            if source.started:
                self._start(source)
            else:
                name = self._labels[source.key]
                self._tell(f"{name}: it never started" if source.over else f"{name}: waiting to start: {source.waits}")
        if not look.sources and not look.over:
            self._tell(f"{self._run.ref} has no pod yet" + (f": {look.said}" if look.said else ""))
        if look.over and all(source.key in self._threads or not source.started for source in look.sources):
            self._over_at = self._clock.monotonic() if self._over_at is None else self._over_at

    def _start(self, source: Source) -> None:
        if sum(thread.is_alive() for thread in self._threads.values()) >= self._most:
            self._tell(f"more than {self._most} containers print at once: the others are shown when one of them has ended")
            return
        self._readers[source.key] = reader = self._run.reader(source)
        self._threads[source.key] = thread = threading.Thread(
            target=self._follow, args=(reader, source), name=f"log-{source.pod}", daemon=True,
        )
        thread.start()

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._run.options.tell(text)

    # --- in the threads ---

    def _follow(self, reader: Reader, source: Source) -> None:
        """One container through all its starts, until nothing will be added any more.

        The end of a container is known before all that it printed is in its log: it is read until nothing new came for a while.
        """
        settled, quiet_at = False, self._clock.monotonic()
        restarts, pause, answered = source.restarts, _PAUSES[0], self._clock.monotonic()
        while not self._stop.is_set():
            now = self._present.get(source.key)
            final = now is None or now.over or self._over_at is not None
            opened = reader.opened
            try:
                if now is not None and now.restarts > restarts:
                    restarts = self._catch_up(reader, source, restarts, now.restarts)
                gave = self._pump(source.key, reader.read(follow=not final, final=final and settled))
                answered = self._clock.monotonic()
            except KubeError as error:
                if reader.opened > opened:  # it did answer; that a program prints nothing for long is no failure
                    answered = self._clock.monotonic()
                if error.status in (401, 403):
                    self._put(error)
                    return
                if error.status == 404 or (final and error.status == 400):
                    return  # the pod is gone, or there is nothing of the container any more
                if error.status != 400 and (not error.retryable or self._clock.monotonic() - answered > _PATIENCE):
                    self._put(f"{self._labels[source.key]}: its output could not be read on: {error.message}")
                    return
                gave = final = False
            if final and settled:
                return
            quiet_at = self._clock.monotonic() if gave or not final else quiet_at
            settled = self._clock.monotonic() - quiet_at >= _SETTLED
            pause = _PAUSES[0] if gave else 0.5 if final else min(2 * pause, _PAUSES[1])
            self._rest(source.key, now, pause)

    def _catch_up(self, reader: Reader, source: Source, before: int, after: int) -> int:
        """It was started again: what was not seen of the container before. Gives the number of starts that is known now."""
        if after > before + 1:
            self._put(f"{self._labels[source.key]}: it was started {after - before} times meanwhile; only the last two are shown")
        with suppress(KubeError):  # nobody keeps it for long
            self._pump(source.key, reader.read(previous=True))
        return after

    def _pump(self, key: Key, pieces: Iterable[list[bytes]]) -> bool:
        """Hand the lines over; whether there were any."""
        gave = False
        for lines in pieces:
            gave = True
            self._put((key, lines))
        return gave

    def _put(self, piece: Piece) -> None:
        while not self._stop.is_set():
            with suppress(Full):
                self._pieces.put(piece, timeout=_SLICE)
                return

    def _rest(self, key: Key, seen: Source | None, seconds: float) -> None:
        """Wait, but not after the container has changed."""
        until = self._clock.monotonic() + seconds
        while self._clock.monotonic() < until and self._present.get(key) == seen and not self._stop.wait(_SLICE):
            pass
