"""The reference service over HTTP: the calls of `Service` on a socket, and what may go wrong there."""

import http.client
import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode, urlsplit

from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Clock
from jobform.testing.service import Order, ServiceError, Shown, mark_key

CAP = 16 * 1024 * 1024
"""Bytes of one answer that are read at most."""

LONGEST_PAUSE = 60.0
"""Seconds of a Retry-After that are obeyed at most."""

_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """Raises ValueError when the body is not JSON or is not declared as such."""
        if self.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise ValueError("not declared as JSON")
        value: Json = json.loads(self.body)
        return value

    def excerpt(self) -> str:
        """Status, type and the first characters, made harmless."""
        text = self.body[:200].decode("utf-8", "replace")
        shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
        return f"status {self.status}, {self.headers.get('content-type', 'no content type')}: {shown}"


class Wire:
    """Requests to one server, one connection each. Nothing is retried here: the caller knows whether that is safe.

    A Retry-After holds for the whole client: until it is over every request fails as retryable without being sent.
    """

    def __init__(self, url: str, timeout: float, clock: Clock, api_key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "::1", "localhost") or parts.port is None:
            raise BackendError("the reference server's url is http://127.0.0.1:PORT")
        self._host, self._port, self._timeout = parts.hostname, parts.port, timeout
        self._clock = clock
        self._headers = {"User-Agent": f"jobform-reference pid={os.getpid()}", "Accept": "application/json"}
        if api_key:
            self._headers["X-Api-Key"] = api_key
        self._pause_until = 0.0
        self._lock = threading.Lock()

    def call(self, method: str, path: str, body: Json = None) -> Json:
        """The JSON of a 2xx answer. Raises ServiceError for a 4xx that explains itself, else BackendError."""
        changing = method != "GET"
        answer = self._exchange(method, path, body)
        if answer.status in (429, 503):
            self._pause(answer)
        if answer.status == 429:
            raise BackendError("the service asks to slow down", answer.excerpt(), retryable=True)
        if answer.status >= 500:
            raise BackendError("the service failed", answer.excerpt(), retryable=True, ambiguous=changing)
        if 300 <= answer.status < 400:
            raise BackendError("the service redirects; that is not followed", answer.excerpt())
        try:
            value = answer.json()
        except ValueError as error:
            summary = "the service's answer is not JSON"
            raise BackendError(summary, answer.excerpt(), ambiguous=changing and answer.status < 400) from error
        if answer.status >= 400:
            problem = value if isinstance(value, dict) else {}
            raise ServiceError(answer.status, str(problem.get("code", "")), str(problem.get("message", answer.excerpt())))
        return value

    def _exchange(self, method: str, path: str, body: Json) -> Answer:
        self._refuse_while_paused()
        place = f"{self._host}:{self._port}"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise BackendError(f"cannot connect to {place}", str(error), retryable=True) from error
            data = b"" if body is None else json.dumps(body).encode()
            headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                content = response.read(CAP + 1)
            except (OSError, http.client.HTTPException) as error:
                detail = str(error) or type(error).__name__
                raise BackendError(f"no whole answer from {place}", detail, retryable=True, ambiguous=method != "GET") from error
            if len(content) > CAP:
                raise BackendError(f"the answer from {place} is too large", f"more than {CAP} bytes", ambiguous=method != "GET")
            return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, content)
        finally:
            connection.close()

    def _refuse_while_paused(self) -> None:
        with self._lock:
            left = self._pause_until - self._clock.monotonic()
        if left > 0:
            raise BackendError("the service asked to slow down", f"not asked again for {left:.1f} s", retryable=True)

    def _pause(self, answer: Answer) -> None:
        text = answer.headers.get("retry-after", "")
        try:
            seconds = float(text) if text.isdigit() else (parsedate_to_datetime(text) - self._clock.now()).total_seconds()
        except (ValueError, TypeError):
            return
        with self._lock:
            self._pause_until = max(self._pause_until, self._clock.monotonic() + min(max(seconds, 0.0), LONGEST_PAUSE))


class HttpService:
    """`Service` over a `Wire`. page: how many runs to ask for at a time."""

    def __init__(self, wire: Wire, page: int = 100) -> None:
        self._wire = wire
        self._page = page

    def scope(self, namespace: str) -> str:
        value = self._wire.call("GET", _path(namespace))
        if not isinstance(value, dict) or not isinstance(value.get("uid"), str):
            raise BackendError("the service's answer is not a namespace")
        return str(value["uid"])

    def create(self, namespace: str, order: Order) -> Shown:
        return _shown(self._wire.call("POST", _path(namespace, "runs"), order.to_json()), changing=True)

    def get(self, namespace: str, run: str) -> Shown:
        return _shown(self._wire.call("GET", _path(namespace, "runs", run)))

    def runs(self, namespace: str, ids: Collection[str]) -> dict[str, Shown]:
        if len(ids) == 1:
            return self._one(namespace, next(iter(ids)))
        wanted = set(ids)
        return {run.id: run for run in self._list(namespace) if run.id in wanted}

    def marked(self, namespace: str, keys: Collection[str]) -> dict[str, list[Shown]]:
        found: dict[str, list[Shown]] = {}
        for run in self._list(namespace):
            if (key := mark_key(run.mark)) in keys:
                found.setdefault(key, []).append(run)
        return found

    def listed(self, namespace: str) -> list[Shown]:
        return self._list(namespace)

    def update(self, namespace: str, run: str, spec: Mapping[str, Json], version: int) -> Shown:
        body: dict[str, Json] = {"spec": dict(spec), "version": version}
        return _shown(self._wire.call("PATCH", _path(namespace, "runs", run), body), changing=True)

    def cancel(self, namespace: str, run: str, *, only_if_waiting: bool) -> None:
        self._wire.call("POST", _path(namespace, "runs", run, "cancel"), {"only_if_waiting": only_if_waiting})

    def delete(self, namespace: str, run: str) -> None:
        self._wire.call("DELETE", _path(namespace, "runs", run))

    def _one(self, namespace: str, run: str) -> dict[str, Shown]:
        try:
            return {run: self.get(namespace, run)}
        except ServiceError as error:
            if error.status == 404:
                return {}
            raise

    def _list(self, namespace: str) -> list[Shown]:
        """Every run, over all pages; from the start again when a page's token has expired."""
        for _ in range(_RESTARTS):
            try:
                return list(self._pages(namespace))
            except ServiceError as error:
                if error.status != 410:
                    raise
        raise BackendError("the list cannot be read to its end", "its page tokens keep expiring", retryable=True)

    def _pages(self, namespace: str) -> Iterator[Shown]:
        after = ""
        while True:
            query = urlencode({"limit": self._page, "after": after})
            value = self._wire.call("GET", f"{_path(namespace, 'runs')}?{query}")
            if not isinstance(value, dict) or not isinstance(value.get("items"), list) or not isinstance(value.get("next"), str):
                raise BackendError("the service's answer is not a list of runs")
            items, token = value["items"], str(value["next"])
            assert isinstance(items, list)
            yield from (_shown(item) for item in items)
            if not token:
                return
            if token <= after:
                raise BackendError("the service's list does not come to an end", f"after {after!r} follows {token!r}")
            after = token


def _path(namespace: str, *parts: str) -> str:
    return "/".join(["/v1/namespaces", *(quote(part, safe="") for part in (namespace, *parts))])


def _shown(value: Json, *, changing: bool = False) -> Shown:
    try:
        return Shown.from_json(value)
    except ValueError as error:
        raise BackendError("the service's answer is not a run", str(error), ambiguous=changing) from error
