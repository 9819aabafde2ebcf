"""Field rules: what a schema's annotations say about each field of a spec, and what follows for comparing two specs.

A rule is looked up where JSON Schema would look: `properties`, `patternProperties`, `additionalProperties`, `items`,
`prefixItems`, through `$ref` and every branch of `allOf`, `anyOf`, `oneOf` and `if`. A field without an annotation has that
of its parent.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from jobform.model.address import number_text
from jobform.model.units import parse_duration, parse_quantity, plain_number
from jobform.model.values import Json, Path, canonical, digest, is_deferred

Schema = dict[str, Json]

_BRANCHES = ("allOf", "anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else")
_VERSION = 1
"""Raised when the way in which fingerprints are computed changes, so that stored ones are computed again."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is known of one field.

    class_: result (it can change what the job produces), placement or operational. mutable: always, queued, suspended, never.
    sensitive: never shown. list_key: the key that identifies the items of a list of maps. backend_default: the service may
    fill it in. write_only: the service never reports it. reason: why. secret: `never` where a secret must not stand.
    input: as `INPUT` says, None for no path. known: the schema has such a field.
    """

    class_: str = "result"
    mutable: str = "never"
    sensitive: bool = False
    list_key: str | None = None
    backend_default: bool = False
    write_only: bool = False
    reason: str = ""
    secret: str = "allowed"  # noqa: S105  # a word about secrets, not one
    input: bool | str | None = None
    known: bool = True


_INHERITED = {
    "x-jobform-class": "class_", "x-jobform-mutable": "mutable", "x-jobform-sensitive": "sensitive",
    "x-jobform-backend-default": "backend_default", "x-jobform-write-only": "write_only", "x-jobform-reason": "reason",
    "x-jobform-secret": "secret", "x-jobform-input": "input",
}

NAME = "x-jobform-name"
"""Marks the field with which a user names the run's object on the service."""

AFTER_END = "x-jobform-after-end"
"""Marks a field that is not sent before the outcome is recorded, since it may make the service forget the run."""

INPUT = "x-jobform-input"
"""Marks a text, or a list or map of texts, that are paths inside the project: of files or directories where it is true, of files
alone where it is `file`. Their content is part of what is accepted, of class result whatever the field's own is, and sent along.
Where it is `output`, it is a directory that results are written to (`model.outputs`), and nothing is read.
"""

ENDLESS = "x-jobform-endless"
"""Lists values of a property with which a job does not end by itself: it is where it should be while it runs."""

ANNOTATIONS = frozenset(_INHERITED) | {
    "x-jobform-list-key", "x-jobform-type", "x-jobform-template", "x-jobform-expected", NAME, AFTER_END, ENDLESS,
}
"""Every annotation that a schema of ours may carry."""


class _Dropped:
    """Stands for a value that is not part of a fingerprint."""


_DROPPED = _Dropped()


class RuleTree:
    """The rules of one self-contained schema. Nodes are made when first reached, so a schema may refer to itself."""

    def __init__(self, document: Schema) -> None:
        self._document = document
        self._nodes: dict[tuple[int, Rule], Node] = {}
        self.root = self.node(document, Rule())

    def node(self, schema: Json, parent: Rule) -> "Node":
        """The node of a subschema below a parent with this rule."""
        key = (id(schema), parent)
        if key not in self._nodes:
            layers = list(layers_at(self._document, schema)) if isinstance(schema, dict) else []
            self._nodes[key] = Node(self, layers, _rule(layers, parent))
        return self._nodes[key]

    def at(self, path: Path) -> "Node":
        """The node of a path; where the schema has no such field, one with the nearest ancestor's rule and `rule.known` False."""
        node = self.root
        for part in path:
            node = node.child(part)
        return node


