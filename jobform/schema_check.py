"""The test that a schema of ours must pass: stricter than JSON Schema's own, which takes a mistyped keyword for an annotation."""

from collections.abc import Callable, Mapping

from jobform.model.suggest import suggest
from jobform.model.values import Json
from jobform.schema_rules import ANNOTATIONS, ENDLESS, LISTS, MAPS, SINGLES, compile_pattern, subschemas

_PLAIN = frozenset({
    "$comment", "$id", "$ref", "$schema", "const", "default", "dependentRequired", "deprecated", "description", "enum",
    "examples", "exclusiveMaximum", "exclusiveMinimum", "maxContains", "maxItems", "maxLength", "maxProperties",
    "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "readOnly",
    "required", "title", "type", "uniqueItems", "writeOnly",
})
_EDITORS = frozenset({"defaultSnippets", "markdownDescription", "enumDescriptions", "markdownEnumDescriptions"})
_KNOWN = _PLAIN | MAPS | LISTS | SINGLES | ANNOTATIONS | _EDITORS
_VALUES: Mapping[str, frozenset[object]] = {
    "x-jobform-class": frozenset({"result", "placement", "operational"}),
    "x-jobform-mutable": frozenset({"always", "queued", "suspended", "never"}),
    "x-jobform-type": frozenset({"duration", "quantity", "set", "text"}),
    "x-jobform-secret": frozenset({"allowed", "never"}),
    "x-jobform-sensitive": frozenset({True, False}),
    "x-jobform-backend-default": frozenset({True, False}),
    "x-jobform-write-only": frozenset({True, False}),
    "x-jobform-template": frozenset({True, False}),
    "x-jobform-input": frozenset({True, "file", "output"}),
}


def check_schema(schema: Json, resolve: Callable[[str], Json], place: str = "#") -> None:
    """Raises ValueError for the first mistake in a self-contained schema. resolve: what a local reference points at."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError(f"{place}: a schema is a map, true or false")
    for keyword, value in schema.items():
        _keyword(keyword, value, resolve, place)
    if place == "#":
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"#/{'/'.join(map(str, error.path))}: {error.message}") from error
    for keyword, below in subschemas(schema):
        for name, item in _named(keyword, below):
            check_schema(item, resolve, f"{place}/{keyword}{name}")


def _keyword(keyword: str, value: Json, resolve: Callable[[str], Json], place: str) -> None:
    if keyword not in _KNOWN:
        near = suggest(keyword, sorted(_KNOWN))
        raise ValueError(f"{place}: unknown keyword {keyword!r}" + (f"; did you mean {near}?" if near else ""))
    allowed = _VALUES.get(keyword)
    if allowed is not None and (isinstance(value, dict | list) or value not in allowed):
        raise ValueError(f"{place}: {keyword} must be one of {', '.join(sorted(map(str, allowed)))}")
    if keyword == ENDLESS and not (isinstance(value, list) and value):
        raise ValueError(f"{place}: {ENDLESS} is a list of values")
    if keyword == "multipleOf" and not isinstance(value, int):
        raise ValueError(f"{place}: multipleOf must be a whole number: binary fractions miss the others")
    if keyword == "pattern":
        compile_pattern(str(value))
    if keyword == "patternProperties" and isinstance(value, dict):
        for pattern in value:
            compile_pattern(pattern)
    if keyword == "$ref":
        resolve(str(value))


def _named(keyword: str, below: Json) -> list[tuple[str, Json]]:
    if keyword in MAPS and isinstance(below, dict):
        return [(f"/{name}", item) for name, item in below.items()]
    if isinstance(below, list):
        return [(f"/{index}", item) for index, item in enumerate(below)]
    return [("", below)]


