"""A project on a cluster, and `jobform` run in it as its users run it: a command, its streams and its exit code."""

import json
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.entry import Hook
from tests.support import Result, environ_for, project, run_cli

IMAGE = "docker.io/local/busybox:1"
PYTHON = "docker.io/local/python:3"
JOBFORM = Path(sysconfig.get_path("scripts")) / "jobform"
TIMEOUT = 200.0


def shell(script: str, **spec: Any) -> dict[str, Any]:
    """A job on the backend `cluster` that runs a shell script. spec: more keys of its spec."""
    wanted = {"image": IMAGE, "image_pull_policy": "Never", "command": ["sh", "-c", script], "grace_period": "1s", **spec}
    return {"backend": "cluster", "spec": wanted}


def command(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT, hook: Hook | None = None,
) -> Result:
    """The installed command in a process of its own; with a hook, the same code by `tests.entry`."""
    if hook is not None:
        return run_cli(*arguments, cwd=cwd, env=env, timeout=timeout, hook=hook)
    done = subprocess.run(
        [str(JOBFORM), *arguments], cwd=cwd, env=environ_for(env, None), timeout=timeout, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass
class Project:
    """A directory with jobform.yaml, whose backend `cluster` is a namespace of a cluster.

    user: whose kubeconfig the commands have. environ: variables that they get as well. runner: runs a command to its end, as
    `command` and `Warm.run` do.
    """

    directory: Path
    cluster: Cluster
    namespace: str
    user: str = "admin"
    environ: dict[str, str] = field(default_factory=dict)
    runner: Callable[..., Result] = command

    def __post_init__(self) -> None:
        self.environ.setdefault("KUBECONFIG", str(self.cluster.kubeconfig_for(self.user, namespace=self.namespace)))

    def write(
        self, jobs: Mapping[str, Any], *, settings: Mapping[str, Any] | None = None, removed: Sequence[Any] = (), **document: Any,
    ) -> None:
        """The project's files, anew. settings: keys of the backend's block; document: more keys of jobform.yaml."""
        block = {"type": "kubernetes", "namespace": self.namespace, **(settings or {})}
        project(self.directory, jobs, {"cluster": block}, **document)
        (self.directory / "jobs" / "removed.yaml").write_text(json.dumps({"removed": list(removed)}))

    def run(self, *arguments: str, hook: Hook | None = None, timeout: float = TIMEOUT, **environ: str) -> Result:
        """One command to its end, whatever its exit code. hook: stops the world at a chosen effect."""
        return self.runner(*arguments, cwd=self.directory, env=self.environ | environ, timeout=timeout, hook=hook)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """One command, started: the caller waits for it or stops it."""
        return subprocess.Popen(
            [str(JOBFORM), *arguments], cwd=self.directory, env=environ_for(self.environ, None), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def ok(self, *arguments: str, code: int = 0, timeout: float = TIMEOUT) -> str:
        """What a command prints, that must end with this exit code."""
        done = self.run(*arguments, timeout=timeout)
        assert done.exit == code, done
        return done.stdout

    def apply(self, *arguments: str, code: int = 0) -> str:
        """`apply` without a question, and what it printed; no jobs may be left to change after it."""
        said = self.ok("apply", "--auto-approve", *arguments, code=code)
        self.settled()
        return said

    def settled(self, *arguments: str) -> str:
        """The plan, in which nothing is to be changed."""
        done = self.run("plan", "--detailed-exitcode", *arguments)
        assert done.exit == 0, done
        return done.stdout

    def status(self) -> dict[str, Any]:
        """What `status --format json` says of each job, by its address."""
        return {row["address"]: row for row in json.loads(self.ok("status", "--format", "json"))["jobs"]}

    def until(self, met: Callable[[dict[str, Any]], bool], *, timeout: float = 150.0) -> dict[str, Any]:
        """`status`, asked again until it is as wanted."""
        ends = time.monotonic() + timeout
        while True:
            seen = self.status()
            if met(seen):
                return seen
            assert time.monotonic() < ends, f"not in {timeout} s: {json.dumps(seen, indent=1)}"
            time.sleep(0.3)

    def job(self, address: str) -> Object:
        """The only Job of an address."""
        [found] = [each for each in self.objects("jobs") if each["metadata"]["annotations"]["jobform.dev/address"] == address]
        return found

    def printed(self, address: str, text: str) -> None:
        """Waits until the only pod of a job that runs has printed this, by the server's own word."""
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        [pod] = self.cluster.api.items(pods, f"job-name={self.job(address)['metadata']['name']}")
        ends = time.monotonic() + 120
        while text not in (said := self.cluster.api.raw("GET", f"{pods}/{pod['metadata']['name']}/log")[1].decode()):
            assert time.monotonic() < ends, said
            time.sleep(0.1)

    def state(self) -> Any:
        """The state file's content."""
        return json.loads((self.directory / "jobform.state.json").read_text())

    def objects(self, *plurals: str) -> list[Object]:
        """Our objects that the namespace holds: of `jobs`, `pods`, `services`, `secrets`, or of these plurals."""
        found: list[Object] = []
        for plural in plurals or ("jobs", "pods", "services", "secrets"):
            api = "/apis/batch/v1" if plural == "jobs" else "/api/v1"
            selector = "app.kubernetes.io/managed-by=jobform"
            found += self.cluster.api.items(f"{api}/namespaces/{self.namespace}/{plural}", selector)
        return found

    def gone(self, *plurals: str, timeout: float = 150.0) -> None:
        """Waits until the namespace holds none of them."""
        ends = time.monotonic() + timeout
        while left := self.objects(*plurals):
            names = [f"{each['metadata']['name']}" for each in left]
            assert time.monotonic() < ends, f"left after {timeout} s: {names}"
            time.sleep(0.2)
