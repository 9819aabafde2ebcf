"""Rules of what goes wrong: their words, which requests they meet, and what a client sees of them."""

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from jobform.sandbox.faults import Fault, Faults, Then
from jobform.sandbox.host import Sandbox
from tests.sandbox.kit import HANG, JOB, JOBS, call
from tests.sandboxed import assert_no_bugs


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(only=frozenset({"fireworks"}), speed=100.0) as running:
        yield running
        assert_no_bugs(running.ledger.entries())


@pytest.fixture
def url(sandbox: Sandbox) -> str:
    return sandbox.servers["fireworks"].url


@pytest.mark.parametrize(("text", "rule"), [
    ("status=503", Fault(status=503)),
    ("service=otoy method=POST path='/v1/.*' skip=1 times=2 status=429 retry_after=7",
     Fault("otoy", "POST", "/v1/.*", 1, 2, status=429, headers={"Retry-After": "7"})),
    ("status=502 applied=yes", Fault(status=502, applied=True)), ("status=502 applied=no", Fault(status=502)),
    ("drop=before", Fault(then=Then.DROP)), ("drop=after delay=0.5", Fault(then=Then.DROP, applied=True, delay=0.5)),
    ("half=yes", Fault(then=Then.HALF, applied=True)), ("delay=2", Fault(then=Then.PROCEED, delay=2.0)),
])
def test_words(text: str, rule: Fault) -> None:
    assert Fault.parse(text) == rule
    assert Fault.from_json(rule.to_json()) == rule


def test_html() -> None:
    rule = Fault.parse("html=yes")
    assert (rule.status, rule.headers["Content-Type"]) == (200, "text/html")


@pytest.mark.parametrize(("text", "word"), [
    ("", "not what"), ("service=otoy", "not what"), ("half=no", "not what"),
    ("when=now", "none of service="), ("status", "none of"),
    ("status=503 drop=after", "exclude"), ("drop=during", "before or after"), ("status=abc", "no whole number"),
    ("status=99", "200 to 599"), ("status=1000", "200 to 599"), ("status=503 skip=-1", "no whole number"),
    ("status=503 times=1.5", "no whole number"), ("delay=inf", "number of seconds"), ("delay=-1", "number of seconds"),
    ("delay=nan", "number of seconds"), ("path=( status=503", "no regular expression"), ("status=503 status=504", "twice"),
    ("html=maybe", "yes or no"), ("drop=after applied=yes", "goes with status"), ("retry_after=1 half=yes", "goes with status"),
    ("path='x", "quotation"),
])
def test_words_that_make_no_rule(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        Fault.parse(text)


def test_the_first_rule_that_is_not_spent_is_used() -> None:
    faults = Faults()
    faults.set([Fault(method="POST", skip=1, times=1, status=500), Fault(path="/a.*", times=2, status=501)])
    met = [faults.meet(method, path, "svc") for method, path in (
        ("POST", "/b"), ("POST", "/a"), ("POST", "/a"), ("GET", "/ab"), ("GET", "/a"), ("GET", "/b"),
    )]
    assert [rule.status if rule else None for rule in met] == [None, 500, 501, 501, None, None]
    faults.add(Fault(service="other"))
    assert faults.meet("GET", "/b", "svc") is None
    assert faults.meet("GET", "/b", "other") is not None


def test_rules_meet_each_request_once_in_many_threads() -> None:
    faults = Faults()
    faults.set([Fault(skip=5, times=10)])
    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(lambda _: faults.meet("GET", "/", "s") is not None, range(200)))
    assert sum(met) == 10


@pytest.mark.parametrize(("rule", "status", "created"), [
    ("method=POST status=503", 503, 0), ("method=POST status=503 applied=yes", 503, 1), ("method=POST drop=before", 0, 0),
    ("method=POST drop=after", 0, 1), ("method=POST half=yes", 0, 1), ("method=POST html=yes", 200, 0),
    ("method=POST delay=0.05", 200, 1), ("method=GET status=503", 200, 1), ("service=otoy status=503", 200, 1),
    (f"path={JOBS} status=418", 418, 0), ("path=/v1 status=418", 200, 1),
])
def test_what_a_client_sees(sandbox: Sandbox, url: str, rule: str, status: int, created: int) -> None:
    sandbox.faults.set([Fault.parse(rule)])
    said = call(url, "POST", body=JOB)
    assert said.status == status
    assert len(sandbox.world("fireworks").jobs) == created
    entry = next(sandbox.ledger.entries("request"))
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", JOBS, 200 if "half" in rule else status)
    assert entry["applied"] == (200 if created else None)
    sandbox.faults.set([])
    assert call(url, "POST", body=JOB).status == 200


def test_headers_of_a_fault(sandbox: Sandbox, url: str) -> None:
    sandbox.faults.set([Fault.parse("html=yes"), Fault.parse("status=429 retry_after=3")])
    assert call(url).kind == "text/html"
    with socket.create_connection(("127.0.0.1", sandbox.servers["fireworks"].server_address[1])) as raw:
        raw.sendall(f"GET {JOBS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        told = b"".join(iter(lambda: raw.recv(65536), b""))
    assert told.startswith(b"HTTP/1.1 429")
    assert b"Retry-After: 3\r\n" in told


def test_half_an_answer_has_half_the_bytes(sandbox: Sandbox) -> None:
    sandbox.faults.set([Fault.parse("half=yes")])
    with socket.create_connection(("127.0.0.1", sandbox.servers["fireworks"].server_address[1])) as raw:
        raw.sendall(f"GET {JOBS} HTTP/1.1\r\nHost: x\r\nx-api-key: fw-sandbox\r\n\r\n".encode())
        told = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, body = told.partition(b"\r\n\r\n")
    length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1])
    assert 0 < len(body) == length // 2


def test_a_delay_delays_nobody_else(sandbox: Sandbox, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    delayed, over = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        delays.append(seconds)
        delayed.set()
        over.wait()

    monkeypatch.setattr("jobform.sandbox.serve.time", SimpleNamespace(sleep=sleep))
    sandbox.faults.set([Fault.parse("method=POST delay=2")])
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(call, url, "POST", JOBS, JOB)
        try:
            assert delayed.wait(HANG), "the slow request does not arrive"
            assert call(url).status == 200
            assert not slow.done()
        finally:
            over.set()
        assert slow.result().status == 200
    assert delays == [2.0]


def test_rules_can_be_put_while_it_runs(sandbox: Sandbox, url: str) -> None:
    rule = Fault.parse("status=500 times=1")
    assert call(url, "PUT", "/_sandbox/faults", [rule.to_json()]).status == 200
    assert [call(url).status for _ in range(2)] == [500, 200]
    assert [each["status"] for each in call(url, path="/_sandbox/ledger").json if each["event"] == "request"] == [500, 200]
    assert call(url, path="/_sandbox/nothing").status == 404
