"""Output through CloudWatch Logs: all of it, its end, the last seconds, while it runs, and of several instances."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest

from jobform.backends.braket.backend import BraketBackend
from jobform.backends.braket.logs import GROUP
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, LogOptions, Ref
from jobform.sandbox.faults import Fault
from jobform.sandbox.host import Sandbox
from jobform.testing.backend_fixtures import read_one
from tests.backends.braket.conftest import RUNS, WAITS, Open, Start

ENDS: dict[str, Json] = {"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": 0}

Print = Callable[..., None]


def ended(backend: BraketBackend, ref: Ref) -> Actual:
    while True:
        found = read_one(backend, ref)
        if isinstance(found, Actual) and found.phase is not Phase.PENDING and found.ended_at:
            return found
        time.sleep(0.01)


def running(backend: BraketBackend, ref: Ref) -> None:
    while not (isinstance(found := read_one(backend, ref), Actual) and found.phase is Phase.RUNNING):
        time.sleep(0.01)


def output(backend: BraketBackend, ref: Ref, **options: Any) -> str:
    return b"".join(backend.logs(ref, LogOptions(**options))).decode()


@pytest.fixture
def print_line(sandbox: Sandbox) -> Print:
    """`print_line(ref, text, instance=2, at=seconds)` adds a line to a job's stream."""
    client = boto3.session.Session("sandbox", "sandbox", region_name="us-east-1").client(
        "logs", endpoint_url=sandbox.variables["AWS_ENDPOINT_URL_LOGS"],
    )

    def put(ref: Ref, text: str, instance: int = 1, at: float | None = None) -> None:
        value: Any = ref.value
        job = sandbox.world("braket").jobs[value["id"]]
        stream = f"{job.body['jobName']}/{job.id.rpartition('/')[2]}/algo-{instance}-{int(job.created)}"
        for make, names in ((client.create_log_group, {}), (client.create_log_stream, {"logStreamName": stream})):
            with suppress(client.exceptions.ResourceAlreadyExistsException):
                make(logGroupName=GROUP, **names)
        stamp = int((time.time() if at is None else at) * 1000)
        client.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=[{"timestamp": stamp, "message": text}])

    return put


def test_all_of_it(backend: BraketBackend, start: Start) -> None:
    ref = start(hyper_parameters={**ENDS, "SANDBOX_LOG": "one\\ntwo ä"})
    ended(backend, ref)
    assert output(backend, ref) == "one\ntwo ä\n"
    assert backend.kept(ref, 100) == "one\ntwo ä\n".encode()
    assert backend.kept(ref, 5) == "o ä\n".encode()


def test_a_job_is_not_mixed_up_with_another_of_its_name(backend: BraketBackend, start: Start) -> None:
    refs = [start(f"job{number}", job_name="same", hyper_parameters={**ENDS, "SANDBOX_LOG": f"of {number}"}) for number in (1, 2)]
    for ref in refs:
        ended(backend, ref)
    assert [output(backend, ref) for ref in refs] == ["of 1\n", "of 2\n"]


@pytest.mark.parametrize(("tail", "text"), [(0, ""), (1, "line 4\n"), (3, "line 2\nline 3\nline 4\n"), (99, None)])
def test_the_end(backend: BraketBackend, start: Start, tail: int, text: str | None) -> None:
    whole = "".join(f"line {number}\n" for number in range(5))
    ref = start(hyper_parameters={**ENDS, "SANDBOX_LOG": whole.replace("\n", "\\n")})
    ended(backend, ref)
    assert output(backend, ref, tail=tail) == (whole if text is None else text)
    assert output(backend, ref, tail=tail, follow=True) == (whole if text is None else text)


def test_the_last_seconds(backend: BraketBackend, start: Start, print_line: Print) -> None:
    ref = start(hyper_parameters=RUNS)
    running(backend, ref)
    print_line(ref, "long ago", at=time.time() - 3000)
    print_line(ref, "lately", at=time.time() - 5)
    assert output(backend, ref, since=1000.0) in ("hello from the sandbox\nlately\n", "lately\nhello from the sandbox\n")


def test_nothing_was_ever_printed(backend: BraketBackend, start: Start) -> None:
    ref = start(hyper_parameters=WAITS)
    told: list[str] = []
    assert output(backend, ref) == ""
    assert backend.kept(ref, 100) == b""
    backend.cancel(ref, only_if_waiting=True)
    assert output(backend, ref, follow=True, tell=told.append) == ""
    assert told == ["there is no output yet"] * len(told) != []


