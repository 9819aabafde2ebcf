"""The test cluster, for tests of the kubernetes backend, and a backend on it."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite(
    "jobform.testing.backend_contract", "jobform.testing.backend_faults", "jobform.testing.backend_fixtures",
)

from tests.backends.kubernetes.desk import Desk  # noqa: E402 - only after the line above
from tests.cluster.cluster import Cluster  # noqa: E402 - likewise
from tests.cluster.fixtures import cluster, namespace, node, node_namespace, own_cluster, proxy  # noqa: E402 - likewise

__all__ = ["cluster", "desk", "namespace", "node", "node_namespace", "own_cluster", "proxy"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal is awaited to its end, however busy the machine is: these tests look right after it."""
    monkeypatch.setattr("jobform.backends.kubernetes.stop._PATIENCE", 120.0)


@pytest.fixture
def desk(cluster: Cluster, namespace: str) -> Iterator[Desk]:
    """A backend in a namespace of this test; its pods stay pending unless somebody plays them."""
    desk = Desk(cluster, namespace)
    yield desk
    desk.close()
