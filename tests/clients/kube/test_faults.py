"""What goes wrong between a client and an API server."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.settings import KubeSettings
from jobform.clients.retry_after import retry_after
from jobform.testing.clock import ManualClock
from tests.clients.kube.faulty import Faulty, Reply, Seen, closed_port, faulty, reply, status

JOBS = "/apis/batch/v1/namespaces/x/jobs"
OK = reply({"kind": "Job"})
BUSY = status(429, "TooManyRequests", Retry_After="7")

Serve = Callable[["list[Reply] | Callable[[Seen], Reply]"], Faulty]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Faulty] = []

    def start(script: "list[Reply] | Callable[[Seen], Reply]") -> Faulty:
        servers.append(Faulty(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def connect(server: str, **more: Any) -> KubeClient:
    return KubeClient.open(KubeSettings(server=server, **more), {}, ManualClock())


def failure(call: Callable[[], object]) -> KubeError:
    with pytest.raises(KubeError) as caught:
        call()
    return caught.value


def clock_of(client: KubeClient) -> ManualClock:
    clock = client._clock
    assert isinstance(clock, ManualClock)
    return clock


@pytest.mark.parametrize("call", [
    lambda client: client.get(JOBS),
    lambda client: client.apply(f"{JOBS}/j", {"kind": "Job"}),
    lambda client: client.apply(f"{JOBS}/j", {"kind": "Job"}, dry_run=True),
    lambda client: client.delete(f"{JOBS}/j", uid="u"),
    lambda client: client.request("POST", JOBS, body={"kind": "Job"}),
    lambda client: client.request("PATCH", JOBS, body={}, content_type="application/merge-patch+json"),
])
def test_a_429_is_obeyed_on_every_verb(serve: Serve, call: Callable[[KubeClient], object]) -> None:
    server = serve([BUSY, OK])
    client = connect(server.url)
    call(client)
    assert len(server.seen) == 2
    assert 7 <= clock_of(client).monotonic() <= 7 * 1.25


def test_a_429_holds_back_every_thread(serve: Serve) -> None:
    calls = 0

    def script(request: Seen) -> Reply:
        nonlocal calls
        calls += 1
        return status(429, "TooManyRequests", Retry_After="1") if calls == 1 else OK

    server = serve(script)
    client = KubeClient.open(KubeSettings(server=server.url), {})
    first = threading.Thread(target=client.get, args=(JOBS,))
    first.start()
    while not client._gate.wait(deadline=0) and first.is_alive():  # until the answer has come
        time.sleep(0.005)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.get(JOBS), range(4)))
    first.join()
    assert len(server.seen) == 6
    assert min(seen.at for seen in server.seen[1:]) - server.seen[0].at >= 1


def test_a_429_that_would_outlast_the_request_is_an_error_at_once(serve: Serve) -> None:
    server = serve([BUSY])
    error = failure(lambda: connect(server.url, total=5).get(JOBS))
    assert (error.status, error.retry_after, error.retryable, error.ambiguous) == (429, 7.0, True, False)
    assert len(server.seen) == 1


@pytest.mark.parametrize(("value", "seconds"), [
    ("3", 3.0), ("0.5", 0.5), ("Tue, 01 Jan 2030 00:00:20 GMT", 20.0), ("Tue, 01 Jan 2030 09:00:00 GMT", 60.0), ("1e9", 60.0),
    ("Mon, 31 Dec 2029 00:00:00 GMT", 0.0), ("-5", 0.0), ("inf", 0.0), ("nan", 0.0), ("soon", 0.0), ("", 0.0), (None, 0.0),
])
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, datetime(2030, 1, 1, tzinfo=UTC)) == seconds


def test_a_retry_after_date_is_obeyed(serve: Serve) -> None:
    clock = ManualClock()
    date = format_datetime(datetime(2030, 1, 1, 0, 0, 9, tzinfo=UTC), usegmt=True)
    server = serve([status(503, "ServiceUnavailable", Retry_After=date), OK])
    KubeClient.open(KubeSettings(server=server.url), {}, clock).get(JOBS)
    assert 9 <= clock.monotonic() <= 9 * 1.25


@pytest.mark.parametrize("broken", [
    Reply(drop=True), Reply(500, b"<h1>oops</h1>", kind="text/html"), Reply(body=b'{"kind": "Job"}', cut=5),
    status(504, "Timeout"), status(503, "ServiceUnavailable"),
])
def test_what_may_be_repeated_is_and_a_create_is_not(serve: Serve, broken: Reply) -> None:
    for repeatable in (
        lambda client: client.get(JOBS), lambda client: client.apply(JOBS, {}), lambda client: client.delete(JOBS, uid="u"),
        lambda client: client.request("POST", JOBS, query={"dryRun": "All"}, body={}),
    ):
        server = serve([broken, OK])
        assert repeatable(connect(server.url)).body == {"kind": "Job"}
        assert len(server.seen) == 2
    for once in (
        lambda client: client.request("POST", JOBS, body={}),
        lambda client: client.request("DELETE", JOBS, body={}),
        lambda client: client.request("PATCH", JOBS, body={}, content_type="application/merge-patch+json"),
    ):
        server = serve([broken, OK])
        client = connect(server.url)
        error = failure(lambda client=client, once=once: once(client))
        assert error.ambiguous
        assert error.sent == (error.status == 0)
        assert len(server.seen) == 1


def test_a_server_that_never_recovers_is_given_up(serve: Serve) -> None:
    server = serve([status(500, "InternalError", "boom")])
    error = failure(lambda: connect(server.url).apply(JOBS, {}))
    assert (error.status, error.message) == (500, "boom")
    assert len(server.seen) == 5


def test_a_login_page_is_no_answer(serve: Serve) -> None:
    page = b"<html>\x1b[2J please <b>log in</b> " + b"x" * 5000
    server = serve([Reply(200, page, kind="text/html; charset=utf-8")])
    error = failure(lambda: connect(server.url).apply(JOBS, {}))
    assert error.reason == "BadAnswer"
    assert "status 200, text/html; charset=utf-8" in error.message
    assert "<html>\\x1b[2J please <b>log in</b>" in error.message
    assert len(error.message) < 400
    assert error.ambiguous  # a 200 may have been a 200
    assert len(server.seen) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": ', b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b'"x"'])
def test_what_is_no_json_object_is_no_answer(serve: Serve, body: bytes) -> None:
    error = failure(lambda: connect(serve([Reply(body=body)]).url).get(JOBS))
    assert (error.status, error.reason, error.ambiguous) == (200, "BadAnswer", False)


def test_an_answer_of_unknown_length_ends_at_the_cap(serve: Serve) -> None:
    server = serve([Reply(body=b'{"a": "' + b"x" * (2 << 20) + b'"}')])
    error = failure(lambda: connect(server.url).request("GET", JOBS, cap=1 << 20))
    assert error.reason == "BadAnswer"
    assert "more than 1 MiB" in error.message


def test_a_compressed_bomb_ends_at_the_cap(serve: Serve) -> None:
    server = serve([Reply(body=gzip.compress(b'{"a": "' + b"x" * (50 << 20) + b'"}'), headers={"Content-Encoding": "gzip"})])
    error = failure(lambda: connect(server.url).request("GET", JOBS, cap=1 << 20))
    assert "more than 1 MiB" in error.message


def test_another_machine_is_asked_for_compressed_answers(serve: Serve) -> None:
    server = serve([Reply(body=gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": "gzip"})])
    assert connect(f"http://127.1:{server.port}").get(JOBS).body == {"a": 1}  # this machine, under a name that does not show it
    connect(server.url).get(JOBS)
    assert [seen.headers["accept-encoding"] for seen in server.seen] == ["gzip", "identity"]


def test_a_redirect_is_not_followed(serve: Serve) -> None:
    other = serve([OK])
    server = serve([Reply(302, b"", {"Location": f"{other.url}/login?x=y"})])
    error = failure(lambda: connect(server.url).get(JOBS))
    assert (error.status, error.reason) == (302, "Redirect")
    assert "127.0.0.1" in error.message
    assert other.seen == []


def test_a_closed_port_is_told_soon_and_had_no_effect() -> None:
    port = closed_port()
    client = connect(f"http://127.0.0.1:{port}")
    error = failure(lambda: client.request("POST", JOBS, body={}))
    assert (error.reason, error.sent, error.ambiguous, error.retryable) == ("Unreachable", False, False, True)
    assert f"127.0.0.1:{port}" in error.message
    assert "refused" in error.message
    assert clock_of(client).monotonic() < 1


def test_a_name_that_does_not_resolve_is_told() -> None:
    error = failure(lambda: connect("http://no-such-host.invalid").get(JOBS))
    assert error.reason == "Unreachable"
    assert "no-such-host.invalid:80" in error.message


def test_a_server_that_answered_before_gets_more_patience(serve: Serve) -> None:
    server = serve([OK])
    client = connect(server.url)
    client.get(JOBS)
    server.close()
    client.close()
    clock = clock_of(client)
    failure(lambda: client.get(JOBS))
    assert clock.monotonic() > 2


def test_silence_ends_in_time() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        client = KubeClient.open(KubeSettings(server=f"http://127.0.0.1:{hole.getsockname()[1]}", read=0.2, total=20.0), {})
        began = time.monotonic()
        error = failure(lambda: client.request("POST", JOBS, body={}))
        assert time.monotonic() - began < 50
        assert (error.reason, error.sent, error.ambiguous) == ("Timeout", True, True)
        began = time.monotonic()
        assert failure(lambda: client.get(JOBS)).reason == "Timeout"
        assert time.monotonic() - began < 50


def test_a_body_that_drips_ends_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def drip() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1 << 16)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
                try:
                    while True:
                        peer.sendall(b" ")
                        time.sleep(0.02)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        client = KubeClient.open(KubeSettings(server=f"http://127.0.0.1:{listener.getsockname()[1]}", total=2.0), {})
        began = time.monotonic()
        assert failure(lambda: client.get(JOBS)).reason == "Timeout"
        assert time.monotonic() - began < 50


def test_tls_that_is_no_tls_is_told(serve: Serve) -> None:
    server = serve([OK])
    error = failure(lambda: connect(f"https://127.0.0.1:{server.port}").get(JOBS))
    assert (error.reason, error.retryable) == ("TLS", False)


def test_a_server_that_ends_in_the_middle_of_a_greeting_is_no_wrong_certificate() -> None:
    """As one does that is being restarted: it is asked again."""
    greeted: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    greeted.append(connection.recv(65536))

        threading.Thread(target=greet, daemon=True).start()
        client = connect(f"https://127.0.0.1:{listener.getsockname()[1]}")
        error = failure(lambda: client.get(JOBS))
        listener.shutdown(socket.SHUT_RDWR)
    assert (error.reason, error.retryable) == ("Cut", True)
    assert len(greeted) > 1


def test_warnings_are_collected(serve: Serve) -> None:
    server = serve([Reply(headers={"Warning": '299 - "unknown field \\"spec.x\\""'})])
    assert connect(server.url).get(JOBS).warnings == ('unknown field "spec.x"',)


def test_a_proxy_is_used_and_no_proxy_is_honoured(serve: Serve) -> None:
    target, proxy = serve([OK]), serve([reply({"from": "proxy"})])
    url = f"http://127.1:{target.port}"  # not told apart from another machine
    for environ, answer in (
        ({"http_proxy": proxy.url}, {"from": "proxy"}),
        ({"HTTP_PROXY": proxy.url}, {"from": "proxy"}),
        ({"HTTP_PROXY": proxy.url, "NO_PROXY": "127.1"}, {"kind": "Job"}),
        ({"HTTPS_PROXY": proxy.url}, {"kind": "Job"}),
        ({}, {"kind": "Job"}),
    ):
        assert KubeClient.open(KubeSettings(server=url), environ).get(JOBS).body == answer
    assert proxy.seen[0].path == f"{url}{JOBS}"
    assert KubeClient.open(KubeSettings(server=target.url), {"HTTP_PROXY": proxy.url}).get(JOBS).body == {"kind": "Job"}


def test_a_dead_proxy_is_named_without_its_password(serve: Serve) -> None:
    proxy = f"http://me:secret@127.0.0.1:{closed_port()}"
    client = KubeClient.open(KubeSettings(server="http://cluster.invalid"), {"HTTP_PROXY": proxy}, ManualClock())
    error = failure(lambda: client.get(JOBS))
    assert "cluster.invalid:80 through the proxy 127.0.0.1" in error.message
    assert "secret" not in str(error)


def page(items: list[str], version: str, following: str | None = None) -> Reply:
    return reply({
        "kind": "JobList", "apiVersion": "batch/v1", "metadata": {"resourceVersion": version, "continue": following},
        "items": [{"metadata": {"name": name}} for name in items],
    })


def test_pages_are_joined_and_items_know_their_kind(serve: Serve) -> None:
    server = serve([page(["a", "b"], "5", "t&1"), page(["c"], "5")])
    listing = connect(server.url).list(JOBS, {"labelSelector": "a=b,c"})
    assert [item["metadata"]["name"] for item in listing] == ["a", "b", "c"]  # type: ignore[index,call-overload]  # raw JSON
    assert {(item["apiVersion"], item["kind"]) for item in listing} == {("batch/v1", "Job")}
    assert listing.resource_version == "5"
    assert "limit=500" in server.seen[0].path
    assert server.seen[1].path.endswith("continue=t%261")


def test_a_list_is_begun_again_when_its_token_is_too_old(serve: Serve) -> None:
    server = serve([page(["a"], "5", "t"), status(410, "Expired"), page(["a"], "6", "u"), page(["b"], "6")])
    listing = connect(server.url).list(JOBS, None, lambda item: json.dumps(item["metadata"]))
    assert list(listing) == ['{"name": "a"}', '{"name": "b"}']
    assert listing.resource_version == "6"


@pytest.mark.parametrize("pages", [
    [page(["a"], "5", "t"), page(["b"], "5", "t")], [reply({"items": []})], [reply({"metadata": {}, "items": [1]})],
    [reply({"metadata": {}, "items": {}})], [reply({"metadata": {"continue": 4}, "items": []})],
])
def test_a_list_that_is_none_is_an_error(serve: Serve, pages: list[Reply]) -> None:
    server = serve(pages)
    assert failure(lambda: connect(server.url).list(JOBS)).reason == "BadAnswer"


@pytest.mark.parametrize(("body", "version"), [
    ({"major": "1", "minor": "34"}, (1, 34)), ({"major": "1", "minor": "27+"}, (1, 27)), ({"major": "", "minor": ""}, None),
    ({}, None),
])
def test_the_version(serve: Serve, body: dict[str, str], version: tuple[int, int] | None) -> None:
    client = connect(serve([reply(body)]).url)
    if version:
        assert client.version() == version
    else:
        assert failure(client.version).reason == "BadAnswer"


def test_discovery_of_an_older_server_leaves_out_what_is_down(serve: Serve) -> None:
    answers = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"groups": [{"versions": [{"groupVersion": name}]} for name in ("batch/v1", "metrics.k8s.io/v1")]},
        "/api/v1": {"resources": [{"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
                                  {"name": "pods/log", "kind": "Pod", "namespaced": True}]},
        "/apis/batch/v1": {"resources": [{"name": "jobs", "kind": "Job", "namespaced": True, "verbs": ["get", "list"]}, "odd"]},
    }
    server = serve(lambda seen: reply(answers[seen.path]) if seen.path in answers else status(503, "ServiceUnavailable"))
    served = connect(server.url).served()
    assert set(served) == {("v1", "Pod"), ("batch/v1", "Job")}
    assert (served["v1", "Pod"].plural, served["v1", "Pod"].namespaced) == ("pods", True)


def test_a_stream_gives_what_comes_and_ends_on_close() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def serve_two_chunks() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1 << 16)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
                peer.recv(1)  # nothing more until the client hangs up

        threading.Thread(target=serve_two_chunks, daemon=True).start()
        client = KubeClient.open(KubeSettings(server=f"http://127.0.0.1:{listener.getsockname()[1]}"), {})
        with client.stream("/log") as stream:
            chunks = iter(stream)
            assert next(chunks) == b"one"
            threading.Timer(0.1, stream.close).start()
            began = time.monotonic()
            assert list(chunks) == []
            assert time.monotonic() - began < 50
            stream.close()


def test_a_stream_that_falls_silent_or_breaks_is_an_error(serve: Serve) -> None:
    server = serve([Reply(body=b"abc" * 100, cut=30, kind="text/plain")])
    with connect(server.url).stream("/log") as stream:
        assert failure(lambda: list(stream)).reason == "Cut"
    with faulty([Reply(stall=2)]) as silent:
        client = connect(silent.url)

        def read() -> None:
            with client.stream("/log", idle=0.1):
                pass

        assert failure(read).reason == "Timeout"


def test_a_stream_is_opened_again_but_its_refusal_is_told(serve: Serve) -> None:
    server = serve([status(503, "ServiceUnavailable"), Reply(body=b"text", kind="text/plain")])
    with connect(server.url).stream("/log") as stream:
        assert b"".join(stream) == b"text"

    def read() -> None:
        with connect(serve([status(400, "BadRequest", "container is waiting to start")]).url).stream("/log"):
            pass

    assert failure(read).message == "container is waiting to start"


def test_a_dry_run_that_fails_leaves_nothing_in_doubt(serve: Serve) -> None:
    server = serve([status(500, "InternalError", "boom")])
    client = connect(server.url)
    for dry in (
        lambda: client.apply(JOBS, {}, dry_run=True), lambda: client.delete(JOBS, uid="u", dry_run=True),
        lambda: client.request("POST", JOBS, query={"dryRun": "All"}, body={}),
    ):
        assert not failure(dry).ambiguous
    assert failure(lambda: client.apply(JOBS, {})).ambiguous


def test_a_delete_never_leaves_pods_behind(serve: Serve) -> None:
    server = serve([OK])
    connect(server.url).delete(JOBS, uid="u", resource_version="5", grace=3, dry_run=True)
    assert server.seen[0].path == JOBS
    assert json.loads(server.seen[0].body) == {
        "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground", "gracePeriodSeconds": 3,
        "preconditions": {"uid": "u", "resourceVersion": "5"}, "dryRun": ["All"],  # with a body, the query is not read
    }
