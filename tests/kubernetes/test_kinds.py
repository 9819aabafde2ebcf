"""Manifests of every job-like kind: what is applied is what is there, and stays so to the end of its run."""

import json
from typing import Any

import yaml

from tests.cluster.api import Object
from tests.cluster.kinds import (
    ALL,
    JOBSET,
    MPIJOB,
    PYTORCHJOB,
    RAYJOB,
    TFJOB,
    TRAINJOB,
    VOLCANO_JOB,
    Declared,
    declare,
    set_status,
)
from tests.kubernetes.project import IMAGE
from tests.kubernetes.stage import Stage, inline

SWEEP = Declared("lab.example.com", "v1", "Sweep", "sweeps")
SWEEP_KIND = {
    "api": SWEEP.api, "templates": ["spec.worker"], "suspend": "spec.paused", "pods": {"lab.example.com/sweep": "metadata.name"},
    "fields": {"spec.workers": {"class": "placement", "mutable": "always", "reason": "how many work does not change the result"}},
    "status": [
        {"path": "status.state", "equals": ["Done"], "phase": "succeeded", "ended": "status.finishedAt"},
        {"path": "status.state", "equals": ["Broken"], "phase": "failed", "class": "infra", "reason": "status.why"},
        {"path": "status.state", "equals": ["Going"], "phase": "running"},
    ],
}
AT, END = "2026-08-01T10:00:00Z", "2026-08-01T11:00:00Z"


def template(command: str = "exit 0") -> Object:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", command]}
    return {"spec": {"restartPolicy": "Never", "containers": [container]}}


def replicas(key: str, **counts: int) -> Object:
    return {key: {name: {"replicas": count, "restartPolicy": "Never", "template": template()} for name, count in counts.items()}}


def condition(name: str, reason: str = "", message: str = "") -> Object:
    return {"conditions": [{"type": name, "status": "True", "reason": reason, "message": message, "lastTransitionTime": END}]}


RAY = {
    "entrypoint": "python train.py",
    "rayClusterSpec": {
        "rayVersion": "2.9.0", "headGroupSpec": {"rayStartParams": {}, "template": template()},
        "workerGroupSpecs": [{"groupName": "w", "replicas": 2, "rayStartParams": {"num-cpus": "1"}, "template": template()}],
    },
}
SPECS: dict[Declared, Object] = {
    JOBSET: {"replicatedJobs": [{"name": "w", "replicas": 2, "template": {"spec": {"backoffLimit": 0, "template": template()}}}]},
    PYTORCHJOB: {"runPolicy": {"cleanPodPolicy": "None"}, **replicas("pytorchReplicaSpecs", Master=1, Worker=3)},
    TFJOB: replicas("tfReplicaSpecs", Chief=1, Worker=2),
    MPIJOB: {"slotsPerWorker": 2, **replicas("mpiReplicaSpecs", Launcher=1, Worker=2)},
    TRAINJOB: {"runtimeRef": {"name": "torch"}, "trainer": {"numNodes": 2, "image": IMAGE, "args": ["train"]}},
    RAYJOB: RAY,
    VOLCANO_JOB: {"minAvailable": 2, "queue": "default", "tasks": [{"name": "w", "replicas": 2, "template": template()}]},
    SWEEP: {"workers": 2, "rates": [0.1, 0.2], "worker": template()},
}
RUNS: dict[Declared, Object] = {
    JOBSET: {"replicatedJobsStatus": [{"name": "w", "ready": 2, "succeeded": 0, "failed": 0, "active": 2}]},
    PYTORCHJOB: {"startTime": AT, **condition("Running", "PyTorchJobRunning")},
    TFJOB: {"startTime": AT, **condition("Running", "TFJobRunning")},
    MPIJOB: {"startTime": AT, **condition("Running", "MPIJobRunning")},
    TRAINJOB: {"jobsStatus": [{"name": "node", "ready": 2, "succeeded": 0, "failed": 0}]},
    RAYJOB: {"startTime": AT, "jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "c"},
    VOLCANO_JOB: {"state": {"phase": "Running", "lastTransitionTime": AT}},
    SWEEP: {"state": "Going"},
}
WELL: dict[Declared, Object] = {
    JOBSET: {**condition("Completed", "AllJobsCompleted", "jobset completed successfully"), "terminalState": "Completed"},
    PYTORCHJOB: {"completionTime": END, **condition("Succeeded", "PyTorchJobSucceeded")},
    TFJOB: {"completionTime": END, **condition("Succeeded", "TFJobSucceeded")},
    MPIJOB: {"completionTime": END, **condition("Succeeded", "MPIJobSucceeded")},
    TRAINJOB: condition("Complete", "AllJobsCompleted"),
    RAYJOB: {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": END},
    VOLCANO_JOB: {"state": {"phase": "Completed", "lastTransitionTime": END}},
    SWEEP: {"state": "Done", "finishedAt": END},
}
BADLY: dict[Declared, tuple[Object, str]] = {
    JOBSET: ({**condition("Failed", "FailedJobs", "first failed job: w-0"), "terminalState": "Failed"}, "user_error"),
    PYTORCHJOB: ({"completionTime": END, **condition("Failed", "DeadlineExceeded")}, "timeout"),
    TFJOB: ({"completionTime": END, **condition("Failed", "TFJobFailed")}, "user_error"),
    MPIJOB: ({"completionTime": END, **condition("Failed", "MPIJobEvicted")}, "preempted"),
    TRAINJOB: (condition("Failed", "FailedJobs"), "user_error"),
    RAYJOB: ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "endTime": END}, "user_error"),
    VOLCANO_JOB: ({"state": {"phase": "Failed", "reason": "PodFailed", "lastTransitionTime": END}}, "user_error"),
    SWEEP: ({"state": "Broken", "why": "DiskFull"}, "infra"),
}


