"""What a service may do to a request, and what the client says of it."""

import gzip
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from jobform.clients.rest.client import FilePart, Rest
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError
from jobform.testing.clock import ManualClock
from tests.clients.kube.faulty import Faulty, Reply, Seen, closed_port
from tests.clients.rest.kit import PATIENT, SECRET, Key, Raw, answering, connect, explain, failure, raw, until

Serve = Callable[["list[Reply] | Callable[[Seen], Reply]"], Faulty]

FINE = Reply(200, b'{"a": 1}')
BUSY = Reply(503, b'{"code": "busy", "message": "come again"}')


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Faulty] = []

    def start(script: "list[Reply] | Callable[[Seen], Reply]") -> Faulty:
        servers.append(Faulty(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


CHANGES: dict[str, Callable[[Rest], object]] = {
    "POST": lambda client: client.change("POST", "/x", {"b": 1}),
    "PATCH": lambda client: client.change("PATCH", "/x", {"b": 1}),
    "PUT": lambda client: client.change("PUT", "/x", {"b": 1}),
    "DELETE": lambda client: client.change("DELETE", "/x"),
    "upload": lambda client: client.upload("/x", {"b": "1"}, [FilePart("files", "a.txt", b"text", "text/plain")]),
}


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_what_is_sent(serve: Serve) -> None:
    server = serve([FINE])
    client = connect(f"{server.url}/prefix")
    assert client.get("/a%2Fb", [("q", "x y&z"), ("q", "ü")]) == {"a": 1}
    assert client.change("POST", "/c", {"b": "ü", "a": None}) == {"a": 1}
    read, change = server.seen
    assert (read.method, read.path) == ("GET", "/prefix/a%2Fb?q=x%20y%26z&q=%C3%BC")
    assert read.body == b""
    assert "content-type" not in read.headers
    assert read.headers["authorization"] == f"Bearer {SECRET}"
    assert read.headers["user-agent"].startswith("jobform/")
    assert json.loads(change.body) == {"a": None, "b": "ü"}
    assert change.headers["content-type"] == "application/json"


def test_what_is_uploaded(serve: Serve) -> None:
    server = serve([FINE])
    files = [FilePart("files", "ä \".txt", b"\x00\xff", "text/plain"), FilePart("files", "b", b"")]
    assert connect(server.url).upload("/x", {"k": "v"}, files) == {"a": 1}
    (seen,) = server.seen
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert seen.body.count(b'name="files"') == 2
    assert b"\x00\xff" in seen.body
    assert b'name="k"\r\n\r\nv\r\n' in seen.body


def test_a_change_may_answer_with_nothing(serve: Serve) -> None:
    server = serve([Reply(204, b"", kind=""), Reply(200, b"", kind="")])
    client = connect(server.url)
    assert client.change("DELETE", "/x") is None
    assert client.change("POST", "/x") is None
    assert "no content type" in failure(lambda: client.get("/x")).detail


def test_an_answer_sets_nothing_for_the_next_request(serve: Serve) -> None:
    server = serve([Reply(200, b"{}", {"Set-Cookie": "session=1; Path=/"})])
    client = connect(server.url)
    client.get("/x")
    client.get("/x")
    assert "cookie" not in server.seen[1].headers


# --- reads are patient ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [
    BUSY, Reply(500), Reply(502, b"<html>", kind="text/html"), Reply(504), Reply(408), Reply(drop=True),
    Reply(200, b'{"a": 1}', cut=3),
], ids=["503", "500", "502", "504", "408", "drop", "half"])
def test_a_read_is_made_again(serve: Serve, fault: Reply) -> None:
    server, clock = serve([fault, fault, FINE]), ManualClock()
    assert connect(server.url, clock=clock).get("/x") == {"a": 1}
    assert len(server.seen) == 3
    assert 0.25 + 0.5 <= clock.monotonic() <= 0.5 + 1.0, "half of each pause is chance"


