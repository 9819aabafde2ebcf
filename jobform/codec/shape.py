"""Tables that turn frozen values into JSON and back: one row per field, built once, checked against the dataclass.

A `Kind` reads and writes one sort of value; a `Shape` is the kind of a whole dataclass. Reading is strict: an unknown key, a
missing key or a value of another type raises `Malformed` with the path to it. Writing leaves out fields that are empty, unless
`full` is asked for. Only a field whose default is empty (None, "", 0, False, no items) may be left out, so that a later
change of a default never changes the meaning of what was written.
"""

import dataclasses
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

from jobform.model.values import Json, Path, dotted

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

MAX_DEPTH = 200
"""How deeply a free-form value (a spec, outputs, a reference) may be nested."""

MAX_INTEGER = 2**53
"""Integers beyond this do not survive other JSON readers."""


class Malformed(ValueError):
    """A document is not what it should be. path: where, outermost key first."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def within(self, key: str | int) -> "Malformed":
        """The same finding, seen from one level further out."""
        return Malformed(self.message, (key, *self.path))

    def __str__(self) -> str:
        place = dotted(self.path)
        shown = place if len(place) <= 200 else place[:200] + "..."
        return f"at {shown}: {self.message}" if place else self.message


class Kind(Generic[T]):
    """How one sort of value is read and written. encode None: the value is JSON already.

    plain: the type whose every value is read as itself, so that a whole table need not call `decode` for each string.
    """

    __slots__ = ("decode", "encode", "plain")

    def __init__(
        self, decode: Callable[[object], T], encode: Callable[[T, bool], Json] | None = None, plain: type | None = None,
    ) -> None:
        self.decode = decode
        self.encode = encode
        self.plain = plain

    def write(self, value: T, full: bool = False) -> Json:
        """The value as JSON."""
        return self.encode(value, full) if self.encode else value  # type: ignore[return-value]  # encode None: T is Json


def _text(value: object) -> str:
    if type(value) is not str:
        raise Malformed(f"expected a string, not {_named(value)}")
    return value


def _integer(value: object) -> int:
    if type(value) is not int or not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise Malformed(f"expected an integer, not {_named(value)}")
    return value


def _natural(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise Malformed(f"expected an integer from 0, not {_named(value)}")
    return value


def _number(value: object) -> float:
    if type(value) is not float and (type(value) is not int or abs(value) > MAX_INTEGER):
        raise Malformed(f"expected a number, not {_named(value)}")
    return float(value)


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise Malformed(f"expected true or false, not {_named(value)}")
    return value


def _free(value: object) -> Json:
    if isinstance(value, dict | list):
        _bounded(value)
    return value  # type: ignore[return-value]  # it came out of a JSON reader


def _object(value: object) -> dict[str, Json]:
    if type(value) is not dict:
        raise Malformed(f"expected an object, not {_named(value)}")
    _bounded(value)
    return value


def _copy(value: Mapping[str, Json], full: bool) -> Json:
    del full
    return dict(value)


text = Kind(_text, plain=str)
integer = Kind(_integer)
natural = Kind(_natural)
number = Kind(_number)
boolean = Kind(_boolean, plain=bool)
free: Kind[Json] = Kind(_free, plain=str)
document: Kind[dict[str, Json]] = Kind(_object, _copy)
values: Kind[Mapping[str, Json]] = Kind(_object, _copy)


def member(enum: type[E]) -> Kind[E]:
    """One of an enumeration's values."""
    members: dict[object, E] = {item.value: item for item in enum}

    def decode(value: object) -> E:
        if type(value) is str and value in members:
            return members[value]
        raise Malformed(f"expected one of {', '.join(enum)}, not {_named(value)}")

    def encode(value: E, full: bool) -> Json:
        del full
        return value.value

    return Kind(decode, encode)


def optional(kind: Kind[T]) -> Kind[T | None]:
    """The kind's value, or null."""
    inner, write = kind.decode, kind.write
    return Kind(
        lambda value: None if value is None else inner(value),
        lambda value, full: None if value is None else write(value, full),
        kind.plain,
    )


