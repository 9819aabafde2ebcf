"""A service on a port: what it is asked that no service can answer, and that it ends."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from jobform.model.values import Json
from jobform.sandbox.faults import Faults
from jobform.sandbox.host import Sandbox
from jobform.sandbox.ledger import Ledger
from jobform.sandbox.serve import Server
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, World
from tests.sandbox.kit import HANG, JOB, JOBS, call
from tests.sandboxed import assert_never_two_live, assert_no_bugs, attempt_of

NAME = "fireworks"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(only=frozenset({NAME}), speed=100.0) as running:
        yield running


@pytest.fixture
def url(sandbox: Sandbox) -> str:
    return sandbox.servers[NAME].url


def raw(sandbox: Sandbox, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", sandbox.servers[NAME].server_address[1])) as one:
        one.sendall(request)
        one.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: one.recv(65536), b""))


@pytest.mark.parametrize("head", [
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"Content-Length: 999999999999\r\n\r\n",
    b"Content-Length: -1\r\n\r\n", b"Content-Length: \xb2\r\n\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
])
def test_bodies_of_unknown_length_are_refused(sandbox: Sandbox, head: bytes) -> None:
    told = raw(sandbox, f"POST {JOBS} HTTP/1.1\r\nHost: x\r\n".encode() + head)
    assert told.startswith(b"HTTP/1.1 413")


def test_half_a_request_is_none(sandbox: Sandbox) -> None:
    """A client that is killed while it sends has not asked for anything."""
    told = raw(sandbox, f"POST {JOBS} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode() + b'{"nodePoolId": ')
    assert told == b""
    assert list(sandbox.ledger.entries()) == []


@pytest.mark.parametrize(("request_", "status"), [
    (b"GET http://[ HTTP/1.1\r\n\r\n", 400), (b"PUT /_sandbox/faults HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400),
    (b"PUT /_sandbox/faults HTTP/1.1\r\nContent-Length: 3\r\n\r\n[1]", 400),
    (b"POST /_sandbox/jobs/none/end HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
])
def test_what_is_asked_wrongly_gets_an_answer(sandbox: Sandbox, request_: bytes, status: int) -> None:
    assert raw(sandbox, request_).startswith(f"HTTP/1.1 {status}".encode())


@pytest.mark.parametrize("number", [b"1e400", b"1" + b"0" * 400, b"NaN", b"Infinity"])
def test_a_number_that_nobody_could_take_is_refused(url: str, sandbox: Sandbox, number: bytes) -> None:
    body = json.dumps({**JOB, "priority": "N"}).encode().replace(b'"N"', number)
    assert call(url, "POST", raw=body).status == 400
    assert_no_bugs(sandbox.ledger.entries())


def test_the_date_of_an_answer_is_the_services(sandbox: Sandbox) -> None:
    sandbox.world(NAME).now = lambda: 0.0
    assert b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in raw(sandbox, b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"[" * 100_000, 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b"\xff", 400),
    (b'{"nodePoolId": 1}', 400), (b'{"nodePoolId": "p"}', 400),
    (json.dumps({**JOB, "unknown": 1}).encode(), 400), (json.dumps(JOB).encode(), 200),
])
def test_bodies(url: str, sandbox: Sandbox, body: bytes, status: int) -> None:
    said = call(url, "POST", raw=body)
    assert said.status == status
    if status == 400:
        assert said.json["code"] == 3, "in the form that the service gives its errors"
        assert said.json["message"]
    assert_no_bugs(sandbox.ledger.entries())


@pytest.mark.parametrize(("method", "path", "key", "status"), [
    ("GET", JOBS, "wrong", 401), ("GET", "/v1/accounts/other/batchJobs", "fw-sandbox", 403),
    ("GET", f"{JOBS}/none", "fw-sandbox", 404),
    ("GET", "/v1/nothing", "fw-sandbox", 404), ("PUT", JOBS, "fw-sandbox", 405), ("GET", f"{JOBS}?unknown=1", "fw-sandbox", 400),
    ("GET", f"{JOBS}?pageSize=x", "fw-sandbox", 400),
    ("GET", f"{JOBS}?pageSize=1.0", "fw-sandbox", 400), ("GET", f"{JOBS}?pageSize={'[' * 5000}", "fw-sandbox", 400),
    ("GET", f"{JOBS}?pageToken=x", "fw-sandbox", 400),
    ("GET", f"{JOBS}?pageSize=1&pageSize=2", "fw-sandbox", 400),
])
def test_refusals(sandbox: Sandbox, url: str, method: str, path: str, key: str, status: int) -> None:
    assert call(url, method, path, key=key).status == status
    assert_no_bugs(sandbox.ledger.entries())


def test_a_body_of_another_type_is_refused(url: str) -> None:
    assert call(url, "POST", raw=json.dumps(JOB).encode(), kind="text/plain").status == 415


def test_lists_come_in_pages(sandbox: Sandbox, url: str) -> None:
    for _ in range(5):
        assert call(url, "POST", body=JOB).status == 200
    token, found = "", []
    while True:
        page = call(url, path=f"{JOBS}?pageSize=2{f'&pageToken={token}' if token else ''}").json
        found += [job["name"] for job in page["batchJobs"]]
        assert page["totalSize"] == 5
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert len(found) == len(set(found)) == 5


class Broken:
    """A service with a fault of its own."""

    name = "broken"

    def variables(self, url: str) -> dict[str, str]:
        return {"BROKEN_URL": url}

    def open(self, world: object, services: object) -> None:
        pass

    def answer(self, call: Call) -> Reply:
        if call.path == "/refused":
            raise Refused(409, "no", "Code")
        value: Json = {}["missing"]
        return Reply(200, value)

    def refusal(self, error: Refused) -> Reply:
        return Reply(error.status, {"error": error.message})


def test_a_refusal_is_made_before_the_next_call_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose errors have several forms knows by the call which one is wanted."""
    looked: list[Call] = []

    class Formal(Broken):
        def answer(self, call: Call) -> Reply:
            looked.append(call)
            raise Refused(409, "no")

        def refusal(self, error: Refused) -> Reply:
            if len(looked) == 1:
                other.start()
                other.join(0.3)
            return Reply(error.status, {"path": looked[-1].path})

    monkeypatch.setattr("jobform.sandbox.host.services", lambda only: [Formal()])
    with Sandbox() as running:
        url = running.variables["BROKEN_URL"]
        other = threading.Thread(target=call, args=(url,), kwargs={"path": "/second"})
        assert call(url, path="/first").json == {"path": "/first"}
        other.join()
    assert [each.path for each in looked] == ["/first", "/second"]


