"""Pauses and rates by a clock that a test moves."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobform.clients.gate import Gate, Pace
from jobform.model.clock import SystemClock
from jobform.testing.clock import ManualClock


def test_a_gate_is_open_at_first() -> None:
    clock = ManualClock()
    assert Gate(clock).wait(0.0) == 0.0
    assert clock.monotonic() == 0.0


def test_everybody_waits_before_a_shut_gate() -> None:
    clock = ManualClock()
    gate = Gate(clock)
    gate.pause(5)
    gate.pause(2)
    assert gate.wait(60) == 0.0
    assert clock.monotonic() == 5.0, "the longer pause counts"
    assert gate.wait(60) == 0.0
    assert clock.monotonic() == 5.0


def test_who_has_no_time_to_wait_is_told_at_once() -> None:
    clock = ManualClock()
    gate = Gate(clock)
    gate.pause(5)
    assert gate.wait(3) == 5.0
    assert clock.monotonic() == 0.0
    clock.advance(4)
    assert gate.wait(4.5) == 1.0
    assert gate.wait(6) == 0.0


def test_a_gate_that_is_shut_again_meanwhile_stays_shut() -> None:
    class Meanwhile(ManualClock):
        """Somebody else is asked to slow down while the first one sleeps."""

        def sleep(self, seconds: float) -> None:
            self.advance(seconds / 2)
            if self.monotonic() == 5.0:
                gate.pause(20.0)
            self.advance(seconds / 2)

    clock = Meanwhile()
    gate = Gate(clock)
    gate.pause(10.0)
    assert gate.wait(60.0) == 0.0
    assert clock.monotonic() == 25.0


def test_a_pace_lets_a_burst_go_and_then_one_after_the_other() -> None:
    clock = ManualClock()
    pace = Pace(clock, rate=2.0, burst=3)
    turns = []
    for _ in range(6):
        pace.wait()
        turns.append(clock.monotonic())
    assert turns == [0, 0, 0, 0.5, 1.0, 1.5]
    clock.advance(100)
    later = []
    for _ in range(5):
        pace.wait()
        later.append(clock.monotonic() - 101.5)
    assert later == pytest.approx([0, 0, 0, 0.5, 1.0]), "rest brings one burst back, and no more"


def test_a_pace_holds_for_many_threads() -> None:
    pace, began = Pace(SystemClock(), rate=50.0), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: pace.wait(), range(11)))
    assert time.monotonic() - began >= 0.19
