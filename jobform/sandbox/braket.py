"""Amazon Braket hybrid jobs, as botocore's service model and the pages of the Braket API describe them.

Output goes to CloudWatch Logs and results go to S3, both by moto's server. How a job goes is said by its hyper parameters:
`SANDBOX_*` as on other services, with `\\n` for a line break, which no parameter may hold; and SANDBOX_REASON, the failure reason
of a job that fails.
"""

import base64
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jobform.model.values import Json, canonical
from jobform.sandbox.aws_model import Model, Signed, check_signature
from jobform.sandbox.braket_container import packed
from jobform.sandbox.process import Command
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

REGION = "us-east-1"
ACCOUNT = "123456789012"
KEY = SECRET = "sandbox"  # noqa: S105  # of the sandbox, as host.CREDENTIALS has them
BUCKET = f"amazon-braket-{REGION}-{ACCOUNT}"
"""The bucket that Amazon's SDK makes for its jobs: it is there from the start."""

GROUP = "/aws/braket/jobs"

_STATES: Mapping[State, str] = {
    State.QUEUED: "QUEUED", State.RUNNING: "RUNNING", State.CANCELLING: "CANCELLING", State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED", State.CANCELLED: "CANCELLED",
}
_CODES: Mapping[int, str] = {
    400: "ValidationException", 402: "ServiceQuotaExceededException", 403: "AccessDeniedException",
    404: "ResourceNotFoundException", 409: "ConflictException", 429: "ThrottlingException", 500: "InternalServiceException",
}
_FILTERS: Mapping[str, tuple[str, ...]] = {
    "jobArn": ("EQUAL",), "jobName": ("EQUAL", "CONTAINS"), "deviceArn": ("EQUAL",),
    "createdAt": ("EQUAL", "GT", "GTE", "LT", "LTE", "BETWEEN"),
}
_MOST_TAGS, _LAST_PLACE = 50, 15
_TOO_LONG = "MAX_RUNTIME_EXCEEDED"


