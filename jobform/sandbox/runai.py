"""Run:ai, as `schemas/openapi/runai.json` describes it: the job API of a cluster, the workloads API of the control plane, and
both ways to a token.

What the vendor's documents leave open is modelled as its command line behaves: which jobs are refused, and how names are made.
How a job goes is said by its variables (`Course.of`). An image of a registry below `.invalid` can never be fetched. A job that
ends with one of the job API's words as its reason (`POST /_sandbox/jobs/ID/end`) shows that word.
"""

import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from math import inf
from urllib.parse import parse_qsl

from jobform.model.units import parse_duration
from jobform.model.values import Json
from jobform.sandbox.openapi import Contract, Matched
from jobform.sandbox.process import Command
from jobform.sandbox.runai_workloads import Workloads, divided
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

TOKEN = "runai-sandbox"  # noqa: S105  # what this server takes for one
CLIENT, SECRET, REALM = "sandbox-app", "sandbox-secret", "sandbox"
PROJECTS: Mapping[str, str] = {"team-a": "4501155", "team-b": "4501156"}
"""Names and ids of the projects; `team-b` exists on two clusters of the control plane."""

_WORDS: Mapping[State, str] = {
    State.RUNNING: "Running", State.CANCELLING: "Terminating", State.SUCCEEDED: "Succeeded", State.FAILED: "Failed",
    State.CANCELLED: "Deleted", State.SUSPENDED: "Suspended",
}
_ENDS = frozenset({"TimedOut", "Preempted", "ContainerCannotRun", "Completed", "Unknown", "Deleted", "Fail"})
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


