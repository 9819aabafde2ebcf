"""The sockets under a client: each knows when its call must be over, by which way it goes, and what proves the other side.

A limit between two pieces of an answer alone would let a server drip for ever. A connection that lay idle is used again for a
change only while no server would have thought of closing it: a close that crosses a request on its way leaves nobody knowing
whether the request was heard.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

from jobform.clients.hosts import Proxy
from jobform.clients.tls import shareable
from jobform.model.errors import BackendError

IDLE_READS = 5.0
IDLE_CHANGES = 1.0
"""Seconds for which an idle connection is kept. Common servers close theirs after two seconds or more."""

_PIECE = 1 << 16


class _Clients:
    """Clients of one connection each, of which every call has one for itself. free: those that none has, each since when.

    A pool that calls share closes what has lain idle too long also in the moment in which one of them begins to use it: what was
    sent by then would be of unknown fate.
    """

    def __init__(self, made: Callable[[], httpx.Client], idle: float) -> None:
        self._made = made
        self._idle = idle
        self._lock = threading.RLock()
        self._closed = False
        self.free: list[tuple[float, httpx.Client]] = []

    @contextmanager
    def one(self) -> Iterator[httpx.Client]:
        with self._lock:
            client = self.free.pop()[1] if self.free else None
        client = client or self._made()
        try:
            yield client
        finally:
            with self._lock:
                self.free.append((time.monotonic(), client))
            self._tidy()

    def close(self) -> None:
        """Now those that are free, and the others when their calls are over."""
        self._closed = True
        self._tidy()

    def _tidy(self) -> None:
        with self._lock:
            since = float("inf") if self._closed else time.monotonic() - self._idle
            old = [client for at, client in self.free if at < since]
            self.free = [(at, client) for at, client in self.free if at >= since]
        for client in old:
            client.close()


class Wire:
    """The way to one origin, for calls that may be repeated and for calls that may not. Safe to use from several threads."""

    def __init__(
        self, url: str, proxy: Proxy | None, environ: Mapping[str, str], bundle: tuple[str, str] | None = None,
    ) -> None:
        """bundle: a file or directory of authorities that goes before those of the environment, and what names it.

        Raises BackendError for authorities or a proxy that cannot be used.
        """
        self._call = _Call()
        trust = _trust(environ, bundle) if url.startswith("https:") else None
        self._reads, self._changes = (
            _Clients(partial(self._client, proxy, trust, idle), idle) for idle in (IDLE_READS, IDLE_CHANGES)
        )
        for each in (self._reads, self._changes):
            with each.one():
                pass  # what cannot be used is found now

    @contextmanager
    def stream(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, connect: float, read: float, total: float,
        changing: bool,
    ) -> Iterator[httpx.Response]:
        """The answer of a call, its body not read yet. Times are seconds.

        Raises httpx's errors: a ConnectError whenever not a byte of the request was sent to the service.
        """
        clients = self._changes if changing else self._reads
        with self._call.within(total), clients.one() as client:
            timeout = httpx.Timeout(min(read, total), connect=min(connect, total))
            try:
                with client.stream(method, url, content=body or None, headers=dict(headers), timeout=timeout) as response:
                    yield response
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException) as error:
                if self._call.sent or isinstance(error, httpx.ConnectError):
                    raise
                raise httpx.ConnectError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        self._reads.close()
        self._changes.close()

    def _client(self, proxy: Proxy | None, trust: ssl.SSLContext | None, idle: float) -> httpx.Client:
        limits = {"max_connections": 1, "keepalive_expiry": idle}
        sockets = _Sockets(self._call, tunnelled=proxy is not None and trust is not None)
        if proxy is None:
            pool = httpcore.ConnectionPool(ssl_context=trust, network_backend=sockets, **limits)  # type: ignore[arg-type]  # by name
        else:
            parts = urlsplit(proxy.url)
            login = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
            try:
                pool = httpcore.HTTPProxy(
                    f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", proxy_auth=login, ssl_context=trust,
                    network_backend=sockets, **limits,  # type: ignore[arg-type]  # by name
                )
            except (ValueError, UnicodeError) as error:
                raise BackendError(f"the proxy that {proxy.source} names cannot be used", "it is no address") from error
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # one answer has no say in the next request
        return httpx.Client(transport=_Transport(pool), trust_env=False, follow_redirects=False, cookies=nothing)


def _trust(environ: Mapping[str, str], bundle: tuple[str, str] | None) -> ssl.SSLContext:
    """Authorities of the file or directory that is named, else those that come with the client."""
    file, directory = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    named = " and ".join(name for name, given in (("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)) if given)
    if bundle:
        path, named = bundle
        file, directory = (None, path) if Path(path).is_dir() else (path, None)
    try:
        if file or directory:
            return shareable(ssl.create_default_context(cafile=file or None, capath=directory or None))
        return shareable(httpx.create_ssl_context(trust_env=False))
    except OSError as error:
        raise BackendError("the certificate authorities cannot be read", f"{named}: {error.strerror or error}") from error


class _Call(threading.local):
    """The call that this thread is in. moment: when it must be over. sent: whether the service may have got a part of it."""

    moment: float | None = None
    sent = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        self.moment, self.sent = time.monotonic() + seconds, False
        try:
            yield
        finally:
            self.moment = None

    def left(self, timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
        """The time that one operation has."""
        if self.moment is None:
            return timeout
        left = self.moment - time.monotonic()
        if left <= 0:
            raise late("it took too long")
        return left if timeout is None else min(left, timeout)


class _Sockets(httpcore.NetworkBackend):
    """tunnelled: what is written before TLS begins is for a proxy alone."""

    def __init__(self, call: _Call, *, tunnelled: bool) -> None:
        self._inner = httpcore.SyncBackend()
        self._call = call
        self._tunnelled = tunnelled

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: "Iterable[httpcore.SOCKET_OPTION] | None" = None,
    ) -> httpcore.NetworkStream:
        left = self._call.left(timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(stream, self._call, to_service=not self._tunnelled)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, call: _Call, *, to_service: bool) -> None:
        self._inner = inner
        self._call = call
        self._to_service = to_service

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._call.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            left = self._call.left(timeout, httpcore.WriteTimeout)
            self._call.sent = self._call.sent or self._to_service
            self._inner.write(buffer[start : start + _PIECE], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._call.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._call, to_service=True)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Transport(httpx.BaseTransport):
    """httpx's own transport takes no network backend."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        assert isinstance(request.stream, httpx.SyncByteStream)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with _as_httpx():
            answer = self._pool.handle_request(httpcore.Request(
                request.method, target, headers=request.headers.raw, content=request.stream, extensions=request.extensions,
            ))
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Pieces(answer.stream), extensions=answer.extensions)

    def close(self) -> None:
        self._pool.close()


class _Pieces(httpx.SyncByteStream):
    def __init__(self, inner: Iterable[bytes]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._inner

    def close(self) -> None:
        close = getattr(self._inner, "close", None)
        if close:
            close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """httpcore's errors by httpx's classes, which have the same names."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError,
            httpcore.UnsupportedProtocol) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
