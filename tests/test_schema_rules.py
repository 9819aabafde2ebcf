"""Field rules, normalisation and fingerprints."""

import copy
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobform.schema import SpecSchema, load_document

DOCUMENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {}, "x-jobform-class": "result", "x-jobform-reason": "it is the program"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "timeout": {
            "type": "string", "x-jobform-type": "duration", "x-jobform-class": "operational", "x-jobform-mutable": "always",
        },
        "limit": {"type": "string", "x-jobform-type": "duration"},
        "memory": {"type": ["string", "number"], "x-jobform-type": "quantity"},
        "tags": {"type": "array", "x-jobform-type": "set"},
        "labels": {"$ref": "#/$defs/labels", "x-jobform-mutable": "queued"},
        "mixed": {
            "type": "object", "x-jobform-class": "placement",
            "properties": {"deep": {"x-jobform-class": "result"}, "other": {}},
        },
        "containers": {"type": "array", "x-jobform-list-key": "name", "items": {"$ref": "#/$defs/container"}},
        "pair": {"prefixItems": [{"x-jobform-class": "placement"}, {}], "items": {"x-jobform-class": "operational"}},
        "choice": {"oneOf": [{"type": "object", "properties": {"a": {"x-jobform-sensitive": True}}}, {"type": "null"}]},
    },
    "patternProperties": {"^x-": {"x-jobform-class": "operational"}},
    "$defs": {
        "labels": {
            "type": "object", "x-jobform-class": "operational", "x-jobform-mutable": "always", "x-jobform-reason": "for people",
        },
        "container": {"type": "object", "properties": {"name": {}, "note": {"x-jobform-class": "operational"}}},
    },
}
SCHEMA = SpecSchema(DOCUMENT)


@pytest.mark.parametrize(("path", "expected"), [
    (("command", 3), ("result", "never", "it is the program", True)),
    (("timeout",), ("operational", "always", "", True)),
    (("labels",), ("operational", "queued", "for people", True)),
    (("labels", "x"), ("operational", "queued", "for people", True)),
    (("labels", "x", "y"), ("operational", "queued", "for people", False)),
    (("mixed", "deep"), ("result", "never", "", True)),
    (("mixed", "other"), ("placement", "never", "", True)),
    (("containers", 0, "note"), ("operational", "never", "", True)),
    (("containers", "[name=main]", "note"), ("operational", "never", "", True)),
    (("tags", "[name=main]"), ("result", "never", "", False)),
    (("pair", 0), ("placement", "never", "", True)),
    (("pair", 1), ("result", "never", "", True)),
    (("pair", 7), ("operational", "never", "", True)),
    (("x-anything",), ("operational", "never", "", True)),
    (("nowhere",), ("result", "never", "", False)),
    (("command", 0, "below"), ("result", "never", "it is the program", False)),
])
def test_rules_are_inherited(path: tuple[str | int, ...], expected: tuple[str, str, str, bool]) -> None:
    rule = SCHEMA.rule(path)
    assert (rule.class_, rule.mutable, rule.reason, rule.known) == expected


def test_list_keys_belong_to_their_list_alone() -> None:
    assert SCHEMA.rule(("containers",)).list_key == "name"
    assert SCHEMA.rule(("containers", 0)).list_key is None
    assert SCHEMA.rule(("choice", "a")).sensitive


def test_equal_meanings_are_equal_values() -> None:
    one = {"timeout": "1h30m", "memory": "1Gi", "tags": ["b", "a", "b"], "env": {"N": "1"}, "pair": [1.0, 0.5], "limit": "x"}
    two = {"timeout": "90m", "memory": 2**30, "tags": ["a", "b"], "env": {"N": "1"}, "pair": [1, 0.5], "limit": "x"}
    assert SCHEMA.normalise(one) == SCHEMA.normalise(two)
    assert str(SCHEMA.normalise(one)) == str(SCHEMA.normalise(two))


def test_strings_that_look_like_numbers_stay_strings() -> None:
    assert SCHEMA.normalise({"env": {"A": "1.0"}, "command": ["10m"]}) == {"env": {"A": "1.0"}, "command": ["10m"]}


BASE: dict[str, Any] = {"command": ["a", "b"], "env": {"A": "1"}, "timeout": "1m", "mixed": {"other": 1}}


@pytest.mark.parametrize("change", [
    {"timeout": "2m"}, {"labels": {"a": "b"}}, {"mixed": {"other": 2}}, {"mixed": {}}, {"x-note": 1}, {"pair": [5]},
])
def test_what_cannot_change_the_result_keeps_the_fingerprint(change: dict[str, Any]) -> None:
    assert SCHEMA.fingerprint({**BASE, **change}, {}) == SCHEMA.fingerprint(BASE, {})