class Runai:
    """The service `runai`. authenticated: whether credentials are asked for; lifetime: seconds of a token that is given out."""

    name = "runai"

    def __init__(self) -> None:
        self._contract = Contract.of("runai")
        self.authenticated = True
        self.lifetime = 36000.0
        self._issued: dict[str, float] = {}
        self._family = "jobs"

    def variables(self, url: str) -> Mapping[str, str]:
        return {
            "RUNAI_BASE_URL": url, "RUNAI_AUTH_URL": url, "RUNAI_REALM": REALM, "RUNAI_TOKEN": TOKEN, "RUNAI_PROJECT": "team-a",
        }

    def open(self, world: World, services: Mapping[str, str]) -> None:
        del services
        self._world = world
        self._workloads = Workloads(world, PROJECTS)

    def answer(self, call: Call) -> Reply:
        self._family = _family(call.path)
        matched = self._contract.match(call)
        if matched.id not in ("IssueRealmToken", "IssueToken"):
            self._identify(call)
        self._tidy()
        reply = self._operation(matched, call)
        self._contract.check_reply(matched, reply)
        return reply

    def refusal(self, error: Refused) -> Reply:
        """In the form of the API that was called."""
        if self._family == "oauth":
            return Reply(error.status, {"error": error.code or "invalid_request", "error_description": error.message})
        if self._family == "workloads":
            return Reply(error.status, {"code": error.status, "message": error.message})
        return Reply(error.status, {"status": error.status, "message": error.message, "details": ""})

    def _identify(self, call: Call) -> None:
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if not self.authenticated and self._family == "jobs":
            return
        known = token == TOKEN or self._issued.get(token, 0.0) > self._world.now()
        if kind != "Bearer" or not known:
            raise Refused(401, "the token is missing, unknown or expired")

    def _tidy(self) -> None:
        """What was stopped has gone, and what has ended goes after its time to live."""
        for job in list(self._world.jobs.values()):
            ttl = job.extra.get("ttl")
            kept = self._world.after(ttl) - self._world.now() if isinstance(ttl, int | float) else inf
            if job.state is State.CANCELLED or (job.ended is not None and self._world.now() >= job.ended + kept):
                self._world.remove(job)

    def _operation(self, matched: Matched, call: Call) -> Reply:
        match matched.id:
            case "IssueRealmToken":
                return self._realm_token(matched, call)
            case "IssueToken":
                return self._token(call.object())
            case "SubmitJob":
                return Reply(200, {"name": self._submit(call.object())})
            case "ListJobs" | "ListJobsOfProject" | "GetJob":
                return Reply(200, {"data": self._list(matched, call)})
            case "DeleteJobs":
                wanted = call.json()
                assert isinstance(wanted, list)
                return Reply(200, {"data": [self._delete(item) for item in wanted if isinstance(item, dict)]})
            case "ListProjects":
                shown: list[Json] = [
                    {"name": name, "createdAt": 1600000000000, "deservedGpus": 8, "interactiveJobTimeLimitSecs": 0,
                     "trainNodeAffinity": None, "interactiveNodeAffinity": None, "departmentName": "default"} for name in PROJECTS
                ]
                return Reply(200, {"data": shown})
            case "GetVersion":
                return Reply(200, {"data": {"version": "2.2.0", "major": 2, "minor": 2, "subver": 0}})
        return self._workloads.answer(matched, call)

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _realm_token(self, matched: Matched, call: Call) -> Reply:
        form = dict(parse_qsl(call.body.decode("utf-8", "replace")))
        if matched.path["realm"] != REALM:
            raise Refused(404, "Realm does not exist", "realm_not_found")
        if form.get("grant_type") != "client_credentials":
            raise Refused(400, "the grant type is not supported", "unsupported_grant_type")
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            raise Refused(401, "Invalid client or Invalid client credentials", "unauthorized_client")
        token = self._issue()
        return Reply(200, {"access_token": token, "id_token": token, "expires_in": self.lifetime, "token_type": "bearer"})

    def _token(self, body: dict[str, Json]) -> Reply:
        if body.get("grantType") != "client_credentials":
            raise Refused(400, "the grant type is not served by the sandbox")
        if (body.get("clientID"), body.get("clientSecret")) != (CLIENT, SECRET):
            raise Refused(400, "invalid client credentials")
        token = self._issue()
        return Reply(200, {"accessToken": token, "idToken": token, "refreshToken": "", "expiresIn": self.lifetime})

    def _issue(self) -> str:
        token = secrets.token_urlsafe(24)
        self._issued[token] = self._world.now() + self.lifetime
        return token

    # --- the job API --------------------------------------------------------------------------------------------------

    def _submit(self, body: dict[str, Json]) -> str:
        wanted = body["job"]
        assert isinstance(wanted, dict)
        project = str(wanted["project"])
        if project not in PROJECTS:
            raise Refused(404, f"project {project} was not found")
        refuse_mistakes(wanted)
        name = self._name(project, wanted)
        env = wanted.get("environment")
        hints = env if isinstance(env, dict) else {}
        course = Course.of(hints)
        if str(wanted["image"]).partition("/")[0].endswith(".invalid"):
            course = Course(inf)
        elif wanted.get("interactive"):
            course = Course(course.queued, inf)
        ttl = wanted.get("ttlAfterFinish")
        job = self._world.add(str(uuid.uuid4()), name, dict(wanted), course, _command(wanted))
        job.extra = {"api": "jobs", "project": project, "name": name, "ttl": parse_duration(ttl) if isinstance(ttl, str) else ttl}
        return name

    def _name(self, project: str, wanted: Mapping[str, Json]) -> str:
        """As given, or a base with the smallest index that is free, which one that was removed has left."""
        taken = {job.extra["name"] for job in self._jobs(project)}
        if name := wanted.get("name"):
            if not _NAME.fullmatch(str(name)):
                raise Refused(400, f"{name} is not a name: lower-case letters, digits and -, a letter first, at most 63")
            if name in taken:
                raise Refused(409, f"job {name} already exists, please delete it first")
            return str(name)
        base = wanted.get("jobNamePrefix") or "job"
        free = next((index for index in range(len(taken) + 1) if f"{base}-{index}" not in taken), 0)
        return f"{base}-{free}"

    def _jobs(self, project: str | None = None) -> list[Job]:
        listed = [job for job in self._world.newest_first() if job.extra["api"] == "jobs"]
        return [job for job in listed if project in (None, job.extra["project"])]

    def _list(self, matched: Matched, call: Call) -> list[Json]:
        """One job is a list of one, and a job that is not known an error."""
        project = matched.path.get("project") or call.first("project") or None
        if project is not None and project not in PROJECTS:
            raise Refused(404, f"project {project} was not found")
        name = matched.path.get("name")
        found = [job for job in self._jobs(project) if name in (None, job.extra["name"])]
        if name is not None and not found:
            raise Refused(404, f"job {name} was not found in project {project}")
        kind = {"training": "Train", "interactive": "Interactive", "inference": "Inference"}.get(call.first("jobTypeFilter"), "")
        shown = [self._shown(job) for job in found]
        return [item for item in shown if isinstance(item, dict) and str(item["type"]).startswith(kind)]

    def _delete(self, wanted: Mapping[str, Json]) -> Json:
        name = wanted["name"]
        found = next((job for job in self._jobs(str(wanted["project"])) if job.extra["name"] == name), None)
        if found is None:
            return {"name": name, "ok": False, "error": {"status": 404, "message": f"job {name} was not found", "details": ""}}
        if found.over:
            self._world.remove(found)
        else:
            self._world.cancel(found)
            self._tidy()
        return {"name": name, "ok": True}

    def _shown(self, job: Job) -> Json:
        interactive = bool(job.body.get("interactive"))
        kind = ("Interactive-Preemptible" if job.body.get("preemptible") else "Interactive") if interactive else "Train"
        running = job.state in (State.RUNNING, State.CANCELLING)
        return {
            "id": job.id, "project": job.extra["project"], "name": job.extra["name"], "status": self._status(job), "type": kind,
            "nodes": ["node-1"] if running else [], "createdAt": int(job.created * 1000), "images": job.body["image"],
            "user": "sandbox", "currentAllocatedGPUs": job.body.get("gpu", 0) if running else 0,
        }

    def _status(self, job: Job) -> str:
        if job.state is State.QUEUED:
            if str(job.body["image"]).partition("/")[0].endswith(".invalid"):
                return "ImagePullBackOff"
            half = self._world.after(job.course.queued / 2) - self._world.now()
            return "ContainerCreating" if self._world.now() > job.created + half else "Pending"
        return job.reason if job.over and job.reason in _ENDS else _WORDS[job.state]