def test_lines_come_while_it_runs(backend: BraketBackend, start: Start, print_line: Print, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters=RUNS)
    running(backend, ref)
    lines: Iterator[bytes] = backend.logs(ref, LogOptions(follow=True))
    assert next(lines) == b"hello from the sandbox\n"
    printer = threading.Timer(0.1, print_line, (ref, "more"))
    printer.start()
    assert next(lines) == b"more\n"
    printer.join()
    value: Any = ref.value
    with sandbox.world("braket").held():
        sandbox.world("braket").end(sandbox.world("braket").jobs[value["id"]])
    print_line(ref, "late")
    assert list(lines) == [b"late\n"], "lines that come after the end are waited for"


def test_several_instances(backend: BraketBackend, start: Start, print_line: Print) -> None:
    ref = start(hyper_parameters={**ENDS, "SANDBOX_LOG": "first"})
    ended(backend, ref)
    print_line(ref, "second", 2, at=time.time() + 1)
    lines = output(backend, ref).splitlines()
    assert [line.split("] ")[1] for line in lines] == ["first", "second"]
    assert [line.startswith(f"[algo-{number}-") for number, line in enumerate(lines, 1)] == [True, True]
    assert output(backend, ref, index=1).endswith("] second\n")
    assert output(backend, ref, tail=1).endswith("] second\n")
    kept = backend.kept(ref, 100).decode()
    assert kept.count("==> algo-") == 2
    assert "first\n" in kept
    assert "second\n" in kept
    with pytest.raises(BackendError, match="no instance 2"):
        output(backend, ref, index=2)


def test_many_lines_by_pages(backend: BraketBackend, start: Start) -> None:
    whole = "".join(f"line {number}\n" for number in range(12_000))
    ref = start(hyper_parameters={**ENDS, "SANDBOX_LOG": "x"})
    ended(backend, ref)
    logs = backend._logs
    events = [{"timestamp": number, "message": line} for number, line in enumerate(whole.splitlines())]
    asked: list[dict[str, Any]] = []

    def often(service: str, operation: str, **given: Any) -> dict[str, Json]:
        if operation != "get_log_events":
            return real(service, operation, **given)
        asked.append(given)
        size = min(given["limit"], 5000)
        if given["startFromHead"]:
            at = int(given.get("nextToken", "f/0")[2:])
            page = events[at : at + size]
            return {"events": page, "nextForwardToken": f"f/{at + len(page)}", "nextBackwardToken": f"b/{at}"}
        end = int(given.get("nextToken", f"b/{len(events)}")[2:])
        page = events[max(0, end - size) : end]
        return {"events": page, "nextForwardToken": f"f/{end}", "nextBackwardToken": f"b/{end - len(page)}"}

    real = logs._service.aws.often
    logs._service.aws.often = often  # type: ignore[method-assign]  # stands in for the method
    assert output(backend, ref) == whole
    assert output(backend, ref, tail=7000) == "".join(whole.splitlines(keepends=True)[-7000:])
    assert backend.kept(ref, 60_000) == whole.encode()[-60_000:]


@pytest.mark.parametrize(("options", "words"), [({"container": "x"}, "--container"), ({"previous": True}, "--previous")])
def test_options_that_have_no_meaning(backend: BraketBackend, start: Start, options: Any, words: str) -> None:
    with pytest.raises(BackendError, match=f"{words} has no meaning") as caught:
        output(backend, start(hyper_parameters=WAITS), **options)
    assert caught.value.detail


def test_logs_that_may_not_be_read(backend: BraketBackend, start: Start, sandbox: Sandbox, open_backend: Open) -> None:
    ref = start(hyper_parameters=WAITS)
    with pytest.raises(BackendError, match="cannot connect to logs"):
        output(open_backend({"AWS_ENDPOINT_URL_LOGS": "http://127.0.0.1:1"}), ref)
    sandbox.faults.set([Fault("braket", "GET", ".*", times=9, status=403)])
    with pytest.raises(BackendError, match="may not do that"):
        output(backend, ref)


