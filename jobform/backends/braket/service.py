"""The calls of Amazon Braket. Wire facts: botocore's service model `braket/2019-09-01`, and the pages of the Braket API.

There is no call that changes a job except its tags, and none that removes one. CreateJob takes a token of ours: the same token
is the same job, if the service keeps its promise.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from jobform.backends.braket.body import MARK, fields_of, fields_of_row, set_source, user_tags, wire_body
from jobform.backends.braket.outcome import OVER, STOPPING, ended_moment, outcome_of
from jobform.backends.braket.source import Store, archive_of, source_of, upload
from jobform.backends.remote import PageExpiredError, Seen, moment, shaped
from jobform.clients.aws import Aws, AwsSettings, Turns
from jobform.clients.aws_errors import AwsError
from jobform.clients.gate import Pace
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Mark, Place, Scope, Submission

_PAGE = 100
_FRESH = 60.0
"""Seconds in which a job that was just made may not be readable yet: the SDK tries again on that for its reads."""

_RATES: Mapping[str, tuple[float, int]] = {
    "create_job": (1.0, 5), "get_job": (5.0, 25), "search_jobs": (5.0, 50), "cancel_job": (2.0, 5),
}
"""Calls a second, and how many at once, of an account in a region, as the service documents them. Rates can be raised, up to
twofold; bursts cannot."""

_OWN_HOSTS = (
    "braket.{region}.amazonaws.com", "braket.{region}.api.aws", "braket-fips.{region}.api.aws",
    "*.braket.{region}.vpce.amazonaws.com",
)
"""The service's hosts, and its private endpoints in a VPC. Other names below amazonaws.com may be anybody's."""

_ARN = re.compile(r"arn:aws[a-z\-]*:braket:([a-z0-9\-]+):([0-9]{12}):job/(.+)")
_ACCOUNT = re.compile(r"[0-9]{12}")


class Braket:
    """`remote.Service`: hybrid jobs of one account in one region."""

    def __init__(self, settings: Mapping[str, Json], place: Place) -> None:
        factor = settings.get("rate_factor", 1)
        assert isinstance(factor, int | float)
        paces = {name: Pace(place.clock, rate * factor, burst) for name, (rate, burst) in _RATES.items()}
        self.aws = Aws(
            AwsSettings(
                _text(settings, "region"), _text(settings, "profile"), "braket", _text(settings, "endpoint_url"), _OWN_HOSTS,
                ("BRAKET_ENDPOINT",),
            ),
            place.clock, place.environ, paces, attended=place.attended,
        )
        self.role = _text(settings, "role_arn")
        self._bucket, self._prefix = _text(settings, "source_bucket"), _text(settings, "source_prefix") or "jobform"
        self._place = place
        self._account = ""
        self._made: dict[str, float] = {}
        self._packing = threading.Lock()
        self._sources: dict[tuple[str, str | None], str] = {}

    def scope(self) -> Scope:
        """Account and region, proven by a list of jobs; the account is that of any job, and else what STS says."""
        rows, _ = self._search([], 1, "")
        account = next((_account_of(row) for row in rows), "") or self.account()
        region = self.aws.region
        self._account = account
        source = f"{region.source} and {self.aws.credentials}"
        return Scope(f"braket:{account}:{region.value}", f"the AWS account {account} in {region.value}", source)

    def account(self) -> str:
        """The account of the credentials. Raises BackendError."""
        if not self._account:
            try:
                value = self.aws.often("sts", "get_caller_identity").get("Account")
            except AwsError as error:
                what = f"which AWS account is meant is not known: {error.summary}"
                raise BackendError(what, error.detail, retryable=error.retryable) from error
            if not isinstance(value, str) or not _ACCOUNT.fullmatch(value):
                raise BackendError("which AWS account is meant is not known", "STS names none")
            self._account = value
        return self._account

    def one(self, run_id: str) -> Seen | None:
        job = self.job(run_id)
        return None if job is None else shaped(_seen, job, "job")

    def job(self, arn: str) -> dict[str, Json] | None:
        """What GetJob says, None when the service is sure that there is none.

        A read right after a create may miss the job: the list is asked before anything is believed gone.
        """
        found = _ARN.fullmatch(arn)
        if found is None:
            raise BackendError(f"{short(arn, 100)} is no ARN of a job", "it is like arn:aws:braket:us-east-1:123456789012:job/ID")
        if found[1] != (region := self.aws.region).value:
            detail = f"the backend reaches {region.value}, as {region.source} says"
            raise BackendError(f"{short(arn, 100)} is a job of another region", detail)
        try:
            return self.aws.often("braket", "get_job", jobArn=arn, additionalAttributeNames=["QueueInfo"])
        except AwsError as error:
            if error.status != 404:
                raise
        rows, _ = self._search([_filter("jobArn", "EQUAL", arn)], 1, "")
        if rows or self._place.clock.monotonic() - self._made.get(arn, float("-inf")) < _FRESH:
            raise BackendError(f"{arn} cannot be read yet", "the service does not find a job that it has", retryable=True)
        return None

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        filters = [] if since is None else [_filter("createdAt", "GTE", since.astimezone(UTC).isoformat().replace("+00:00", "Z"))]
        token, turns = "", Turns("the list of jobs")
        while True:
            try:
                rows, token = self._search(filters, _PAGE, token)
            except AwsError as error:
                if token and error.status == 400:
                    raise PageExpiredError(error.summary, error.detail) from error
                raise
            yield [shaped(_seen_in_list, row, "row of jobs") for row in rows]
            if not token:
                return
            turns.turn(token, empty=not rows)

    def create(self, submission: Submission, mark: Mark) -> str:
        body = wire_body(submission.spec, mark, self.role)  # refuses before anything is uploaded
        if (path := source_of(submission)) is not None:
            set_source(body, self._source(path, submission))
        try:
            arn = self.aws.once("braket", "create_job", **body).get("jobArn")
        except AwsError as error:
            if error.status == 409:  # the token is known with another body: some job has it
                what = f"the service knows this attempt with another content: {error.message}"
                raise BackendError(what, error.detail, ambiguous=True) from error
            raise
        if not isinstance(arn, str) or not _ARN.fullmatch(arn):
            raise BackendError("the service's answer names no job", str(arn)[:100], ambiguous=True)
        self._made[arn] = self._place.clock.monotonic()
        return arn

    def update(self, run_id: str, submission: Submission, expected: Actual) -> Actual:
        """Tags, the only thing that can change: set as the spec has them, and taken away where it no longer has them."""
        seen = self.one(run_id)
        if seen is None or any(seen.actual.fields.get(key) != value for key, value in expected.fields.items()):
            raise BackendError(f"{run_id} has changed since it was read")
        present, wanted = user_tags(seen.actual.fields.get("tags")), submission.spec.get("tags")
        tags = user_tags(wanted)
        dropped = {str(path[1]) for path in submission.changes if len(path) == 2 and path[0] == "tags"}
        gone = [key for key in present if key not in tags and (wanted is not None or key in dropped)]
        if gone:  # first: a job that has as many tags as it may takes no more
            self.aws.once("braket", "untag_resource", resourceArn=run_id, tagKeys=gone)
        if added := {key: value for key, value in tags.items() if present.get(key) != value}:
            self.aws.once("braket", "tag_resource", resourceArn=run_id, tags=added)
        after = self.one(run_id)
        if after is None:
            raise BackendError(f"{run_id} is gone", retryable=True)
        return after.actual

    def cancel(self, run_id: str) -> None:
        try:
            self.aws.once("braket", "cancel_job", jobArn=run_id)
        except AwsError as error:
            if error.status == 404:
                return
            job = self.job(run_id) if error.status in (400, 409) else None  # it ended meanwhile, or its stop was asked for before
            if job is None or job.get("status") not in (*OVER, STOPPING):
                raise

    def delete(self, run_id: str) -> None:
        """Nothing: the service keeps its jobs."""

    def _search(self, filters: list[Json], size: int, token: str) -> tuple[list[Json], str]:
        """A page of rows, and the token of the next, "" for none."""
        more = {"nextToken": token} if token else {}
        value = self.aws.often("braket", "search_jobs", filters=filters, maxResults=size, **more)
        rows, after = value.get("jobs"), value.get("nextToken")
        if not isinstance(rows, list) or not (after is None or isinstance(after, str)):
            raise BackendError("the service's answer is no list of jobs")
        return rows, after or ""

    def _source(self, path: str, submission: Submission) -> str:
        """The S3 address of a job's program. One that many jobs run is packed once, and one at a time: it may be large."""
        content = (path, submission.inputs.get(path))
        with self._packing:
            if content not in self._sources:
                self._sources[content] = upload(self.aws, archive_of(self._place.project, path, submission), self._store())
            return self._sources[content]

    def _store(self) -> Store:
        """The bucket is the SDK's own unless the settings name one."""
        owner = "" if self._bucket else self.account()
        bucket = self._bucket or f"amazon-braket-{self.aws.region.value}-{owner}"
        return Store(bucket, self._prefix, owner, "`source_bucket` of the backend")


