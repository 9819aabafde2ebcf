"""The pause that a server asks of a whole client."""

import threading

from jobform.clients.kube.errors import KubeError
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

    def wait(self, deadline: float) -> None:
        """Return when the gate is open. Raises KubeError (`Deadline`) at once when that would be after the deadline."""
        while (left := self._until - self._clock.monotonic()) > 0:
            if self._until >= deadline:
                raise KubeError(0, "Deadline", f"the server asked for a pause of {left:.0f} more seconds", retry_after=left)
            self._clock.sleep(left)
