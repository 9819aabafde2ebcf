"""Files that other programs read too: plain scalars and keys as kubectl takes them, nearly as YAML 1.1 says.

Measured with kubectl 1.32: `0644` is 420, `yes`, `on` and `y` are true, `1_000` is 1000, `12:30` and dates are strings, `1.0` is
1, and a key that is no string is taken for one or refused.
"""

import re
from collections.abc import Mapping

from jobform.config.scalars import MAX_INTEGER, BadNumber
from jobform.model.values import Json

FIRST = frozenset("0123456789+-.~yYnNtTfFoO")
"""Every scalar that is not a string starts with one of these, or is empty."""

_TRUE, _FALSE = ("y", "yes", "true", "on"), ("n", "no", "false", "off")
_WORDS: Mapping[str, Json] = {"": None, "~": None} | {
    form: value for words, value in ((_TRUE, True), (_FALSE, False), (("null",), None))
    for word in words for form in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))")
_BASES = {"x": 16, "b": 2, "o": 8, "d": 10}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST = 400
_PAIR = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def resolve(text: str) -> Json:
    """The value of a plain scalar. Raises BadNumber for infinities, NaN and numbers that lose digits."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _NOT_FINITE.fullmatch(text):
        raise BadNumber("not_a_number", f"{text} is not allowed: JSON has no such number")
    plain = text if text.startswith("._") else text.replace("_", "")
    if len(plain) > _LONGEST:
        raise BadNumber("number_too_large", f"the number {plain[:37]}... would lose digits in JSON")
    whole = _INTEGER.fullmatch(plain)
    if whole is not None and whole.lastgroup is not None:
        value = int(whole[1] + whole[whole.lastgroup], _BASES[whole.lastgroup])
        if abs(value) > MAX_INTEGER:
            raise BadNumber("number_too_large", f"the number {plain[:40]} would lose digits in JSON")
        return value
    if _FLOAT.fullmatch(plain):
        number = float(plain) + 0.0  # -0.0 becomes 0.0
        if number in (float("inf"), float("-inf")):
            return text
        return int(number) if number.is_integer() and abs(number) <= MAX_INTEGER else number
    return text


def as_yaml(text: str) -> str:
    """The text of a JSON file as YAML has it: JSON writes characters beyond U+FFFF as two escapes, which YAML does not know."""
    if "\\ud" not in text.lower() or text.lstrip()[:1] not in ("{", "["):
        return text

    def joined(match: re.Match[str]) -> str:
        if match[1] is None:  # an escaped backslash
            return match[0]
        return f"\\U{0x10000 + ((int(match[1], 16) & 0x3FF) << 10) + (int(match[2], 16) & 0x3FF):08x}"

    return _PAIR.sub(joined, text)


def key_fault(text: str) -> str:
    """Why kubectl would not take a plain key as the text that it is; "" when it does."""
    try:
        value = resolve(text)
    except BadNumber:
        return f"{text} is a number to kubectl"
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and str(value) == text):
        return ""
    if value is None:
        return "an empty key is no string"
    return f"{text} is {'true' if value is True else 'false' if value is False else value} to kubectl"
