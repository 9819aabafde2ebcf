"""JSON Schema 2020-12 for everything that users and programs write, with the field rules that the schemas carry.

Only schemas that ship with jobform can be referred to, as `NAME.schema.json#/...`; nothing is ever fetched. A valid value is
accepted by jsonschema-rs alone; jsonschema is imported only to explain an invalid one.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jobform.model.units import DURATION_PATTERN, QUANTITY_PATTERN
from jobform.model.values import Json, Path
from jobform.schema_places import Places, annotated, found_at, met_at
from jobform.schema_rules import (
    AFTER_END,
    ENDLESS,
    INPUT,
    LISTS,
    MAPS,
    NAME,
    SINGLES,
    Node,
    Rule,
    RuleTree,
    Schema,
    carries,
    input_values,
    normalise,
    resolve_ref,
    subschemas,
)
from jobform.schema_rules import fingerprint as _fingerprint
from jobform.schema_rules import rules_version as _rules_version

if TYPE_CHECKING:
    import jsonschema_rs

    from jobform.schema_messages import Finding
    from jobform.schema_mistakes import Unknown

_SUFFIX = ".schema.json"
_PLACES = (FilePath(__file__).parent / "schemas", FilePath(__file__).parent.parent / "schemas")

_DEFERRED: Schema = {
    "type": "object", "required": ["expr", "with"], "additionalProperties": False,
    "properties": {"expr": {"type": "string"}, "with": {"type": "object"}},
}
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{[{%]", "description": "a template"}


def load_document(name: str) -> Schema:
    """The schema `NAME.schema.json` as shipped. Raises ValueError when there is none of that name."""
    for place in _PLACES:
        file = place / f"{name}{_SUFFIX}"
        if name.replace("-", "").isalnum() and file.is_file():
            document: Schema = json.loads(file.read_text(encoding="utf-8"))
            return document
    raise ValueError(f"there is no schema named {name!r}; there are {', '.join(document_names())}")


def load_definition(name: str, definition: str) -> Schema:
    """One of the `$defs` of a shipped schema as a schema of its own, without the rest. Raises ValueError as `load_document`."""
    document = load_document(name)
    definitions = document["$defs"]
    found = definitions[definition] if isinstance(definitions, dict) else None
    assert isinstance(found, dict), "what ships is tested"
    return {"$schema": document["$schema"], **found}


def document_names() -> tuple[str, ...]:
    """The names that `load_document` knows, sorted."""
    return tuple(sorted({file.name.removesuffix(_SUFFIX) for place in _PLACES for file in place.glob(f"*{_SUFFIX}")}))


def bundle(document: Schema) -> Schema:
    """The same schema with everything that it refers to inside it, so that every `$ref` is local.

    Raises ValueError for a reference to anything but the document itself and the shipped schemas.
    """
    shipped: dict[str, Json] = {}

    def local(ref: str, home: str) -> str:
        target, _, fragment = ref.partition("#")
        name = target.rsplit("/", 1)[-1] if target else home
        if not name:
            return ref
        if target and (not name.endswith(_SUFFIX) or target != name):
            raise ValueError(f"the schema refers to {ref}; remote references are not allowed")
        if name not in shipped:
            shipped[name] = None
            shipped[name] = copied(load_document(name.removesuffix(_SUFFIX)), name)
        return f"#/$defs/{name}{fragment}"

    def copied(schema: Json, home: str) -> Json:
        if not isinstance(schema, dict):
            return schema
        return _map(schema, lambda item: copied(item, home)) | (
            {"$ref": local(ref, home)} if isinstance(ref := schema.get("$ref"), str) else {}
        )

    whole = copied(document, "")
    assert isinstance(whole, dict)
    if shipped:
        definitions = whole.get("$defs")
        whole["$defs"] = (definitions if isinstance(definitions, dict) else {}) | shipped
    return whole


def authoring(document: Schema) -> Schema:
    """The published form: self-contained, and every value may be a text with a template unless `x-jobform-template` is false."""
    return _widened(bundle(document), "template", _TEMPLATE) | {
        key: document[key] for key in ("$schema", "$id", "title") if key in document
    }


class SpecSchema:
    """One schema, ready to judge values, to give field rules and to compare specs.

    raw: the values are documents as written, in which any text with `{{` or `{%` stands for a value that is not known yet.
    Otherwise the values are rendered, and `{expr, with}` stands for such a value. Either is accepted wherever the schema wants
    any value at all.
    """

    def __init__(self, document: Schema, *, raw: bool = False) -> None:
        """Raises ValueError if the document refers to something outside or to nothing."""
        self.document = document
        self._raw = raw
        self._whole = _with_unit_patterns(bundle(document))

    def is_valid(self, value: object) -> bool:
        """Whether the value fits; a few microseconds."""
        return self._fast.is_valid(value)

    def problems(
        self, value: Json, source_text: Callable[[Path], str | None] | None = None, hidden: Collection[Path] = (),
    ) -> Iterator["Finding"]:
        """Why a value does not fit, in plain sentences; nothing if it does.

        source_text: how the scalar at a path was written in its file. hidden: paths whose values must never be shown.
        """
        if self.is_valid(value):
            return
        from jobform.schema_messages import Context, Finding, explain

        context = Context(self._whole, self.rule, self._unknown, source_text, frozenset(hidden))
        found = False
        for finding in explain(value, context):
            found = True
            yield finding
        if not found:
            for error in self._fast.iter_errors(value):
                yield Finding(tuple(error.instance_path), "bad_value", "this value is not allowed here")

    def rule(self, path: Path) -> Rule:
        """The rule of a field; `known` is False, with the nearest ancestor's rule, where the schema has no such field."""
        return self._rules.at(path).rule

    def keys(self) -> Collection[str]:
        """The names of the top-level properties, in the schema's order."""
        return self._rules.root.keys()

    @property
    def root(self) -> Node:
        """The top of the rule tree, for walks over a whole spec."""
        return self._rules.root

    def normalise(self, spec: Json) -> Json:
        """The spec with equal meanings written equally: durations in seconds, quantities in base units, 1.0 as 1, sets sorted."""
        return normalise(spec, self._rules.root)

    def fingerprint(self, spec: Json, inputs: Mapping[str, str]) -> str:
        """The hash of what can change a job's result: its result fields as written, normalised, and its inputs' hashes."""
        return _fingerprint(spec, inputs, self._rules.root)

    def inputs(self, spec: Mapping[str, Json]) -> Iterator[tuple[Path, Json, Rule]]:
        """Every value of a spec that names a file or directory of the project, or will when it is known."""
        return input_values(dict(spec), self._rules.root) if self._has_inputs else iter(())

    def given_name(self, spec: Mapping[str, Json]) -> str | None:
        """The name that a user gave to the run's object, None if there is none or it is not known yet."""
        return next((value for value in found_at(self._names, spec) if isinstance(value, str)), None)

    def holds_back(self, spec: Mapping[str, Json]) -> bool:
        """Whether the spec has a field that is not sent before the outcome is recorded."""
        return any(value is not None for value in found_at(self._after_end, spec))

    def completes(self, spec: Mapping[str, Json]) -> bool:
        """Whether a job of this spec ends by itself, as far as its fields say: none has a value that its schema calls endless."""
        return not any(value in place.values for place, value in met_at(self._endless, spec))

    @cached_property
    def _endless(self) -> Places:
        return annotated(self._whole, ENDLESS)

    @cached_property
    def _names(self) -> Places:
        return annotated(self._whole, NAME)

    @cached_property
    def _has_inputs(self) -> bool:
        return carries(self._whole, INPUT)

    @cached_property
    def _after_end(self) -> Places:
        return annotated(self._whole, AFTER_END)

    @cached_property
    def rules_version(self) -> str:
        """Fingerprints are comparable when they were computed with the same version."""
        return _rules_version(self._whole)

    @cached_property
    def _rules(self) -> RuleTree:
        return RuleTree(self._whole)

    @cached_property
    def _fast(self) -> "jsonschema_rs.Draft202012Validator":
        import jsonschema_rs

        name, shape = ("template", _TEMPLATE) if self._raw else ("deferred", _DEFERRED)
        try:
            return jsonschema_rs.Draft202012Validator(_widened(self._whole, name, shape), retriever=_refuse)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(f"the schema itself is wrong: {error}") from error

    @property
    def _unknown(self) -> "Unknown":
        from jobform.schema_messages import is_unknown_raw, is_unknown_rendered

        return is_unknown_raw if self._raw else is_unknown_rendered


