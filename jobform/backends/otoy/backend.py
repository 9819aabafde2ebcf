"""Jobs on OTOY's compute marketplace. Wire facts: the pages under otoyinc.mintlify.app, and the operator's own examples
(`dispersednetwork/compute_examples`). What no page says is told in `examples/otoy/README.md`.

The service takes no id and no request id of ours, so a repeated create makes a second job, which costs money; a mark in a job's
description says which job is which. There is nothing to change or to remove: a job is made, and may be cancelled.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from jobform.backends.otoy.logs import Output
from jobform.backends.otoy.signing import Signer
from jobform.backends.otoy.wire import body_of, seen_of
from jobform.backends.remote import PageExpiredError, Promise, RemoteBackend, RemoteType, Seen, id_of, key_scope, shaped
from jobform.clients.hosts import base_url
from jobform.clients.rest.client import Query, Rest, RestError, segment
from jobform.model.errors import BackendError
from jobform.model.state import ENDED
from jobform.model.values import Json
from jobform.protocols import Absent, Actual, Found, LogOptions, Mark, Place, Ref, Scope, Submission, Unknown, timestamp

URLS = ("OTOY_BASE_URL", "DISPERSED_API_BASE_URL", "ZER_API_BASE_URL")
OWN_HOSTS = ("api.dispersed.com", "api.compute.x.io")

_JOBS = "/v1/jobs"
_RUNS = "/v1/job-runs"
_PAGE = 50  # more is refused
_MOST_PAGES = 2000
_SETTLE = 600.0


class Otoy:
    """`remote.Service`: the jobs of the account of a pair of keys."""

    def __init__(self, settings: Mapping[str, Json], place: Place) -> None:
        url = settings.get("url")
        base = base_url(url if isinstance(url, str) else None, URLS, "https://api.dispersed.com", OWN_HOSTS, place.environ)
        self._clock = place.clock
        self._signer = Signer(place.environ, place.clock)
        self._rest = Rest(base, self._signer, place.clock, place.environ, explain=explain)

    def scope(self) -> Scope:
        """The host and the public key: nothing that the service answers names the account."""
        base, key, source = self._rest.base, self._signer.state(), self._signer.source
        _envelope(self._get(_JOBS, [("limit", "1"), ("page", "1")]))
        return key_scope("otoy", base.host, key, f"the account of {source} at {base.host}", f"{base.source} and {source}")

    def one(self, run_id: str) -> Seen | None:
        try:
            value = self._get(f"{_JOBS}/{segment(run_id)}")
        except RestError as error:
            if error.status == 404 and isinstance(error.body, dict):  # a page of a proxy's is no word of the service
                self.check_key()
                return None
            raise
        seen = shaped(seen_of, value, "job")
        if seen.id != run_id:
            raise BackendError("the service's answer is another job", f"asked for {run_id}, got {seen.id}")
        return seen

    def pages(self, since: datetime | None) -> Iterator[Sequence[Seen]]:
        """Newest first, as asked. Only an order that was seen ends the list early: else what is looked for might follow."""
        newest: datetime | None = None
        last: datetime | None = None
        descends = True
        for items in self._lists(_JOBS, [("sort", "-created_at")]):
            page = [shaped(seen_of, item, "job") for item in items]
            yield page
            times = [seen.created for seen in page if seen.created]
            if since is None or not page:
                continue
            known = [*([last] if last else []), *times]
            descends = descends and len(times) == len(page) and known == sorted(known, reverse=True)
            if descends:
                newest, last = newest or times[0], times[-1]
                if times[0] < since and newest > last:
                    return

    def check_key(self) -> None:
        """Raises BackendError when the key is not the one of the scope any more: its account may be another one."""
        self._signer.check()

    def create(self, submission: Submission, mark: Mark) -> str:
        with self._explained():
            value = self._rest.change("POST", _JOBS, body_of(submission.spec, mark))
        try:
            return shaped(seen_of, value, "job").id
        except BackendError as error:
            raise BackendError(error.summary, error.detail, ambiguous=True) from error

    def update(self, run_id: str, submission: Submission, expected: Actual) -> Actual:
        del submission, expected
        raise BackendError(f"{run_id} cannot be changed", "the service changes nothing of a job")

    def cancel(self, run_id: str) -> None:
        try:
            with self._explained():
                self._rest.change("PUT", f"{_JOBS}/{segment(run_id)}/cancel", {"reason": "Cancelled by jobform"})
        except RestError as error:
            if not 400 <= error.status < 500 or error.retryable:
                raise
            seen = self.one(run_id)  # it ended meanwhile, perhaps
            if seen is not None and seen.actual.phase not in ENDED:
                raise

    def delete(self, run_id: str) -> None:
        """Nothing: the service keeps its jobs, and an ended one costs nothing."""

    # --- runs of a job ------------------------------------------------------------------------------------------------

    def runs(self, run_id: str) -> list[Mapping[str, Json]]:
        """Every run of a job, a retry or another node each, as the list shows them."""
        return [_object(item) for items in self._lists(_RUNS, [("filter[job_uuid]", run_id)]) for item in items]

    def run(self, run_id: str) -> Mapping[str, Json]:
        """One run with its log."""
        return _object(self._get(f"{_RUNS}/{segment(run_id)}"))

    # --- calls --------------------------------------------------------------------------------------------------------

    def _lists(self, path: str, query: Query) -> Iterator[list[Json]]:
        """The items of a list, a page at a time. New items push others to later pages, so one may come twice; where fewer are
        there than before, one may have been passed over. Raises PageExpiredError then, so that the list begins again."""
        most, met, before = 0, 0, list[Json]()
        for number in range(1, _MOST_PAGES + 1):
            try:
                value = self._get(path, sorted([*query, ("limit", str(_PAGE)), ("page", str(number))]))
            except RestError as error:
                if number > 1 and error.status == 400:
                    raise PageExpiredError(error.summary, error.detail) from error
                raise
            items, size, total = _envelope(value)
            ids = [item.get("uuid") if isinstance(item, dict) else None for item in items]
            again, before = bool(ids) and ids == before, ids
            if total is None and again:
                return  # a bare list that has no pages
            if total is not None and (total < most or again):
                raise PageExpiredError("the list changed while it was read")
            yield items
            met, most = met + len(items), total or 0
            last = len(items) != _PAGE if total is None else met >= total or 0 < total <= number * size
            if last:
                return
            if not items:
                raise BackendError("the list ends early", f"page {number} is empty, and {total} were announced", retryable=True)
        raise BackendError("the list has no end", f"{_MOST_PAGES} pages were read")

    def _get(self, path: str, query: Query = ()) -> Json:
        with self._explained():
            return self._rest.get(path, query)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What else may be wrong where a signature is not accepted."""
        try:
            yield
        except RestError as error:
            if error.status != 401:
                raise
            clock = f"a clock that is more than five minutes off is refused too: here it is {timestamp(self._clock.now())}"
            raise RestError(error.summary, f"{error.detail}; {clock}", status=401, code=error.code, body=error.body) from error


