"""Fixtures for tests against a real Kubernetes: import them in the conftest.py of a folder of tests.

`cluster` is one control plane for the whole session, shared by the workers of pytest-xdist. It is started when the first test
asks for it and stops with the last process that used it, however that ends. Where it cannot be had the tests skip and say why:
JOBFORM_REQUIRE_CLUSTER=1 makes that a failure. JOBFORM_TEST_KUBECONFIG gives an existing cluster instead.
"""

import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.binaries import Unavailable, find
from tests.cluster.cluster import Cluster, launch
from tests.cluster.policy import ENVIRON, available
from tests.cluster.proxy import Proxy

SHARED = pytest.StashKey[Cluster]()
LAST_END = 120.0
"""Seconds that a cluster which is about to end is waited for."""


def shared(session: pytest.Session) -> Cluster:
    """The cluster of this test session: the same for every worker, and for every conftest that has the fixture."""
    if SHARED not in session.stash:
        session.stash[SHARED] = cluster = _open()
        session.addfinalizer(lambda: _close(cluster))
    return session.stash[SHARED]


def _open() -> Cluster:
    if given := ENVIRON.get("JOBFORM_TEST_KUBECONFIG"):
        return Cluster.given(Path(given))
    if sys.platform != "linux":
        raise Unavailable("the test cluster runs on Linux only; JOBFORM_TEST_KUBECONFIG gives another one")
    assets = find(ENVIRON)
    run = ENVIRON.get("PYTEST_XDIST_TESTRUNUID") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    name = hashlib.sha256(f"{run} {os.getuid()}".encode()).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"jobform-cluster-{name}"
    with _alone():
        try:
            return Cluster.join(directory)
        except OSError:  # none runs: we are the first, or its last holder was killed and it is still being removed
            ends = time.monotonic() + LAST_END
            while directory.exists() and time.monotonic() < ends:
                time.sleep(0.1)
            return launch(directory, assets, ENVIRON)


def _close(cluster: Cluster) -> None:
    """Alone, so that whoever comes next finds the cluster either held or gone."""
    with _alone():
        cluster.close()


@contextmanager
def _alone() -> Iterator[None]:
    """No other worker takes hold of the shared cluster, or lets go of it, meanwhile."""
    lock = os.open(Path(__file__).parent, os.O_RDONLY)  # a folder can be locked as well, and nothing has to be cleaned up
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A control plane without nodes of its own."""
    return available(lambda: shared(request.session))


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Cluster:
    """The same cluster with a node that runs real containers; its `namespace()` sends pods there. Without root it skips."""
    return cluster.with_node()


@pytest.fixture
def node_namespace(node: Cluster) -> Iterator[str]:
    """A namespace of this test, whose pods run on the real node; they and their GPUs are given back after the test."""
    name = node.namespace()
    yield name
    node.drop(name)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """A fault proxy before the cluster, for the administrator. Without rules it only counts."""
    with available(lambda: Proxy.start(cluster)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A control plane of this module's own, for tests that stop it: some seconds more than `cluster`."""
    cluster = available(start_own)
    yield cluster
    cluster.close()


def start_own() -> Cluster:
    """A cluster that nobody shares: the caller closes it. Raises Unavailable."""
    assets = find(ENVIRON)
    return launch(Path(tempfile.mkdtemp(prefix="jobform-cluster-")), assets, ENVIRON, exclusive=True)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test, whose pods stay pending."""
    name = cluster.namespace()
    yield name
    cluster.drop(name)
