"""Fireworks batch jobs, as `schemas/openapi/fireworks.json` describes them."""

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from jobform.model.values import Json
from jobform.sandbox.openapi import Contract, Matched
from jobform.sandbox.process import Command
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

ACCOUNT = "sandbox"
KEY = "fw-sandbox"

REMOVAL = 0.1
"""Seconds for which a deleted job is still shown."""

INVALID, PRECONDITION = "3", "9"
"""google.rpc codes that share the status 400."""

_STATES: Mapping[State, str] = {
    State.QUEUED: "QUEUED", State.RUNNING: "RUNNING", State.CANCELLING: "CANCELLING", State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED", State.CANCELLED: "CANCELLED",
}
_CODES: Mapping[int, int] = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 409: 6, 415: 3, 429: 8, 500: 13, 503: 14}
"""google.rpc codes of HTTP statuses."""

_IMMUTABLE = (
    "nodePoolId", "environmentId", "snapshotId", "imageRef", "numRanks", "envVars", "role", "annotations", "pythonExecutor",
    "notebookExecutor", "shellExecutor",
)
_EXECUTORS = ("pythonExecutor", "notebookExecutor", "shellExecutor")
_ANNOTATION = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_ANNOTATIONS = 256 << 10
_PAGE, _MOST = 50, 200
_LOG_PAGE, _MOST_LOG = 100, 10_000


