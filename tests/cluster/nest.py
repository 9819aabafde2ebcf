"""The first process of a node: `python -m tests.cluster.nest DIR`, in process and mount namespaces of its own.

When it ends the kernel ends every process in the namespace, containers included, and drops every mount: nothing of a node stays,
however it dies. The folders that containerd and kubelet use whatever they are told are covered by empty ones, so that the nodes
of several clusters, and a node of the machine itself, do not meet.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

COVERED = ("/run", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/var/lib/containerd")


def main(directory: Path, kubelet: Path) -> None:
    for folder in COVERED:
        if Path(folder).is_dir():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
    Path("/run/lock").mkdir(exist_ok=True)
    programs = {
        "containerd": ["containerd", "--config", str(directory / "containerd.toml")],
        "kubelet": [str(kubelet), *(directory / "kubelet.args").read_text().split("\n")],
    }
    pids = {_start(directory, "containerd", programs["containerd"])}
    while not (directory / "containerd.sock").exists():
        if os.waitpid(-1, os.WNOHANG)[0] in pids:
            return
        time.sleep(0.02)
    pids.add(_start(directory, "kubelet", programs["kubelet"]))
    while os.wait()[0] not in pids:  # orphans of containers come to us as well
        pass


def _start(directory: Path, name: str, argv: list[str]) -> int:
    with (directory / "log" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log).pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
