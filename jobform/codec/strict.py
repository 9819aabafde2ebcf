"""JSON text, read without trust: bounded size and depth, no duplicate keys, no NaN, UTF-8 only."""

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from jobform.codec.shape import Malformed
from jobform.model.values import Json

_writer = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def read_json(data: bytes, limit: int, *, unique: bool = True) -> Json:
    """The value that the text stands for. unique False: the writer is known not to repeat keys. Raises Malformed."""
    if len(data) > limit:
        raise Malformed(f"{len(data):,} bytes, more than the limit of {limit:,}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}") from None
    try:
        value: Json = json.loads(
            text, object_pairs_hook=_unique if unique else None, parse_constant=_refuse_constant, parse_float=_finite,
        )
    except Malformed:
        raise
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except ValueError:  # an integer of more digits than Python converts
        raise Malformed("a number is too large") from None
    return value


def write_json(value: Json) -> str:
    """Compact JSON in ASCII: any string survives, a lone surrogate too. Raises Malformed for NaN, infinities, too much depth."""
    try:
        return _writer.encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"cannot be written as JSON: {error}") from None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Reading makes only objects that stay and have no cycles: walking them again and again would cost half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Malformed(f"duplicate key {ascii(key)[:60]}")
            seen.add(key)
    return result


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Malformed("a number is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not a number in JSON")
