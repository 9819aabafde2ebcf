"""Kueue's visibility API, played: an API of its own that the cluster's API server forwards to, as it does to the real one.

It has what Kueue's generic server has: `localqueues` is listed without verbs and under the kind of its subresource's answer. For
a namespace that is not the test's it knows no queue. Source: kueue, pkg/visibility/storage and apis/visibility/v1beta2/types.go.
"""

import fcntl
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cluster.api import Api, Object
from tests.cluster.cluster import Cluster
from tests.cluster.kueue import WORKLOAD
from tests.cluster.loopback import Answer, Loopback

GROUP = "visibility.kueue.x-k8s.io"
SERVICES = "/api/v1/namespaces/kube-system/services"
_PENDING = re.compile(rf"/apis/{re.escape(GROUP)}/([^/]+)/namespaces/([^/]+)/localqueues/([^/?]+)/pendingworkloads(?:\?.*)?$")


@dataclass
class Visibility:
    """asked: queues whose positions were asked for. away: what they are answered with instead, while it is set."""

    api: Api
    namespace: str
    version: str
    asked: list[str] = field(default_factory=list)
    away: Callable[[], Answer] | None = None

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if path.split("?")[0] == f"/apis/{GROUP}/{self.version}":
            queue = {"name": "localqueues", "singularName": "localqueue", "namespaced": True, "kind": "PendingWorkloadsSummary"}
            return 200, {
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{self.version}", "resources": [
                    queue | {"name": "clusterqueues", "singularName": "clusterqueue", "namespaced": False, "verbs": []},
                    queue | {"verbs": []},
                    queue | {"name": "localqueues/pendingworkloads", "singularName": "", "verbs": ["get"]},
                ],
            }
        match = _PENDING.match(path)
        if match is None or match[2] != self.namespace:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            return 404, status | {"message": "localqueue.visibility.kueue.x-k8s.io not found"}
        self.asked.append(match[3])
        if self.away is not None:
            return self.away()
        items = [self._item(load, place) for place, load in enumerate(self._pending(match[3]))]
        return 200, {"kind": "PendingWorkloadsSummary", "apiVersion": f"{GROUP}/{self.version}", "metadata": {}, "items": items}

    def _pending(self, queue: str) -> list[Object]:
        """By priority, then by age; equally old ones by name."""
        loads = [load for load in self.api.items(WORKLOAD.path(self.namespace)) if load["spec"]["queueName"] == queue]
        waiting = [load for load in loads if not any(
            each["type"] == "QuotaReserved" and each["status"] == "True" for each in load.get("status", {}).get("conditions", ())
        )]
        return sorted(waiting, key=lambda load: (
            -load["spec"]["priority"], load["metadata"]["creationTimestamp"], load["metadata"]["name"],
        ))

    @staticmethod
    def _item(load: Object, place: int) -> Object:
        return {
            "metadata": {key: load["metadata"][key] for key in ("name", "namespace", "creationTimestamp")},
            "priority": load["spec"]["priority"], "localQueueName": load["spec"]["queueName"],
            "positionInClusterQueue": place, "positionInLocalQueue": place,
        }


@contextmanager
def visible(cluster: Cluster, namespace: str, version: str = "v1beta2") -> Iterator[Visibility]:
    """The API server serves it for one namespace. Other tests of the session see that there is such an API, without queues."""
    played = Visibility(cluster.api, namespace, version)
    service = f"/apis/apiregistration.k8s.io/v1/apiservices/{version}.{GROUP}"
    with (cluster.folder / "visibility.lock").open("w") as lock, Loopback(played.answer) as server:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the API is the whole cluster's: one test at a time
        named = {"name": "visibility", "namespace": "kube-system"}
        outside = {"type": "ExternalName", "externalName": "localhost"}
        cluster.api.apply(f"{SERVICES}/visibility", {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": outside})
        cluster.api.apply(service, {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{version}.{GROUP}"},
            "spec": {
                "group": GROUP, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": True, "service": {**named, "port": server.port},
            },
        })
        try:
            _await(cluster.api, version)
            yield played
        finally:
            cluster.api.delete(service)
            cluster.api.delete(f"{SERVICES}/visibility")


def _await(api: Api, version: str) -> None:
    """Until the API server has asked what it offers."""
    ends = time.monotonic() + 60
    while api.raw("GET", f"/apis/{GROUP}/{version}")[0] != 200 or GROUP not in api.raw("GET", "/apis")[1].decode():
        assert time.monotonic() < ends, "the API server does not serve the API"
        time.sleep(0.05)
