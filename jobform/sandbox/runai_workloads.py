"""The workloads API of Run:ai's sandbox: trainings and distributed trainings of a control plane with two clusters."""

import shlex
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf

from jobform.model.values import Json
from jobform.sandbox.openapi import Matched
from jobform.sandbox.process import Command
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

CLUSTERS: Mapping[str, str] = {
    "sandbox": "71f69d83-ba66-4822-adf5-55ce55efd210", "other": "9f1a3c0e-1b7d-4c57-8d54-0c1f3a2b4d66",
}
_THIRTY_DAYS = 30 * 86400
_MARK = "jobform.dev/mark"

_PHASES: Mapping[State, str] = {
    State.RUNNING: "Running", State.SUSPENDED: "Stopped", State.CANCELLING: "Deleting", State.SUCCEEDED: "Completed",
    State.FAILED: "Failed", State.CANCELLED: "Deleting",
}
_TYPES: Mapping[str, str] = {"trainings": "Training", "distributed": "Distributed"}


class Workloads:
    """The operations whose paths are the control plane's. projects: ids by name."""

    def __init__(self, world: World, projects: Mapping[str, str]) -> None:
        self._world = world
        first, *more = CLUSTERS.values()
        self._projects = [(run, name, first) for name, run in projects.items()]
        self._projects += [(f"9{run}", name, other) for name, run in list(projects.items())[1:] for other in more]

    def answer(self, matched: Matched, call: Call) -> Reply:
        """Raises Refused."""
        kind = "distributed" if "Distributed" in matched.id else "trainings"
        match matched.id.replace("Distributed", "Training"):
            case "ListProjectsOfControlPlane":
                return Reply(200, self._page(call, "projects", [_project(*each) for each in self._projects]))
            case "ListClusters":
                shown: list[Json] = [
                    {"uuid": run, "tenantId": 1, "name": name, "createdAt": _time(0.0)} for name, run in CLUSTERS.items()
                ]
                return Reply(200, shown)
            case "ListWorkloads":
                return Reply(200, self._page(call, "workloads", [self._summary(job) for job in self._sorted(call)]))
            case "GetWorkload":
                return Reply(200, self._summary(self._job(matched)))
            case "CreateTraining":
                return Reply(202, self._whole(self._create(kind, call.object())))
            case "GetTraining":
                return Reply(200, self._whole(self._job(matched, kind)))
            case "DeleteTraining":
                job = self._job(matched, kind)
                if job.over:
                    self._world.remove(job)
                else:
                    self._world.cancel(job)
                return _accepted()
            case "SuspendTraining":
                self._world.suspend(self._job(matched, kind))
                return _accepted()
            case "ResumeTraining":
                self._world.resume(self._job(matched, kind))
                return _accepted()
        raise Refused(404, f"{matched.id} is not served by the sandbox")

    def _create(self, kind: str, body: dict[str, Json]) -> Job:
        project, cluster, spec = str(body["projectId"]), str(body["clusterId"]), body["spec"]
        assert isinstance(spec, dict)
        if (project, cluster) not in {(run, where) for run, _, where in self._projects}:
            raise Refused(403, f"no project {project} on the cluster {cluster}")
        name = str(body["name"])
        if body.get("useGivenNameAsPrefix"):
            name = f"{name}-{uuid.uuid4().hex[:5]}"
        if any(job.extra["name"] == name and job.extra["project"] == project for job in self._all()):
            raise Refused(400, f"a workload named {name} already exists in the project")
        if "image" not in spec:
            raise Refused(400, "the image is missing")
        env = {item["name"]: item.get("value") for item in _items(spec, "environmentVariables")}
        marks = {item["name"]: item.get("value") for item in _items(spec, "annotations")}
        course = Course.of({str(key): value for key, value in env.items()})
        if str(spec["image"]).partition("/")[0].endswith(".invalid"):
            course = Course(inf)
        owner = str(marks.get(_MARK) or name)
        job = self._world.add(str(uuid.uuid4()), owner, spec, course, _command(spec, env))
        ttl = spec.get("autoDeletionTimeAfterCompletionSeconds")
        job.extra = {
            "api": kind, "project": project, "cluster": cluster, "name": name, "ttl": _THIRTY_DAYS if ttl is None else ttl,
        }
        return job

    def _all(self) -> list[Job]:
        return [job for job in self._world.newest_first() if job.extra["api"] in _TYPES]

    def _sorted(self, call: Call) -> list[Job]:
        if call.first("sortBy", "createdAt") != "createdAt":
            raise Refused(400, "the sandbox sorts by createdAt alone")
        newest = self._all()
        return newest if call.first("sortOrder", "asc") == "desc" else newest[::-1]

    def _job(self, matched: Matched, kind: str = "") -> Job:
        job = self._world.jobs.get(matched.path["id"])
        if job is None or job.extra["api"] not in ((kind,) if kind else _TYPES) or job.state is State.CANCELLED:
            raise Refused(404, "Resource id not found.")
        return job

    def _page(self, call: Call, key: str, items: list[dict[str, Json]]) -> Json:
        """The items that pass every filter, of which several stand in one parameter, separated by commas."""
        for text in (each for name, value in call.query if name == "filterBy" for each in value.split(",")):
            field, equals, value = text.partition("==")
            if not equals:
                raise Refused(400, f"the sandbox has only filters with ==, not {text}")
            items = [item for item in items if str(item.get(field)) == value]
        offset, limit = int(call.first("offset", "0")), int(call.first("limit", "50"))
        shown: list[Json] = [*items[offset : offset + limit]]
        more: dict[str, Json] = {"next": offset + limit} if offset + limit < len(items) else {}
        return {key: shown} | more

    def _phase(self, job: Job) -> str:
        if job.state is not State.QUEUED:
            return _PHASES[job.state]
        half = self._world.after(job.course.queued / 2) - self._world.now()
        return "Initializing" if self._world.now() > job.created + half else "Pending"

    def _whole(self, job: Job) -> Json:
        desired = {State.SUSPENDED: "Stopped", State.CANCELLING: "Deleted", State.CANCELLED: "Deleted"}.get(job.state, "Running")
        return {
            "name": job.extra["name"], "requestedName": job.extra["name"], "workloadId": job.id,
            "projectId": job.extra["project"], "departmentId": "2", "clusterId": job.extra["cluster"],
            "createdBy": "sandbox@example.com", "createdAt": _time(job.created), "deletedAt": None, "desiredPhase": desired,
            "actualPhase": self._phase(job), "spec": job.body,
        }

    def _summary(self, job: Job) -> dict[str, Json]:
        now, began = self._world.now(), job.started
        waited = (began if began is not None else now) - job.created
        ran = (job.ended or now) - began if began is not None else 0.0
        name = next(name for run, name, _ in self._projects if run == job.extra["project"])
        message = job.reason or (f"exit code {job.exit}" if job.state is State.FAILED else "")
        return {
            "tenantId": 1, "runningPods": int(job.state is State.RUNNING), "phaseUpdatedAt": _time(job.updated),
            "k8sPhaseUpdatedAt": _time(job.updated), "updatedAt": _time(job.updated), "source": "Control-plane",
            "deletedAt": None, "type": _TYPES[str(job.extra["api"])], "name": job.extra["name"], "id": job.id, "priority": None,
            "priorityClassName": str(job.body.get("priorityClass") or "low"), "clusterId": job.extra["cluster"],
            "projectName": name, "projectId": job.extra["project"], "departmentName": "default", "departmentId": "2",
            "namespace": f"runai-{name}", "createdAt": _time(job.created), "phase": self._phase(job), "conditions": [],
            "phaseMessage": message, "k8sPhase": self._phase(job), "category": "Train", "images": [job.body["image"]],
            "completedAt": _time(job.ended) if job.ended is not None else None, "totalPendingTimeSeconds": int(max(0.0, waited)),
            "totalRunningTimeSeconds": int(max(0.0, ran)),
        }


def _project(run: str, name: str, cluster: str) -> dict[str, Json]:
    return {"id": run, "name": name, "clusterId": cluster, "parentId": "2", "createdAt": _time(0.0), "updatedAt": _time(0.0)}


def _items(spec: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    value = spec.get(key)
    return [item for item in value if isinstance(item, dict) and not item.get("exclude")] if isinstance(value, list) else []


def _command(spec: Mapping[str, Json], env: Mapping[Json, Json]) -> Command | None:
    command, args = spec.get("command"), spec.get("args")
    if not isinstance(command, str):
        return None
    words = divided(args) if isinstance(args, str) else []
    return Command((*divided(command), *words), {str(key): str(value) for key, value in env.items() if value is not None})


def divided(text: str) -> list[str]:
    """The words of a text as a shell sees them; what no shell can divide is one word, and no program."""
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _accepted() -> Reply:
    return Reply(202, {"code": 202, "message": "Request has been accepted."})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
