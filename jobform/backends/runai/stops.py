"""Runs that this process stopped where a stop is a removal: what is gone then was cancelled, and by whom is known."""

import threading
from dataclasses import replace

from jobform.model.state import Phase
from jobform.protocols import Actual, Clock, Gone, timestamp


class Stops:
    """By any text that tells a run from all others. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: dict[str, Actual] = {}
        self._lock = threading.Lock()

    def ask(self, run: str, started_at: str | None) -> None:
        """The stop is about to be asked for."""
        with self._lock:
            self._asked[run] = Actual(Phase.CANCELLED, "removed by its stop", started_at=started_at)

    def withdraw(self, run: str) -> None:
        """It surely had no effect."""
        with self._lock:
            self._asked.pop(run, None)

    def ended(self, run: str) -> Actual | Gone:
        """What is to be said of a run that does not exist any more."""
        with self._lock:
            known = self._asked.get(run)
            if known is None:
                return Gone()
            if known.ended_at is None:
                known = self._asked[run] = replace(known, ended_at=timestamp(self._clock.now()))
            return known
