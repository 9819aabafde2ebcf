"""Addresses: `train` or `train[lr=0.1,seed=2]`; selectors over them; the names and marks that runs carry on a backend."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobform.model.values import Json, digest

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""A job's name (full match)."""

AXIS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
"""A matrix key (full match)."""

_BARE = re.compile(r"[A-Za-z0-9._/-]+")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Json] = {"true": True, "false": False, "null": None}
_PATTERN = re.compile(r"[a-z*][a-z0-9_*-]{0,126}")
_MARK = re.compile(r"jf1-([0-9a-f]{16})-([0-9a-f]{16})-([0-9]{1,9})-([0-9a-f]{16})")
_TAIL = re.compile(r".*-([0-9a-f]{8})-([0-9]{1,9})")
_SLUG, _REMOTE, _LONGEST_NUMBER = 28, 42, 300


def number_text(value: float) -> str:
    """A number in its shortest JSON form: 1.0 is `1`, 1e-07 is `1e-7`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    text = repr(value)
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text


def scalar_text(value: Json) -> str:
    """A scalar as it stands in an address: numbers and true, false, null bare; strings bare where nothing could mistake them."""
    if isinstance(value, str):
        if _BARE.fullmatch(value) and value not in _WORDS and not _NUMBER.fullmatch(value):
            return value
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return json.dumps(value)


def format_address(name: str, axes: Mapping[str, Json]) -> str:
    """`name`, or `name[k=v,...]` with sorted keys when the job has axes. Values must be scalars."""
    if not axes:
        return name
    return f"{name}[{','.join(f'{key}={scalar_text(axes[key])}' for key in sorted(axes))}]"


def parse_address(text: str) -> tuple[str, dict[str, Json]]:
    """Name and axes of an address. Raises ValueError, with a plain sentence, for anything that is not one."""
    name, bracket, rest = text.partition("[")
    if not NAME.fullmatch(name):
        raise ValueError(f"{_shown(text)} is not an address: a job's name is [a-z][a-z0-9_-]*, at most 63 characters")
    return name, _parse_axes(rest, text) if bracket else {}


def address_key(address: str) -> tuple[str, tuple[tuple[str, int, float, str], ...]]:
    """The sort key of an address: by name, then by the axes' values, numbers numerically and before strings."""
    if "[" not in address:
        return address, ()
    name, axes = parse_address(address)
    return name, tuple((key, *_value_key(axes[key])) for key in sorted(axes))


@dataclass(frozen=True, slots=True)
class Selector:
    """`NAME` or `NAME[k=v]`: every instance with those keys; `*` inside NAME stands for any characters, brackets are literal."""

    name: str
    axes: Mapping[str, Json]

    @classmethod
    def parse(cls, text: str) -> "Selector":
        """Raises ValueError with a plain sentence."""
        name, bracket, rest = text.partition("[")
        if not _PATTERN.fullmatch(name):
            raise ValueError(f"{_shown(text)} is not a selector: write NAME or NAME[key=value]; NAME may contain *")
        return cls(name, _parse_axes(rest, text) if bracket else {})

    @property
    def wild(self) -> bool:
        """Whether the name holds a `*`."""
        return "*" in self.name

    def matches(self, name: str, axes: Mapping[str, Json]) -> bool:
        """Whether an instance of job `name` with these axes is selected. Numbers equal by value; `1` and `"1"` differ."""
        if name != self.name and not (self.wild and _glob(self.name, name)):
            return False
        return all(key in axes and scalar_text(axes[key]) == scalar_text(value) for key, value in self.axes.items())

    def matches_address(self, address: str) -> bool:
        """The same for an address as text. Raises ValueError if it is not one."""
        return self.matches(*parse_address(address))

    def __str__(self) -> str:
        return format_address(self.name, self.axes)


def token(lineage: str, address: str, attempt: int) -> str:
    """The idempotency token of one attempt: 64 hex digits."""
    return digest([lineage, address, attempt])


