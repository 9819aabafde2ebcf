"""A proxy before the API server that loses, breaks and delays what a rule says, and counts what comes by."""

import http.client
import re
import socket
import socketserver
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.cluster.api import Access, trust
from tests.cluster.certificates import self_signed
from tests.cluster.cluster import Cluster

ANSWER_TIMEOUT = 600.0
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request. forward: the server gets it and acts on it.

    Then `delay` seconds pass, and the client gets: the server's own answer (`answer` "server"), its first half ("half"), the end
    of the connection ("close"), a reset ("reset"), or `status` with `body` ("made").
    """

    forward: bool
    answer: str
    delay: float = 0.0
    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


DROP_BEFORE = Fault(forward=False, answer="close")
DROP_AFTER = Fault(forward=True, answer="close")
RESET_BEFORE = Fault(forward=False, answer="reset")
RESET_AFTER = Fault(forward=True, answer="reset")
HALF = Fault(forward=True, answer="half")
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def html(status: int = 200, *, forward: bool = False) -> Fault:
    """A page of some box in between, in place of JSON."""
    return Fault(forward, "made", 0.0, status, PAGE, (("Content-Type", "text/html"),))


def refuse(status: int, body: bytes = b"", *, retry_after: int | None = None, forward: bool = False) -> Fault:
    """An answer of the proxy itself. forward: after the server has acted, as behind a load balancer that gave up waiting."""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    if retry_after is not None:
        headers += (("Retry-After", str(retry_after)),)
    return Fault(forward, "made", 0.0, status, body, headers)


def delay(seconds: float) -> Fault:
    """The server acts at once, and its answer comes late."""
    return Fault(True, "server", seconds)


@dataclass
class Rule:
    """For the requests whose method is `method` ("" is any) and in whose path with query `path` is found.

    The first `skip` of them pass; the next `count` meet `fault` (-1: all of them). then: called after the server's part, before
    the client hears anything: the place to kill the client. hits: how often it struck.
    """

    fault: Fault
    method: str = ""
    path: str = ""
    count: int = 1
    skip: int = 0
    then: Callable[[], None] | None = None
    hits: int = 0
    _seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if self.method not in ("", method) or not re.search(self.path, path):
            return False
        self._seen += 1
        if self._seen <= self.skip or (self.count >= 0 and self.hits >= self.count):
            return False
        self.hits += 1
        return True


@dataclass
class Proxy:
    """Listens on loopback over TLS. Close it, or use it in a `with`."""

    access: Access
    upstream: Access
    _server: "Server"
    _lock: threading.Lock = field(default_factory=threading.Lock)
    rules: list[Rule] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    @staticmethod
    def start(cluster: Cluster, user: str = "admin") -> "Proxy":
        """Before `cluster`; `access` is that of `user` through it."""
        upstream = cluster.user(user)
        with tempfile.TemporaryDirectory() as folder:
            pair = self_signed(Path(folder))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*pair)
            authority = pair[0].read_text()
        server = Server(("127.0.0.1", 0), Handler)
        server.context = context
        access = replace(upstream, server=f"https://127.0.0.1:{server.server_address[1]}", authority=authority)
        server.proxy = proxy = Proxy(access, upstream, server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="proxy", daemon=True).start()
        return proxy

    def rule(
        self, fault: Fault, method: str = "", path: str = "", *, count: int = 1, skip: int = 0,
        then: Callable[[], None] | None = None,
    ) -> Rule:
        """Adds a rule; of several that match a request the first one strikes."""
        rule = Rule(fault, method, path, count, skip, then)
        with self._lock:
            self.rules.append(rule)
        return rule

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests came, whatever became of them."""
        with self._lock:
            return sum(method in ("", verb) and bool(re.search(path, target)) for verb, target in self.requests)

    def forget(self) -> None:
        """No rules and no counts any more."""
        with self._lock:
            self.rules.clear()
            self.requests.clear()

    def meet(self, method: str, path: str) -> Rule | None:
        with self._lock:
            self.requests.append((method, path))
            return next((rule for rule in self.rules if rule.strikes(method, path)), None)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    proxy: Proxy
    context: ssl.SSLContext

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.handler: Callable[[socket.socket, object, Server], object] = handler
        self._open: set[socket.socket] = set()

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """The handshake is the connection's own thread's business: one client that stalls in it stalls nobody else."""
        assert isinstance(request, socket.socket)
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        self._open.add(secured)
        try:
            self.handler(secured, client_address, self)
        except (OSError, http.client.HTTPException):
            return  # the client or the server has gone, or a rule has cut the line
        finally:
            self._open.discard(secured)
            secured.close()

    def cut(self) -> None:
        """Ends every connection that is still open. Its own thread closes it: by then the descriptor may be another's."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = ANSWER_TIMEOUT
    server: Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by the base class
        """Requests are counted, not printed."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.server.proxy.meet(self.command, self.path)
        fault = rule.fault if rule else Fault(True, "server")
        answer = self._forward(body) if fault.forward else None
        try:
            if rule and rule.then:
                rule.then()
            if fault.delay:
                time.sleep(fault.delay)
            self._answer(fault, answer)
        finally:
            if answer:
                answer[0].close()

    def _forward(self, body: bytes) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse] | None:
        """The connection and the head of the answer; None where the server cannot be reached."""
        upstream = self.server.proxy.upstream
        place = urlsplit(upstream.server)
        host = place.hostname or ""
        connection = http.client.HTTPSConnection(host, place.port, timeout=ANSWER_TIMEOUT, context=trust(upstream))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        try:
            connection.request(self.command, self.path, body or None, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None

    def _answer(self, fault: Fault, answer: tuple[http.client.HTTPSConnection, http.client.HTTPResponse] | None) -> None:
        if fault.answer == "made":
            self._send(fault.status, [*fault.headers, ("Content-Length", str(len(fault.body)))])
            self.wfile.write(fault.body)
        elif fault.answer == "reset":
            self.close_connection = True
            _abort(self.connection)
        elif fault.answer == "close" or answer is None:
            self.close_connection = True
        else:
            self._pass(answer[1], half=fault.answer == "half")

    def _pass(self, response: http.client.HTTPResponse, *, half: bool) -> None:
        """The server's answer as it comes, a stream piece by piece. half: the promise of all of it, and half."""
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP]
        length = response.getheader("Content-Length")
        if length is None and not half:
            self._send(response.status, [*headers, ("Transfer-Encoding", "chunked")])
            for piece in _pieces(response):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        content = response.read()
        if length is None:
            headers.append(("Content-Length", str(len(content))))
        self._send(response.status, headers)
        self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection = half or self.close_connection

    def _send(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := response.read1(65536):
        yield piece


def _abort(connection: socket.socket) -> None:
    """A reset in place of an orderly end: both ends forget what was under way."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket(fileno=connection.detach()).close()
    except OSError:
        return  # it has ended already
