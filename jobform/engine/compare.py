"""What differs between two specs or two policies, field by field. It compares; it neither decides nor prints."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

from jobform.codec.tables import POLICY
from jobform.model.change import FieldChange
from jobform.model.inputs import short
from jobform.model.job import Locate, Policy, nowhere
from jobform.model.state import Attempt, Phase
from jobform.model.values import Json, Path, deferred, dotted, is_deferred
from jobform.protocols import Difference
from jobform.schema import SpecSchema
from jobform.schema_rules import Rule


def spec_changes(
    schema: SpecSchema, before: Mapping[str, Json], after: Mapping[str, Json], locate: Locate = nowhere,
) -> tuple[FieldChange, ...]:
    """The fields in which `after` (YAML) differs from `before` (applied), after normalisation, in path order.

    A list without a list key is one field; two ways to write one value (`10m`, `600s`) are no difference.
    """
    if before == after:
        return ()
    old, new = schema.normalise(dict(before)), schema.normalise(dict(after))
    if old == new:
        return ()
    return tuple(
        _field(schema.rule(path), path, before, after, source="desired", range_=locate(("spec", *path)))
        for path in _differing(schema, old, new)
    )


def input_changes(
    schema: SpecSchema, spec: Mapping[str, Json], before: Mapping[str, str], after: Mapping[str, str], locate: Locate = nowhere,
) -> tuple[FieldChange, ...]:
    """The files whose content differs, by path. spec: the one that names them now.

    A path on one side alone is a difference of the spec that names it. What was never read before counts as equal, so that a
    field which becomes an input in a later version makes no finished job run again.
    """
    changed = [path for path in sorted(before.keys() & after.keys()) if before[path] != after[path]]
    if not changed:
        return ()
    places = {value: place for place, value, _ in schema.inputs(spec) if isinstance(value, str)}
    return tuple(
        FieldChange(
            f"inputs[{path}]", short(before[path]), short(after[path]), class_="result", mutable="never",
            reason="its content is what the job works on", range=locate(("spec", *places.get(path, ()))),
        )
        for path in changed
    )


def drift_changes(
    schema: SpecSchema, applied: Mapping[str, Json], actual: Mapping[str, Json], ignored: Iterable[str],
) -> tuple[FieldChange, ...]:
    """Reported fields that differ from what was applied: neither filled in by the service nor unknown to us; ignored ones marked.

    A field that was never applied counts only when it is reported inside a mapping that was (a foreign key in `labels`). What a
    secret or an output gave is not compared: its value is not kept, and what a service reports of it is never shown.
    """
    if not actual:
        return ()
    patterns = tuple(ignored)
    known = {key: value for key, value in applied.items() if key in actual}
    old, new = schema.normalise(known), schema.normalise({key: actual[key] for key in known})
    if old == new:
        return ()
    found = []
    for path in _differing(schema, old, new):
        rule = schema.rule(path)
        absent = _get(known, path) is _MISSING
        if rule.write_only or (rule.backend_default and absent) or _is_unresolved(known, path):
            continue
        ignored_here = any(_matches(pattern, path) for pattern in patterns)
        found.append(replace(_field(rule, path, known, actual, source="actual", range_=None), ignored=ignored_here))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Compared:
    """A declared spec (before) against a run that was made elsewhere (after).

    asserted: dotted fields that nobody could compare. spec: the declared one with the run's own values where they differ; a value
    that may not be kept is left out, so that the field goes on differing.
    """

    fields: tuple[FieldChange, ...]
    asserted: tuple[str, ...]
    spec: dict[str, Json]


def compare_run(
    schema: SpecSchema, declared: Mapping[str, Json], seen: Mapping[str, Json], is_secret: Callable[[Json], bool],
    locate: Locate = nowhere,
) -> Compared:
    """Every field that a service reports, as its run was not made by us: also those that were never declared, unless they are
    empty, filled in by the service, or the name of a run that nobody named.

    is_secret: whether a value that it reports may be neither shown nor kept.
    """
    wanted, found = schema.normalise(dict(declared)), schema.normalise(dict(seen))
    assert isinstance(wanted, dict) and isinstance(found, dict), "normalising keeps the shape"
    known = {key: value for key, value in found.items() if key in wanted or value not in (None, "", [], {})}
    old = dict(_leaves(schema, {key: value for key, value in wanted.items() if key in known}, ()))
    new = dict(_leaves(schema, known, ()))
    asserted: set[Path] = {(key,) for key in wanted if key not in known}
    fields, spec = [], deepcopy(dict(declared))
    for path in sorted(old.keys() | new.keys(), key=lambda path: tuple(map(str, path))):
        rule, unresolved = schema.rule(path), path in old and next(deferred(old[path]), None) is not None
        if path in old and (rule.write_only or (unresolved and (path not in new or _alike(old[path], new[path])))):
            asserted.add(path)
        elif not _is_difference(rule, path, old, new) or (path not in old and _is_name(schema, path)):
            continue
        else:
            field = _field(rule, path, declared, seen, source="actual", range_=locate(("spec", *path)))
            hidden = field.sensitive or unresolved or is_secret(field.after)
            fields.append(replace(field, sensitive=hidden))
            _put(spec, path, _MISSING if hidden else _get(seen, path))
    return Compared(tuple(fields), tuple(sorted(dotted_field(path) for path in asserted)), spec)


def compare_told(
    schema: SpecSchema, declared: Mapping[str, Json], told: Iterable[Difference], reported: Mapping[str, Json],
    is_secret: Callable[[Json], bool],
) -> Compared:
    """The same of a backend that compares itself. reported: what it reports in the vocabulary of the spec; nothing for one that
    compares every field in its service's own words, whose values have no place in a spec.
    """
    differing, spec = tuple(told), deepcopy(dict(declared))
    drifted = drift_seen(schema, declared, differing, ())
    seen = [replace(each, sensitive=each.sensitive or is_secret(each.after)) for each in drifted]
    asserted = {path for path, _ in deferred(dict(declared))}
    if reported:
        have = schema.normalise(dict(reported))
        for path, _ in _leaves(schema, schema.normalise(dict(declared)), ()):
            if _get(have, path) is _MISSING and all(path[: len(each.path)] != each.path for each in differing):
                asserted.add(path if path[0] in reported else path[:1])
        for field, each in zip(seen, differing, strict=True):
            _put(spec, each.path, each.value if each.present and not field.sensitive else _MISSING)
    above = {path for path in asserted if not any(path[:depth] in asserted for depth in range(1, len(path)))}
    return Compared(tuple(seen), tuple(sorted(dotted_field(path) for path in above)), spec)


def _is_difference(rule: Rule, path: Path, old: Mapping[Path, Json], new: Mapping[Path, Json]) -> bool:
    if path in old and path in new:
        return old[path] != new[path]
    here, there = (old, new) if path in old else (new, old)
    if here[path] in ({}, []) and any(other[: len(path)] == path for other in there):
        return False  # what it holds on the other side is told field by field
    inside = any(is_deferred(old.get(path[:depth])) for depth in range(1, len(path)))
    return path in old or not (rule.write_only or rule.backend_default or inside)


def _is_name(schema: SpecSchema, path: Path) -> bool:
    """Whether a field is the one by which a user names the run."""
    value: Json = "name"
    for part in reversed(path):
        value = {str(part): value}
    return isinstance(value, dict) and schema.given_name(value) is not None


def _alike(want: Json, have: Json) -> bool:
    """Whether nothing contradicts what is wanted; a value that is not known yet contradicts nothing."""
    if is_deferred(want):
        return True
    if isinstance(want, list) and isinstance(have, list):
        return len(want) == len(have) and all(_alike(one, other) for one, other in zip(want, have, strict=True))
    if isinstance(want, dict) and isinstance(have, dict):
        return want.keys() == have.keys() and all(_alike(value, have[key]) for key, value in want.items())
    return want == have


def _put(spec: dict[str, Json], path: Path, value: object) -> None:
    """Set a field of a spec, or take it away. What it lies in is made where it is missing; an item goes with its key."""
    holder: Json = spec
    for depth, part in enumerate(path[:-1]):
        if isinstance(holder, list) and isinstance(part, str):
            place = _index(holder, part)
            key, name = part[1:-1].split("=", 1)
            if value is _MISSING and (place < 0 or path[depth + 1 :] == (key,)):
                holder[:] = [item for index, item in enumerate(holder) if index != place]
                return
            if place < 0:
                holder.append({key: name})
            holder = holder[place]
        elif isinstance(holder, dict) and isinstance(part, str):
            if not isinstance(holder.get(part), dict | list):
                if value is _MISSING:
                    return
                holder[part] = [] if str(path[depth + 1]).startswith("[") else {}
            holder = holder[part]
    last = path[-1]
    if isinstance(holder, dict) and isinstance(last, str):
        if value is _MISSING:
            holder.pop(last, None)
        else:
            holder[last] = deepcopy(value)  # type: ignore[assignment]  # _get returns JSON or the marker


def policy_changes(before: Policy, after: Policy, locate: Locate = nowhere) -> tuple[FieldChange, ...]:
    """The policy keys that differ, by key."""
    if before == after:
        return ()
    old, new = _keys(before), _keys(after)
    return tuple(
        FieldChange(
            key, old.get(key), new.get(key), key in old, key in new, range=locate((key,)),
            reason="a rule of jobform itself; no backend sees it",
        )
        for key in sorted({*old, *new}) if old.get(key) != new.get(key)
    )


def in_place(
    schema: SpecSchema, applied: Mapping[str, Json], wanted: Mapping[str, Json], allowed: Collection[str],
    fixed: Collection[str] = (),
) -> dict[str, Json]:
    """The spec in force after an update: `applied` with `wanted`'s values in the fields whose mutability is allowed.

    fixed: dotted paths of fields that stay as they are all the same.
    """
    result: dict[str, Json] = deepcopy(dict(applied))
    old, new = schema.normalise(dict(applied)), schema.normalise(dict(wanted))
    for path in _differing(schema, old, new):
        if not path or schema.rule(path).mutable not in allowed or below(dotted_field(path), fixed):
            continue  # no path: one of the two is empty, and each field of the other has its own
        _put(result, path, _get(wanted, path))
        above = len(path) - 1
        while above and _get(result, path[:above]) in ({}, []) and _get(wanted, path[:above]) is _MISSING:
            _put(result, path[:above], _MISSING)  # with its last field goes what nobody wants empty either
            above -= 1
    return result


def changeable(attempt: Attempt) -> Collection[str]:
    """The mutabilities that an attempt's phase allows in place: before its start everything but `never`."""
    if attempt.waiting:
        return ("always", "queued", "suspended")
    return ("always", "suspended") if attempt.phase is Phase.PENDING else ("always",)


