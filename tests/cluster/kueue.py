"""Kueue, played: what its webhook and its controllers do to a Job, by a policy in the API server and a thread in the test.

It acts in the namespaces that a test gives it, on batch/v1 Jobs with the queue label, and keeps the manner of the real one: one
update per admission by the manager `kueue`, Workload objects with their conditions, preemption by priority, deactivation.
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from tests.cluster.api import PASSING, Api, ApiFailure, Object
from tests.cluster.cluster import Cluster
from tests.cluster.kinds import Declared, declare

GROUP = "kueue.x-k8s.io"
WORKLOAD = Declared(GROUP, "v1beta2", "Workload", "workloads")
LOCAL_QUEUE = Declared(GROUP, "v1beta2", "LocalQueue", "localqueues")
CLUSTER_QUEUE = Declared(GROUP, "v1beta2", "ClusterQueue", "clusterqueues", namespaced=False)
PRIORITY = Declared(GROUP, "v1beta2", "WorkloadPriorityClass", "workloadpriorityclasses", namespaced=False)
QUEUE_LABEL = f"{GROUP}/queue-name"
PRIORITY_LABEL = f"{GROUP}/priority-class"
MAX_TIME_LABEL = f"{GROUP}/max-exec-time-seconds"
ADMITTED_LABELS = ("cluster-queue-name", "local-queue-name", "podset")
FINALIZER = f"{GROUP}/resource-in-use"
GPU = "nvidia.com/gpu"
FLAVOR = "h100"
MANAGED = "jobform.test/kueue"
TICK = 0.05
ADMISSION = "/apis/admissionregistration.k8s.io/v1beta1"


def install(api: Api) -> None:
    """The kinds, and the policy that suspends queued Jobs at their creation in the namespaces labelled `jobform.test/kueue`."""
    declare(api, WORKLOAD, LOCAL_QUEUE, CLUSTER_QUEUE, PRIORITY)
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"]}
    labelled = f"has(object.metadata.labels) && '{QUEUE_LABEL}' in object.metadata.labels"
    suspend = {"expression": "Object{spec: Object.spec{suspend: true}}"}
    api.apply(f"{ADMISSION}/mutatingadmissionpolicies/kueue", {
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "kueue"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]}, "matchConditions": [{"name": "queued", "expression": labelled}],
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": suspend}],
        },
    })
    api.apply(f"{ADMISSION}/mutatingadmissionpolicybindings/kueue", {
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "kueue"},
        "spec": {"policyName": "kueue", "matchResources": {"namespaceSelector": {"matchLabels": {MANAGED: "true"}}}},
    })
    _await_policy(api, "kube-public")


def _await_policy(api: Api, namespace: str) -> None:
    """A policy works some moments after it is stored, and after a namespace got its label: tried on a Job that is never made."""
    probe = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe", "labels": {QUEUE_LABEL: "q"}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}},
    }
    api.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {MANAGED: "true"}}})
    ends = time.monotonic() + 60
    while not api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", probe, dryRun="All")["spec"]["suspend"]:
        assert time.monotonic() < ends, "the policy that plays Kueue's webhook did not come into force"
        time.sleep(0.05)


@dataclass
class Kueue:
    """A queue `queue` of `namespace` over a ClusterQueue with `quota` GPUs in one flavour. Use it in a `with`, or `stop` it.

    node_labels, tolerations: the flavour's, merged into the pods of what is admitted. hold: nothing is admitted while it is True.
    """

    cluster: Cluster
    namespace: str
    quota: int = 4
    queue: str = "q"
    node_labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Object] = ()
    hold: bool = False
    failures: list[Exception] = field(default_factory=list)
    _api: Api = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event)
    _originals: dict[str, Object] = field(default_factory=dict)
    _evictions: dict[str, tuple[str, str]] = field(default_factory=dict)
    _thread: threading.Thread = field(init=False)

    def start(self) -> Self:
        """Returns when a Job of the namespace that is created from now on is suspended."""
        api = self._api = self.cluster.api if self.cluster.connection is None else self.cluster.api_of("kueue")
        install(api)
        _await_policy(api, self.namespace)
        spec = {"clusterQueue": self.cluster_queue}
        api.apply(LOCAL_QUEUE.path(self.namespace, self.queue), _body(LOCAL_QUEUE, self.queue, spec))
        quota = [{"name": FLAVOR, "resources": [{"name": GPU, "nominalQuota": self.quota}]}]
        body = _body(CLUSTER_QUEUE, self.cluster_queue, {"resourceGroups": [{"coveredResources": [GPU], "flavors": quota}]})
        api.apply(CLUSTER_QUEUE.path("", self.cluster_queue), body)
        self._thread = threading.Thread(target=self._loop, name="kueue", daemon=True)
        self._thread.start()
        return self

    @property
    def cluster_queue(self) -> str:
        return f"cq-{self.namespace}"

    def stop(self) -> None:
        """Raises what went wrong in the thread."""
        self._stop.set()
        self._thread.join()
        if self.failures:
            raise self.failures[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def workload(self, job: str) -> Object | None:
        """The Workload of the Job of this name; not one that an earlier Job of the name has left."""
        loads = [it for it in self._api.items(WORKLOAD.path(self.namespace)) if "deletionTimestamp" not in it["metadata"]]
        return next((it for it in loads if it["metadata"]["ownerReferences"][0]["name"] == job), None)

    def evict(self, job: str, reason: str = "Preempted", message: str = "Preempted to accommodate a workload") -> None:
        """Takes an admitted Job's quota away; it stays queued. Set `hold` before, or it is admitted again at once."""
        found = self._api.get(f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{job}")
        self._evictions[found["metadata"]["uid"]] = (reason, message)

    def activate(self, job: str, active: bool) -> None:
        """False deactivates: the Job is suspended and waits for ever."""
        found = self.workload(job)
        assert found, f"{job} has no Workload"
        self._api.merge(WORKLOAD.path(self.namespace, found["metadata"]["name"]), {"spec": {"active": active}})

    def _loop(self) -> None:
        while not self._stop.wait(TICK):
            try:
                self._round()
            except ApiFailure as failure:
                if failure.status not in PASSING:
                    self.failures.append(failure)
                    return
            except Exception as failure:  # noqa: BLE001  # raised in the test, by stop()
                self.failures.append(failure)
                return

    def _round(self) -> None:
        jobs = [
            job for job in self._api.items(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", QUEUE_LABEL)
            if not job["metadata"].get("deletionTimestamp")
        ]
        loads = {it["metadata"]["labels"][f"{GROUP}/job-uid"]: it for it in self._api.items(WORKLOAD.path(self.namespace))}
        for uid, load in loads.items():
            if load["metadata"].get("deletionTimestamp") and load["metadata"].get("finalizers"):
                self._api.merge(self._path(load), {"metadata": {"finalizers": None}})
            elif uid not in {job["metadata"]["uid"] for job in jobs} and not load["metadata"].get("deletionTimestamp"):
                self._api.delete(self._path(load))
        pairs: list[tuple[Object, Object]] = []
        for job in jobs:
            workload = loads.get(job["metadata"]["uid"]) or self._make(job)
            if workload and self._settle(job, workload):
                pairs.append((job, workload))
        self._admit_all(pairs)

    def _make(self, job: Object) -> Object | None:
        """The Workload of a new Job; None, and an event, if its priority class does not exist."""
        metadata, labels = job["metadata"], job["metadata"]["labels"]
        priority = 0
        if name := labels.get(PRIORITY_LABEL):
            found = self._api.maybe(PRIORITY.path("", name))
            if found is None:
                self._event(job, "WorkloadPriorityClassNotFound", f'workloadpriorityclasses.kueue.x-k8s.io "{name}" not found')
                return None
            priority = found["value"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        name = f"job-{metadata['name']}-{hashlib.sha256(metadata['uid'].encode()).hexdigest()[:5]}"
        body = _body(WORKLOAD, name, {
            "active": True, "queueName": labels[QUEUE_LABEL], "priority": priority,
            "podSets": [{"name": "main", "count": pods(job), "template": job["spec"]["template"]}],
        })
        body["metadata"] |= {
            "labels": {f"{GROUP}/job-uid": metadata["uid"]}, "finalizers": [FINALIZER],
            "ownerReferences": [owner | {"blockOwnerDeletion": True}],
        }
        return self._api.create(WORKLOAD.path(self.namespace), body)

    def _settle(self, job: Object, load: Object) -> bool:
        """Follows what happened to an admitted one; False if it needs and holds no quota any more."""
        ends = [it["type"] for it in job["status"].get("conditions", []) if it["status"] == "True"]
        if "Complete" in ends or "Failed" in ends:
            if not _holds(load, "Finished"):  # told last: what was refused before it is done again
                last = next(it for it in job["status"]["conditions"] if it["type"] in ("Complete", "Failed"))
                reason = "Succeeded" if last["type"] == "Complete" else "Failed"
                self._api.merge(self._path(load), {"metadata": {"finalizers": None}})
                self._tell(load, Finished=(True, reason, last.get("message", "")))
            return False
        if not _holds(load, "Admitted"):
            return True
        if begun := _condition(load, "Evicted"):  # and not ended: the server refused a part of it
            self._evict(job, load, begun["reason"], begun["message"])
            return False
        limit = job["metadata"]["labels"].get(MAX_TIME_LABEL)
        since = next(it["lastTransitionTime"] for it in load["status"]["conditions"] if it["type"] == "Admitted")
        age = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
        if limit and age > int(limit):
            self._api.merge(self._path(load), {"spec": {"active": False}})
            self._evict(job, load, "DeactivatedDueToMaximumExecutionTimeExceeded", "exceeding the maximum execution time")
        elif not load["spec"]["active"]:
            self._evict(job, load, "Deactivated", "The workload is deactivated")
        elif eviction := self._evictions.get(job["metadata"]["uid"]):
            self._evict(job, load, *eviction)
            del self._evictions[job["metadata"]["uid"]]  # not before it is done: what the server refused is tried again
        else:
            if job["spec"]["suspend"]:  # whoever suspended it, and if the Job changed during its admission: what is admitted runs
                self._start(job, load)
            return True
        return False

    def _admit_all(self, pairs: list[tuple[Object, Object]]) -> None:
        """Best effort, first in first out within a priority; a higher one takes the quota of lower ones."""
        held = {job["metadata"]["uid"]: gpus(job) for job, load in pairs if _holds(load, "QuotaReserved")}
        waiting = [(job, load) for job, load in pairs if not _holds(load, "QuotaReserved")]
        waiting.sort(key=lambda pair: (-pair[1]["spec"]["priority"], pair[0]["metadata"]["creationTimestamp"]))
        for job, load in waiting:
            if problem := self._problem(job, load):
                self._tell(load, QuotaReserved=(False, *problem))
                continue
            need, free = gpus(job), self.quota - sum(held.values())
            if self.hold or need > free:
                rank = load["spec"]["priority"]
                lower = [pair for pair in pairs if pair[1]["spec"]["priority"] < rank and _holds(pair[1], "Admitted")]
                if not self.hold and need <= free + sum(gpus(other) for other, _ in lower):
                    self._preempt(lower, need - free, load, job)
                    return
                more = f"insufficient unused quota for {GPU} in flavor {FLAVOR}, {max(need - free, 1)} more needed"
                self._tell(load, QuotaReserved=(False, "WaitingForQuota", f"couldn't assign flavors to pod set main: {more}"))
                continue
            held[job["metadata"]["uid"]] = need
            self._admit(job, load)

    def _problem(self, job: Object, load: Object) -> tuple[str, str] | None:
        queue = load["spec"]["queueName"]
        if self._api.maybe(LOCAL_QUEUE.path(self.namespace, queue)) is None:
            return "Misconfigured", f"LocalQueue {queue} doesn't exist"
        if not load["spec"]["active"]:
            return "Deactivated", "The workload is deactivated"
        if gpus(job) > self.quota:
            return "ExceedsMaxQuota", (
                f"couldn't assign flavors to pod set main: insufficient quota for {GPU} in flavor {FLAVOR}, "
                "previously considered podsets requests (0) + current podset request "
                f"({gpus(job)}) > maximum capacity ({self.quota})"
            )
        return None

    def _admit(self, job: Object, load: Object) -> None:
        self._tell(
            load, QuotaReserved=(True, "QuotaReserved", ""), Admitted=(True, "Admitted", "The workload is admitted"),
            Evicted=(False, "QuotaReserved", ""),
        )
        self._start(job, load)

    def _start(self, job: Object, load: Object) -> None:
        """One update of the Job, so that its pods never see half of it; refused if the Job is another by now."""
        spec = job["spec"]["template"]["spec"]
        own = spec.get("tolerations") or []
        merged: Object = {}
        if self.node_labels:
            merged["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **self.node_labels}
        if self.tolerations:
            merged["tolerations"] = own + [it for it in self.tolerations if it not in own]
        labels = dict(zip(ADMITTED_LABELS, (self.cluster_queue, load["spec"]["queueName"], "main"), strict=True))
        marks = {
            "labels": {f"{GROUP}/{key}": value for key, value in labels.items()},
            "annotations": {f"{GROUP}/workload": load["metadata"]["name"]},
        }
        update = {"suspend": False, "template": {"metadata": marks, "spec": merged}}
        body = {"metadata": {"resourceVersion": job["metadata"]["resourceVersion"]}, "spec": update}
        self._api.merge(self._job_path(job), body, manager="kueue")
        self._originals.setdefault(job["metadata"]["uid"], {key: spec.get(key) for key in ("nodeSelector", "tolerations")})

    def _preempt(self, lower: list[tuple[Object, Object]], need: int, load: Object, winner: Object) -> None:
        by_priority = sorted(lower, key=lambda pair: (pair[1]["spec"]["priority"], pair[0]["metadata"]["creationTimestamp"]))
        freed = itertools.accumulate(gpus(job) for job, _ in by_priority)
        for (job, victim), total in zip(by_priority, freed, strict=True):
            uids = f"UID: {load['metadata']['uid']}, JobUID: {winner['metadata']['uid']}"
            message = f"Preempted to accommodate a workload ({uids}) due to prioritization in the ClusterQueue"
            self._tell(victim, Preempted=(True, "InClusterQueue", message))
            self._evict(job, victim, "Preempted", message)
            if total >= need:
                return

    def _evict(self, job: Object, load: Object, reason: str, message: str) -> None:
        """Suspends, takes the start time away, which makes the template changeable, and gives it back what it had.

        Of this Job alone, each step as the last one left it: if it ends or changes meanwhile, the next round begins again.
        """
        path = self._job_path(job)
        self._tell(load, Evicted=(True, reason, message))

        def merge(place: str, change: Object) -> None:
            version = {key: job["metadata"][key] for key in ("uid", "resourceVersion")}
            job.update(self._api.merge(place, {"metadata": version, **change}, manager="kueue"))

        merge(path, {"spec": {"suspend": True}})
        merge(f"{path}/status", {"status": {"startTime": None}})
        marks = {
            "labels": {f"{GROUP}/{key}": None for key in ADMITTED_LABELS}, "annotations": {f"{GROUP}/workload": None},
        }
        own = self._originals.get(job["metadata"]["uid"], {})
        merge(path, {"spec": {"template": {"metadata": marks, "spec": own}}})
        self._originals.pop(job["metadata"]["uid"], None)
        short = "Deactivated" if reason.startswith("Deactivated") else reason
        self._tell(
            load, QuotaReserved=(False, short, message), Requeued=(short != "Deactivated", short, message),
            Admitted=(False, "NoReservation", "The workload has no reservation"),
        )

    def _tell(self, load: Object, **news: tuple[bool, str, str]) -> None:
        """Sets conditions, and writes only if one of them changes."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        held = {it["type"]: it for it in load.get("status", {}).get("conditions", [])}
        before = dict(held)
        for kind, (status, reason, message) in news.items():
            old = held.get(kind, {})
            if not old and not status and kind == "Evicted":
                continue
            same = old.get("status") == str(status)
            held[kind] = {
                "type": kind, "status": str(status), "reason": reason, "message": message,
                "lastTransitionTime": old["lastTransitionTime"] if same else now,
            }
        if held != before:
            load["status"] = {"conditions": list(held.values())}
            self._api.merge(self._path(load) + "/status", {"status": load["status"]}, manager="kueue")

    def _event(self, job: Object, reason: str, message: str) -> None:
        name = f"{job['metadata']['name']}.{reason.lower()}"
        about = {"apiVersion": "batch/v1", "kind": "Job", **{key: job["metadata"][key] for key in ("name", "namespace", "uid")}}
        path = f"/api/v1/namespaces/{self.namespace}/events"
        if self._api.maybe(f"{path}/{name}") is None:
            self._api.create(path, {
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": about, "type": "Warning",
                "reason": reason, "message": message, "source": {"component": "batch/job-kueue-controller"}, "count": 1,
            })

    def _path(self, load: Object) -> str:
        return WORKLOAD.path(self.namespace, load["metadata"]["name"])

    def _job_path(self, job: Object) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{job['metadata']['name']}"


def pods(job: Object) -> int:
    """How many pods of a Job run at a time."""
    spec = job["spec"]
    return int(min(spec["parallelism"], spec.get("completions", spec["parallelism"])))


def gpus(job: Object) -> int:
    """How many GPUs a Job asks for in all."""
    containers = job["spec"]["template"]["spec"]["containers"]
    return pods(job) * sum(int(it.get("resources", {}).get("limits", {}).get(GPU, 0)) for it in containers)


def _holds(load: Object, kind: str) -> bool:
    return bool(_condition(load, kind))


def _condition(load: Object, kind: str) -> Object:
    """The condition of a Workload if it is true, else empty."""
    conditions = load.get("status", {}).get("conditions", [])
    return next((it for it in conditions if it["type"] == kind and it["status"] == "True"), {})


def _body(kind: Declared, name: str, spec: Object) -> Object:
    return {"apiVersion": kind.api, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