class Braket:
    """The service `braket`."""

    name = "braket"
    buckets = (BUCKET,)

    def __init__(self) -> None:
        self._model = Model("braket")
        self._tokens: dict[str, tuple[str, str]] = {}

    def variables(self, url: str) -> Mapping[str, str]:
        return {"AWS_ENDPOINT_URL_BRAKET": url}

    def open(self, world: World, services: Mapping[str, str]) -> None:
        self._world, self._services = world, services
        world.changed = self._changed

    def answer(self, call: Call) -> Reply:
        check_signature(call, Signed("braket", REGION, KEY, SECRET), self._world.now())
        asked = self._model.match(call)
        operations: Mapping[str, Callable[[dict[str, Json]], Json]] = {
            "CreateJob": self._create, "GetJob": self._get, "SearchJobs": self._search, "CancelJob": self._cancel,
            "TagResource": self._tag, "UntagResource": self._untag, "ListTagsForResource": self._tags,
        }
        operation = operations.get(asked.operation)
        if operation is None:
            raise Refused(404, f"{asked.operation} is not served by the sandbox", "UnknownOperationException")
        reply = Reply(201 if asked.operation == "CreateJob" else 200, operation(asked.parameters), _request_id())
        self._model.check_reply(asked.operation, reply)
        return reply

    def refusal(self, error: Refused) -> Reply:
        code = error.code or _CODES.get(error.status, "InternalServiceException")
        return Reply(error.status, {"message": error.message}, {"x-amzn-ErrorType": code, **_request_id()})

    # --- operations ---------------------------------------------------------------------------------------------------

    def _create(self, body: dict[str, Json]) -> Json:
        token, content = str(body.pop("clientToken")), canonical(body)
        if token in self._tokens:
            arn, before = self._tokens[token]
            if before != content:
                raise Refused(409, "The client token is in use with another request.")
            return {"jobArn": arn}
        _check_further(body)
        arn = f"arn:aws:braket:{REGION}:{ACCOUNT}:job/{uuid.uuid4()}"
        hints = {key: str(value).replace("\\n", "\n") for key, value in _object(body.get("hyperParameters")).items()}
        tags, limit = _object(body.get("tags")), _object(body.get("stoppingCondition")).get("maxRuntimeInSeconds")
        course = Course.of(hints)
        too_long = isinstance(limit, int) and course.running > limit
        if too_long:
            course = replace(course, running=float(str(limit)), exit=1)
        command = self._command(body) if self._world.runs_commands else None
        job = self._world.add(arn, str(tags.get("jobform:mark", "")), body, course, command)
        job.extra = {"too_long": too_long, "reason": hints.get("SANDBOX_REASON"), "printed": 0}
        self._tokens[token] = (arn, content)
        return {"jobArn": arn}

    def _get(self, parameters: dict[str, Json]) -> Json:
        job = self._job(parameters["jobArn"])
        more = {"queueInfo": self._queue_info(job)} if "QueueInfo" in _list(parameters.get("additionalAttributeNames")) else {}
        return {**self._document(job), **more}

    def _search(self, parameters: dict[str, Json]) -> Json:
        filters = [_object(each) for each in _list(parameters["filters"])]
        for each in filters:
            _check_filter(each, len(filters))
        jobs = [job for job in self._world.newest_first() if all(_passes(job, each) for each in filters)]
        start, size = _place(parameters.get("nextToken")), int(str(parameters.get("maxResults", 100)))
        if start is not None:
            jobs = [job for job in jobs if (job.created, job.id) < start]
        rows: list[Json] = [_row(job) for job in jobs[:size]]
        return {"jobs": rows, **({"nextToken": _token(jobs[size - 1])} if len(jobs) > size else {})}

    def _cancel(self, parameters: dict[str, Json]) -> Json:
        job = self._job(parameters["jobArn"])
        if job.over:
            raise Refused(409, f"The job is {_STATES[job.state]} and cannot be cancelled.")
        self._world.cancel(job)
        return {"jobArn": job.id, "cancellationStatus": "CANCELLED" if job.over else "CANCELLING"}

    def _tag(self, parameters: dict[str, Json]) -> Json:
        job, added = self._job(parameters["resourceArn"]), _object(parameters["tags"])
        tags = {**_object(job.body.get("tags")), **added}
        _check_tags(tags)
        job.body["tags"] = tags
        return {}

    def _untag(self, parameters: dict[str, Json]) -> Json:
        job, keys = self._job(parameters["resourceArn"]), _list(parameters["tagKeys"])
        job.body["tags"] = {key: value for key, value in _object(job.body.get("tags")).items() if key not in keys}
        return {}

    def _tags(self, parameters: dict[str, Json]) -> Json:
        return {"tags": _object(self._job(parameters["resourceArn"]).body.get("tags"))}

    def _job(self, arn: Json) -> Job:
        job = self._world.jobs.get(str(arn))
        if job is None:
            raise Refused(404, f"The job {str(arn)[:200]} was not found.")
        return job

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _document(self, job: Job) -> dict[str, Json]:
        """As GetJob shows it: what was sent, with defaults filled in."""
        instances, checkpoints = _object(job.body["instanceConfig"]), _object(job.body.get("checkpointConfig"))
        times = {"createdAt": job.created, "startedAt": job.started, "endedAt": job.ended}
        shown: dict[str, Json] = {
            "hyperParameters": {}, "inputDataConfig": [], "stoppingCondition": {"maxRuntimeInSeconds": 432_000}, "tags": {},
            **job.body, "instanceConfig": {"instanceCount": 1, **instances}, "jobArn": job.id, "status": _STATES[job.state],
            "events": _events(job), **{key: _time(value) for key, value in times.items() if value is not None},
        }
        if checkpoints:
            shown["checkpointConfig"] = {"localPath": "/opt/braket/checkpoints/", **checkpoints}
        if job.state is State.FAILED:
            shown["failureReason"] = _failure(job)
        if job.started is not None and job.ended is not None:
            shown["billableDuration"] = int((job.ended - job.started) * 1000)
        return shown

    def _queue_info(self, job: Job) -> Json:
        waiting = [each for each in reversed(self._world.newest_first()) if each.state is State.QUEUED]
        if job.state is not State.QUEUED:
            return {"queue": "JOBS_QUEUE", "position": "None"}
        place = waiting.index(job) + 1
        return {"queue": "JOBS_QUEUE", "position": str(place) if place <= _LAST_PLACE else f">{_LAST_PLACE}"}

    # --- output and results -------------------------------------------------------------------------------------------

    def _changed(self, job: Job) -> None:
        """Put what is new of a job's output into its stream, and what it leaves into S3."""
        printed = int(str(job.extra["printed"]))
        events = [
            {"timestamp": int(at * 1000), "message": line or " "}
            for at, text in job.output[printed:] for line in text.splitlines()
        ]
        stream = f"{job.body['jobName']}/{job.id.rpartition('/')[2]}/algo-1-{int(job.created)}"
        if events:
            self._stream(stream)
            self._logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
        job.extra["printed"] = len(job.output)
        if job.state is State.SUCCEEDED and job.process is None:  # a program puts its own
            bucket, key = _target(job.body)
            self._bucket(bucket)
            self._s3.put_object(Bucket=bucket, Key=key, Body=packed(None))

    def _stream(self, stream: str) -> None:
        for make, names in ((self._logs.create_log_group, {}), (self._logs.create_log_stream, {"logStreamName": stream})):
            try:
                make(logGroupName=GROUP, **names)
            except self._logs.exceptions.ResourceAlreadyExistsException:
                continue

    def _bucket(self, name: str) -> None:
        from botocore.exceptions import ClientError

        try:
            self._s3.head_bucket(Bucket=name)
        except ClientError:
            self._s3.create_bucket(Bucket=name)

    def _client(self, service: str) -> Any:  # boto3 makes its clients' classes when it runs
        """For this machine alone: neither the user's proxy nor the user's profile."""
        import botocore.session
        from botocore.config import Config

        own = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None),
               "credentials_file": (None, None, os.devnull, None)}
        session = botocore.session.Session(session_vars=own)
        session.set_credentials(KEY, SECRET)
        return session.create_client(
            service, region_name=REGION, endpoint_url=self._services[service], config=Config(proxies={}),
        )

    @cached_property
    def _logs(self) -> Any:  # as above
        return self._client("logs")

    @cached_property
    def _s3(self) -> Any:  # as above
        return self._client("s3")

    def _command(self, body: Mapping[str, Json]) -> Command | None:
        """The script of a job as the service's container runs it, None for a job that is all image."""
        script = _object(_object(body["algorithmSpecification"]).get("scriptModeConfig"))
        if not script:
            return None
        source, results = str(script["s3Uri"]).partition("://")[2].partition("/"), _target(body)
        self._bucket(results[0])
        places = (("get_object", source[0], source[2]), ("put_object", *results))
        fetch, put = (self._s3.generate_presigned_url(name, {"Bucket": bucket, "Key": key}) for name, bucket, key in places)
        return Command((sys.executable, str(Path(__file__).with_name("braket_container.py"))), {
            "AMZN_BRAKET_JOB_NAME": str(body["jobName"]), "AMZN_BRAKET_SCRIPT_ENTRY_POINT": str(script["entryPoint"]),
            "AMZN_BRAKET_DEVICE_ARN": str(_object(body["deviceConfig"])["device"]), "SANDBOX_SOURCE": fetch,
            "SANDBOX_RESULTS": put,
            "SANDBOX_PARAMETERS": json.dumps(_object(body.get("hyperParameters"))),
        })


