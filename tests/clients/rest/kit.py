"""Clients and servers of these tests: real sockets on loopback, a clock that stands still unless somebody sleeps."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from jobform.clients.hosts import Base
from jobform.clients.rest.client import Limits, Outgoing, Rest, RestError
from jobform.model.values import Json
from jobform.protocols import Clock
from jobform.testing.clock import ManualClock

SECRET = "canary-0123456789"
HANG = 60.0
"""Seconds, on a busy machine too: what waits longer waits for ever."""

PATIENT = Limits(connect=HANG, read=HANG)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Key:
    """`Credentials` that can be renewed as often as there are tokens left."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens or (SECRET,))
        self.renewed = 0

    @property
    def source(self) -> str:
        return "TEST_KEY"

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._tokens[0]}"}

    def renew(self) -> bool:
        self.renewed += 1
        if len(self._tokens) > 1:
            self._tokens.pop(0)
            return True
        return False


def explain(body: Json) -> tuple[str, str]:
    return (str(body.get("code", "")), str(body.get("message", ""))) if isinstance(body, dict) else ("", "")


def connect(
    url: str, *, clock: Clock | None = None, key: Key | None = None, environ: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> Rest:
    kind = Unhurried if clock is None or isinstance(clock, ManualClock) else Rest
    base = Base(url, "TEST_URL")
    return kind(base, key or Key(), clock or ManualClock(), environ or {}, explain=explain, limits=limits or PATIENT)


class Unhurried(Rest):
    """By a clock that only a test moves hardly any time may be left; sockets go by the real one, and have enough of it."""

    def _send(self, wire: Any, request: Outgoing, headers: Mapping[str, str], deadline: float) -> Any:
        return super()._send(wire, request, headers, max(deadline, self._clock.monotonic() + HANG))


def until(holds: Callable[[], bool]) -> None:
    """Wait for what happens by itself."""
    end = time.monotonic() + HANG
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)


def failure(call: Callable[[], object]) -> RestError:
    with pytest.raises(RestError) as caught:
        call()
    return caught.value


class Raw:
    """A server below HTTP: `talk` is called with each connection.

    heard: the bytes of each connection, as they came in.
    """

    def __init__(self, talk: "Callable[[Raw, socket.socket, int], None]") -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.heard: list[bytes] = []
        self.closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._start(self._accept)

    def request(self, connection: socket.socket, number: int) -> bytes:
        """The next request with its body, b"" when the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
            self.heard[number] += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = int(lengths[0].split(b":")[1]) - len(body) if lengths else 0
        while missing > 0:
            piece = connection.recv(65536)
            if not piece:
                return b""
            self.heard[number] += piece
            missing -= len(piece)
        return data

    @property
    def requests(self) -> int:
        """Requests that have come in, on all connections."""
        return sum(each.count(b" HTTP/1.1\r\n") for each in self.heard)

    def close(self) -> None:
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(HANG)  # from here on there are no more connections
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(HANG)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.heard.append(b"")
            self._open.append(connection)
            self._start(partial(self._serve, connection, len(self.heard) - 1))

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            self._talk(self, connection, number)


@contextmanager
def raw(talk: Callable[[Raw, socket.socket, int], None]) -> Iterator[Raw]:
    server = Raw(talk)
    try:
        yield server
    finally:
        server.close()


def answering(*answers: bytes) -> Callable[[Raw, socket.socket, int], None]:
    """To each request on any connection the next of these bytes, the last one for ever."""
    left = list(answers)

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        while server.request(connection, number):
            connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return talk
