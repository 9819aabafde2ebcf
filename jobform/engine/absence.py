"""Whether what a backend does not show has gone. A service that does not tell whose account a key is of shows another key's jobs
alone when that is of another account: then a run that goes on is not seen, and must not be made again.
"""

from collections.abc import Iterable
from shlex import quote

from jobform.engine.places import Places
from jobform.model.errors import BackendError, FailedError, JobformError
from jobform.model.state import State
from jobform.protocols import Actual, Ref

_WITNESSES = 3


def is_proven(state: State, places: Places, name: str, recorded: str) -> bool:
    """Whether what a backend does not show is not there, for what was submitted in the recorded scope.

    An earlier run of that scope is looked for where its key is not today's: who sees it is of the same account. Never raises.
    """
    if places.shows_all(name, recorded):
        return True
    try:
        seen = any(isinstance(answer, Actual) for answer in places.backend(name).read(_witnesses(state, name, recorded)).values())
    except BackendError:
        return False
    if seen:
        places.vouch(name, recorded)
    return seen


def other_key(places: Places, name: str) -> str:
    """Why nothing is proven, for people."""
    return f"{places.scope(name).described} is asked by another key than before, and shows no earlier job of this project"


def not_proven(places: Places, name: str, addresses: Iterable[str]) -> JobformError:
    """The FailedError for live runs that are not shown."""
    first, *more = sorted(addresses)
    shown = f"{first}{f' and {len(more)} more' if more else ''}"
    return FailedError.of(
        "other_scope", f"backend {name!r} does not show {shown}, and asks with another key", address=first,
        detail=f"{other_key(places, name)}; the setting that decides this is {places.scope(name).source}",
        hint=f"use the key of the account in which it was submitted; if it is over there: jobform state rm {quote(first)}, then "
             f"jobform state resolve {quote(first)} --ended",
    )


def _witnesses(state: State, name: str, recorded: str) -> list[Ref]:
    """The latest runs of a recorded scope."""
    ledgers = (*(entry.attempts for entry in state.jobs.values()), *(entry.attempts for entry in state.tombstones.values()))
    known = [
        each for attempts in ledgers for each in attempts
        if (each.backend, each.scope) == (name, recorded) and each.ref is not None and not each.removed
    ]
    return [Ref.of(each.ref) for each in sorted(known, key=lambda each: each.begun_at)[-_WITNESSES:]]