def array(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """A list whose items are all of one kind."""
    inner, write = kind.decode, kind.write

    def decode(value: object) -> tuple[T, ...]:
        if type(value) is not list:
            raise Malformed(f"expected a list, not {_named(value)}")
        items: list[T] = []
        try:
            for item in value:
                items.append(inner(item))  # noqa: PERF401 - the count so far is the failing item's position
        except Malformed as problem:
            raise problem.within(len(items)) from None
        return tuple(items)

    return Kind(decode, lambda value, full: [write(item, full) for item in value])


def mapping(kind: Kind[T]) -> Kind[Mapping[str, T]]:
    """An object whose values are all of one kind."""
    inner, write = kind.decode, kind.write

    def decode(value: object) -> Mapping[str, T]:
        if type(value) is not dict:
            raise Malformed(f"expected an object, not {_named(value)}")
        result: dict[str, T] = {}
        for key, item in value.items():
            try:
                result[key] = inner(item)
            except Malformed as problem:
                raise problem.within(key) from None
        return result

    return Kind(decode, lambda value, full: {key: write(item, full) for key, item in value.items()})


class Shape(Kind[T]):
    """The kind of a dataclass: its fields by their JSON keys, which are the field names with a trailing `_` dropped."""

    __slots__ = ("_always", "_cls", "_fields", "_required", "_sparse", "keys")

    def __init__(self, cls: type[T], **kinds: Kind[Any]) -> None:
        super().__init__(self._decode, self._encode)
        fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # only dataclasses get here
        if fields.keys() != kinds.keys():
            raise TypeError(f"the table of {cls.__name__} and its fields differ: {sorted(fields.keys() ^ kinds.keys())}")
        self._cls = cls
        self._fields = {name.rstrip("_"): (name, kind.plain, kind.decode) for name, kind in kinds.items()}
        self._always: list[tuple[str, str, Any]] = []
        self._sparse: list[tuple[str, str, Any, object]] = []
        for name, kind in kinds.items():
            default = _default(fields[name])
            if default is dataclasses.MISSING or default:
                self._always.append((name.rstrip("_"), name, kind.encode))
            else:
                self._sparse.append((name.rstrip("_"), name, kind.encode, default))
        self._required = frozenset(key for key, _, _ in self._always)
        self.keys = tuple(self._fields)

    def _decode(self, value: object) -> T:
        if type(value) is not dict:
            raise Malformed(f"expected an object, not {_named(value)}")
        fields = self._fields
        arguments: dict[str, Any] = {}
        key: str = ""
        try:
            for key, item in value.items():
                name, plain, decode = fields[key]
                arguments[name] = item if type(item) is plain else decode(item)
        except Malformed as problem:
            raise problem.within(key) from None
        except KeyError:
            raise Malformed(f"unknown key {_named(key)}") from None
        if not self._required <= value.keys():
            raise Malformed(f"missing key {min(self._required - value.keys())!r}")
        return self._cls(**arguments)

    def _encode(self, value: T, full: bool) -> dict[str, Json]:
        result: dict[str, Json] = {}
        for key, name, encode in self._always:
            item = getattr(value, name)
            result[key] = encode(item, full) if encode else item
        for key, name, encode, default in self._sparse:
            item = getattr(value, name)
            if full or item != default:
                result[key] = encode(item, full) if encode else item
        return result


def _default(item: "dataclasses.Field[Any]") -> object:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _named(value: object) -> str:
    """A value as an error may show it: its type, with the value where that is short."""
    names = {dict: "an object", list: "a list", type(None): "null"}
    if type(value) in names:
        return names[type(value)]
    shown = ascii(value) if not isinstance(value, int) or abs(value) <= MAX_INTEGER else "a number that is too large"
    return shown if len(shown) <= 60 else shown[:60] + "..."


def _bounded(value: dict[str, Json] | list[Json]) -> None:
    """Refuse what is nested too deeply to be walked by recursion later."""
    level: list[Json] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise Malformed(f"nested too deeply (limit {MAX_DEPTH})")
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(inner, dict | list)
        ]