def _envelope(value: Json) -> tuple[list[Json], int, int | None]:
    """The items of a page; how many a full page has, 0 where it does not say; how many there are in all, None for a bare list."""
    if isinstance(value, list):
        return value, 0, None
    items = value.get("data") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(items, list):
        raise BackendError("the service's answer is no list", "it has no `data`")
    size, total = value.get("limit"), value.get("total")
    if type(total) is not int or total < 0:
        raise BackendError("the service's answer is no list", "its `total` is no number")
    return items, size if type(size) is int and 0 < size <= _PAGE else 0, total


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise BackendError("the service's answer is no job run")
    return value


def explain(body: Json) -> tuple[str, str]:
    """Code and message of an error: `{"error": {"code", "message"}}`, or what comes near it."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, str):
        return "", inner
    if not isinstance(inner, dict):
        return "", ""
    code, message = inner.get("code"), inner.get("message")
    return "" if code is None else str(code), "" if message is None else str(message)


class OtoyBackend(RemoteBackend):
    """Jobs, with the output of their runs."""

    def __init__(self, service: Otoy, place: Place) -> None:
        super().__init__(service, Promise(_SETTLE), place)
        self._otoy = service

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        answers = super().find(marks)
        if any(isinstance(answer, Absent) for answer in answers.values()):
            self._otoy.check_key()
        return answers

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        return Output(self._otoy, id_of(ref), self._clock).lines(options)

    def kept(self, ref: Ref, limit: int) -> bytes:
        return Output(self._otoy, id_of(ref), self._clock).kept(limit)


TYPE = RemoteType("otoy", lambda settings, place: OtoyBackend(Otoy(settings, place), place))
