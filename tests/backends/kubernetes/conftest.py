"""The test cluster, for tests of the kubernetes backend."""

from tests.cluster.fixtures import cluster, namespace, node, node_namespace, own_cluster

__all__ = ["cluster", "namespace", "node", "node_namespace", "own_cluster"]