def uuid_of(arn: str) -> str:
    """The last part of a job's ARN."""
    return arn.rpartition("/")[2]


def results_uri(job: Mapping[str, Json]) -> str | None:
    """Where the service puts what a job that has completed leaves."""
    config = job.get("outputDataConfig")
    path = config.get("s3Path") if isinstance(config, dict) else None
    return f"{path.rstrip('/')}/output/model.tar.gz" if isinstance(path, str) else None


def _seen(value: Json) -> Seen:
    """A document of GetJob. Raises KeyError, TypeError or ValueError for what is none."""
    return _read(value, fields_of, whole=True)


def _seen_in_list(value: Json) -> Seen:
    """A row of SearchJobs, which has no spec and no reasons. Raises the same."""
    return _read(value, fields_of_row, whole=False)


def _read(value: Json, fields: Callable[[Mapping[str, Json]], dict[str, Json]], *, whole: bool) -> Seen:
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    arn = value["jobArn"]
    if not isinstance(arn, str) or not _ARN.fullmatch(arn):
        raise ValueError(f"its ARN is {arn!r}")
    started, ended = ended_moment(value)
    outcome = outcome_of(value, started=started is not None)
    created = moment(value["createdAt"])
    if outcome.phase is Phase.RUNNING and started is None and created is not None:
        started = created.isoformat().replace("+00:00", "Z")
    uri = results_uri(value) if outcome.phase is Phase.SUCCEEDED else None
    actual = Actual(
        outcome.phase, outcome.detail, outcome.class_, outcome.reason, outcome.exit, {"results_s3_uri": uri} if uri else None,
        started, ended if value.get("status") in OVER else None, fields(value), outcome.warnings,
    )
    tags = value.get("tags")
    mark = tags.get(MARK) if isinstance(tags, dict) else None
    return Seen(arn, mark if isinstance(mark, str) else "", actual, str(value.get("jobName") or ""), created, whole)


def _account_of(row: Json) -> str:
    found = _ARN.fullmatch(str(row.get("jobArn"))) if isinstance(row, dict) else None
    return found[2] if found else ""


def _filter(name: str, operator: str, value: str) -> Json:
    return {"name": name, "operator": operator, "values": [value]}


def _text(settings: Mapping[str, Json], name: str) -> str | None:
    value = settings.get(name)
    return value if isinstance(value, str) else None
