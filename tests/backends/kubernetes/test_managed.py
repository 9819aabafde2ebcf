"""Managed fields as trees: whose a field is, which of ours are lost, and what hostile entries do to that."""

import json
from typing import Any

import pytest

from jobform.backends.kubernetes.managed import Item, item_of, items_of, lost, owners, owns, shown
from jobform.model.values import Json

MAIN = Item(("name",), ("main",))


def entry(fields: Any, manager: str = "jobform", operation: str = "Apply", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


POD = {"f:spec": {"f:containers": {'k:{"name":"main"}': {
    ".": {}, "f:name": {}, "f:command": {}, "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
}}, "f:nodeSelector": {}}, "f:metadata": {"f:finalizers": {'v:"example.com/a"': {}}}}


def test_only_an_apply_of_jobform_is_ours() -> None:
    found = owners([
        entry({"f:spec": {"f:a": {}}}), entry({"f:spec": {"f:b": {}}}, operation="Update"),
        entry({"f:spec": {"f:c": {}}}, subresource="status"), entry({"f:spec": {"f:d": {}}}, manager="jobform-release"),
    ])
    assert found.ours == {"f:spec": {"f:a": {}}}
    assert [(each.manager, each.operation, each.subresource) for each in found.others] == [
        ("jobform", "Update", ""), ("jobform", "Apply", "status"), ("jobform-release", "Apply", ""),
    ]


def test_entries_of_several_versions_are_ours_together_and_a_whole_holds_its_parts() -> None:
    found = owners([
        entry({"f:spec": {"f:a": {}, "f:b": {"f:x": {}}}}, apiVersion="v1"),
        entry({"f:spec": {"f:b": {}, "f:c": {"f:y": {}}}}, apiVersion="v2"),
    ])
    assert found.ours == {"f:spec": {"f:a": {}, "f:b": {}, "f:c": {"f:y": {}}}}


def test_who_came_last_is_named_first() -> None:
    fields = {"f:spec": {"f:parallelism": {}}}
    found = owners([
        entry(fields, "old", "Update", time="2026-01-01T00:00:00Z"), entry(fields, "new", "Update", time="2026-01-02T00:00:00Z"),
        entry({"f:spec": {"f:suspend": {}}}, "other", "Update", time="2026-01-03T00:00:00Z"),
    ])
    assert [each.manager for each in found.of(("spec", "parallelism"))] == ["new", "old"]


@pytest.mark.parametrize("steps", [
    ("spec",), ("spec", "containers", MAIN), ("spec", "containers", MAIN, "command"),
    ("spec", "containers", MAIN, "command", 0), ("spec", "nodeSelector", "gpu"),
    ("spec", "containers", MAIN, "env", Item(("name",), ("A",)), "value"),
    ("spec", "containers", MAIN, "ports", Item(("containerPort", "protocol"), (80, "TCP"))),
])
def test_a_field_is_owned_with_the_whole_that_it_is_a_part_of(steps: Any) -> None:
    assert owns(POD, steps)


@pytest.mark.parametrize("steps", [
    ("status",), ("spec", "containers", MAIN, "image"), ("spec", "containers", Item(("name",), ("other",))),
    ("spec", "containers", MAIN, "env", Item(("name",), ("B",))), ("spec", "containers", 0),
])
def test_a_field_beside_it_is_not(steps: Any) -> None:
    assert not owns(POD, steps)


def test_paths_are_shown_with_the_keys_of_their_items() -> None:
    ports = Item(("containerPort", "protocol"), (80, "TCP"))
    assert shown(("spec", "containers", MAIN, "ports", ports)) == (
        "spec", "containers", "[name=main]", "ports", "[containerPort=80,protocol=TCP]")


def test_what_is_lost_is_as_deep_as_the_tree_tells_fields_apart() -> None:
    want: Json = {
        "metadata": {"finalizers": ["example.com/a", "example.com/b"]},
        "spec": {"nodeSelector": {"gpu": "h100"}, "parallelism": 2, "containers": [
            {"name": "main", "image": "x", "command": ["a"], "ports": [{"containerPort": 80}],
             "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "side"},
        ]},
    }
    assert [(shown(steps), value) for steps, value in lost(want, POD)] == [
        (("metadata", "finalizers", 1), "example.com/b"),
        (("spec", "parallelism"), 2),
        (("spec", "containers", "[name=main]", "image"), "x"),
        (("spec", "containers", "[name=main]", "env", "[name=B]"), {"name": "B", "value": "2"}),
        (("spec", "containers", "[name=side]"), {"name": "side"}),
    ]


def test_a_list_of_which_nothing_is_ours_is_lost_whole() -> None:
    want: Json = {"env": [{"name": "A"}], "args": ["x"]}
    assert lost(want, {"f:env": {".": {}}, "f:args": {}}) == [(("env",), [{"name": "A"}])]


def test_how_items_are_told_apart_is_what_the_managers_say_before_what_is_known_of_the_name() -> None:
    assert items_of("env", iter([{'k:{"id":1}': {}}])) == ("id",)
    assert items_of("env", iter([{}])) is None
    assert items_of("env", iter([])) == ("name",)
    assert items_of("args", iter([])) is None


def test_an_item_without_usable_keys_is_no_item() -> None:
    assert item_of({"containerPort": 80}, ("containerPort", "protocol")) == Item(("containerPort", "protocol"), (80, "TCP"))
    assert item_of({"name": {"a": 1}}, ("name",)) is None
    assert item_of("main", ("name",)) is None


@pytest.mark.parametrize("managed", [
    None, "x", 7, {}, [None, 1, "x", [], {}], [{"manager": 1, "operation": [], "fieldsV1": "x"}],
    [entry(None)], [entry([])], [entry({"f:spec": 3})], [entry({"f:spec": {"f:a": None}})],
    [entry({"f:spec": {'k:{"name": ': {}, "k:[]": {}, "k:{}": {}, 'k:{"a":{}}': {}, "f:": {}, "": {}, "zzz": {}}})],
], ids=str)
def test_entries_of_any_other_shape_own_nothing(managed: Json) -> None:
    found = owners(managed)
    assert not owns(found.ours, ("spec", "a", "b"))
    want: Json = {"metadata": {"labels": {}}, "spec": {"a": {"b": 1}, "l": [{"name": 1}]}}
    assert (("metadata",), {"labels": {}}) in lost(want, found.ours)


def test_a_tree_of_any_depth_is_followed_no_deeper_than_what_was_applied() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"f:a": deep}
    found = owners([entry({"f:spec": deep}), entry({"f:spec": deep})])
    assert lost({"spec": {"a": {"b": 1}}}, found.ours) == [(("spec", "a", "b"), 1)]


def test_many_entries_and_many_keys_are_read_once() -> None:
    wide = {f'k:{json.dumps({"name": str(number)}, separators=(",", ":"))}': {} for number in range(20_000)}
    found = owners([entry({"f:env": wide}), *[entry({"f:spec": {}}, f"m{number}", "Update") for number in range(5_000)]])
    assert lost({"env": [{"name": "19999"}, {"name": "20000"}]}, found.ours) == [
        (("env", Item(("name",), ("20000",))), {"name": "20000"})]
    assert len(found.others) == 5_000
