"""Whether a stream shows colours, how wide it is, and jobform's own colour codes."""

import os
from collections.abc import Callable, Mapping
from typing import TextIO

from jobform.protocols import Screen

Paint = Callable[[str, str], str]
"""`paint(text, style)`: the text in a style of `STYLES`, or as it is. The text must be escaped already."""

STYLES: Mapping[str, str] = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
}

_DEFAULT_WIDTH = 100


def painter(colour: bool) -> Paint:
    """The colouring function of a screen."""
    return _ansi if colour else _plain


def wants_colour(out: TextIO, environ: Mapping[str, str], *, no_color: bool = False) -> bool:
    """Colour only on a terminal that has it, and only if neither the flag nor a non-empty NO_COLOR says no."""
    if no_color or environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return out.isatty()


def screen(out: TextIO, environ: Mapping[str, str], *, no_color: bool = False) -> Screen:
    """The screen of a stream: as wide as its terminal, 100 columns elsewhere."""
    return Screen(out, wants_colour(out, environ, no_color=no_color), _width(out))


def _width(out: TextIO) -> int:
    if not out.isatty():
        return _DEFAULT_WIDTH
    try:
        return max(40, os.get_terminal_size(out.fileno()).columns or _DEFAULT_WIDTH)
    except (OSError, ValueError):  # a terminal without a size, or a stream without a descriptor
        return _DEFAULT_WIDTH


def _ansi(text: str, style: str) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def _plain(text: str, style: str) -> str:
    del style
    return text
