"""The pause that a service asks for."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 60.0
"""Seconds of a Retry-After that are obeyed at most."""


def retry_after(value: str | None, now: datetime) -> float:
    """Seconds to wait, from seconds or an HTTP date, at most LONGEST_PAUSE; 0.0 for none or nonsense."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return 0.0
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return min(seconds, LONGEST_PAUSE) if math.isfinite(seconds) and seconds > 0 else 0.0
