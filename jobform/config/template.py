"""From the text of a scalar to its literal pieces and expressions, and from an expression to its value.

Expressions are cached by their text: each is checked and compiled once, and is a pure function of what it reads.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from jinja2 import TemplateSyntaxError, Undefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import TemplateError, UndefinedError

from jobform.config.sandbox import MOST_ITEMS, MOST_TEXT, Function, TemplateFault, environment, number
from jobform.config.syntax import Fault, Read, check
from jobform.model.values import Json, is_deferred

MOST_TEMPLATE = 64 * 1024
_MOST_PIECES = 256

_EASY = re.compile(r"\{\{(?![-+])([^{}'\"\\]*)(?<![-+])\}\}")


class Expression:
    """The inside of one `{{ }}`, or a whole text with `{% if %}` when `block`. Equal only to itself."""

    def __init__(self, text: str, *, block: bool = False) -> None:
        self.text, self.block = text, block
        self._checked = check(text, block=block)
        self._run: Callable[..., Any] | None = None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it whatever its values are; it is evaluated only without faults."""
        return self._checked.faults

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it looks at."""
        return self._checked.reads

    @property
    def optional(self) -> frozenset[Read]:
        """The reads whose absence it takes care of."""
        return self._checked.optional

    @property
    def derived(self) -> frozenset[Read]:
        """The reads that it does more with than put them into a text, which a secret does not allow."""
        return self._checked.derived

    def evaluate(self, values: Mapping[Read, Json]) -> Json:
        """The value, given that of each read; optional ones may be absent. Raises TemplateFault, whose message shows no value."""
        whole = self._checked.whole
        if whole is not None and whole in values:
            return plain(values[whole])
        if self._run is None:
            self._run = self._compile()
        try:
            result = self._run(**_context(self.reads, values))
            if isinstance(result, Undefined):
                str(result)
            return plain(result)
        except UndefinedError as error:
            raise TemplateFault(error.message or "something is not defined", code="unknown_name") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
            raise TemplateFault("the operators and filters do not fit the values that they are used on") from None
        except (RecursionError, MemoryError):
            raise TemplateFault("the expression is too large") from None

    def _compile(self) -> Callable[..., Any]:
        tree, env = self._checked.tree, environment()
        assert tree is not None, "an expression with faults is not evaluated"
        try:
            if self.block:
                return env.from_string(tree).render
            (output,) = tree.body
            assert isinstance(output, nodes.Output)
            body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), output.nodes[0], lineno=1)]
            program = nodes.Template(body, lineno=1)
            program.set_environment(env)
            return TemplateExpression(env.from_string(program), undefined_to_none=False)
        except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError):
            raise TemplateFault("the expression is too large") from None


Piece: TypeAlias = str | Expression


@lru_cache(maxsize=8192)
def expression(text: str) -> Expression:
    """The expression inside `{{ }}`, checked once."""
    return Expression(text)


@lru_cache(maxsize=512)
def _block(text: str) -> Expression:
    return Expression(text, block=True)


def split(text: str) -> tuple[Piece, ...]:
    """A text as literal pieces and expressions, in order; a text that is one expression is that expression alone.

    Raises TemplateFault for a text that cannot be cut.
    """
    if len(text) > MOST_TEMPLATE:
        raise TemplateFault(f"a text with a template has at most {MOST_TEMPLATE} characters")
    if "\r" in text:
        raise TemplateFault("a text with a template cannot hold a carriage return", "save the file with LF line ends")
    pieces = _split_easy(text)
    return _split_by_lexer(text) if pieces is None else pieces


def offsets(text: str, pieces: tuple[Piece, ...]) -> Iterator[int]:
    """Where each piece's text starts in the whole text."""
    position = 0
    for piece in pieces:
        own = piece if isinstance(piece, str) else piece.text
        found = text.find(own, position)
        position = found if found >= 0 else position
        yield position
        position += len(own)


