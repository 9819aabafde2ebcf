"""What somebody else changed in an object that jobform applied, told from the object alone: no call, no right to write is needed.

A field has drifted when it was applied, jobform owns it no more (`metadata.managedFields`), and what stands there now is another
value. What the server, a webhook or an autoscaler fills in was never applied, so it is nothing to compare.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.kinds import EVERY, Kind
from jobform.backends.kubernetes.managed import ATOMIC, Entry, Item, Owners, Steps, item_of, items_of, lost, owners, shown
from jobform.backends.kubernetes.names import LABELS, MARK
from jobform.model.errors import BackendError
from jobform.model.units import parse_quantity
from jobform.model.values import Json, Path
from jobform.protocols import UNKNOWN_TEXT, Difference

_IDENTITY = frozenset({"apiVersion", "kind", "status", "metadata"})
_LABELS = ("metadata", "labels")
_MARK: Steps = (*_LABELS, MARK)
_METADATA = ("labels", "annotations", "finalizers")
_QUEUE_DIRECTIVES = frozenset({
    ("metadata", "labels"), ("metadata", "annotations"), ("spec", "nodeSelector"), ("spec", "tolerations"),
    ("spec", "schedulingGates"),
})
"""What Kueue writes into the pod templates of what it admits, and takes away again when it evicts it."""
_FILLED = {"fieldRef": "apiVersion", "resourceFieldRef": "divisor"}
"""What the server fills in inside a map that it replaces as a whole. Source: the defaults of the API types of core/v1."""
_QUANTITIES = frozenset({"limits", "requests", "sizeLimit", "storage", "overhead", "capacity"})
_LONGEST_NAME = 128
"""Of a field manager, by the API's own rule."""


_UNKNOWN_DATA = b64encode(UNKNOWN_TEXT.encode()).decode()


@dataclass(frozen=True, slots=True)
class Found:
    """A part of the object whose present value is not the applied one. present: whether it exists; want: what was applied."""

    steps: Steps
    value: Json = None
    present: bool = True
    want: Json = None


def differences(composed: Composed, native: bytes | Mapping[str, Json]) -> list[Difference]:
    """Where the present object differs from the composed one because somebody else changed it; [] for an untouched one.

    native: the JSON object that `Actual.native` carries, or what was read from it. Raises BackendError when it is none.
    """
    live = _parsed(native) if isinstance(native, bytes) else dict(native)
    metadata = live.get("metadata")
    owned = owners(metadata.get("managedFields") if isinstance(metadata, dict) else None)
    told: dict[Path, Difference] = {}
    marked = _look(live, _MARK) == _look(composed.workload, _MARK)
    for found, by in found_in(applied(composed.workload), live, owned):
        if not marked and found.steps[:2] == _LABELS and found.steps[-1] in LABELS:
            continue  # without its mark what the other labels of ours should be is not known
        if not _is_automatic(composed, found.steps, by):
            path = _spec_path(composed, found.steps)
            told.setdefault(path, Difference(path, found.value, found.present, printable(by[0].manager) if by else ""))
    return list(told.values())


def found_in(want: dict[str, Json], live: Json, owned: Owners) -> Iterator[tuple[Found, tuple[Entry, ...]]]:
    """Where an object differs from what was applied because somebody else changed it, and who owns that now, the last one first.

    Where jobform owns nothing at all, as in a run that is taken over, what is not known yet has nothing to be compared with.
    """
    for steps, part in lost(want, owned.ours):
        for found in _compare(part, *_look(live, steps), steps, owned):
            if owned.ours or not _is_open(found.want):
                yield found, owned.of(found.steps)


def same(want: Json, have: Json, *, quantity: bool = False) -> bool:
    """Whether two values mean the same to the server. quantity: `1024Mi` is `1Gi` there; a text elsewhere is only itself."""
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    if quantity and isinstance(want, str | int | float) and isinstance(have, str | int | float):
        try:
            return parse_quantity(want) == parse_quantity(have)
        except ValueError:
            return want == have
    if isinstance(want, dict) and isinstance(have, dict):
        return want.keys() == have.keys() and all(same(value, have[key], quantity=quantity) for key, value in want.items())
    if isinstance(want, list) and isinstance(have, list):
        return len(want) == len(have) and all(same(one, other, quantity=quantity) for one, other in zip(want, have, strict=True))
    return want == have


def is_quantity(steps: Steps) -> bool:
    """Whether the field at a path holds quantities, or is a map of them."""
    return any(step in _QUANTITIES for step in steps[-2:])


