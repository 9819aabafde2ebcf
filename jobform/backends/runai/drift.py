"""What differs between an applied spec and what Run:ai reports of it."""

from collections.abc import Iterator, Mapping
from functools import cache

from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import Difference
from jobform.schema import SpecSchema, load_document

_FREE = frozenset({"env", "secrets", "labels", "annotations", "volume"})
"""Maps that are reported whole: a key that is not there was removed. Elsewhere it is one that the service does not report."""


@cache
def _schema() -> SpecSchema:
    return SpecSchema(load_document("runai"))


def differences(spec: Mapping[str, Json], fields: Mapping[str, Json]) -> Iterator[Difference]:
    """Where a reported field is not as it was applied.

    Only what was applied is compared: administrators' policies add to a job what nobody asked for. A value that came from a
    secret or an output is not compared, since it is not known here.
    """
    yield from _below((), _schema().normalise(dict(spec)), _schema().normalise(dict(fields)), dict(fields))


def _below(path: Path, applied: Json, actual: Json, reported: Json) -> Iterator[Difference]:
    """actual: `reported`, normalised as `applied` is."""
    if is_deferred(applied) or applied == actual:
        return
    if isinstance(applied, dict) and isinstance(actual, dict) and isinstance(reported, dict):
        for key, value in applied.items():
            if key in actual:
                yield from _below((*path, key), value, actual[key], reported[key])
            elif path and path[0] in _FREE:
                yield Difference((*path, key), None, present=False)
        return
    list_key = _schema().rule(path).list_key
    if list_key and isinstance(applied, list) and isinstance(actual, list) and isinstance(reported, list):
        mine, theirs, raw = (_by(list_key, items) for items in (applied, actual, reported))
        for name, item in mine.items():
            where = (*path, f"[{list_key}={name}]")
            if name in theirs:
                yield from _below(where, item, theirs[name], raw[name])
            else:
                yield Difference(where, None, present=False)
    elif _is_set(path) and isinstance(applied, list) and isinstance(actual, list):
        if any(item not in actual for item in applied if not _has_deferred(item)):
            yield Difference(path, reported)
    elif not _has_deferred(applied):
        yield Difference(path, reported)


def _is_set(path: Path) -> bool:
    """Whether a list is one to which an administrator's policy may add."""
    node = _schema().root
    for part in path:
        node = node.child(part)
    return node.kind == "set"


def _by(key: str, items: list[Json]) -> dict[str, Json]:
    return {str(item.get(key)): item for item in items if isinstance(item, dict)}


def _has_deferred(value: Json) -> bool:
    if isinstance(value, dict):
        return is_deferred(value) or any(_has_deferred(item) for item in value.values())
    return isinstance(value, list) and any(_has_deferred(item) for item in value)
