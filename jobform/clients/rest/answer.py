"""The body of an answer, read without trust: bounded in size, decoded size and depth; JSON that stays JSON."""

import json
import math
import zlib
from collections.abc import Iterable, Iterator

from jobform.model.values import Json

MOST_DEPTH = 64
"""How deep an answer may be nested. No service comes near it; what follows would fail at some hundreds."""


class TooLargeError(ValueError):
    """The body is longer than it may be."""


def decoded(pieces: Iterable[bytes], encoding: str, cap: int) -> Iterator[bytes]:
    """The pieces without their encoding, no more than `cap` bytes in all and never much more in memory.

    Raises TooLargeError for more, ValueError for what is not the encoding, or is one that nobody asked for.
    """
    left = cap
    if encoding in ("", "identity"):
        for piece in pieces:
            left = _take(len(piece), left, cap)
            yield piece
        return
    if encoding not in ("gzip", "x-gzip"):
        raise ValueError(f"it has the encoding {encoding[:40]!r}, which nobody asked for")
    inflate, empty = zlib.decompressobj(wbits=31), True
    for piece in pieces:
        rest = piece
        empty = empty and not rest
        while rest:
            try:
                text = inflate.decompress(rest, left + 1)
            except zlib.error as error:
                raise ValueError(f"it is not gzip: {error}") from error
            left = _take(len(text), left, cap)
            yield text
            rest = inflate.unconsumed_tail
            if inflate.eof and inflate.unused_data:  # another member follows
                rest, inflate = inflate.unused_data, zlib.decompressobj(wbits=31)
    if not inflate.eof and not empty:
        raise ValueError("its gzip is cut off")


def parsed(kind: str, body: bytes) -> Json:
    """The JSON of a body with this content type. Raises ValueError for what is no JSON, or is not declared as JSON."""
    plain = kind.split(";")[0].strip().lower()
    if plain != "application/json" and not plain.endswith("+json"):
        raise ValueError("not JSON")
    try:
        value: Json = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    _bounded(value)
    return value


def _take(size: int, left: int, cap: int) -> int:
    if size > left:
        raise TooLargeError(f"more than {cap} bytes")
    return left - size


def _bounded(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(MOST_DEPTH):
        level = [
            each for part in level if isinstance(part, dict | list)
            for each in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return
    raise ValueError("nested too deeply")


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number
