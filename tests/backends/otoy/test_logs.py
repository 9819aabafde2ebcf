"""The output of a job's runs."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobform.backends.otoy.backend import Otoy
from jobform.backends.otoy.logs import Output
from jobform.backends.remote import Seen
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Backend, LogOptions, LogSource, Ref
from jobform.sandbox.host import Sandbox
from jobform.sandbox.world import Job
from tests.backends.otoy.conftest import FOREVER, SERVER, Start
from tests.sandboxed import Answer, QuickClock


def source(backend: Backend) -> LogSource:
    assert isinstance(backend, LogSource)
    return backend


def reach(sandbox: Sandbox, ref: Ref, state: str) -> Job:
    """The job, once it is in a state."""
    value = ref.value
    assert isinstance(value, dict)
    world = sandbox.world("otoy")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with world.held():
            job = world.jobs[str(value["id"])]
            if job.state.value == state:
                return job
        time.sleep(0.01)
    raise AssertionError(f"it is {job.state}")


def test_the_output_of_one_run_is_as_it_was_printed(backend: Backend, start: Start, sandbox: Sandbox) -> None:
    ref = start(env={"SANDBOX_LOG": "one\ntwo"})
    reach(sandbox, ref, "succeeded")
    assert b"".join(source(backend).logs(ref, LogOptions())) == b"one\ntwo"
    assert source(backend).kept(ref, 100) == b"one\ntwo"


def test_only_the_end_is_kept(backend: Backend, start: Start, sandbox: Sandbox) -> None:
    ref = start(env={"SANDBOX_LOG": "x" * 1000 + "end\n"})
    reach(sandbox, ref, "succeeded")
    assert source(backend).kept(ref, 5) == b"xend\n"


def test_a_job_without_a_run_says_why(backend: Backend, start: Start) -> None:
    told: list[str] = []
    ref = start(env={"SANDBOX_QUEUED": "inf"}, assign_timeout="100h")
    assert list(source(backend).logs(ref, LogOptions(tell=told.append))) == []
    assert told == ["no run of this job has begun: waiting for a node"]
    assert source(backend).kept(ref, 100) == b""


def test_every_run_has_its_number(backend: Backend, start: Start, sandbox: Sandbox) -> None:
    ref = start(retries=1, max_node_count=2, env={"SANDBOX_LOG": "a\nb", "SANDBOX_EXIT": "3"})
    reach(sandbox, ref, "failed")
    lines = b"".join(source(backend).logs(ref, LogOptions())).decode().splitlines()
    assert lines == [f"[run {n}] {text}" for n in range(4) for text in "ab"]
    assert b"".join(source(backend).logs(ref, LogOptions(index=3))) == b"a\nb"
    assert source(backend).kept(ref, 100).decode().splitlines() == lines
    with pytest.raises(BackendError, match="no run 4"):
        list(source(backend).logs(ref, LogOptions(index=4)))


def test_the_last_lines_of_every_run(backend: Backend, start: Start, sandbox: Sandbox) -> None:
    ref = start(max_node_count=2, env={"SANDBOX_LOG": "a\nb\nc\n"})
    reach(sandbox, ref, "succeeded")
    assert b"".join(source(backend).logs(ref, LogOptions(tail=1))) == b"[run 0] c\n[run 1] c\n"
    assert b"".join(source(backend).logs(ref, LogOptions(tail=0))) == b""
    assert b"".join(source(backend).logs(ref, LogOptions(tail=9, index=0))) == b"a\nb\nc\n"


@pytest.mark.parametrize(("options", "flag"), [
    (LogOptions(container="main"), "--container"), (LogOptions(previous=True), "--previous"), (LogOptions(since=5.0), "--since"),
])
def test_options_without_meaning_are_refused(backend: Backend, start: Start, options: LogOptions, flag: str) -> None:
    with pytest.raises(BackendError, match=flag) as caught:
        list(source(backend).logs(start(), options))
    assert caught.value.detail


def test_where_a_server_answers_is_told(backend: Backend, start: Start, sandbox: Sandbox) -> None:
    told: list[str] = []
    ref = start(base=SERVER, ports=[22, 8000], env=dict(FOREVER))
    reach(sandbox, ref, "running")
    list(source(backend).logs(ref, LogOptions(tell=told.append)))
    assert told == [
        "run 0 answers at tcp://node.sandbox.invalid:30000 (ssh)", "run 0 answers at http://node.sandbox.invalid:30001 (8000)",
    ]


# --- following --------------------------------------------------------------------------------------------------------


def test_to_follow_prints_only_what_is_new_until_the_end(service: Otoy, start: Start, sandbox: Sandbox) -> None:
    ref = start(env={**FOREVER, "SANDBOX_LOG": "begin\n"})
    job = reach(sandbox, ref, "running")
    world = sandbox.world("otoy")
    more = iter(["half a ", "line\n", "last"])

    class Playing(QuickClock):
        """Between two looks the job prints on, and ends at last."""

        def sleep(self, seconds: float) -> None:
            with world.held():
                text = next(more, None)
                if text is None:
                    world.end(job)
                else:
                    job.output.append((0.0, text))

    chunks = list(Output(service, job.id, Playing()).lines(LogOptions(follow=True)))
    assert chunks == [b"begin\n", b"half a ", b"line\n", b"last"]


class Retried:
    """A job whose first try has failed, and whose second one is looked at some times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.read: list[str] = []

    def one(self, _id: str) -> Seen:
        self.looks -= 1
        return Seen("job", "", Actual(Phase.RUNNING if self.looks else Phase.SUCCEEDED))

    def runs(self, _id: str) -> list[Any]:
        return [
            {"uuid": "first", "started_at_ms": 1, "status": "FAILED"},
            {"uuid": "second", "started_at_ms": 10**400, "status": "RUNNING" if self.looks else "COMPLETED"},
        ]

    def run(self, name: str) -> Any:
        self.read.append(name)
        late = " late\n" if name == "first" and not self.looks else ""
        return {"logs": f"{name}\n{late}"}


