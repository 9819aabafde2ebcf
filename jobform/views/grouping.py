"""The order in which a plan is read, and the instances of a matrix that read alike."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobform.model.change import Action, Change, Plan
from jobform.views.words import SYMBOLS

_ORDER = {action: position for position, action in enumerate(SYMBOLS)}
_DESTRUCTIVE = (Action.DELETE, Action.REPLACE, Action.FORGET)


@dataclass(frozen=True, slots=True)
class Group:
    """Changes that read alike: one, or many instances of one job with the same action, reason and differing fields."""

    changes: tuple[Change, ...]

    @property
    def first(self) -> Change:
        return self.changes[0]

    @property
    def label(self) -> str:
        """An address, or `train (24 instances)`; not escaped."""
        if len(self.changes) == 1:
            return self.first.address
        return f"{self.first.address.partition('[')[0]} ({len(self.changes):,} instances)"


@dataclass(frozen=True, slots=True)
class Sections:
    """A plan in reading order; unchanged jobs are nowhere: they are only counted."""

    destructive: tuple[Group, ...]
    ordinary: tuple[Group, ...]
    accepted: tuple[Group, ...]
    blocked: tuple[Group, ...]
    held: tuple[Group, ...]


def destructive(change: Change) -> bool:
    """Whether a change stops, deletes or forgets something: those come first, and no cap ever hides them."""
    return change.action in _DESTRUCTIVE or (change.action.acting and change.stop is not None)


def sections(plan: Plan) -> Sections:
    """Where each change of a plan belongs."""
    piles: dict[str, list[Change]] = {"destructive": [], "ordinary": [], "accepted": [], "blocked": [], "held": []}
    for change in plan.changes:
        if change.action is not Action.NO_OP:
            piles[_pile(change)].append(change)
    return Sections(**{name: groups(sorted(pile, key=lambda change: _ORDER[change.action])) for name, pile in piles.items()})


def groups(changes: Iterable[Change]) -> tuple[Group, ...]:
    """The changes, instances that read alike together, in the order of their first ones."""
    found: dict[object, list[Change]] = {}
    for change in changes:
        found.setdefault(_likeness(change), []).append(change)
    return tuple(Group(tuple(members)) for members in found.values())


def _pile(change: Change) -> str:
    if change.action is Action.BLOCK:
        return "blocked"
    if change.action is Action.HOLD:
        return "held"
    if change.accepted:
        return "accepted"
    return "destructive" if destructive(change) else "ordinary"


def _likeness(change: Change) -> object:
    name, bracket, _ = change.address.partition("[")
    if not bracket:
        return change.address
    fields = tuple(
        (f.path, f.class_, f.source, f.mutable, f.has_before, f.has_after, f.sensitive, f.by, f.ignored) for f in change.fields
    )
    shape = () if change.fields or not change.spec else tuple(change.spec)
    return name, change.action, change.reason, change.accepted, change.backend, change.phase, change.stop is None, fields, shape