class Fireworks:
    """The service `fireworks`."""

    name = "fireworks"

    def __init__(self) -> None:
        self._contract = Contract.of("fireworks")
        self._leaving: dict[str, tuple[Job, float]] = {}

    def variables(self, url: str) -> Mapping[str, str]:
        return {"FIREWORKS_BASE_URL": url, "FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": ACCOUNT}

    def open(self, world: World, services: Mapping[str, str]) -> None:
        del services
        self._world = world

    def answer(self, call: Call) -> Reply:
        if f"Bearer {KEY}" != call.headers.get("authorization") and call.headers.get("x-api-key") != KEY:
            raise Refused(401, "the API key is missing or unknown")
        matched = self._contract.match(call)
        if matched.path.get("account_id", ACCOUNT) != ACCOUNT:
            raise Refused(403, f"the key may not use the account {matched.path['account_id']}")
        if call.first("readMask", "*") not in ("", "*"):
            raise Refused(400, "the sandbox gives whole resources: readMask is empty or *")
        reply = Reply(200, self._operation(matched, call))
        self._contract.check_reply(matched, reply)
        return reply

    def refusal(self, error: Refused) -> Reply:
        code = int(error.code) if error.code else _CODES.get(error.status, 2)
        return Reply(error.status, {"code": code, "message": error.message, "details": []})

    def _operation(self, matched: Matched, call: Call) -> Json:
        match matched.id:
            case "ListAccounts":
                return {"accounts": [{"name": f"accounts/{ACCOUNT}", "displayName": "Sandbox"}]}
            case "CreateBatchJob":
                return self._create(call.object())
            case "ListBatchJobs":
                return self._list(call)
            case "GetBatchJob":
                return self._shown(self._job(matched))
            case "UpdateBatchJob":
                return self._update(self._present(matched), call.object())
            case "CancelBatchJob":
                return self._cancel(self._present(matched))
            case "DeleteBatchJob":
                return self._delete(self._present(matched))
            case "GetBatchJobLogs":
                return self._logs(self._job(matched), call)
        raise AssertionError(f"{matched.id} is described and not served")

    # --- jobs -----------------------------------------------------------------------------------------------------------

    def _create(self, body: dict[str, Json]) -> Json:
        _check(body)
        env, annotations = _texts(body.get("envVars")), _texts(body.get("annotations"))
        command = _command(body)
        filled: dict[str, Json] = {"numRanks": 1}
        if body.get("environmentId"):
            filled["snapshotId"] = f"{body['environmentId']}-latest"
        run = secrets.token_hex(4)
        while run in self._world.jobs:
            run = secrets.token_hex(4)
        local = Command(command, env) if command else None
        job = self._world.add(run, annotations.get("jobform.dev/mark", ""), {**filled, **body}, Course.of(env), local)
        return self._shown(job)

    def _list(self, call: Call) -> Json:
        if call.first("filter"):
            raise Refused(400, "the sandbox does not filter")
        order = call.first("orderBy") or "create_time desc"
        if order not in ("create_time desc", "create_time"):
            raise Refused(400, f"the sandbox sorts by create_time, not by {order!r}")
        jobs = self._world.newest_first()
        leaving = [job for job, _ in self._removing().values()]
        jobs = sorted([*jobs, *leaving], key=_place, reverse=order.endswith("desc"))
        size = min(_MOST, int(call.first("pageSize", "0")) or _PAGE)
        after = _read_token(call.first("pageToken"), order)
        if after is not None:
            jobs_left = [job for job in jobs if (_place(job) < after if order.endswith("desc") else _place(job) > after)]
        else:
            jobs_left = jobs
        page = jobs_left[:size]
        more = {"nextPageToken": _token(_place(page[-1]), order)} if len(jobs_left) > size else {}
        return {"batchJobs": [self._shown(job) for job in page], "totalSize": len(jobs), **more}

    def _update(self, job: Job, body: dict[str, Json]) -> Json:
        """What the body holds, and nothing else."""
        for key in _IMMUTABLE:
            if key in body and body[key] != job.body.get(key):
                raise Refused(400, f"{key} cannot be changed")
        job.body |= {key: body[key] for key in ("displayName", "shared") if key in body}
        job.updated = self._world.now()
        return self._shown(job)

    def _cancel(self, job: Job) -> Json:
        if job.state not in (State.QUEUED, State.RUNNING):
            raise Refused(400, f"a job that is {_STATES[job.state]} cannot be cancelled", PRECONDITION)
        self._world.cancel(job)
        return {}

    def _delete(self, job: Job) -> Json:
        self._world.remove(job)
        self._leaving[job.id] = (job, self._world.after(REMOVAL))
        return {}

    def _removing(self) -> dict[str, tuple[Job, float]]:
        """Deleted jobs that are still shown."""
        now = self._world.now()
        self._leaving = {run: (job, until) for run, (job, until) in self._leaving.items() if until > now}
        return self._leaving

    def _job(self, matched: Matched) -> Job:
        run = matched.path["batch_job_id"]
        job = self._world.jobs.get(run) or (self._removing()[run][0] if run in self._removing() else None)
        if job is None:
            raise Refused(404, f"accounts/{ACCOUNT}/batchJobs/{run} was not found")
        return job

    def _present(self, matched: Matched) -> Job:
        job = self._job(matched)
        if job.id in self._leaving:
            raise Refused(400, "the job is being deleted", PRECONDITION)
        return job

    def _shown(self, job: Job) -> Json:
        """What is empty, false or 0 is left out, as protobuf's JSON does."""
        times = {"createTime": job.created, "startTime": job.started, "endTime": job.ended, "updateTime": job.updated}
        return {
            **{key: value for key, value in job.body.items() if value not in ("", {}, [], False, 0)},
            "name": f"accounts/{ACCOUNT}/batchJobs/{job.id}", "createdBy": "sandbox@example.com",
            "state": "DELETING" if job.id in self._leaving else _STATES[job.state], "status": _status(job),
            **{key: _time(value) for key, value in times.items() if value is not None},
        }

    # --- output ---------------------------------------------------------------------------------------------------------

    def _logs(self, job: Job, call: Call) -> Json:
        """Backwards from the newest record, or with startFromHead forwards from the oldest; each page is oldest first."""
        forwards = call.first("startFromHead") == "true"
        chosen = {int(value) for key, value in call.query if key == "ranks"}
        start = _moment(call.first("startTime"))
        records = [
            (at, rank, message) for at, rank, message in _records(job)
            if (not chosen or rank in chosen) and at >= start and call.first("filter") in message
        ]
        same = f"{forwards} {sorted(chosen)} {start} {call.first('filter')}"
        after = _read_token(call.first("pageToken"), same)
        done = int(after[0]) if after else 0
        size = min(_MOST_LOG, int(call.first("pageSize", "0")) or _LOG_PAGE)
        first = done if forwards else max(0, len(records) - done - size)
        page = records[first : len(records) - done if not forwards else done + size]
        more = {"nextPageToken": _token((done + size, ""), same)} if len(records) > done + size else {}
        return {"entries": [{"logTime": _time(at), "rank": rank, "message": text} for at, rank, text in page], **more}


