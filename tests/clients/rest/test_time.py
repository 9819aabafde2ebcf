"""No server can keep a call longer than it may take."""

import socket
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from jobform.clients.rest import transport
from jobform.clients.rest.client import FilePart, Limits
from jobform.model.clock import SystemClock
from tests.clients.rest.kit import HANG, OK, PATIENT, Raw, connect, failure, raw, until

SHORT = Limits(connect=HANG, read=0.4)
"""So long nobody waits for the next piece, and it is the server that must not send it sooner."""


def drip(text: bytes, seconds: float, half: Callable[[], None] = lambda: None) -> Callable[[Raw, socket.socket, int], None]:
    """Answers a byte at a time. half: called in the middle."""
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        for place, byte in enumerate(text):
            if place == len(text) // 2:
                half()
            connection.sendall(bytes([byte]))
            if server.closing.wait(seconds):
                return

    return talk


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets more time pass than a call has."""
    passed = [0.0]

    def pass_() -> None:
        passed[0] += 100.0

    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0]))
    return pass_


@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("text", [
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100,
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n" + b" " * 200,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 50,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 10,
], ids=["head", "body", "chunks", "continue"])
def test_a_dripping_server_is_left(text: bytes, changing: bool, late: Callable[[], None]) -> None:
    """Every piece comes in time, the whole does not."""
    with raw(drip(text, 0.001, late)) as server:
        client = connect(server.url)
        error = failure(lambda: client.change("POST", "/x") if changing else client.get("/x"))
        assert server.requests == (1 if changing else 4), "a read is asked again, a change never"
    assert error.ambiguous is changing
    assert "took too long" in error.detail


def test_a_large_body_has_time_to_be_sent() -> None:
    """As over a slow line: it takes longer than a call without a body may."""
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        server.closing.wait(1.0)
        connection.sendall(OK)

    with raw(talk) as server:
        client = connect(server.url, clock=SystemClock(), limits=Limits(read=HANG, total=0.5))
        assert client.upload("/x", {}, [FilePart("files", "a.bin", bytes(8 << 20))]) == {}


@pytest.mark.parametrize("changing", [False, True])
def test_a_silent_server_is_left(changing: bool) -> None:
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        server.closing.wait()

    with raw(talk) as server:
        client = connect(server.url, limits=SHORT)
        error = failure(lambda: client.change("POST", "/x") if changing else client.get("/x"))
        asked = 1 if changing else 4
        until(lambda: server.requests >= asked)  # it may hear of them late
        assert server.requests == asked, "a read is asked again, a change never"
    assert error.retryable
    assert error.ambiguous is changing


def test_a_server_that_does_not_read_is_left() -> None:
    """A body of which nobody takes the rest."""
    with raw(lambda server, _connection, _number: server.closing.wait() and None) as server:
        client = connect(server.url, limits=SHORT)
        error = failure(lambda: client.change("PUT", "/x", {"a": "x" * (32 << 20)}))
        assert error.ambiguous
        assert server.requests == 0


def test_a_slow_answer_within_its_time_is_taken() -> None:
    with raw(drip(OK, 0.002)) as server:
        assert connect(server.url, clock=SystemClock(), limits=PATIENT).get("/x") == {}


def test_the_limit_is_of_one_call_and_not_of_the_client(late: Callable[[], None]) -> None:
    """A thread that made a call has all its time again for the next one."""
    with raw(drip(OK, 0.0)) as server:
        client = connect(server.url, clock=SystemClock(), limits=PATIENT)
        for _ in range(3):
            assert client.get("/x") == {}
            late()
