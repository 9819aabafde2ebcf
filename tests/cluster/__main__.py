"""`python -m tests.cluster build | up | down`: a Kubernetes for tests from the command line."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.binaries import CONTROL_PLANE, KUBELET, StartFailed, Unavailable, ensure, find
from tests.cluster.processes import die_with_parent


def main() -> int:
    arguments = parser().parse_args()
    try:
        return int(arguments.run(arguments) or 0)
    except (Unavailable, StartFailed) as reason:
        print(f"tests.cluster: {reason}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    build_it = commands.add_parser("build", help="build the programs into the cache")
    build_it.set_defaults(run=build)
    up_it = commands.add_parser("up", help="start a cluster and stay in the foreground")
    up_it.add_argument("--assets", type=Path, help="folder with the programs (otherwise KUBEBUILDER_ASSETS, or the cache)")
    up_it.add_argument("--dir", type=Path, help="an empty folder for everything the cluster writes (otherwise a temporary one)")
    up_it.add_argument("--no-kubelet", action="store_true", help="no node: pods stay pending")
    up_it.add_argument("--detach", action="store_true", help="return when it is ready; it runs until `down`")
    up_it.add_argument("--until", choices=["parent", "holders", "down"], default="parent", help=argparse.SUPPRESS)
    up_it.set_defaults(run=up)
    down_it = commands.add_parser("down", help="stop a cluster, and wait until it is gone")
    down_it.add_argument("--dir", type=Path, help="its folder (otherwise the one that KUBECONFIG lies in)")
    down_it.set_defaults(run=down)
    return top


def build(arguments: argparse.Namespace) -> None:
    print(f"export KUBEBUILDER_ASSETS={ensure(os.environ, lambda line: print(line, file=sys.stderr, flush=True))}")


def up(arguments: argparse.Namespace) -> int:
    from tests.cluster.control import ControlPlane  # `build` is run before anything is installed
    from tests.cluster.supervisor import Supervisor

    needed = CONTROL_PLANE if arguments.no_kubelet else (*CONTROL_PLANE, KUBELET)
    assets = arguments.assets or find_or_build(needed)
    directory = arguments.dir or Path(tempfile.mkdtemp(prefix="jobform-cluster-"))
    if arguments.detach:
        return detach(assets, directory, arguments)
    if arguments.until == "parent":
        die_with_parent(signal.SIGTERM)()
    supervisor = Supervisor(ControlPlane(assets.resolve(), directory.resolve()), held=arguments.until == "holders")
    supervisor.kubelet = not arguments.no_kubelet

    def ready() -> None:
        print(f"export KUBECONFIG={directory.resolve() / 'kubeconfig'}", flush=True)
        if arguments.until != "parent":  # who waits for that line reads no further
            with (directory / "log" / "supervisor.log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)

    supervisor.run(ready)
    return 0


def find_or_build(programs: tuple[str, ...]) -> Path:
    try:
        return find(os.environ, programs)
    except Unavailable:
        return ensure(os.environ, lambda line: print(line, file=sys.stderr, flush=True))


def detach(assets: Path, directory: Path, arguments: argparse.Namespace) -> int:
    """Starts the same command in a session of its own, passes on what it prints when it is ready, and lets go."""
    command = [sys.executable, "-m", "tests.cluster", "up", "--assets", str(assets), "--dir", str(directory), "--until"]
    command += ["down" if arguments.until == "parent" else arguments.until]
    command += ["--no-kubelet"] if arguments.no_kubelet else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    print(line, end="")
    if line:
        return 0
    print(process.communicate()[1], end="", file=sys.stderr)
    return process.returncode


def down(arguments: argparse.Namespace) -> int:
    from tests.cluster.supervisor import Connection  # as above

    kubeconfig = os.environ.get("KUBECONFIG")
    directory = arguments.dir or (Path(kubeconfig).parent if kubeconfig else None)
    if directory is None:
        print("tests.cluster: say which one with --dir, or set KUBECONFIG", file=sys.stderr)
        return 2
    try:
        connection = Connection(directory)
    except OSError:
        print(f"tests.cluster: no cluster runs in {directory}", file=sys.stderr)
        return 1
    connection.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
