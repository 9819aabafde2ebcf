"""How values and differences between values look, one field at a time."""

import json
from collections.abc import Sequence
from difflib import SequenceMatcher

from jobform.model.change import FieldChange
from jobform.model.values import Json, is_deferred
from jobform.views.escape import cells, terminal
from jobform.views.screen import Paint

SENSITIVE = "(sensitive)"

_CONTEXT = 2
_COMPARED = 400
"""Texts with more lines than this are shown whole, old then new: finding the common lines costs their product."""


def inline(value: Json) -> str:
    """A value on one line: JSON, with what is not known yet as the template that it was written as. Escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if '"expr"' in text:
        text = _with_templates(value)
    return terminal(text)


def field_lines(field: FieldChange, paint: Paint, width: int) -> list[str]:
    """`path: before -> after`, or one line per line of a long value, every one with its own `+` or `-`."""
    symbol, style = ("+", "green") if not field.has_before else ("-", "red") if not field.has_after else ("~", "yellow")
    head = f"{paint(symbol, style)} {terminal(field.path)}:"
    if field.sensitive:
        return [f"{head} {SENSITIVE}" + (f" -> {SENSITIVE}" if symbol == "~" else "")]
    before, after = field.before if field.has_before else None, field.after if field.has_after else None
    short = inline(after) if symbol == "+" else inline(before) if symbol == "-" else f"{inline(before)} -> {inline(after)}"
    if not _multiline(before) and not _multiline(after) and cells(short) + len(field.path) + 4 <= width:
        return [f"{head} {short}"]
    room = width - 6
    old, new = _lines(before, room) if field.has_before else [], _lines(after, room) if field.has_after else []
    if old == new:  # they differ in the last line break alone
        old, new = [inline(before)], [inline(after)]
    return [head, *(f"    {line}" for line in _difference(old, new, paint))]


def value_lines(path: str, value: Json, paint: Paint, width: int) -> list[str]:
    """A value that is wholly new."""
    return field_lines(FieldChange(path, None, value, has_before=False), paint, width)


def _multiline(value: Json) -> bool:
    return isinstance(value, str) and "\n" in value


def _lines(value: Json, width: int) -> list[str]:
    """A long value as lines: a text's own, not escaped yet, a list's items, a mapping's entries."""
    if isinstance(value, str) and "\n" in value:
        return value.removesuffix("\n").split("\n")
    if isinstance(value, dict) and not is_deferred(value):
        return [line for key, item in value.items() for line in _entry(f"{terminal(key)}:", item, width)]
    if isinstance(value, list) and value:
        return [line for item in value for line in _item(item, width, "")]
    return [inline(value)]


def _entry(head: str, value: Json, width: int) -> list[str]:
    """One entry of a mapping: on one line where it fits, else as YAML would show it."""
    short = inline(value)
    if cells(head) + 1 + cells(short) <= width or not _splits(value):
        return [f"{head} {short}"]
    if isinstance(value, list):
        return [head, *(f"  {line}" for item in value for line in _item(item, width - 2, "- "))]
    return [f"{head} |" if isinstance(value, str) else head, *(f"  {line}" for line in _lines(value, width - 2))]


def _item(value: Json, width: int, dash: str) -> list[str]:
    """One item of a list. dash: what stands before it where it is one line."""
    short = inline(value)
    if len(dash) + cells(short) <= width or not _splits(value):
        return [f"{dash}{short}"]
    if isinstance(value, str):
        return ["- |", *(f"  {line}" for line in _lines(value, width - 2))]
    if isinstance(value, list):
        return ["-", *(f"  {line}" for item in value for line in _item(item, width - 2, "- "))]
    first, *rest = _lines(value, width - 2)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _splits(value: Json) -> bool:
    """Whether a value has parts that lines of their own can show."""
    return _multiline(value) or (bool(value) and isinstance(value, dict | list) and not is_deferred(value))


def _difference(old: Sequence[str], new: Sequence[str], paint: Paint) -> list[str]:
    if not old or not new or max(len(old), len(new)) > _COMPARED:
        return _changed(old, new, paint)
    shown: list[str] = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            shown += _common(old[a:b], at_start=a == 0, at_end=b == len(old))
        else:
            shown += _changed(old[a:b], new[c:d], paint)
    return shown


def _changed(old: Sequence[str], new: Sequence[str], paint: Paint) -> list[str]:
    """Lines that went, then lines that came; a tab is written out, so that it never looks like a blank."""
    before = [paint(f"- {_exact(line)}", "red") for line in old]
    return before + [paint(f"+ {_exact(line)}", "green") for line in new]


def _exact(line: str) -> str:
    return terminal(line.replace("\t", "\\t"))


def _common(lines: Sequence[str], *, at_start: bool, at_end: bool) -> list[str]:
    """Lines on both sides: those next to a difference, and how many there are between."""
    head = 0 if at_start else _CONTEXT
    tail = 0 if at_end else _CONTEXT
    hidden = len(lines) - head - tail
    if hidden <= 1:
        return [f"  {terminal(line)}" for line in lines]
    shown = [f"  {terminal(line)}" for line in (*lines[:head], *lines[len(lines) - tail:])]
    return [*shown[:head], f"  ... {hidden:,} unchanged", *shown[head:]]


def _with_templates(value: Json) -> str:
    if is_deferred(value):
        return str(value["expr"])
    if isinstance(value, dict):
        items = (f"{json.dumps(key, ensure_ascii=False)}: {_with_templates(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_with_templates(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
