"""The calls of the service: what is sent, what its words mean, and what follows when it says no, or something odd."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.remote import id_of
from jobform.backends.unstructured import TYPE
from jobform.backends.unstructured.backend import UnknownJobError, UnstructuredBackend
from jobform.backends.unstructured.wire import explain, named, runtime_of, seen_of
from jobform.clients.gate import Pace
from jobform.clients.keys import Key
from jobform.clients.rest.client import RestError
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.model.state import Op, Phase
from jobform.model.values import Json
from jobform.protocols import Absent, Actual, Intended, LogOptions, Place, ReadError, Ref, Submission, Unknown, no_effect
from jobform.sandbox.faults import HTML
from jobform.sandbox.host import Sandbox
from jobform.testing.backend_fixtures import read_one
from jobform.testing.clock import ManualClock
from jobform.testing.marks import make_mark
from tests.backends.unstructured.conftest import JOBS, Start, nodes, opened
from tests.backends.unstructured.multipart import Sent, parts_of
from tests.entry import LaterClock
from tests.sandboxed import Answer

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
JOB: dict[str, Json] = {
    "id": "5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11", "workflow_id": "0a0f8a52-0d3c-4f5e-8a39-9a4a4a3d3c11",
    "workflow_name": "job-5b4d6c1e", "status": "SCHEDULED", "created_at": "2030-01-01T10:00:00Z", "runtime": None,
    "input_file_ids": ["a.txt"], "output_node_files": None, "job_type": "ephemeral",
}

Make = Callable[..., Submission]


# --- what is sent -----------------------------------------------------------------------------------------------------


def posted(sandbox: Sandbox) -> tuple[Any, list[Sent]]:
    (call,) = [call for call in sandbox.servers["unstructured"].calls if call.method == "POST"]
    text, files = parts_of(call)
    return json.loads(text), files


def test_a_template_with_files(sandbox: Sandbox, start: Start) -> None:
    binary = bytes(range(256)) + b"\r\n--x\r\n"
    given = {"docs/a.pdf": binary, "docs/größe \"x\".md": "# hi", "raw.zzz": "", "z.tar.gz": "z"}
    start(template_id="hi_res_partition", files=given)
    data, files = posted(sandbox)
    assert data == {"template_id": "hi_res_partition"}
    assert [(file.part, file.kind, file.data) for file in files] == [
        ("input_files", "application/pdf", binary), ("input_files", "text/markdown", b"# hi"),
        ("input_files", "application/octet-stream", b""), ("input_files", "application/octet-stream", b"z"),
    ]
    assert [file.name for file in files] == ["a.pdf", "größe %22x%22.md", "raw.zzz", "z.tar.gz"]


def test_nodes_go_as_they_are_written(sandbox: Sandbox, start: Start) -> None:
    chain: list[Json] = [
        {"name": "P", "type": "partition", "subtype": "vlm", "settings": {"is_dynamic": True, "deep": {"a": [1, None]}},
         "id": "5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11"},
        {"name": "E", "type": "embed", "subtype": "azure_openai", "settings": None},
    ]
    start(job_nodes=chain, download_to="out")
    assert posted(sandbox) == ({"job_nodes": chain}, [])


def test_the_key_and_the_address_come_from_the_environment(sandbox: Sandbox, tmp_path: Path) -> None:
    url, key = sandbox.variables["UNSTRUCTURED_API_URL"], sandbox.variables["UNSTRUCTURED_API_KEY"]
    (tmp_path / "key").write_text(f"{key}\n")
    for environ, settings in (
        ({"UNSTRUCTURED_API_URL": f"{url}/api/v1/", "UNSTRUCTURED_API_KEY": key}, {}),
        ({"UNSTRUCTURED_API_KEY_FILE": str(tmp_path / "key")}, {"url": f"{url}/api/v1"}),
    ):
        place = Place(tmp_path, ManualClock(), no_effect, environ)
        scope = TYPE.open(BackendBlock("docs", "unstructured", dict(settings)), place).scope()
        host, fingerprint = url.removeprefix("http://"), Key(key, "").fingerprint
        assert json.loads(scope.text) == {"unstructured": {"host": host}, "key": {"fingerprint": fingerprint}}
        assert scope.described.startswith("the account of ")
        assert "UNSTRUCTURED_API_KEY" in scope.source
    asked = [call for call in sandbox.servers["unstructured"].calls if call.method == "GET"]
    assert {(call.path, tuple(call.query)) for call in asked} == {(JOBS, (("status", "SCHEDULED"),))}


@pytest.mark.parametrize(("environ", "summary"), [
    ({}, "there is no key for Unstructured"), ({"UNSTRUCTURED_API_KEY": "wrong"}, "127.0.0.1 does not accept the credentials"),
    ({"UNSTRUCTURED_API_KEY_FILE": "/nowhere/key"}, "the file that UNSTRUCTURED_API_KEY_FILE names cannot be read"),
])
def test_a_wrong_key_is_one_error_that_names_its_source(
    sandbox: Sandbox, tmp_path: Path, environ: dict[str, str], summary: str,
) -> None:
    url = {"UNSTRUCTURED_API_URL": sandbox.variables["UNSTRUCTURED_API_URL"]}
    backend = TYPE.open(BackendBlock("docs", "unstructured", {}), Place(tmp_path, ManualClock(), no_effect, {**url, **environ}))
    with pytest.raises(BackendError) as caught:
        backend.scope()
    assert caught.value.summary.startswith(summary)
    assert "UNSTRUCTURED_API_KEY" in caught.value.summary + caught.value.detail
    assert not caught.value.retryable


def test_a_key_goes_only_where_it_may(tmp_path: Path) -> None:
    place = Place(tmp_path, ManualClock(), no_effect, {"UNSTRUCTURED_API_KEY": "k" * 20})
    with pytest.raises(BackendError, match=r"credentials are not sent to evil\.example"):
        TYPE.open(BackendBlock("docs", "unstructured", {"url": "https://evil.example/api/v1"}), place).scope()


def test_creates_are_paced(backend: UnstructuredBackend, submission: Make) -> None:
    clock = ManualClock()
    backend._jobs._pace = Pace(clock, 1.0)
    for number in range(4):
        backend.submit(submission(f"job{number}"), make_mark(f"job{number}"))
    assert clock.monotonic() == pytest.approx(3.0)


# --- files ------------------------------------------------------------------------------------------------------------


def test_only_the_accepted_content_is_sent(
    sandbox: Sandbox, backend: UnstructuredBackend, submission: Make, tmp_path: Path,
) -> None:
    wanted = submission(files={"a.txt": "one"})
    (tmp_path / "a.txt").write_text("two")
    for given in (wanted, replace(wanted, inputs={})):
        with pytest.raises(BackendError) as caught:
            backend.submit(given, make_mark("job"))
        assert not caught.value.retryable
        assert not caught.value.ambiguous
    assert list(sandbox.ledger.entries("request")) == []


@pytest.mark.parametrize(("files", "settings", "summary", "detail"), [
    ({"a.txt": "12345"}, {"max_file_bytes": 4}, "'a.txt' is larger than 4 bytes", "max_file_bytes of the backend is 4 bytes"),
    ({"a/x.pdf": "1", "b/x.pdf": "2"}, {}, "two input files have one name", "a/x.pdf and b/x.pdf: "),
])
def test_files_that_cannot_be_sent_are_refused_by_the_plan(
    sandbox: Sandbox, tmp_path: Path, submission: Make, files: Any, settings: Any, summary: str, detail: str,
) -> None:
    backend, wanted = opened(sandbox, tmp_path, **settings), submission(files=files)
    forecast = backend.preflight([Intended(Op.SUBMIT, wanted, make_mark("job"))], 1)["job"]
    assert (forecast.verdict, forecast.path, forecast.summary) == ("refused", ("input_files",), summary)
    assert forecast.detail.startswith(detail)
    with pytest.raises(BackendError, match=summary):
        backend.submit(wanted, make_mark("job"))
    assert list(sandbox.ledger.entries("request")) == []


def test_a_template_that_is_not_listed_is_told_by_the_plan(
    backend: UnstructuredBackend, submission: Make, answer: Answer,
) -> None:
    def asked(template: str) -> tuple[str, tuple[str, ...]]:
        given = [Intended(Op.SUBMIT, submission("job", template_id=template), make_mark("job"))]
        forecast = backend.preflight(given, 1)["job"]
        return forecast.verdict, forecast.warnings

    assert asked("hi_res_partition") == ("ok", ())
    verdict, (warning,) = asked("hi_rez")
    assert verdict == "ok"
    assert warning == "the service lists no template 'hi_rez'; it lists hi_res_and_enrichment, hi_res_partition"
    answer("GET", "/api/v1/templates/", "{}", status=403)
    verdict, (warning,) = asked("hi_rez")
    assert warning.startswith("whether the template exists could not be asked")


# --- what its words mean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("job", "phase", "started", "ended"), [
    ({"status": "SCHEDULED"}, Phase.PENDING, None, None),
    ({"status": "IN_PROGRESS"}, Phase.RUNNING, "10:00:00", None),
    ({"status": "COMPLETED", "runtime": "PT1H5M30S"}, Phase.SUCCEEDED, "10:00:00", "11:05:30"),
    ({"status": "COMPLETED", "runtime": None}, Phase.SUCCEEDED, "10:00:00", "12:00:00"),
    ({"status": "COMPLETED", "runtime": "P1D"}, Phase.SUCCEEDED, "10:00:00", "12:00:00"),
    ({"status": "COMPLETED", "runtime": "long"}, Phase.SUCCEEDED, "10:00:00", "12:00:00"),
    ({"status": "COMPLETED", "runtime": {"s": 1}}, Phase.SUCCEEDED, "10:00:00", "12:00:00"),
    ({"status": "FAILED", "runtime": "PT1.5S"}, Phase.FAILED, "10:00:00", "10:00:01.5"),
    ({"status": "STOPPED"}, Phase.CANCELLED, None, "12:00:00"),
    ({"status": "STOPPED", "runtime": "PT1M"}, Phase.CANCELLED, "10:00:00", "10:01:00"),
    ({"status": "PAUSED"}, Phase.RUNNING, "10:00:00", None),
])
def test_every_state(job: dict[str, Json], phase: Phase, started: str | None, ended: str | None) -> None:
    seen = seen_of({**JOB, **job}, NOW)
    actual = seen.actual

    def at(text: str | None) -> datetime | None:
        return datetime.fromisoformat(f"2030-01-01T{text}+00:00") if text else None

    found = [datetime.fromisoformat(text) if text else None for text in (actual.started_at, actual.ended_at)]
    assert (actual.phase, found) == (phase, [at(started), at(ended)])
    assert actual.class_ == ("user_error" if phase is Phase.FAILED else None)
    assert bool(actual.warnings) == (job["status"] == "PAUSED")
    assert (seen.id, seen.mark, seen.name, seen.whole) == (JOB["id"], "", "job-5b4d6c1e", phase is not Phase.FAILED)
    assert actual.fields == {}, "nothing of a spec is ever shown"


def test_a_clock_that_differs_never_ends_a_run_before_it_began() -> None:
    seen = seen_of({**JOB, "status": "COMPLETED", "created_at": "2030-01-01T12:30:00Z", "runtime": "PT1S"}, NOW)
    assert seen.actual.started_at == seen.actual.ended_at


@pytest.mark.parametrize(("text", "seconds"), [
    ("PT0S", 0), ("PT1M2.5S", 62.5), ("P2DT3H", 2 * 86400 + 3 * 3600), ("P", None), ("PT", None), ("-PT1S", None), (7, None),
    ("PT99999999999S", None), ("P1M", None),
])
def test_durations(text: Json, seconds: float | None) -> None:
    assert runtime_of(text) == (timedelta(seconds=seconds) if seconds is not None else None)


def test_why_a_job_failed(start: Start, ended: Callable[[Ref], Actual], backend: UnstructuredBackend, answer: Answer) -> None:
    ref = start(files={"a.txt": "x"}, job_nodes=nodes(SANDBOX_EXIT=3))
    assert (ended(ref).phase, ended(ref).native_reason) == (Phase.FAILED, "the sandbox ended it with 3")
    answer("GET", ".*/details", '{"processing_status": "FAILED", "node_stats": [{"failure": 1}]}')
    assert ended(ref).native_reason == "a.txt: as asked"
    answer("GET", ".*/failed-files", "[]")
    assert ended(ref).native_reason.startswith("FAILED; why cannot be read: ")


@pytest.mark.parametrize(("ids", "paths", "expected"), [
    (["b.txt", "a.txt"], ["x/a.txt", "y/b.txt"], ["y/b.txt", "x/a.txt"]),
    (["upload-a-0", "upload-b-1"], ["x/a.txt", "y/b.txt"], ["x/a.txt", "y/b.txt"]),
    (["b.txt-0f3c.json", "a.txt-77aa.json"], ["x/a.txt", "y/b.txt"], ["y/b.txt", "x/a.txt"]),
    (["aa.txt-1", "a.txt-2"], ["a.txt", "aa.txt"], ["aa.txt", "a.txt"]),
    (["aa.txt-1", "x-2"], ["a.txt", "b.txt"], ["a.txt", "b.txt"]),
    (["upload-a-0"], ["x/a.txt", "y/b.txt"], [""]), (["a.txt", "?"], ["x/a.txt"], ["x/a.txt", ""]), ([], ["x/a.txt"], []),
])
def test_which_file_an_id_is_of(ids: list[str], paths: list[str], expected: list[str]) -> None:
    assert [path for _, path in named(ids, paths)] == expected


@pytest.mark.parametrize(("body", "message"), [
    ({"detail": "Job not found"}, "Job not found"),
    ({"detail": [{"loc": ["body", "request_data"], "msg": "Field required", "type": "missing"}, {"msg": "also"}, 7]},
     "body.request_data: Field required; also"),
    ({"detail": {"a": 1}}, ""), ({"detail": [{"loc": 7, "msg": {}}]}, ""), ([], ""), (None, ""), ("x", ""),
])
def test_what_errors_say(body: Json, message: str) -> None:
    assert explain(body) == ("", message)


# --- when it says no, or something odd --------------------------------------------------------------------------------


def test_a_job_that_is_not_known_is_never_gone(start: Start, backend: UnstructuredBackend, answer: Answer) -> None:
    ref = start()
    answer("GET", f"{JOBS}[0-9a-f-]+", '{"detail": "Job not found"}', status=404)
    found = read_one(backend, ref)
    assert isinstance(found, ReadError), "another account's key must not make live jobs look lost"
    assert not found.retryable
    assert "probably one of another account" in found.detail
    with pytest.raises(UnknownJobError):
        backend.cancel(ref, only_if_waiting=False)
    backend.delete(ref)
    assert backend.lookup(id_of(ref)) is None


def test_a_page_of_a_proxy_with_status_404_says_nothing(start: Start, backend: UnstructuredBackend, answer: Answer) -> None:
    ref = start()
    answer("GET", f"{JOBS}[0-9a-f-]+", HTML, status=404, kind="text/html")
    assert isinstance(read_one(backend, ref), ReadError)
    for look in (lambda: backend.lookup(id_of(ref)), lambda: backend.delete(ref)):
        with pytest.raises(RestError):
            look()


def test_a_reference_that_is_no_uuid_is_an_error(backend: UnstructuredBackend) -> None:
    found = read_one(backend, Ref.of("../../etc"))
    assert isinstance(found, ReadError)
    assert "job_id" in found.summary


@pytest.mark.parametrize("body", [
    "[]", "7", "null", '{"id": 7}', '{"id": "x"}', json.dumps({**JOB, "id": "../x"}), json.dumps({**JOB, "status": None}),
    json.dumps({**JOB, "status": ["COMPLETED"]}), json.dumps({**JOB, "created_at": "yesterday"}),
    json.dumps({**JOB, "created_at": 7}), json.dumps({**JOB, "created_at": "9999-12-31T23:59:59-23:59"}),
    "[" * 100_000, "\x00", "",
])
def test_hostile_answers_are_errors_and_nothing_else(
    start: Start, backend: UnstructuredBackend, submission: Make, answer: Answer, body: str,
) -> None:
    ref = start()
    answer("GET", f"{JOBS}[0-9a-f-]+", body)
    answer("GET", f"{JOBS}.*", body)
    answer("POST", JOBS, body)
    assert isinstance(read_one(backend, ref), ReadError)
    if body != "[]":
        with pytest.raises(BackendError):
            backend.scope()
        with pytest.raises(BackendError):
            backend.find([make_mark("job")])
    with pytest.raises(BackendError) as caught:
        backend.submit(submission(), make_mark("job"))
    assert caught.value.ambiguous, "something was made, perhaps"
    with pytest.raises(BackendError):
        list(backend.logs(ref, LogOptions()))
    with pytest.raises(BackendError):
        backend.collect(ref, {}, Actual(Phase.SUCCEEDED))


@pytest.mark.parametrize("created", ["0001-01-02T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"])
def test_times_that_cannot_be_are_none(created: str) -> None:
    seen = seen_of({**JOB, "status": "COMPLETED", "created_at": created, "runtime": "PT5S"}, NOW)
    assert (seen.created, seen.actual.started_at) == (None, None)


def test_a_login_page_is_no_answer(start: Start, backend: UnstructuredBackend, answer: Answer) -> None:
    ref = start()
    answer("GET", ".*", HTML, kind="text/html")
    found = read_one(backend, ref)
    assert isinstance(found, ReadError)
    assert "text/html" in found.detail


def test_a_stop_that_comes_too_late_is_quiet(
    start: Start, backend: UnstructuredBackend, answer: Answer, sandbox: Sandbox,
) -> None:
    ref = start()
    answer("POST", ".*/cancel", '{"detail": "Job has ended"}', status=409)
    with pytest.raises(RestError):
        backend.cancel(ref, only_if_waiting=False)
    service = backend._jobs
    with sandbox.world("unstructured").held():
        sandbox.world("unstructured").end(sandbox.world("unstructured").jobs[id_of(ref)])
    service.cancel(id_of(ref))


@pytest.mark.parametrize("body", ['"ok"', "7", "null", "", "[]"])
def test_what_a_stop_answers_does_not_matter(
    start: Start, backend: UnstructuredBackend, answer: Answer, sandbox: Sandbox, body: str,
) -> None:
    ref = start()
    answer("POST", ".*/cancel", body)
    backend.cancel(ref, only_if_waiting=False)
    asked = [call.path for call in sandbox.servers["unstructured"].calls if call.method == "POST"]
    assert asked == [JOBS, f"{JOBS}{id_of(ref)}/cancel"]


# --- after a crash ----------------------------------------------------------------------------------------------------


def test_absence_is_certain_only_where_no_job_was_made_at_all(start: Start, backend: UnstructuredBackend) -> None:
    mark = make_mark("job")
    assert backend.find([mark]) == {mark: Absent()}
    ref = start("other")
    answer = backend.find([mark])[mark]
    assert isinstance(answer, Unknown)
    assert id_of(ref) in answer.reason
    later = make_mark("job", begun_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    answer = backend.find([later])[later]
    assert isinstance(answer, Unknown)
    assert "its absence is certain from" in answer.reason, "what was made long before is another job"


@pytest.mark.parametrize(("hours", "said"), [(2, "min ahead of that of 127.0.0.1"), (-2, "min behind that of 127.0.0.1")])
def test_a_clock_that_is_off_makes_no_job_and_believes_no_absence(
    sandbox: Sandbox, submission: Make, tmp_path: Path, hours: int, said: str,
) -> None:
    """When it is set right, a job that was made by then would seem to be older, or younger, than its own submission."""
    place = Place(tmp_path, LaterClock(timedelta(hours=hours)), no_effect, sandbox.variables)
    backend = TYPE.open(BackendBlock("docs", "unstructured", {}), place)
    backend.scope()
    with pytest.raises(BackendError, match=said) as caught:
        backend.submit(submission(), make_mark("job"))
    assert not caught.value.ambiguous
    assert not sandbox.world("unstructured").jobs
    answer = backend.find([mark := make_mark("job")])[mark]
    assert isinstance(answer, Unknown)
    assert said in answer.reason


# --- logs -------------------------------------------------------------------------------------------------------------


def lines(backend: UnstructuredBackend, ref: Ref, **options: Any) -> list[str]:
    return b"".join(backend.logs(ref, LogOptions(**options))).decode().splitlines()


def test_progress_is_what_there_is_to_see(start: Start, backend: UnstructuredBackend, ended: Callable[[Ref], Actual]) -> None:
    ref = start(files={"a.txt": "x", "b.txt": "y"}, job_nodes=nodes(SANDBOX_FAILED_FILES="b.txt"))
    ended(ref)
    shown = [
        "job COMPLETED (COMPLETED_WITH_ERRORS)",
        "node Partitioner (partition/unstructured_api): 0 ready, 0 in progress, 1 done, 1 failed", "failed b.txt: as asked",
    ]
    assert lines(backend, ref) == lines(backend, ref, follow=True) == shown
    assert lines(backend, ref, tail=1) == shown[-1:]
    assert lines(backend, ref, tail=0) == []
    assert backend.kept(ref, 1000).decode().splitlines() == shown
    assert backend.kept(ref, 9) == b" as asked\n"[-9:]


def test_following_shows_what_changes_until_the_end(start: Start, backend: UnstructuredBackend, sandbox: Sandbox) -> None:
    ref = start(files={"a.txt": "x"})
    shown = backend.logs(ref, LogOptions(follow=True))
    assert next(shown) == b"job IN_PROGRESS\n"
    world = sandbox.world("unstructured")
    with world.held():
        world.end(world.jobs[id_of(ref)])
    found = b"".join(shown).decode().splitlines()
    assert [line for line in found if line.startswith("job ")] == ["job COMPLETED (SUCCESS)"]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("option", [{"index": 1}, {"container": "x"}, {"previous": True}, {"since": 5.0}])
def test_options_without_a_meaning_are_refused(start: Start, backend: UnstructuredBackend, option: Any) -> None:
    with pytest.raises(BackendError, match="has no meaning for a job on an unstructured backend"):
        lines(backend, start(), **option)