def test_pauses_differ(serve: Serve) -> None:
    """Many clients that failed together do not come back together."""
    pauses = set()
    for _ in range(8):
        clock = ManualClock()
        connect(serve([BUSY, FINE]).url, clock=clock).get("/x")
        pauses.add(clock.monotonic())
    assert len(pauses) > 4


def test_a_read_is_given_up(serve: Serve) -> None:
    server, clock = serve([BUSY]), ManualClock()
    error = failure(lambda: connect(server.url, clock=clock).get("/x"))
    assert (error.status, error.code, error.retryable, error.ambiguous) == (503, "busy", True, False)
    assert "come again" in error.summary
    assert len(server.seen) == 4
    assert clock.monotonic() < 8


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 301, 302, 304, 307])
def test_a_refused_read_is_not_made_again(serve: Serve, status: int) -> None:
    server = serve([Reply(status, b'{"code": "no", "message": "not so"}', {"Location": "/y"})])
    error = failure(lambda: connect(server.url).get("/x"))
    assert (error.status, error.retryable, error.ambiguous) == (status, False, False)
    assert len(server.seen) == 1


# --- a pause that the service asks for --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_a_pause_is_obeyed(serve: Serve, status: int) -> None:
    server, clock = serve([Reply(status, headers={"Retry-After": "7"}), FINE]), ManualClock()
    assert connect(server.url, clock=clock).get("/x") == {"a": 1}
    assert len(server.seen) == 2
    assert clock.monotonic() == 7.0


@pytest.mark.parametrize(("text", "least", "most"), [
    ("0.5", 0.5, 0.5), ("-5", 0.25, 0.5), ("soon", 0.25, 0.5), ("nan", 0.25, 0.5), ("", 0.25, 0.5), ("inf", 0.25, 0.5),
    ("Wed, 99 Foo 2030", 0.25, 0.5),
])
def test_odd_pauses(serve: Serve, text: str, least: float, most: float) -> None:
    server, clock = serve([Reply(429, headers={"Retry-After": text}), FINE]), ManualClock()
    connect(server.url, clock=clock).get("/x")
    assert least <= clock.monotonic() <= most


def test_a_pause_until_a_date(serve: Serve) -> None:
    clock = ManualClock()
    date = format_datetime((clock.now() + timedelta(seconds=9)).astimezone(UTC), usegmt=True)
    connect(serve([Reply(429, headers={"Retry-After": date}), FINE]).url, clock=clock).get("/x")
    assert clock.monotonic() == 9.0
    past, again = format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True), ManualClock()
    connect(serve([Reply(429, headers={"Retry-After": past}), FINE]).url, clock=again).get("/x")
    assert again.monotonic() < 1


@pytest.mark.parametrize("text", ["86400", "1e300", "Wed, 01 Jan 2099 00:00:00 GMT"])
def test_a_pause_too_long_for_this_call_is_told_and_kept(serve: Serve, text: str) -> None:
    """A minute at most, and nobody is asked again before it is over: the error says so at once."""
    server, clock = serve([Reply(429, headers={"Retry-After": text}), FINE]), ManualClock()
    client = connect(server.url, clock=clock)
    assert failure(lambda: client.get("/x")).retry_after == 60
    later = failure(lambda: client.change("POST", "/x"))
    assert (later.retryable, later.ambiguous, later.retry_after) == (True, False, 60.0)
    assert len(server.seen) == 1
    clock.advance(60)
    assert client.change("POST", "/x") == {"a": 1}


def test_throttled_without_a_word_is_patient_to_the_end(serve: Serve) -> None:
    server, clock = serve([Reply(429)]), ManualClock()
    error = failure(lambda: connect(server.url, clock=clock).get("/x"))
    assert "slow down" in error.summary
    assert 50 < clock.monotonic() < 60
    assert 8 < len(server.seen) < 30


