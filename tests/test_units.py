"""Durations and quantities as people write them, and pauses between calls."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobform.engine.calls import Failed, pause_after
from jobform.model.units import DURATION_PATTERN, QUANTITY_PATTERN, parse_duration, parse_quantity, plain_number


@pytest.mark.parametrize(("text", "seconds"), [
    ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25), ("1m250ms", 60.25), ("2d", 172800),
    ("1w1d", 691200), ("0s", 0),
])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "a duration is needed, such as 90s, 10m or 1h30m"),
    ("90", "a duration needs a unit: write 90s or 90m, not 90"),
    ("-5s", "a duration cannot be negative; this is '-5s'"),
    ("1h 30", "a duration is written like 90s, 10m, 1h30m or 1.5h; this is '1h 30'"),
    ("1h 30m", "a duration has no spaces: write 1h30m"),
    ("5 minutes", "units are w, d, h, m, s and ms: write 5m"),
    ("30m1h", "in a duration each unit stands once and the largest first, as in 1h30m; this is '30m1h'"),
    ("1m1m", "in a duration each unit stands once and the largest first, as in 1h30m; this is '1m1m'"),
    ("999999999999w", "the duration '999999999999w' is too long to wait for"),
    ("\u0661s", r"a duration is written like 90s, 10m, 1h30m or 1.5h; this is '\u0661s'"),
])
def test_wrong_durations(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "number"), [
    ("8", 8), ("500m", 0.5), ("32Gi", 32 * 2**30), ("10G", 10**10), ("1e3", 1000), ("1.5Ki", 1536), (8, 8), (0.5, 0.5),
    (2.0, 2), ("100n", 1e-7),
])
def test_quantities(text: str | float, number: float) -> None:
    assert parse_quantity(text) == number
    assert isinstance(parse_quantity(text), type(number))


@pytest.mark.parametrize(("text", "sentence"), [
    ("32GB", "'GB' is no unit of quantities: write 32G"),
    ("32gi", "'gi' is no unit of quantities: write 32Gi"),
    ("5b", "'b' is no unit of quantities: write 5"),
    ("lots", "a quantity is a number with an optional suffix, such as 500m, 8, 32Gi or 10G; this is 'lots'"),
    ("1 Gi", "a quantity is a number with an optional suffix, such as 500m, 8, 32Gi or 10G; this is '1 Gi'"),
])
def test_wrong_quantities(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        parse_quantity(text)


@given(st.text(alphabet="0123456789.hmsdw -e+kKMGi", max_size=24))
def test_patterns_accept_no_more_than_the_parsers(text: str) -> None:
    for pattern, parse in ((DURATION_PATTERN, parse_duration), (QUANTITY_PATTERN, parse_quantity)):
        try:
            parse(text)
            reads = True
        except ValueError as error:
            reads = "100 years" in str(error)
        assert bool(re.search(pattern.replace("$", r"\Z"), text)) == reads


def test_plain_numbers() -> None:
    assert isinstance(plain_number(1.0), int)
    assert str(plain_number(-0.0)) == "0"
    assert plain_number(0.1) == 0.1
    assert isinstance(plain_number(1e300), float)


def test_pauses_differ_and_change_nobodys_numbers() -> None:
    """A thread that waits, while others draw: and a seed that somebody sets does not make all commands wait alike."""
    before = random.getstate()
    pauses = set()
    for _ in range(5):
        random.seed(1)
        seeded = random.getstate()
        pauses.add(pause_after(Failed("busy", retryable=True), 1))
        assert random.getstate() == seeded
    random.setstate(before)
    assert len(pauses) > 1