def _split_easy(text: str) -> tuple[Piece, ...] | None:
    """The cut where no quote, brace, tag or whitespace control could mislead; None where Jinja's lexer must decide."""
    if "{%" in text:
        return None
    pieces: list[Piece] = []
    position = 0
    for match in _EASY.finditer(text):
        literal = text[position:match.start()]
        if literal:
            if "{{" in literal or literal[-1] == "{":
                return None
            pieces.append(literal)
        pieces.append(expression(match[1]))
        position = match.end()
    rest = text[position:]
    if "{{" in rest or len(pieces) > _MOST_PIECES:
        return None
    if rest:
        pieces.append(rest)
    return tuple(pieces)


@lru_cache(maxsize=2048)
def _split_by_lexer(text: str) -> tuple[Piece, ...]:
    """The cut as Jinja's lexer makes it. A text with a tag other than `raw` is one block expression."""
    pieces: list[Piece] = []
    inside: list[str] | None = None
    try:
        for _, token, value in environment().lexer.tokeniter(text, None):
            if token == "block_begin":  # noqa: S105  # a kind of token
                return (_block(text),)
            if token == "variable_begin":  # noqa: S105  # a kind of token
                inside = []
            elif token == "variable_end":  # noqa: S105  # a kind of token
                pieces.append(expression("".join(inside or [])))
                inside = None
            elif inside is not None:
                inside.append(value)
            elif token == "data" and value:  # noqa: S105  # a kind of token
                pieces.append(value)
    except TemplateSyntaxError as error:
        raise TemplateFault(f"the template cannot be read: {error.message}", code="bad_template") from None
    if inside is not None:
        raise TemplateFault("{{ is never closed", "end the expression with }}")
    if len(pieces) > _MOST_PIECES:
        raise TemplateFault(f"a text has at most {_MOST_PIECES} pieces")
    return tuple(pieces)


def plain(value: Any) -> Json:
    """A copy of a result as plain JSON. Raises TemplateFault for what JSON cannot hold, and for what is too large."""
    budget = [MOST_ITEMS, MOST_TEXT]

    def copy(item: Any) -> Json:
        budget[0] -= 1
        if isinstance(item, str):
            budget[1] -= len(item)
            _spent(budget)
            return checked_text(str(item))
        if item is None or isinstance(item, bool):
            return item
        if isinstance(item, int | float):
            return number(item)
        _spent(budget)
        if isinstance(item, list | tuple):
            return [copy(below) for below in item]
        if isinstance(item, dict):
            copied = {checked_text(str(key)): copy(below) for key, below in item.items()}
            if is_deferred(copied):
                raise TemplateFault("a map of just expr and with is reserved", code="reserved_shape")
            return copied
        raise TemplateFault("the result is not plain data")

    return copy(value)


def _spent(budget: list[int]) -> None:
    if min(budget) < 0:
        raise TemplateFault(f"the result is too large: the limit is {MOST_TEXT} characters and {MOST_ITEMS} items")


def checked_text(text: str) -> str:
    """The text itself. Raises TemplateFault if no file, process or service could take it."""
    if len(text) > MOST_TEXT:
        raise TemplateFault(f"the result is too large: the limit is {MOST_TEXT} characters")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise TemplateFault("the result holds half of a character (a lone surrogate)") from None
    if "\0" in text:
        raise TemplateFault("the result holds a NUL character")
    return text


def _context(reads: tuple[Read, ...], values: Mapping[Read, Json]) -> dict[str, object]:
    """What the names of an expression stand for: maps of plain data and the two functions."""
    maps: dict[str, dict[str, Json]] = {"var": {}, "matrix": {}, "file": {}, "secret": {}}
    jobs: dict[str, Json] = {read.name: {"outputs": {}} for read in reads if read.root == "jobs"}
    context: dict[str, object] = {"var": maps["var"], "matrix": maps["matrix"], "jobs": jobs}
    for read, value in values.items():
        if read.root in maps:
            maps[read.root][read.name] = value
        elif read.root == "target":
            context["target"] = value
        elif read.key is None:
            jobs[read.name] = {"outputs": value}
        elif isinstance(below := jobs[read.name], dict) and isinstance(outputs := below["outputs"], dict):
            below["outputs"] = {**outputs, read.key: value}
    context["file"], context["secret"] = Function(maps["file"].__getitem__), Function(maps["secret"].__getitem__)
    return context