def test_a_pause_holds_back_every_thread(serve: Serve) -> None:
    """F64: between the 429 and the end of its pause the server hears nothing, whoever wants to ask."""
    first = threading.Event()

    def script(seen: Seen) -> Reply:
        if not first.is_set():
            first.set()
            return Reply(429, headers={"Retry-After": "0.6"})
        return FINE

    server = serve(script)
    client = connect(server.url, clock=SystemClock())
    with ThreadPoolExecutor(8) as pool:
        asked = pool.submit(client.get, "/x")
        until(lambda: client._gate._until > 0.0)  # the answer has arrived
        others = [pool.submit(client.get, "/x") for _ in range(7)]
        assert all(each.result() == {"a": 1} for each in [asked, *others])
    began = server.seen[0].at
    assert len(server.seen) == 9
    assert all(each.at - began >= 0.55 for each in server.seen[1:])


# --- changes are sent once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(("fault", "ambiguous"), [
    (Reply(500), True), (BUSY, True), (Reply(502, b"<html>", kind="text/html"), True), (Reply(408), True),
    (Reply(drop=True), True), (Reply(200, b'{"a": 1}', cut=3), True), (Reply(200, b"<html>log in", kind="text/html"), True),
    (Reply(200, b'{"a": ', kind="application/json"), True), (Reply(200, b'{"a": NaN}'), True),
    (Reply(200, b"x" * 3_000_000), True),
    (Reply(429), False), (Reply(429, headers={"Retry-After": "1"}), False), (Reply(400), False), (Reply(403), False),
    (Reply(404), False), (Reply(409), False), (Reply(302, headers={"Location": "/y"}), False),
    (Reply(307, headers={"Location": "/y"}), False), (Reply(400, b"\x1f\x8b broken", {"Content-Encoding": "gzip"}), False),
    (Reply(403, b"x" * 3_000_000), False),
], ids=lambda value: f"{value.status}" if isinstance(value, Reply) else "")
def test_a_change_is_sent_once(serve: Serve, change: Callable[[Rest], object], fault: Reply, ambiguous: bool) -> None:
    server = serve([fault, FINE])
    error = failure(lambda: change(connect(server.url, limits=replace(PATIENT, cap=2_000_000))))
    assert error.ambiguous is ambiguous
    assert len(server.seen) == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_there_means_no_effect(change: Callable[[Rest], object]) -> None:
    error = failure(lambda: change(connect(f"http://127.0.0.1:{closed_port()}")))
    assert (error.retryable, error.ambiguous) == (True, False)
    assert "cannot connect to 127.0.0.1" in error.summary
    assert "TEST_URL" in error.detail


def test_an_unknown_name_means_no_effect() -> None:
    error = failure(lambda: connect("http://no-such-host.invalid").change("POST", "/x"))
    assert (error.retryable, error.ambiguous) == (True, False)
    assert "no-such-host.invalid" in error.summary


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [lambda client: client.get("/x"), CHANGES["POST"]], ids=["read", "change"])
def test_credentials_are_renewed_once(serve: Serve, call: Callable[[Rest], object]) -> None:
    def script(seen: Seen) -> Reply:
        return FINE if seen.headers["authorization"] == "Bearer new" else Reply(401, b'{"message": "expired"}')

    server, key = serve(script), Key("old", "new")
    client = connect(server.url, key=key)
    assert call(client) == {"a": 1}
    assert call(client) == {"a": 1}
    assert (len(server.seen), key.renewed) == (3, 1)


def test_renewed_credentials_that_do_not_help(serve: Serve) -> None:
    server, key = serve([Reply(401, b'{"message": "who are you"}')]), Key("old", "new", "newer")
    error = failure(lambda: connect(server.url, key=key).get("/x"))
    assert len(server.seen) == 2
    assert "does not accept the credentials" in error.summary
    assert "TEST_KEY" in error.detail


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET}\r\nX-Evil: 1", f"{SECRET}é", f" {SECRET} ", f"{SECRET}\x00"])
def test_a_token_that_no_header_can_hold(serve: Serve, token: str) -> None:
    """The commonest: a file's last line end. It is not sent, and not shown."""
    server = serve([FINE])
    error = failure(lambda: connect(server.url, key=Key(token)).change("POST", "/x"))
    assert (error.retryable, error.ambiguous, len(server.seen)) == (False, False, 0)
    assert "TEST_KEY" in error.detail
    assert SECRET not in f"{error.summary} {error.detail} {error.__cause__}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("changing", [False, True])
