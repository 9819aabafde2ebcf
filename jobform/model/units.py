"""Durations and quantities as people write them, as plain numbers."""

import re
from decimal import Decimal, InvalidOperation

_SECONDS = {
    "w": Decimal(604800), "d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001"),
}
_DURATION_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|[wdhms])")
_DIGITS = {"w": 4, "d": 5, "h": 6, "m": 8, "s": 10, "ms": 12}
"""How many digits each unit may have before its point: together they stay within the longest duration."""
_MOST_YEARS = 1200

_SUFFIXES = (
    {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
    | {suffix: Decimal(1000 ** power) for power, suffix in enumerate("kMGTPE", start=1)}
    | {f"{suffix}i": Decimal(1024 ** power) for power, suffix in enumerate("KMGTPE", start=1)}
)
_MISTYPED = {
    "b": "", "g": "G", "t": "T", "kb": "k", "mb": "M", "gb": "G", "tb": "T", "ki": "Ki", "mi": "Mi", "gi": "Gi", "ti": "Ti",
}
_QUANTITY = re.compile(r"([+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?)([A-Za-z]{0,2})")

_PARTS = (rf"(?:[0-9]{{1,{digits}}}(?:\.[0-9]{{1,9}})?{unit})?" for unit, digits in _DIGITS.items())
DURATION_PATTERN = f"^(?=.){''.join(_PARTS)}$"
"""What `parse_duration` reads, as a pattern for JSON Schema; each unit at most once, largest first."""

QUANTITY_PATTERN = r"^[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?(?:[numkMGTPE]|[KMGTPE]i)?$"
"""What `parse_quantity` reads, as a pattern for JSON Schema."""


def parse_duration(text: str) -> float:
    """Seconds of `10m`, `1h30m`, `90s`, `1.5h`, `250ms`, `2d`, `1w`: units are required, each once, largest first.

    Raises ValueError with one plain sentence.
    """
    total, position, previous = Decimal(0), 0, Decimal("Infinity")
    if not text:
        raise ValueError("a duration is needed, such as 90s, 10m or 1h30m")
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None:
            raise ValueError(_duration_fault(text))
        unit = _SECONDS[match[2]]
        if unit >= previous:
            raise ValueError(f"in a duration each unit stands once and the largest first, as in 1h30m; this is {_shown(text)}")
        total += Decimal(match[1]) * unit
        position, previous = match.end(), unit
        if len(match[1].partition(".")[0]) > _DIGITS[match[2]] or total > _MOST_YEARS * 365 * 86400:
            raise ValueError(f"the duration {_shown(text)} is too long to wait for")
    return float(total)


def _duration_fault(text: str) -> str:
    """Why `text` is no duration, with the correction where it is known."""
    packed = re.sub(r"\s+", "", text)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", packed):
        return f"a duration needs a unit: write {packed}s or {packed}m, not {packed}"
    if packed.startswith("-"):
        return f"a duration cannot be negative; this is {_shown(text)}"
    if packed != text and re.fullmatch(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[wdhms]))+", packed):
        return f"a duration has no spaces: write {packed}"
    words = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(weeks?|days?|hours?|hrs?|minutes?|mins?|seconds?|secs?)", packed, re.IGNORECASE)
    if words:
        return f"units are w, d, h, m, s and ms: write {words[1]}{words[2][0].lower()}"
    return f"a duration is written like 90s, 10m, 1h30m or 1.5h; this is {_shown(text)}"


def parse_quantity(value: str | float) -> int | float:
    """The plain number of a quantity: `32Gi` is 34359738368, `500m` is 0.5, `8` is 8; a number is itself.

    Suffixes are n u m k M G T P E and Ki Mi Gi Ti Pi Ei. Raises ValueError with one plain sentence.
    """
    if isinstance(value, int | float):
        return plain_number(value)
    match = _QUANTITY.fullmatch(value)
    factor = _SUFFIXES.get(match[2]) if match else None
    if match is None or factor is None:
        raise ValueError(_quantity_fault(value, match[1] if match else "", match[2] if match else ""))
    try:
        number = Decimal(match[1]) * factor
    except InvalidOperation:
        raise ValueError(f"the quantity {_shown(value)} is too large") from None
    return int(number) if number == number.to_integral_value() else float(number)


def _quantity_fault(text: str, number: str, suffix: str) -> str:
    """Why `text` is no quantity, with the correction where it is known."""
    nearest = _MISTYPED.get(suffix.lower()) if suffix else None
    if nearest is not None:
        return f"{_shown(suffix)} is no unit of quantities: write {number}{nearest}"
    return f"a quantity is a number with an optional suffix, such as 500m, 8, 32Gi or 10G; this is {_shown(text)}"


def plain_number(value: float) -> int | float:
    """The same number without a needless fraction: 1.0 and 1 are one value, and so are 0.0 and -0.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _shown(text: str) -> str:
    """A text from outside, quoted, short and printable."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