# --- rules that the model does not have -------------------------------------------------------------------------------


def _check_further(body: Mapping[str, Json]) -> None:
    if not body["algorithmSpecification"]:
        raise Refused(400, "An algorithm specification needs a script, a container image, or both.")
    role = str(body["roleArn"])
    if role.split(":")[4] != ACCOUNT:
        raise Refused(403, f"User is not authorized to perform: iam:PassRole on resource: {role}")
    _check_tags(_object(body.get("tags")))


def _check_tags(tags: Mapping[str, Json]) -> None:
    if len(tags) > _MOST_TAGS:
        raise Refused(400, f"A resource has at most {_MOST_TAGS} tags.")
    for key, value in tags.items():
        if key.lower().startswith("aws:") or not key or len(key) > 128 or len(str(value)) > 256:
            raise Refused(400, f"The tag {key[:140]!r} is not allowed.")
        if not all(char.isalnum() or char in " _.:/=+-@" for char in key + str(value)):
            raise Refused(400, f"The tag {key!r} holds characters that are not allowed.")


def _check_filter(each: Mapping[str, Json], count: int) -> None:
    name, operator, values = str(each["name"]), str(each["operator"]), _list(each["values"])
    if operator not in _FILTERS.get(name, ()):
        raise Refused(400, f"The filter {name} {operator} is not supported.")
    if name == "jobArn" and count > 1:
        raise Refused(400, "The filter jobArn cannot be combined with others.")
    if len(values) != (2 if operator == "BETWEEN" else 1):
        raise Refused(400, f"The filter {name} {operator} takes {2 if operator == 'BETWEEN' else 1} values.")
    if name == "createdAt":
        for value in values:
            _moment(str(value))


