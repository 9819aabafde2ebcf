"""Fields of a schema as a table: what stands in each column."""

import re
from typing import Any

import pytest

from jobform.schema import document_names, load_document
from jobform.schema_table import Field, fields, markdown


def table(properties: dict[str, Any], **more: Any) -> dict[str, Field]:
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties, **more}
    return {field.path: field for field in fields(document)}


@pytest.mark.parametrize(("schema", "type_", "limits"), [
    ({"type": "string"}, "string", ""), ({"type": ["integer", "null"], "minimum": 1}, "integer or null", "at least 1"),
    ({"type": "string", "x-jobform-type": "duration"}, "duration", ""),
    ({"type": ["number", "string"], "x-jobform-type": "quantity", "exclusiveMinimum": 0}, "quantity", "more than 0"),
    ({"type": "array", "items": {"type": "string", "enum": ["a", "b|c"]}, "maxItems": 5}, "list of string",
     "at most 5 items; each: one of `a`, `b|c`"),
    ({"type": "array", "x-jobform-type": "set", "items": {"type": "integer", "minimum": 1, "maximum": 9}}, "set of integer",
     "each: 1 to 9"),
    ({"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}, "propertyNames": {"pattern": "^a"}},
     "map of string", "each value: at most 3 characters; each key: matches `^a`"),
    ({"type": "string", "minLength": 1}, "string", "not empty"),
    ({"type": "string", "minLength": 4, "maxLength": 4}, "string", "4 characters"),
    ({"type": "string", "pattern": "x" * 80}, "string", "of a certain form"),
    ({"type": "string", "pattern": "x", "minLength": 2, "x-jobform-expected": "an x"}, "string", "an x"),
    ({"const": "a"}, "string", "only `a`"), ({"enum": [1, True, "x"]}, "boolean or integer or string", "one of `1`, `true`, `x`"),
    ({"enum": [str(number) for number in range(20)]}, "string", f"one of {', '.join(f'`{n}`' for n in range(16))} and 4 more"),
    ({"type": "integer", "multipleOf": 32, "default": 64}, "integer", "a multiple of 32; default `64`"),
    ({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, "string or list of string", ""),
    ({"$ref": "common.schema.json#/$defs/nodes"}, "integer", "1 to 10000"), ({"description": "x"}, "any", ""),
    ({"type": "string", "x-jobform-backend-default": True, "x-jobform-write-only": True, "x-jobform-sensitive": True,
      "x-jobform-secret": "never", "x-jobform-input": "file"}, "string",
     "the service fills it in; the service never shows it; never shown; a path in the project; no secret"),
])
def test_type_and_limits(schema: dict[str, Any], type_: str, limits: str) -> None:
    field = table({"a": schema})["a"]
    assert (field.type, field.limits) == (type_, limits)


def test_what_lies_deeper() -> None:
    found = table({
        "a": {"type": "object", "required": ["b"], "properties": {"b": {"type": "string"}, "c": {"type": "string"}},
              "x-jobform-class": "placement", "x-jobform-mutable": "always"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "string"}}}},
    })
    assert list(found) == ["a", "a.b", "a.c", "list", "list[].x", "map", "map{}.y"]
    assert (found["a.b"].class_, found["a.b"].can_change) == ("placement", "any time"), "as what holds it"
    assert (found["list"].class_, found["list"].can_change) == ("result", "no")
    assert [found[path].required for path in ("a", "a.b", "a.c")] == ["", "yes", ""]


def test_required() -> None:
    found = table(
        {name: {"type": "string"} for name in "abcdef"}, required=["a"], oneOf=[{"required": ["b"]}, {"required": ["c"]}],
        allOf=[{"required": ["d"]}, {"if": {"required": ["b"]}, "then": {"required": ["e"]}}],
    )
    assert [found[name].required for name in "abcdef"] == ["yes", "one of", "one of", "yes", "at times", ""]


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {"type": "object", "properties": {"more": {"$ref": "#/$defs/tree"}}}
    found = table({"a": {"$ref": "#/$defs/tree"}}, **{"$defs": {"tree": tree}})
    assert list(found)[:2] == ["a", "a.more"]
    assert len(found) < 12


def test_cells_hold_no_border_and_no_tag() -> None:
    text = markdown({"$schema": "x", "type": "object", "properties": {"a": {"description": "x|y <b> `<c>`\n\nz"}}})
    assert text.splitlines()[2] == "| `a` | any |  |  | result | no | x\\|y &lt;b> `<c>` z |"


@pytest.mark.parametrize("name", document_names())
def test_every_schema_can_be_shown(name: str) -> None:
    lines = markdown(load_document(name)).splitlines()
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in lines)