def _check(body: Mapping[str, Json]) -> None:
    """What the document cannot say. Raises Refused."""
    given = [key for key in _EXECUTORS if key in body]
    if len(given) != 1:
        raise Refused(400, f"exactly one executor is required, not {len(given)}")
    python = body.get("pythonExecutor")
    if isinstance(python, dict) and python["targetType"] == "TARGET_TYPE_UNSPECIFIED":
        raise Refused(400, "pythonExecutor.targetType must be MODULE or FILENAME")
    if body.get("imageRef") and (body.get("environmentId") or body.get("snapshotId")):
        raise Refused(400, "imageRef cannot be combined with environmentId or snapshotId")
    if body.get("snapshotId") and not body.get("environmentId"):
        raise Refused(400, "snapshotId needs environmentId")
    annotations = _texts(body.get("annotations"))
    for key in annotations:
        if not _ANNOTATION.fullmatch(key) or key.startswith("fireworks.ai/"):
            raise Refused(400, f"{key!r} is no annotation key, or is reserved")
    if sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items()) > _ANNOTATIONS:
        raise Refused(400, "the annotations are larger than 256 KiB")


def _command(body: Mapping[str, Json]) -> tuple[str, ...]:
    """What `--jobs-run local` runs: a shell's text, or a module or file; () for a notebook."""
    shell, python = body.get("shellExecutor"), body.get("pythonExecutor")
    if isinstance(shell, dict):
        return ("/bin/sh", "-c", str(shell["command"]))
    if isinstance(python, dict):
        args = python.get("args", [])
        flag = ("-m",) if python["targetType"] == "MODULE" else ()
        return ("python3", *flag, str(python["target"]), *(str(arg) for arg in (args if isinstance(args, list) else [])))
    return ()


def _records(job: Job) -> list[tuple[float, int, str]]:
    """Each line as a record: every rank prints what the course says; a process on this machine is rank 0 alone."""
    count = job.body.get("numRanks")
    ranks = range(count if isinstance(count, int) and job.process is None else 1)
    return [(at, rank, line) for at, text in job.output for line in text.splitlines() for rank in ranks]


def _status(job: Job) -> str:
    if job.reason or job.state is not State.FAILED:
        return job.reason
    return f"the program ended with exit code {job.exit}"


def _place(job: Job) -> tuple[float, str]:
    return job.created, job.id


def _token(place: Sequence[float | str], same: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([list(place), same]).encode()).decode()


def _read_token(token: str, same: str) -> tuple[float, str] | None:
    """The place in a list, None for its start. same: the parameters that must not change between pages. Raises Refused."""
    if not token:
        return None
    try:
        (number, text), was = json.loads(base64.urlsafe_b64decode(token))
        place = float(number), str(text)
    except (ValueError, TypeError) as error:
        raise Refused(400, "the page token is not valid") from error
    if was != same:
        raise Refused(400, "the parameters have changed since the page token was given")
    return place


def _texts(value: Json) -> dict[str, str]:
    return {key: str(text) for key, text in value.items()} if isinstance(value, dict) else {}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