class Node:
    """One place in a schema: its rule, how its values are normalised, and what lies below."""

    __slots__ = (
        "_additional", "_items", "_layers", "_named", "_patterns", "_prefix", "_tree", "decides_end", "kind", "result", "rule",
        "text_only",
    )

    def __init__(self, tree: RuleTree, layers: list[Schema], rule: Rule) -> None:
        self.rule = rule
        self.kind = next((kind for layer in layers if isinstance(kind := layer.get("x-jobform-type"), str)), "")
        self.result = rule.class_ == "result"
        self.decides_end = any(ENDLESS in layer for layer in layers)
        types = {name for layer in layers for name in type_names(layer)}
        self.text_only = "string" in types and not types & {"number", "integer", "boolean"}
        self._tree, self._layers = tree, layers
        self._named: dict[str, Node] = {}
        self._patterns: list[tuple[re.Pattern[str], Node]] | None = None
        self._additional: Node | None = None
        self._items: dict[int, Node] = {}
        prefixes = [prefix for layer in layers if isinstance(prefix := layer.get("prefixItems"), list)]
        self._prefix = max(map(len, prefixes), default=0)

    def child(self, part: str | int) -> "Node":
        """The node of a key, of a list position, or of an item told by its key, as in `[name=main]`.

        Where the schema does not have it, one with `rule.known` False.
        """
        if isinstance(part, int):
            return self.item(part)
        if self.rule.list_key and part.startswith("["):
            return self.item(self._prefix)
        node = self._named.get(part)
        return node if node is not None else self._find(part)

    def item(self, index: int) -> "Node":
        """The node of a list's item."""
        index = min(index, self._prefix)
        if index not in self._items:
            self._items[index] = self._find_item(index)
        return self._items[index]

    def keys(self) -> tuple[str, ...]:
        """The names of the properties that are listed here, in the schema's order."""
        found: dict[str, None] = {}
        for layer in self._layers:
            found.update(dict.fromkeys(mapping(layer.get("properties"))))
        return tuple(found)

    def _find(self, name: str) -> "Node":
        for layer in self._layers:
            properties = mapping(layer.get("properties"))
            if name in properties:
                self._named[name] = self._tree.node(properties[name], self.rule)
                return self._named[name]
        if self._patterns is None:
            self._patterns = [
                (compile_pattern(pattern), self._tree.node(schema, self.rule))
                for layer in self._layers for pattern, schema in mapping(layer.get("patternProperties")).items()
            ]
        for pattern, node in self._patterns:
            if pattern.search(name):
                return node
        if self._additional is None:
            self._additional = self._first("additionalProperties")
        return self._additional

    def _find_item(self, index: int) -> "Node":
        for layer in self._layers:
            prefix = layer.get("prefixItems")
            if isinstance(prefix, list) and index < len(prefix):
                return self._tree.node(prefix[index], self.rule)
        return self._first("items")

    def _first(self, keyword: str) -> "Node":
        """The node of the first subschema under `keyword`; of none, one that only inherits. A free-form map knows every key."""
        for layer in self._layers:
            schema = layer.get(keyword)
            if schema is True or isinstance(schema, dict):
                return self._tree.node(schema, self.rule)
        free = keyword == "additionalProperties" and any(
            "object" in type_names(layer) and keyword not in layer and "properties" not in layer for layer in self._layers)
        return Node(self._tree, [], replace(self.rule, known=free and self.rule.known, list_key=None))


def normalise(value: Json, node: Node) -> Json:
    """Equal meanings as equal values: durations as seconds, quantities as numbers, 1.0 as 1, sets sorted and each item once, and
    texts that may be written as numbers or truths as texts.
    """
    if isinstance(value, dict):
        return value if is_deferred(value) else {key: normalise(item, node.child(key)) for key, item in value.items()}
    if isinstance(value, list):
        items = [normalise(item, node.item(index)) for index, item in enumerate(value)]
        return _sorted_set(items) if node.kind == "set" else items
    return _scalar(value, node)


def result_fields(value: Json, node: Node) -> "Json | _Dropped":
    """The normalised part of a value that can change a job's result; containers that held nothing of it are dropped too."""
    if isinstance(value, dict):
        if not value or is_deferred(value):
            return value if node.result else _DROPPED
        kept = {}
        for key, item in value.items():
            part = result_fields(item, node.child(key))
            if not isinstance(part, _Dropped):
                kept[key] = part
        return kept or _DROPPED
    if isinstance(value, list):
        if not value:
            return value if node.result else _DROPPED
        parts = [part for i, v in enumerate(value) if not isinstance(part := result_fields(v, node.item(i)), _Dropped)]
        if not parts:
            return _DROPPED
        return _sorted_set(parts) if node.kind == "set" else parts
    return _scalar(value, node) if node.result else _DROPPED


def fingerprint(spec: Json, inputs: Mapping[str, str], node: Node) -> str:
    """The hash that decides whether a finished job is out of date; see `SpecSchema.fingerprint`."""
    fields = result_fields(spec, node)
    return digest({"spec": {} if isinstance(fields, _Dropped) else fields, "inputs": dict(inputs)})


