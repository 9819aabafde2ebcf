"""A schema's fields as a table for people: what each is, what it may be, and what a change of it does."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobform.model.values import Json
from jobform.schema import bundle
from jobform.schema_rules import INPUT, Rule, RuleTree, Schema, resolve_ref, type_names

_HEAD = ("field", "type", "required", "limits", "class", "can change", "meaning")
_MUTABLE = {"always": "any time", "queued": "while queued", "suspended": "while suspended", "never": "no"}
_TYPES = {"object": "map", "array": "list"}
_KINDS = ("duration", "quantity")
_PARTS = frozenset({"const", "enum", "not"})
_MOST_VALUES, _LONGEST = 16, 60
_DEEPEST, _FEW = 8, 2
"""How deep fields are looked for, and how many levels of lists and maps a type or a limit goes into."""


@dataclass(frozen=True, slots=True)
class Field:
    """One row. path: dotted, `[]` for the items of a list and `{}` for the values of a map. required: yes, one of, at times."""

    path: str
    type: str
    required: str
    limits: str
    class_: str
    can_change: str
    meaning: str


def fields(document: Schema) -> list[Field]:
    """Every field of a shipped schema, in its own order, what lies deeper right after what holds it."""
    whole = bundle(document)
    found: dict[str, Field] = {}
    for field in _Table(whole).below(whole, (), ""):
        found.setdefault(field.path, field)
    return list(found.values())


def markdown(document: Schema) -> str:
    """The fields as a Markdown table."""
    rows = [
        (f"`{row.path}`", row.type, row.required, row.limits, row.class_, row.can_change, row.meaning) for row in fields(document)
    ]
    lines = [_HEAD, ("---",) * len(_HEAD), *rows]
    return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)


class _Table:
    def __init__(self, whole: Schema) -> None:
        self._whole = whole
        self._rules = RuleTree(whole)

    def below(self, schema: Schema, place: tuple[str | int, ...], path: str, depth: int = 0) -> Iterator[Field]:
        """The fields inside a place."""
        if depth > _DEEPEST:
            return
        layers = list(self._layers(schema))
        for key, inner in self._properties(layers).items():
            yield from self._field(inner, (*place, key), f"{path}.{key}" if path else key, self._required(schema, key), depth)
        for layer in layers:
            parts: tuple[tuple[str, str | int, str], ...] = (("additionalProperties", "any", "{}"), ("items", 0, "[]"))
            for keyword, part, suffix in parts:
                one = layer.get(keyword)
                if isinstance(one, dict):
                    yield from self.below(one, (*place, part), path + suffix, depth + 1)

    def _field(self, schema: Schema, place: tuple[str | int, ...], path: str, required: str, depth: int) -> Iterator[Field]:
        rule = self._rules.at(place).rule
        layers = list(self._layers(schema))
        meaning = next((str(layer["description"]) for layer in layers if "description" in layer), "")
        limits = "; ".join([*self._limits(layers), *_notes(layers, rule)])
        yield Field(path, self._type(layers), required, limits, rule.class_, _MUTABLE.get(rule.mutable, rule.mutable), meaning)
        yield from self.below(schema, place, path, depth + 1)

    def _layers(self, schema: Schema, depth: int = 0) -> Iterator[Schema]:
        """What applies at a place, without its conditions: they repeat in parts what stands outside of them."""
        yield schema
        inner: list[Json] = [resolve_ref(self._whole, ref)] if isinstance(ref := schema.get("$ref"), str) else []
        for keyword in ("allOf", "anyOf", "oneOf"):
            found = schema.get(keyword)
            inner += found if isinstance(found, list) else []
        for each in inner:
            if isinstance(each, dict) and depth < _DEEPEST:
                yield from self._layers(each, depth + 1)

    @staticmethod
    def _properties(layers: Sequence[Schema]) -> dict[str, Schema]:
        """Each property as it is described; a branch may only say which of its values the branch is about."""
        found: dict[str, Schema] = {}
        for layer in layers:
            properties = layer.get("properties")
            for key, inner in (properties if isinstance(properties, dict) else {}).items():
                if isinstance(inner, dict) and (key not in found or not found[key].keys() - _PARTS):
                    found[key] = inner
        return found

    def _required(self, schema: Schema, key: str) -> str:
        layers = [schema, *self._joined(schema)]
        if any(_names(layer, key) for layer in layers):
            return "yes"
        for layer in layers:
            for keyword in ("oneOf", "anyOf"):
                branches = layer.get(keyword)
                if isinstance(branches, list) and any(_names(branch, key) for branch in branches):
                    return "one of"
            dependent = layer.get("dependentRequired")
            if any(_names(layer.get(keyword), key) for keyword in ("then", "else")):
                return "at times"
            if isinstance(dependent, dict) and any(isinstance(keys, list) and key in keys for keys in dependent.values()):
                return "at times"
        return ""

    def _joined(self, schema: Schema) -> Iterator[Schema]:
        """What surely applies beside the schema itself."""
        inner: list[Json] = [resolve_ref(self._whole, ref)] if isinstance(ref := schema.get("$ref"), str) else []
        branches = schema.get("allOf")
        for each in inner + (branches if isinstance(branches, list) else []):
            if isinstance(each, dict):
                yield each
                yield from self._joined(each)

    def _type(self, layers: Sequence[Schema], depth: int = 0) -> str:
        kind = next((str(layer["x-jobform-type"]) for layer in layers if "x-jobform-type" in layer), "")
        if kind in _KINDS:
            return kind
        words: dict[str, None] = {}
        for layer in layers:
            for name in type_names(layer) if "type" in layer else sorted(type_names(layer)):
                words[self._word(name, layers, kind, depth)] = None
        return " or ".join(words) or "any"

    def _word(self, name: str, layers: Sequence[Schema], kind: str, depth: int) -> str:
        keyword = {"object": "additionalProperties", "array": "items"}.get(name)
        word = "set" if name == "array" and kind == "set" else _TYPES.get(name, name)
        if keyword is None or depth == _FEW or (name == "object" and self._properties(layers)):
            return word
        inner = next((found for layer in layers if isinstance(found := layer.get(keyword), dict)), None)
        return word if inner is None else f"{word} of {self._type(list(self._layers(inner)), depth + 1)}"

    def _limits(self, layers: Sequence[Schema], depth: int = 0) -> Iterator[str]:
        expected = next((str(layer["x-jobform-expected"]) for layer in layers if "x-jobform-expected" in layer), "")
        if expected:
            yield expected
        seen: dict[str, None] = {}
        for layer in layers:
            seen.update(dict.fromkeys(_bounds(layer, told=bool(expected))))
        yield from seen
        for keyword, what in (("items", "each"), ("additionalProperties", "each value"), ("propertyNames", "each key")):
            for layer in layers:
                inner = layer.get(keyword)
                if isinstance(inner, dict) and depth < _FEW:
                    found = "; ".join(self._limits(list(self._layers(inner)), depth + 1))
                    if found:
                        yield f"{what}: {found}"


def _bounds(layer: Schema, *, told: bool) -> Iterator[str]:
    """told: what a text looks like has been said in words."""
    if "const" in layer:
        yield f"only {_code(layer['const'])}"
    values = layer.get("enum")
    if isinstance(values, list):
        more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
        yield f"one of {', '.join(map(_code, values[:_MOST_VALUES]))}{more}"
    for least, most, what in (
        ("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " keys"),
    ):
        text = _range(layer.get(least), layer.get(most), what)
        if text and not (told and what == " characters"):
            yield text
    if "exclusiveMinimum" in layer:
        yield f"more than {layer['exclusiveMinimum']}"
    if "exclusiveMaximum" in layer:
        yield f"less than {layer['exclusiveMaximum']}"
    if "multipleOf" in layer:
        yield f"a multiple of {layer['multipleOf']}"
    if "pattern" in layer and not told:
        pattern = str(layer["pattern"])
        yield f"matches {_code(pattern)}" if len(pattern) <= _LONGEST else "of a certain form"
    if layer.get("uniqueItems") is True:
        yield "each once"
    if "default" in layer:
        yield f"default {_code(layer['default'])}"


def _range(least: Json, most: Json, what: str) -> str:
    if least is not None and most is not None:
        return f"{least}{what}" if least == most else f"{least} to {most}{what}"
    if most is not None:
        return f"at most {most}{what}"
    if least == 1 and what:
        return "not empty"
    return f"at least {least}{what}" if least else ""


def _notes(layers: Sequence[Schema], rule: Rule) -> Iterator[str]:
    if any("x-jobform-backend-default" in layer for layer in layers) and rule.backend_default:
        yield "the service fills it in"
    if any("x-jobform-write-only" in layer for layer in layers) and rule.write_only:
        yield "the service never shows it"
    if any("x-jobform-sensitive" in layer for layer in layers) and rule.sensitive:
        yield "never shown"
    if any(layer.get(INPUT) in (True, "file") for layer in layers):
        yield "a path in the project"
    if any("x-jobform-secret" in layer for layer in layers) and rule.secret == "never":  # noqa: S105  # a word about secrets
        yield "no secret"


def _names(schema: Json, key: str) -> bool:
    required = schema.get("required") if isinstance(schema, dict) else None
    return isinstance(required, list) and key in required


def _code(value: Json) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    """Text of a cell: no border in it, and no tag outside of code."""
    line = " ".join(text.replace("|", "\\|").split())
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(line.split("`")))
