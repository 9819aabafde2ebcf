"""The kit tests itself with its own fixtures."""

from tests.cluster.fixtures import cluster, namespace, own_cluster

__all__ = ["cluster", "namespace", "own_cluster"]