def input_values(value: Json, node: Node, path: Path = ()) -> Iterator[tuple[Path, Json, Rule]]:
    """Every value that names an input, or will when it is known, with its path and rule."""
    if isinstance(value, dict) and not is_deferred(value):
        for key, item in value.items():
            yield from input_values(item, node.child(key), (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from input_values(item, node.item(index), (*path, index))
    elif node.rule.input and node.rule.known:
        yield path, value, node.rule


def carries(document: Json, annotation: str) -> bool:
    """Whether any part of a schema carries an annotation."""
    if isinstance(document, dict):
        return annotation in document or any(carries(item, annotation) for item in document.values())
    return isinstance(document, list) and any(carries(item, annotation) for item in document)


def rules_version(document: Schema) -> str:
    """16 hex digits that change whenever the schema could give a spec another fingerprint."""
    return digest([_VERSION, _skeleton(document)])[:16]


def _skeleton(schema: Json) -> Json:
    """Only what decides which fields exist, of which class they are and how they are normalised."""
    if not isinstance(schema, dict):
        return schema if isinstance(schema, bool) else None
    kept: Schema = {key: schema[key] for key in ("$ref", "x-jobform-class", "x-jobform-type") if key in schema}
    for keyword, below in subschemas(schema):
        kept[keyword] = (
            {name: _skeleton(item) for name, item in below.items()} if keyword in MAPS and isinstance(below, dict)
            else [_skeleton(item) for item in below] if isinstance(below, list)
            else _skeleton(below)
        )
    return kept


MAPS = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SINGLES = frozenset({
    "additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedProperties",
    "unevaluatedItems",
})


def subschemas(schema: Schema) -> Iterator[tuple[str, Json]]:
    """Each keyword of a schema that holds further schemas, with what it holds."""
    for keyword, below in schema.items():
        if keyword in MAPS or keyword in LISTS or keyword in SINGLES:
            yield keyword, below


def type_names(schema: Schema) -> Collection[str]:
    """The JSON types that a schema's own `type` names, or those of its `const` and `enum`; empty when it does not say."""
    types = schema.get("type")
    if isinstance(types, str):
        return (types,)
    if isinstance(types, list):
        return tuple(name for name in types if isinstance(name, str))
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return tuple({type_of(value) for value in values}) if isinstance(values, list) else ()


def type_of(value: Json) -> str:
    """The JSON type of a value; `integer` for whole numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern with JSON Schema's meaning: `$` is the very end of the text, `\\d` and `\\w` are ASCII."""
    out, in_class, i = [], False, 0
    while i < len(pattern):
        piece = pattern[i:i + 2] if pattern[i] == "\\" else pattern[i]
        if piece == "[":
            in_class = True
        elif piece == "]":
            in_class = False
        out.append(r"\Z" if piece == "$" and not in_class else piece)
        i += len(piece)
    return re.compile("".join(out), re.ASCII)


def resolve_ref(document: Schema, ref: str) -> Json:
    """What a local `$ref` points at. Raises ValueError when there is no such place."""
    place: Json = document
    for part in ref.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
        elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
        else:
            raise ValueError(f"the schema refers to {ref}, which does not exist")
    return place


def layers_at(document: Schema, schema: Schema, seen: frozenset[int] = frozenset()) -> Iterator[Schema]:
    """Every schema that applies at one place, nearest first: itself, what it refers to, its branches."""
    if id(schema) in seen:
        raise ValueError("the schema refers to itself")
    seen |= {id(schema)}
    yield schema
    below = [resolve_ref(document, ref)] if isinstance(ref := schema.get("$ref"), str) else []
    for keyword in _BRANCHES:
        branches = schema.get(keyword)
        below += branches if isinstance(branches, list) else []
    below += [schema[keyword] for keyword in _CONDITIONS if keyword in schema]
    for item in below:
        if isinstance(item, dict):
            yield from layers_at(document, item, seen)


def _rule(layers: list[Schema], parent: Rule) -> Rule:
    """The parent's rule with what the layers annotate; the nearest layer that says something wins."""
    values: dict[str, Json] = {"list_key": None, "known": True}
    for layer in reversed(layers):
        if isinstance(layer.get("x-jobform-list-key"), str):
            values["list_key"] = layer["x-jobform-list-key"]
        values |= {name: layer[annotation] for annotation, name in _INHERITED.items() if annotation in layer}
    return replace(parent, **values)  # type: ignore[arg-type]  # annotations are checked by schema.check


def _scalar(value: Json, node: Node) -> Json:
    if isinstance(value, str):
        if not node.kind:
            return value
        try:
            if node.kind == "duration":
                return plain_number(parse_duration(value))
            if node.kind == "quantity":
                return parse_quantity(value)
        except ValueError:
            return value  # not one yet: validation says so, and comparing the text is right until then
        return value
    if node.kind == "text" and isinstance(value, bool | int | float):
        return scalar_as_text(value)
    return plain_number(value) if isinstance(value, float) else value


def scalar_as_text(value: float) -> str:
    """A number or a truth where a service wants a text: in its shortest JSON form."""
    return ("true" if value else "false") if isinstance(value, bool) else number_text(value)


def _sorted_set(items: list[Json]) -> list[Json]:
    return [item for _, item in sorted({canonical(item): item for item in items}.items())]


def mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
