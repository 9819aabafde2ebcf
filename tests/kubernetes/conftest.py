"""Tests of whole commands on a real cluster: its fixtures, and projects in a namespace of the test."""

from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import cluster, namespace, node, node_namespace, own_cluster, proxy
from tests.kubernetes.project import Project

__all__ = ["cluster", "namespace", "node", "node_namespace", "own_cluster", "pending", "proxy", "real"]


@pytest.fixture
def real(node: Cluster, node_namespace: str, tmp_path: Path) -> Project:
    """A project whose pods run on the real node. It has no jobs yet."""
    return Project(tmp_path / "project", node, node_namespace)


@pytest.fixture
def pending(cluster: Cluster, namespace: str, tmp_path: Path) -> Project:
    """A project whose pods stay pending unless the test plays them. It has no jobs yet."""
    return Project(tmp_path / "project", cluster, namespace)
