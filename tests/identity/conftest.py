"""What the tests of identity share: a warm process to fork commands from, a reference server, a life on each kind of place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.testing.server import ReferenceServer
from tests.identity.life import KINDS, Life, life_of
from tests.support import Warm


@pytest.fixture(scope="session")
def server() -> Iterator[ReferenceServer]:
    with ReferenceServer() as running:
        yield running


@pytest.fixture(params=KINDS)
def life(request: pytest.FixtureRequest, tmp_path: Path, warm: Warm, server: ReferenceServer) -> Iterator[Life]:
    lived = life_of(request.param, tmp_path / "project", warm, server)
    yield lived
    lived.end_all()
