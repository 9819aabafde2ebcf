"""Addresses, selectors and the names of runs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobform.model.address import (
    Selector,
    address_key,
    format_address,
    mark_text,
    number_text,
    parse_address,
    remote_name,
    token,
)
from jobform.model.suggest import suggest

AXES = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True),
    st.none() | st.booleans() | st.integers(-(2**53),
                                 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from(["1", "012", "true", "null", "1e3", "-1", ".5", "a/b", "v1.2", "2024-01-02", 'x],="y']),
    max_size=4,
)


@given(AXES)
def test_an_address_is_read_back(axes: dict[str, object]) -> None:
    text = format_address("train", axes)  # type: ignore[arg-type]  # hypothesis knows less
    name, parsed = parse_address(text)
    assert name == "train"
    assert parsed == axes
    assert {key: isinstance(value,
                  str) for key, value in parsed.items()} == {key: isinstance(value, str) for key, value in axes.items()}
    assert format_address(name, parsed) == text
    assert Selector.parse(text).matches_address(text)


@pytest.mark.parametrize(("axes", "text"), [
    ({}, "t"), ({"seed": 2, "lr": 0.1},
                "t[lr=0.1,seed=2]"), ({"a": 1.0}, "t[a=1]"), ({"a": 1e-7}, "t[a=1e-7]"), ({"a": 1e22}, "t[a=1e22]"),
    ({"a": "1"}, 't[a="1"]'), ({"a": "012"}, 't[a="012"]'), ({"a": "true"}, 't[a="true"]'), ({"a": "a b"}, 't[a="a b"]'),
    ({"a": "v1.2/x_y-z"}, "t[a=v1.2/x_y-z]"), ({"a": True, "b": None}, "t[a=true,b=null]"),
])
def test_addresses_look_like_this(axes: dict[str, object], text: str) -> None:
    assert format_address("t", axes) == text  # type: ignore[arg-type]  # the table is mixed


@pytest.mark.parametrize("text",
  ["", "T", "1a", "a b", "t[", "t[]", "t[a]", "t[a=]", "t[a=1", "t[a=1]x", 't[a="x]', "t[a=1,a=2]", "t[a=1,]", "é"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_address(text)


def test_addresses_sort_by_name_then_numbers_by_value() -> None:
    addresses = ["b", "a[n=10]", "a[n=9]", "a[n=x]", "a-b", "a[n=0.5]"]
    assert sorted(addresses, key=address_key) == ["a[n=0.5]", "a[n=9]", "a[n=10]", "a[n=x]", "a-b", "b"]


@pytest.mark.parametrize(("selector", "address", "matches"), [
    ("train", "train[lr=0.1]", True), ("train[lr=0.1]", "train[lr=0.1,seed=2]", True), ("train[lr=0.10]", "train[lr=0.1]", True),
    ("train[lr=1]", 'train[lr="1"]', False), ("train[seed=1]", "train[lr=0.1]", False), ("tr*n", "train[lr=0.1]", True),
    ("*", "prep", True), ("tr*", "prep", False), ("a*a", "a", False), ("a*b*c", "axxbyyc", True), ("train*[seed=2]",
                                                                                                   "train-x[seed=2]", True),
])
def test_selectors(selector: str, address: str, matches: bool) -> None:
    assert Selector.parse(selector).matches_address(address) is matches


def test_stars_cost_no_more_than_the_name() -> None:
    assert not Selector.parse("a*" * 60 + "b").matches("a" * 63, {})


@pytest.mark.parametrize("address", ["train[lr=0.1,seed=2]", "t" * 63, "a" * 28 + "-x", "a[k=\"日本\"]"])
@pytest.mark.parametrize("attempt", [1, 99, 1234567])
def test_remote_names_fit_everywhere(address: str, attempt: int) -> None:
    name = remote_name("3f0c", address, attempt)
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,40}[a-z0-9]", name)
    assert "--" not in name
    assert name.endswith(f"-{attempt}")


def test_tokens_and_marks_differ_by_everything_they_name() -> None:
    tokens = {token(lineage, address, attempt) for lineage in "ab" for address in ("t", "t[a=1]") for attempt in (1, 2)}
    assert len(tokens) == 8
    assert re.fullmatch(r"jf1-[0-9a-f]{16}-[0-9a-f]{16}-12-f{16}", mark_text("a", "t", 12, "f" * 64))
    assert number_text(100.0) == "100"


@pytest.mark.parametrize(("word", "choices", "near"), [
    ("comand", ["command", "comment"], "command"), ("my_prep", ["my-prep", "prep"], "my-prep"), ("PREP", ["prep"], "prep"),
    ("xyz", ["command"], None), ("", ["a"], None), ("a" * 100_000, ["a"], None),
])
def test_suggestions(word: str, choices: list[str], near: str | None) -> None:
    assert suggest(word, choices) == near
