"""A project whose commands run in a warm process, and the hand that interferes with what it made."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.api import APPLY, Api, Object
from tests.cluster.kwok import AFTER, END, EXIT
from tests.entry import Hook
from tests.kubernetes.project import IMAGE, TIMEOUT, Project
from tests.support import Result, Warm

PATIENCE = 120.0
POLICY: tuple[str, ...] = ("rerun", "on_change_while_running", "ignore_drift", "protect", "generation")


@dataclass
class Stage(Project):
    """Many commands in a row: each is forked from `warm`. settings: more keys of the backend's block."""

    warm: Warm = field(kw_only=True)
    settings: dict[str, Any] = field(default_factory=dict)

    # --- the project

    def declare(self, jobs: Mapping[str, Any] | None = None, removed: Sequence[Any] = (), **more: Any) -> None:
        """The project's files, anew: its jobs are `jobs` and `more`."""
        self.write({**(jobs or {}), **more}, settings=self.settings)
        if removed:
            document = {"jobs": {**(jobs or {}), **more}, "removed": list(removed)}
            (self.directory / "jobs" / "jobs.yaml").write_text(json.dumps(document, indent=1))

    def file(self, name: str, content: str) -> None:
        """A file of the project."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    # --- commands

    def run(self, *arguments: str, hook: Hook | None = None, timeout: float = TIMEOUT, **environ: str) -> Result:
        return self.warm.run(*arguments, cwd=self.directory, env=self.environ | environ, timeout=timeout, hook=hook)

    def begin(self, *arguments: str, expect: int = 0) -> Result:
        """`apply --detach`, which decides and calls once."""
        done = self.run("apply", "--auto-approve", "--detach", *arguments)
        assert done.exit == expect, done
        return done

    def finish(self, *arguments: str, expect: int = 0) -> Result:
        """`apply`, which waits until all has ended: 8 says that something failed."""
        done = self.run("apply", "--auto-approve", "--timeout", "100s", *arguments)
        assert done.exit == expect, done
        return done

    def plan(self, *arguments: str, expect: int = 0) -> Any:
        """What `plan --detailed-exitcode --format json` says. expect: 0 for nothing to do, 2 for changes and blocks."""
        done = self.run("plan", "--detailed-exitcode", "--format", "json", *arguments)
        assert done.exit == expect, done
        return done.json

    def changes(self, *arguments: str, expect: int = 2) -> dict[str, Any]:
        """The changes of the plan, by address."""
        return {each["address"]: each for each in self.plan(*arguments, expect=expect)["changes"]}

    def judged(self, *arguments: str, expect: int = 2) -> dict[str, tuple[str, str]]:
        """What the plan makes of each address: action and reason."""
        return {name: (each["action"], each["reason"]) for name, each in self.changes(*arguments, expect=expect).items()}

    def reach(self, phases: Mapping[str, str]) -> dict[str, Any]:
        """Wait until `status` says these phases."""
        return self.until(lambda seen: all(seen[name]["phase"] == phase for name, phase in phases.items()))

    def attempt(self, address: str, number: int) -> None:
        """Wait, with `advance`, until this attempt was begun."""
        self.wait(lambda: (self.run("advance"), self.status()[address]["attempt"])[1], lambda seen: seen == number)

    def wait(self, look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + PATIENCE
        while not good(seen := look()):
            assert time.monotonic() < end, seen
            time.sleep(0.1)
        return seen

    # --- the cluster

    @property
    def api(self) -> Api:
        return self.cluster.api

    @property
    def path(self) -> str:
        """Of the namespace's Jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def live(self, address: str, path: str = "") -> Object:
        """The only object of an address."""
        found = [it for it in self.api.items(path or self.path)
                 if it["metadata"].get("annotations", {}).get("jobform.dev/address") == address]
        assert len(found) == 1, [it["metadata"]["name"] for it in found]
        return found[0]

    def running(self, *addresses: str) -> None:
        """Wait until the pods of these Jobs run."""
        for address in addresses:
            name = self.live(address)["metadata"]["name"]
            self.api.wait(f"{self.path}/{name}", lambda job: bool(job and job["status"].get("ready")), what=f"{address} to run")

    def let_end(self, address: str, code: int = 0) -> None:
        """Let every pod of a simulated Job exit."""
        name = self.live(address)["metadata"]["name"]
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        for pod in self.api.items(pods, f"job-name={name}"):
            self.api.merge(f"{pods}/{pod['metadata']['name']}", {"metadata": {"annotations": {END: "exit", EXIT: str(code)}}})

    def patch(self, path: str, body: Object, manager: str = "kubectl-edit") -> Object:
        """A change by somebody else."""
        return self.api.merge(path, body, manager=manager)

    def take(self, path: str, body: Object, manager: str) -> Object:
        """The same by a forced server-side apply."""
        return self.api.call("PATCH", path, body, query={"fieldManager": manager, "force": "true"}, content_type=APPLY)


def pods(end: str = "never", after: str = "", code: int | None = None) -> dict[str, str]:
    """The annotations of a pod template that make simulated pods behave."""
    found = {END: end} if end else {}
    return found | ({AFTER: after} if after else {}) | ({EXIT: str(code)} if code is not None else {})


def image_job(end: str = "never", *, code: int | None = None, **more: Any) -> Object:
    """A job of the vocabulary whose simulated pods behave so."""
    policy = {key: more.pop(key) for key in POLICY if key in more}
    annotations = pods(end, code=code)
    spec = {"image": IMAGE, "command": ["sh", "-c", "exit 0"], "retries": 0, "pod_annotations": annotations, **more}
    return {"backend": "cluster", **policy, "spec": spec}


def document(
    name: str = "", end: str = "never", code: int | None = None, labels: Mapping[str, str] | None = None, **spec: Any,
) -> Object:
    """A batch/v1 Job as people write it."""
    metadata: Object = ({"name": name} if name else {}) | ({"labels": dict(labels)} if labels else {})
    template = {
        "metadata": {"annotations": pods(end, code=code)},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", "exit 0"]}]},
    }
    body = {"backoffLimit": 0, "template": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": body}


def inline(*documents: Object, **policy: Any) -> Object:
    """A job whose manifest stands in the project's own file."""
    return {"backend": "cluster", **policy, "spec": {"manifest": list(documents) if len(documents) > 1 else documents[0]}}
