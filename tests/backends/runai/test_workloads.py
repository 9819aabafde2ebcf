"""The workloads API: whose a workload is, its phases, and answers that cannot be trusted."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobform.backends.runai.workloads_read import seen_of
from jobform.model.errors import BackendError
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Absent, Actual, Found, Gone, LogOptions, ReadError, Ref, Unknown
from jobform.sandbox.faults import HTML, Fault, Then
from jobform.sandbox.runai_workloads import CLUSTERS
from jobform.sandbox.world import Course, State
from tests.backends.runai.conftest import WAITS, WORKLOADS, Desk, StillClock, mark, submission, until

ROOT = "/api/v1/workloads"
TRAININGS = f"{ROOT}/trainings"
RUN = "11111111-2222-4333-8444-555555555555"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def read(backend: Any, ref: Ref) -> Any:
    return backend.read([ref])[ref]


def stranger(desk: Desk, name: str, *, marked: str = "", kind: str = "trainings", project: str = "4501155") -> None:
    world = desk.sandbox.world("runai")
    with world.held():
        body: dict[str, Json] = {"image": "a"}
        if marked:
            body["annotations"] = [{"name": "jobform.dev/mark", "value": marked}]
        job = world.add(RUN, name, body, Course(0.0, float("inf")))
        job.extra = {"api": kind, "project": project, "cluster": CLUSTERS["sandbox"], "name": name, "ttl": None}


# --- whose a workload is ----------------------------------------------------------------------------------------------


def test_a_reference_holds_kind_and_id_and_the_mark_stands_in_the_annotations(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    [job] = desk.jobs.values()
    assert ref.value == {"id": f"trainings/{job.id}"}
    [call] = [call for call in desk.calls if call.method == "POST"]
    assert json.loads(call.body)["spec"]["annotations"] == [
        {"name": "jobform.dev/mark", "value": mark().text}, {"name": "jobform.dev/address", "value": "job"},
    ]
    assert json.loads(call.body)["projectId"] == "4501155"
    assert "useGivenNameAsPrefix" not in json.loads(call.body)


def test_a_distributed_training_is_read_and_stopped_at_its_own_path(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(nodes=2), mark())
    [job] = desk.jobs.values()
    assert ref.value == {"id": f"distributed/{job.id}"}
    assert isinstance(read(backend, ref), Actual)
    backend.cancel(ref, only_if_waiting=False)
    assert len(desk.requests("DELETE", f"{ROOT}/distributed/{job.id}")) == 1


def test_a_workload_of_our_name_without_our_mark_is_not_ours(desk: Desk) -> None:
    stranger(desk, mark().name)
    found = desk.backend(WORKLOADS).find([mark()])[mark()]
    assert isinstance(found, Unknown)
    assert "does not carry the mark" in found.reason


def test_a_workload_of_another_project_is_not_asked_for(desk: Desk) -> None:
    stranger(desk, mark().name, marked=mark().text, project="4501156")
    assert desk.backend(WORKLOADS).find([mark()])[mark()] == Absent()


@pytest.mark.parametrize("status", [400, 409])
def test_a_name_that_is_taken(desk: Desk, status: int) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    desk.answer("POST", TRAININGS, {"code": status, "message": f"workload {mark().name} already exists"}, status)
    assert backend.submit(submission(), mark()) == ref, "it is this very attempt's"
    with pytest.raises(BackendError, match="exists in team-a and is not this one"):
        backend.submit(submission(), mark(2, name=mark().name))


def test_a_name_that_is_still_being_removed_is_tried_again(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    desk.sandbox.world("runai").stopping = 1000.0
    ref = backend.submit(submission(), mark(name="bert"))
    until(lambda: read(backend, ref).phase is Phase.RUNNING)
    backend.cancel(ref, only_if_waiting=False)
    with pytest.raises(BackendError, match="still being removed") as caught:
        backend.submit(submission(), mark(2, name="bert"))
    assert caught.value.retryable
    assert caught.value.retry_after


def test_a_page_that_shifts_hides_no_workload(desk: Desk) -> None:
    """The list is read by offsets: what slips to an earlier page is asked for by its name."""
    backend = desk.backend(WORKLOADS)
    marks = [mark(number) for number in range(1, 12)]
    ref = backend.submit(submission(), marks[0])
    desk.answer("GET", ROOT, {"workloads": []}, times=1)
    assert backend.find(marks)[marks[0]] == Found(ref, marks[0].body)


def test_many_are_looked_for_in_pages(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    marks = [mark(number) for number in range(1, 12)]
    refs = [backend.submit(submission(), each) for each in marks[:3]]
    found = backend.find(marks)
    assert [found[each] for each in marks[:3]] == [
        Found(ref, each.body) for ref, each in zip(refs, marks[:3], strict=True)
    ]
    assert all(found[each] == Absent() for each in marks[3:])


@pytest.mark.parametrize(("begun", "ttl", "answer"), [
    (0.0, None, Unknown), (599.0, None, Unknown), (601.0, None, Absent), (601.0, "2h", Absent), (6400.0, "2h", Unknown),
    (29 * 86400.0, None, Absent), (30 * 86400.0, None, Unknown), (10.0, "10s", Unknown),
])
def test_when_absence_is_certain(desk: Desk, begun: float, ttl: str | None, answer: type) -> None:
    asked = mark(begun=begun, now=NOW, spec={"image": "a", **({"ttl": ttl} if ttl else {})})
    assert isinstance(desk.backend(WORKLOADS, clock=StillClock(NOW)).find([asked])[asked], answer)


@pytest.mark.parametrize("body", [{}, {"workloadId": None}, {"workloadId": "../../x"}, {"workloadId": 7}, [], None, "x"])
def test_an_answer_without_an_id_is_ambiguous(desk: Desk, body: Any) -> None:
    desk.fault(Fault(method="POST", path=TRAININGS, body=json.dumps(body), status=202, applied=True))
    with pytest.raises(BackendError) as caught:
        desk.backend(WORKLOADS).submit(submission(), mark())
    assert caught.value.ambiguous


def test_a_suspension_that_fails_after_the_create_is_ambiguous(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    desk.fault(Fault(method="POST", path=f"{TRAININGS}/.*/suspend", status=403))
    with pytest.raises(BackendError, match="was made and not suspended") as caught:
        backend.submit(submission(suspended=True), mark())
    assert caught.value.ambiguous
    assert isinstance(backend.find([mark()])[mark()], Found)


# --- suspending -------------------------------------------------------------------------------------------------------


def test_a_suspended_workload_waits_and_has_started(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    given = submission(suspended=True)
    ref = backend.submit(submission(), mark())
    before = read(backend, ref)
    after = backend.update(ref, given, before)
    assert after.phase is Phase.PENDING
    assert after.detail == "suspended"
    assert after.fields["suspended"] is True
    again = backend.update(ref, submission(suspended=False), after)
    assert again.fields["suspended"] is False
    with pytest.raises(BackendError, match="has changed since it was read"):
        backend.update(ref, given, after)


def test_nothing_is_sent_for_what_is_so_already(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    backend.update(ref, submission(suspended=False), read(backend, ref))
    assert not [call for call in desk.calls if call.path.endswith(("/suspend", "/resume"))]


# --- phases -----------------------------------------------------------------------------------------------------------


def summary(**more: Any) -> dict[str, Any]:
    return {
        "id": RUN, "name": "fit", "phase": "Running", "type": "Training", "createdAt": "2026-03-01T10:00:00.000Z",
        "completedAt": None, "deletedAt": None, "projectId": "4501155", "totalPendingTimeSeconds": 60,
        "totalRunningTimeSeconds": 600, **more,
    }


PHASES = [
    ("Creating", Phase.PENDING, "Creating"), ("Initializing", Phase.PENDING, "Initializing"),
    ("Resuming", Phase.PENDING, "Resuming"), ("Pending", Phase.PENDING, ""), ("Deleting", Phase.RUNNING, "Deleting"),
    ("Running", Phase.RUNNING, ""),
    ("Updating", Phase.RUNNING, "Updating"), ("Stopped", Phase.PENDING, "suspended"), ("Stopping", Phase.PENDING, "suspended"),
    ("Degraded", Phase.RUNNING, "Degraded"), ("Failed", Phase.FAILED, ""), ("Completed", Phase.SUCCEEDED, ""),
    ("Terminating", Phase.RUNNING, "Terminating"), ("Unknown", Phase.UNKNOWN, "Unknown"),
]


@pytest.mark.parametrize(("word", "phase", "detail"), PHASES)
def test_phases(word: str, phase: Phase, detail: str) -> None:
    seen = seen_of(summary(phase=word), None, "trainings", NOW)
    assert (seen.actual.phase, seen.actual.detail, seen.actual.warnings) == (phase, detail, ())
    assert (seen.actual.class_ == "user_error") is (phase is Phase.FAILED)
    assert (seen.actual.ended_at is not None) is (phase in ENDED)


@pytest.mark.parametrize(("word", "ran", "started"), [
    ("Pending", 0, None), ("Pending", 5, "2026-03-01T10:01:00.000000Z"), ("Stopped", 0, None),
    ("Stopped", 5, "2026-03-01T10:01:00.000000Z"), ("Running", 0, "2026-03-01T10:01:00.000000Z"),
])
def test_what_has_run_is_never_taken_for_what_only_waits(word: str, ran: int, started: str | None) -> None:
    actual = seen_of(summary(phase=word, totalRunningTimeSeconds=ran), None, "trainings", NOW).actual
    assert actual.started_at == started


def test_times_and_messages() -> None:
    told = summary(phase="Failed", completedAt="2026-03-01T11:00:00Z", phaseMessage="exit code 3")
    failed = seen_of(told, None, "trainings", NOW)
    assert failed.actual.ended_at == "2026-03-01T11:00:00.000000Z"
    assert (failed.actual.detail, failed.actual.native_reason) == ("exit code 3", "exit code 3")
    assert seen_of(summary(phase="Failed"), None, "trainings", NOW).actual.ended_at == "2026-03-01T12:00:00.000000Z"
    new = seen_of(summary(phase="Rebalancing"), None, "trainings", NOW)
    assert new.actual.phase is Phase.RUNNING
    assert "'Rebalancing'" in new.actual.warnings[0]


@pytest.mark.parametrize("change", [
    {"id": None}, {"id": "x"}, {"id": 7}, {"name": 3}, {"phase": None}, {"phase": []}, {"createdAt": None}, {"createdAt": "soon"},
    {"createdAt": 7}, {"createdAt": "0001-01-01T00:00:00+23:59"}, {"createdAt": "9999-12-31T23:59:59Z"}, {"completedAt": []},
    {"completedAt": "9999-12-31T23:59:59-23:59", "phase": "Failed"},
])
def test_what_is_no_workload(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        seen_of(summary(**({"phase": "Completed"} | change)), None, "trainings", NOW)


@pytest.mark.parametrize("times", [{"totalPendingTimeSeconds": value, "totalRunningTimeSeconds": value}
                                   for value in (None, -1, "x", True, 1e300, [])])
def test_strange_durations_move_no_start_out_of_time(times: dict[str, Any]) -> None:
    started = seen_of(summary(**times), None, "trainings", NOW).actual.started_at
    assert started is not None
    assert NOW - timedelta(hours=3) < datetime.fromisoformat(started) <= NOW


# --- reading ----------------------------------------------------------------------------------------------------------


def test_what_is_marked_as_deleted_is_gone(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    [job] = desk.jobs.values()
    shown = summary(id=job.id, name=mark().name, deletedAt="2026-03-01T11:00:00Z")
    desk.answer("GET", f"{ROOT}/{job.id}", shown)
    assert read(backend, ref) == Gone()


@pytest.mark.parametrize("body", [None, 3, "x", [], {}, {"workloads": 3}, {"workloads": [3]}, {"workloads": [{}]}, {"id": RUN},
                                  {"workloads": [], "next": "x"}, {"workloads": [], "next": 0}, {"workloads": [], "next": True},
                                  {"workloads": [summary(projectId="1")]}, HTML])
def test_hostile_answers_are_errors(desk: Desk, body: Any) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    many = [backend.submit(submission(), mark(number)) for number in range(2, 12)]
    desk.answer("GET", f"{ROOT}.*", body)
    assert isinstance(read(backend, ref), ReadError)
    try:
        answers = list(backend.read(many).values())
    except BackendError:
        answers = []
    assert not any(isinstance(answer, Actual | Gone) for answer in answers)
    with pytest.raises(BackendError):
        backend.find([mark()])


@pytest.mark.parametrize("body", [HTML, {}, [], {"detail": "Not Found"}])
def test_a_404_of_somebody_else_is_no_absence(desk: Desk, body: Any) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    desk.answer("GET", f"{ROOT}.*", body, 404)
    assert isinstance(read(backend, ref), ReadError)


def test_an_answer_about_another_workload_is_no_answer(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    [job] = desk.jobs.values()
    desk.answer("GET", f"{ROOT}/{job.id}", summary())
    assert isinstance(read(backend, ref), ReadError)
    desk.answer("GET", f"{TRAININGS}/{job.id}", {"workloadId": RUN, "spec": {}})
    assert isinstance(read(backend, ref), ReadError)


def test_a_kind_that_a_version_does_not_show_is_read_in_part(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(nodes=2), mark())
    desk.answer("GET", f"{ROOT}/distributed/.*", {"code": 404, "message": "no such path"}, 404)
    actual = read(backend, ref)
    assert (actual.phase in (Phase.PENDING, Phase.RUNNING), actual.fields) == (True, {})
    assert isinstance(backend.find([mark()])[mark()], Unknown), "its mark cannot be read"


def test_a_spec_that_cannot_be_read_hides_no_phase(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    desk.answer("GET", f"{TRAININGS}/.*", {"spec": [1, 2], "desiredPhase": 7})
    actual = read(backend, ref)
    assert isinstance(actual, Actual)
    assert actual.fields == {"suspended": False}


@pytest.mark.parametrize("value", ["x", {"id": "x"}, {"id": "workspaces/" + RUN}, {"id": "trainings/../projects"}, {}, []])
def test_a_strange_reference_is_no_absence(desk: Desk, value: Json) -> None:
    backend = desk.backend(WORKLOADS)
    assert isinstance(read(backend, Ref.of(value)), ReadError)
    for call in (lambda ref: backend.cancel(ref, only_if_waiting=False), backend.delete):
        with pytest.raises(BackendError):
            call(Ref.of(value))


def test_other_kinds_of_workloads_are_not_listed(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    backend.submit(submission(), mark())
    desk.answer("GET", ROOT, {"workloads": [
        summary(type=kind, name=kind) for kind in ("Workspace", "Inference", "DistributedInference", "runai-job", "Distributed")
    ]})
    assert [each.name for each in backend.list()] == ["runai-job", "Distributed"]


def test_runs_can_be_looked_up_by_uuid(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(nodes=2), mark())
    [job] = desk.jobs.values()
    job.body.pop("numWorkers")
    found = backend.lookup(f"distributed/{job.id}")
    assert (found.ref, found.mark, found.name) == (ref, mark().text, mark().name)
    assert backend.lookup(RUN) is None


def test_another_process_sees_a_stopped_workload_as_gone(desk: Desk) -> None:
    ref = desk.backend(WORKLOADS).submit(submission(env=WAITS), mark())
    desk.backend(WORKLOADS).cancel(ref, only_if_waiting=True)
    assert read(desk.backend(WORKLOADS), ref) == Gone()


def test_a_stop_that_was_refused_explains_no_absence(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    [job] = desk.jobs.values()
    desk.fault(Fault(method="DELETE", status=403))
    with pytest.raises(BackendError):
        backend.cancel(ref, only_if_waiting=False)
    assert job.state in (State.QUEUED, State.RUNNING)
    world = desk.sandbox.world("runai")
    with world.held():
        world.remove(job)
    assert read(backend, ref) == Gone()


def test_logs_are_elsewhere(desk: Desk) -> None:
    backend = desk.backend(WORKLOADS)
    ref = backend.submit(submission(), mark())
    with pytest.raises(BackendError) as caught:
        list(backend.logs(ref, LogOptions()))
    assert f"runai logs {mark().name} -p team-a" in caught.value.detail
    assert backend.kept(ref, 100) == b""


def test_a_lost_list_of_projects_proves_nothing(desk: Desk) -> None:
    desk.fault(Fault(method="GET", path="/api/v1/org-unit/projects", times=1000, then=Then.DROP))
    backend = desk.backend(WORKLOADS)
    for call in (backend.scope, lambda: backend.submit(submission(), mark())):
        with pytest.raises(BackendError) as caught:
            call()
        assert not caught.value.ambiguous
    assert not desk.jobs
