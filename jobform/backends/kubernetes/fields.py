"""Between the fields that a server names, the paths of an object and the fields that the user wrote.

A server writes `spec.template.spec.containers[0].image`, `.spec.replicatedJobs[name="w"].template` or
`metadata.labels[kueue.x-k8s.io/queue-name]`; in ownership conflicts also `.metadata.labels.example.com/team`, dots and all.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from jobform.backends.kubernetes.composed import Composed, Manifest, Origins
from jobform.backends.kubernetes.managed import LIST_KEYS, Item, Steps, item_of, shown
from jobform.model.values import Json, Path

WORKLOAD = -1
"""Stands for the job-like object where companions have their number."""

_KEYED = re.compile(r'\[((?:\w+=(?:"(?:[^"\\]|\\.)*"|[^",\]]*),?)+)\]')
_PAIR = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^",\]]*))')
_BRACKET = re.compile(r"\[([^\]]*)\]")
_NAME = re.compile(r"[^.\[]+")
_MOST_STEPS = 64


def steps_of(field: str, obj: Json) -> Steps:
    """The path in an object that a server's field name means, as far as it can be read. obj: what was sent."""
    steps: list[str | int | Item] = []
    rest, value = field.strip().removeprefix("."), obj
    while rest and len(steps) < _MOST_STEPS:
        step, rest = _next(rest, value, steps)
        steps.append(step)
        value = _below(value, step)
        rest = rest.removeprefix(".")
    return tuple(steps)


def origin(composed: Composed, index: int, steps: Steps) -> Path | None:
    """The field of the spec that a path comes from; of a whole such as `metadata.labels`, what the fields in it have in common.

    index: the companion's number, or WORKLOAD. None for what is jobform's own.
    """
    path = shown(steps)
    found = composed.spec_path(path) if index == WORKLOAD else composed.companion_path(index, path)
    if found is not None or not path:
        return found
    inside = [source for place, source in _origins(composed, index) if source and place[: len(path)] == path]
    same = list(takewhile(lambda parts: len(set(parts)) == 1, zip(*inside, strict=False)))
    return tuple(parts[0] for parts in same) or None


def concerned(composed: Composed, index: int, fields: Iterable[Path], steps: Steps) -> tuple[Path, ...]:
    """Those of the spec's fields that make, lie in, or hold the part of an object at a path."""
    place = shown(steps)
    return tuple(
        field for field in fields
        if any(path[: len(place)] == place or place[: len(path)] == path for path in made(composed, index, field))
    )


def made(composed: Composed, index: int, field: Path) -> Iterator[Path]:
    """The paths in an object that a field of the spec makes."""
    field = _told_by_keys(field)
    for place, source in _origins(composed, index):
        if not source:
            continue
        if composed.verbatim and field[: len(source)] == source:
            yield _named((*place, *field[len(source):]), manifest(composed, index))
        elif field[: len(source)] == source or source[: len(field)] == field:
            yield place


def manifest(composed: Composed, index: int) -> Manifest:
    """The object of that number."""
    return composed.workload if index == WORKLOAD else composed.companions[index]


def value_at(obj: Json, steps: Iterable[str | int | Item]) -> Json:
    """What stands at a path, None when nothing does."""
    for step in steps:
        obj = _below(obj, step)
    return obj


def readable(path: Path) -> str:
    """A path for people: `containers[name=main].image`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.startswith("[") or not text:
            text += part
        else:
            text += f".{part}"
    return text


def _origins(composed: Composed, index: int) -> Origins:
    return composed.origins if index == WORKLOAD else composed.companion_origins[index]


def _next(rest: str, value: Json, before: list[str | int | Item]) -> tuple[str | int | Item, str]:
    """The first step of a field's text, and what follows it."""
    if found := _KEYED.match(rest):
        pairs = [(pair[1], pair[2] if pair[2] is not None else _scalar(pair[3])) for pair in _PAIR.finditer(found[1])]
        return Item(tuple(name for name, _ in pairs), tuple(given for _, given in pairs)), rest[found.end():]
    if found := _BRACKET.match(rest):
        inside = found[1].strip('"')
        if inside.isdecimal() and not isinstance(value, dict):
            return numbered(int(inside[:9]), value, before), rest[found.end():]
        return inside, rest[found.end():]
    if isinstance(value, dict):  # keys of maps may hold dots
        keys = [key for key in value if rest == key or (rest.startswith(key) and rest[len(key)] in ".[")]
        if keys:
            key = max(keys, key=len)
            return key, rest[len(key):]
    found = _NAME.match(rest)
    return (found[0], rest[found.end():]) if found else (rest, "")


def numbered(index: int, value: Json, before: Sequence[str | int | Item]) -> int | Item:
    """The step to an item of a list by its position: by its keys where the list has such."""
    names = LIST_KEYS.get(str(before[-1])) if before else None
    if names and isinstance(value, list) and index < len(value):
        item = item_of(value[index], names)
        return index if item is None else item
    return index


def _scalar(text: str) -> Json:
    return int(text) if text.isdecimal() and len(text) < 10 else {"true": True, "false": False}.get(text, text)


def _below(value: Json, step: str | int | Item) -> Json:
    if isinstance(step, Item):
        items = value if isinstance(value, list) else []
        return next((item for item in items if item_of(item, step.names) == step), None)
    if isinstance(step, int):
        return value[step] if isinstance(value, list) and step < len(value) else None
    if isinstance(value, list):  # `[name=main]` as others write it
        return next((item for item in value if step in _texts(item)), None)
    return value.get(step) if isinstance(value, dict) else None


def _texts(item: Json) -> Iterator[str]:
    for names in set(LIST_KEYS.values()):
        if isinstance(item, dict) and all(name in item for name in names[:1]):
            found = item_of(item, names)
            if found is not None:
                yield str(found)


def _told_by_keys(field: Path) -> Path:
    """`containers[name=main]` in one part, as some write it, is two."""
    parts: list[str | int] = []
    for part in field:
        head, bracket, tail = part.partition("[") if isinstance(part, str) else (part, "", "")
        if bracket and head and tail.endswith("]") and "=" in tail:
            parts += [head, bracket + tail]
        else:
            parts.append(part)
    return tuple(parts)


def _named(path: Path, obj: Json) -> Path:
    """The path with positions of lists of maps told by their keys."""
    steps: list[str | int | Item] = []
    value = obj
    for part in path:
        step = numbered(part, value, steps) if isinstance(part, int) else part
        steps.append(step)
        value = _below(value, step)
    return shown(tuple(steps))