def test_a_fault_of_the_sandbox_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a 500 with a trace, and tests that look at the ledger fail."""
    monkeypatch.setattr("jobform.sandbox.host.services", lambda only: [Broken()])
    with Sandbox() as running:
        url = running.variables["BROKEN_URL"]
        assert call(url, path="/refused").status == 409
        assert_no_bugs(running.ledger.entries())
        said = call(url, path="/x")
        assert said.status == 500
        assert "KeyError" in said.json["message"]
        with pytest.raises(AssertionError, match="KeyError"):
            assert_no_bugs(running.ledger.entries())


def test_a_sandbox_that_cannot_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Broken):
        name = "failing"

        def open(self, world: object, services: object) -> None:
            raise RuntimeError("no")

    monkeypatch.setattr("jobform.sandbox.host.services", lambda only: [Broken(), Failing()])
    before = set(threading.enumerate())
    running = Sandbox()
    with pytest.raises(RuntimeError, match="no"), running:
        pass
    assert set(threading.enumerate()) <= before
    assert running.servers["broken"].socket.fileno() == -1, "closed"


def test_nothing_is_left_when_it_ends() -> None:
    before = set(threading.enumerate())
    with Sandbox(only=frozenset({NAME})) as running:
        assert call(running.servers[NAME].url, "POST", body=JOB).status == 200
    assert running.servers[NAME].socket.fileno() == -1, "closed"
    ends = time.monotonic() + HANG
    while left := set(threading.enumerate()) - before:  # the thread that gave the answer
        assert time.monotonic() < ends, left
        time.sleep(0.01)


def test_a_server_that_never_started_can_be_stopped() -> None:
    """As when there are no more threads to be had: to wait for its end would be for ever."""
    server = Server(Broken(), World("broken", Ledger()), Faults())
    server.stop()
    assert server.socket.fileno() == -1, "closed"


def test_time_goes_on_when_nobody_asks(sandbox: Sandbox) -> None:
    """What happened is in the ledger in the order in which it happened, also when no request came."""
    world = sandbox.world(NAME)
    with world.held():
        world.add("a", "", {}, Course(0.0, 1.0))
    ends = time.monotonic() + HANG
    while not any(each["state"] == "succeeded" for each in sandbox.ledger.entries("state")):
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_fault_of_the_sandbox_while_nobody_asks_is_found_and_time_goes_on(sandbox: Sandbox) -> None:
    def fail(_job: Job) -> None:
        raise KeyError("missing")

    world = sandbox.world(NAME)
    with world.held():
        world.changed = fail
        world.add("a", "", {}, Course(0.0, 1.0))
    ends = time.monotonic() + HANG
    while not any(each["state"] == "succeeded" for each in sandbox.ledger.entries("state")):
        assert time.monotonic() < ends
        time.sleep(0.01)
    with pytest.raises(AssertionError, match="KeyError: 'missing'"):
        assert_no_bugs(sandbox.ledger.entries())


def mark(attempt: int) -> str:
    return f"jf1-{'1' * 16}-{'2' * 16}-{attempt}-{'3' * 16}"


@pytest.mark.parametrize(("states", "two"), [
    ([("a", 1, "queued"), ("a", 1, "running"), ("a", 1, "succeeded"), ("b", 2, "queued")], False),
    ([("a", 1, "queued"), ("b", 2, "queued")], True), ([("a", 1, "queued"), ("a", 1, "cancelling"), ("b", 2, "queued")], True),
    ([("a", 1, "queued"), ("a", 1, "removed"), ("b", 2, "running")], False),
])
def test_what_the_ledger_must_never_show(states: list[tuple[str, int, str]], two: bool) -> None:
    ledger = Ledger()
    for run, attempt, state in states:
        ledger.write(event="state", service="s", id=run, owner=mark(attempt), state=state)
    assert attempt_of(mark(1)) == attempt_of(mark(2)) != attempt_of("a-name")
    if two:
        with pytest.raises(AssertionError, match="two live"):
            assert_never_two_live(ledger.entries())
    else:
        assert_never_two_live(ledger.entries())
