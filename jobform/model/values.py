"""JSON values as jobform handles them: canonical text, digests and values that are not known yet."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias, TypeGuard

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value that survives a round trip through JSON unchanged. NaN and infinities are not among them."""

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from a document's root to one value."""


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Equal values give equal text.

    Raises ValueError for NaN or an infinity and TypeError for what is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON text, as 64 lower-case hex digits."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def is_deferred(value: object) -> TypeGuard["dict[str, Json]"]:
    """Whether a value is `{expr, with}`: a scalar whose text names a secret or another job's output.

    Such a value is resolved at submission. Job files cannot write this shape themselves: it is refused as `reserved_shape`.
    """
    return (
        isinstance(value, dict)
        and len(value) == 2
        and isinstance(value.get("expr"), str)
        and isinstance(value.get("with"), dict)
    )


def deferred(value: Json, path: Path = ()) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Every `{expr, with}` inside a value, with its path."""
    if is_deferred(value):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from deferred(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from deferred(item, (*path, index))


def dotted(path: Path) -> str:
    """A path as people read it: `resources.gpu.count`, `command[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7386: `patch` laid over `target`; null removes a key, lists are replaced whole."""
    if not isinstance(patch, Mapping):
        return patch
    merged: dict[str, Json] = dict(target) if isinstance(target, dict) else {}
    for key, item in patch.items():
        if item is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), item)
    return merged