def _refuse(uri: str) -> Schema:
    raise ValueError(f"the schema refers to {uri}; remote references are not allowed")


def _map(schema: Schema, change: Callable[[Json], Json]) -> Schema:
    """A copy of a schema with each of its direct subschemas changed."""
    out = {key: value for key, value in schema.items() if key not in ("$id", "$schema")}
    for keyword, below in subschemas(schema):
        if keyword in MAPS and isinstance(below, dict):
            out[keyword] = {name: change(item) for name, item in below.items()}
        elif keyword in LISTS and isinstance(below, list):
            out[keyword] = [change(item) for item in below]
        elif keyword in SINGLES:
            out[keyword] = change(below)
    return out


_PLACED = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})
"""The keywords below which a further value stands, not a further statement about the same value."""


_NOTES = ("title", "description", "default", "examples", "deprecated")
"""What editors show of a value's own schema."""


def _widened(document: Schema, name: str, alternative: Schema) -> Schema:
    """The schema in which every value below the top may instead be as `alternative` says."""
    key = f"jobform-{name}"

    def placed(schema: Json) -> Json:
        if not isinstance(schema, dict):
            return schema
        if name == "template" and schema.get("x-jobform-template") is False:
            return schema
        notes: Schema = {word: schema[word] for word in _NOTES if word in schema}
        return notes | {"anyOf": [stated(schema), {"$ref": f"#/$defs/{key}"}]}

    def stated(schema: Json) -> Json:
        if not isinstance(schema, dict):
            return schema
        out = dict(schema)
        for keyword, below in subschemas(schema):
            change = placed if keyword in _PLACED else stated
            if keyword in ("if", "not", "propertyNames", "contains"):
                continue
            if keyword in MAPS and isinstance(below, dict):
                out[keyword] = {name: change(item) for name, item in below.items()}
            elif isinstance(below, list):
                out[keyword] = [change(item) for item in below]
            else:
                out[keyword] = change(below)
        return out

    whole = stated(document)
    assert isinstance(whole, dict)
    definitions = whole.get("$defs")
    whole["$defs"] = (definitions if isinstance(definitions, dict) else {}) | {key: alternative}
    return whole


def _with_unit_patterns(schema: Schema) -> Schema:
    """The schema in which a text that is a duration or a quantity must read as one."""

    def change(item: Json) -> Json:
        return _with_unit_patterns(item) if isinstance(item, dict) else item

    out = _map(schema, change)
    pattern = {"duration": DURATION_PATTERN, "quantity": QUANTITY_PATTERN}.get(str(schema.get("x-jobform-type")))
    return out if pattern is None else {**out, "pattern": pattern}


def check(document: Schema) -> None:
    """Prove that a schema says what it means to say. Raises ValueError for the first mistake, with its place.

    Unknown keywords, wrong annotations, patterns that do not compile, references to nothing, and numbers that binary
    fractions miss (`multipleOf`) are mistakes. For tests of schemas: a running command trusts what ships.
    """
    from jobform.schema_check import check_schema

    whole = bundle(document)
    check_schema(whole, lambda ref: resolve_ref(whole, ref))
    SpecSchema(document).is_valid(None)
