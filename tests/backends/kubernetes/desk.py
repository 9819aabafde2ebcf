"""A backend on a real cluster, and what tests of it do all the time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobform.backends.kubernetes.backend import KubernetesBackend, KubernetesType
from jobform.backends.kubernetes.refs import JobRef
from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.model.state import Phase
from jobform.protocols import Actual, Effect, Gone, Mark, Place, ReadError, Ref, Submission, no_effect
from jobform.testing.marks import make_mark
from tests.cluster.api import Access, Object
from tests.cluster.cluster import Cluster

PATIENCE = 120.0
IMAGE = "docker.io/local/busybox:1"
NOBODY = "nobody"
"""A scheduler that does not exist: no node takes the pods, whatever nodes there are, so a test may play them."""


class Desk:
    """One namespace of a cluster, with a backend for it. user: whose rights the backend has; access: of a proxy in between."""

    def __init__(
        self, cluster: Cluster, namespace: str, *, effect: Effect = no_effect, user: str = "admin", access: Access | None = None,
        **settings: Any,
    ) -> None:
        self.cluster, self.namespace, self.api = cluster, namespace, cluster.api
        way = access or cluster.user(user)
        kubeconfig = cluster.kubeconfig_for(user, namespace=namespace, server=way.server, authority=way.authority)
        self.settings = {"kubeconfig": str(kubeconfig), **settings}
        self._opened: list[KubernetesBackend] = []
        self.backend = self.open(effect)
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.pods = f"/api/v1/namespaces/{namespace}/pods"

    def open(self, effect: Effect = no_effect) -> KubernetesBackend:
        """Another backend of the same block, as another command would have it."""
        place = Place(Path(), SystemClock(), effect, {"HOME": "/nonexistent"})
        self._opened.append(KubernetesType().open(BackendBlock("gpu", "kubernetes", dict(self.settings)), place))
        return self._opened[-1]

    def close(self) -> None:
        for backend in self._opened:
            backend.close()

    def submit(self, spec: Object, mark: Mark | None = None, address: str = "job") -> Ref:
        return self.backend.submit(Submission(address, spec), mark or make_mark(address, lineage=self.namespace))

    def mark(self, address: str = "job", attempt: int = 1, **more: Any) -> Mark:
        return make_mark(address, attempt, lineage=self.namespace, **more)

    def read(self, ref: Ref) -> Actual | Gone | ReadError:
        return self.backend.read([ref])[ref]

    def actual(self, ref: Ref) -> Actual:
        answer = self.read(ref)
        assert isinstance(answer, Actual), answer
        return answer

    def reach(self, ref: Ref, *phases: Phase) -> Actual:
        return self.until(lambda: self.actual(ref), lambda actual: actual.phase in phases)

    def until(self, look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + PATIENCE
        while not good(seen := look()):
            assert time.monotonic() < end, seen
            time.sleep(0.05)
        return seen

    def job(self, ref: Ref) -> Object:
        return self.api.get(f"{self.jobs}/{JobRef.parse(ref).name}")

    def pods_of(self, ref: Ref) -> list[Object]:
        return [pod for pod in self.api.items(self.pods) if pod["metadata"]["labels"].get("job-name") == JobRef.parse(ref).name]

    def pod(self, ref: Ref) -> Object:
        """The only pod of a run, as soon as there is one."""
        return self.until(lambda: self.pods_of(ref), lambda pods: len(pods) == 1)[0]


def job(**more: Any) -> Object:
    """A vocabulary spec that runs until it is ended."""
    return {"image": IMAGE, "command": ["runs"], "retries": 0, "scheduler": NOBODY, **more}


def manifest(name: str = "", *companions: Object, **spec: Any) -> Object:
    """A spec of the canonical form with one Job."""
    metadata = {"name": name} if name else {}
    container = {"name": "main", "image": IMAGE, "command": ["runs"]}
    template = {"spec": {"restartPolicy": "Never", "schedulerName": NOBODY, "containers": [container]}}
    objects = {"Job": {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": template, **spec},
    }}
    return {"objects": objects | {f"{each['kind']}/{each['metadata']['name']}": each for each in companions}}

