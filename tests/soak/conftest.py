"""What the long tests share: a warm process to fork commands from, and a reference server."""

from collections.abc import Iterator

import pytest

from jobform.testing.server import ReferenceServer
from tests.support import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


@pytest.fixture(scope="session")
def server() -> Iterator[ReferenceServer]:
    with ReferenceServer() as running:
        yield running