def test_redirects_are_not_followed(serve: Serve, status: int, changing: bool) -> None:
    """F51: another host hears nothing, credentials least of all; nor does another path of this one."""
    stranger = serve([FINE])
    for place in (f"{stranger.url}/steal", "/login"):
        server = serve([Reply(status, b"", {"Location": place})])
        client = connect(server.url)
        error = failure(lambda c=client: c.change("POST", "/x", {}) if changing else c.get("/x"))
        assert (error.status, error.retryable) == (status, False)
        assert error.ambiguous is (changing and status == 303), "a 303 is what a server says that has done it"
        assert "redirect" in error.summary
        assert len(server.seen) == 1
    assert not stranger.seen


def test_errors_show_no_secret(serve: Serve) -> None:
    server = serve(lambda seen: Reply(403, json.dumps({"message": "no\x1b[31m\u202e", "code": "x" * 10_000}).encode()))
    error = failure(lambda: connect(server.url).get("/x"))
    assert SECRET not in f"{error.summary} {error.detail}"
    assert "\x1b" not in error.summary
    assert "\u202e" not in error.summary
    assert len(error.detail) < 500
    assert explain(error.body)[0].startswith("xxx")


def test_a_huge_message_is_cut_soon(serve: Serve) -> None:
    server = serve([Reply(400, json.dumps({"message": "{" * 8_000_000, "code": "{" * 8_000_000}).encode())])
    began = time.thread_time()
    error = failure(lambda: connect(server.url).get("/x"))
    assert len(error.summary) + len(error.detail) < 1500
    assert time.thread_time() - began < 2


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "kind", "word"), [
    (b"<!doctype html><title>Log in</title>", "text/html", "Log in"), (b"", "application/json", "Expecting value"),
    (b"{}", "text/plain", "not JSON"), (b"{}", "", "no content type"), (b'{"a": 1', "application/json", "Expecting"),
    (b'{"a": NaN}', "application/json", "NaN"), (b'{"a": -Infinity}', "application/json", "Infinity"),
    (b'{"a": 1e400}', "application/json", "too large"), (b'{"a": -1e999}', "application/json", "too large"),
    (b'{"a": ' + b"9" * 5000 + b"}", "application/json", "digits"),
    (b"[" * 100_000, "application/json", ""), (b"[" * 65 + b"]" * 65, "application/json", "deep"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json", "deep"),
    (b'{"a": "\xe9"}', "application/json; charset=iso-8859-1", "UTF-8"),
    ('{"a": 1}'.encode("utf-16"), "application/json", "UTF-8"),
    (b'{"a": 1} {"b": 2}', "application/json", "Extra data"), (b"\x1b]0;title\x07", "text/plain", "\\x1b"),
], ids=range(17))
def test_what_is_no_json(serve: Serve, body: bytes, kind: str, word: str) -> None:
    server = serve([Reply(200, body, kind=kind)])
    error = failure(lambda: connect(server.url).get("/x"))
    assert "127.0.0.1" in error.summary
    assert word in error.detail
    assert "GET /x" in error.detail
    assert error.detail.isprintable()
    assert len(error.detail) < 500
    assert not error.retryable
    assert len(server.seen) == 1


@pytest.mark.parametrize(("body", "kind", "value"), [
    (b"\xef\xbb\xbf[1]", "application/json", [1]), (b"null", "application/problem+json; charset=utf-8", None),
    (b'{"a": 1, "a": 2}', "APPLICATION/JSON", {"a": 2}), (b'"\\ud800"', "application/json", "\ud800"),
    (b"12345678901234567890123", "application/json", 12345678901234567890123), (b"[" * 63 + b"]" * 63, "application/json", ...),
])
def test_odd_json_is_json(serve: Serve, body: bytes, kind: str, value: object) -> None:
    found = connect(serve([Reply(200, body, kind=kind)]).url).get("/x")
    assert value is ... or found == value


