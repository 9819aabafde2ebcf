"""A cluster ends with whoever needed it, however that ended, and leaves nothing: no process, no mount, no group, no file."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.binaries import KUBELET, Unavailable, find
from tests.cluster.cluster import ROOT
from tests.cluster.node import CGROUPS, missing, sweep
from tests.cluster.policy import ENVIRON, available
from tests.cluster.processes import free_port
from tests.cluster.supervisor import SOCKET, Connection

HOLDER = """
import os, sys, time
from pathlib import Path
from tests.cluster.cluster import launch
cluster = launch(Path(sys.argv[1]), Path(sys.argv[2]), os.environ)
if sys.argv[3] == "node":
    cluster.with_node()
print("ready", flush=True)
time.sleep(600)
"""


def processes(word: str) -> dict[int, str]:
    """Number and command line of every process that has `word` in it, this one left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone meanwhile
        if word in command and int(folder.name) != os.getpid():
            found[int(folder.name)] = command
    return found


def wait(holds: Callable[[], object], what: Callable[[], object]) -> None:
    ends = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < ends, what()
        time.sleep(0.1)


@pytest.fixture
def held() -> "tuple[subprocess.Popen[str], Path]":
    """A process that holds a cluster, with a node where the machine allows one, and its folder."""
    kind = "plain" if missing() else "node"
    assets = available(lambda: find(ENVIRON, ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", KUBELET)))
    directory = Path(tempfile.mkdtemp(prefix="jobform-cluster-"))
    command = [sys.executable, "-c", HOLDER, str(directory), str(assets), kind]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRON, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, directory


def groups(owner: int) -> list[Path]:
    """The groups of the node of this owner, looked for at the top: below it those of other tests come and go."""
    tops = [CGROUPS, *(folder for folder in CGROUPS.iterdir() if folder.is_dir())]
    return [folder / f"jobform-test-{owner}" for folder in tops if (folder / f"jobform-test-{owner}").exists()]


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_a_killed_holder_leaves_nothing(held: "tuple[subprocess.Popen[str], Path]") -> None:
    holder, directory = held
    owners = [pid for pid, command in processes(str(directory)).items() if "tests.cluster up" in command]
    kill(holder)
    wait(lambda: not processes(str(directory)), lambda: processes(str(directory)))
    assert not directory.exists()
    assert str(directory) not in Path("/proc/mounts").read_text()
    assert not [group for pid in owners for group in groups(pid)]


def test_a_killed_owner_takes_every_process_with_it(held: "tuple[subprocess.Popen[str], Path]") -> None:
    holder, directory = held
    owner = next(pid for pid, command in processes(str(directory)).items() if "tests.cluster up" in command)
    os.kill(owner, signal.SIGKILL)
    kill(holder)
    wait(lambda: not processes(str(directory)), lambda: processes(str(directory)))
    assert str(directory) not in Path("/proc/mounts").read_text()
    shutil.rmtree(directory)
    sweep()  # as the next node does when it starts
    assert not groups(owner)


def test_up_ends_with_its_parent(tmp_path: Path) -> None:
    assets = available(lambda: find(ENVIRON))
    script = f"{sys.executable} -m tests.cluster up --no-kubelet --assets {assets} & read line"
    shell = subprocess.Popen(
        ["sh", "-c", script], cwd=ROOT, env=ENVIRON, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert shell.stdout is not None
    line = shell.stdout.readline()
    directory = Path(line.removeprefix("export KUBECONFIG=").strip()).parent
    assert (directory / "kubeconfig").exists()
    shell.kill()
    wait(lambda: not directory.exists(), lambda: processes(str(directory)))
    assert not processes(str(directory))
    shell.communicate()


def test_up_and_down() -> None:
    assets = available(lambda: find(ENVIRON))
    command = [sys.executable, "-m", "tests.cluster"]
    start = [*command, "up", "--detach", "--no-kubelet", "--assets", str(assets)]
    up = subprocess.run(start, cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=True)
    kubeconfig = up.stdout.removeprefix("export KUBECONFIG=").strip()
    Connection(Path(kubeconfig).parent).close()
    subprocess.run([*command, "down"], cwd=ROOT, env=ENVIRON | {"KUBECONFIG": kubeconfig}, check=True)
    assert not Path(kubeconfig).parent.exists()


def test_whoever_comes_when_the_last_one_leaves_finds_a_cluster_or_none(tmp_path: Path) -> None:
    """One that has decided to end takes connections for a moment: nobody may believe that it stays."""
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(tmp_path / SOCKET))
        place.listen()

        def leave() -> None:
            place.accept()[0].close()

        leaving = threading.Thread(target=leave)
        leaving.start()
        with pytest.raises(ConnectionError):
            Connection(tmp_path)
        leaving.join()


def test_a_port_is_given_to_one_alone_although_nobody_listens_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "sample", lambda ports, count: list(ports)[:count])
    script = "import random; random.sample = lambda ports, count: list(ports)[:count]\n"
    script += "from tests.cluster.processes import free_port; print(free_port())"
    ports = [free_port(), free_port()]
    ports.append(int(subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout))
    assert len(set(ports)) == 3, ports


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "etcd").touch(mode=0o755)
    with pytest.raises(Unavailable, match="lacks kube-apiserver, kube-controller-manager, kube-scheduler"):
        find({"KUBEBUILDER_ASSETS": str(tmp_path)})
    with pytest.raises(Unavailable, match="there is no go"):
        find({"HOME": str(tmp_path), "PATH": str(tmp_path)})
    (tmp_path / "go").touch(mode=0o755)
    with pytest.raises(Unavailable, match=r"python -m tests\.cluster build"):
        find({"HOME": str(tmp_path), "PATH": str(tmp_path)})
