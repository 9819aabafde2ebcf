"""YAML 1.2 core schema from libyaml's events: plain values, and the place of every key and value.

Nothing here recurses, so no nesting can exhaust a stack; aliases are counted as if they were written out.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from yaml import MarkedYAMLError, YAMLError, events
from yaml._yaml import CParser

from jobform.config import foreign, scalars
from jobform.config.document import Document, Place, span
from jobform.config.findings import Findings
from jobform.config.frames import MERGE, Anchor, Event, Frame, Stop, merge
from jobform.config.source import decode, has_invisible
from jobform.config.yaml_errors import explain
from jobform.model.diagnostic import Related
from jobform.model.values import Json

MAX_DEPTH = 100
"""How deep mappings and lists may be nested."""

MAX_EXPANDED = 100_000
"""How many nodes the aliases of one file may stand for."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """first: what every scalar that is no string starts with. foreign: a file that kubectl reads too."""

    first: frozenset[str]
    resolve: Callable[[str], Json]
    foreign: bool = False


_CORE = _Dialect(scalars.FIRST, scalars.resolve)
_FOREIGN = _Dialect(foreign.FIRST, foreign.resolve, foreign=True)


def load(file: str, data: bytes, findings: Findings) -> Document | None:
    """Read one file. file: its path as shown in messages.

    Every error that can be found is noted; the parser stops at its first. None: there is no value to go on with.
    An empty file is a document whose value is None.
    """
    return _load(file, data, findings, _CORE)


def load_foreign(file: str, data: bytes, findings: Findings) -> Document | None:
    """Read one file, YAML or JSON, as kubectl reads it: scalars of YAML 1.1, merge keys, several documents.

    The value is the list of its documents. What kubectl takes in a way that nobody can mean is an error.
    """
    return _load(file, data, findings, _FOREIGN)


def _load(file: str, data: bytes, findings: Findings, dialect: _Dialect) -> Document | None:
    text = decode(file, data, findings)
    if text is None:
        return None
    found = Findings()
    text = foreign.as_yaml(text) if dialect.foreign else text
    document = _Builder(file, text, found, dialect).build()
    findings.extend(found.all())
    return document if not found.failed else None


def is_template(text: str) -> bool:
    """Whether a string holds template syntax: an expression or a statement."""
    return "{{" in text or "{%" in text


class _Builder:
    """Turns one parser's events into a document."""

    def __init__(self, file: str, text: str, findings: Findings, dialect: _Dialect) -> None:
        self._dialect = dialect
        self._first = dialect.first
        self._page = Document(file, text, None, 0)
        self._text = text
        self._findings = findings
        self._root = Frame(False, 0, False)
        self._top = self._root
        self._stack: list[Frame] = []
        self._anchors: dict[str, Anchor] = {}
        self._open: set[str] = set()
        self._templates: list[int] = []
        self._count = 0
        self._expanded = 0
        self._documents = 0
        self._odd_spaces = "\u00a0" in text
        self._unquoted: set[int] = set()

    def build(self) -> Document:
        """The whole document; what is wrong with it is noted."""
        handlers: dict[type[events.Event], Callable[..., None]] = {
            events.ScalarEvent: self._scalar, events.MappingStartEvent: self._start, events.SequenceStartEvent: self._start,
            events.MappingEndEvent: self._end, events.SequenceEndEvent: self._end, events.AliasEvent: self._alias,
            events.DocumentStartEvent: self._document,
        }
        parser = CParser(self._text)
        try:
            next_event = parser.get_event
            while (event := next_event()) is not None:
                handler = handlers.get(type(event))
                if handler is not None:
                    handler(event)
        except Stop:
            pass
        except MarkedYAMLError as error:
            problem = explain(self._page, error, self._top.start if self._top.flow else None)
            said = problem.code == "no_break_space" and any(found.code == problem.code for found in self._findings.all())
            if not said and (problem.range is None or problem.range.line not in self._unquoted):
                self._findings.add(problem)
        except YAMLError as error:
            self._error("yaml_syntax", f"this is not valid YAML: {error}", 0, 0)
        finally:
            parser.dispose()
        self._close_document()
        if self._dialect.foreign:
            place = (self._root.last, self._root.places)
            return Document(self._page.file, self._text, self._root.items, place, tuple(self._templates))
        value, place = (self._root.items[0], self._root.places[0]) if self._root.items else (None, 0)  # type: ignore[index, assignment]  # the root is a list
        return Document(self._page.file, self._text, value, place, tuple(self._templates))

    # --- events -------------------------------------------------------------------------------------------------------

    def _scalar(self, event: Event) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        text, frame = event.value, self._top
        if event.tag is not None:
            self._error("tag_not_allowed", "YAML tags are not allowed", start, end,
                        "remove it, or quote a value that starts with !")
        if frame.mapping and frame.key is None:
            self._key(event, start, end)
            return
        value: Json = text
        if event.implicit[0]:
            if not text or text[0] in self._first:
                value = self._resolved(text, start, end)
            if self._odd_spaces or " " in text:
                self._plain(text, start, end, frame)
        elif "\0" in text:
            self._error("control_character", "a text cannot contain the character U+0000", start, end, "remove it")
        if "{" in text and is_template(text):
            self._templates.append(start)
        self._count += 1
        place = frame.key_span | start << 24 | end
        if event.anchor is not None:
            templated = bool(self._templates and self._templates[-1] == start)
            self._define(event.anchor, Anchor(value, place, 1, templated, self._page.range_of(start, end)),
                         empty=value is None and not text)
        self._put(value, place, end)

    def _start(self, event: Event) -> None:
        start, parent = event.start_mark.index, self._top
        if len(self._stack) >= MAX_DEPTH:
            self._error("nesting_too_deep", f"values are nested too deep (limit {MAX_DEPTH})", start, start + 1)
            raise Stop
        if event.tag is not None:
            self._error("tag_not_allowed", "YAML tags are not allowed", start, event.end_mark.index, "remove it")
        frame = Frame(isinstance(event, events.MappingStartEvent), start, event.flow_style)
        if parent.mapping and parent.key is None:
            frame.as_key = True
            self._complex_key(parent, frame)
        frame.anchor, frame.count, frame.templates = event.anchor, self._count, len(self._templates)
        if frame.anchor is not None:
            self._open.add(frame.anchor)
        self._count += 1
        self._stack.append(parent)
        self._top = frame

    def _end(self, event: Event) -> None:
        frame, parent = self._top, self._stack.pop()
        self._top = parent
        end = event.end_mark.index if frame.flow else frame.last
        if frame.merges is not None:
            merge(frame)
        if frame.as_key:
            parent.key = self._text[frame.start : end]
            return
        place = (parent.key_span | frame.start << 24 | end, frame.places)
        if frame.anchor is not None:
            self._open.discard(frame.anchor)
            self._define(frame.anchor, Anchor(
                frame.items, place, self._count - frame.count, len(self._templates) > frame.templates,
                self._page.range_of(frame.start, min(end, frame.start + 1)),
            ))
        self._put(frame.items, place, end)

    def _alias(self, event: Event) -> None:
        start, end, name, parent = event.start_mark.index, event.end_mark.index, event.anchor or "", self._top
        if parent.mapping and parent.key is None:
            self._error("key_not_string", "an alias cannot be a key", start, end, "write the key out")
            parent.key, parent.key_span = f"*{name}", span(start, end, 0, 0)
            return
        known = self._anchors.get(name)
        if known is None:
            what = "refers to the value that it is part of" if name in self._open else "has no anchor before it"
            self._error("undefined_alias", f"the alias *{name} {what}", start, end, "quote the value if * was meant as text")
            self._put(None, parent.key_span | start << 24 | end, end)
            return
        known.used = True
        self._count += known.count
        self._expanded += known.count
        if self._expanded > MAX_EXPANDED:
            self._error("alias_expansion", f"the aliases of this file stand for more than {MAX_EXPANDED} values", start, end,
                        "write less by alias; use a matrix or backend defaults")
            raise Stop
        if known.templated:
            self._templates.append(start)
        place = parent.key_span | start << 24 | end
        self._put(known.value, place if isinstance(known.place, int) else (place, known.place[1]), end)

    def _document(self, event: Event) -> None:
        start = event.start_mark.index
        if event.tags or event.version not in (None, (1, 2)):
            self._error("directive", "lines that start with % (YAML directives) are not supported", start, start + 1,
                        "remove the line")
        self._documents += 1
        if self._dialect.foreign:
            self._close_document()
        elif self._documents > 1:
            self._error("several_documents", "a file holds one document only", start, event.end_mark.index,
                        "put what follows '---' into a file of its own")
            raise Stop

    def _close_document(self) -> None:
        """Anchors reach to the end of their document."""
        for name, anchor in self._anchors.items():
            if not anchor.used:
                self._findings.warning("unused_anchor", f"the anchor &{name} is never used", anchor.where,
                                       hint="remove it; quote the value if & was meant as text")
        self._anchors.clear()

    # --- parts --------------------------------------------------------------------------------------------------------

    def _put(self, value: Json, place: Place, end: int) -> None:
        frame = self._top
        frame.last = end
        if frame.key == MERGE:
            self._put_merge(frame, value, place)
        elif frame.mapping:
            frame.items[frame.key] = value  # type: ignore[call-overload, index]  # a mapping frame holds dicts, and a key by now
            frame.places[frame.key] = place  # type: ignore[call-overload, index]  # as above
            frame.key, frame.key_span = None, 0
        else:
            frame.items.append(value)  # type: ignore[union-attr]  # a list frame holds lists
            frame.places.append(place)  # type: ignore[union-attr]  # as above

    def _put_merge(self, frame: Frame, value: Json, place: Place) -> None:
        """A mapping under `<<`, or a list of them: what stands in it is laid under the keys of this one when it ends."""
        start = frame.key_span >> 72
        several = isinstance(value, list)
        places = place[1] if several and isinstance(place, tuple) else [place]
        for item, below in zip(value if isinstance(value, list) else [value], places, strict=True):
            if not isinstance(item, dict) or not isinstance(below, tuple) or not isinstance(below[1], dict):
                self._error("merge_key", "what follows << must be a mapping, or a list of mappings", start, start + 2)
            elif any(key in frame.items for key in item):
                self._error("merge_key", "a merge key (<<) after a key that it holds too", start, start + 2,
                            "write << first: kubectl lets it win over the keys before it")
            else:
                frame.merges = [*(frame.merges or ()), (item, below[1])]
        frame.key, frame.key_span = None, 0

    def _key(self, event: Event, start: int, end: int) -> None:
        frame, text = self._top, sys.intern(event.value)
        if event.implicit[0]:
            if text == "<<" and self._dialect.foreign:
                frame.key, frame.key_span = MERGE, start << 72 | end << 48
                return
            if text == "<<":
                self._error("merge_key", "merge keys (<<) are not supported", start, end,
                            "write the keys out, use an alias for a whole value, or backend defaults")
            elif (not text or text[0] in self._first) and (fault := self._key_fault(text, start, end)):
                self._error("key_not_string", f"keys must be strings, and {fault}", start, end, "quote it")
        if text in frame.items:
            first = frame.places[text]  # type: ignore[call-overload]  # a mapping frame holds dicts
            first = first if isinstance(first, int) else first[0]
            where = self._page.range_of(first >> 72, first >> 48 & 0xFFFFFF)
            self._error("duplicate_key", f"the key {text!r} is written twice", start, end, "keep one of them",
                        (Related("first written here", where),))
        if "{" in text and is_template(text):
            self._error("template_in_key", "templates are not allowed in keys", start, end)
        if has_invisible(text) or "\0" in text:
            self._error("invisible_character", f"the key {text!a} holds an invisible character", start, end, "remove it")
        if event.anchor is not None:
            self._define(event.anchor, Anchor(text, 0, 1, False, self._page.range_of(start, end)))
        frame.key, frame.key_span = text, start << 72 | end << 48

    def _complex_key(self, parent: Frame, frame: Frame) -> None:
        start = frame.start
        parent.key_span = span(start, start + 1, 0, 0)
        if frame.mapping and self._text[start - 1 : start + 1] == "{{" and parent.flow:
            close = self._text.find("}}", start)
            end = close + 2 if close >= 0 else start + 1
            self._unquoted.add(self._page.range_of(start, start).line)
            self._error("unquoted_template", "a value that starts with {{ must be quoted", start - 1, end,
                        'write it as "{{ ... }}"')
        else:
            self._error("key_not_string", "a list or a mapping cannot be a key", start, start + 1, "write a plain string as key")

    def _key_fault(self, text: str, start: int, end: int) -> str:
        if self._dialect.foreign:
            return foreign.key_fault(text)
        return "" if isinstance(self._resolved(text, start, end), str) else f"{text or 'an empty key'} is not"

    def _resolved(self, text: str, start: int, end: int) -> Json:
        try:
            return self._dialect.resolve(text)
        except scalars.BadNumber as bad:
            self._error(bad.code, str(bad), start, end, "quote it if it is meant as text")
            return 0

    def _plain(self, text: str, start: int, end: int, frame: Frame) -> None:
        """What is easily mistaken in unquoted text."""
        if "\u00a0" in text:
            self._error("no_break_space", "unquoted text holds a no-break space (U+00A0)", start, end,
                        "write a normal space, or quote the text")
        in_list = not frame.mapping and frame is not self._root
        if (in_list or " - " in text) and "\n" in self._text[start:end]:
            self._findings.warning(
                "multi_line_scalar", f"these lines are one text: {text[:60]!r}", self._page.range_of(start, end),
                hint="indent every '- ' of a list alike, or quote the text",
            )

    def _define(self, name: str, anchor: Anchor, *, empty: bool = False) -> None:
        if empty:
            anchor.used = True
            self._findings.error("empty_anchor", f"&{name} names an anchor, and no value follows", anchor.where,
                                 hint=f"write '&{name}' in quotes if it is the value")
        earlier = self._anchors.get(name)
        if earlier is not None:
            anchor.used = True
            self._findings.error("anchor_redefined", f"the anchor &{name} is defined twice", anchor.where,
                                 hint="use another name", related=[Related("first defined here", earlier.where)])
        self._anchors[name] = anchor

    def _error(self, code: str, summary: str, start: int, end: int, hint: str = "", related: tuple[Related, ...] = ()) -> None:
        self._findings.error(code, summary, self._page.range_of(start, end), hint=hint, related=related)
