"""A running cluster as a test sees it."""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.api import Access, Api
from tests.cluster.binaries import StartFailed
from tests.cluster.certificates import of_user
from tests.cluster.control import CLIENT_AUTHORITY
from tests.cluster.issuer import Issuer
from tests.cluster.kwok import PORT, add_nodes
from tests.cluster.node import POOL as REAL
from tests.cluster.policy import available, lacking
from tests.cluster.roles import SHIPPED, let_apply
from tests.cluster.supervisor import POOL, Connection

ROOT = Path(__file__).parents[2]

@dataclass
class Cluster:
    """Ours, or one that JOBFORM_TEST_KUBECONFIG names: then `directory` is None, and a test that needs more skips (`policy.py`).

    One cluster serves all tests of a session, so what a test makes belongs in a namespace of its own, and only an exclusive one
    may be interrupted.
    """

    access: Access
    directory: Path | None = None
    connection: Connection | None = None
    exclusive: bool = False
    pool: str = ""
    api: Api = field(init=False, repr=False)
    _made: list[str] = field(default_factory=list)
    _scratch: "tempfile.TemporaryDirectory[str]" = field(default_factory=tempfile.TemporaryDirectory)

    def __post_init__(self) -> None:
        self.api = Api.open(self.access)

    @staticmethod
    def given(kubeconfig: Path) -> "Cluster":
        return Cluster(Access.read(kubeconfig))

    @staticmethod
    def join(directory: Path, *, exclusive: bool = False) -> "Cluster":
        """A cluster that `up` runs in `directory`. Raises OSError if none does."""
        connection = Connection(directory)
        return Cluster(Access.read(directory / "kubeconfig"), directory, connection, exclusive)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.kubeconfig_for("admin")

    @property
    def folder(self) -> Path:
        """Where the cluster writes, the audit log above all."""
        if self.directory is None:
            lacking("the cluster was given: its audit log is out of reach")
        return self.directory

    def user(self, name: str) -> Access:
        """The credentials of one of `control.USERS`: viewer reads all, applier has the shipped role."""
        if name == "admin":
            return self.access
        if self.directory is None:
            lacking("the cluster was given: it has no users that the tests know")
        return Access.read(self.directory / f"{name}.kubeconfig")

    def api_of(self, user: str) -> Api:
        return Api.open(self.user(user))

    def kubeconfig_for(self, user: str, *, namespace: str = "default", server: str = "", authority: str = "") -> Path:
        """A new kubeconfig of `user`. server, authority: of a proxy in between."""
        access = self.user(user)
        access = Access(server or access.server, authority or access.authority, access.token, access.certificate, access.key)
        return access.write(Path(self._scratch.name) / f"{secrets.token_hex(4)}.kubeconfig", namespace=namespace)

    def certified(self, user: str, days: int = 1, namespace: str = "default") -> Path:
        """A new kubeconfig of `user` by a client certificate; days: that it is valid for, -1 for one that has ended."""
        certificate, key = of_user(self.folder / CLIENT_AUTHORITY, user, days)
        access = Access(self.access.server, self.access.authority, certificate=certificate, key=key)
        return access.write(Path(self._scratch.name) / f"{secrets.token_hex(4)}.kubeconfig", namespace=namespace)

    @property
    def issuer(self) -> Issuer:
        """The issuer of OpenID Connect whose tokens it takes."""
        return Issuer.of(self.folder)

    def with_node(self) -> "Cluster":
        """The same cluster, whose namespaces are now those of a node with real containers and 8 GPUs that do not exist.

        `images.BUSYBOX` and `images.PYTHON` are there, other images cannot be pulled. A given cluster needs a node of its own.
        """
        if self.connection is None:
            if not self.api.items("/api/v1/nodes"):
                lacking("the cluster was given and has no node")
            return self
        if os.geteuid() != 0:
            pytest.skip("real containers need root")  # whatever is required: nobody can install root
        available(partial(self.connection.ask, "node"))
        return replace(self, pool=REAL)

    def with_simulated(self, count: int, gpus: int = 8, labels: Mapping[str, str] | None = None) -> "Cluster":
        """The same cluster, whose namespaces are now those of `count` new nodes that `kwok.py` plays, with `gpus` GPUs each."""
        if self.connection is None:
            lacking("the cluster was given: no nodes are played on it")
        available(partial(self.connection.ask, "kwok"))
        assert self.directory is not None, "only a cluster that was given has none"
        port = int((self.directory / PORT).read_text())
        product = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
        return replace(self, pool=add_nodes(self.api, POOL, count, gpus, product | dict(labels or {}), port))

    def set_gpus(self, count: int) -> None:
        """How many GPUs the real node has from now on."""
        self._alone().ask("gpus", count=count)

    def tag(self, image: str, name: str) -> None:
        """Makes an image of the real node known under another full name (docker.io/library/x:1) too."""
        if self.connection is None:
            lacking("the cluster was given: its node pulls images itself")
        self.connection.ask("tag", image=image, name=name)

    def namespace(self, pool: str = "", name: str = "") -> str:
        """A new namespace, in which `applier` has the shipped role.

        pool: its pods go to the nodes of this pool (otherwise the cluster's own) and nowhere else; without any no node of ours
        takes them, so they stay pending.
        The default service account is awaited: pods are refused without it. `drop` or the end of the session removes it.
        """
        name = name or f"t-{secrets.token_hex(5)}"
        metadata: dict[str, object] = {"name": name}
        if pool := pool or self.pool:
            toleration = f'[{{"key": "{POOL}", "operator": "Equal", "value": "{pool}", "effect": "NoSchedule"}}]'
            metadata["annotations"] = {
                "scheduler.alpha.kubernetes.io/node-selector": f"{POOL}={pool}",
                "scheduler.alpha.kubernetes.io/defaultTolerations": toleration,
            }
        self.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self._made.append(name)
        self.api.wait(f"/api/v1/namespaces/{name}/serviceaccounts/default", bool, what="the default service account")
        if SHIPPED.exists():
            let_apply(self.api, name)
        return name

    def drop(self, namespace: str) -> None:
        """Begins the removal of a namespace and all that is in it; quiet if a test has removed it already."""
        self._made.remove(namespace)
        self.api.remove(f"/api/v1/namespaces/{namespace}")

    def stop_apiserver(self) -> None:
        """Crashes it: its port refuses connections until `start_apiserver`."""
        self._alone().ask("stop-apiserver")

    def start_apiserver(self) -> None:
        self._alone().ask("start-apiserver")

    def restart_apiserver(self) -> None:
        """The same port, credentials and objects; every connection and watch is cut."""
        self.stop_apiserver()
        self.start_apiserver()

    def compact(self) -> None:
        """Resource versions and list positions from before are 410 Gone from now on; the API server is restarted for it."""
        self._alone().ask("compact")

    def close(self) -> None:
        """Lets go. Ours stops when the last one has; of a given one our namespaces are removed."""
        if self.connection:
            self.connection.release()
        else:
            for name in list(self._made):
                self.drop(name)
        self._scratch.cleanup()

    def _alone(self) -> Connection:
        assert self.exclusive, "other tests use this cluster at the same time: take the fixture own_cluster"
        assert self.connection is not None
        return self.connection


def launch(directory: Path, assets: Path, environ: Mapping[str, str], *, exclusive: bool = False) -> Cluster:
    """Starts a cluster that stops with its last holder, and takes hold of it. directory: empty, and short (sockets lie in it)."""
    command = [sys.executable, "-m", "tests.cluster", "up", "--detach", "--until", "holders", "--no-kubelet"]
    command += ["--assets", str(assets), "--dir", str(directory)]
    done = subprocess.run(command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise StartFailed(done.stderr)
    return Cluster.join(directory, exclusive=exclusive)
