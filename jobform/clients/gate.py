"""Who may send when: the pause that a service asks of a whole client, and the rate that it documents."""

import threading

from jobform.protocols import Clock


class Gate:
    """Shut until a moment; everybody waits before it. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        """Keep everybody back for so long from now; a shorter pause does not end a longer one."""
        with self._lock:
            self._until = max(self._until, self._clock.monotonic() + seconds)

    def wait(self, deadline: float) -> float:
        """0.0 once the gate is open; at once the seconds that it stays shut when that is until after the deadline."""
        while (left := self._until - self._clock.monotonic()) > 0:
            if self._until >= deadline:
                return left
            self._clock.sleep(left)
        return 0.0


class Pace:
    """A documented rate: `burst` calls at once, then `rate` a second. Safe to use from several threads."""

    def __init__(self, clock: Clock, rate: float, burst: int = 1) -> None:
        self._clock = clock
        self._interval = 1.0 / rate
        self._burst = burst
        self._next = float("-inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Take the next turn, and return when it has come."""
        with self._lock:
            now = self._clock.monotonic()
            turn = max(self._next, now - (self._burst - 1) * self._interval)
            self._next = turn + self._interval
        if turn > now:
            self._clock.sleep(turn - now)
