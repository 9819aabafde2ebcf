"""Reading a spec that the schema accepted, in which a value that is not known yet may stand anywhere."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobform.model.units import parse_duration
from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import UNKNOWN_TEXT

_EXPANDED = re.compile(r"\$\$+|\$(?=\()")
"""What the kubelet would read as `$(NAME)` or as an escaped `$`."""


@dataclass(slots=True)
class Trace:
    """Collects which field of the spec each part of an object comes from."""

    entries: list[tuple[Path, Path]] = field(default_factory=list)

    def note(self, object_path: Path, *spec_path: str | int) -> None:
        """What stands at and below `object_path` comes from the field at `spec_path`."""
        self.entries.append((object_path, spec_path))


def mapping(value: Json) -> Mapping[str, Json]:
    """A map's entries; none of a value that is missing or not known yet."""
    return value if isinstance(value, dict) and not is_deferred(value) else {}


def items(value: Json) -> list[Json]:
    """A list's items; none of a value that is missing or not known yet."""
    return value if isinstance(value, list) else []


def whole(value: Json) -> int | None:
    """A whole number, None for a value that is missing or not known yet."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: Json) -> str:
    """A text; `UNKNOWN_TEXT` for one that is not known yet."""
    return value if isinstance(value, str) else UNKNOWN_TEXT


def texts(value: Json) -> dict[str, Json]:
    """A map of texts."""
    return {key: text(item) for key, item in mapping(value).items()}


def literal(value: Json) -> str:
    """A text that the kubelet hands to the program as it is: it would replace `$(NAME)` and halve `$$`."""
    return _EXPANDED.sub(lambda dollars: dollars[0] * 2, text(value))


def quantity(value: Json) -> str:
    """An amount as the API writes it; numbers without an exponent or a needless fraction."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text(value)


def seconds(value: Json, *, least: int = 0, most: int) -> int | None:
    """Whole seconds of a duration, rounded up; None for a value that is missing or not known yet."""
    if not isinstance(value, str):
        return None
    try:
        return min(max(math.ceil(parse_duration(value)), least), most)
    except ValueError:
        return None  # a text that stands for one not known yet: the schema accepted every other


def renamed(source: Mapping[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    """The entries of a map that `names` lists and that are known, under their new names."""
    return {new: source[old] for old, new in names.items() if old in source and not is_deferred(source[old])}
