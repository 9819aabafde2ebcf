"""Plain scalars by the YAML 1.2 core schema: `no`, `on`, `12:30` and `2024-01-02` are strings."""

import re
from collections.abc import Mapping

from jobform.model.values import Json

FIRST = frozenset("0123456789+-.~nNtTfF")
"""Every scalar that is not a string starts with one of these, or is empty."""

MAX_INTEGER = 2**53 - 1
"""Beyond it, JSON readers disagree about an integer's digits."""

_WORDS: Mapping[str, Json] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST = 400


class BadNumber(ValueError):
    """A number that JSON cannot carry. code: of the diagnostic; the message is one plain sentence."""

    def __init__(self, code: str, summary: str) -> None:
        super().__init__(summary)
        self.code = code


def resolve(text: str) -> Json:
    """The value of a plain scalar. Raises BadNumber for infinities, NaN and numbers that lose digits."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        value = float(text) + 0.0  # -0.0 becomes 0.0
        if value in (float("inf"), float("-inf")):
            raise BadNumber("number_too_large", f"the number {_shown(text)} is too large")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise BadNumber("not_a_number", f"{text} is not allowed: JSON has no such number")
    return text


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    value = int(text[2:] if base != 10 else text, base) if len(text) <= _LONGEST else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise BadNumber("number_too_large", f"the number {_shown(text)} would lose digits in JSON")
    return value


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
