"""The Jinja environment that templates run in: expressions over plain data, with nothing in reach and nothing that can grow.

Attribute access is key lookup. The only calls are `secret` and `file`, which `template` checks before anything runs. Operators,
filters and tests are ours, so that every result is bounded and no message shows a value. Jinja's own sandbox stays underneath.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jobform.model.address import number_text
from jobform.model.suggest import suggest
from jobform.model.values import Json

MOST_TEXT = 1 << 20
MOST_ITEMS = 100_000
_MOST_WHOLE = 2**63


class TemplateFault(Exception):
    """Why a template cannot be evaluated, in one plain sentence that shows no value."""

    def __init__(self, summary: str, hint: str = "", code: str = "bad_template") -> None:
        super().__init__(summary)
        self.summary, self.hint, self.code = summary, hint, code


def kind(value: object) -> str:
    """What a value is, for messages."""
    names: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "a boolean"), ((int, float), "a number"), (str, "a string"), ((list, tuple), "a list"), (dict, "a map"),
    ]
    return "null" if value is None else next((name for types, name in names if isinstance(value, types)), "something undefined")


def text_of(value: object) -> str:
    """How a value stands inside a text: strings as they are, numbers and booleans in shortest JSON form."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, Undefined):
        str(value)  # raises UndefinedError with the message that says what is missing
    hint = "join it, or write it with tojson" if isinstance(value, list | tuple | dict) else ""
    raise TemplateFault(f"{kind(value)} cannot stand inside a text", hint)


@cache
def environment() -> "Sandbox":
    """The one environment; it holds no state that an expression can change."""
    return Sandbox()


_NO_COMMENT = "\0#"
"""No text holds it: `${#name}` of a shell is text, and YAML has comments of its own."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja reduced to expressions over JSON."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])
    intercepted_unops = frozenset(["+", "-"])

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, loader=None, keep_trailing_newline=True, cache_size=0, finalize=text_of,
            comment_start_string=_NO_COMMENT, comment_end_string=_NO_COMMENT,
        )
        self.globals.clear()
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`a.b`: the key `b` of the map `a`, never an attribute of a Python object."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`a[b]`: a map's key, a list's item or a part of a string."""
        if isinstance(obj, Undefined):
            str(obj)
        if isinstance(obj, dict):
            if isinstance(argument, str) and argument in obj:
                return obj[argument]
            return self.undefined(hint=_no_key(obj, argument))
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice) and not isinstance(argument, bool):
            try:
                return obj[argument]
            except IndexError:
                return self.undefined(hint=f"there is no item {argument}: {kind(obj)} of length {len(obj)}")
            except (TypeError, ValueError):
                raise TemplateFault("positions in a list or a string are whole numbers") from None
        if isinstance(argument, str):
            return self.undefined(hint=f"{kind(obj)} has no key {json.dumps(argument[:60])}")
        raise TemplateFault(f"{kind(argument)} cannot select from {kind(obj)}")

    def is_safe_callable(self, obj: Any) -> bool:
        """Only the functions that the context holds; the check of the syntax has let nothing else through."""
        return isinstance(obj, Function)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers, `+` also on two strings or two lists; results are bounded."""
        del context
        for value in (left, right):
            if isinstance(value, Undefined):
                str(value)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            _bounded(len(left) + len(right), MOST_TEXT)
            return left + right
        if operator == "+" and isinstance(left, list) and isinstance(right, list):
            _bounded(len(left) + len(right), MOST_ITEMS)
            return left + right
        compute = _ARITHMETIC.get(operator)
        if compute is None:
            raise TemplateFault(f"the operator {operator} is not allowed", code="forbidden_template")
        if not (_is_number(left) and _is_number(right)):
            raise TemplateFault(f"{kind(left)} {operator} {kind(right)} has no meaning", _joining(operator))
        try:
            return number(compute(left, right))
        except ZeroDivisionError:
            raise TemplateFault("division by zero") from None
        except OverflowError:
            raise TemplateFault("the number is too large") from None

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        """`-x` and `+x` of a number."""
        del context
        if isinstance(arg, Undefined):
            str(arg)
        if not _is_number(arg):
            raise TemplateFault(f"{operator} of {kind(arg)} has no meaning")
        return number(-arg if operator == "-" else arg)


class Function:
    """A function of ours that an expression may call with one string. It shows nothing of itself."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[str], Json]) -> None:
        self._call = call

    def __call__(self, name: str) -> Json:
        return self._call(name)


