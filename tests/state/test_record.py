"""What each event makes of a state."""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobform.engine.record import Recorder, fold, prune
from jobform.model.errors import StateError
from jobform.model.event import (
    Begun,
    ChangeAccepted,
    Ended,
    Event,
    Held,
    Imported,
    Moved,
    Observed,
    Released,
    Removed,
    Resolved,
    RunEnded,
    RunStarted,
    Settled,
    SpecStored,
)
from jobform.model.state import ASSERTED, KEPT_RUNS, Accepted, Attempt, Op, Phase, Run, RunChange, State
from tests.state import samples
from tests.state.samples import AT, accepted, desired, first_apply, history, intent


def after(*events: Event, start: tuple[str, ...] = ("a",)) -> State:
    """The state after one apply of some addresses and then the events."""
    state = State(samples.LINEAGE)
    recorder = Recorder(state)
    for event in (*first_apply(start), *events):
        recorder.fold(event)
    return state


def refused(state: State, event: Event) -> None:
    with pytest.raises(StateError) as caught:
        fold(state, event)
    assert caught.value.diagnostics[0].code == "journal_inconsistent"


def settled(state: State, run: str = "run-1") -> dict[str, str | None]:
    return {change.address: change.settled for change in state.runs[run].changes}


# --- runs, acceptance, settling ---


def test_submission_settles_its_change() -> None:
    state = State(samples.LINEAGE)
    events = first_apply(("a", "b"))
    for event in events[:-2]:
        fold(state, event)
    assert settled(state) == {"a": "done", "b": None}
    assert state.jobs["b"].accepted == accepted()
    assert state.jobs["b"].desired == desired()
    [attempt] = state.jobs["a"].attempts
    assert (attempt.n, attempt.token, attempt.phase, attempt.ref) == (1, "token-1", Phase.PENDING, {"pid": 7})
    assert (attempt.begun_at, attempt.submitted_at, attempt.waiting) == (AT, AT, True)
    assert state.jobs["a"].intent is None
    assert state.jobs["a"].scope == "machine:1"


def test_failed_submission_leaves_the_change_open() -> None:
    state = State(samples.LINEAGE)
    for event in (*first_apply(("a",))[:-1], Ended("a", Op.SUBMIT, 1, AT, ok=False, error="busy")):
        fold(state, event)
    assert state.jobs["a"].attempts == ()
    assert state.jobs["a"].intent is None
    assert settled(state) == {"a": None}


def test_later_apply_supersedes_what_is_open() -> None:
    state = State(samples.LINEAGE)
    for event in first_apply(("a", "b"))[:4]:
        fold(state, event)
    fold(state, Held("a", AT, "failed", ""))
    fold(state, RunStarted("run-2", AT, "apply", "me", "", "", (RunChange("a", "create", "e", 1),)))
    fold(state, ChangeAccepted("a", accepted("run-2"), desired("s2", backend="there")))
    assert settled(state) == {"a": "superseded", "b": None}
    assert settled(state, "run-2") == {"a": None}
    record = state.jobs["a"]
    assert (record.backend, record.hold, record.desired) == ("there", None, desired("s2", backend="there"))


def test_acceptance_without_desire_keeps_the_desire() -> None:
    state = after(ChangeAccepted("a", accepted(action="delete"), None))
    assert state.jobs["a"].desired == desired()
    refused(state, ChangeAccepted("nobody", accepted(action="delete"), None))


def test_settled_stays_settled() -> None:
    """Only what was done may still be cancelled: its attempt ended, and the retry that was due is not wanted."""
    state = after(Settled("a", AT, "done"), Settled("a", AT, "cancelled"), Settled("a", AT, "done"))
    assert state.jobs["a"].accepted == replace(accepted(), settled="cancelled")
    assert settled(state) == {"a": "done"}
    refused(state, Settled("nobody", AT, "done"))


def test_runs_start_and_end_once() -> None:
    state = after(RunEnded("run-1", AT, "applied", 0))
    assert (state.runs["run-1"].exit, state.runs["run-1"].outcome) == (0, "applied")
    refused(state, RunStarted("run-1", AT, "apply", "me", "", ""))
    refused(state, RunEnded("run-9", AT, "applied", 0))


def test_settling_many_changes_takes_no_search() -> None:
    """Each of many costs about what each of few does: no eight times as much."""
    def taken(count: int, times: int) -> float:
        addresses = tuple(f"job{number}" for number in range(count))
        started = time.process_time()
        for _ in range(times):
            assert set(settled(after(start=addresses)).values()) == {"done"}
        return time.process_time() - started

    assert taken(4000, 1) < 5 * taken(500, 8)


# --- calls ---


