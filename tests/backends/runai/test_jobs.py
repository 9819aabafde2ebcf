"""The job API: whose a job is, what its absence means, and calls that fail."""

import json
import time
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
from jobform.sandbox.process import Command
from jobform.sandbox.world import Course
from tests.backends.runai.conftest import JOBS, WAITS, Desk, mark, submission

ONE = "/api/v1/jobs/team-a/.*"
OTHER = "0" * 16


def read(backend: Any, ref: Ref) -> Any:
    return backend.read([ref])[ref]


def stranger(desk: Desk, name: str, image: str = "python:3.12", age: float = 0.0, **body: Json) -> str:
    """A job that somebody else made; its id."""
    world = desk.sandbox.world("runai")
    with world.held():
        run = f"00000000-0000-4000-8000-{len(world.jobs):012d}"
        job = world.add(run, name, {"image": image, "project": "team-a", **body}, Course(0.0, float("inf")), Command(("true",)))
        job.extra = {"api": "jobs", "project": "team-a", "name": name, "ttl": None}
        job.created -= age
    return run


def forget(desk: Desk, name: str) -> None:
    world = desk.sandbox.world("runai")
    with world.held():
        world.remove(desk.jobs[name])


# --- identity ---------------------------------------------------------------------------------------------------------


def test_a_reference_holds_project_name_and_id(desk: Desk) -> None:
    ref = desk.backend().submit(submission(), mark())
    [job] = desk.jobs.values()
    assert ref.value == {"project": "team-a", "name": mark().name, "id": job.id}