def refuse_mistakes(job: Mapping[str, Json]) -> None:
    """What the vendor's command line does not submit. Raises Refused."""
    gpu, runs = job.get("gpu", 0), job.get("parallelism", 1)
    assert isinstance(gpu, int | float)
    assert isinstance(runs, int)
    mistakes: Sequence[tuple[bool, str]] = (
        (gpu > 1 and gpu != int(gpu), "gpu must be a whole number, or a fraction below 1"),
        ("gpu" in job and "gpuMemory" in job, "gpu and gpuMemory are mutually exclusive"),
        (runs > 1 and "completions" not in job, "parallelism needs completions"),
        (runs > 1 and bool(job.get("elastic")), "parallelism is not supported for elastic jobs"),
        (runs > 1 and bool(job.get("interactive")), "parallelism is not supported for interactive jobs"),
        (bool(job.get("tty")) and not job.get("stdin"), "tty needs stdin"),
        ("serviceType" in job and not job.get("ports"), "serviceType needs ports"),
    )
    for wrong, message in mistakes:
        if wrong:
            raise Refused(400, message)


def _command(job: Mapping[str, Json]) -> Command | None:
    command, arguments, env = job.get("command"), job.get("arguments"), job.get("environment")
    if not isinstance(command, str):
        return None
    words = [str(word) for word in arguments] if isinstance(arguments, list) else []
    variables = {key: str(value) for key, value in env.items()} if isinstance(env, dict) else {}
    return Command((*divided(command), *words), variables)


def _family(path: str) -> str:
    """Whose form of errors a path has."""
    if path.startswith("/auth/"):
        return "oauth"
    new = ("/api/v1/workloads", "/api/v1/org-unit", "/api/v1/clusters", "/api/v1/token")
    return "workloads" if path.startswith(new) else "jobs"