def _keys(policy: Policy) -> dict[str, Json]:
    written = POLICY.write(policy, full=True)
    assert isinstance(written, dict)
    return written


class _Missing:
    """The marker of a key that is not there; None is a JSON value."""


_MISSING = _Missing()


def _get(value: object, path: Path) -> object:
    for part in path:
        if isinstance(value, list) and isinstance(part, str) and part.startswith("["):
            value = value[_index(value, part)] if _index(value, part) >= 0 else _MISSING
        elif (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)
        ):
            value = value[part]  # type: ignore[index]  # the test above is the proof
        else:
            return _MISSING
    return value


def _is_unresolved(spec: Mapping[str, Json], path: Path) -> bool:
    """Whether a field, what it lies in or something in it stands for a value that is not kept."""
    above = (_get(spec, path[:depth]) for depth in range(1, len(path)))
    value = _get(spec, path)
    return any(is_deferred(each) for each in above) or (
        value is not _MISSING and next(deferred(value), None) is not None  # type: ignore[arg-type]  # _get returns JSON or the marker
    )


def _index(items: list[Json], part: str) -> int:
    """Where the item named by `[key=name]` is, -1 if nowhere."""
    key, name = part[1:-1].split("=", 1)
    named = (index for index, item in enumerate(items) if isinstance(item, dict) and str(item.get(key, index)) == name)
    return next(named, -1)


