"""Fireworks batch jobs, as `schemas/openapi/fireworks.json` describes them."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from jobform.model.values import Json
from jobform.sandbox.openapi import Contract, Matched
from jobform.sandbox.process import Command
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

ACCOUNT = "sandbox"
KEY = "fw-sandbox"

_STATES: Mapping[State, str] = {
    State.QUEUED: "QUEUED", State.RUNNING: "RUNNING", State.CANCELLING: "CANCELLING", State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED", State.CANCELLED: "CANCELLED",
}
_CODES: Mapping[int, int] = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}
"""google.rpc codes of HTTP statuses."""

_IMMUTABLE = ("nodePoolId", "environmentId", "snapshotId", "imageRef", "numRanks", "envVars", "role", "annotations")


class Fireworks:
    """The service `fireworks`."""

    name = "fireworks"

    def __init__(self) -> None:
        self._contract = Contract.of("fireworks")

    def variables(self, url: str) -> Mapping[str, str]:
        return {"FIREWORKS_BASE_URL": url, "FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": ACCOUNT}

    def open(self, world: World, services: Mapping[str, str]) -> None:
        del services
        self._world = world

    def answer(self, call: Call) -> Reply:
        if KEY not in (call.headers.get("authorization", "").removeprefix("Bearer "), call.headers.get("x-api-key")):
            raise Refused(401, "the API key is missing or unknown")
        matched = self._contract.match(call)
        if matched.path.get("account_id", ACCOUNT) != ACCOUNT:
            raise Refused(403, f"the key may not use the account {matched.path['account_id']}")
        reply = self._operation(matched, call)
        self._contract.check_reply(matched, reply)
        return reply

    def refusal(self, error: Refused) -> Reply:
        return Reply(error.status, {"code": _CODES.get(error.status, 2), "message": error.message, "details": []})

    def _operation(self, matched: Matched, call: Call) -> Reply:
        match matched.id:
            case "CreateBatchJob":
                return Reply(200, self._create(call.object()))
            case "ListBatchJobs":
                return Reply(200, self._list(call))
            case "GetBatchJob":
                return Reply(200, self._shown(self._job(matched)))
            case "UpdateBatchJob":
                return Reply(200, self._update(self._job(matched), call.object()))
            case "CancelBatchJob":
                job = self._job(matched)
                if job.over:
                    raise Refused(400, f"the job is {_STATES[job.state]}")
                self._world.cancel(job)
                return Reply(200, {})
            case "DeleteBatchJob":
                self._world.remove(self._job(matched))
                return Reply(200, {})
        raise Refused(404, f"{matched.id} is not served by the sandbox")

    def _create(self, body: dict[str, Json]) -> Json:
        executors = [key for key in ("pythonExecutor", "notebookExecutor", "shellExecutor") if key in body]
        if len(executors) != 1:
            raise Refused(400, "exactly one executor is required")
        env, annotations = body.get("envVars", {}), body.get("annotations", {})
        assert isinstance(env, dict)
        assert isinstance(annotations, dict)
        shell, command = body.get("shellExecutor"), None
        if isinstance(shell, dict):
            command = Command(("/bin/sh", "-c", str(shell["command"])), {key: str(value) for key, value in env.items()})
        run = secrets.token_hex(4)
        owner = str(annotations.get("jobform.dev/mark", ""))
        return self._shown(self._world.add(run, owner, {"numRanks": 1, **body}, Course.of(env), command))

    def _list(self, call: Call) -> Json:
        size = min(200, int(call.first("pageSize", "50")) or 50)
        token = call.first("pageToken", "0")
        if not token.isdigit():
            raise Refused(400, "the page token is not valid")
        jobs = self._world.newest_first()
        start = int(token)
        shown: list[Json] = [self._shown(job) for job in jobs[start : start + size]]
        more = {"nextPageToken": str(start + size)} if start + size < len(jobs) else {}
        return {"batchJobs": shown, "totalSize": len(jobs), **more}

    def _update(self, job: Job, body: dict[str, Json]) -> Json:
        for key in _IMMUTABLE:
            if key in body and body[key] != job.body.get(key):
                raise Refused(400, f"{key} cannot be changed")
        job.body |= {key: body[key] for key in ("displayName", "shared") if key in body}
        job.updated = self._world.now()
        return self._shown(job)

    def _job(self, matched: Matched) -> Job:
        job = self._world.jobs.get(matched.path["batch_job_id"])
        if job is None:
            raise Refused(404, f"accounts/{ACCOUNT}/batchJobs/{matched.path['batch_job_id']} was not found")
        return job

    def _shown(self, job: Job) -> Json:
        times = {"createTime": job.created, "startTime": job.started, "endTime": job.ended, "updateTime": job.updated}
        return {
            **job.body, "name": f"accounts/{ACCOUNT}/batchJobs/{job.id}", "state": _STATES[job.state], "status": job.reason,
            "createdBy": "sandbox@example.com", **{key: _time(value) for key, value in times.items() if value is not None},
        }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
