"""What an apply writes before its first call: the run, the plan's digest, and every accepted change with what it wants."""

from collections.abc import Iterable, Mapping

from jobform.engine.plan import change_key
from jobform.model.change import Action, Change, Reason
from jobform.model.event import ChangeAccepted, Event, Moved, RunStarted, Settled, SpecStored
from jobform.model.state import Accepted, Desired, RunChange, State
from jobform.model.values import Json, digest

RECORD_ONLY = frozenset({Reason.NEXT_ATTEMPT, Reason.POLICY_CHANGED})
"""Reasons of updates that no backend hears of: they are done once they are recorded."""


def acceptance(
    state: State, changes: Iterable[Change], *, run: str, at: str, command: str, who: str, commit: str, digest_: str,
) -> list[Event]:
    """The events, in one list. A crash may leave their first part; the run lists all changes, so a resume accepts the rest."""
    acting = [change for change in changes if change.acting]
    keys = {c.address: digest(change_key(c)) for c in acting}
    listed = tuple(
        RunChange(c.address, c.action.value, keys[c.address], c.attempt, "done" if c.action is Action.MOVE else None)
        for c in acting
    )
    events: list[Event] = [] if run in state.runs else [RunStarted(run, at, command, who, commit, digest_, listed)]
    stored: set[str] = set(state.specs)
    for change in acting:
        if change.source in state.jobs:  # else a crash came right after this move, and the rest is accepted now
            events.append(Moved(change.source, change.address, at))
        before = state.jobs.get(change.source) if change.action is Action.MOVE else None
        if before and (before.accepted is None or before.desired == change.desired):
            continue  # a name alone: what was accepted before goes on under it
        if change.desired and change.spec is not None and change.desired.spec not in stored:
            stored.add(change.desired.spec)
            events.append(SpecStored(change.desired.spec, change.spec))
        accepted = before.accepted if before and before.accepted else Accepted(
            change.action.value, change.reason.value, run, at, keys[change.address], change.attempt, change.stop,
            fixed=change.fixed,
        )
        events.append(ChangeAccepted(change.address, accepted, change.desired))
        if change.action is Action.UPDATE and change.reason in RECORD_ONLY:
            events.append(Settled(change.address, at, "done"))
    return events


def wanted_specs(
    changes: Iterable[Change], state: State, addresses: Iterable[str]
) -> Mapping[str, tuple[Desired, dict[str, Json]]]:
    """Every spec that may be sent by what is accepted now or was accepted before, by address: to ask for its secrets first."""
    found: dict[str, tuple[Desired, dict[str, Json]]] = {}
    for address in addresses:
        record = state.jobs.get(address)
        accepted = record.accepted if record else None
        if (
            record
            and record.desired
            and accepted
            and accepted.settled is None
            and accepted.action not in ("delete", "forget", "move")
        ):
            found[address] = (record.desired, dict(state.spec(record.desired.spec)))
    for change in changes:
        if change.desired and change.spec is not None and change.reason not in RECORD_ONLY:
            found[change.address] = (change.desired, dict(change.spec))
    return found
