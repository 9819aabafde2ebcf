"""The last look at a rendered spec: it must fit its backend's schema and must not give secrets away."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobform.config.problem import Problem, Report
from jobform.config.secrets import secret_names
from jobform.model.address import number_text
from jobform.model.diagnostic import Severity
from jobform.model.job import Policy
from jobform.model.units import plain_number
from jobform.model.values import Json, Path, deferred, dotted, is_deferred
from jobform.schema import SpecSchema
from jobform.schema_rules import Node

_TOKENS = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": r"\b(?:gh[opsru]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10}",
    "a private key": r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a signed token (JWT)": r"\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]",
    "a password in a URL": r"://[^/?#\s:@{}]{0,256}:[^/?#\s:@{}]{1,256}@",
}
_ANY_TOKEN = re.compile("|".join(f"({pattern})" for pattern in _TOKENS.values()))
_SHORTEST_TOKEN = 8


def is_token(text: str) -> bool:
    """Whether a text holds what looks like a known kind of credential."""
    return len(text) >= _SHORTEST_TOKEN and _ANY_TOKEN.search(text) is not None


_SHALLOW = 3
"""Parts of a path in a backend's own vocabulary; what lies deeper is a service's own document, whose rules say where to go."""

_ODD = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f"
    "\\u061c\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2064\\u2066-\\u2069\\ufeff\\ud800-\\udfff]",
)
"""Control characters other than tab and line ends, and characters that change what a text looks like."""

_WHY_ODD = "it is invisible or a control character, so the text is not what it looks like"
_IMPOSSIBLE = re.compile("[\\x00\\ud800-\\udfff]")


def validate_spec(
    spec: dict[str, Json], written: dict[str, Json], schema: SpecSchema, policy: Policy, report: Report,
    source_text: Callable[[Path], str | None] | None = None,
) -> dict[str, Json]:
    """The spec as a backend may have it; everything that is wrong with it is reported, with paths relative to the spec.

    written: the same spec one step earlier, to know which values came from expressions: at planning as in the files, at
    submission with its `{expr, with}`, whose values are then never shown. Numbers and booleans from expressions become strings
    where the schema wants strings; keys that `optional_keys` lists and the schema lacks are left out. `{expr, with}` is passed
    by: it is judged when it is known. source_text: how the scalar at a path was written in its file.
    """
    kept = _without_optional(spec, policy, schema)
    fitted = _Look(schema, policy, report).value(kept, written, schema.root, ())
    assert isinstance(fitted, dict), "a map stays one"
    if not schema.is_valid(fitted):
        hidden = [path for path, _ in deferred(written)]
        for found in schema.problems(fitted, source_text, hidden):
            report(Problem(found.path, found.code, found.summary, found.detail, found.hint, found.at_key))
    return fitted


def _without_optional(spec: dict[str, Json], policy: Policy, schema: SpecSchema) -> dict[str, Json]:
    """The spec without the optional keys (`ttl`, `resources.gpu`) that the schema does not have."""
    for key in policy.optional_keys:
        path = tuple(key.split("."))
        if not schema.rule(path).known:
            spec = without(spec, path)
    return spec


def without(value: dict[str, Json], path: tuple[str, ...]) -> dict[str, Json]:
    """A map without what stands at a path of keys."""
    name, rest = path[0], path[1:]
    if name not in value:
        return value
    if not rest:
        return {key: item for key, item in value.items() if key != name}
    below = value[name]
    return {**value, name: without(below, rest)} if isinstance(below, dict) else value


@dataclass(frozen=True, slots=True)
class _Look:
    """One walk over a spec beside what it was made of."""

    schema: SpecSchema
    policy: Policy
    report: Report

    def value(self, value: Json, written: Json, node: Node, path: Path) -> Json:
        """The value as the schema wants it; what else is wrong with it is reported."""
        if isinstance(value, str):
            self._text(value, path)
            return value
        if isinstance(value, bool | int | float):
            number = plain_number(value) if isinstance(value, float) else value
            return _number(number) if node.text_only and _is_expression(written) else number
        if value is None:
            return None
        if isinstance(value, list):
            return [self.value(item, _part(written, i), node.item(i), (*path, i)) for i, item in enumerate(value)]
        if is_deferred(value):
            self._deferred(value, node, path)
            return value
        return {key: self._entry(key, item, written, node, path) for key, item in value.items()}

    def _entry(self, key: str, item: Json, written: Json, node: Node, path: Path) -> Json:
        below = (*path, key)
        if not (key.isascii() and key.isprintable()) and _ODD.search(key):
            summary = f"a key holds the character {_names(key)}"
            self.report(Problem(below, "odd_character", summary, _WHY_ODD, "write the key again by hand", at_key=True))
        return self.value(item, _part(written, key), node.child(key), below)

    def _text(self, text: str, path: Path) -> None:
        if len(text) >= _SHORTEST_TOKEN:
            self._plain_secret(text, path)
        if text.isascii() and text.isprintable():
            return
        if _IMPOSSIBLE.search(text):
            self.report(Problem(path, "odd_character", f"the text holds {_names(text)}, which no program can be given"))
        elif _ODD.search(text):
            summary = f"the text holds the character {_names(text)}"
            self.report(Problem(path, "odd_character", summary, _WHY_ODD, severity=Severity.WARNING))

    def _plain_secret(self, text: str, path: Path) -> None:
        match = _ANY_TOKEN.search(text)
        if match is None or any(part in self.policy.allow_plain for part in path):
            return
        what = list(_TOKENS)[(match.lastindex or 1) - 1]
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        self.report(Problem(
            path, "plain_secret", f"{'.'.join(map(str, path))} looks like {what}", "job files, plans and state would hold it",
            f"write \"{{{{ secret('NAME') }}}}\" and set JOBFORM_SECRET_NAME, or list {key} in allow_plain if it is none",
        ))

    def _deferred(self, value: dict[str, Json], node: Node, path: Path) -> None:
        text = value["expr"]
        assert isinstance(text, str), "the shape of a deferred value"
        self._text(text, path)
        if node.decides_end:
            self.report(Problem(
                path, "not_known_yet", f"{dotted(path)} must be known when the job is planned",
                "it decides whether the job ends by itself", "write the value, or use a variable or a matrix key",
            ))
        if node.rule.secret == "never" and secret_names(value):  # noqa: S105  # a word about secrets, not one
            deep = len(path) > _SHALLOW
            where = dotted(path) if deep else next((part for part in path if isinstance(part, str)), "this")
            self.report(Problem(
                path, "secret_not_allowed", f"a secret must not stand in {where}", node.rule.reason,
                "" if deep else "pass it through env",
            ))


def _number(value: float) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else number_text(value)


def _is_expression(written: Json) -> bool:
    return isinstance(written, str) or is_deferred(written)


def _part(written: Json, part: str | int) -> Json:
    """What a part of a value was made of: below an expression, the expression."""
    if _is_expression(written):
        return written
    if isinstance(written, dict) and isinstance(part, str):
        return written.get(part)
    return written[part] if isinstance(written, list) and isinstance(part, int) and part < len(written) else None


def _names(text: str) -> str:
    """The odd characters of a text, by number."""
    return ", ".join(_numbers(text))


def _numbers(text: str) -> Iterator[str]:
    yield from (f"U+{ord(character):04X}" for character in sorted(set(_ODD.findall(text)))[:5])
