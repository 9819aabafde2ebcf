"""What the YAML parser did not understand, in plain sentences with the place that matters."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from yaml import MarkedYAMLError

from jobform.config.document import Document
from jobform.model.diagnostic import Diagnostic, Related, Severity

_TEMPLATE = re.compile(r"(?:^|[:\-\[,{]\s*)\{\{")
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*\s*(?:#.*)?$")
_QUOTE_IT = "quote the value"


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A parser error over its text.

    at, since: offsets of the problem and of the construct around it. opened: of the innermost bracket that is open.
    """

    page: Document
    problem: str
    context: str
    at: int
    since: int | None
    opened: int | None

    @property
    def line(self) -> str:
        return self.page.line(self.page.range_of(self.at, self.at).line)

    @property
    def before(self) -> str:
        """The text of the line up to the problem."""
        return self.line[: self.page.range_of(self.at, self.at).column - 1]

    def error(self, code: str, summary: str, hint: str = "", *, at: int | None = None, related: str = "",
              place: int | None = None) -> Diagnostic:
        """place: the offset that `related` describes, the construct's start if None."""
        at = self.at if at is None else at
        place = self.since if place is None else place
        notes = (Related(related, self.page.range_of(place, place + 1)),) if related and place is not None and place != at else ()
        return Diagnostic(Severity.ERROR, code, summary, "", hint, self.page.range_of(at, at + 1), related=notes)


def explain(page: Document, error: MarkedYAMLError, opened: int | None = None) -> Diagnostic:
    """One diagnostic for a parser's error. page: the file's text, without its value. opened: the last bracket that is open."""
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    at = min(mark.index, len(page.text)) if mark else 0
    trouble = _Trouble(page, error.problem or "", error.context or "", at, context.index if context else None, opened)
    if _TEMPLATE.search(trouble.line.split(" #")[0]):
        match = _TEMPLATE.search(trouble.line)
        start = page.range_of(at, at).column - 1
        offset = (match.end() - 2 if match else start) - start
        return trouble.error("unquoted_template", "a value that starts with {{ must be quoted", 'write it as "{{ ... }}"',
                             at=at + offset)
    for fragment, sentence in _SENTENCES:
        if fragment in trouble.problem or fragment in trouble.context:
            return sentence(trouble)
    return trouble.error("yaml_syntax", f"this is not valid YAML: {trouble.problem or trouble.context}")


def _start_of_token(trouble: _Trouble) -> Diagnostic:
    character = trouble.page.text[trouble.at : trouble.at + 1]
    if character == "\t":
        return _tab(trouble)
    return trouble.error("yaml_syntax", f"a value cannot start with {character!r} unless it is quoted", _QUOTE_IT)


def _tab(trouble: _Trouble) -> Diagnostic:
    return trouble.error("tab_indentation", "a tab is used for indentation", "use spaces")


def _colon(trouble: _Trouble) -> Diagnostic:
    if "\u00a0" in trouble.line or "\u00a0" in trouble.page.line(trouble.page.range_of(trouble.at, trouble.at).line - 1):
        return trouble.error("no_break_space", "a no-break space (U+00A0) stands where a space should be", "write a normal space")
    if re.search(r":\s", trouble.before):
        return trouble.error("yaml_syntax", "there is a second ': ' in one line",
                             "put the second key on a line of its own, or quote the value if it contains ': '")
    return trouble.error("yaml_syntax", "a key cannot begin here",
                         "indent it like its neighbours, and check that the line before ends its key with ':'")


def _unclosed(trouble: _Trouble) -> Diagnostic:
    start = trouble.since if trouble.since is not None else trouble.at
    character = trouble.page.text[start : start + 1]
    closing = _CLOSING.get(character, character)
    return trouble.error("yaml_syntax", f"the {character} that opens here is not closed", f"close it with {closing}", at=start,
                         related="noticed here", place=trouble.at)


def _expected_key(trouble: _Trouble) -> Diagnostic:
    if trouble.before.strip():
        return trouble.error("yaml_syntax", "there is more text after a value that was complete", "quote the whole value",
                             related="the mapping begins here")
    header = _block_header(trouble)
    if header is not None:
        return trouble.error("yaml_syntax", "this line is indented less than the text block that it seems to belong to",
                             "indent every line of the block alike", related="the block begins here", place=header)
    return trouble.error("yaml_syntax", "this line is indented differently from the keys around it",
                         "indent all keys of a mapping alike", related="the mapping begins here")