def test_an_answer_has_a_cap(serve: Serve) -> None:
    server = serve([Reply(200, b"[" + b"1," * 1000 + b"1]")])
    client = connect(server.url, limits=replace(PATIENT, cap=2003))
    assert len(client.get("/x")) == 1001  # type: ignore[arg-type]  # a list
    error = failure(lambda: connect(server.url, limits=replace(PATIENT, cap=2002)).get("/x"))
    assert "too large" in error.summary
    assert not error.retryable


def zipped(body: bytes) -> Reply:
    return Reply(200, gzip.compress(body), {"Content-Encoding": "gzip"})


def test_gzip_is_taken(serve: Serve) -> None:
    two = gzip.compress(b'{"a":') + gzip.compress(b"1}")
    server = serve([zipped(b'{"a": 1}'), Reply(200, two, {"Content-Encoding": "gzip"})])
    client = connect(server.url)
    assert client.get("/x") == client.get("/x") == {"a": 1}


@pytest.mark.parametrize("reply", [
    Reply(200, b"{}", {"Content-Encoding": "gzip"}), Reply(200, gzip.compress(b"{}" * 9)[:-9], {"Content-Encoding": "gzip"}),
    Reply(200, b"{}", {"Content-Encoding": "br"}), Reply(200, b"{}", {"Content-Encoding": "gzip, gzip"}),
    Reply(200, b"{}", {"Content-Encoding": "zstd"}),
], ids=["plain", "cut", "br", "twice", "zstd"])
def test_encodings_that_are_wrong(serve: Serve, reply: Reply) -> None:
    error = failure(lambda: connect(serve([reply]).url).change("POST", "/x"))
    assert error.ambiguous
    assert "gzip" in error.detail or "encoding" in error.detail


def test_a_gzip_bomb_does_not_go_off(serve: Serve) -> None:
    """200 MB in 200 KB: no more of it is ever in memory than the cap and some pieces."""
    server = serve([zipped(b"0" * 200_000_000)])
    client = connect(server.url, limits=replace(PATIENT, cap=4 << 20))
    client._opened()
    tracemalloc.start()
    try:
        error = failure(lambda: client.get("/x"))
        assert "too large" in error.summary
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("head", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 20x OK\r\n\r\n", b"\x00\xff\x00\xff" * 100,
    b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nX Y: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
], ids=range(11))
@pytest.mark.parametrize("changing", [False, True])
def test_what_is_no_http(head: bytes, changing: bool) -> None:
    """Whatever comes back, it is an error of the client, and a change that was sent may have been done."""
    def talk(server: Raw, connection: object, number: int) -> None:
        answering(head)(server, OnceOnly(connection), number)  # type: ignore[arg-type]  # all that is used of a socket

    with raw(talk) as server:
        client = connect(server.url)
        with pytest.raises(BackendError) as caught:
            if changing:
                client.change("POST", "/x", {"a": 1})
                client.get("/y")  # a change may be answered with nothing
            else:
                client.get("/x")
        posts = sum(each.count(b"POST /x") for each in server.heard)
    assert caught.value.detail.isprintable()
    if changing:
        assert posts == 1


class OnceOnly:
    """A socket that is closed after one answer."""

    def __init__(self, connection: "object") -> None:
        self._connection = connection

    def recv(self, size: int) -> bytes:
        return self._connection.recv(size)  # type: ignore[attr-defined,no-any-return]  # a socket

    def sendall(self, data: bytes) -> None:
        self._connection.sendall(data)  # type: ignore[attr-defined]  # a socket
        self._connection.close()  # type: ignore[attr-defined]  # a socket


def test_many_threads_have_one_client_and_each_its_answer(serve: Serve) -> None:
    server = serve(lambda seen: Reply(200, json.dumps({"path": seen.path, "body": seen.body.decode()}).encode()))
    client = connect(server.url)

    def call(number: int) -> bool:
        body = client.change("POST", f"/{number}", number) if number % 2 else client.get(f"/{number}")
        return body == {"path": f"/{number}", "body": str(number) if number % 2 else ""}

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(300)))
    assert len(server.seen) == 300
