"""Who owns which field of an object: `metadata.managedFields`, as server-side apply keeps it.

Each entry names a manager and the fields that it owns, as a tree (FieldsV1) whose keys are `f:<field>`, `k:{"name":"main"}` for
an item of a list of maps, `v:<value>` for an item of a set, `i:<n>` for one by position and `.` for the thing itself. A field
without children is owned as a whole: a scalar, or a list or map that the server never merges.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from jobform.backends.kubernetes.names import FIELD_MANAGER
from jobform.backends.kubernetes.shapes import text
from jobform.model.values import Json, Path, canonical

Fields: TypeAlias = Mapping[str, Json]

LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((
        "containers", "initContainers", "ephemeralContainers", "env", "volumes", "resourceClaims", "claims", "schedulingGates",
        "imagePullSecrets", "replicatedJobs", "groups",
    ), ("name",)),
    "ports": ("containerPort", "protocol"), "volumeMounts": ("mountPath",), "volumeDevices": ("devicePath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"), "hostAliases": ("ip",), "ownerReferences": ("uid",),
}
"""How the items of a list of maps are told apart, by the list's name. Source: `listType=map` and `listMapKey` in the API types of
core/v1, batch/v1 and jobset.x-k8s.io. Only asked where no manager owns anything in a list; else its entries say it."""

ATOMIC = frozenset({"nodeSelector", "matchLabels", "fieldRef", "resourceFieldRef", "secretKeyRef", "configMapKeyRef"})
"""Maps that the server replaces as a whole. Source: `structType=atomic` and `mapType=atomic` in the API types of core/v1."""

_KEY_DEFAULTS: Mapping[str, Json] = {"protocol": "TCP"}
"""What the server writes into a key that an item leaves out."""

_DEEPEST = 64
"""No object of a cluster nests its fields deeper; what does is not followed."""


class Item(NamedTuple):
    """A step of a path to an item of a list of maps, told by the values of its keys."""

    names: tuple[str, ...]
    values: tuple[Json, ...]

    def __str__(self) -> str:
        """`[name=main]`; of several keys `[containerPort=80,protocol=TCP]`."""
        pairs = (f"{name}={value if isinstance(value, str) else json.dumps(value)}"
                 for name, value in zip(self.names, self.values, strict=True))
        return f"[{','.join(pairs)}]"


Step: TypeAlias = "str | int | Item"
Steps: TypeAlias = tuple[Step, ...]


def shown(steps: Steps) -> Path:
    """A path as everything else writes it: items as text."""
    return tuple(str(step) if isinstance(step, Item) else step for step in steps)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one manager owns. operation: `Apply` or `Update`; subresource: `scale`, `status` or ""; time: RFC 3339 or ""."""

    manager: str
    operation: str
    subresource: str
    time: str
    fields: Fields

    @property
    def ours(self) -> bool:
        return self.manager == FIELD_MANAGER and self.operation == "Apply" and not self.subresource


@dataclass(frozen=True, slots=True)
class Owners:
    """ours: the fields that jobform owns, {} when it owns none. others: everybody else, who came last first."""

    ours: Fields
    others: tuple[Entry, ...]

    def of(self, steps: Steps) -> tuple[Entry, ...]:
        """Who else owns the field, or the whole that it is a part of."""
        return tuple(entry for entry in self.others if owns(entry.fields, steps))

    def inside(self, steps: Steps) -> Iterator[Fields]:
        """What others own at a place, as trees: an empty one says that it is owned as a whole."""
        for entry in self.others:
            found = _at(entry.fields, steps)
            if found is not None:
                yield found


def owners(managed_fields: Json) -> Owners:
    """Read `metadata.managedFields`. What has not its shape owns nothing."""
    ours: Fields = {}
    others = []
    for item in managed_fields if isinstance(managed_fields, list) else ():
        entry = _entry(item)
        if entry is None:
            continue
        if entry.ours:  # one for each version of the API that we ever wrote in
            ours = _merged(ours, entry.fields) if ours else entry.fields
        else:
            others.append(entry)
    return Owners(ours, tuple(sorted(others, key=lambda entry: entry.time, reverse=True)))


def owns(fields: Fields, steps: Steps) -> bool:
    """Whether a tree holds the field, something in it, or the whole that it is a part of."""
    return _at(fields, steps) is not None


