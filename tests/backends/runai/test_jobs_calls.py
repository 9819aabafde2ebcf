"""The job API: what is read, how jobs are stopped and removed, and answers that cannot be trusted."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobform.model.errors import BackendError, Started
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import (
    Absent,
    Actual,
    Comparing,
    Difference,
    Found,
    Gone,
    Importing,
    Lister,
    LogOptions,
    LogSource,
    ReadError,
    Ref,
    Unknown,
)
from jobform.sandbox.faults import HTML, Fault, Then
from tests.backends.runai.conftest import JOBS, WAITS, Desk, mark, submission, until
from tests.backends.runai.test_jobs import ONE, forget, listed, read, stranger

# --- reading ----------------------------------------------------------------------------------------------------------


def test_one_unreadable_job_of_a_list_hides_no_other(desk: Desk) -> None:
    backend = desk.backend()
    refs = [backend.submit(submission(), mark(number)) for number in range(1, 11)]
    views = listed(desk)
    views[0] = {**views[0], "createdAt": "yesterday"}
    broken = views[0]["name"]
    desk.answer("GET", "/api/v1/jobs/team-a", {"data": views})
    for call in (lambda: list(backend.list()), lambda: backend.lookup(broken)):
        with pytest.raises(BackendError, match=f"what the service says of {broken} cannot be read"):
            call()
    assert backend.lookup(views[1]["name"]) is not None
    answers = backend.read(refs)
    assert all(isinstance(answer, Actual) for answer in answers.values()), "the unreadable one is asked for itself"
    marks = [mark(number) for number in range(1, 13)]
    found = backend.find(marks)
    assert isinstance(found[next(each for each in marks if each.name == broken)], Unknown)
    assert sum(isinstance(each, Found) for each in found.values()) == 9
    assert sum(isinstance(each, Absent) for each in found.values()) == 2


def test_a_list_with_something_nameless_is_no_absence(desk: Desk) -> None:
    backend = desk.backend()
    desk.answer("GET", "/api/v1/jobs/team-a", {"data": [7]})
    with pytest.raises(BackendError):
        backend.find([mark(number) for number in range(1, 13)])


HOSTILE: list[Any] = [
    None, 3, "text", [], {}, {"data": 7}, {"data": {}}, {"data": [None]}, {"data": [[]]}, {"data": [{}]}, {"data": [{"name": 3}]},
    {"error": "x"}, HTML,
]


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_answers_are_errors_of_the_read(desk: Desk, body: Any) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    many = [backend.submit(submission(), mark(number)) for number in range(2, 12)]
    desk.answer("GET", "/api/v1/jobs/.*", body)
    assert isinstance(read(backend, ref), ReadError)
    try:
        answers = list(backend.read(many).values())
    except BackendError:
        answers = []
    assert not any(isinstance(answer, Actual | Gone) for answer in answers)
    for call in (lambda: backend.find([mark()]), lambda: list(backend.list()), lambda: backend.lookup("x")):
        with pytest.raises(BackendError):
            call()


@pytest.mark.parametrize("body", [*HOSTILE, {"data": []}, {"data": [{"name": "team-b"}]}])
def test_hostile_answers_prove_no_scope(desk: Desk, body: Any) -> None:
    desk.answer("GET", "/api/v1/projects", body)
    with pytest.raises(BackendError):
        desk.backend().scope()


def test_a_huge_text_is_cut_in_what_is_shown(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    desk.answer("GET", ONE, {"status": 500, "message": "x" * 100_000}, 500)
    error = read(backend, ref)
    assert isinstance(error, ReadError)
    assert len(error.summary + error.detail) < 2000


@pytest.mark.parametrize("value", [
    {}, [], "x", {"id": "x"}, {"project": "p", "name": "n"}, {"project": "p", "name": "n", "id": 3},
    {"project": "p", "name": "", "id": "x"}, {"project": "p", "name": "a\nb", "id": "x"},
])
def test_a_strange_reference_is_no_absence(desk: Desk, value: Json) -> None:
    backend = desk.backend()
    assert isinstance(read(backend, Ref.of(value)), ReadError)
    for call in (lambda ref: backend.cancel(ref, only_if_waiting=False), backend.delete):
        with pytest.raises(BackendError):
            call(Ref.of(value))


@pytest.mark.parametrize(("reason", "phase", "class_"), [
    ("TimedOut", Phase.FAILED, "timeout"), ("Preempted", Phase.FAILED, "preempted"), ("Unknown", Phase.UNKNOWN, None),
])
def test_other_ends(desk: Desk, reason: str, phase: Phase, class_: str | None) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    world = desk.sandbox.world("runai")
    with world.held():
        world.end(desk.jobs[mark().name], 1, reason)
    actual = read(backend, ref)
    assert (actual.phase, actual.class_) == (phase, class_)


def test_an_image_that_cannot_be_fetched_waits_with_a_warning(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(image="registry.invalid/train:1"), mark())
    actual = read(backend, ref)
    assert actual.phase is Phase.PENDING
    assert actual.detail == "ImagePullBackOff"
    assert actual.warnings[0].startswith("the image cannot be fetched")


# --- drift, stopping, removing ----------------------------------------------------------------------------------------


def test_drift_is_seen_in_the_image_and_the_kind(desk: Desk) -> None:
    backend = desk.backend()
    assert isinstance(backend, Comparing)
    given = submission(interactive=False, resources={"gpu": {"count": 1}})
    ref = backend.submit(given, mark())
    assert list(backend.differences(given.spec, read(backend, ref))) == []
    desk.jobs[mark().name].body |= {"image": "python:3.13", "interactive": True}
    found = list(backend.differences(given.spec, read(backend, ref)))
    assert found == [Difference(("image",), "python:3.13"), Difference(("interactive",), True)]
    deferred: dict[str, Json] = {**given.spec, "image": {"expr": "jobs.a.outputs.image", "with": {}}}
    assert [each.path for each in backend.differences(deferred, read(backend, ref))] == [("interactive",)]


def test_nothing_changes_in_place(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    with pytest.raises(BackendError, match="no field of a job can be changed"):
        backend.update(ref, submission(retries=3), read(backend, ref))


def test_another_process_sees_a_stopped_job_as_gone(desk: Desk) -> None:
    ref = desk.backend().submit(submission(env=WAITS), mark())
    desk.backend().cancel(ref, only_if_waiting=True)
    assert read(desk.backend(), ref) == Gone()


@pytest.mark.parametrize(("body", "ambiguous"), [
    ({"data": [{"name": mark().name, "ok": False, "error": {"status": 403, "message": "not yours", "details": "ask"}}]}, False),
    ({"data": [{"name": mark().name, "ok": False}]}, False), ({"data": []}, True), ({}, True), (None, True),
    ({"data": [{"name": "other", "ok": True}]}, True), ({"data": [7]}, True), ({"data": {"name": mark().name, "ok": True}}, True),
])
def test_each_removal_has_its_own_answer(desk: Desk, body: Any, ambiguous: bool) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    desk.answer("DELETE", "/api/v1/jobs", body, times=1)
    with pytest.raises(BackendError) as caught:
        backend.cancel(ref, only_if_waiting=False)
    assert caught.value.ambiguous is ambiguous
    assert isinstance(read(backend, ref), Actual)
    forget(desk, mark().name)
    gone = read(backend, ref)
    assert isinstance(gone, Actual if ambiguous else Gone), "a stop that surely failed explains no absence"


def test_a_job_that_only_loses_its_place_is_stopped_all_the_same(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    [shown] = listed(desk)
    desk.answer("GET", ONE, {"data": [{**shown, "status": "Terminating"}]}, times=1)
    backend.cancel(ref, only_if_waiting=False)
    assert len(desk.requests("DELETE", "/api/v1/jobs")) == 1
    desk.answer("GET", ONE, {"data": [{**shown, "status": "Terminating"}]}, times=1)
    with pytest.raises(Started):
        backend.cancel(ref, only_if_waiting=True)


def test_a_removal_that_finds_nothing_is_quiet(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(env={}), mark())
    until(lambda: read(backend, ref).phase is Phase.SUCCEEDED)
    desk.answer("DELETE", "/api/v1/jobs", {"data": [{"name": mark().name, "ok": False, "error": {"status": 404}}]})
    backend.delete(ref)
    assert len(desk.requests("DELETE", "/api/v1/jobs")) == 1


def test_a_ttl_removes_the_ended_job(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(ttl="1s"), mark())
    world = desk.sandbox.world("runai")
    with world.held():
        world.end(desk.jobs[mark().name])
    until(lambda: isinstance(read(backend, ref), Gone))


# --- logs and lists ---------------------------------------------------------------------------------------------------


def test_logs_are_elsewhere_and_the_message_says_where(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    assert isinstance(backend, LogSource)
    with pytest.raises(BackendError) as caught:
        list(backend.logs(ref, LogOptions()))
    assert f"runai logs {mark().name} -p team-a" in caught.value.detail
    assert "runai-team-a" in caught.value.detail
    assert backend.kept(ref, 1000) == b""


def test_runs_can_be_listed_and_looked_up(desk: Desk) -> None:
    backend = desk.backend()
    assert isinstance(backend, Importing)
    assert isinstance(backend, Lister)
    ref = backend.submit(submission(), mark())
    stranger(desk, "notebook")
    assert [each.name for each in backend.list()] == ["notebook", mark().name]
    for id_ in (mark().name, ref.value["id"]):  # type: ignore[index,call-overload]  # a map
        found = backend.lookup(id_)
        assert found is not None
        assert (found.ref, found.mark, found.name) == (ref, "", mark().name)
        assert found.created_at is not None
    assert backend.lookup("ghost") is None


def test_never_two_live_under_lost_answers(desk: Desk) -> None:
    """Whatever happens to the calls, one attempt is one job."""
    backend = desk.backend()
    desk.fault(Fault(method="POST", times=40, then=Then.DROP, applied=True), Fault(method="POST", times=40, status=500))

    def submit(_: int) -> None:
        try:
            backend.submit(submission(), mark())
        except BackendError as error:
            assert error.ambiguous

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(submit, range(8)))
    assert len(desk.jobs) == 1


def test_the_body_that_is_sent(desk: Desk) -> None:
    backend = desk.backend({**JOBS, "project": "team-b"})
    backend.submit(submission(command=["python", "x.py"]), mark())
    [call] = [each for each in desk.calls if each.method == "POST"]
    assert json.loads(call.body) == {"job": {
        "name": mark().name, "project": "team-b", "image": "python:3.12", "command": "python", "arguments": ["x.py"],
        "environment": {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"},
    }}
