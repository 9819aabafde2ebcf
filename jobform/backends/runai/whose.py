"""Whose a job of the job API is: its lists show a name, an age, an image and a kind, and nothing else of ours.

A name that was made for an attempt is like no other's. One that a user chose is every attempt's, and anybody's: the job of the
attempt before is removed first, but a list may still show it, and somebody else may take the name in between.
"""

import re
from datetime import datetime, timedelta
from enum import Enum

from jobform.backends.remote import EARLY
from jobform.backends.runai.jobs_wire import View
from jobform.protocols import Mark

_CLOCKS = timedelta(seconds=60)
"""How far the service's clock may be from this one, where a creation time is all that tells whose a job is."""

_STAMP = timedelta(seconds=2)
"""How much earlier than it was made a job may seem to be where the clocks agree: clusters keep whole seconds."""

_CALL = timedelta(seconds=60)
"""The longest that a create takes from its begin until nothing is sent any more."""


class Whose(Enum):
    """What can be said of a job that has an attempt's name."""

    OURS = "ours"
    DOUBTFUL = "doubtful"
    OTHER = "other"


def is_chosen(mark: Mark) -> bool:
    """Whether a user chose the name, so that it says nothing of the attempt."""
    return "job_name" in mark.spec or re.search(rf"-[0-9a-f]{{8}}-{mark.attempt}\Z", mark.name) is None


def whose(found: View, mark: Mark) -> Whose:
    """Whether a job that has an attempt's name is that attempt."""
    image, interactive = mark.spec.get("image"), mark.spec.get("interactive", False)
    if isinstance(image, str) and found.image and found.image != image:
        return Whose.OTHER
    if mark.spec and found.interactive is not None and isinstance(interactive, bool) and found.interactive is not interactive:
        return Whose.OTHER
    begun = datetime.fromisoformat(mark.begun_at)
    if not is_chosen(mark):
        return Whose.OURS if found.created >= begun - EARLY else Whose.OTHER
    if not begun - _CLOCKS <= found.created <= begun + _CALL + _CLOCKS:
        return Whose.OTHER
    return Whose.DOUBTFUL if found.going or found.created < begun - _STAMP else Whose.OURS