def test_second_begin_carries_the_new_body() -> None:
    state = State(samples.LINEAGE)
    for event in first_apply(("a",))[:-1]:
        fold(state, event)
    again = replace(intent(), body_hash="other")
    fold(state, Begun("a", again))
    assert state.jobs["a"].intent == again
    refused(state, Begun("a", intent(2)))
    refused(state, Begun("a", intent(1, Op.CANCEL)))


def test_begin_alone_makes_a_record() -> None:
    state = State(samples.LINEAGE)
    fold(state, Begun("a", intent()))
    assert (state.jobs["a"].backend, state.jobs["a"].scope) == ("here", "machine:1")
    assert state.last_attempt("a") == 1


def test_calls_must_fit() -> None:
    state = after()
    refused(state, Begun("a", intent(1)))
    refused(state, Begun("a", intent(2, Op.CANCEL)))
    refused(state, Begun("nobody", intent(1, Op.CANCEL)))
    refused(state, Ended("a", Op.SUBMIT, 1, AT, ok=True))
    refused(state, Ended("nobody", Op.SUBMIT, 1, AT, ok=True))
    fold(state, Begun("a", intent(1, Op.CANCEL)))
    refused(state, Ended("a", Op.DELETE, 1, AT, ok=True))


def test_update_cancel_and_delete() -> None:
    state = after(
        RunStarted("run-2", AT, "apply", "me", "", "", (RunChange("a", "update", "e", 1),)),
        ChangeAccepted("a", accepted("run-2", action="update"), desired("s2")),
        Begun("a", intent(1, Op.UPDATE, "run-2", "s2")), Ended("a", Op.UPDATE, 1, AT, ok=True),
        Begun("a", intent(1, Op.CANCEL)), Ended("a", Op.CANCEL, 1, AT, ok=True),
        Begun("a", intent(1, Op.DELETE)), Ended("a", Op.DELETE, 1, AT, ok=True),
    )
    [attempt] = state.jobs["a"].attempts
    assert (attempt.spec, attempt.applied, attempt.asked_stop, attempt.removed) == ("s1", "s2", True, True)
    assert settled(state, "run-2") == {"a": "done"}


def test_cancelling_does_not_settle_the_replacement() -> None:
    """The change of a replace names the attempt to come: its stop is only the first half."""
    state = after(
        RunStarted("run-2", AT, "apply", "me", "", "", (RunChange("a", "replace", "e", 2),)),
        ChangeAccepted("a", replace(accepted("run-2", 2, "replace"), stop=1), desired("s2")),
        Begun("a", intent(1, Op.CANCEL)), Ended("a", Op.CANCEL, 1, AT, ok=True),
    )
    assert settled(state, "run-2") == {"a": None}


# --- observations ---


def test_observation_completes_and_ended_stays() -> None:
    state = after(
        Observed("a", 1, AT, Phase.RUNNING, started_at="T1"), Observed("a", 1, AT, Phase.UNKNOWN),
        Observed("a", 1, AT, Phase.FAILED, "killed", "oom", "OOMKilled", 137, {"x": 1}, None, "T2"),
        Observed("a", 1, AT, Phase.SUCCEEDED, exit=0, outputs={}, ended_at="T3"),
    )
    [attempt] = state.jobs["a"].attempts
    assert (attempt.phase, attempt.class_, attempt.exit, attempt.outputs) == (Phase.FAILED, "oom", 137, {"x": 1})
    assert (attempt.started_at, attempt.ended_at, attempt.native_reason) == ("T1", "T2", "OOMKilled")
    refused(state, Observed("a", 2, AT, Phase.RUNNING))
    refused(state, Observed("nobody", 1, AT, Phase.RUNNING))


def test_an_end_always_has_a_time() -> None:
    assert after(Observed("a", 1, "T9", Phase.CANCELLED)).jobs["a"].attempts[0].ended_at == "T9"


def test_hold_and_release() -> None:
    state = after(Held("a", AT, "lost", "gone"))
    assert state.jobs["a"].hold is not None
    fold(state, Released("a", AT))
    assert state.jobs["a"].hold is None
    refused(state, Held("nobody", AT, "lost", ""))
    refused(state, Released("nobody", AT))


# --- addresses that come and go ---


def test_removed_while_live_leaves_a_reference() -> None:
    state = after(Observed("a", 1, AT, Phase.RUNNING, started_at=AT), Removed("a", AT, "forgotten"))
    tombstone = state.tombstones["a"]
    assert (tombstone.ref, tombstone.mark, tombstone.backend, tombstone.scope) == ({"pid": 7}, "mark-1", "here", "machine:1")
    assert (tombstone.last_attempt, tombstone.how, len(tombstone.attempts), tombstone.live) == (1, "forgotten", 1, True)
    fold(state, Observed("a", 1, AT, Phase.SUCCEEDED))
    assert not state.tombstones["a"].live
    assert state.tombstones["a"].attempts[0].phase is Phase.SUCCEEDED


