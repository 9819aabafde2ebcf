"""Requests to one JSON service: time limits, patience with reads, and certainty about what a failed call did.

A read is tried again while that may help. A call that changes something is sent once: whoever asked for it knows whether doing
it twice is as good as once, and looks up what an unclear answer left behind. A call that surely had no effect says so.
"""

import json
import logging
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote, urlencode

from jobform.clients.gate import Gate
from jobform.clients.hosts import Base, is_loopback, proxy_for
from jobform.clients.rest.answer import TooLargeError, decoded, parsed
from jobform.clients.retry_after import retry_after
from jobform.clients.text import excerpt, short
from jobform.model.clock import SPREAD
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.model.version import VERSION
from jobform.protocols import Clock

if TYPE_CHECKING:
    from jobform.clients.rest.transport import Wire

_LOG = logging.getLogger("jobform.http")

_TRIES = 4
"""Attempts of a read; a 429 is obeyed until the read's time is over."""

_MOST_WORDS = 4000
"""Characters of a message that are looked at."""

_SLOWEST = 128 << 10
"""Bytes a second at which a body is given time to be sent: to leave a large upload halfway would leave its effect unknown."""

_SHORTEST_SECRET = 8
"""Characters; `Bearer` and the like are none."""

T = TypeVar("T")

Query = Sequence[tuple[str, str]]
"""Parameters in the order in which they are sent."""


class RestError(BackendError):
    """A call that failed. status: 0 without an answer. code: the service's own, "" for none. body: the answer's JSON, if any."""

    def __init__(
        self, summary: str, detail: str = "", *, status: int = 0, code: str = "", body: Json = None, retryable: bool = False,
        ambiguous: bool = False, retry_after: float = 0.0,
    ) -> None:
        super().__init__(summary, detail, retryable=retryable, ambiguous=ambiguous, retry_after=retry_after)
        self.status = status
        self.code = code
        self.body = body


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a multipart body. part: the name of its field."""

    part: str
    name: str
    data: bytes = field(repr=False)
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request as it is sent. path: percent-encoded, with the prefix of the service's address. query: encoded, "" for none."""

    method: str
    path: str
    query: str = ""
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""

    @property
    def changing(self) -> bool:
        return self.method not in ("GET", "HEAD")

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


class Credentials(Protocol):
    """Who asks. Methods are called from several threads."""

    @property
    def source(self) -> str:
        """The setting or variable that the credentials come from, for people."""

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        """What proves it, made anew for every attempt. Raises BackendError."""

    def renew(self) -> bool:
        """The service did not accept them: whether there are others now."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: `connect`, `read` between two pieces of an answer, `total` of a call with its repeats, beside the time that its
    body may take to be sent. cap: bytes of an answer.
    """

    connect: float = 5.0
    read: float = 30.0
    total: float = 60.0
    cap: int = 32 << 20


