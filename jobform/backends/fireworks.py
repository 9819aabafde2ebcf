"""Fireworks batch jobs. Wire facts: the pages under docs.fireworks.ai/api-reference-dlde, and the protobuf descriptors of the
package fireworks-ai 0.19.18 (`gateway/batch_job.proto`), from which the mutability of fields comes.

The service takes no id and no request id of ours, so a repeated create makes a second job: a mark in `annotations`, which nobody
can change afterwards, says which job is which.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from jobform.backends.remote import PageExpiredError, Promise, RemoteBackend, Seen, moment, phase_of, shaped
from jobform.clients.hosts import base_url
from jobform.clients.rest.client import Outgoing, Rest, RestError, segment
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Backend, LogOptions, Mark, Place, Ref, Scope, Submission, timestamp
from jobform.schema import load_definition, load_document

MARK = "jobform.dev/mark"
ADDRESS = "jobform.dev/address"

_PAGE = 200  # larger ones are cut to it
_SETTLE = 600.0

_PHASES: Mapping[str, Phase] = {
    "STATE_UNSPECIFIED": Phase.PENDING, "CREATING": Phase.PENDING, "QUEUED": Phase.PENDING, "PENDING": Phase.PENDING,
    "RUNNING": Phase.RUNNING, "CANCELLING": Phase.RUNNING, "COMPLETED": Phase.SUCCEEDED, "FAILED": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
}

_PLAIN: Mapping[str, str] = {
    "node_pool_id": "nodePoolId", "display_name": "displayName", "environment_id": "environmentId",
    "snapshot_id": "snapshotId", "image": "imageRef", "num_ranks": "numRanks", "env": "envVars", "role": "role",
    "shared": "shared",
}
"""Keys of the spec whose value is the service's own, and what the service calls them."""


class _Key:
    """An API key from the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    @property
    def source(self) -> str:
        return "FIREWORKS_API_KEY"

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        del request
        key = self._environ.get("FIREWORKS_API_KEY")
        if not key:
            raise BackendError("there are no credentials for Fireworks", "set FIREWORKS_API_KEY")
        return {"Authorization": f"Bearer {key}"}

    def renew(self) -> bool:
        return False


class Fireworks:
    """`remote.Service`: batch jobs of one account."""

    def __init__(self, settings: Mapping[str, Json], place: Place) -> None:
        url = settings.get("url")
        base = base_url(
            url if isinstance(url, str) else None, ("FIREWORKS_BASE_URL",), "https://api.fireworks.ai", ("api.fireworks.ai",),
            place.environ,
        )
        self._rest = Rest(base, _Key(place.environ), place.clock, place.environ, explain=explain)
        account = settings.get("account") or place.environ.get("FIREWORKS_ACCOUNT_ID")
        self._account = str(account) if account else ""
        self._source = "`account` of the backend" if settings.get("account") else "FIREWORKS_ACCOUNT_ID"

    def scope(self) -> Scope:
        """The account, proven by a list of its jobs."""
        account = self._account_id()
        self._rest.get(self._jobs(), [("pageSize", "1")])
        return Scope(f"fireworks:{account}", f"the Fireworks account {account}", self._source)

    def one(self, id: str) -> Seen | None:  # noqa: A002  # as the protocol calls it
        try:
            value = self._rest.get(self._job(id))
        except RestError as error:
            if error.status == 404:
                return None
            raise
        seen = shaped(_seen, value, "batch job")
        return None if _is_deleting(value) else seen

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        token = ""
        while True:
            query = [("pageSize", str(_PAGE)), ("orderBy", "create_time desc"), *([("pageToken", token)] if token else [])]
            try:
                value = self._rest.get(self._jobs(), query)
            except RestError as error:
                if token and error.status == 400:
                    raise PageExpiredError(error.summary, error.detail) from error
                raise
            if not isinstance(value, dict) or not isinstance(items := value.get("batchJobs", []), list):
                raise BackendError("the service's answer is no list of batch jobs")
            page = [shaped(_seen, item, "batch job") for item in items if not _is_deleting(item)]
            yield page
            token = str(value.get("nextPageToken") or "")
            old = since is not None and bool(page) and all(seen.created is not None and seen.created < since for seen in page)
            if not token or old:
                return

    def create(self, submission: Submission, mark: Mark) -> str:
        body = wire_body(submission.spec)
        annotations = body.get("annotations")
        body["annotations"] = {
            **(annotations if isinstance(annotations, dict) else {}), MARK: mark.text, ADDRESS: mark.address,
        }
        value = self._rest.change("POST", self._jobs(), body)
        try:
            return shaped(_seen, value, "batch job").id
        except BackendError as error:
            raise BackendError(error.summary, error.detail, ambiguous=True) from error

    def update(self, id: str, submission: Submission, expected: Actual) -> Actual:  # noqa: A002
        """Only `displayName` and `shared` can change; the node pool is required in the body all the same."""
        seen = self.one(id)
        if seen is None or dict(seen.actual.fields) != dict(expected.fields):
            raise BackendError(f"{id} has changed since it was read")
        whole = wire_body(submission.spec)
        body: dict[str, Json] = {key: whole[key] for key in ("nodePoolId", "displayName", "shared") if key in whole}
        return shaped(_seen, self._rest.change("PATCH", self._job(id), body), "batch job").actual

    def cancel(self, id: str) -> None:  # noqa: A002
        try:
            self._rest.change("POST", f"{self._job(id)}:cancel", {})
        except RestError as error:
            if error.status == 404:
                return
            seen = self.one(id) if error.status == 400 else None  # it ended meanwhile, perhaps
            if seen is None or seen.actual.phase not in ENDED:
                raise

    def delete(self, id: str) -> None:  # noqa: A002
        try:
            self._rest.change("DELETE", self._job(id))
        except RestError as error:
            if error.status != 404:
                raise

    def _account_id(self) -> str:
        if not self._account:
            value = self._rest.get("/v1/accounts", [("pageSize", "2")])
            accounts = value.get("accounts") if isinstance(value, dict) else None
            listed = accounts if isinstance(accounts, list) else []
            names = [str(each.get("name", "")) for each in listed if isinstance(each, dict)]
            if len(names) != 1:
                detail = f"the key reaches {len(names)}{' or more' if len(names) > 1 else ''} accounts"
                raise BackendError("which Fireworks account is meant is not known", f"{detail}; set `account` of the backend")
            self._account, self._source = names[0].removeprefix("accounts/"), "the account of FIREWORKS_API_KEY"
        return self._account

    def _jobs(self) -> str:
        return f"/v1/accounts/{segment(self._account_id())}/batchJobs"

    def _job(self, id: str) -> str:  # noqa: A002
        return f"{self._jobs()}/{segment(id)}"


def wire_body(spec: Mapping[str, Json]) -> dict[str, Json]:
    """The service's body for a spec; nothing is added."""
    body: dict[str, Json] = {wire: spec[key] for key, wire in _PLAIN.items() if key in spec}
    if isinstance(annotations := spec.get("annotations"), dict):
        body["annotations"] = dict(annotations)
    if isinstance(command := spec.get("command"), list):
        body["shellExecutor"] = {"command": shlex.join(str(word) for word in command)}
    return body


