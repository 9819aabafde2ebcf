"""One attempt of one request. Nothing is retried here; every failure says whether the request may have taken effect."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from jobform.clients.hosts import is_loopback
from jobform.clients.kube.errors import KubeError, refusal
from jobform.clients.kube.login import Login
from jobform.clients.kube.settings import KubeSettings
from jobform.clients.retry_after import retry_after
from jobform.clients.text import excerpt, short
from jobform.model.values import Json
from jobform.model.version import VERSION
from jobform.protocols import Clock

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_STREAMS = 16
"""Connections beyond the parallel requests: watches and logs hold theirs for as long as they last."""

_PIECE = 1 << 18
_REFUSAL_CAP = 1 << 20

Query = Mapping[str, str | int | bool | None]
"""Parameters of a request; those that are None are left out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. headers: names in lower case. body: the JSON object. warnings: the server's notes, one line each."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: dict[str, Json] = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. changing: it would change something if it took effect; cap: bytes of the answer at most."""

    method: str
    path: str
    query: Query | None = None
    body: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"
    accept: str = "application/json"
    cap: int = 8 << 20
    changing: bool = False

    @property
    def target(self) -> str:
        given = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in (self.query or {}).items()
            if value is not None
        }
        return f"{self.path}?{urlencode(given)}" if given else self.path


class Wire:
    """A pool of connections to one server with one set of credentials. Safe to use from several threads."""

    def __init__(self, login: Login, settings: KubeSettings, clock: Clock) -> None:
        self.login = login
        self.answered = False  # whether the server ever answered: a server that never did is not worth much patience
        self.accepted = False  # whether these credentials were ever taken: if not, loading them again helps nothing
        self._connect = settings.connect
        self._read = settings.read
        self._clock = clock
        self._encoding = "identity" if is_loopback(urlsplit(login.server).hostname or "") else "gzip"
        self._pool = _open_pool(login, settings.parallelism)

    def send(self, request: Request, remaining: float) -> Answer:
        """Raises KubeError for everything but a 2xx with a JSON object. remaining: seconds left in all."""
        until = self._clock.monotonic() + remaining
        with self._failures(request):
            response = self._open(request, remaining, min(self._read, remaining))
            if response.status >= 300:
                raise self._refused(request, response, until)
            body = self._whole(request, response, request.cap, until)
        headers = _lower(response)
        try:
            value = _object(request, response.status, headers, body)
        except KubeError as error:
            error.sent = error.changing = request.changing
            raise
        return Answer(response.status, headers, value, _warnings(response.headers.getlist("warning")))

    def stream(self, request: Request, remaining: float, idle: float) -> "Stream":
        """An open answer whose body is read as it comes. idle: seconds without a byte that are an error. Raises KubeError."""
        until = self._clock.monotonic() + remaining
        with self._failures(request):
            response = self._open(request, remaining, idle)
            if response.status >= 300:
                raise self._refused(request, response, until)
        return Stream(response, lambda: self._failures(request))

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def _open(self, request: Request, connect: float, read: float) -> "BaseHTTPResponse":
        from urllib3 import HTTPHeaderDict, Timeout

        headers = HTTPHeaderDict({"Accept": request.accept, "User-Agent": f"jobform/{VERSION}"})
        headers["Accept-Encoding"] = self._encoding  # lists shrink to a tenth; on this machine that only costs time
        if authorization := self.login.authorization():
            headers["Authorization"] = authorization
        for name, value in self.login.headers:
            headers.add(name, value)
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        timeout = Timeout(connect=max(0.001, min(self._connect, connect)), read=max(0.001, read))
        response = self._pool.urlopen(
            request.method, self.login.base + request.target, body=request.body, headers=headers, timeout=timeout,
            retries=False, redirect=False, preload_content=False,
        )
        self.answered = True
        self.accepted = self.accepted or response.status != 401
        return response

    def _refused(self, request: Request, response: "BaseHTTPResponse", until: float) -> KubeError:
        body = self._whole(request, response, _REFUSAL_CAP, until)
        return _refusal(request, response.status, _lower(response), body, self._clock.now())

    def _whole(self, request: Request, response: "BaseHTTPResponse", cap: int, until: float) -> bytes:
        """The whole body; one that is too long or too slow is cut there and its connection dropped. Raises KubeError."""
        pieces: list[bytes] = []
        size = 0
        while piece := response.read1(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > cap or self._clock.monotonic() > until:
                response.close()
                if size > cap:
                    what = f"{request.method} {short(request.path, 200)} got more than {cap >> 20} MiB"
                    raise KubeError(response.status, "BadAnswer", what, sent=request.changing, changing=request.changing)
                raise self._failed(request, "Timeout", f"no whole answer in time from {self._where()}", True)
        response.release_conn()
        return b"".join(pieces)

    @contextlib.contextmanager
    def _failures(self, request: Request) -> Iterator[None]:
        """Turn what urllib3 raises into a KubeError that says whether the request went out."""
        from urllib3 import exceptions as wire

        try:
            yield
        except (wire.NewConnectionError, wire.ConnectTimeoutError, wire.ProxyError, wire.NameResolutionError) as error:
            raise self._failed(request, "Unreachable", f"cannot connect to {self._where()}: {_plain(error)}", False) from error
        except wire.SSLError as error:
            if _is_end(error):  # of a server that stops, perhaps in the middle of a greeting: not of its certificate
                raise self._failed(request, "Cut", f"the connection to {self._where()} broke: {_plain(error)}", True) from error
            raise self._failed(request, "TLS", f"no trusted connection to {self._where()}: {_plain(error)}", False) from error
        except (wire.TimeoutError, TimeoutError) as error:
            raise self._failed(request, "Timeout", f"no answer in time from {self._where()}", True) from error
        except (wire.LocationValueError, wire.URLSchemeUnknown) as error:
            raise self._failed(request, "Credentials", f"{self._where()} cannot be asked: {_plain(error)}", False) from error
        except (wire.HTTPError, OSError) as error:
            cause = error.args[-1] if error.args else None
            local = isinstance(cause, (FileNotFoundError, PermissionError))  # a certificate file that went away
            reason = "Credentials" if local else "Cut"
            raise self._failed(request, reason, f"the connection to {self._where()} broke: {_plain(error)}", not local) from error

    def _where(self) -> str:
        parts = urlsplit(self.login.server)
        proxy = self.login.trust.proxy_for(self.login.base)
        through = f" through the proxy {urlsplit(proxy).hostname}" if proxy else ""
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}{through} ({self.login.source})"

    @staticmethod
    def _failed(request: Request, reason: str, message: str, sent: bool) -> KubeError:
        return KubeError(0, reason, short(message), sent=sent, changing=request.changing)