@pytest.mark.parametrize("odd", [
    {}, {"events": None}, {"events": {}}, {"events": [None, 1, {}, {"message": 5}, {"message": "x", "timestamp": "y"}]},
    {"events": [], "nextForwardToken": 7, "nextBackwardToken": []},
])
def test_odd_pages(backend: BraketBackend, start: Start, odd: Any) -> None:
    ref = start(hyper_parameters=ENDS)
    ended(backend, ref)
    real = backend._logs._service.aws.often
    backend._logs._service.aws.often = lambda service, operation, **given: (  # type: ignore[method-assign]  # stands in for the method
        odd if operation == "get_log_events" else real(service, operation, **given)
    )
    assert output(backend, ref) in ("", "x\n")
    assert output(backend, ref, tail=3) in ("", "x\n")
    assert backend.kept(ref, 10) in (b"", b"x\n")


def stand_in(backend: BraketBackend, monkeypatch: pytest.MonkeyPatch, page: Callable[..., dict[str, Json]]) -> None:
    """CloudWatch answers as `page(operation, **parameters)` says."""
    aws = backend._logs._service.aws
    real = aws.often
    monkeypatch.setattr(
        aws, "often", lambda service, operation, **given: (
            page(operation, **given) if service == "logs" else real(service, operation, **given)
        ),
    )


@pytest.mark.parametrize("fresh", [False, True], ids=["in circles", "ever new"])
@pytest.mark.parametrize("operation", ["describe_log_streams", "get_log_events"])
def test_pages_without_end_are_left(
    backend: BraketBackend, start: Start, monkeypatch: pytest.MonkeyPatch, operation: str, fresh: bool,
) -> None:
    ref, count = start(hyper_parameters=ENDS), [0]
    ended(backend, ref)

    def page(asked: str, **given: Any) -> dict[str, Json]:
        count[0] += 1
        token = str(count[0] if fresh else count[0] % 2)
        if asked == "describe_log_streams":
            streams: list[Json] = [{"logStreamName": f"{given['logStreamNamePrefix']}/algo-1"}]
            return {"logStreams": [], "nextToken": token} if operation == asked else {"logStreams": streams}
        return {"events": [], "nextForwardToken": token, "nextBackwardToken": token}

    stand_in(backend, monkeypatch, page)
    for ask in (lambda: output(backend, ref), lambda: output(backend, ref, tail=5), lambda: backend.kept(ref, 100)):
        with pytest.raises(BackendError, match="has no end"):
            ask()


def test_streams_in_the_order_of_their_numbers_and_whatever_stands_behind_the_job(
    backend: BraketBackend, start: Start, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How a stream's name goes on after the job's is documented nowhere."""
    ref = start(hyper_parameters=ENDS)
    ended(backend, ref)
    ends = ["/algo-10", "/algo-1", "/algo-2", "-algo-3", "x/algo-1", ""]

    def page(operation: str, **given: Any) -> dict[str, Json]:
        if operation == "describe_log_streams":
            return {"logStreams": [{"logStreamName": f"{given['logStreamNamePrefix']}{end}"} for end in ends]}
        name = given["logStreamName"].rpartition("/")[2]
        return {"events": [{"message": f"of {name}", "timestamp": 1}], "nextForwardToken": "f", "nextBackwardToken": "b"}

    stand_in(backend, monkeypatch, page)
    seen = [output(backend, ref, index=index).rpartition("algo-")[2].strip() for index in range(2, 5)]
    assert seen == ["1", "2", "10"]
    with pytest.raises(BackendError, match="no instance 5"):
        output(backend, ref, index=5)


def test_a_line_that_is_no_text_is_shown_all_the_same(
    backend: BraketBackend, start: Start, monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = start(hyper_parameters=ENDS)
    ended(backend, ref)

    def page(operation: str, **given: Any) -> dict[str, Json]:
        if operation == "describe_log_streams":
            return {"logStreams": [{"logStreamName": given["logStreamNamePrefix"]}]}
        event: Json = {"message": "half a \ud83d pair\n", "timestamp": 1}
        return {"events": [] if "nextToken" in given else [event], "nextForwardToken": "end", "nextBackwardToken": "end"}

    stand_in(backend, monkeypatch, page)
    assert output(backend, ref) == "half a ? pair\n"
    assert backend.kept(ref, 7) == b"? pair\n"


def test_the_variable_that_aws_has_for_cloudwatch(backend: BraketBackend, start: Start, open_backend: Open) -> None:
    ref = start(hyper_parameters=ENDS)
    environ = {"AWS_ENDPOINT_URL_LOGS": "", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    with pytest.raises(BackendError, match="cannot connect to logs") as caught:
        output(open_backend({**environ, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://127.0.0.1:2"}), ref)
    assert "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS" in caught.value.detail