def explain(body: Json) -> tuple[str, str]:
    """Code and message of an error: `{"code", "message"}`, or the same under `error`, or a text there."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, str):
        return "", inner
    return (str(inner.get("code", "")), str(inner.get("message", ""))) if isinstance(inner, dict) else ("", "")


def _is_deleting(value: Json) -> bool:
    return isinstance(value, dict) and value.get("state") == "DELETING"


def _seen(value: Json) -> Seen:
    """Raises KeyError, TypeError or ValueError for what is no batch job."""
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    name = value["name"]
    if not isinstance(name, str) or "/" not in name:
        raise ValueError(f"its name is {name!r}")
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise TypeError("its annotations are no object")
    word = str(value.get("state") or "STATE_UNSPECIFIED")
    phase, warnings = phase_of(word, _PHASES)
    started, ended = moment(value.get("startTime")), moment(value.get("endTime"))
    actual = Actual(
        phase, str(value.get("status") or ""), "user_error" if phase is Phase.FAILED else None, "",
        started_at=timestamp(started) if started else None, ended_at=timestamp(ended) if ended and phase in ENDED else None,
        fields={key: value[wire] for key, wire in _PLAIN.items() if value.get(wire)}, warnings=warnings,
    )
    mark = annotations.get(MARK, "")
    return Seen(name.rpartition("/")[2], mark if isinstance(mark, str) else "", actual, str(value.get("displayName") or ""),
                moment(value.get("createTime")))


class FireworksBackend(RemoteBackend):
    """Batch jobs, with their logs."""

    def __init__(self, service: Fireworks, place: Place) -> None:
        super().__init__(service, Promise(_SETTLE), place)

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        raise NotImplementedError

    def kept(self, ref: Ref, limit: int) -> bytes:
        raise NotImplementedError


class FireworksType:
    """The entry point `fireworks`."""

    name = "fireworks"
    completes = True
    max_submitted: int | None = None
    poll: ClassVar[tuple[float, float]] = (2.0, 15.0)
    foreign_scope = "error"
    secrets_visible = True

    def spec_schema(self) -> dict[str, Json]:
        return load_document("fireworks")

    def settings_schema(self) -> dict[str, Json]:
        return load_definition("fireworks", "settings")

    def open(self, block: BackendBlock, place: Place) -> Backend:
        return FireworksBackend(Fireworks(block.settings, place), place)


TYPE = FireworksType()
