"""The machine's clock."""

import random
import time
from datetime import UTC, datetime

SPREAD = random.Random()  # noqa: S311  # spreads calls, keeps no secret
"""By which pauses differ from each other. Apart from `random`'s own numbers: nobody's seed makes all commands wait alike, and a
thread that waits changes nobody's sequence.
"""


class SystemClock:
    """Real time, as `protocols.Clock` wants it."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