def _field(rule: Rule, path: Path, before: object, after: object, *, source: str, range_: object) -> FieldChange:
    old, new = _get(before, path), _get(after, path)
    return FieldChange(
        path=dotted_field(path),
        before=None if old is _MISSING else old,  # type: ignore[arg-type]  # JSON by construction
        after=None if new is _MISSING else new,  # type: ignore[arg-type]  # JSON by construction
        has_before=old is not _MISSING,
        has_after=new is not _MISSING,
        source=source,
        class_=rule.class_,
        mutable=rule.mutable,
        sensitive=rule.sensitive,
        reason=rule.reason,
        range=range_,  # type: ignore[arg-type]  # Range or None
    )


def dotted_field(path: Path) -> str:
    """The path of a spec's field as plans write it: `spec.containers[name=main].image`."""
    return "spec." + dotted(path).replace(".[", "[")


def below(field: str, paths: Iterable[str]) -> bool:
    """Whether a dotted field is one of these or lies inside one."""
    return any(field == path or field.startswith((f"{path}.", f"{path}[")) for path in paths)


def differing(schema: SpecSchema, before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Path, ...]:
    """The paths in the spec at which two specs differ in meaning."""
    return tuple(_differing(schema, schema.normalise(dict(before)), schema.normalise(dict(after))))


