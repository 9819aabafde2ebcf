"""Tests of whole commands on a real cluster: its fixtures, and projects in a namespace of the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import cluster, namespace, node, node_namespace, own_cluster, proxy
from tests.kubernetes.project import Project
from tests.kubernetes.stage import Stage
from tests.support import Warm

__all__ = ["cluster", "namespace", "node", "node_namespace", "own_cluster", "pending", "proxy", "real"]


@pytest.fixture
def real(node: Cluster, node_namespace: str, tmp_path: Path, warm: Warm) -> Project:
    """A project whose pods run on the real node. It has no jobs yet."""
    return Project(tmp_path / "project", node, node_namespace, runner=warm.run)


@pytest.fixture
def pending(cluster: Cluster, namespace: str, tmp_path: Path) -> Project:
    """A project whose pods stay pending unless the test plays them. It has no jobs yet."""
    return Project(tmp_path / "project", cluster, namespace)


@pytest.fixture
def stage(cluster: Cluster, namespace: str, tmp_path: Path, warm: Warm) -> Stage:
    """A project whose pods stay pending, for many commands in a row."""
    return Stage(tmp_path / "project", cluster, namespace, warm=warm)


@pytest.fixture(scope="session")
def simulated(cluster: Cluster) -> Cluster:
    """The cluster, whose namespaces are now those of two nodes whose pods do what their annotations say."""
    return cluster.with_simulated(2, labels={"zone": "a"})


@pytest.fixture
def play(simulated: Cluster, tmp_path: Path, warm: Warm) -> Iterator[Stage]:
    """A project whose pods are simulated, for many commands in a row."""
    name = simulated.namespace()
    yield Stage(tmp_path / "project", simulated, name, warm=warm)
    simulated.drop(name)
