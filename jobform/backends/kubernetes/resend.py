"""A manifest as it is applied again to an object: what may not change, and what others decide, is sent as it is now.

Server-side apply sends everything that jobform wants to own. But a webhook may have changed a part of it when the object was
made, and a queue changes what it admits: sent as it was written, such a part would be a change that nobody asked for, and that
the server refuses for a pod template.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.fields import WORKLOAD, made, value_at
from jobform.backends.kubernetes.identity import COMPANIONS
from jobform.backends.kubernetes.managed import ATOMIC, LIST_KEYS, Owners, Steps, item_of, owners, owns, shown
from jobform.backends.kubernetes.shapes import at, mapping, text
from jobform.backends.kubernetes.site import uid_of
from jobform.model.values import Json, Path

_FIXED = frozenset({"Job", "JobSet"})
"""Kinds whose pod templates cannot change, but for some of it while they are suspended. Sources: the batch/v1 validation of
kubernetes, and the webhook of JobSet."""

_BOUND = ("nodeSelector", "tolerations")
"""Of a pod template: owned as a whole, so Kueue's values replace a manifest's while the job is admitted."""


def resent(composed: Composed, live: Manifest, changes: Collection[Path]) -> Manifest:
    """The manifest for this very object, as it is applied to change these fields of the spec, or to take back what is not ours.

    `suspend` of a queued job is never sent.
    """
    metadata = mapping(composed.workload, "metadata")
    kept = text(mapping(live, "metadata", "annotations"), COMPANIONS)
    if kept:
        metadata = {**metadata, "annotations": {**mapping(metadata, "annotations"), COMPANIONS: kept}}
    body: Manifest = {**composed.workload, "metadata": {**metadata, "uid": uid_of(live)}}
    fixed = composed.kind.key in _FIXED
    if not composed.queued and not fixed:
        return body
    body = json.loads(json.dumps(body))  # a copy all the way down, since parts of it are replaced
    suspend = composed.kind.suspend_path
    held = suspend is not None and value_at(live, suspend) is True
    if suspend is not None and composed.queued:
        mapping(body, *map(str, suspend[:-1])).pop(str(suspend[-1]), None)
    wanted = frozenset(path for field in changes for path in made(composed, WORKLOAD, field))
    standing = _Standing(wanted, owners(at(live, "metadata", "managedFields")) if held else None)
    for where in composed.kind.templates(body):
        steps = _steps(body, where)
        ours, theirs = value_at(body, steps), value_at(live, steps)
        if not isinstance(ours, dict) or not isinstance(theirs, dict):
            continue
        if fixed:
            holder = value_at(body, steps[:-1])
            assert isinstance(holder, dict), "a template is a field of something"
            holder[str(where[-1])] = standing.of(ours, theirs, steps)
        elif not held:
            _take_bound(ours, theirs)
    return body


@dataclass(frozen=True, slots=True)
class _Standing:
    """wanted: the paths in the object that are to change. owned: who owns what while changes are possible, else None; what
    somebody else took then is taken back."""

    wanted: frozenset[Path]
    owned: Owners | None

    def of(self, ours: Json, theirs: Json, steps: Steps) -> Json:
        """`ours` with the present values wherever nothing is to change."""
        path = shown(steps)
        if any(path[: len(each)] == each for each in self.wanted):
            return ours
        if isinstance(ours, dict) and isinstance(theirs, dict) and ours and path[-1] not in ATOMIC:
            return {
                key: self.of(value, theirs[key], (*steps, key)) if key in theirs else value
                for key, value in ours.items() if key in theirs or self.owned is not None or self._changes((*path, key))
            }
        if isinstance(ours, list) and isinstance(theirs, list) and (names := LIST_KEYS.get(str(path[-1]))):
            items = {item_of(each, names): each for each in theirs}
            pairs = [(item_of(each, names), each) for each in ours]
            if None not in items and all(item is not None for item, _ in pairs):
                return [
                    self.of(each, items[item], (*steps, item)) if item in items else each
                    for item, each in pairs
                    if item is not None and (item in items or self.owned is not None or self._changes((*path, str(item))))
                ]
        if self._changes(path) or (self.owned is not None and not owns(self.owned.ours, steps)):
            return ours
        return theirs

    def _changes(self, path: Path) -> bool:
        """Whether something at or in a place is to change."""
        return any(each[: len(path)] == path or path[: len(each)] == each for each in self.wanted)


def _take_bound(ours: dict[str, Json], theirs: dict[str, Json]) -> None:
    """What a queue merged into a pod template, for the fields that the manifest has."""
    for field in _BOUND:
        if field in mapping(ours, "spec") and field in mapping(theirs, "spec"):
            mapping(ours, "spec")[field] = mapping(theirs, "spec")[field]
    for field in ("labels", "annotations"):
        mine, live = mapping(ours, "metadata", field), mapping(theirs, "metadata", field)
        mine.update({key: live[key] for key in mine if key in live})


def _steps(body: Manifest, where: Path) -> Steps:
    """The same path with items of lists told by their name, since a server may order them anew."""
    steps: Steps = ()
    for part in where:
        names = LIST_KEYS.get(str(steps[-1])) or ("name",) if steps else ()
        item = item_of(value_at(body, (*steps, part)), names) if isinstance(part, int) else None
        steps = (*steps, item if item is not None and None not in item.values else part)
    return steps

