"""A clock that a test moves."""

import threading
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Stands still until `sleep` or `advance` moves it; implements `protocols.Clock` and is safe to use from several threads."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._passed = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let this much time pass. Raises ValueError for a negative one."""
        if seconds < 0:
            raise ValueError("time does not go back")
        with self._lock:
            self._passed += seconds
