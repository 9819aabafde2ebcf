"""What jsonschema finds wrong with a value, as plain data; `schema_messages` puts it into words."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator, ValidationError, validators
from referencing import Registry

from jobform.model.values import Json, Path, canonical
from jobform.schema_rules import Schema, compile_pattern

Unknown: TypeAlias = Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One keyword that a value does not obey.

    path: from the document's root. depth: how far it lies below the choice of forms that it belongs to. value: what was
    found there. limit: the keyword's value. schema: the schema that holds the keyword. note: the missing key of `required`.
    branches: for `anyOf` and `oneOf`, what speaks against each form. name: the value is a key of the map at `path`.
    """

    path: Path
    depth: int
    keyword: str
    value: Any
    limit: Any
    schema: Schema
    note: str
    branches: tuple[tuple["Mistake", ...], ...]
    name: bool


def mistakes(value: Json, schema: Schema, unknown: Unknown) -> Iterator[Mistake]:
    """Every mistake in a value, in the order of the schema's keywords; one that is `unknown` is never wrong."""
    for error in _validator(unknown)(schema, registry=Registry()).iter_errors(value):
        yield _mistake(error)


def first_duplicate(items: list[Json]) -> tuple[int, int] | None:
    """The positions of an item's first appearance and of its first repetition, in linear time."""
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        first = seen.setdefault(canonical(item), index)
        if first != index:
            return first, index
    return None


@cache
def _validator(unknown: Unknown) -> type[Draft202012Validator]:
    """jsonschema's validator, except that it passes unknown values, reads patterns as JSON Schema means them and stays fast."""

    def required(_: object, names: list[str], instance: object, __: object) -> Iterator[ValidationError]:
        if isinstance(instance, dict):
            yield from (ValidationError(name) for name in names if name not in instance)

    def pattern(_: object, text: str, instance: object, __: object) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not compile_pattern(text).search(instance):
            yield ValidationError("")

    def unique(_: object, wanted: bool, instance: object, __: object) -> Iterator[ValidationError]:
        if wanted and isinstance(instance, list) and first_duplicate(instance) is not None:
            yield ValidationError("")

    def passing(keyword: Callable[..., Any]) -> Callable[..., Any]:
        def judge(validator: object, limit: object, instance: object, schema: object) -> Iterator[ValidationError]:
            if not unknown(instance):
                yield from keyword(validator, limit, instance, schema) or ()
        return judge

    own: Mapping[str, Callable[..., Any]] = {"required": required, "pattern": pattern, "uniqueItems": unique}
    known: Mapping[str, Callable[..., Any]] = Draft202012Validator.VALIDATORS
    judges = {name: passing(own.get(name, keyword)) for name, keyword in known.items()}
    made: type[Draft202012Validator] = validators.extend(Draft202012Validator, judges)  # type: ignore[no-untyped-call]  # no stub
    return made


def _mistake(error: ValidationError) -> Mistake:
    groups: dict[int, list[Mistake]] = {}
    for below in error.context or ():
        groups.setdefault(int(below.relative_schema_path[0]), []).append(_mistake(below))
    places = list(error.absolute_schema_path)
    named = "propertyNames" in places and (at := places.index("propertyNames")) >= 0 and places[at - 1:at] != ["properties"]
    return Mistake(
        path=tuple(error.absolute_path),
        depth=len(error.relative_path),
        keyword=str(error.validator or "false"),
        value=error.instance,
        limit=error.validator_value,
        schema=error.schema if isinstance(error.schema, dict) else {},
        note=error.message,
        branches=tuple(tuple(group) for group in groups.values()),
        name=named,
    )