def _no_key(mapping: Mapping[str, object], argument: object) -> str:
    if not isinstance(argument, str):
        return f"{kind(argument)} is no key: keys are strings"
    near = suggest(argument, mapping)
    return f"there is no key {json.dumps(argument[:60])}" + (f"; did you mean {near}?" if near else "")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _joining(operator: str) -> str:
    if operator == "+":
        return "join with ~ instead"
    return "" if operator == "%" else "write the numbers without quotes, or use the filter int or float"


def number(value: Any) -> int | float:
    """A number that JSON and every reader of it can hold. Raises TemplateFault."""
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise TemplateFault("the result is not a finite number")
    if isinstance(value, int) and abs(value) >= _MOST_WHOLE:
        raise TemplateFault("the number is too large: whole numbers have at most 63 bits")
    result: int | float = value
    return result


def _bounded(size: int, limit: int) -> None:
    if size > limit:
        raise TemplateFault(f"the result is too large: the limit is {limit} {'characters' if limit == MOST_TEXT else 'items'}")


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "//": lambda a, b: a // b, "%": lambda a, b: a % b,
}


# --- filters: each takes plain data and gives plain data --------------------------------------------------------------


def _text(value: Any, name: str) -> str:
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, str):
        raise TemplateFault(f"the filter {name} needs a string, not {kind(value)}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, list | tuple):
        raise TemplateFault(f"the filter {name} needs a list, not {kind(value)}")
    return list(value)


def _words(change: Callable[[str], str], name: str) -> Callable[[Any], str]:
    return lambda value: change(_text(value, name))


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _int(value: Any) -> int:
    try:
        return int(number(int(value))) if isinstance(value, int | float) or len(_text(value, "int")) <= 40 else _no_number("int")
    except (ValueError, OverflowError):
        return _no_number("int")


def _float(value: Any) -> float:
    try:
        return float(number(float(value if isinstance(value, int | float) else _text(value, "float"))))
    except (ValueError, OverflowError):
        _no_number("float")
        raise


def _no_number(name: str) -> int:
    raise TemplateFault(f"the filter {name} needs a number or a string that reads as one")


def _join(value: Any, d: Any = "", attribute: Any = None) -> str:
    items = _map(value, attribute) if attribute is not None else _list(value, "join")
    parts, separator = [text_of(item) for item in items], _text(d, "join")
    _bounded(sum(map(len, parts)) + len(separator) * len(parts), MOST_TEXT)
    return separator.join(parts)


def _replace(value: Any, old: Any, new: Any) -> str:
    text, gone, come = _text(value, "replace"), _text(old, "replace"), _text(new, "replace")
    if not gone:
        raise TemplateFault("the filter replace needs something to replace")
    _bounded(len(text) + text.count(gone) * max(0, len(come) - len(gone)), MOST_TEXT)
    return text.replace(gone, come)


def _map(value: Any, attribute: Any) -> list[Any]:
    """The value of a dotted key in each map of a list."""
    items, keys = _list(value, "map"), _text(attribute, "map").split(".")
    for key in keys:
        items = [environment().getitem(item, int(key) if key.isdecimal() and len(key) < 6 else key) for item in items]
    for item in items:
        if isinstance(item, Undefined):
            str(item)
    return items


def _comparable(items: list[Any], name: str) -> list[Any]:
    if not (all(map(_is_number, items)) or all(isinstance(item, str) for item in items)):
        raise TemplateFault(f"the filter {name} needs a list of numbers or a list of strings")
    return items


def _sort(value: Any, reverse: Any = False, attribute: Any = None) -> list[Any]:
    items = _list(value, "sort")
    keys = _comparable(items if attribute is None else _map(items, attribute), "sort")
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=bool(reverse))
    return [items[index] for index in order]


