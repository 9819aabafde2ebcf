"""What the loader holds while it reads: the parser's events, and the mappings, lists and anchors that are not finished."""

from dataclasses import dataclass
from typing import Protocol

from jobform.config.document import Place
from jobform.model.diagnostic import Range
from jobform.model.values import Json


class Mark(Protocol):
    """A character offset into the text."""

    index: int


class Event(Protocol):
    """What libyaml's events carry; each kind has some of it."""

    start_mark: Mark
    end_mark: Mark
    anchor: str | None
    tag: str | None
    value: str
    implicit: tuple[bool, bool]
    flow_style: bool
    tags: object
    version: tuple[int, int] | None


MERGE = "<<\0"
"""Stands for a merge key while its value is read; no key can be written like this."""


class Stop(Exception):
    """Nothing after this point can be understood."""


class Frame:
    """A mapping or list that is not finished."""

    __slots__ = (
        "anchor", "as_key", "count", "flow", "items", "key", "key_span", "last", "mapping", "merges", "places", "start",
        "templates",
    )

    def __init__(self, mapping: bool, start: int, flow: bool) -> None:
        self.mapping = mapping
        self.start = start
        self.flow = flow
        self.key: str | None = None
        self.key_span = 0
        self.items: dict[str, Json] | list[Json] = {} if mapping else []
        self.places: dict[str, Place] | list[Place] = {} if mapping else []
        self.last = start
        self.anchor: str | None = None
        self.as_key = False
        self.count = 0
        self.templates = 0
        self.merges: list[tuple[dict[str, Json], dict[str, Place]]] | None = None


@dataclass(slots=True)
class Anchor:
    """A finished value that aliases may stand for. count: its nodes. templated: whether a scalar in it holds a template."""

    value: Json
    place: Place
    count: int
    templated: bool
    where: Range
    used: bool = False


def merge(frame: Frame) -> None:
    """Lay what is merged under the keys of a mapping; of several the first wins."""
    for items, places in frame.merges or ():
        for key in items:
            if key not in frame.items:
                frame.items[key] = items[key]  # type: ignore[call-overload]  # a mapping frame holds dicts
                frame.places[key] = places[key]  # type: ignore[call-overload]  # as above
