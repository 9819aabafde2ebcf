"""What a time to live does to absence: the service removes what has ended, and forgets that it ever was."""

from datetime import datetime, timedelta

from jobform.backends.remote import EARLY
from jobform.model.units import parse_duration
from jobform.protocols import Mark, Unknown


def removed_by_ttl(mark: Mark, asked_at: datetime, usual: str = "") -> Unknown | None:
    """Why the absence of what a mark stands for may be the end of its time to live, None when that cannot be.

    It cannot before the time to live has passed since the submission began, with room for clocks that differ. usual: the
    service's own, "" for none. A mark whose spec is not known is taken for one without.
    """
    ttl = mark.spec.get("ttl", usual) if mark.spec else ""
    if ttl == "":
        return None
    try:
        until = datetime.fromisoformat(mark.begun_at) + timedelta(seconds=parse_duration(str(ttl))) - EARLY
    except (ValueError, OverflowError):  # it was an output, and is not known here
        return Unknown(f"nothing is named {mark.name}; it has a ttl, and may have ended and been removed by now")
    if asked_at < until:
        return None
    return Unknown(f"nothing is named {mark.name}; with its ttl of {ttl} it may have ended and been removed by now")
