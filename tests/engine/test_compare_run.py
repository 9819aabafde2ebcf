"""A run that was made elsewhere against what is declared: every field that its service reports, and no secret kept or shown."""

from typing import Any

import pytest

from jobform.engine.compare import Compared, compare_run, in_place, spec_changes
from jobform.schema import SpecSchema
from jobform.testing.fields import SPEC

SCHEMA = SpecSchema(SPEC)
SECRET = {"expr": "{{ secret('TOKEN') }}", "with": {}}


def compare(declared: dict[str, Any], seen: dict[str, Any], secret: str = "hf_canary") -> Compared:
    return compare_run(SCHEMA, declared, seen, lambda value: secret in str(value))


def paths(compared: Compared) -> list[str]:
    return [field.path for field in compared.fields]


@pytest.mark.parametrize(("declared", "seen"), [
    ({"command": ["a"]}, {"command": ["a"]}),
    ({"timeout": "10m", "tags": ["b", "a"], "seconds": 5}, {"timeout": "600s", "tags": ["a", "b"], "seconds": 5.0}),
    ({"resources": {"memory": "1Gi"}}, {"resources": {"memory": 1073741824}}),
    ({"command": ["a"]}, {"command": ["a"], "zone": "zone-a", "shard": 1}),
    ({"command": ["a"]}, {"command": ["a"], "env": {}, "args": [], "note": "", "image": None}),
    ({"labels": {}}, {"labels": {}}),
    ({"containers": [{"name": "a"}, {"name": "b"}]}, {"containers": [{"name": "b"}, {"name": "a"}]}),
])
def test_equal(declared: dict[str, Any], seen: dict[str, Any]) -> None:
    compared = compare(declared, seen)
    assert (compared.fields, compared.asserted, compared.spec) == ((), (), declared)


@pytest.mark.parametrize(("declared", "seen", "differing", "spec"), [
    ({"command": ["a"]}, {"command": ["b"]}, ["spec.command"], {"command": ["b"]}),
    ({"command": ["a"]}, {"command": ["a"], "args": ["x"]}, ["spec.args"], {"command": ["a"], "args": ["x"]}),
    ({"env": {"A": "1"}}, {"env": {"A": "1", "B": "2"}}, ["spec.env.B"], {"env": {"A": "1", "B": "2"}}),
    ({"env": {"A": "1", "B": "2"}}, {"env": {"A": "1"}}, ["spec.env.B"], {"env": {"A": "1"}}),
    ({"labels": {}}, {"labels": {"a": "b"}}, ["spec.labels.a"], {"labels": {"a": "b"}}),
    ({"labels": {"a": "b"}}, {"labels": {}}, ["spec.labels.a"], {"labels": {}}),
    ({}, {"suspend": False}, ["spec.suspend"], {"suspend": False}),
    ({"zone": "zone-b"}, {"zone": "zone-a"}, ["spec.zone"], {"zone": "zone-a"}),
    ({"containers": [{"name": "a", "image": "x"}]}, {"containers": [{"name": "a", "image": "y"}]},
     ["spec.containers[name=a].image"], {"containers": [{"name": "a", "image": "y"}]}),
    ({"containers": [{"name": "a"}]}, {"containers": [{"name": "a"}, {"name": "b", "image": "y"}]},
     ["spec.containers[name=b].image", "spec.containers[name=b].name"],
     {"containers": [{"name": "a"}, {"name": "b", "image": "y"}]}),
    ({"containers": [{"name": "a"}, {"args": ["x"], "image": "y", "name": "b"}]}, {"containers": [{"name": "a"}]},
     ["spec.containers[name=b].args", "spec.containers[name=b].image", "spec.containers[name=b].name"],
     {"containers": [{"name": "a"}]}),
    ({"env": {"A": "1"}}, {"env": "text"}, ["spec.env", "spec.env.A"], None),
    ({"command": ["a"]}, {"command": 7}, ["spec.command"], {"command": 7}),
])
def test_different(declared: dict[str, Any], seen: dict[str, Any], differing: list[str], spec: dict[str, Any] | None) -> None:
    compared = compare(declared, seen)
    assert paths(compared) == differing
    assert all(field.source == "actual" for field in compared.fields)
    if spec is not None:
        assert compared.spec == spec
        assert {field.path for field in spec_changes(SCHEMA, compared.spec, declared)} >= set(differing), "the next plan says it"


@pytest.mark.parametrize(("declared", "seen", "asserted"), [
    ({"command": ["a"], "args": ["x"]}, {"command": ["a"]}, ("spec.args",)),
    ({"token": SECRET}, {}, ("spec.token",)),
    ({"token": "abc"}, {"token": "***"}, ("spec.token",)),
    ({"env": {"A": "1", "T": SECRET}}, {"env": {"A": "1", "T": "the value"}}, ("spec.env.T",)),
    ({"env": {"T": SECRET}}, {"env": {}}, ("spec.env.T",)),
    ({"command": ["run", SECRET]}, {"command": ["run", "the value"]}, ("spec.command",)),
])
def test_what_nobody_can_compare(declared: dict[str, Any], seen: dict[str, Any], asserted: tuple[str, ...]) -> None:
    compared = compare(declared, seen)
    assert (compared.fields, compared.asserted, compared.spec) == ((), asserted, declared)


def test_a_list_whose_known_part_differs_is_hidden_and_not_kept() -> None:
    declared = {"command": ["run", SECRET], "args": ["x"]}
    compared = compare(declared, {"command": ["stop", "the value"], "args": ["x"]})
    assert [(field.path, field.sensitive) for field in compared.fields] == [("spec.command", True)]
    assert "the value" not in str(compared.spec)
    assert spec_changes(SCHEMA, compared.spec, declared), "it goes on differing"


def test_a_secret_that_the_service_shows_is_hidden_and_not_kept() -> None:
    compared = compare({"command": ["a"]}, {"command": ["a"], "env": {"HF": "hf_canary", "B": "2"}})
    assert [(field.path, field.sensitive) for field in compared.fields] == [("spec.env.B", False), ("spec.env.HF", True)]
    assert compared.spec == {"command": ["a"], "env": {"B": "2"}}


def test_the_name_of_a_run_that_nobody_named_is_no_difference() -> None:
    properties: Any = SPEC["properties"]
    named = SpecSchema({**SPEC, "properties": {**properties, "name": {"type": "string", "x-jobform-name": True}}})
    for declared, differing in (({}, []), ({"name": "mine"}, ["spec.name"])):
        compared = compare_run(named, declared, {"name": "theirs"}, lambda _value: False)
        assert [field.path for field in compared.fields] == differing


def test_what_was_declared_is_left_as_it_was() -> None:
    declared = {"env": {"A": "1"}}
    compare(declared, {"env": {"A": "2", "B": "3"}})
    assert declared == {"env": {"A": "1"}}


@pytest.mark.parametrize(("applied", "wanted"), [
    ({"containers": [{"name": "a", "image": "1"}]}, {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
    ({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}, {"containers": [{"name": "b", "image": "3"}]}),
    ({"labels": {"a": "1"}}, {"labels": {"b": "2"}, "note": "x"}), ({"labels": {"a": "1"}}, {}),
    ({"labels": {"a": "1"}, "containers": [{"name": "a", "env": {"A": "1"}}]}, {"labels": {}, "containers": [{"name": "a"}]}),
])
def test_an_update_of_items_that_come_and_go_touches_no_other(applied: dict[str, Any], wanted: dict[str, Any]) -> None:
    updated = in_place(SCHEMA, applied, wanted, ("always", "queued", "suspended", "never"))
    assert updated == wanted