def test_removed_after_the_end_leaves_no_reference() -> None:
    state = after(Observed("a", 1, AT, Phase.SUCCEEDED), Removed("a", AT, "deleted"), Settled("a", AT, "done"))
    assert not state.tombstones["a"].live
    assert "a" not in state.jobs


def test_removed_inside_a_submission_leaves_its_mark() -> None:
    state = after(Observed("a", 1, AT, Phase.FAILED), Begun("a", intent(2)), Removed("a", AT, "forgotten"))
    tombstone = state.tombstones["a"]
    assert (tombstone.last_attempt, tombstone.ref, tombstone.mark, tombstone.live) == (2, None, "mark-2", True)
    fold(state, Resolved("a", AT, "me", "not submitted"))
    assert not state.tombstones["a"].live


def test_removal_settles_what_was_open() -> None:
    state = after(
        RunStarted("run-2", AT, "apply", "me", "", "", (RunChange("a", "delete", "e", 1),)),
        ChangeAccepted("a", accepted("run-2", action="delete"), None), Removed("a", AT, "deleted"),
    )
    assert settled(state, "run-2") == {"a": "done"}


def test_numbers_never_restart() -> None:
    state = after(Observed("a", 1, AT, Phase.SUCCEEDED), Removed("a", AT, "deleted"))
    fold(state, ChangeAccepted("a", accepted("run-2", 2), desired()))
    refused(state, Begun("a", intent(1)))
    fold(state, Begun("a", intent(2)))
    fold(state, Ended("a", Op.SUBMIT, 2, AT, ok=True))
    fold(state, Removed("a", AT, "deleted"))
    tombstone = state.tombstones["a"]
    assert (tombstone.last_attempt, [attempt.n for attempt in tombstone.attempts]) == (2, [1, 2])


def test_moved_there_and_back() -> None:
    state = after(Moved("a", "b", AT))
    assert (state.tombstones["a"].last_attempt, state.tombstones["a"].live, state.tombstones["a"].how) == (1, False, "moved")
    assert state.jobs["b"].attempts[0].n == 1
    assert state.last_attempt("a") == 1
    fold(state, Moved("b", "a", AT))
    assert state.jobs["a"].attempts[0].n == 1
    refused(state, Moved("b", "c", AT))
    fold(state, ChangeAccepted("b", accepted(attempt=2), desired()))
    refused(state, Begun("b", intent(1)))
    fold(state, Begun("b", intent(2)))
    refused(state, Moved("a", "b", AT))


def test_moved_takes_the_open_change_along() -> None:
    state = State(samples.LINEAGE)
    recorder = Recorder(state)
    start = first_apply(("c", "a"))
    for event in (*start[:6], Moved("a", "b", AT), Begun("b", intent()), Ended("b", Op.SUBMIT, 1, AT, True)):
        recorder.fold(event)
    assert settled(state) == {"c": "done", "b": "done"}


def test_moved_onto_what_was_accepted_there() -> None:
    """An apply accepts the move under the new address, then the record comes."""
    state = after(
        RunStarted("run-2", AT, "apply", "me", "", "", (RunChange("b", "move", "e", 1),)),
        ChangeAccepted("b", accepted("run-2", action="move"), desired("s2")), Moved("a", "b", AT), Settled("b", AT, "done"),
    )
    record = state.jobs["b"]
    assert (len(record.attempts), record.desired) == (1, desired("s2"))
    assert settled(state, "run-2") == {"b": "done"}


def test_resolved() -> None:
    state = after(Held("a", AT, "unknown_submission", ""), Resolved("a", AT, "me", "found"))
    assert state.jobs["a"].hold is None
    refused(state, Resolved("nobody", AT, "me", "found"))


# --- snapshots ---


def taken(attempt: Attempt, address: str = "a") -> Imported:
    return Imported(address, AT, Accepted("adopt", "requested", "run-i", AT, "d", attempt.n), desired(), attempt)


def test_an_imported_run_is_an_attempt_and_settles_its_change() -> None:
    state = State(samples.LINEAGE)
    fold(state, RunStarted("run-i", AT, "import", "me", "", "", (RunChange("a", "adopt", "d", 1),)))
    fold(state, taken(samples.imported()))
    record = state.jobs["a"]
    assert (record.backend, record.scope, record.desired) == ("here", "machine:1", desired())
    assert record.attempts == (samples.imported(),)
    assert record.accepted is not None and (record.accepted.action, record.accepted.settled) == ("adopt", "done")
    assert settled(state, "run-i") == {"a": "done"}
    assert state.features == ()