def manifest(kind: Declared, name: str = "") -> Object:
    metadata = {"labels": {"team": "vision"}, "annotations": {"acme.example/owner": "vision"}} | ({"name": name} if name else {})
    return {"apiVersion": kind.api, "kind": kind.kind, "metadata": metadata, "spec": SPECS[kind]}


def beside(name: str) -> list[Object]:
    """What people put beside a job."""
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": f"{name}-account"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-settings"}, "data": {"lr": "0.1"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"{name}-peers"},
         "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 29500}]}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": f"{name}-data"},
         "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}},
    ]


def test_every_kind_is_planned_empty_at_every_moment_of_its_runs(stage: Stage) -> None:
    declare(stage.api, *ALL, SWEEP)
    stage.settings["kinds"] = {"Sweep": SWEEP_KIND}
    jobs: dict[str, Any] = {}
    for kind in SPECS:
        name = kind.plural.rstrip("s") + ("-volcano" if kind is VOLCANO_JOB else "")
        jobs[f"{name}-well"] = inline(manifest(kind))
        whole = [*beside(name), manifest(kind, f"my-{name}")]
        stage.file(f"k8s/{name}.yaml", yaml.safe_dump_all(whole))
        jobs[f"{name}-badly"] = {"backend": "cluster", "spec": {"manifest_file": f"k8s/{name}.yaml"}}
    stage.declare(jobs)
    stage.begin()
    stage.plan()
    assert {each["phase"] for each in stage.status().values()} == {"pending"}

    def tell(which: str, statuses: dict[Declared, Any]) -> None:
        for kind, status in statuses.items():
            name = kind.plural.rstrip("s") + ("-volcano" if kind is VOLCANO_JOB else "")
            obj = stage.live(f"{name}-{which}", kind.path(stage.namespace))
            set_status(stage.api, kind, stage.namespace, obj["metadata"]["name"], status)

    tell("well", RUNS)
    tell("badly", RUNS)
    stage.plan()
    assert {each["phase"] for each in stage.status().values()} == {"running"}
    tell("well", WELL)
    stage.plan()
    tell("badly", {kind: status for kind, (status, _) in BADLY.items()})
    stage.finish(expect=8)
    stage.plan()
    seen = stage.status()
    for kind in SPECS:
        name = kind.plural.rstrip("s") + ("-volcano" if kind is VOLCANO_JOB else "")
        assert seen[f"{name}-well"]["phase"] == "succeeded", seen[f"{name}-well"]
        assert (seen[f"{name}-badly"]["phase"], seen[f"{name}-badly"]["class"]) == ("failed", BADLY[kind][1])


def test_a_change_of_a_live_object_of_any_kind_is_what_its_rules_say(stage: Stage) -> None:
    """Labels change in place, a project's own field by its own rule; what makes the result needs a yes, with its line."""
    declare(stage.api, *ALL, SWEEP)
    stage.settings["kinds"] = {"Sweep": SWEEP_KIND}
    bodies = {kind.kind + kind.group.partition(".")[0].title(): manifest(kind) for kind in SPECS}

    def write() -> None:
        for name, body in bodies.items():
            stage.file(f"k8s/{name}.yaml", yaml.safe_dump(body, sort_keys=False))
        stage.declare({name.lower(): {"backend": "cluster", "spec": {"manifest_file": f"k8s/{name}.yaml"}} for name in bodies})

    write()
    stage.begin()
    for kind, status in RUNS.items():
        obj = stage.live((kind.kind + kind.group.partition(".")[0].title()).lower(), kind.path(stage.namespace))
        set_status(stage.api, kind, stage.namespace, obj["metadata"]["name"], status)
    stage.begin()
    bodies = {name: {**body, "metadata": {**body["metadata"], "labels": {"team": "audio"}}} for name, body in bodies.items()}
    bodies["SweepLab"]["spec"] = {**SPECS[SWEEP], "workers": 3}
    write()
    assert stage.judged() == dict.fromkeys(map(str.lower, bodies), ("update", "spec_changed"))
    stage.begin()
    stage.plan()
    assert stage.live("sweeplab", SWEEP.path(stage.namespace))["spec"]["workers"] == 3
    bodies = {name: json.loads(json.dumps(body).replace(IMAGE, "other:1")) for name, body in bodies.items()}
    write()
    made = stage.changes()
    assert {(each["action"], each["reason"]) for each in made.values()} == {("block", "live")}
    for each in made.values():
        where = each["fields"][0]["range"]
        assert where["file"].startswith("k8s/"), each
        assert "other:1" in (stage.directory / where["file"]).read_text().splitlines()[where["line"] - 1]