class Stream:
    """The body of an open answer. `close` may be called from another thread and ends a waiting read; `release` by the reader."""

    def __init__(
        self, response: "BaseHTTPResponse", failures: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._response = response
        self._failures = failures
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        """Chunks as they arrive, none empty; ends at the end of the body or after `close`. Raises KubeError."""
        try:
            with self._failures():
                while not self._closed.is_set() and (chunk := self._response.read1(_PIECE)):
                    yield chunk
        except (KubeError, ValueError):
            if not self._closed.is_set():
                raise

    def close(self) -> None:
        """End the stream; quiet when it has ended."""
        self._closed.set()
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # it ended meanwhile
            self._response.shutdown()

    def release(self) -> None:
        """Drop the connection."""
        self._closed.set()
        self._response.close()


def _open_pool(login: Login, parallelism: int) -> "PoolManager":
    import urllib3

    try:
        return login.trust.pool(login.base, parallelism + _STREAMS)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise KubeError(0, "Credentials", f"{login.source} cannot be used: {short(error)}") from error


def _lower(response: "BaseHTTPResponse") -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _object(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Json]:
    kind = headers.get("content-type", "")
    told = f"{request.method} {short(request.path, 200)} got status {status}, {short(kind, 80) or 'no content type'}"
    if kind.split(";")[0].strip().lower() != "application/json":
        hint = "a login page or a proxy may stand before the API server"
        raise KubeError(status, "BadAnswer", f"{told}, not JSON: {excerpt(body)}", hint=hint)
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise KubeError(status, "BadAnswer", f"{told}, but no valid JSON: {excerpt(body)}") from error
    if not isinstance(value, dict):
        raise KubeError(status, "BadAnswer", f"{told}, but no JSON object: {excerpt(body)}")
    return value


def _refusal(request: Request, status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> KubeError:
    if status < 400:
        target = urlsplit(headers.get("location", "")).hostname or "nowhere"
        return KubeError(
            status, "Redirect", f"the server redirects to {short(target, 100)}; that is not followed",
            sent=request.changing, changing=request.changing, hint="a login page or a proxy may stand before the API server",
        )
    try:
        parsed = _object(request, status, headers, body)
    except KubeError as error:
        parsed, fallback = {}, error.message
    else:
        fallback = ""
    return refusal(
        status, parsed, changing=request.changing, fallback=fallback, retry_after=retry_after(headers.get("retry-after"), now),
    )


def _warnings(values: list[str]) -> tuple[str, ...]:
    """The texts of `299 - "text"` headers, without repeats, 20 at most."""
    texts: dict[str, None] = {}
    for value in values[:100]:
        text = value.partition('"')[2].rpartition('"')[0].replace('\\"', '"') or value
        texts[short(text)] = None
    return tuple(texts)[:20]


def _is_end(error: Exception) -> bool:
    """Whether TLS failed because the other side ended the connection."""
    import ssl

    return any(isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) for cause in error.args)


_OBJECT = re.compile(r"^(?:<[^>]*>|\w+\(host=[^)]*\)): ")


def _plain(error: Exception) -> str:
    """What went wrong, without the objects that urllib3 puts before it."""
    reason = getattr(error, "original_error", None) or getattr(error, "reason", None) or error
    inner = reason.args[-1] if isinstance(reason, Exception) and reason.args else reason
    return short(_OBJECT.sub("", str(inner)), 200) or type(error).__name__