def test_a_job_that_somebody_made_again_is_not_ours(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    forget(desk, mark().name)
    other = stranger(desk, mark().name)
    assert read(backend, ref) == Gone()
    backend.cancel(ref, only_if_waiting=False)
    backend.delete(ref)
    assert [job.id for job in desk.jobs.values()] == [other], "a stranger's job was removed"


def test_a_job_that_is_listed_late_is_waited_for(desk: Desk) -> None:
    desk.answer("GET", ONE, {"status": 404, "message": "not yet"}, 404, times=3)
    ref = desk.backend().submit(submission(), mark())
    assert ref.value["name"] == mark().name  # type: ignore[index,call-overload]  # the shape is asserted above
    assert len(desk.requests("POST", "/api/v1/jobs")) == 1


def test_a_list_that_is_behind_does_not_give_the_id_of_the_job_before(desk: Desk) -> None:
    """A removed job of the same name, which the service still shows right after the create."""
    [old] = [{**_view(desk, "bert"), "createdAt": 1_700_000_000_000}]
    desk.answer("GET", ONE, {"data": [old]}, times=2)
    ref = desk.backend().submit(submission(job_name="bert"), mark(name="bert", begun=0))
    [job] = desk.jobs.values()
    assert ref.value == {"project": "team-a", "name": "bert", "id": job.id}


def _view(desk: Desk, name: str) -> dict[str, Any]:
    """What the service says of a job that is gone again."""
    stranger(desk, name)
    [shown] = _listed(desk)
    forget(desk, name)
    assert isinstance(shown, dict)
    return shown


def test_two_jobs_of_one_name_are_not_chosen_from(desk: Desk) -> None:
    one = _view(desk, mark().name)
    desk.answer("GET", "/api/v1/jobs/.*", {"data": [one, {**one, "id": "00000000-0000-4000-8000-00000000000f"}]})
    marks = [mark(number) for number in range(1, 12)]
    for asked in ([mark()], marks):
        found = desk.backend().find(asked)[mark()]
        assert isinstance(found, Unknown)
        assert found.reason.startswith("2 jobs are named")


@pytest.mark.parametrize("answer", [({"data": []}, 200), ({"data": None}, 200), ({"status": 404, "message": "no job"}, 404),
                                    ({"error": {"status": 404, "message": "no job"}}, 404)])
def test_a_job_that_is_never_listed_is_looked_up_again(desk: Desk, answer: tuple[Json, int]) -> None:
    desk.answer("GET", ONE, *answer)
    with pytest.raises(BackendError, match="accepted and is not listed yet") as caught:
        desk.backend().submit(submission(), mark())
    assert caught.value.ambiguous


def test_a_lost_look_after_the_create_is_settled_by_the_name(desk: Desk) -> None:
    backend = desk.backend()
    desk.fault(Fault(method="GET", path=ONE, times=1000, then=Then.DROP))
    with pytest.raises(BackendError, match="was accepted, and its id could not be read") as caught:
        backend.submit(submission(), mark())
    assert caught.value.ambiguous
    desk.fault()
    found = backend.find([mark()])[mark()]
    assert isinstance(found, Found)
    assert found.body == mark().body
    assert len(desk.jobs) == 1


@pytest.mark.parametrize("body", [{}, {"name": None}, {"name": "other-0"}, {"name": 7}, [], "x", None, {"data": {"name": "x"}}])
def test_an_answer_without_the_name_is_ambiguous(desk: Desk, body: Any) -> None:
    desk.fault(Fault(method="POST", path="/api/v1/jobs", body=json.dumps(body), status=200, applied=True))
    with pytest.raises(BackendError) as caught:
        desk.backend().submit(submission(), mark())
    assert caught.value.ambiguous


def test_the_name_of_our_own_attempt_is_adopted(desk: Desk) -> None:
    backend = desk.backend()
    first = backend.submit(submission(), mark())
    assert backend.submit(submission(), mark()) == first
    assert len(desk.jobs) == 1


@pytest.mark.parametrize("status", [400, 409])
def test_a_name_that_somebody_else_has_is_refused(desk: Desk, status: int) -> None:
    stranger(desk, "bert", age=3600.0)
    desk.answer("POST", "/api/v1/jobs", {"status": status, "message": "job bert already exists, please delete it first"}, status)
    with pytest.raises(BackendError, match="a job named bert exists in team-a and is not this one") as caught:
        desk.backend().submit(submission(job_name="bert"), mark(name="bert", begun=0))
    assert not caught.value.ambiguous
    assert not caught.value.retryable
    assert "choose another job_name" in caught.value.detail


def test_a_name_that_is_still_being_removed_is_tried_again(desk: Desk) -> None:
    backend = desk.backend()
    desk.sandbox.world("runai").stopping = 1000.0
    ref = backend.submit(submission(job_name="bert"), mark(name="bert"))
    time.sleep(0.05)
    backend.cancel(ref, only_if_waiting=False)
    with pytest.raises(BackendError, match="still being removed") as caught:
        backend.submit(submission(job_name="bert"), mark(2, name="bert", begun=0))
    assert caught.value.retryable
    assert caught.value.retry_after


def test_a_taken_name_that_is_not_listed_is_tried_again(desk: Desk) -> None:
    desk.answer("POST", "/api/v1/jobs", {"status": 409, "message": "already exists"}, 409)
    with pytest.raises(BackendError) as caught:
        desk.backend().submit(submission(), mark())
    assert caught.value.retryable
    assert not caught.value.ambiguous


# --- looking for what was begun ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("begun", "ttl", "answer"), [
    (0.0, None, Unknown), (59.0, None, Unknown), (61.0, None, Absent), (61.0, "2h", Absent), (6200.0, "2h", Absent),
    (6400.0, "2h", Unknown), (61.0, "10m", Unknown), (59.0, "30s", Unknown),
    (61.0, {"expr": "jobs.a.outputs.t", "with": {}}, Unknown),
])
def test_when_absence_is_certain(desk: Desk, begun: float, ttl: Json, answer: type) -> None:
    """A ttl is no danger before it can be over, a quarter of an hour for the clocks left out."""
    asked = mark(begun=begun, spec={"image": "a", **({"ttl": ttl} if ttl else {})})
    assert isinstance(desk.backend().find([asked])[asked], answer)


def test_a_ttl_makes_it_unknown_and_says_why(desk: Desk) -> None:
    asked = mark(begun=8000.0, spec={"image": "a", "ttl": "2h"})
    found = desk.backend().find([asked])[asked]
    assert isinstance(found, Unknown)
    assert "with its ttl of 2h it may have ended and been removed by now" in found.reason


def test_absence_needs_an_answer_of_the_service(desk: Desk) -> None:
    """A 404 of a proxy, or of another address, is no absence."""
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    for body in (HTML, {}, [], {"detail": "Not Found"}):
        desk.answer("GET", ONE, body, 404)
        assert isinstance(read(backend, ref), ReadError), body
        with pytest.raises(BackendError):
            backend.find([mark()])


