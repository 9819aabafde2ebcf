"""The calls of batch jobs, and the backend that makes them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from jobform.backends.fireworks.logs import KEPT_IN_ALL, MOST_KEPT, Reader, Run
from jobform.backends.fireworks.wire import body_of, is_absent, seen_of, state_of, update_of
from jobform.backends.remote import PageExpiredError, Promise, RemoteBackend, RemoteType, Seen, id_of, shaped
from jobform.clients.hosts import base_url
from jobform.clients.keys import HeldKey
from jobform.clients.rest.client import Outgoing, Rest, RestError, segment
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.state import ENDED
from jobform.model.values import Json
from jobform.protocols import Actual, LogOptions, Mark, Place, Ref, Scope, Submission

_PAGE = 200  # larger ones are cut to it

_SETTLE = 600.0
"""Seconds after which a job that no list shows was never made."""

_LEAVING = frozenset({"CANCELLING", "DELETING"})
"""States in which nothing is left to cancel although the job has not ended."""

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class _Credentials:
    """An API key from the environment, or from a file that the environment names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._held = HeldKey(environ, ["FIREWORKS_API_KEY"], "Fireworks")

    @property
    def source(self) -> str:
        return self._held.source

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        del request
        return {"Authorization": f"Bearer {self._held.key().value}"}

    def renew(self) -> bool:
        return self._held.renew()


class Fireworks:
    """`remote.Service`: batch jobs of one account."""

    def __init__(self, settings: Mapping[str, Json], place: Place) -> None:
        url = settings.get("url")
        base = base_url(
            url if isinstance(url, str) else None, ("FIREWORKS_BASE_URL",), "https://api.fireworks.ai", ("api.fireworks.ai",),
            place.environ,
        )
        self._credentials = _Credentials(place.environ)
        self._rest = Rest(base, self._credentials, place.clock, place.environ, explain=explain)
        account = settings.get("account") or place.environ.get("FIREWORKS_ACCOUNT_ID")
        self._account = str(account).removeprefix("accounts/") if account else ""
        self._source = "`account` of the backend" if settings.get("account") else "FIREWORKS_ACCOUNT_ID"

    def scope(self) -> Scope:
        """The account, proven by a list of its jobs."""
        account = self._account_id()
        try:
            self._rest.get(self._jobs(), [("pageSize", "1")])
        except RestError as error:
            if error.status not in (403, 404):
                raise
            detail = f"{error.detail}; the account comes from {self._source}, the key from {self._credentials.source}"
            raise BackendError(f"the account {account} cannot be used with this key: {error.summary}", detail) from error
        return Scope(f"fireworks:{account}", f"the Fireworks account {account}", self._source)

    def one(self, run_id: str) -> Seen | None:
        value = self._read(run_id)
        seen = shaped(seen_of, value, "batch job") if value is not None else None
        return None if seen is None or is_absent(value) else seen

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        """Newest first."""
        token, met = "", set[str]()
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
            page = [shaped(seen_of, item, "batch job") for item in items]
            yield page
            token = str(value.get("nextPageToken") or "")
            old = since is not None and bool(page) and all(seen.created is not None and seen.created < since for seen in page)
            if not token or old:
                return
            if token in met:
                raise BackendError("the service's list of jobs repeats itself")
            met.add(token)

    def create(self, submission: Submission, mark: Mark) -> str:
        value = self._rest.change("POST", self._jobs(), body_of(submission.spec, mark))
        try:
            return shaped(seen_of, value, "batch job").id
        except BackendError as error:
            raise BackendError(error.summary, error.detail, ambiguous=True) from error

    def update(self, run_id: str, submission: Submission, expected: Actual) -> Actual:
        """Only `displayName` and `shared` can change. No precondition can be sent, so what is there is read just before."""
        seen = self.one(run_id)
        if seen is None:
            raise BackendError(f"{run_id} is gone")
        if dict(seen.actual.fields) != dict(expected.fields):
            detail = "somebody else changes it too; the next plan shows what"
            raise BackendError(f"{run_id} has changed since it was read", detail)
        changed = {str(path[0]) for path in submission.changes if path}
        if not changed and "*" not in submission.ignored:
            changed = submission.spec.keys() - set(submission.ignored)
        value = self._rest.change("PATCH", self._job(run_id), update_of(submission.spec, changed, seen.actual.fields))
        return shaped(seen_of, value, "batch job").actual

    def cancel(self, run_id: str) -> None:
        try:
            self._rest.change("POST", f"{self._job(run_id)}:cancel", {})
        except RestError as error:
            if _is_missing(error):
                return
            if error.status != 400 or not self._is_over(run_id):
                raise

    def delete(self, run_id: str) -> None:
        try:
            self._rest.change("DELETE", self._job(run_id))
        except RestError as error:
            if not _is_missing(error):
                raise

    def reader(self, run_id: str, place: Place) -> Reader:
        """Of what a job prints."""

        def look() -> Run:
            value = self._read(run_id)
            if value is None:
                raise BackendError(f"the job {run_id} is gone, and its output with it")
            seen = shaped(seen_of, value, "batch job")
            ranks = seen.actual.fields.get("num_ranks")
            return Run(ranks if isinstance(ranks, int) else 0, seen.created, seen.actual.phase in ENDED)

        return Reader(lambda query: self._rest.get(f"{self._job(run_id)}:getLogs", query), look, place.clock)

    def _read(self, run_id: str) -> Json:
        """The job as the service shows it, None when it is sure that there is none."""
        try:
            return self._rest.get(self._job(run_id)) or {}
        except RestError as error:
            if _is_missing(error):
                return None
            raise

    def _is_over(self, run_id: str) -> bool:
        """Whether nothing is left to cancel: it has ended meanwhile, or is on its way out."""
        value = self._read(run_id)
        return value is None or state_of(value) in _LEAVING or shaped(seen_of, value, "batch job").actual.phase in ENDED

    def _account_id(self) -> str:
        if not self._account:
            value = self._rest.get("/v1/accounts", [("pageSize", "2")])
            accounts = value.get("accounts") if isinstance(value, dict) else None
            listed = accounts if isinstance(accounts, list) else []
            names = [str(each.get("name", "")) for each in listed if isinstance(each, dict)]
            if len(names) != 1:
                told = ", ".join(short(name.removeprefix("accounts/"), 60) for name in names)
                raise BackendError(
                    "which Fireworks account is meant is not known",
                    f"the key of {self._credentials.source} reaches {f'several: {told}' if told else 'none'}; "
                    "set `account` of the backend, or FIREWORKS_ACCOUNT_ID",
                )
            self._account, self._source = names[0].removeprefix("accounts/"), f"the only account of {self._credentials.source}"
        if not _ACCOUNT.fullmatch(self._account):
            raise BackendError(f"{short(self._account, 60)!r} is no id of a Fireworks account", f"it comes from {self._source}")
        return self._account

    def _jobs(self) -> str:
        return f"/v1/accounts/{segment(self._account_id())}/batchJobs"

    def _job(self, run_id: str) -> str:
        return f"{self._jobs()}/{segment(run_id)}"


