"""Diagnostics for people: what, where, the line with a caret under it, why, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jobform.model.diagnostic import Diagnostic, Range, Severity
from jobform.views.escape import cells, terminal
from jobform.views.screen import Paint
from jobform.views.words import count, some

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow"}
_NAMED = 10
"""How many jobs a finding about many of them names."""


def findings(diagnostics: Iterable[Diagnostic], paint: Paint, width: int, *, counted: bool = True) -> str:
    """Every finding in the order given, then, with `counted`, how many there are if there is more than one."""
    shown = together(diagnostics)
    blocks = [finding(alike, paint, width) for alike in shown]
    if counted and len(shown) > 1:
        blocks.append(paint(f"Found {tally(shown)}.", "bold"))
    return "\n\n".join(blocks) + "\n" if blocks else ""


def together(diagnostics: Iterable[Diagnostic]) -> list[list[Diagnostic]]:
    """What is said alike of many jobs, such as wrong credentials, in one list, in the order of their first."""
    groups: dict[Diagnostic, list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        address = diagnostic.address
        key = replace(diagnostic, address="", hint=diagnostic.hint.replace(address, "")) if address else diagnostic
        groups.setdefault(key, []).append(diagnostic)
    return list(groups.values())


def tally(shown: Iterable[Sequence[Diagnostic]]) -> str:
    """`3 errors and 1 warning`, of what was put together."""
    severities = [alike[0].severity for alike in shown]
    errors, warnings = severities.count(Severity.ERROR), severities.count(Severity.WARNING)
    parts = [count(number, noun) for number, noun in ((errors, "error"), (warnings, "warning")) if number]
    return " and ".join(parts) or "0 errors"


def finding(alike: Sequence[Diagnostic], paint: Paint, width: int) -> str:
    """One finding, without a line break at its end; of many jobs it is shown as that of the first."""
    diagnostic = alike[0]
    head = f"{paint(diagnostic.severity.value, _STYLES[diagnostic.severity])}{paint(f'[{terminal(diagnostic.code)}]', 'dim')}"
    lines = [f"{head}: {paint(terminal(diagnostic.summary), 'bold')}"]
    if diagnostic.address:
        named = some((terminal(each.address or "") for each in alike), _NAMED)
        lines.append(f"  in {named}{_more(diagnostic)}")
    elif diagnostic.count > 1:
        lines.append(f"  {count(diagnostic.count, 'time')}")
    lines += _place(diagnostic, paint, width)
    for related in diagnostic.related:
        lines.append(f"  {paint('-->', 'blue')} {terminal(str(related.range))}: {terminal(related.message)}")
    lines += _text(diagnostic.detail, "  ", "  ")
    lines += _text(diagnostic.hint, f"  {paint('hint:', 'cyan')} ", "        ")
    return "\n".join(lines)


def _more(diagnostic: Diagnostic) -> str:
    return f" and {count(diagnostic.count - 1, 'other instance')}" if diagnostic.count > 1 else ""


def _text(text: str, first: str, further: str) -> list[str]:
    if not text:
        return []
    shown = terminal(text, multiline=True).rstrip("\n").split("\n")
    return [first + shown[0], *(further + line for line in shown[1:])]


def _place(diagnostic: Diagnostic, paint: Paint, width: int) -> list[str]:
    where = diagnostic.range
    if where is None:
        return []
    arrow = f"  {paint('-->', 'blue')} {terminal(str(where))}"
    if diagnostic.snippet is None:
        return [arrow]
    number = str(where.line)
    blank = " " * len(number)
    source, caret = _pointed(diagnostic.snippet, where, max(20, width - len(number) - 5))
    bar = paint("|", "blue")
    style = _STYLES[diagnostic.severity]
    numbered = f"  {paint(number, 'blue')} {bar} {source}".rstrip()
    return [arrow, f"  {blank} {bar}", numbered, f"  {blank} {bar} {caret[0]}{paint(caret[1], style)}"]


def _pointed(snippet: str, where: Range, width: int) -> tuple[str, tuple[str, str]]:
    """The source line, cut to the width around the place, and the carets under it as (blanks, carets)."""
    start = min(max(where.column - 1, 0), len(snippet))
    end = where.end_column - 1 if where.end_line == where.line else len(snippet)
    end = min(max(end, start), len(snippet))
    left, marked, right = terminal(snippet[:start]), terminal(snippet[start:end]), terminal(snippet[end:])
    if cells(left) + cells(marked) + cells(right) > width:
        left, marked, right = _window(left, marked, right, width)
    return left + marked + right, (" " * cells(left), "^" * max(1, cells(marked)))


def _window(left: str, marked: str, right: str, width: int) -> tuple[str, str, str]:
    """What fits of a long line: the place itself as far as possible, then what stands before it, then what follows."""
    marked = _cut(marked, max(10, width // 2))
    room = max(0, width - cells(marked) - 3)
    if cells(left) > room // 2:
        kept = _cut(left[::-1], max(0, room // 2 - 3), dots=False)[::-1]
        left = "..." + kept
    return left, marked, _cut(right, max(0, width - cells(left) - cells(marked)))


def _cut(text: str, width: int, *, dots: bool = True) -> str:
    if cells(text) <= width:
        return text
    room = max(0, width - (3 if dots else 0))
    kept = text[:room]
    while cells(kept) > room:
        kept = kept[:-1]
    return kept + ("..." if dots else "")