def test_an_answer_about_other_jobs_is_no_absence(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(), mark())
    desk.fault()
    [view] = json.loads(json.dumps(_listed(desk)))
    desk.answer("GET", ONE, {"data": [{**view, "name": "other"}]})
    assert isinstance(read(backend, ref), ReadError)


def _listed(desk: Desk) -> Any:
    return desk.backend()._site.rest.get("/api/v1/jobs/team-a")["data"]


@pytest.mark.parametrize(("image", "interactive", "body"), [
    ("python:3.12", False, None), ("python:3.13", False, OTHER), ("python:3.12", True, OTHER),
])
def test_a_job_of_our_name_with_another_content_is_not_adopted(
    desk: Desk, image: str, interactive: bool, body: str | None,
) -> None:
    stranger(desk, mark().name, image, interactive=interactive)
    asked = mark(spec={"image": "python:3.12"})
    found = desk.backend().find([asked])[asked]
    assert isinstance(found, Found)
    assert found.body == (body or asked.body)


def test_an_image_that_was_an_output_is_not_compared(desk: Desk) -> None:
    stranger(desk, mark().name)
    asked = mark(spec={"image": {"expr": "jobs.build.outputs.image", "with": {}}})
    found = desk.backend().find([asked])[asked]
    assert isinstance(found, Found)
    assert found.body == asked.body


@pytest.mark.parametrize(("name", "age", "ours"), [
    ("bert", 30.0, True), ("bert", 3600.0, False), (None, 600.0, True), (None, 3600.0, False),
])
def test_a_job_older_than_the_attempt_is_not_ours(desk: Desk, name: str | None, age: float, ours: bool) -> None:
    """A name that a user chose says less than one that was made for the attempt: there the clocks must nearly agree."""
    asked = mark(name=name, begun=0.0, spec={"image": "python:3.12"})
    stranger(desk, asked.name, age=age)
    found = desk.backend().find([asked])[asked]
    assert isinstance(found, Found)
    assert (found.body == asked.body) is ours


def test_many_are_looked_for_in_one_call(desk: Desk) -> None:
    backend = desk.backend()
    marks = [mark(number) for number in range(1, 12)]
    ref = backend.submit(submission(), marks[3])
    before = len(list(desk.sandbox.ledger.entries("request")))
    found = backend.find(marks)
    assert len(list(desk.sandbox.ledger.entries("request"))) == before + 1
    assert found[marks[3]] == Found(ref, marks[3].body)
    assert [found[each] for each in marks if each != marks[3]] == [Absent()] * 10


# --- reading ----------------------------------------------------------------------------------------------------------


def test_one_unreadable_job_of_a_list_hides_no_other(desk: Desk) -> None:
    backend = desk.backend()
    refs = [backend.submit(submission(), mark(number)) for number in range(1, 11)]
    views = _listed(desk)
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
    [shown] = _listed(desk)
    desk.answer("GET", ONE, {"data": [{**shown, "status": "Terminating"}]}, times=1)
    backend.cancel(ref, only_if_waiting=False)
    assert len(desk.requests("DELETE", "/api/v1/jobs")) == 1
    desk.answer("GET", ONE, {"data": [{**shown, "status": "Terminating"}]}, times=1)
    with pytest.raises(Started):
        backend.cancel(ref, only_if_waiting=True)


def test_a_removal_that_finds_nothing_is_quiet(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(env={}), mark())
    while read(backend, ref).phase is not Phase.SUCCEEDED:
        time.sleep(0.01)
    desk.answer("DELETE", "/api/v1/jobs", {"data": [{"name": mark().name, "ok": False, "error": {"status": 404}}]})
    backend.delete(ref)


def test_a_ttl_removes_the_ended_job(desk: Desk) -> None:
    backend = desk.backend()
    ref = backend.submit(submission(env={"SANDBOX_SECONDS": "0", "SANDBOX_QUEUED": "0"}, ttl="1s"), mark())
    end = time.monotonic() + 10
    while not isinstance(read(backend, ref), Gone):
        assert time.monotonic() < end
        time.sleep(0.02)


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