def explain(body: Json) -> tuple[str, str]:
    """Code and message of an error: `{"code", "message"}`, or the same under `error`, or a text there."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, str):
        return "", inner
    if not isinstance(inner, dict):
        return "", ""
    return str(inner.get("code") or ""), str(inner.get("message") or "")


def _is_missing(error: RestError) -> bool:
    """Whether the service itself says that there is no such job; a page of a proxy with status 404 proves nothing."""
    return error.status == 404 and isinstance(error.body, dict)


class FireworksBackend(RemoteBackend):
    """Batch jobs, with their logs."""

    def __init__(self, service: Fireworks, place: Place) -> None:
        super().__init__(service, Promise(_SETTLE), place)
        self._jobs = service

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        """Whole lines; where a job has several ranks, each begins with `[rank N] `. `index` is a rank."""
        _refuse_options(options)
        yield from self._jobs.reader(id_of(ref), self._place).lines(options)

    def kept(self, ref: Ref, limit: int) -> bytes:
        """The last `limit` bytes of each rank, less where there are many, under a line that names it if there are several."""
        run = id_of(ref)
        seen = self._jobs.one(run)
        if seen is None:
            return b""
        reader = self._jobs.reader(run, self._place)
        told = seen.actual.fields.get("num_ranks")
        ranks = told if isinstance(told, int) else 1
        if ranks <= 1:
            return reader.end([], limit)
        share = min(limit, KEPT_IN_ALL // min(ranks, MOST_KEPT))
        parts = [(rank, reader.end([rank], share)) for rank in range(min(ranks, MOST_KEPT))]
        kept = b"".join(b"==> rank %d <==\n%s" % (rank, data) for rank, data in parts if data)
        more = ranks - MOST_KEPT
        return kept + (b"==> %d more ranks: nothing was kept of them <==\n" % more if more > 0 else b"")


def _refuse_options(options: LogOptions) -> None:
    for given, flag, why in (
        (options.container, "--container", "A batch job has ranks, not containers; --index chooses a rank."),
        (options.previous, "--previous", "The service keeps one output for each rank; --attempt shows an earlier attempt."),
    ):
        if given:
            raise BackendError(f"{flag} has no meaning for a job on a fireworks backend", why)


TYPE = RemoteType("fireworks", lambda settings, place: FireworksBackend(Fireworks(settings, place), place))
