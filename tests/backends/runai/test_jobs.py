"""The job API: whose a job is, and what its absence means."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import (
    Absent,
    Found,
    Gone,
    ReadError,
    Ref,
    Unknown,
)
from jobform.sandbox.faults import HTML, Fault, Then
from jobform.sandbox.process import Command
from jobform.sandbox.world import Course
from tests.backends.runai.conftest import Desk, StillClock, mark, submission, until

ONE = "/api/v1/jobs/team-a/.*"
OTHER = "0" * 16
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def read(backend: Any, ref: Ref) -> Any:
    return backend.read([ref])[ref]


def stranger(
    desk: Desk, name: str, image: str = "python:3.12", age: float = 0.0, now: datetime | None = None, **body: Json,
) -> str:
    """A job that somebody else made; its id. now: since when it is so old, if not from this moment."""
    world = desk.sandbox.world("runai")
    with world.held():
        run = f"00000000-0000-4000-8000-{len(world.jobs):012d}"
        job = world.add(run, name, {"image": image, "project": "team-a", **body}, Course(0.0, float("inf")), Command(("true",)))
        job.extra = {"api": "jobs", "project": "team-a", "name": name, "ttl": None}
        job.created = (now.timestamp() if now else job.created) - age
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


def test_a_list_that_is_behind_does_not_give_the_id_of_the_attempt_before(desk: Desk) -> None:
    """The same name, made a moment ago, and over: its outcome is not the new attempt's."""
    old = _view(desk, "bert")
    desk.answer("GET", ONE, {"data": [{**old, "status": "Succeeded"}]}, times=2)
    ref = desk.backend().submit(submission(job_name="bert"), mark(name="bert", begun=0))
    [job] = desk.jobs.values()
    assert ref.value == {"project": "team-a", "name": "bert", "id": job.id}


@pytest.mark.parametrize("name", [None, "bert"])
def test_clocks_that_differ_widely_do_not_hide_a_job_that_was_just_made(desk: Desk, name: str | None) -> None:
    """What was not there before the create, and is there after it, is what was made."""
    ref = desk.backend().submit(submission(), mark(name=name, begun=-3600.0))
    [job] = desk.jobs.values()
    assert ref.value["id"] == job.id  # type: ignore[index,call-overload]  # a map


def test_the_attempt_before_whose_removal_takes_its_time_is_not_the_next_one(desk: Desk) -> None:
    old = _view(desk, "bert")
    desk.answer("GET", ONE, {"data": [{**old, "status": "Succeeded"}]})
    desk.sandbox.faults.add(Fault(method="POST", path="/api/v1/jobs", times=1, status=409, body='{"message": "already exists"}'))
    with pytest.raises(BackendError, match="exists in team-a and is not this one") as caught:
        desk.backend().submit(submission(job_name="bert"), mark(name="bert", begun=0))
    assert caught.value.retryable
    assert caught.value.retry_after
    assert not caught.value.ambiguous


def test_a_chosen_name_that_somebody_has_just_taken_is_refused(desk: Desk) -> None:
    """Same image, same kind, same moment: another project's job, perhaps by the same schedule."""
    first = desk.backend().submit(submission(job_name="bert"), mark(name="bert", begun=0))
    with pytest.raises(BackendError, match="exists in team-a and is not this one") as caught:
        desk.backend().submit(submission(job_name="bert"), mark(name="bert", begun=0))
    assert "jobform import" in caught.value.detail
    assert not caught.value.ambiguous
    assert not caught.value.retryable
    assert [job.id for job in desk.jobs.values()] == [first.value["id"]]  # type: ignore[index,call-overload]  # a map


def test_a_job_that_the_service_calls_otherwise_is_followed(desk: Desk) -> None:
    """Such as one that cuts names: it exists, and forgotten it would be made again."""
    asked = mark(begun=0, spec={"image": "python:3.12"})
    short = asked.name[:12]
    desk.fault(Fault(method="POST", path="/api/v1/jobs", times=1, status=200, body=json.dumps({"name": short})))
    run = stranger(desk, short)
    ref = desk.backend().submit(submission(), asked)
    assert ref.value == {"project": "team-a", "name": short, "id": run}


@pytest.mark.parametrize(("image", "age"), [("python:3.13", 0.0), ("python:3.12", 30.0), ("python:3.12", 3600.0)])
def test_an_answer_that_names_an_older_or_another_job_is_ambiguous(desk: Desk, image: str, age: float) -> None:
    desk.fault(Fault(method="POST", path="/api/v1/jobs", times=1, status=200, body='{"name": "bert"}'))
    stranger(desk, "bert", image, age)
    with pytest.raises(BackendError, match="bert was accepted and is not listed yet") as caught:
        desk.backend().submit(submission(), mark(begun=0, spec={"image": "python:3.12"}))
    assert caught.value.ambiguous


def test_a_job_of_another_project_is_not_taken_for_ours(desk: Desk) -> None:
    shown = _view(desk, mark().name)
    desk.answer("GET", ONE, {"data": [{**shown, "project": "team-b"}]})
    with pytest.raises(BackendError, match="tells of other jobs"):
        desk.backend().find([mark()])


def _view(desk: Desk, name: str) -> dict[str, Any]:
    """What the service says of a job that is gone again."""
    stranger(desk, name)
    [shown] = listed(desk)
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
    until(lambda: read(backend, ref).phase is Phase.RUNNING)
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
    asked = mark(begun=begun, now=NOW, spec={"image": "a", **({"ttl": ttl} if ttl else {})})
    assert isinstance(desk.backend(clock=StillClock(NOW)).find([asked])[asked], answer)


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
    [view] = json.loads(json.dumps(listed(desk)))
    desk.answer("GET", ONE, {"data": [{**view, "name": "other"}]})
    assert isinstance(read(backend, ref), ReadError)


def listed(desk: Desk) -> Any:
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


@pytest.mark.parametrize(("name", "begun", "age", "verdict"), [
    ("bert", 0.0, 0.0, "ours"), ("bert", 0.0, 30.0, "doubtful"), ("bert", 0.0, 3600.0, "other"), ("bert", 3600.0, 3590.0, "ours"),
    ("bert", 3600.0, 3400.0, "other"), ("bert", 3600.0, 0.0, "other"), (None, 0.0, 600.0, "ours"), (None, 0.0, 3600.0, "other"),
    (None, 3600.0, 0.0, "ours"),
])
def test_the_age_of_a_job_tells_whose_it_is(desk: Desk, name: str | None, begun: float, age: float, verdict: str) -> None:
    """A name that a user chose says less than one that was made for the attempt: the attempt before had it, and anybody may."""
    asked = mark(name=name, begun=begun, now=NOW, spec={"image": "python:3.12"})
    stranger(desk, asked.name, age=age, now=NOW)
    found = desk.backend().find([asked])[asked]
    if verdict == "doubtful":
        assert isinstance(found, Unknown)
        assert "a name that was chosen does not tell whether it is this one" in found.reason
    else:
        assert isinstance(found, Found)
        assert (found.body == asked.body) is (verdict == "ours")


def test_many_are_looked_for_in_one_call(desk: Desk) -> None:
    backend = desk.backend()
    marks = [mark(number) for number in range(1, 12)]
    ref = backend.submit(submission(), marks[3])
    before = len(desk.calls)
    found = backend.find(marks)
    assert len(desk.calls) == before + 1
    assert found[marks[3]] == Found(ref, marks[3].body)
    assert [found[each] for each in marks if each != marks[3]] == [Absent()] * 10
