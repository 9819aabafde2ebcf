"""What the long tests share: a warm process to fork commands from, and a reference server."""

from collections.abc import Iterator

import pytest

from jobform.testing.server import ReferenceServer


@pytest.fixture(scope="session")
def server() -> Iterator[ReferenceServer]:
    with ReferenceServer() as running:
        yield running