def _passes(job: Job, each: Mapping[str, Json]) -> bool:
    name, operator, values = each["name"], each["operator"], [str(value) for value in _list(each["values"])]
    if name == "createdAt":
        created, first, last = job.created, _moment(values[0]), _moment(values[-1])
        return {
            "EQUAL": created == first, "GT": created > first, "GTE": created >= first, "LT": created < first,
            "LTE": created <= first, "BETWEEN": first <= created <= last,
        }[str(operator)]
    text = {"jobArn": job.id, "jobName": job.body["jobName"], "deviceArn": _object(job.body["deviceConfig"])["device"]}[str(name)]
    return values[0] in str(text) if operator == "CONTAINS" else text == values[0]


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(400, f"{text[:50]!r} is no time.") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _token(job: Job) -> str:
    return base64.urlsafe_b64encode(canonical([job.created, job.id]).encode()).decode()


def _place(token: Json) -> tuple[float, str] | None:
    if token is None:
        return None
    try:
        created, arn = json.loads(base64.urlsafe_b64decode(str(token)))
        return float(created), str(arn)
    except (ValueError, TypeError) as error:
        raise Refused(400, "The next token is not valid.") from error


def _row(job: Job) -> Json:
    times = {"createdAt": job.created, "startedAt": job.started, "endedAt": job.ended}
    return {
        "status": _STATES[job.state], "jobArn": job.id, "jobName": job.body["jobName"],
        "device": _object(job.body["deviceConfig"])["device"], "tags": _object(job.body.get("tags")),
        **{key: _time(value) for key, value in times.items() if value is not None},
    }


def _events(job: Job) -> Json:
    found = [("QUEUED_FOR_EXECUTION", job.created, "")]
    if job.started is not None:
        found += [("STARTING_INSTANCE", job.started, ""), ("RUNNING", job.started, "")]
    if job.ended is not None:
        if job.extra["too_long"] and job.state is State.FAILED:
            found.append((_TOO_LONG, job.ended, ""))
        found.append((_STATES[job.state], job.ended, ""))
    return [{"eventType": name, "timeOfEvent": _time(at), "message": message} for name, at, message in found]


def _failure(job: Job) -> str:
    if job.extra["too_long"]:
        return "The job has exceeded its maximum runtime."
    return job.reason or str(job.extra["reason"] or f"AlgorithmError: the program has failed, exit code: {job.exit}")


def _target(body: Mapping[str, Json]) -> tuple[str, str]:
    """Bucket and key of a job's results."""
    bucket, _, prefix = str(_object(body["outputDataConfig"])["s3Path"]).partition("://")[2].rstrip("/").partition("/")
    return bucket, f"{prefix}/output/model.tar.gz".lstrip("/")


def _request_id() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4())}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