def _extreme(choose: Callable[[Iterable[Any]], Any], name: str) -> Callable[[Any], Any]:
    def extreme(value: Any) -> Any:
        items = _comparable(_list(value, name), name)
        if not items:
            raise TemplateFault(f"the filter {name} needs a list that is not empty")
        return choose(items)
    return extreme


def _end(position: int, name: str) -> Callable[[Any], Any]:
    def end(value: Any) -> Any:
        items = value if isinstance(value, str) else _list(value, name)
        if not items:
            raise TemplateFault(f"the filter {name} needs something that is not empty")
        return items[position]
    return end


def _sum(value: Any) -> int | float:
    items = _list(value, "sum")
    if not all(map(_is_number, items)):
        raise TemplateFault("the filter sum needs a list of numbers")
    return number(sum(items))


def _round(value: Any, precision: Any = 0, method: Any = "common") -> int | float:
    if not _is_number(value) or not isinstance(precision, int) or not 0 <= precision <= 15:
        raise TemplateFault("the filter round needs a number, and a precision from 0 to 15")
    if method == "common":
        return number(round(float(value), precision))
    if method not in ("ceil", "floor"):
        raise TemplateFault("the filter round knows the methods common, ceil and floor")
    whole = math.ceil if method == "ceil" else math.floor
    return number(whole(float(value) * 10**precision) / 10**precision)


def _unique(value: Any) -> list[Any]:
    return list({json.dumps(item, sort_keys=True): item for item in reversed(_list(value, "unique"))}.values())[::-1]


def _tojson(value: Any) -> str:
    if isinstance(value, Undefined):
        str(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    _bounded(len(text), MOST_TEXT)
    return text


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | dict) else len(_list(value, "length"))


def _abs(value: Any) -> int | float:
    if not _is_number(value):
        raise TemplateFault(f"the filter abs needs a number, not {kind(value)}")
    return number(abs(value))


def _reverse(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else _list(value, "reverse")[::-1]


FILTERS: Mapping[str, Callable[..., Any]] = {
    "abs": _abs, "capitalize": _words(str.capitalize, "capitalize"), "count": _length, "d": _default, "default": _default,
    "first": _end(0, "first"), "float": _float, "int": _int, "join": _join, "last": _end(-1, "last"), "length": _length,
    "lower": _words(str.lower, "lower"), "map": _map, "max": _extreme(max, "max"), "min": _extreme(min, "min"),
    "replace": _replace, "reverse": _reverse, "round": _round, "sort": _sort, "string": text_of, "sum": _sum,
    "title": _words(str.title, "title"), "tojson": _tojson, "trim": _words(str.strip, "trim"), "unique": _unique,
    "upper": _words(str.upper, "upper"),
}
"""Every filter that a template may use."""

def _remainder(value: Any, divisor: Any) -> int:
    for part in (value, divisor):
        if not isinstance(part, int) or isinstance(part, bool):
            raise TemplateFault(f"this test needs whole numbers, not {kind(part)}")
    if divisor == 0:
        raise TemplateFault("division by zero")
    return int(value % divisor)


TESTS: Mapping[str, Callable[..., bool]] = {
    "boolean": lambda v: isinstance(v, bool),
    "defined": lambda v: not isinstance(v, Undefined),
    "divisibleby": lambda v, divisor: _remainder(v, divisor) == 0,
    "even": lambda v: _remainder(v, 2) == 0,
    "false": lambda v: v is False,
    "float": lambda v: isinstance(v, float),
    "in": lambda v, seq: bool(v in seq),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "mapping": lambda v: isinstance(v, dict),
    "none": lambda v: v is None,
    "number": _is_number,
    "odd": lambda v: _remainder(v, 2) == 1,
    "sequence": lambda v: isinstance(v, str | list),
    "string": lambda v: isinstance(v, str),
    "true": lambda v: v is True,
    "undefined": lambda v: isinstance(v, Undefined),
}
"""Every test (`x is ...`) that a template may use."""
