"""The surroundings of every outside action: time, and the hook through which tests stop the world."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

Effect = Callable[[str, str], None]
"""`effect(name, address)`: called before and after every outside action, so that tests can stop the world there."""


def no_effect(name: str, address: str) -> None:
    """The effect hook of a shipped command: nothing."""
    del name, address


class Clock(Protocol):
    """Time as an argument: tests never wait."""

    def now(self) -> datetime:
        """The wall clock, timezone-aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""

    def sleep(self, seconds: float) -> None:
        """Wait, or return early when interrupted."""


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, microseconds: `2026-01-02T03:04:05.000006Z`. Sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
