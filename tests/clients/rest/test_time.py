"""No server can keep a call longer than it may take."""

import socket
import time
from types import SimpleNamespace

import pytest

from jobform.clients.rest import transport
from jobform.clients.rest.client import FilePart, Limits, Rest
from jobform.model.clock import SystemClock
from tests.clients.rest.kit import OK, Raw, connect, failure, raw

SOON = 15.0
"""Seconds, on a busy machine too: who did not leave would stay for longer."""

QUICK = Limits(connect=0.5, read=0.4, total=1.0)
PATIENT = Limits(connect=5.0, read=5.0, total=0.6)


def calls(client: Rest) -> list[tuple[str, object]]:
    return [("read", lambda: client.get("/x")), ("change", lambda: client.change("POST", "/x", {"a": 1}))]


def drip(text: bytes, seconds: float) -> object:
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        for byte in text:
            connection.sendall(bytes([byte]))
            if server.closing.wait(seconds):
                return

    return talk


@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("text", [
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 1000,
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + b" " * 1000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1000,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
], ids=["head", "body", "chunks", "continue"])
def test_a_dripping_server_is_left(text: bytes, changing: bool) -> None:
    """Every piece comes in time, the whole never does."""
    with raw(drip(text, 0.02)) as server:
        client = connect(server.url, clock=SystemClock(), limits=PATIENT)
        began = time.monotonic()
        error = failure(lambda: client.change("POST", "/x") if changing else client.get("/x"))
    assert 0.5 < time.monotonic() - began < SOON
    assert error.ambiguous is changing
    assert "took too long" in error.detail or "timed out" in error.detail


def test_a_large_body_has_time_to_be_sent() -> None:
    """As over a slow line: it takes longer than a call without a body may."""
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        server.closing.wait(1.0)
        connection.sendall(OK)

    with raw(talk) as server:
        client = connect(server.url, clock=SystemClock(), limits=Limits(read=60.0, total=0.5))
        assert client.upload("/x", {}, [FilePart("files", "a.bin", bytes(8 << 20))]) == {}


@pytest.mark.parametrize("changing", [False, True])
def test_a_silent_server_is_left(changing: bool) -> None:
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        server.closing.wait(60)

    with raw(talk) as server:
        client = connect(server.url, clock=SystemClock(), limits=Limits(connect=5.0, read=0.4, total=3.0))
        began = time.monotonic()
        error = failure(lambda: client.change("POST", "/x") if changing else client.get("/x"))
        spent, requests = time.monotonic() - began, server.requests
    assert error.retryable
    assert error.ambiguous is changing
    assert spent < SOON
    assert requests == 1 if changing else requests >= 2, "a read is asked again within its time, a change never"


def test_a_server_that_does_not_read_is_left() -> None:
    """A body of which nobody takes the rest."""
    with raw(lambda server, _connection, _number: server.closing.wait(60) and None) as server:
        client = connect(server.url, clock=SystemClock(), limits=QUICK)
        began = time.monotonic()
        error = failure(lambda: client.change("PUT", "/x", {"a": "x" * (32 << 20)}))
        assert time.monotonic() - began < SOON
        assert error.ambiguous
        assert server.requests == 0


def test_a_slow_answer_within_its_time_is_taken() -> None:
    with raw(drip(OK, 0.002)) as server:
        assert connect(server.url, clock=SystemClock(), limits=Limits(read=10.0)).get("/x") == {}


def test_the_limit_is_of_one_call_and_not_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that made a call has all its time again for the next one."""
    passed = [0.0]
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0]))
    with raw(drip(OK, 0.0)) as server:
        client = connect(server.url, clock=SystemClock(), limits=Limits(connect=30, read=30, total=60))
        for _ in range(3):
            assert client.get("/x") == {}
            passed[0] += 100
