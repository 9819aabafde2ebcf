"""A node with a real kubelet and real containers, and GPUs that only the scheduler believes in."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.cluster import images
from tests.cluster.api import Api, ApiFailure, Object
from tests.cluster.binaries import StartFailed, Unavailable
from tests.cluster.processes import Child, free_port, start

NAME = "localhost"
"""The API server reaches the kubelet under the node's name, and so over loopback."""
PATH = f"/api/v1/nodes/{NAME}"
POOL = "real"
PRODUCT = "NVIDIA-H100-80GB-HBM3"
GPU = "nvidia.com/gpu"
CGROUPS = Path("/sys/fs/cgroup")
PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")
READY_TIMEOUT = 150.0
NEEDED = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "unshare": "util-linux", "mount": "mount"}
"""Program to the Debian package that has it."""


def missing() -> str:
    """What keeps this machine from running containers; empty if nothing does."""
    if os.geteuid() != 0:
        return "containers need root"
    if lacks := sorted({package for program, package in NEEDED.items() if not shutil.which(program)}):
        return f"not installed: {', '.join(lacks)} (Debian's names)"
    if not any(Path(folder, "ptp").exists() for folder in PLUGINS):
        return "no network plugins (Debian: containernetworking-plugins)"
    tried = subprocess.run(["unshare", "--pid", "--mount", "--fork", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"containers need the rights of a real root: {tried.stderr.strip()}"


@dataclass
class Node:
    """Owned by the process that owns the control plane. directory: the cluster's; tainted: only pods of its pool come."""

    api: Api
    assets: Path
    directory: Path
    kubeconfig: Path
    pool_key: str
    tainted: bool
    port: int = field(default_factory=free_port)
    _child: Child | None = None

    def start(self, gpus: int) -> None:
        """Returns when the node is ready, its images are there and its GPUs count."""
        if reason := missing():
            raise Unavailable(reason)
        sweep()
        for name in ("log", "node/kubelet", "node/images"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for folder in _hierarchies():
            (folder / self.cgroup).mkdir(exist_ok=True)
        self._configure()
        argv = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child=KILL", "--", sys.executable]
        argv += ["-m", "tests.cluster.nest", str(self.home), str(self.assets / "kubelet")]
        environ = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self._child = start(argv, self.directory, "node", environ)
        archives = images.write_archives(self.home / "images")
        self._wait("containerd", (self.home / "containerd.sock").exists)
        for archive in archives:
            self.ctr("images", "import", "--snapshotter", "native", str(archive))
            archive.unlink()
        self.tag(images.BUSYBOX, "docker.io/local/busybox:1")
        self.tag(images.PYTHON, "docker.io/local/python:3")
        self._wait("the node", self._ready)
        self.set_gpus(gpus)

    def set_gpus(self, count: int) -> None:
        """From now on the node has `count` GPUs. Pods that run keep theirs."""
        figure = {GPU: str(count)}
        self.api.merge(f"{PATH}/status", {"status": {"capacity": figure, "allocatable": figure}})

    def tag(self, image: str, name: str) -> None:
        """Makes `image` known under another full name too, so that a manifest that was taken over unchanged runs."""
        self.ctr("images", "tag", "--force", image, name)

    def ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", str(self.home / "containerd.sock"), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise StartFailed(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Ends every process of the node, and removes its groups. The order does not matter: nothing is kept.

        It is the first process of the node's own namespace that is killed: it has ended only when all the others have.
        """
        if self._child:
            if self._child.running and _kill_children(self._child.process.pid):
                with suppress(subprocess.TimeoutExpired):
                    self._child.process.wait(60)
            self._child.stop(patience=0)
        _remove_groups(self.cgroup)

    @property
    def home(self) -> Path:
        return self.directory / "node"

    @property
    def cgroup(self) -> str:
        return f"jobform-test-{os.getpid()}"

    @property
    def children(self) -> list[Child]:
        return [self._child] if self._child else []

    def _configure(self) -> None:
        network = f"10.{random.randrange(64, 128)}.{random.randrange(256)}.0/24"
        (self.home / "log").mkdir()
        (self.home / "cni").mkdir()
        (self.home / "cni" / "10-test.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": {
                "type": "host-local", "dataDir": str(self.home / "addresses"), "ranges": [[{"subnet": network}]],
            }}],
        }))
        hosts = self.home / "registries" / "_default"
        hosts.mkdir(parents=True)
        hosts.joinpath("hosts.toml").write_text('server = "http://127.0.0.1:9"\n')  # no registry: a pull fails at once
        (self.home / "containerd.toml").write_text(_containerd(self.home))
        (self.home / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet()))
        (self.home / "kubelet.args").write_text("\n".join([
            f"--config={self.home / 'kubelet.yaml'}", f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NAME}",
            f"--root-dir={self.home / 'kubelet'}", f"--cert-dir={self.home / 'kubelet' / 'certs'}",
            f"--node-labels={self.pool_key}={POOL},{GPU}.product={PRODUCT}",
        ]))

    def _kubelet(self) -> Object:
        taints = [{"key": self.pool_key, "value": POOL, "effect": "NoSchedule"}] if self.tainted else []
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": "127.0.0.1", "port": self.port, "readOnlyPort": 0, "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self.home / 'containerd.sock'}",
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self.cgroup}", "enforceNodeAllocatable": [],
            "failSwapOn": False, "failCgroupV1": False, "makeIPTablesUtilChains": False, "resolvConf": "",
            "podLogsDir": str(self.home / "pods"), "volumePluginDir": str(self.home / "plugins"),
            "evictionHard": {"memory.available": "1%", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100, "nodeStatusUpdateFrequency": "2s", "syncFrequency": "10s",
            "eventRecordQPS": 0, "kubeAPIQPS": 200, "kubeAPIBurst": 400, "registerWithTaints": taints,
        }

    def _ready(self) -> bool:
        try:
            node = self.api.maybe(PATH)
        except ApiFailure:
            return False
        conditions = node["status"].get("conditions", []) if node else []
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    def _wait(self, what: str, holds: Callable[[], bool]) -> None:
        assert self._child is not None
        ends = time.monotonic() + READY_TIMEOUT
        while not holds():
            if time.monotonic() > ends or not self._child.running:
                logs = [self._child.log, *sorted((self.home / "log").iterdir())]
                tails = "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
                raise StartFailed(f"{what} did not come up\n{tails}")
            time.sleep(0.05)


def _containerd(home: Path) -> str:
    plugins = next(folder for folder in PLUGINS if Path(folder, "ptp").exists())
    return f"""
version = 2
root = "{home / 'containerd'}"
state = "{home / 'state'}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{home / 'containerd.sock'}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plugins}"
  conf_dir = "{home / 'cni'}"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{home / 'registries'}"
"""


def _kill_children(pid: int) -> bool:
    """Whether it has any."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return False
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return bool(children)


def _hierarchies() -> Iterator[Path]:
    """Where groups are made: the one tree of cgroup v2, or each controller's of v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS
    else:
        yield from (folder for folder in CGROUPS.iterdir() if folder.is_dir() and not folder.is_symlink())


def sweep() -> None:
    """Removes the groups of nodes whose owner was killed before it could: they are empty, their processes died with it."""
    names = {group.name for folder in _hierarchies() for group in folder.glob("jobform-test-*")}
    for name in names:
        if not _alive(int(name.rpartition("-")[2])):
            _remove_groups(name)


def _alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked after yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _remove_groups(name: str) -> None:
    """Processes leave a group some moments after they are killed; another cluster may sweep at the same time."""
    ends = time.monotonic() + 120
    for folder in _hierarchies():
        while (folder / name).exists():
            for group, _, _ in os.walk(folder / name, topdown=False):
                with suppress(OSError):
                    Path(group).rmdir()
            assert time.monotonic() < ends, f"{folder / name} cannot be removed"
            time.sleep(0.02)
