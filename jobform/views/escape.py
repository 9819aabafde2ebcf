"""Text from outside, made harmless for the place where it is shown: a terminal, a Markdown comment, a CI log.

Everything that is not jobform's own wording passes through here: names, values, messages of services, lines of source files.
Terminal: control characters, bidirectional overrides, zero-width and other invisible characters, lone surrogates and floods of
combining marks become `\\x1b`, `\\u202e`, `\\U000e0001`. Markdown: text only ever stands in code, whose fence it cannot close.
CI logs: a line cannot start a workflow command.
"""

import re
import unicodedata
from html import escape as html_escape

_INVISIBLE = frozenset(
    [
        0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0,
        *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
    ]
)
"""Characters that Unicode counts as printable and that show nothing: joiners, fillers, variation selectors."""

_COMBINING_IN_A_ROW = 3
"""Real orthographies stack no more marks than this on one letter."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]|(?<=-)-")
_BACKTICKS = re.compile(r"`+")
_COLON_COMMAND = re.compile(r"^([ \t]*):(?=:)", re.MULTILINE)
_HASH_COMMAND = re.compile(r"##(?=[A-Za-z]*\[)")
_SLASH_COMMAND = re.compile(r"^(?=/[A-Za-z])", re.MULTILINE)


def terminal(text: str, *, multiline: bool = False) -> str:
    """Text that cannot move a cursor, hide or reorder anything. LF stays only with `multiline`; TAB becomes one space."""
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if not character.isascii() and unicodedata.combining(character) else 0
        if character == "\t":
            shown.append(" ")
        elif character == "\n":
            shown.append("\n" if multiline else "\\n")
        elif character.isprintable() and ord(character) not in _INVISIBLE and marks <= _COMBINING_IN_A_ROW:
            shown.append(character)
        else:
            shown.append(_code_point(character))
    return "".join(shown)


def encodable(text: str, encoding: str | None) -> str:
    """The text with everything that a stream of this encoding cannot carry written as escapes."""
    if text.isascii():
        return text
    name = encoding or "ascii"
    return text.encode(name, "backslashreplace").decode(name)


def cells(text: str) -> int:
    """How many columns of a terminal an escaped text takes: East Asian wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def code(text: str, *, cell: bool = False) -> str:
    """A Markdown code span. cell: inside a table, where a pipe would end the cell even in code."""
    shown = terminal(text)
    if not shown.strip():
        return f"`{shown or ' '}`"
    fence = "`" * (_longest_run(shown) + 1)
    space = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) else ""
    if cell:
        shown = shown.replace("|", "\\|")
    return f"{fence}{space}{shown}{space}{fence}"


def html_code(text: str) -> str:
    """A code element, for places where Markdown is not read, such as `<summary>`."""
    return f"<code>{html_escape(terminal(text))}</code>"


def fenced(text: str, language: str = "text") -> str:
    """A Markdown code block whose fence is longer than any run of backticks inside. Ends with a line break."""
    shown = terminal(text, multiline=True).rstrip("\n")
    fence = "`" * max(3, _longest_run(shown) + 1)
    return f"{fence}{language}\n{shown}\n{fence}\n"


def comment(text: str) -> str:
    """One word for the inside of an HTML comment, different for different texts: a project's name comes out as it is."""
    return _NOT_PLAIN.sub(lambda found: f"%{ord(found[0]):02x}", text)


def ci_log(text: str) -> str:
    """Lines that no CI runner takes for a command: `::error`, `##vso[...]`, `##[...]`, `/merge`.

    Runners trim leading blanks before they look for `::` and find `##[` anywhere in a line, so those are escaped, not indented.
    """
    if "::" in text:
        text = _COLON_COMMAND.sub(r"\1\\x3a", text)
    if "##" in text:
        text = _HASH_COMMAND.sub(r"#\\x23", text)
    return _SLASH_COMMAND.sub(" ", text) if "/" in text else text


def _code_point(character: str) -> str:
    point = ord(character)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