def test_a_state_says_that_it_has_asserted_fields() -> None:
    state = State(samples.LINEAGE)
    fold(state, taken(samples.imported(asserted=("spec.env",))))
    fold(state, taken(samples.imported(asserted=("spec.env",)), "b"))
    assert state.features == (ASSERTED,)


def test_an_import_beside_a_run_does_not_fit() -> None:
    refused(after(), taken(samples.imported(2)))
    refused(after(Begun("b", intent())), taken(samples.imported(2), "b"))
    refused(after(Observed("a", 1, AT, Phase.FAILED, class_="lost")), taken(samples.imported(1)))


def test_an_import_after_a_lost_run_closes_what_was_open() -> None:
    lost = Observed("a", 1, AT, Phase.FAILED, class_="lost")
    again = [
        RunStarted("run-2", AT, "apply", "me", "", "", (RunChange("a", "rerun", "d", 2),)),
        ChangeAccepted("a", accepted("run-2", 2, "rerun"), None), Held("a", AT, "lost"),
    ]
    state = after(lost, *again, taken(samples.imported(2)))
    record = state.jobs["a"]
    assert settled(state, "run-2") == {"a": "superseded"}
    assert ([attempt.n for attempt in record.attempts], record.hold) == ([1, 2], None)
    assert not record.attempts[0].removed
    same = after(lost, taken(samples.imported(2, {"pid": 7})))
    assert same.jobs["a"].attempts[0].removed, "what remains of the first attempt is the second one's run"


@pytest.mark.parametrize(("ref", "rests"), [({"pid": 7}, True), ({"pid": 8}, False)])
def test_an_import_of_what_was_left_behind_puts_its_tombstone_to_rest(ref: dict[str, int], rests: bool) -> None:
    state = after(Removed("a", AT, "forgotten"))
    assert state.tombstones["a"].live
    fold(state, taken(samples.imported(2, ref)))
    assert state.tombstones["a"].live is not rests
    assert state.last_attempt("a") == 2


def test_a_tombstone_of_a_mark_alone_rests_when_its_run_is_imported() -> None:
    state = after(Begun("b", intent()), Removed("b", AT, "forgotten"))
    fold(state, taken(samples.imported(2, mark="mark-1"), "b"))
    assert not state.tombstones["b"].live


def test_prune_keeps_what_is_named() -> None:
    state = after(
        SpecStored("s2", {}), SpecStored("s3", {}), SpecStored("s4", {}),
        Begun("a", intent(1, Op.UPDATE, spec="s2")), Ended("a", Op.UPDATE, 1, AT, ok=True), Removed("a", AT, "deleted"),
        Begun("b", intent(1, spec="s3")),
    )
    prune(state)
    assert state.specs.keys() == {"s1", "s2", "s3"}


def test_prune_never_drops_an_unfinished_run() -> None:
    state = State(samples.LINEAGE)
    state.runs["open"] = Run("open", "apply", AT, "me", "", "", (RunChange("a", "create", "d", 1),), AT, "detached", 0)
    state.runs["dead"] = Run("dead", "apply", AT, "me", "", "")
    for number in range(KEPT_RUNS + 10):
        state.runs[f"r{number}"] = Run(f"r{number}", "apply", AT, "me", "", "", (), AT, "applied", 0)
    prune(state)
    assert len(state.runs) == KEPT_RUNS
    assert list(state.runs)[:3] == ["open", "dead", "r12"]


# --- whatever happens ---


@given(st.integers(0, 2**32), st.integers(0, 80))
@settings(max_examples=60)
def test_rules_hold_in_every_history(seed: int, length: int) -> None:
    state = State(samples.LINEAGE)
    recorder = Recorder(state)
    highest: dict[str, int] = {}
    ended: dict[tuple[str, str], Phase] = {}
    for event in history(seed, length):
        recorder.fold(event)
        if isinstance(event, Ended) and event.op is Op.SUBMIT and event.ok:
            assert event.attempt > highest.get(event.address, 0)
            highest[event.address] = event.attempt
        if isinstance(event, Imported):
            assert event.attempt.n > highest.get(event.address, 0)
            highest[event.address] = event.attempt.n
        for address, number in highest.items():
            assert state.last_attempt(address) >= number
        for record in state.jobs.values():
            numbers = [attempt.n for attempt in record.attempts]
            assert numbers == sorted(set(numbers))
        for address, record in state.jobs.items():
            for attempt in record.attempts:
                if attempt.ended:
                    assert ended.setdefault((address, f"{attempt.begun_at}{attempt.n}"), attempt.phase) is attempt.phase
    prune(state)
    for record in state.jobs.values():
        for attempt in record.attempts:
            assert state.spec(attempt.applied)
    asserted = any(attempt.asserted for record in state.jobs.values() for attempt in record.attempts)
    assert not asserted or state.features == (ASSERTED,)
