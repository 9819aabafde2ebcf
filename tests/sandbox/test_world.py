"""The jobs of a service by a clock that stands still: every state comes when it is due, and is in the ledger."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from jobform.sandbox.ledger import Ledger
from jobform.sandbox.process import Command
from jobform.sandbox.world import Course, Job, State, World

START = 1_800_000_000.0


class Stage:
    """A world and its time."""

    def __init__(self, **settings: Any) -> None:
        self.time = START
        self.ledger = Ledger(now=lambda: self.time)
        self.told: list[tuple[str, State]] = []
        self.world = World("svc", self.ledger, now=lambda: self.time, **settings)

    def add(self, run: str = "a", course: Course | None = None, command: Command | None = None) -> Job:
        with self.world.held():
            return self.world.add(run, f"owner-{run}", {"k": 1}, course or Course(2.0, 10.0), command)

    def at(self, seconds: float) -> None:
        self.time = START + seconds
        with self.world.held():
            pass

    def states(self, run: str = "a") -> list[tuple[float, str]]:
        from datetime import datetime

        return [
            (round(datetime.fromisoformat(str(each["at"])).timestamp() - START, 3), str(each["state"]))
            for each in self.ledger.entries("state") if each["id"] == run
        ]


def test_a_job_takes_its_course() -> None:
    stage = Stage()
    job = stage.add()
    for seconds, state in ((1.9, State.QUEUED), (2.0, State.RUNNING), (11.9, State.RUNNING), (12.0, State.SUCCEEDED)):
        stage.at(seconds)
        assert job.state is state
    assert (job.created, job.started, job.ended, job.exit) == (START, START + 2, START + 12, 0)
    assert [text for _, text in job.output] == ["hello from the sandbox\n"]
    assert stage.states() == [(0, "queued"), (2, "running"), (12, "succeeded")]
    assert {str(each["owner"]) for each in stage.ledger.entries("state")} == {"owner-a"}


def test_times_are_those_at_which_it_happened_however_late_somebody_looks() -> None:
    stage = Stage()
    job = stage.add()
    stage.at(1000)
    assert (job.started, job.ended) == (START + 2, START + 12)
    assert stage.states() == [(0, "queued"), (2, "running"), (12, "succeeded")]


def test_events_of_many_jobs_come_in_their_order() -> None:
    stage = Stage()
    stage.add("slow", Course(5, 5))
    stage.add("quick", Course(1, 1))
    stage.at(100)
    entries = [(str(each["id"]), str(each["state"])) for each in stage.ledger.entries("state")][2:]
    assert entries == [("quick", "running"), ("quick", "succeeded"), ("slow", "running"), ("slow", "succeeded")]


def test_speed_divides_every_duration() -> None:
    stage = Stage(speed=10.0)
    stage.add()
    stage.at(100)
    assert stage.states() == [(0, "queued"), (0.2, "running"), (1.2, "succeeded")]


@pytest.mark.parametrize(("exit_code", "state"), [(0, State.SUCCEEDED), (3, State.FAILED), (-9, State.FAILED)])
def test_how_it_ends(exit_code: int, state: State) -> None:
    stage = Stage()
    job = stage.add(course=Course(0, 0, exit_code, "bye"))
    stage.at(0)
    assert (job.state, job.exit) == (state, exit_code)


def test_a_waiting_job_that_is_cancelled_ends_at_once() -> None:
    stage = Stage()
    job = stage.add(course=Course(math.inf, 1))
    stage.at(500)
    assert job.state is State.QUEUED
    stage.world.cancel(job)
    assert (job.state, job.started, job.ended) == (State.CANCELLED, None, START + 500)
    stage.world.cancel(job)
    stage.at(1000)
    assert stage.states() == [(0, "queued"), (500, "cancelled")]


def test_a_running_job_that_is_cancelled_takes_a_moment() -> None:
    stage = Stage()
    job = stage.add(course=Course(0, math.inf))
    stage.at(5)
    stage.world.cancel(job)
    stage.world.cancel(job)
    assert job.state is State.CANCELLING
    stage.at(5.1)
    assert job.state is State.CANCELLING
    stage.at(5.2)
    assert job.state is State.CANCELLED
    assert stage.states() == [(0, "queued"), (0, "running"), (5, "cancelling"), (5.2, "cancelled")]


def test_what_is_over_stays_as_it_is() -> None:
    stage = Stage()
    job = stage.add()
    stage.at(100)
    stage.world.cancel(job)
    stage.world.end(job, 7, "late")
    assert (job.state, job.exit, job.reason) == (State.SUCCEEDED, 0, "")


def test_a_test_ends_a_job_when_it_likes() -> None:
    stage = Stage()
    job = stage.add(course=Course(math.inf, 1))
    stage.at(3)
    stage.world.end(job, 7, "no luck")
    assert (job.state, job.exit, job.reason, job.ended) == (State.FAILED, 7, "no luck", START + 3)


def test_a_removed_job_is_gone_and_nothing_more_is_heard_of_it() -> None:
    stage = Stage()
    job = stage.add()
    stage.world.remove(job)
    stage.at(100)
    assert stage.world.jobs == {}
    assert stage.states() == [(0, "queued"), (0, "removed")]


def test_newest_first() -> None:
    stage = Stage()
    for number, run in enumerate("abc"):
        stage.time = START + number
        stage.add(run)
    assert [job.id for job in stage.world.newest_first()] == ["c", "b", "a"]


@pytest.mark.parametrize(("hints", "course"), [
    ({}, Course()),
    ({"SANDBOX_QUEUED": "1.5", "SANDBOX_SECONDS": 3, "SANDBOX_EXIT": "2", "SANDBOX_LOG": "x"},
     Course(1.5, 3, 2, "x")),
    ({"SANDBOX_SECONDS": "inf", "SANDBOX_QUEUED": "soon", "SANDBOX_EXIT": ""}, Course(0.5, math.inf)),
    ({"SANDBOX_SECONDS": "-1", "SANDBOX_QUEUED": "nan", "SANDBOX_EXIT": "inf"}, Course(0.5, 0.0)),
    ({"SANDBOX_EXIT": "-9"}, Course(exit=-9)),
    ({"SANDBOX_EXIT": None, "OTHER": "1"}, Course()),
])
def test_a_job_says_how_it_goes(hints: dict[str, object], course: Course) -> None:
    assert Course.of(hints) == course


def test_threads_see_each_event_once() -> None:
    stage = Stage()
    for number in range(200):
        stage.add(f"r{number}", Course(number / 1000, number / 1000))
    stage.time = START + 10
    threads = [threading.Thread(target=stage.at, args=(10,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(stage.states(f"r{number}")) == 3 for number in range(200))


def test_the_ledger_is_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"event": "earlier"}\n')
    ledger = Ledger(path)
    ledger.write(event="state", service="s", id="1", owner="", state="queued", text="ü\n\u2028")
    lines = path.read_text().splitlines()
    ledger.close()
    assert [json.loads(line)["event"] for line in lines] == ["earlier", "state"], "appended, and readable at once"
    assert [each["id"] for each in ledger.entries("state", "s")] == ["1"]
    assert list(ledger.entries("request")) == list(ledger.entries("state", "t")) == []


def test_nothing_begins_once_it_has_stopped(tmp_path: Path) -> None:
    """A request that is still being answered starts no process that nobody would end."""
    stage = Stage(run_locally=True)
    job = stage.add(command=Command(("touch", str(tmp_path / "ran"))))
    stage.world.stop()
    stage.at(1000)
    assert (job.state, job.process) == (State.QUEUED, None)


def test_what_comes_after_the_end_of_a_ledger_is_in_memory_alone(tmp_path: Path) -> None:
    """A request that is still being answered when the servers stop."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.close()
    ledger.write(event="x", service="svc")
    ledger.close()
    assert ([each["event"] for each in ledger.entries()], ledger.lost) == (["x"], "")
    assert (tmp_path / "ledger.jsonl").read_text() == ""


def test_a_ledger_whose_file_fails_goes_on_without_it() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    ledger = Ledger(Path("/dev/full"))
    for number in range(3):
        ledger.write(event="x", service="svc", number=number)
    ledger.close()
    assert ledger.lost == "No space left on device"
    assert [each["number"] for each in ledger.entries()] == [0, 1, 2]