def is_queues(kind: Kind, steps: Steps) -> bool:
    """Whether a queue may write the field of an object of this kind: its stop flag, and the scheduling of its pods."""
    if kind.suspend_path is not None and steps == kind.suspend_path:
        return True
    for pattern in kind.template_paths:
        depth = len(pattern)
        inside = all(part in (EVERY, step) for part, step in zip(pattern, steps, strict=False))
        if inside and steps[depth:depth + 2] in _QUEUE_DIRECTIVES:
            return True
    return False


def _parsed(native: bytes) -> dict[str, Json]:
    try:
        live = json.loads(native)
    except (ValueError, RecursionError) as error:
        raise BackendError("the cluster's answer about a job cannot be read", str(error)[:200]) from error
    if not isinstance(live, dict):
        raise BackendError("the cluster's answer about a job cannot be read", "it is no JSON object")
    return live


def applied(workload: Manifest) -> dict[str, Json]:
    """The fields of an object that can be owned and differ."""
    fields = {name: value for name, value in workload.items() if name not in _IDENTITY}
    metadata = workload.get("metadata")
    if isinstance(metadata, dict):
        fields["metadata"] = {name: metadata[name] for name in _METADATA if metadata.get(name)}
    return fields


def _look(live: Json, steps: Steps) -> tuple[Json, bool]:
    """What stands at a path, and whether it does."""
    for step in steps:
        if isinstance(step, Item):
            items = live if isinstance(live, list) else []
            found = [item for item in items if item_of(item, step.names) == step]
            if not found:
                return None, False
            live = found[0]
        elif isinstance(step, int):
            if not isinstance(live, list) or step >= len(live):
                return None, False
            live = live[step]
        elif isinstance(live, dict) and step in live:
            live = live[step]
        else:
            return None, False
    return live, True


def _compare(want: Json, have: Json, present: bool, steps: Steps, owned: Owners) -> Iterator[Found]:
    """Where `have` lacks or contradicts `want`, as deep as the server tells fields apart. What it has beyond is no matter."""
    if want is None:
        return  # null asks for nothing to be there: the server's default is not known here
    name = next((step for step in reversed(steps) if isinstance(step, str)), "")
    if name in _FILLED and isinstance(want, dict) and isinstance(have, dict) and _FILLED[name] not in want:
        have = {key: value for key, value in have.items() if key != _FILLED[name]}
    if isinstance(want, dict) and want and not (isinstance(steps[-1], Item) and not present):
        whole = name in ATOMIC or any(not tree for tree in owned.inside(steps))
        if not whole and (isinstance(have, dict) or not present):
            for key, value in want.items():
                inside = isinstance(have, dict) and key in have
                yield from _compare(value, have[key] if isinstance(have, dict) and inside else None, inside, (*steps, key), owned)
            return
    elif isinstance(want, list) and want and isinstance(have, list):
        names = items_of(name, owned.inside(steps))
        items = [item_of(value, names) for value in want] if names else []
        if items and None not in items:
            for value, item in zip(want, items, strict=True):
                at = (*steps, item) if item is not None else steps
                yield from _compare(value, *_look(have, at[len(steps):]), at, owned)
            return
    if not present:
        if want not in ({}, []):  # the server leaves out what is empty
            yield Found(steps, None, present=False, want=want)
    elif not same(want, have, quantity=is_quantity(steps)):
        yield Found(steps, have, want=want)


def _is_automatic(composed: Composed, steps: Steps, by: tuple[Entry, ...]) -> bool:
    """Whether it is the cluster's own machinery that writes the field: a queue that admits, or an autoscaler."""
    if composed.queued and (is_queues(composed.kind, steps) or (bool(by) and by[0].manager.split("-")[0] == "kueue")):
        return True
    return bool(by) and by[0].subresource == "scale" and not by[0].manager.startswith("kubectl")


def _spec_path(composed: Composed, steps: Steps) -> Path:
    """The field of the spec. What jobform itself adds has none: a label of ours is told as a label of the job."""
    path = shown(steps)
    found = composed.spec_path(path)
    if found is None and steps[:2] == _LABELS and path[-1] in LABELS:
        parent = composed.spec_path(path[:-1]) or ("labels",)
        return (*parent, path[-1])
    return found or path


def _is_open(value: Json) -> bool:
    """Whether a value holds a placeholder, plain or as a Secret stores it."""
    if isinstance(value, dict | list):
        return any(map(_is_open, value.values() if isinstance(value, dict) else value))
    return value in (UNKNOWN_TEXT, _UNKNOWN_DATA)


def printable(manager: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in manager[:_LONGEST_NAME])
