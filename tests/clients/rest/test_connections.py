"""Connections that are kept, and closed by the other side while nobody looks."""

import gc
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpcore
import pytest

from jobform.clients.rest import transport
from jobform.clients.rest.client import Rest
from jobform.clients.rest.transport import IDLE_CHANGES
from tests.clients.rest.kit import OK, Raw, connect, failure, raw, until

CLOSED = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def serving(answer: bytes, most: int) -> Callable[[Raw, socket.socket, int], None]:
    """Answers so many requests on a connection and closes it."""
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        for _ in range(most):
            if not server.request(connection, number):
                return
            connection.sendall(answer)

    return talk


def news(client: Rest) -> None:
    """Wait until this side has heard that its connections are closed."""
    wire = client._opened()
    clients = [each for _, each in (*wire._reads.free, *wire._changes.free)]
    pools = [each._transport._pool for each in clients]  # type: ignore[attr-defined]  # it is ours
    until(lambda: all(connection.has_expired() for pool in pools for connection in pool.connections))


@pytest.mark.parametrize("answer", [OK, CLOSED], ids=["silently", "with a word"])
@pytest.mark.parametrize("first", ["GET", "POST"])
def test_a_connection_that_the_server_closed_is_found_out_before_anything_is_sent(answer: bytes, first: str) -> None:
    """Each change is one request, and none of them is unclear, although the server closes after every answer."""
    with raw(serving(answer, 1)) as server:
        client = connect(server.url)
        for _ in range(20):
            client.get("/x") if first == "GET" else client.change("POST", "/x", {"a": 1})
            news(client)
            client.change("POST", "/x", {"a": 1})
            news(client)
        assert server.requests == 40


def test_a_close_that_crosses_a_read_costs_one_more_read() -> None:
    with raw(serving(OK, 1)) as server:
        client = connect(server.url)
        for _ in range(50):
            client.get("/x")
        assert 50 <= server.requests <= 100


def test_changes_use_no_connection_that_reads_left() -> None:
    """A server that closes at once after a read and does not say so: a change right after it would often be lost."""
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        while (request := server.request(connection, number)) and not request.startswith(b"GET"):
            connection.sendall(OK)
        if request:
            connection.sendall(OK)

    with raw(talk) as server:
        client = connect(server.url)
        for _ in range(50):
            client.get("/x")
            client.change("POST", "/x", {"a": 1})
        assert sum(each.count(b"POST /x") for each in server.heard) == 50
        assert not any(b"GET" in each and b"POST" in each for each in server.heard)


def test_changes_in_a_row_share_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "IDLE_CHANGES", 60.0)  # on a busy machine a row has its gaps
    with raw(serving(OK, 100)) as server:
        client = connect(server.url)
        for _ in range(10):
            client.change("POST", "/x", {"a": 1})
        assert len(server.heard) == 1


def test_an_idle_connection_is_too_old_for_a_change_before_servers_close_theirs() -> None:
    """A request that meets the close on its way would be one that nobody knows the fate of."""
    assert IDLE_CHANGES <= 1.0
    with raw(serving(OK, 100)) as server:
        client = connect(server.url)
        client.change("POST", "/x", {"a": 1})
        time.sleep(IDLE_CHANGES + 0.1)
        client.change("POST", "/x", {"a": 1})
        assert len(server.heard) == 2


@pytest.mark.parametrize("changing", [False, True])
def test_calls_at_the_same_time_share_no_pool(monkeypatch: pytest.MonkeyPatch, changing: bool) -> None:
    """One would close what the other is about to use, when it has lain idle for long."""
    both, real, busy = threading.Barrier(2), httpcore.ConnectionPool.handle_request, list[object]()

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        while server.request(connection, number):
            both.wait(60)
            connection.sendall(OK)

    def handle(pool: httpcore.ConnectionPool, request: httpcore.Request) -> httpcore.Response:
        assert pool not in busy
        busy.append(pool)
        try:
            return real(pool, request)
        finally:
            busy.remove(pool)

    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", handle)
    with raw(talk) as server, ThreadPoolExecutor(2) as pool:
        client = connect(server.url)
        for _ in range(3):
            asked = [pool.submit(client.change, "POST", "/x") if changing else pool.submit(client.get, "/x") for _ in range(2)]
            assert [each.result() for each in asked] == [{}, {}]


def test_a_reset_after_the_request_is_unclear() -> None:
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    with raw(talk) as server:
        error = failure(lambda: connect(server.url).change("POST", "/x", {"a": 1}))
        assert (error.retryable, error.ambiguous) == (True, True)
        assert server.requests == 1


def test_an_early_refusal_is_heard_though_the_body_was_not_taken() -> None:
    """A server that says 413 and hangs up while we still send."""
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with raw(talk) as server:
        error = failure(lambda: connect(server.url).change("POST", "/x", {"a": "x" * (8 << 20)}))
        assert (error.status, error.ambiguous) == (413, False)


def test_idle_connections_end_with_their_client() -> None:
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        serving(OK, 100)(server, connection, number)
        ended.append(number)

    ended: list[int] = []
    with raw(talk) as server:
        client: Rest | None = connect(server.url)
        assert client is not None
        client.get("/x")
        client.change("POST", "/x", {})
        assert ended == []
        client = None
        gc.collect()
        until(lambda: len(ended) == 2)