def remote_name(lineage: str, address: str, attempt: int) -> str:
    """A name for one attempt on a backend: at most 42 characters of [a-z0-9-], starting with a letter."""
    tail = f"-{_name_hash(lineage, address)}-{attempt}"
    slug = re.sub(r"[^a-z0-9]+", "-", address.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"j-{slug}" if slug else "j"
    return slug[: min(_SLUG, _REMOTE - len(tail))].rstrip("-") + tail


def mark_text(lineage: str, address: str, attempt: int, body_hash: str) -> str:
    """How a run of ours is recognised: `jf1-<16 hex lineage>-<16 hex address>-<attempt>-<16 hex body>`."""
    return f"jf1-{mark_hash(lineage)}-{mark_hash(address)}-{attempt}-{body_hash[:16]}"


@dataclass(frozen=True, slots=True)
class MarkParts:
    """What a mark says: lineage and address hashed, the attempt's number, and the hash of its body."""

    lineage: str
    address: str
    attempt: int
    body: str

    @property
    def key(self) -> tuple[str, str, int]:
        """The attempt that it names, whatever its body."""
        return self.lineage, self.address, self.attempt


def mark_parts(text: str) -> MarkParts | None:
    """The parts of `mark_text`, None for a text that is no mark of jobform's."""
    found = _MARK.fullmatch(text)
    return MarkParts(found[1], found[2], int(found[3]), found[4]) if found else None


def name_hashes(lineage: str, addresses: Iterable[str]) -> dict[str, str]:
    """Addresses by what names of their runs have of them."""
    return {_name_hash(lineage, address): address for address in addresses}


def parts_of(mark: str, name: str, lineage: str, named: Mapping[str, str]) -> MarkParts | None:
    """What the mark of a run says; where it carries none, what a name says that `remote_name` made. named: from `name_hashes`.

    A mark that is none of jobform's says nothing, whatever the name.
    """
    tail = _TAIL.fullmatch(name)
    if mark or tail is None or tail[1] not in named:
        return mark_parts(mark)
    return MarkParts(mark_hash(lineage), mark_hash(named[tail[1]]), int(tail[2]), "")


def _name_hash(lineage: str, address: str) -> str:
    return digest([lineage, address])[:8]


def mark_hash(text: str) -> str:
    """A lineage or an address as marks have it."""
    return digest(text)[:16]


def _parse_axes(rest: str, text: str) -> dict[str, Json]:
    """The text after `[`, up to and with the final `]`."""
    axes: dict[str, Json] = {}
    position = 0
    while True:
        equals = rest.find("=", position)
        key = rest[position:equals].strip() if equals >= 0 else ""
        if not AXIS.fullmatch(key):
            raise ValueError(f"{_shown(text)}: write the keys in brackets as key=value, separated by commas")
        if key in axes:
            raise ValueError(f"{_shown(text)}: the key {key!r} is given twice")
        axes[key], position = _parse_value(rest, equals + 1, text)
        if rest[position:] == "]":
            return axes
        if rest[position : position + 1] != ",":
            raise ValueError(f"{_shown(text)}: the closing bracket is missing or misplaced")
        position += 1


def _parse_value(rest: str, start: int, text: str) -> tuple[Json, int]:
    while rest[start : start + 1] == " ":
        start += 1
    if rest[start : start + 1] == '"':
        try:
            value, end = json.JSONDecoder().raw_decode(rest, start)
        except ValueError:
            raise ValueError(f"{_shown(text)}: a quoted value is not closed") from None
        return str(value), end
    end = start
    while end < len(rest) and rest[end] not in ',]"':
        end += 1
    word = rest[start:end].strip()
    if not word:
        raise ValueError(f"{_shown(text)}: a key has no value")
    return _scalar(word), end


def _scalar(word: str) -> Json:
    if word in _WORDS:
        return _WORDS[word]
    if len(word) <= _LONGEST_NUMBER and (match := _JSON_NUMBER.fullmatch(word)):
        value = float(word) if match[1] or match[2] else int(word)
        return word if value in (float("inf"), float("-inf")) else value
    return word


def _value_key(value: Json) -> tuple[int, float, str]:
    if isinstance(value, bool) or value is None:
        return 0, 0.0, json.dumps(value)
    if isinstance(value, int | float):
        try:
            return 1, float(value), number_text(value)
        except OverflowError:
            return 1, float("inf") if value > 0 else float("-inf"), number_text(value)
    return 2, 0.0, str(value)


def _glob(pattern: str, name: str) -> bool:
    """Whether `name` matches a pattern with `*`: linear in both, however many stars there are."""
    first, *middle = pattern.split("*")
    last = middle.pop()
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
