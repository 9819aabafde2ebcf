"""A loopback HTTP server that does what a healthy API server never does."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as it arrived. at: monotonic seconds."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Reply:
    """What to answer. cut: bytes of the body after which the connection is cut; stall: seconds of silence first.

    hold: the body has no length, and for so long nothing follows it. drop: no answer at all.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    cut: int | None = None
    stall: float = 0.0
    hold: float = 0.0
    drop: bool = False


def status(code: int, reason: str, message: str = "no", **headers: str) -> Reply:
    """A Status object."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
    return Reply(code, json.dumps(body).encode(), {key.replace("_", "-"): value for key, value in headers.items()})


def reply(value: Any, **headers: str) -> Reply:
    return Reply(200, json.dumps(value).encode(), headers)


class Faulty:
    """`script` answers each request; a list gives one answer after the other, the last one for ever."""

    def __init__(self, script: "list[Reply] | Callable[[Seen], Reply]") -> None:
        self.seen: list[Seen] = []
        self._script = script
        self._lock = threading.Lock()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client went away
                    self.close_connection = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: outer._serve(self)
                raise AttributeError(name)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # whoever finds no place waits a second and more

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {key.lower(): value for key, value in handler.headers.items()}
        request = Seen(handler.command, handler.path, headers, body, time.monotonic())
        with self._lock:
            self.seen.append(request)
            given = self._script(request) if callable(self._script) else self._script[min(len(self.seen), len(self._script)) - 1]
        if given.stall:
            self._closing.wait(given.stall)
        if given.drop:
            return self._reset(handler)
        handler.send_response(given.status)
        handler.send_header("Content-Type", given.kind)
        for key, value in given.headers.items():
            handler.send_header(key, value)
        if given.hold:
            handler.send_header("Connection", "close")
        else:
            handler.send_header("Content-Length", str(len(given.body)))
        handler.end_headers()
        handler.wfile.write(given.body[: given.cut])
        if given.hold:
            self._closing.wait(given.hold)
        if given.cut is not None:
            return self._reset(handler)
        return None

    @staticmethod
    def _reset(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def faulty(script: "list[Reply] | Callable[[Seen], Reply]") -> Iterator[Faulty]:
    server = Faulty(script)
    try:
        yield server
    finally:
        server.close()


@cache
def closed_port() -> int:
    """A port of this machine where nobody listens. It stays bound while this process lasts, so that nobody else gets it."""
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    port = int(one.getsockname()[1])
    one.detach()
    return port