def drift_seen(
    schema: SpecSchema, applied: Mapping[str, Json], seen: Iterable[Difference], ignored: Iterable[str],
) -> tuple[FieldChange, ...]:
    """Drift that a backend told itself, in its order. What `ignore_drift` covers is marked as ignored."""
    patterns, changes = tuple(ignored), []
    for one in seen:
        rule, before = schema.rule(one.path), _get(applied, one.path)
        changes.append(FieldChange(
            dotted_field(one.path),
            None if before is _MISSING else before,  # type: ignore[arg-type]  # JSON by construction
            one.value, before is not _MISSING, one.present, "actual", rule.class_, "always" if one.settable else rule.mutable,
            rule.sensitive, rule.reason,
            by=one.by, ignored=any(_matches(pattern, one.path) for pattern in patterns),
        ))
    return tuple(changes)


def _differing(schema: SpecSchema, old: Json, new: Json) -> list[Path]:
    """Paths of the differing fields: as deep as mappings and lists with a list key go; any other list is one field."""
    before: dict[Path, Json] = dict(_leaves(schema, old, ()))
    after: dict[Path, Json] = dict(_leaves(schema, new, ()))
    changed = {
        path for path in before.keys() | after.keys() if path not in before or path not in after or before[path] != after[path]
    }
    return sorted(changed, key=lambda path: tuple(map(str, path)))


def _leaves(schema: SpecSchema, value: Json, path: Path) -> Iterator[tuple[Path, Json]]:
    if isinstance(value, dict) and value and not is_deferred(value):
        for key, item in value.items():
            yield from _leaves(schema, item, (*path, key))
    elif isinstance(value, list) and value and (name_key := schema.rule(path).list_key):
        for index, entry in enumerate(value):
            name = entry.get(name_key, index) if isinstance(entry, dict) else index
            yield from _leaves(schema, entry, (*path, f"[{name_key}={name}]"))
    else:
        yield path, value


def _matches(pattern: str, path: Path) -> bool:
    """Whether an `ignore_drift` path covers a field: itself or anything below it; `*` is one level."""
    parts = _PART.findall(pattern)
    names = [str(part) for part in path]
    return len(parts) <= len(names) and all(part in ("*", name) for part, name in zip(parts, names, strict=False))


_PART = re.compile(r"\[[^\[\]]*\]|[^.\[\]]+")
"""One level of an `ignore_drift` path: a key, `*`, or `[key=value]` for an item of a list."""
