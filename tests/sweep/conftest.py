"""What the sweeps share in one test process: a warm process to fork commands from, and a reference server."""

from collections.abc import Iterator

import pytest

from jobform.testing.server import ReferenceServer
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import cluster

__all__ = ["cluster", "server", "simulated"]


@pytest.fixture(scope="session")
def server() -> Iterator[ReferenceServer]:
    with ReferenceServer() as running:
        yield running


@pytest.fixture(scope="session")
def simulated(cluster: Cluster) -> Cluster:
    """The cluster, whose namespaces are now those of two nodes whose pods do what their annotations say."""
    return cluster.with_simulated(2)
