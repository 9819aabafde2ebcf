"""The contract suites are part of the package, so pytest is told to explain their assertions too."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite(
    "jobform.testing.backend_contract", "jobform.testing.backend_faults", "jobform.testing.backend_fixtures",
    "jobform.testing.store_contract",
)

from jobform.testing.server import ReferenceServer  # noqa: E402 - only after the line above


@pytest.fixture(scope="session")
def server() -> Iterator[ReferenceServer]:
    """One reference server for all tests of this process; each test uses a namespace of its own."""
    with ReferenceServer() as running:
        yield running
