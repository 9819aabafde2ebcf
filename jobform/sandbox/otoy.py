"""Jobs of OTOY's compute marketplace, as `schemas/openapi/otoy.json` describes them.

A job has no command, so none is ever run here; how it goes is said by its variables (`Course.of`). A PERSISTENT job runs until it
is cancelled. One that finds no node in time, or runs too long, has failed, at the speed of the sandbox.
"""

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from typing import TypeVar
from urllib.parse import quote, urlencode

from jobform.model.values import Json
from jobform.sandbox.openapi import Contract, Matched
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

KEY, SECRET = "pk_sandbox", "sk_sandbox"
SECOND_KEY, STRANGERS_KEY = "pk_second", "pk_stranger"
"""Keys with the same secret: another one of the account, and one of another account."""

_ACCOUNTS: Mapping[str, str] = {KEY: "mine", SECOND_KEY: "mine", STRANGERS_KEY: "a stranger's"}
SKEW = 300.0
"""Seconds that a client's clock may be off."""

_STATES: Mapping[State, str] = {
    State.QUEUED: "PENDING", State.RUNNING: "RUNNING", State.CANCELLING: "CANCELLING", State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED", State.CANCELLED: "CANCELLED",
}
_CODES: Mapping[int, str] = {
    400: "validation_error", 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict", 405: "method_not_allowed",
}
_DEFAULTS: Mapping[str, Json] = {
    "cpu_count": 0, "gpu_count": 0, "max_node_count": 1, "max_retry_count": 0, "max_timeout_assign_ms": 300_000,
    "max_timeout_start_ms": 300_000, "min_ram_gb": 0, "min_storage_gb": 0, "min_vram_gb": 0, "allowed_region_codes": [],
}
_DOCKER_DEFAULTS: Mapping[str, Json] = {"tag": "latest", "env": {}, "ports": [22], "volumes": []}
_TIME = re.compile(r"[0-9]{1,15}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_MARK = re.compile(r"jobform:(jf1-[0-9a-f-]+)")
_LIMIT = 20

T = TypeVar("T")


class Otoy:
    """The service `otoy`."""

    name = "otoy"

    def __init__(self) -> None:
        self._contract = Contract.of("otoy")
        self._nonces: set[str] = set()

    def variables(self, url: str) -> Mapping[str, str]:
        return {"OTOY_BASE_URL": url, "OTOY_API_KEY": KEY, "OTOY_API_SECRET": SECRET}

    def open(self, world: World, services: Mapping[str, str]) -> None:
        del services
        self._world = world

    def answer(self, call: Call) -> Reply:
        self._account = self._authenticate(call)
        for job in self._world.jobs.values():
            if job.state is State.QUEUED and self._world.now() >= float(str(job.extra["assign_by"])):
                self._world.end(job, 1, "no node was assigned in time")
        matched = self._contract.match(call)
        reply = self._operation(matched, call)
        self._contract.check_reply(matched, reply)
        return reply

    def refusal(self, error: Refused) -> Reply:
        code = error.code or _CODES.get(error.status, "error")
        return Reply(error.status, {"error": {"code": code, "message": error.message}})

    # --- signatures ---------------------------------------------------------------------------------------------------

    def _authenticate(self, call: Call) -> str:
        """The account of the four headers: the key, a time that is near, a nonce that is new, and a signature over this very
        request.
        """
        key, time, nonce, given = (call.headers.get(f"x-{name}", "") for name in ("api-key", "time", "nonce", "signature"))
        if key not in _ACCOUNTS:
            raise Refused(401, "the API key is missing or unknown")
        if not _TIME.fullmatch(time) or abs(int(time) / 1000 - self._world.now()) > SKEW:
            raise Refused(401, "X-Time is no time in milliseconds within five minutes of the server's")
        if not _NONCE.fullmatch(nonce) or nonce in self._nonces:
            raise Refused(401, "X-Nonce is not 16 new bytes in hex")
        text = "|".join((key, time, nonce, call.method, call.path, _query(call.query), _body(call)))
        if not hmac.compare_digest(given, hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()):
            raise Refused(401, "X-Signature does not fit the request")
        self._nonces.add(nonce)
        return _ACCOUNTS[key]

    # --- operations ---------------------------------------------------------------------------------------------------

    def _operation(self, matched: Matched, call: Call) -> Reply:
        match matched.id:
            case "CreateJob":
                return Reply(201, self._create(call.object()))
            case "ListJobs":
                return Reply(200, _page(call, self._jobs(call), self._shown))
            case "GetJob":
                return Reply(200, self._shown(self._job(matched)))
            case "CancelJob":
                job = self._job(matched)
                if job.over:
                    raise Refused(409, f"the job is {_STATES[job.state]}")
                self._world.cancel(job)
                job.reason = str(call.object().get("reason", "")) or job.reason
                return Reply(200, self._shown(job))
            case "ListJobRuns":
                return Reply(200, _page(call, self._runs(call), _without_log))
            case "GetJobRun":
                runs = [run for job in self._mine() for run in self._runs_of(job)]
                found = next((run for run in runs if run["uuid"] == matched.path["uuid"]), None)
                if found is None:
                    raise Refused(404, f"there is no job run {matched.path['uuid']}")
                return Reply(200, found)
        raise Refused(404, f"{matched.id} is not served by the sandbox")

    def _create(self, body: dict[str, Json]) -> Json:
        parameters = body["parameters"]
        assert isinstance(parameters, dict)
        docker = parameters["parameters"]
        assert isinstance(docker, dict)
        container: Json = {**_DOCKER_DEFAULTS, **docker}
        whole: dict[str, Json] = {**_DEFAULTS, **body, "parameters": {"type": "docker", "parameters": container}}
        env = docker.get("env")
        course = _course(whole, env if isinstance(env, dict) else {})
        runs: list[Json] = [str(uuid.uuid4()) for _ in range(_most_runs(whole))]
        owner = _MARK.match(str(body.get("description", "")))
        job = self._world.add(str(uuid.uuid4()), owner[1] if owner else "", whole, course)
        job.extra["assign_by"] = self._world.after(float(str(whole["max_timeout_assign_ms"])) / 1000)
        job.extra |= {"runs": runs, "account": self._account}
        return self._shown(job)

    def _jobs(self, call: Call) -> list[Job]:
        """The jobs that a list asks for. Raises Refused for what the sandbox cannot filter by."""
        filters = {name: value for name, value in call.query if name.startswith("filter[")}
        states, task, run = (filters.pop(f"filter[{name}]", None) for name in ("status", "task", "uuid"))
        if filters:
            raise Refused(400, f"the sandbox does not know {', '.join(sorted(filters))}")
        jobs = [
            job for job in self._mine()
            if run in (None, job.id) and task in (None, job.body["task"])
            and (states is None or _STATES[job.state] in states.split(","))
        ]
        return jobs if call.first("sort") == "-created_at" else jobs[::-1]

    def _job(self, matched: Matched) -> Job:
        job = self._world.jobs.get(matched.path["uuid"])
        if job is None or job.extra["account"] != self._account:
            raise Refused(404, f"there is no job {matched.path['uuid']}")
        return job

    def _mine(self) -> list[Job]:
        """The jobs of the account that asks, newest first."""
        return [job for job in self._world.newest_first() if job.extra["account"] == self._account]

    def _shown(self, job: Job) -> dict[str, Json]:
        """The job as the service answers with it. The secrets of its registries stay with the service."""
        parameters = job.body["parameters"]
        assert isinstance(parameters, dict)
        return {
            **job.body, "parameters": _open(parameters), "object": "job", "uuid": job.id, "status": _STATES[job.state],
            "created_at": _time(job.created), "updated_at": _time(job.updated),
            "timeout_assign_at_ms": round(float(str(job.extra.get("assign_by", job.created))) * 1000),
            "started_at": _time(job.started), "completed_at": _time(job.ended), "status_reason": _reason(job),
            "container_access_tokens": [],
        }

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _runs(self, call: Call) -> list[dict[str, Json]]:
        """The runs that a list asks for; the sort is not obeyed."""
        wanted = call.first("filter[job_uuid]")
        states = call.first("filter[status]").split(",") if call.first("filter[status]") else None
        jobs = [job for job in reversed(self._mine()) if wanted in ("", job.id)]
        return [run for job in jobs for run in self._runs_of(job) if states is None or run["status"] in states]

    def _runs_of(self, job: Job) -> list[dict[str, Json]]:
        """One on every node from the start on; a job that has failed was tried again as often as it says. Newest first."""
        if job.started is None:
            return []
        names = job.extra["runs"]
        assert isinstance(names, list)
        nodes = int(float(str(job.body["max_node_count"])))
        count = nodes * (1 + int(float(str(job.body["max_retry_count"]))) if job.state is State.FAILED else 1)
        runs = [self._run(job, str(name), number) for number, name in enumerate(names[:count])]
        return runs[::-1]

    def _run(self, job: Job, name: str, number: int) -> dict[str, Json]:
        persistent = job.body["task"] == "PERSISTENT" and job.state is State.RUNNING
        parameters = job.body["parameters"]
        assert isinstance(parameters, dict)
        docker = parameters["parameters"]
        assert isinstance(docker, dict)
        ports = docker["ports"]
        assert isinstance(ports, list)
        urls: list[Json] = [
            {"description": "ssh" if port == 22 else str(port), "hostname": "node.sandbox.invalid", "port": 30000 + index,
             "protocol": "tcp" if port == 22 else "http"}
            for index, port in enumerate(ports)
        ]
        return {
            "uuid": name, "job_uuid": job.id, "status": _STATES[job.state],
            "started_at_ms": round((job.started or 0.0) * 1000) + number, "node_urls": urls if persistent else [],
            "container_access_tokens": [], "logs": "".join(text for _, text in job.output),
        }


def _course(body: Mapping[str, Json], env: Mapping[str, Json]) -> Course:
    """How a job goes: until somebody stops it, or no longer than it may."""
    course = Course.of(env)
    if body["task"] == "PERSISTENT":
        running = course.running if "SANDBOX_SECONDS" in env else inf
        return Course(course.queued, running, course.exit, course.log)
    most = float(str(body["max_timeout_run_ms"])) / 1000
    return course if course.running <= most else Course(course.queued, most, 124, course.log)


def _most_runs(body: Mapping[str, Json]) -> int:
    nodes, retries = int(float(str(body["max_node_count"]))), int(float(str(body["max_retry_count"])))
    if nodes < 1 or nodes * (1 + retries) > 1000:
        raise Refused(400, "max_node_count and max_retry_count are out of range")
    return nodes * (1 + retries)


def _reason(job: Job) -> Json:
    if job.reason or job.exit in (None, 0):
        return job.reason or None
    return "max_timeout_run_ms is over" if job.exit == 124 else f"the container ended with exit code {job.exit}"


def _open(value: Json) -> Json:
    """Without what is secret."""
    if isinstance(value, dict):
        return {key: _open(item) if key != "env" else item for key, item in value.items() if key != "secret"}
    return [_open(item) for item in value] if isinstance(value, list) else value


def _without_log(run: Mapping[str, Json]) -> Json:
    return {key: value for key, value in run.items() if key != "logs"}


def _page(call: Call, items: Sequence[T], shown: Callable[[T], Json]) -> Json:
    page, limit = int(call.first("page", "1")), int(call.first("limit", str(_LIMIT)))
    start = (page - 1) * limit
    return {"data": [shown(item) for item in items[start : start + limit]], "page": page, "limit": limit, "total": len(items)}


def _query(query: Sequence[tuple[str, str]]) -> str:
    return urlencode(sorted(query), quote_via=quote)


def _body(call: Call) -> str:
    """The hash of the canonical body: keys sorted, no blanks, ASCII."""
    text = json.dumps(call.json(), sort_keys=True, separators=(",", ":")).encode() if call.body else b""
    return hashlib.sha256(text).hexdigest()


def _time(seconds: float | None) -> Json:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