class Rest:
    """A client of one service. Safe to use from several threads. Every method raises RestError.

    explain: gives code and message of an error's body, ("", "") for what it does not know.
    """

    def __init__(
        self, base: Base, credentials: Credentials, clock: Clock, environ: Mapping[str, str], *,
        explain: Callable[[Json], tuple[str, str]], limits: Limits = Limits(),  # frozen
    ) -> None:
        self.base = base
        self.credentials = credentials
        self._clock = clock
        self._environ = environ
        self._explain = explain
        self._limits = limits
        self.clock_ahead: timedelta | None = None
        """How far this machine's clock is ahead of the service's, as its last answer told; None where none did."""
        self._gate = Gate(clock)
        self._proxy = proxy_for(base.url, environ)
        self._wire: Wire | None = None
        self._lock = threading.Lock()

    def get(self, path: str, query: Query = ()) -> Json:
        """The JSON of a GET, tried again while that may help."""
        return self._read(path, query, self._json)

    def download(self, path: str, query: Query = ()) -> bytes:
        """The bytes of a GET, whatever their type, tried again while that may help."""
        return self._read(path, query, lambda request, deadline: self._exchange(request, deadline)[1])

    def change(self, method: str, path: str, body: Json = None, query: Query = ()) -> Json:
        """The JSON of a call that changes something, None for an answer without a body. It is sent once."""
        data = b"" if body is None else json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
        request = self._request(method, path, query, data, "application/json" if data else "")
        return self._once(request)

    def form(self, path: str, fields: Mapping[str, str]) -> Json:
        """As `change`, of a POST with the body of an HTML form, as OAuth wants it."""
        return self._once(self._request("POST", path, (), urlencode(fields).encode(), "application/x-www-form-urlencoded"))

    def upload(self, path: str, fields: Mapping[str, str], files: Sequence[FilePart]) -> Json:
        """As `change`, of a POST with a multipart body."""
        import httpx

        parts = [(name, (None, text)) for name, text in fields.items()]
        whole = httpx.Request(
            "POST", "http://x", files=[*parts, *((part.part, (part.name, part.data, part.content_type)) for part in files)],
        )
        return self._once(self._request("POST", path, (), whole.read(), whole.headers["content-type"]))

    # --- repeats ------------------------------------------------------------------------------------------------------

    def _read(self, path: str, query: Query, attempt: Callable[[Outgoing, float], T]) -> T:
        request = self._request("GET", path, query)
        deadline = self._clock.monotonic() + self._limits.total
        tries = 0
        while True:
            try:
                return self._identified(lambda: attempt(request, deadline))
            except RestError as error:
                tries += 1
                pause = error.retry_after or min(8.0, 0.25 * 2**tries) * SPREAD.uniform(0.5, 1.0)
                enough = tries >= _TRIES and error.status != 429
                if not error.retryable or enough or self._clock.monotonic() + pause >= deadline:
                    raise
                if error.retry_after:
                    continue  # the gate keeps everybody back
                self._clock.sleep(pause)

    def _once(self, request: Outgoing) -> Json:
        deadline = self._clock.monotonic() + self._limits.total + len(request.body) / _SLOWEST
        return self._identified(lambda: self._json(request, deadline))

    def _identified(self, attempt: Callable[[], T]) -> T:
        """Make an attempt, and another one when the service wanted newer credentials and there are some."""
        try:
            return attempt()
        except RestError as error:
            if error.status != 401 or not self.credentials.renew():
                raise
        return attempt()

    # --- one attempt --------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, query: Query, body: bytes = b"", content_type: str = "") -> Outgoing:
        return Outgoing(method, self.base.path + path, urlencode(list(query), quote_via=quote), body, content_type)

    def _json(self, request: Outgoing, deadline: float) -> Json:
        kind, body, proof = self._exchange(request, deadline)
        if not body and request.changing:
            return None
        try:
            return parsed(kind, body)
        except ValueError as error:
            raise self._unreadable(request, kind, _without(body, proof), str(error)) from error

    def _exchange(self, request: Outgoing, deadline: float) -> tuple[str, bytes, Mapping[str, str]]:
        """Content type and body of a success, and the credentials' headers, which no message may show."""
        if left := self._gate.wait(deadline):
            detail = f"not asked again for {left:.0f} s"
            raise RestError("the service asked to slow down", detail, retryable=True, retry_after=left)
        proof = self._proof(request)
        if self._clock.monotonic() >= deadline:  # sent with no time to wait, it would leave a doubt about nothing
            detail = f"{request.method} {request.path} was not sent: to get its credentials took all of it"
            raise RestError(f"no time was left to ask {self.base.host}", detail, retryable=True)
        headers = {
            "Accept": "application/json", "User-Agent": f"jobform/{VERSION}",
            "Accept-Encoding": "identity" if is_loopback(self.base.host) else "gzip", **proof,
        }
        if request.content_type:
            headers["Content-Type"] = request.content_type
        wire = self._opened()
        began = self._clock.monotonic()
        with self._failures(request):
            status, said, body = self._send(wire, request, headers, deadline)
        _LOG.debug("%s %s: %d in %.3f s", request.method, request.path, status, self._clock.monotonic() - began)
        if 200 <= status < 300:
            return said.get("content-type", ""), body, proof
        raise self._refusal(request, status, said, _without(body, proof))

    def _proof(self, request: Outgoing) -> Mapping[str, str]:
        """The credentials' headers. What cannot stand in a header is found here: later errors would show it."""
        given = self.credentials.headers(request)
        for name, value in given.items():
            if not value.isascii() or not value.isprintable() or value != value.strip():
                detail = f"{self.credentials.source} holds characters that the header {name} cannot have; a line's end, perhaps"
                raise RestError("the credentials cannot be sent", detail)
        return given

    def _send(
        self, wire: "Wire", request: Outgoing, headers: Mapping[str, str], deadline: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        limits, left = self._limits, max(0.001, deadline - self._clock.monotonic())
        with wire.stream(
            request.method, self._origin + request.target, headers, request.body, connect=limits.connect, read=limits.read,
            total=left, changing=request.changing,
        ) as response:
            said = {key.lower(): value for key, value in response.headers.items()}
            self._compare_clocks(said.get("date", ""))
            encoding = said.get("content-encoding", "").strip().lower()
            try:
                body = b"".join(decoded(response.iter_raw(), encoding, limits.cap))
            except ValueError as error:
                if response.status_code >= 300:
                    return response.status_code, said, b""  # what it means stands in the status
                if not isinstance(error, TooLargeError):
                    raise self._unreadable(request, said.get("content-type", ""), b"", str(error)) from error
                what = f"{request.method} {request.path} got {error}"
                summary = f"the answer of {self.base.host} is too large"
                raise RestError(summary, what, status=response.status_code, ambiguous=request.changing) from error
            return response.status_code, said, body

    def _compare_clocks(self, date: str) -> None:
        with suppress(ValueError, TypeError, OverflowError):  # a service need not tell the time
            self.clock_ahead = self._clock.now() - parsedate_to_datetime(date)

    @property
    def _origin(self) -> str:
        return self.base.url.removesuffix(self.base.path) if self.base.path else self.base.url

    def _opened(self) -> "Wire":
        """Raises BackendError for a proxy or authorities that cannot be used."""
        from jobform.clients.rest.transport import Wire

        with self._lock:
            if self._wire is None:
                self._wire = Wire(self.base.url, self._proxy, self._environ)
                weakref.finalize(self, self._wire.close)  # its idle connections outlive nobody who could use them
            return self._wire

    @contextmanager
    def _failures(self, request: Outgoing) -> Iterator[None]:
        """What the transport raises as RestError: before anything was sent it had no effect, after that nobody knows."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise self._unreached(error) from error
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:  # found before it is sent
            raise RestError(f"{request.method} {short(request.path, 100)} cannot be sent", short(str(error), 200)) from error
        except (httpx.HTTPError, OSError) as error:
            raise self._lost(request, short(str(error), 200) or type(error).__name__) from error

    def _unreached(self, error: Exception) -> RestError:
        through = f", through the proxy {self._proxy.host} that {self._proxy.source} names" if self._proxy else ""
        why = short(str(error), 200) or type(error).__name__
        detail = f"{why} (the address comes from {self.base.source}{through})"
        return RestError(f"cannot connect to {self.base.host}", detail, retryable=not is_distrust(error))

    def _lost(self, request: Outgoing, why: str) -> RestError:
        return RestError(
            f"no whole answer from {self.base.host}", f"{request.method} {request.path}: {why}", retryable=True,
            ambiguous=request.changing,
        )

    def _unreadable(self, request: Outgoing, kind: str, body: bytes, why: str) -> RestError:
        detail = f"{request.method} {request.path} got a success, {short(kind, 80) or 'no content type'}: {why}"
        return RestError(
            f"the answer of {self.base.host} is not what the service gives", f"{detail}: {excerpt(body)}", status=200,
            ambiguous=request.changing,
        )

    def _refusal(self, request: Outgoing, status: int, headers: Mapping[str, str], body: bytes) -> RestError:
        kind = headers.get("content-type", "")
        if status < 400:
            detail = f"{request.method} {request.path} got status {status}; a login page or a proxy may stand before the service"
            done = request.changing and status == 303  # "see other" is what is said when it was done
            return RestError(f"{self.base.host} redirects, which is not followed", detail, status=status, ambiguous=done)
        try:
            value = parsed(kind, body)
        except ValueError:
            value = None
        code, message = self._explain(value)
        told = short(message[:_MOST_WORDS]) if message else excerpt(body) or "no word about it"
        more = f", {short(code[:_MOST_WORDS], 60)}" if code not in ("", str(status)) else ""
        detail = f"{request.method} {request.path}: status {status}{more}"
        summary, retryable = told, status in (408, 429) or status >= 500
        pause = retry_after(headers.get("retry-after"), self._clock.now()) if retryable else 0.0
        if pause:
            self._gate.pause(pause)
        if status == 429:
            summary = f"the service asks to slow down: {told}"
        elif retryable:
            summary = f"the service failed: {told}"
        elif status in (401, 403):
            whom = f"{self.base.host} does not accept the credentials" if status == 401 else "these credentials may not do that"
            summary, detail = f"{whom}: {told}", f"{detail}; the credentials come from {self.credentials.source}"
        return RestError(
            summary, detail, status=status, code=code, body=value, retryable=retryable, retry_after=pause,
            ambiguous=request.changing and retryable and status != 429,
        )


def is_distrust(error: BaseException | None) -> bool:
    """Whether the other side could not prove who it is: asking again changes nothing."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _without(body: bytes, proof: Mapping[str, str]) -> bytes:
    """An answer that is to be shown, without what was sent to prove who asks: some services repeat it."""
    for word in (word for value in proof.values() for word in value.split() if len(word) >= _SHORTEST_SECRET):
        body = body.replace(word.encode(), b"***")
    return body


def segment(text: str) -> str:
    """A value as one segment of a path."""
    return quote(text, safe="")
