"""`cancel` of several jobs, all or none where it is unknown what there is to stop, else as many as can be; and `rerun`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.model.errors import BackendError, FailedError
from jobform.model.state import Phase
from tests.engine.lab import Lab, codes

LONG = {"spec": {"seconds": 1000}}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.check()


def refused(lab: Lab, *addresses: str) -> list[tuple[str, str | None]]:
    with pytest.raises(FailedError) as caught:
        lab.cancel(*addresses)
    return [(found.code, found.address) for found in caught.value.diagnostics]


def asked(lab: Lab) -> set[str]:
    return {address for address, entry in lab.state.jobs.items() if entry.last and entry.last.asked_stop}


def test_nothing_is_stopped_where_it_is_unknown_what_runs(lab: Lab) -> None:
    lab.write({"a": LONG, "b": LONG, "c": LONG})
    lab.calls.fail("submit", BackendError("lost", ambiguous=True), subject="b", moment="after")
    lab.calls.fail("submit", BackendError("lost", ambiguous=True), subject="c", moment="after")
    lab.calls.fail("find", *[BackendError("down")] * 9)
    assert codes(lab.apply(detach=True)) == {"unknown_submission"}
    assert refused(lab, "a", "b", "c") == [("unknown_submission", "b"), ("unknown_submission", "c")]
    assert asked(lab) == set()
    lab.calls.faults.clear()
    assert lab.cancel("a", "b", "c").exit == 0, "what was submitted is found by now"
    assert {entry.last.phase for entry in lab.state.jobs.values() if entry.last} == {Phase.CANCELLED}


def test_what_cannot_be_stopped_keeps_nothing_else_running(lab: Lab) -> None:
    lab.write({"a": LONG, "b": LONG, "c": LONG})
    lab.apply(detach=True)
    lab.calls.fail("cancel", BackendError("denied"), subject=lab.run_of("a"))
    lab.calls.fail("cancel", BackendError("denied"), subject=lab.run_of("b"))
    assert refused(lab, "a", "b", "c") == [("cancel_failed", "a"), ("cancel_failed", "b")]
    assert asked(lab) == {"c"}
    assert lab.cancel("a", "b", "c").exit == 0


def test_what_was_left_behind_is_stopped_in_its_own_place_alone(lab: Lab) -> None:
    """The same id may be another run there."""
    lab.write({"a": LONG, "b": LONG})
    lab.apply(detach=True)
    lab.forget("a")
    lab.backends["ref"]["namespace"] = "elsewhere"
    lab.write({})
    lab.forget("b")
    before = lab.mutations()
    assert refused(lab, "a") == [("other_scope", "a")]
    assert lab.mutations() == before


def test_a_stop_that_takes_long_is_not_asked_after_all_the_time(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 1000, "grace": 30}}})
    lab.apply(detach=True)
    lab.forget("a")
    lab.calls.seen.clear()
    assert lab.cancel("a").exit == 0
    assert not lab.state.tombstones["a"].live
    assert sum(operation == "read" for operation, _ in lab.calls.seen) < 20


def test_a_rerun_waits_for_what_comes_first(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 50}}, "b": {"needs": ["a"]}})
    lab.apply(detach=True)
    lab.cancel("b")
    assert lab.rerun("b").exit == 0
    assert {entry.last.phase for entry in lab.state.jobs.values() if entry.last} == {Phase.SUCCEEDED}
    assert lab.made() == ["a", "b"]


def test_a_rerun_that_comes_after_what_is_unknown_is_incomplete(lab: Lab) -> None:
    lab.write({"a": {}, "b": {"needs": ["a"]}})
    lab.calls.fail("submit", BackendError("lost", ambiguous=True), subject="a", moment="after")
    lab.calls.fail("find", *[BackendError("down")] * 9)
    lab.apply()
    lab.cancel("b")
    outcome = lab.rerun("b")
    assert (outcome.exit, codes(outcome)) == (7, {"unknown_submission"})
