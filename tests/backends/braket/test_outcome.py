"""The service's words and what they mean."""

import random
from typing import Any

import pytest

from jobform.backends.braket.outcome import outcome_of
from jobform.backends.braket.service import _seen, _seen_in_list
from jobform.backends.remote import shaped
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from tests import braket_schema

ARN = "arn:aws:braket:us-east-1:123456789012:job/0f9d7c1a-2b33-4a55-9c66-1d2e3f4a5b6c"
TIMES = {"createdAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:01:00Z", "endedAt": "2026-01-01T00:02:00+00:00"}
JOB: dict[str, Any] = {
    "status": "COMPLETED", "jobArn": ARN, "jobName": "vqe", "roleArn": "arn:r", "algorithmSpecification": {},
    "instanceConfig": {}, "outputDataConfig": {"s3Path": "s3://acme/jobs/"}, **TIMES,
}

PHASES = {
    "QUEUED": Phase.PENDING, "RUNNING": Phase.RUNNING, "CANCELLING": Phase.RUNNING, "COMPLETED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED, "CANCELLED": Phase.CANCELLED,
}


@pytest.mark.parametrize("word", braket_schema.MODEL["shapes"]["JobPrimaryStatus"]["enum"])
def test_every_status_of_the_model_has_a_phase(word: str) -> None:
    seen = _seen({**JOB, "status": word})
    assert (seen.actual.phase, seen.actual.warnings) == (PHASES[word], ())
    assert (seen.actual.ended_at is not None) == (word in ("COMPLETED", "FAILED", "CANCELLED"))


def test_a_status_that_nobody_knows_is_running_with_a_warning() -> None:
    actual = _seen({**JOB, "status": "HIBERNATING"}).actual
    assert actual.phase is Phase.RUNNING
    assert "HIBERNATING" in actual.warnings[0]


def test_a_stop_before_the_start_is_no_run() -> None:
    job = {key: value for key, value in JOB.items() if key not in ("startedAt", "endedAt")}
    actual = _seen({**job, "status": "CANCELLING"}).actual
    assert (actual.phase, actual.started_at) == (Phase.PENDING, None)


def test_a_run_without_a_start_has_begun_all_the_same() -> None:
    job = {key: value for key, value in JOB.items() if key not in ("startedAt", "endedAt")}
    assert _seen({**job, "status": "RUNNING"}).actual.started_at == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(("reason", "class_", "code"), [
    ("AlgorithmError: ValueError: no capacity left in the register, exit code: 1", "user_error", 1),
    ("AlgorithmError: Job at entry point algorithm_script.py experienced an error", "user_error", None),
    ("AlgorithmError: , exit code: 137", "user_error", 137),
    ("ClientError: the image cannot be pulled", "user_error", None),
    ("CapacityError: Unable to provision requested ML compute capacity.", "no_capacity", None),
    ("InternalServerError: We encountered an internal error. Please try again.", "infra", None),
    ("The device is offline", "infra", None), ("DeviceRetiredException", "infra", None),
    ("The job has exceeded its maximum runtime.", "timeout", None), ("MAX_RUNTIME exceeded", "timeout", None),
    ("something", "user_error", None), ("", "user_error", None),
])
def test_classes_of_failure(reason: str, class_: str, code: int | None) -> None:
    actual = _seen({**JOB, "status": "FAILED", **({"failureReason": reason} if reason else {})}).actual
    assert (actual.class_, actual.exit, actual.native_reason, actual.outputs) == (class_, code, reason, None)


@pytest.mark.parametrize("word", ["FAILED", "CANCELLED", "COMPLETED"])
def test_a_job_that_ran_too_long_has_failed_whatever_its_last_word(word: str) -> None:
    events = [{"eventType": "RUNNING"}, {"eventType": "MAX_RUNTIME_EXCEEDED", "timeOfEvent": TIMES["endedAt"]}]
    actual = _seen({**JOB, "status": word, "events": events}).actual
    assert (actual.phase, actual.class_, actual.outputs) == (Phase.FAILED, "timeout", None)


def test_outputs_are_where_the_results_are() -> None:
    assert _seen(JOB).actual.outputs == {"results_s3_uri": "s3://acme/jobs/output/model.tar.gz"}


@pytest.mark.parametrize(("queue", "detail"), [
    ({"queue": "JOBS_QUEUE", "position": "3"}, "position 3 in the queue of jobs"),
    ({"queue": "QUANTUM_TASKS_QUEUE", "position": ">15", "message": "busy"}, "position >15 in the queue of quantum tasks: busy"),
    ({"queue": "JOBS_QUEUE", "position": "None"}, "queued for execution"),
    ({"queue": "JOBS_QUEUE", "position": "None", "message": "the device is closed"}, "the device is closed"),
    (None, "queued for execution"), ("odd", "queued for execution"), ({"position": 3}, "queued for execution"),
])
def test_the_place_in_the_queue(queue: Any, detail: str) -> None:
    job = {**JOB, "status": "QUEUED", "queueInfo": queue, "events": [{"eventType": "QUEUED_FOR_EXECUTION"}]}
    assert outcome_of(job, started=False).detail == detail


def test_the_last_event_is_told_while_it_runs() -> None:
    events = [
        {"eventType": "RUNNING", "timeOfEvent": "2026-01-01T00:00:02Z", "message": "it runs\x1b[31m"},
        {"eventType": "STARTING_INSTANCE", "timeOfEvent": "2026-01-01T00:00:01Z"},
    ]
    assert outcome_of({"status": "RUNNING", "events": events}, started=True).detail == "it runs\\x1b[31m"


def test_a_row_of_a_list_is_not_the_whole() -> None:
    row = {"status": "FAILED", "jobArn": ARN, "jobName": "vqe", "device": "d", **TIMES, "tags": {"jobform:mark": "m"}}
    seen = _seen_in_list(row)
    assert (seen.whole, seen.mark, seen.name, seen.actual.phase) == (False, "m", "vqe", Phase.FAILED)


ODD: list[Any] = [
    None, 0, -1, 1e300, True, "", "x" * 5000, "\x00\ud800", [], [None], [[]], {}, {"a": None}, {"eventType": []}, "None",
]


def test_odd_documents_are_refused_and_nothing_else_happens() -> None:
    rng = random.Random(7)
    read = 0
    for _ in range(3000):
        job = {**JOB, "status": rng.choice(list(PHASES)), "tags": {"a": "b"}, "events": [], "queueInfo": {}, "failureReason": "x",
               "hyperParameters": {}, "stoppingCondition": {}, "inputDataConfig": []}
        for key in rng.sample(sorted(job), rng.randint(1, 4)):
            if rng.random() < 0.2:
                del job[key]
            else:
                job[key] = rng.choice(ODD)
        for reader in (_seen, _seen_in_list):
            try:
                shaped(reader, job, "job")
            except BackendError as error:
                assert error.summary == "the service's answer is no job"
            else:
                read += 1
    assert 0 < read < 6000