def _expected_item(trouble: _Trouble) -> Diagnostic:
    return trouble.error("yaml_syntax", "expected another list item ('- ') here",
                         "indent all keys of one item alike, and all items alike", related="the list begins here")


def _item(trouble: _Trouble) -> Diagnostic:
    return trouble.error("yaml_syntax", "a list item cannot begin here",
                         "put '- ' on a line of its own, or quote a value that starts with '- '")


def _simple_key(trouble: _Trouble) -> Diagnostic:
    start = trouble.since if trouble.since is not None else trouble.at
    return trouble.error("yaml_syntax", "this line has no ':' after its key", "write key: value", at=start)


def _anchor(trouble: _Trouble) -> Diagnostic:
    start = trouble.since if trouble.since is not None else trouble.at
    character = trouble.page.text[start : start + 1]
    return trouble.error("yaml_syntax", f"a value that starts with {character} must be quoted", _QUOTE_IT, at=start)


def _escape(trouble: _Trouble) -> Diagnostic:
    return trouble.error("yaml_syntax", "this backslash escape is not known in double-quoted text",
                         r"write \\ for a backslash, or use single quotes")


def _document(trouble: _Trouble) -> Diagnostic:
    return trouble.error("yaml_syntax", "there is more text after the end of the document", "remove it, or the '...' before it")


def _directive(trouble: _Trouble) -> Diagnostic:
    return trouble.error("directive", "lines that start with % (YAML directives) are not supported", "remove the line")


def _node(trouble: _Trouble) -> Diagnostic:
    if trouble.opened is not None and not trouble.page.text[trouble.at :].strip():
        return _unclosed(replace(trouble, since=trouble.opened))
    return trouble.error("yaml_syntax", "expected a value here, and a closing bracket for each open one",
                         related="while reading this")


def _block(trouble: _Trouble) -> Diagnostic:
    return trouble.error("yaml_syntax", "the first line of a text block holds only | or > with its modifiers",
                         "begin the text on the next line")


def _tag(trouble: _Trouble) -> Diagnostic:
    return trouble.error("tag_not_allowed", "YAML tags are not allowed", "remove it, or quote a value that starts with !")


def _block_header(trouble: _Trouble) -> int | None:
    """The offset of the | or > above whose text the problem line seems to continue."""
    number = trouble.page.range_of(trouble.at, trouble.at).line
    indent = len(trouble.line) - len(trouble.line.lstrip(" "))
    offset = trouble.at - len(trouble.before)
    for above in range(number - 1, 0, -1):
        text = trouble.page.line(above)
        offset = trouble.page.text.rfind(text, 0, offset)
        if not text.strip() or len(text) - len(text.lstrip(" ")) > indent:
            continue
        header = _BLOCK_HEADER.search(text)
        return offset + header.start() if header else None
    return None


_CLOSING = {"[": "]", "{": "}"}

_SENTENCES: tuple[tuple[str, Callable[[_Trouble], Diagnostic]], ...] = (
    ("cannot start any token", _start_of_token),
    ("tab character", _tab),
    ("mapping values are not allowed", _colon),
    ("expected ',' or", _unclosed),
    ("unexpected end of stream", _unclosed),
    ("unexpected document indicator", _unclosed),
    ("did not find expected key", _expected_key),
    ("'-' indicator", _expected_item),
    ("block sequence entries", _item),
    ("could not find expected ':'", _simple_key),
    ("scanning an alias", _anchor),
    ("scanning an anchor", _anchor),
    ("scanning a tag", _tag),
    ("parsing a tag", _tag),
    ("undefined tag handle", _tag),
    ("escape", _escape),
    ("hexdecimal", _escape),
    ("hexadecimal", _escape),
    ("directive", _directive),
    ("incompatible YAML document", _directive),
    ("<document start>", _document),
    ("node content", _node),
    ("comment or line break", _block),
    ("indentation indicator", _block),
)
