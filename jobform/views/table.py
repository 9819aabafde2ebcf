"""Columns for people."""

from collections.abc import Sequence

from jobform.views.escape import cells, terminal
from jobform.views.screen import Paint

_GAP = "  "


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint, styles: Sequence[str | None] = ()) -> str:
    """Left-aligned columns, each as wide as its widest cell, the last one ragged. Cells are escaped here.

    styles: one style per row, or None, for its whole line. Ends with a line break.
    """
    shown = [[terminal(cell) for cell in row] for row in rows]
    widths = [max(cells(row[column]) for row in [list(headers), *shown]) for column in range(len(headers))]
    lines = [paint(_line(headers, widths), "bold")]
    for index, row in enumerate(shown):
        style = styles[index] if index < len(styles) else None
        text = _line(row, widths)
        lines.append(paint(text, style) if style else text)
    return "\n".join(lines) + "\n"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)]
    return _GAP.join(padded).rstrip()
