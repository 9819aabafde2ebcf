"""The kit tests itself with its own fixtures."""

from tests.cluster.fixtures import cluster, namespace, node, node_namespace, own_cluster, proxy

__all__ = ["cluster", "namespace", "node", "node_namespace", "own_cluster", "proxy"]
