"""Events are told once each, and only those that people need."""

import pytest

from jobform.model.event import Ended, Event, Observed, SpecStored
from jobform.model.state import Op, Phase
from jobform.views.events import EventLines
from jobform.views.screen import painter
from tests.views import samples

AT = samples.STARTED


def lines(*events: Event) -> list[str]:
    teller = EventLines(painter(False))
    return [teller.line(event) for event in events]


@pytest.mark.parametrize(("event", "line"), [
    (Observed("a", 1, AT, Phase.RUNNING, "2 of 3 nodes"), "a: running: 2 of 3 nodes"),
    (Observed("a", 1, AT, Phase.FAILED), "a: failed"),
    (Observed("a", 1, AT, Phase.FAILED, "exit code 3", "user_error", exit=3), "a: failed: exit code 3 (user_error)"),
    (Observed("a", 1, AT, Phase.FAILED, "no such program", "user_error", exit=127),
     "a: failed: exit code 127, no such program (user_error)"),
    (Observed("a", 1, AT, Phase.FAILED, class_="oom", exit=-9), "a: failed: signal 9 (oom)"),
    (Observed("a", 1, AT, Phase.FAILED, native_reason="OOMKilled", class_="oom"), "a: failed: OOMKilled (oom)"),
    (Observed("a", 1, AT, Phase.UNKNOWN, "Paused"), "a: unknown: Paused"),
    (Ended("a", Op.UPDATE, 1, AT, ok=True), "a: attempt 1 updated"),
    (Ended("a", Op.DELETE, 1, AT, ok=True), "a: what was left of attempt 1 removed"),
    (Ended("a", Op.CANCEL, 1, AT, ok=False, error="gone\nreally"), "a: stop of attempt 1 failed: gone\\nreally"),
    (Ended("a", Op.SUBMIT, 1, AT, ok=True), "a: submitted as attempt 1"),
    (SpecStored("d", {}), ""),
])
def test_line(event: Event, line: str) -> None:
    assert lines(event) == [line]


def test_nothing_is_said_twice_in_a_row() -> None:
    pending, running = Observed("a", 1, AT, Phase.PENDING), Observed("a", 1, AT, Phase.RUNNING)
    assert lines(pending, pending, running, pending) == ["a: pending", "", "a: running", "a: pending"]
    assert lines(pending, Observed("b", 1, AT, Phase.PENDING)) == ["a: pending", "b: pending"]


def test_an_update_by_a_call_is_not_called_recorded() -> None:
    told = lines(*(event for event in samples.events() if getattr(event, "address", "") in ("label", "train")))
    assert told.count("label: recorded, no call needed") == 1
    assert not any("train: recorded" in line for line in told)
