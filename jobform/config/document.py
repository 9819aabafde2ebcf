"""One loaded file: plain JSON values, and where each of them was written."""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from jobform.model.diagnostic import Range
from jobform.model.values import Json, Path

Place: TypeAlias = "int | tuple[int, dict[str, Place] | list[Place]]"
"""Where a node is: its span, and for a mapping or a list also the places of its members.

A span is four character offsets of 24 bits in one integer, from high to low: key start, key end, value start, value end.
An item of a list and the root have no key: both key offsets are 0. One integer costs a quarter of a tuple of four.
"""

_MASK = 2**24 - 1
_LINE_BREAK = re.compile(r"\r\n?|\n")


def span(key_start: int, key_end: int, start: int, end: int) -> int:
    """Four offsets as one integer."""
    return key_start << 72 | key_end << 48 | start << 24 | end


@dataclass(frozen=True)
class Document:
    """file: relative to the project, as shown in messages. text: without a byte order mark.

    templates: the offsets of all scalars that hold a template, ascending. An alias to such a scalar counts at the alias.
    """

    file: str
    text: str
    value: Json
    places: Place
    templates: tuple[int, ...] = ()

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_BREAK.finditer(self.text))]

    def range_of(self, start: int, end: int) -> Range:
        """Offsets as lines and columns; an end beyond the text is cut off."""
        line, column = self._position(start)
        end_line, end_column = self._position(max(start, min(end, len(self.text))))
        return Range(self.file, line, column, end_line, end_column)

    def find(self, path: Path) -> int | None:
        """The span of the node at this path, None if the document has none there."""
        place = self.places
        for part in path:
            if isinstance(place, int):
                return None
            members = place[1]
            if isinstance(members, dict):
                if not isinstance(part, str) or part not in members:
                    return None
                place = members[part]
            elif isinstance(part, int) and 0 <= part < len(members):
                place = members[part]
            else:
                return None
        return place if isinstance(place, int) else place[0]

    def locate(self, path: Path, *, at_key: bool = False, offset: int | None = None) -> Range | None:
        """Where the value at this path, or its key, was written; None if the document has no such path.

        offset: point at this character of a scalar's text, where the source shows the text as it is.
        """
        found = self.find(path)
        if found is None:
            return None
        key_start, key_end = found >> 72, found >> 48 & _MASK
        start, end = found >> 24 & _MASK, found & _MASK
        if at_key and key_end:
            return self.range_of(key_start, key_end)
        if at_key:  # the root and items of lists have no key: their first character stands for it
            return self.range_of(start, min(end, start + 1))
        if start == end and key_end:  # an empty value has no text of its own
            return self.range_of(key_start, key_end)
        if offset is not None:
            start, end = self._inside(start, end, offset)
        return self.range_of(start, end)

    def nearest(self, path: Path, *, at_key: bool = False, offset: int | None = None) -> Range | None:
        """Like `locate`; where the document has no such path, the key of the nearest ancestor that it has."""
        here = self.locate(path, at_key=at_key, offset=offset)
        while here is None and path:
            path = path[:-1]
            here = self.locate(path, at_key=True)
        return here

    def source(self, path: Path) -> str:
        """The text that was written for a value, quotes included, without its anchor; empty if the document has no such path."""
        found = self.find(path)
        text = self.text[found >> 24 & _MASK : found & _MASK] if found is not None else ""
        return text.partition(" ")[2].lstrip() if text.startswith("&") else text

    def templated(self, path: Path) -> bool:
        """Whether any scalar at or under this path holds a template."""
        found = self.find(path)
        if found is None or not self.templates:
            return False
        start, end = found >> 24 & _MASK, found & _MASK
        return bisect_left(self.templates, start) < bisect_left(self.templates, max(end, start + 1))

    def line(self, number: int) -> str:
        """A source line, counted from 1, without its line break."""
        starts = self._starts
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")

    def _position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def _inside(self, start: int, end: int, offset: int) -> tuple[int, int]:
        """The span from one character of a scalar on, if its source is one line without escapes; else the whole span."""
        text = self.text[start:end]
        quoted = text[:1] in ("'", '"')
        if "\\" in text or "\n" in text or "\r" in text or "''" in text or offset + 2 * quoted >= len(text):
            return start, end
        return start + offset + quoted, end - quoted
