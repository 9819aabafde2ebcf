"""Combinations, include and exclude, as in GitHub Actions; addresses as ours."""

import pytest

from jobform.config.matrix import MAX_INSTANCES, instances
from jobform.config.problem import Problem
from jobform.model.values import Json


def expanded(matrix: dict[str, Json]) -> tuple[dict[str, object], list[Problem]]:
    problems: list[Problem] = []
    found = instances("t", matrix, lambda path: "", problems.append)
    return {instance.address: dict(instance.values) for instance in found}, problems


def test_the_example_of_the_github_documentation() -> None:
    """https://docs.github.com/actions: expanding or adding matrix configurations."""
    found, problems = expanded({
        "fruit": ["apple", "pear"], "animal": ["cat", "dog"],
        "include": [
            {"color": "green"}, {"color": "pink", "animal": "cat"}, {"fruit": "apple", "shape": "circle"}, {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    })
    assert not problems
    assert found == {
        "t[animal=cat,fruit=apple]": {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        "t[animal=dog,fruit=apple]": {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        "t[animal=cat,fruit=pear]": {"fruit": "pear", "animal": "cat", "color": "pink"},
        "t[animal=dog,fruit=pear]": {"fruit": "pear", "animal": "dog", "color": "green"},
        "t[fruit=banana]": {"fruit": "banana"},
        "t[animal=cat,fruit=banana]": {"fruit": "banana", "animal": "cat"},
    }


def test_values_that_include_adds_are_not_in_the_address() -> None:
    found, _ = expanded({"lr": [0.1, 0.01], "include": [{"lr": 0.1, "note": "first"}]})
    assert found == {"t[lr=0.1]": {"lr": 0.1, "note": "first"}, "t[lr=0.01]": {"lr": 0.01}}


def test_a_matrix_of_include_alone() -> None:
    found, _ = expanded({"include": [{"site": "a", "n": 1}, {"site": "b", "n": 2}]})
    assert list(found) == ["t[n=1,site=a]", "t[n=2,site=b]"]


def test_exclude_matches_in_part_and_comes_before_include() -> None:
    found, problems = expanded({
        "os": ["a", "b"], "v": [1, 2], "exclude": [{"os": "a"}, {"os": "b", "v": 2}], "include": [{"os": "a", "v": 1}],
    })
    assert not problems
    assert list(found) == ["t[os=b,v=1]", "t[os=a,v=1]"]


def test_true_and_one_are_different_values() -> None:
    found, problems = expanded({"a": [1, True, "1", None]})
    assert not problems
    assert list(found) == ["t[a=1]", "t[a=true]", 't[a="1"]', "t[a=null]"]


@pytest.mark.parametrize(("matrix", "path", "code"), [
    ({"a": [1, 1.0]}, ("a", 1), "duplicate_address"),
    ({"include": [{"a": 1}, {"a": 1}]}, ("include", 1), "duplicate_address"),
    ({"a": [1], "exclude": [{"a": 1}]}, (), "matrix_empty"),
    ({"a": [1], "exclude": [{"b": 1}]}, ("exclude", 0, "b"), "unknown_key"),
    ({"a": [1], "exclude": [{"a": 2}]}, ("exclude", 0), "exclude_nothing"),
    ({letter: list(range(100)) for letter in "abcde"}, (), "matrix_too_large"),
])
def test_what_is_wrong_is_told_at_its_place(matrix: dict[str, Json], path: tuple[object, ...], code: str) -> None:
    _, problems = expanded(matrix)
    assert [(problem.path, problem.code) for problem in problems] == [(path, code)]


def test_the_limit_is_counted_before_anything_is_made() -> None:
    found, problems = expanded({str(letter): list(range(1000)) for letter in "abcdefgh"})
    assert not found
    assert str(MAX_INSTANCES) in problems[0].summary
