"""Judging values by schema: what is accepted, and how a mistake is explained."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobform.schema import SpecSchema, authoring, bundle, check, document_names, load_document
from jobform.schema_rules import compile_pattern

DOCUMENT: dict[str, Any] = {
    "type": "object", "required": ["command"], "additionalProperties": False,
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}, "minItems": 1, "examples": [["python", "train.py"]]},
        "image": {"type": "string", "pattern": "^[a-z]+$", "x-jobform-expected": "lower-case letters"},
        "version": {"type": "string"},
        "gpu": {"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "object", "properties": {"count": {"type": "integer"}}, "additionalProperties": False},
        ]},
        "store": {"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "disk"}}, "required": ["kind", "path"]},
            {"type": "object", "properties": {"kind": {"const": "cloud"}}, "required": ["kind", "bucket"]},
        ]},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "timeout": {"type": "string", "x-jobform-type": "duration"},
        "memory": {"type": ["string", "number"], "x-jobform-type": "quantity"},
        "size": {"enum": ["small", "large"]},
        "flag": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "labels": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}},
        "password": {"type": "integer", "x-jobform-sensitive": True},
        "a": {}, "b": {},
    },
    "not": {"required": ["a", "b"]},
}
SCHEMA = SpecSchema(DOCUMENT)


def told(value: Any, **options: Any) -> list[str]:
    """Every finding as `path code: summary | detail | hint`."""
    return [
        f"{'.'.join(map(str, found.path))} {found.code}: {found.summary} | {found.detail} | {found.hint}"
        for found in SCHEMA.problems(value, **options)
    ]


OK = {"command": ["a"]}
CASES: list[tuple[Any, str, str, str, str, str]] = [
    # value, path, code, summary, detail, hint
    ({}, "", "missing_key",
     'the key "command" is missing',
     "", "for example command: [python, train.py]"),
    ({"command": None}, "command", "no_value",
     '"command" has no value',
     "expected a list of strings", "give it a value, or remove the key"),
    ([1], "", "wrong_type",
     "this must be a map, not a list",
     "", ""),
    ({"command": "python train.py --lr 0.1"}, "command", "wrong_type",
     '"command" must be a list of strings, not the string "python train.py --lr 0.1"',
     "", 'write a list: [python, train.py, --lr, "0.1"]'),
    ({"command": "echo 'a"}, "command", "wrong_type",
     "\"command\" must be a list of strings, not the string \"echo 'a\"",
     "", "write a list: [\"echo 'a\"]"),
    ({"command": ["a", 3]}, "command.1", "wrong_type",
     'item 2 of "command" must be a string, not the number 3',
     "", 'quote it: "3"'),
    ({"command": []}, "command", "bad_length",
     '"command" must have at least 1 item',
     "it has 0", ""),
    ({**OK, "image": "A\n"}, "image", "bad_format",
     '"image" is not written as it must be',
     'expected lower-case letters; found "A\\n"', ""),
    ({**OK, "image": "a\n"}, "image", "bad_format",
     '"image" is not written as it must be',
     'expected lower-case letters; found "a\\n"', ""),
    ({**OK, "flag": "yes"}, "flag", "wrong_type",
     '"flag" must be true or false, not the string "yes"',
     "", "use true or false: write true"),
    ({**OK, "flag": "true"}, "flag", "wrong_type",
     '"flag" must be true or false, not the string "true"',
     "", "remove the quotes: true"),
    ({**OK, "count": "8"}, "count", "wrong_type",
     '"count" must be a whole number, not the string "8"',
     "", "remove the quotes: 8"),
    ({**OK, "count": "1.5"}, "count", "wrong_type",
     '"count" must be a whole number, not the string "1.5"',
     "", ""),
    ({**OK, "count": 1.5}, "count", "wrong_type",
     '"count" must be a whole number, not the number 1.5',
     "", ""),
    ({**OK, "count": True}, "count", "wrong_type",
     '"count" must be a whole number, not true',
     "", ""),
    ({**OK, "count": 10}, "count", "out_of_range",
     '"count" must be at most 9',
     "found 10", ""),
    ({**OK, "size": "smal"}, "size", "bad_value",
     '"size" must be one of small, large',
     'found the string "smal"', "did you mean small?"),
    ({**OK, "timeout": "90"}, "timeout", "bad_duration",
     '"timeout" is not a duration',
     "a duration needs a unit: write 90s or 90m, not 90", ""),
    ({**OK, "timeout": 90}, "timeout", "wrong_type",
     '"timeout" must be a duration, not the number 90',
     "", "a duration needs a unit: write 90s or 90m"),
    ({**OK, "memory": "32GB"}, "memory", "bad_quantity",
     '"memory" is not a quantity',
     "'GB' is no unit of quantities: write 32G", ""),
    ({**OK, "tags": ["x", "y", "x"]}, "tags.2", "duplicate_item",
     '"x" stands twice in "tags"',
     "first as item 1", ""),
    ({**OK, "labels": {"A": 1}}, "labels.A", "bad_key",
     'the key "A" is not allowed here',
     "expected a match of ^[a-z]+$", ""),
    ({**OK, "gpu": "x"}, "gpu", "wrong_type",
     '"gpu" must be a whole number or a map, not the string "x"',
     "", ""),
    ({**OK, "gpu": {"cnt": 1}}, "gpu.cnt", "unknown_key",
     'unknown key "cnt"',
     "allowed here: count", "did you mean count?"),
    ({**OK, "gpu": -1}, "gpu", "out_of_range",
     '"gpu" must be at least 0',
     "found -1", ""),
    ({**OK, "store": {"kind": "cloud"}}, "store", "missing_key",
     'the key "bucket" is missing in "store"',
     "", 'add the key "bucket"'),
    ({**OK, "store": {"kind": "clod"}}, "store.kind", "bad_value",
     '"kind" must be one of disk, cloud',
     'found the string "clod"', "did you mean cloud?"),
    ({**OK, "a": 1, "b": 2}, "b", "exclusive_keys",
     '"a" and "b" exclude each other',
     "", "keep one of them"),
    ({**OK, "password": "hunter2"}, "password", "wrong_type",
     '"password" must be a whole number, not a string',
     "", ""),
]


IDS = [json.dumps(case[0])[:60] for case in CASES]


@pytest.mark.parametrize(("value", "path", "code", "summary", "detail", "hint"), CASES, ids=IDS)
def test_messages(value: Any, path: str, code: str, summary: str, detail: str, hint: str) -> None:
    assert not SCHEMA.is_valid(value)
    (found,) = SCHEMA.problems(value)
    assert (".".join(map(str, found.path)), found.code) == (path, code)
    assert (found.summary, found.detail, found.hint) == (summary, detail, hint)


def test_a_mistyped_key_is_one_mistake_not_two() -> None:
    (found,) = SCHEMA.problems({"comand": ["a"]})
    assert (found.path, found.code, found.hint, found.at_key) == (("comand",), "unknown_key", "did you mean command?", True)


def test_every_mistake_is_found() -> None:
    codes = {found.code for found in SCHEMA.problems({"size": 1, "flag": "no", "foo": 1})}
    assert codes == {"missing_key", "bad_value", "wrong_type", "unknown_key"}


def test_a_number_that_lost_a_digit_is_shown_as_it_was_written() -> None:
    (line,) = told({**OK, "version": 3.1}, source_text=lambda path: "3.10" if path == ("version",) else None)
    assert line == (
        'version wrong_type: "version" must be a string, not the number 3.1 | 3.10 would be read as 3.1 | quote it: "3.10"'
    )


def test_hidden_values_are_never_shown() -> None:
    value = {"command": ["canary", 1], "size": "canary", "image": "CANARY", "flag": "canary"}
    text = "\n".join(told(value, hidden=[("command",), ("size",), ("image",), ("flag",)]))
    assert text.count("\n") == 3
    assert "canary" not in text.lower()


def test_values_that_are_not_known_yet_fit_everywhere_and_the_rest_is_still_judged() -> None:
    later = {"expr": "{{ secret('X') }}", "with": {}}
    assert SCHEMA.is_valid({"command": ["a", later], "count": later, "env": later, "gpu": later, "size": later})
    assert [found.path for found in SCHEMA.problems({"command": later, "count": 0, "size": later})] == [("count",)]
    assert not SCHEMA.is_valid({"command": ["a"], "count": {"expr": "x", "with": {}, "more": 1}})


def test_raw_documents_may_hold_templates_but_not_the_reserved_shape() -> None:
    raw = SpecSchema(DOCUMENT, raw=True)
    assert raw.is_valid({"command": "{{ var.command }}", "count": "{{ var.n }}", "timeout": "{{ var.n }}m"})
    assert raw.is_valid({"command": ["a"], "flag": "{% if var.x %}true{% endif %}"})
    assert not raw.is_valid({"command": ["a"], "count": {"expr": "x", "with": {}}})
    assert [found.path for found in raw.problems({"command": "{{ x }}", "count": "8"})] == [("count",)]


def test_long_and_deep_values_are_cut_in_messages() -> None:
    (line,) = told({"command": ["a"], "count": "x" * 10_000})
    assert len(line) < 200


def test_uniqueness_of_many_maps_is_linear() -> None:
    schema = SpecSchema({"type": "array", "uniqueItems": True, "maxItems": 1})
    start = time.process_time()
    assert len(list(schema.problems([{"a": index} for index in range(3000)]))) == 1
    assert time.process_time() - start < 2


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [
    "http://example.com/x.schema.json", "https://example.com/common.schema.json#/$defs/image", "file:///etc/passwd",
    "../x.schema.json", "/etc/passwd", "other.json", "//host/common.schema.json",
])
def test_nothing_outside_can_be_referred_to(ref: str) -> None:
    with pytest.raises(ValueError, match="remote references are not allowed"):
        SpecSchema({"properties": {"a": {"$ref": ref}}})


def test_references_to_shipped_schemas_are_taken_in() -> None:
    schema = SpecSchema({"type": "object", "properties": {"image": {"$ref": "common.schema.json#/$defs/image"}}})
    assert schema.is_valid({"image": "python:3.12"})
    assert [found.code for found in schema.problems({"image": 3.1})] == ["wrong_type"]
    assert "common.schema.json" in str(bundle(schema.document)["$defs"])


def test_unknown_references_and_loops_are_named() -> None:
    with pytest.raises(ValueError, match="there is no schema named 'nowhere'"):
        SpecSchema({"$ref": "nowhere.schema.json#"})
    with pytest.raises(ValueError, match="which does not exist"):
        SpecSchema({"properties": {"a": {"$ref": "#/$defs/nowhere"}}}).rule(("a",))
    with pytest.raises(ValueError, match="refers to itself"):
        SpecSchema({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}).rule(("x",))


def test_a_schema_may_contain_itself() -> None:
    leaf = {"type": "integer", "x-jobform-class": "placement"}
    below = {"type": "object", "properties": {"t": leaf}, "additionalProperties": {"$ref": "#/$defs/tree"}}
    tree = SpecSchema({"$defs": {"tree": below}, "$ref": "#/$defs/tree"})
    assert tree.is_valid({"a": {"b": {"t": 1}}})
    assert tree.rule(("a", "b", "c", "t")).class_ == "placement"
    assert [found.path for found in tree.problems({"a": {"b": {"t": "x"}}})] == [("a", "b", "t")]


@pytest.mark.parametrize(("document", "sentence"), [
    ({"requird": ["a"]}, "unknown keyword 'requird'; did you mean required?"),
    ({"properties": {"a": {"x-jobform-clas": "result"}}}, "#/properties/a: unknown keyword 'x-jobform-clas'; did you mean x-job"),
    ({"x-jobform-class": "outcome"}, "x-jobform-class must be one of operational, placement, result"),
    ({"multipleOf": 0.1}, "multipleOf must be a whole number"),
    ({"type": "strng"}, "is not valid under any of the given schemas"),
    ({"$ref": "#/$defs/x"}, "the schema refers to #/$defs/x, which does not exist"),
])
def test_schemas_with_mistakes_are_refused(document: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check(document)


def test_a_pattern_that_does_not_compile_is_refused() -> None:
    with pytest.raises(Exception, match=r"unterminated|missing"):
        check({"pattern": "(a"})


@pytest.mark.parametrize("name", document_names())
def test_every_shipped_schema_says_what_it_means(name: str) -> None:
    check(load_document(name))
    check(authoring(load_document(name)))


def _patterns(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
        named = list(schema["patternProperties"]) if isinstance(schema.get("patternProperties"), dict) else []
        return own + named + [pattern for below in schema.values() for pattern in _patterns(below)]
    return [pattern for below in schema for pattern in _patterns(below)] if isinstance(schema, list) else []


@pytest.mark.parametrize("name", document_names())
def test_our_patterns_take_linear_time(name: str) -> None:
    """Each on texts made to let nested repetition explode: 3,000 characters that almost match."""
    for pattern in {*_patterns(SpecSchema(load_document(name))._whole)}:
        compiled = compile_pattern(pattern)
        start = time.process_time()
        for unit in ("a", "A", "0", "1.", "a-", "a.", "a/", "a_", "0w", "[", "ab:", "--"):
            compiled.search(unit * (3000 // len(unit)) + "\n!")
            compiled.search("a" + unit * (3000 // len(unit)) + "\n!")
        assert time.process_time() - start < 10, pattern


def test_documents_are_found_by_plain_names_only() -> None:
    for name in ("../pyproject", "/etc/passwd", "", "a/b"):
        with pytest.raises(ValueError, match="there is no schema named"):
            load_document(name)
    assert "jobs" in document_names()


def test_the_authoring_form_takes_templates_where_values_stand() -> None:
    published = SpecSchema(authoring(DOCUMENT))
    assert published.is_valid({"command": ["a", "{{ x }}"], "count": "{{ var.n }}", "gpu": {"count": "{{ var.n }}"}})
    assert published.is_valid({"command": "{{ var.command }}", "size": "{{ var.size }}"})
    assert not published.is_valid({"command": ["a"], "count": "8"})
    closed = SpecSchema(authoring({"properties": {"backend": {"enum": ["a"], "x-jobform-template": False}}}))
    assert not closed.is_valid({"backend": "{{ var.b }}"})


def test_judging_a_valid_value_imports_no_explainer() -> None:
    code = (
        "import sys; from jobform.schema import SpecSchema; s = SpecSchema({'type': 'object'}); assert s.is_valid({}); "
        "list(s.problems({})); s.fingerprint({}, {}); sys.exit('jsonschema' in sys.modules)"
    )
    here = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
