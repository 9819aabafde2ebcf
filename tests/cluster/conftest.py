"""The kit tests itself with its own fixtures."""

from tests.cluster.fixtures import cluster, namespace, node, node_namespace, own_cluster

__all__ = ["cluster", "namespace", "node", "node_namespace", "own_cluster"]