def lost(want: Json, fields: Fields) -> list[tuple[Steps, Json]]:
    """Each part of an applied value that the tree of its manager does not hold any more, with what was applied."""
    found: list[tuple[Steps, Json]] = []
    if isinstance(want, dict):
        _lost(want, fields, (), found)
    return found


def items_of(name: str, trees: Iterator[Fields]) -> tuple[str, ...] | None:
    """The keys of a list of maps, None for a list that is owned as a whole. trees: what managers own at it, which decides.

    name: the list's, for where nobody owns anything of it.
    """
    for tree in trees:
        for child in tree:
            key = _key(child)
            if key is not None:
                return key.names
        if not tree:
            return None
    return LIST_KEYS.get(name)


def item_of(item: Json, names: tuple[str, ...]) -> Item | None:
    """The step to an item of a list of maps, None for what has no such keys."""
    values = _values(item, names)
    return None if values is None else Item(names, values)


def _values(item: Json, names: tuple[str, ...]) -> tuple[Json, ...] | None:
    if not isinstance(item, dict):
        return None
    values = []
    for name in names:
        value = item.get(name)
        if value is None:
            value = _KEY_DEFAULTS.get(name)
        elif isinstance(value, dict | list):
            return None
        values.append(value)
    return tuple(values)


def _lost(want: dict[str, Json], fields: Fields, steps: Steps, found: list[tuple[Steps, Json]]) -> None:
    """Appends to `found`. It walks every job of every plan, so nothing is built for what is still ours."""
    for name, value in want.items():
        child = fields.get("f:" + name)
        if child is None:
            found.append(((*steps, name), value))
        elif child and isinstance(child, dict):
            if isinstance(value, dict):
                _lost(value, child, (*steps, name), found)
            elif isinstance(value, list):
                _lost_items(value, child, (*steps, name), found)


def _lost_items(want: list[Json], fields: Fields, steps: Steps, found: list[tuple[Steps, Json]]) -> None:
    known = {key.values: (key, child) for name, child in fields.items() if (key := _key(name)) is not None}
    if not known:
        kept = {name[2:] for name in fields if name.startswith("v:")}
        found += [((*steps, index), value) for index, value in enumerate(want) if kept and canonical(value) not in kept]
        if not kept:
            found.append((steps, want))
        return
    names = next(iter(known.values()))[0].names
    for index, value in enumerate(want):
        values = _values(value, names)
        step, child = known.get(values, (None, None)) if values is not None else (None, None)
        if step is None or not isinstance(child, dict):
            found.append(((*steps, index if values is None else Item(names, values)), value))
        elif child and isinstance(value, dict):
            _lost(value, child, (*steps, step), found)


def _at(fields: Fields, steps: Steps) -> Fields | None:
    """The tree below a path; an empty one when the path, or what it is a part of, is owned as a whole."""
    if not fields:
        return None  # a manager of nothing, and not of the whole object
    tree: Json = dict(fields)
    for step in steps:
        if not isinstance(tree, dict):
            return None
        if not tree:
            return tree
        tree = _child(tree, step)
    return tree if isinstance(tree, dict) else None


def _child(tree: dict[str, Json], step: Step) -> Json:
    if isinstance(step, str):
        return tree.get("f:" + step)
    if isinstance(step, int):
        return tree.get(f"i:{step}")
    return next((child for name, child in tree.items() if _key(name) == step), None)


@lru_cache(maxsize=4096)
def _key(name: str) -> Item | None:
    """The step that a `k:{...}` stands for; None for anything else. The same few names recur in every object of a cluster."""
    if not name.startswith("k:"):
        return None
    try:
        keys = json.loads(name[2:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(keys, dict) or not keys or any(isinstance(value, dict | list) for value in keys.values()):
        return None
    return Item(tuple(keys), tuple(keys.values()))


def _entry(item: Json) -> Entry | None:
    if not isinstance(item, dict):
        return None
    fields = item.get("fieldsV1")
    if not isinstance(fields, dict):
        return None
    return Entry(text(item, "manager"), text(item, "operation"), text(item, "subresource"), text(item, "time"), fields)


def _merged(one: Fields, other: Fields, depth: int = 0) -> Fields:
    """What either tree holds. A whole holds its parts."""
    if depth > _DEEPEST or not one or not other:
        return {} if depth else one or other
    both = dict(other)
    for name, child in one.items():
        theirs = both.get(name)
        if isinstance(child, dict) and isinstance(theirs, dict):
            both[name] = dict(_merged(child, theirs, depth + 1))
        else:
            both[name] = child if isinstance(child, dict) else theirs
    return both
