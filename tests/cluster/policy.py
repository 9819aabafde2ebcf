"""What becomes of a test whose machine lacks something: it skips and says why, or fails where that is not allowed."""

import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

from tests.cluster.binaries import Unavailable

ENVIRON = dict(os.environ)
"""As it was before the tests' own home was put into it: what the person who runs the tests has set."""

T = TypeVar("T")


def lacking(reason: object) -> NoReturn:
    """Ends the test: skipped for `reason`, or failed if JOBFORM_REQUIRE_CLUSTER is set."""
    if ENVIRON.get("JOBFORM_REQUIRE_CLUSTER", "0") not in ("", "0"):
        pytest.fail(f"JOBFORM_REQUIRE_CLUSTER is set, but {reason}")
    pytest.skip(str(reason))


def available(make: Callable[[], T]) -> T:
    """What `make` gives, or the end of the test if that raises Unavailable."""
    try:
        return make()
    except Unavailable as reason:
        lacking(reason)