@pytest.mark.parametrize("change", [
    {"command": ["b", "a"]}, {"env": {"A": "2"}}, {"mixed": {"deep": 1}}, {"containers": [{"name": "x"}]}, {"pair": [1, 2]},
    {"nowhere": 1}, {"env": {"A": {"expr": "{{ secret('X') }}", "with": {}}}}, {"limit": "1s"}, {"tags": []},
])
def test_what_can_change_the_result_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert SCHEMA.fingerprint({**BASE, **change}, {}) != SCHEMA.fingerprint(BASE, {})


def test_inputs_and_later_values_enter_the_fingerprint_as_they_are() -> None:
    later = {"expr": "{{ jobs.prep.outputs.n + matrix.k }}", "with": {"matrix.k": 1}}
    other = {"expr": "{{ jobs.prep.outputs.n + matrix.k }}", "with": {"matrix.k": 2}}
    assert SCHEMA.fingerprint({"command": later}, {}) != SCHEMA.fingerprint({"command": other}, {})
    assert SCHEMA.fingerprint(BASE, {"data": "aa"}) != SCHEMA.fingerprint(BASE, {"data": "bb"})
    assert SCHEMA.fingerprint({**BASE, "limit": "60s"}, {}) == SCHEMA.fingerprint({**BASE, "limit": "1m"}, {})


def test_stored_fingerprints_stay_comparable() -> None:
    """A change here reruns finished jobs of users, unless the rules' version changes with it."""
    assert SCHEMA.fingerprint(BASE, {}) == "66fbd2896f822657ae984a832105a346d7edc95a4c7a4c8851d8d3a3967ce688"


@pytest.mark.parametrize(("edit", "same"), [
    (lambda d: d["properties"]["env"].update(description="words"), True),
    (lambda d: d["properties"]["env"].update(default={}), True),
    (lambda d: d["properties"]["command"].update(minItems=2), True),
    (lambda d: d["properties"]["env"].update({"x-jobform-class": "operational"}), False),
    (lambda d: d["properties"]["env"].update({"x-jobform-type": "set"}), False),
    (lambda d: d["$defs"]["labels"].update({"x-jobform-class": "result"}), False),
])
def test_the_rules_version_moves_only_with_what_can_change_a_fingerprint(edit: Any, same: bool) -> None:
    edited = copy.deepcopy(DOCUMENT)
    edit(edited)
    assert (SpecSchema(edited).rules_version == SCHEMA.rules_version) is same


numbers = st.integers(-10**20, 10**20) | st.floats(allow_nan=False, allow_infinity=False)
keys = st.sampled_from([*DOCUMENT["properties"], "zz"])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, json_values, max_size=6))
def test_any_value_is_handled(spec: dict[str, Any]) -> None:
    once = SCHEMA.normalise(spec)
    assert SCHEMA.normalise(once) == once
    shuffled = list(spec.items())
    random.Random(1).shuffle(shuffled)
    assert SCHEMA.fingerprint(dict(shuffled), {}) == SCHEMA.fingerprint(spec, {})
    assert SCHEMA.is_valid(spec) == (not list(SCHEMA.problems(spec)))


@pytest.mark.slow
def test_a_fingerprint_costs_tens_of_microseconds() -> None:
    schema = SpecSchema(load_document("local"))
    spec = {"command": ["python", "train.py", "--lr", "0.1"], "env": {"A": "b"}, "timeout": "1h30m", "labels": {"a": "b"}}
    schema.fingerprint(spec, {})
    start = time.perf_counter()
    for _ in range(2000):
        schema.fingerprint(spec, {})
    assert (time.perf_counter() - start) / 2000 < 200e-6


def test_texts_that_may_be_written_as_numbers() -> None:
    below = {"type": ["string", "number", "boolean"], "x-jobform-type": "text"}
    schema = SpecSchema({"type": "object", "properties": {"p": {"type": "object", "additionalProperties": below}}})
    written = {"p": {"a": 1000, "b": 1.0, "c": 1e-7, "d": True, "e": "x", "f": 0.1}}
    sent = {"p": {"a": "1000", "b": "1", "c": "1e-7", "d": "true", "e": "x", "f": "0.1"}}
    assert schema.normalise(written) == sent
    assert schema.fingerprint(written, {}) == schema.fingerprint(sent, {})
    assert schema.fingerprint(written, {}) != schema.fingerprint({"p": {**sent["p"], "d": "True"}}, {})