def test_a_try_that_is_over_is_read_again_only_at_the_end() -> None:
    retried = Retried(looks=10)
    lines = b"".join(Output(retried, "job", QuickClock()).lines(LogOptions(follow=True)))
    assert lines == b"[run 0] first\n[run 1] second\n[run 0]  late\n"
    assert (retried.read.count("first"), retried.read.count("second")) == (2, 10)


class Scripted:
    """The calls of a service that answers one step of a script for each look."""

    def __init__(self, service: Otoy, steps: list[list[str]]) -> None:
        self._service, self._steps, self._at = service, steps, -1

    def one(self, _id: str) -> Seen:
        self._at = min(self._at + 1, len(self._steps) - 1)
        return Seen("job", "", Actual(Phase.SUCCEEDED if self._at == len(self._steps) - 1 else Phase.RUNNING))

    def runs(self, _id: str) -> list[Any]:
        return [{"uuid": f"r{n}", "started_at_ms": n} for n in range(len(self._steps[self._at]))]

    def run(self, name: str) -> Any:
        return {"logs": self._steps[self._at][int(name[1:])]}


@pytest.fixture
def follow(service: Otoy) -> Callable[..., str]:
    def printed(*steps: list[str], told: list[str] | None = None, **options: Any) -> str:
        tell = told.append if told is not None else lambda _text: None
        output = Output(Scripted(service, list(steps)), "job", QuickClock())
        return b"".join(output.lines(LogOptions(follow=True, tell=tell, **options))).decode()

    return printed


def test_a_retry_that_begins_later_has_its_number(follow: Any) -> None:
    assert follow([""], ["a\n"], ["a\nb\n", "c"], ["a\nb\n", "c\nd"]) == "a\n[run 0] b\n[run 1] c\n[run 1] d\n"


def test_a_log_whose_beginning_is_cut_goes_on(follow: Any) -> None:
    text = "".join(f"line {n}\n" for n in range(2000))
    assert follow([text], [text[5000:] + "new\n"], [text[9000:] + "new\nend\n"]) == f"{text}new\nend\n"


def test_another_log_is_shown_whole_and_said(follow: Any) -> None:
    told: list[str] = []
    assert follow(["aaa\n"], ["bbb\n"], told=told) == "aaa\nbbb\n"
    assert "another output of r0" in told[0]


def test_the_last_lines_are_chosen_once(follow: Any) -> None:
    assert follow(["a\nb\nc\n"], ["a\nb\nc\nd\ne\n"], tail=1) == "c\nd\ne\n"


# --- odd answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["[]", "null", '{"logs": 5}', '{"logs": ["a"]}', "5", "<html>"])
def test_what_is_no_run_is_an_error(backend: Backend, start: Start, sandbox: Sandbox, answer: Answer, body: str) -> None:
    ref = start(env={"SANDBOX_LOG": "x"})
    reach(sandbox, ref, "succeeded")
    answer("GET", "/v1/job-runs/.*", body)
    with pytest.raises(BackendError):
        list(source(backend).logs(ref, LogOptions()))
    with pytest.raises(BackendError):
        source(backend).kept(ref, 100)


@pytest.mark.parametrize("runs", [[5], [{}], [{"uuid": 5}], [{"uuid": ""}], [None], {"a": 1}])
def test_what_is_no_list_of_runs_is_an_error(service: Otoy, runs: Json) -> None:
    class Odd(Scripted):
        def runs(self, _id: str) -> list[Any]:
            return [run if isinstance(run, dict) else {} for run in runs] if isinstance(runs, list) else [runs]

    with pytest.raises(BackendError):
        list(Output(Odd(service, [["a"]]), "job", SystemClock()).lines(LogOptions()))


@pytest.mark.parametrize("urls", [None, 5, [5], [{}], [{"hostname": 5, "port": {}}], [{"hostname": "h\x1b[0m", "port": 1}]])
def test_odd_addresses_are_harmless(service: Otoy, urls: Json) -> None:
    class Odd(Scripted):
        def runs(self, _id: str) -> list[Any]:
            return [{"uuid": "r0", "status": "RUNNING", "node_urls": urls, "started_at_ms": "soon"}]

    told: list[str] = []
    output: Iterator[bytes] = Output(Odd(service, [["a"]]), "job", SystemClock()).lines(LogOptions(tell=told.append))
    assert b"".join(output) == b"a"
    assert all(text.isprintable() for text in told)


def test_text_that_is_no_unicode_is_shown(service: Otoy) -> None:
    assert b"".join(Output(Scripted(service, [["a\ud800b"]]), "job", SystemClock()).lines(LogOptions())) == b"a?b"
