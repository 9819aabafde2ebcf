"""The loop that calls backends: order, limits, failures, and what it does when the world answers oddly. Time is the test's."""

import importlib
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest

from jobform.engine.means import Stop
from jobform.model.errors import BackendError
from jobform.model.event import Ended, Held, Released, Settled
from jobform.model.state import Op, Phase
from tests.engine.lab import Lab, acting, calls_of, codes, open_calls, reasons


def many(count: int, **spec: Any) -> dict[str, Any]:
    return {f"j{n:03}": {"spec": {"command": [str(n)], **spec}} for n in range(count)}


# --- limits -----------------------------------------------------------------------------------------------------------


def test_no_more_calls_than_parallelism_are_in_flight(lab: Lab) -> None:
    gate, lock, flying, most = threading.Event(), threading.Lock(), [0], [0]

    def watch(operation: str, subject: str, moment: str) -> None:
        if operation != "submit":
            return
        with lock:
            flying[0] += 1 if moment == "before" else -1
            most[0] = max(most[0], flying[0])
            if most[0] == 3:
                gate.set()
        if moment == "before":
            gate.wait(120)

    lab.calls.on = watch
    lab.write(many(12))
    assert lab.apply(parallelism=3).exit == 0
    assert most[0] == 3
    assert open_calls(lab.heard.events) == 3
    assert len(lab.made()) == 12


def test_a_call_is_made_only_after_its_begin_is_durable(lab: Lab) -> None:
    begun: set[str] = set()
    early: list[str] = []

    def watch(operation: str, subject: str, moment: str) -> None:
        if operation == "submit" and moment == "before":
            journal = (lab.directory / "jobform.state.journal").read_text()
            if f'"type":"begin","address":"{subject}"' not in journal and f'"address":"{subject}"' not in journal:
                early.append(subject)
            begun.add(subject)

    lab.calls.on = watch
    lab.write(many(5))
    assert lab.apply().exit == 0
    assert len(begun) == 5
    assert not early


def test_the_begins_of_one_wave_are_one_write(lab: Lab) -> None:
    appends: list[str] = []
    lab.effect = lambda name, address: appends.append(name) if name in ("store.append.before", "backend.submit.before") else None
    lab.write(many(8))
    assert lab.apply(parallelism=8).exit == 0
    first = appends.index("backend.submit.before")
    assert appends[:first].count("store.append.before") == 2, "one for what was accepted, one for eight begins"


def test_a_backend_takes_no_more_attempts_than_it_declares(tmp_path: Path) -> None:
    lab = Lab(tmp_path, max_submitted=2)
    lab.write(many(7, seconds=5))
    assert lab.apply().exit == 0
    live = most = 0
    for entry in lab.world.entries():
        live += (entry.kind == "created") - (entry.kind == "ended")
        most = max(most, live)
    assert (len(lab.made()), most) == (7, 2)


def test_a_place_that_a_refused_submission_leaves_goes_to_the_next(tmp_path: Path) -> None:
    lab = Lab(tmp_path, max_submitted=1)
    lab.write(many(3))
    lab.calls.fail("submit", BackendError("quota"), subject="j000")
    outcome = lab.apply()
    assert outcome.exit == 7
    assert lab.made() == ["j001", "j002"]


def test_a_place_that_an_unset_secret_leaves_goes_to_the_next(tmp_path: Path) -> None:
    lab = Lab(tmp_path, max_submitted=1, environ={"JOBFORM_SECRET_S": "a long value"})
    jobs = many(3, seconds=5)
    jobs["j001"]["spec"]["env"] = {"S": "{{ secret('S') }}"}
    lab.write(jobs)
    assert lab.apply(detach=True, timeout=0.0).exit in (0, 9)
    del lab.environ["JOBFORM_SECRET_S"]
    for _ in range(4):
        lab.clock.advance(6)
        lab.advance()
    assert lab.made() == ["j000", "j002"]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_that_may_pass_is_tried_again_by_the_clock(lab: Lab) -> None:
    lab.write({"a": {}})
    lab.calls.fail("submit", *[BackendError("busy", retryable=True)] * 3)
    started = lab.clock.monotonic()
    assert lab.apply().exit == 0
    assert lab.clock.monotonic() - started >= 0.5 * (1 + 2 + 4) / 2
    assert [event.ok for event in lab.heard.events if isinstance(event, Ended)] == [False, False, False, True]
    assert lab.state.jobs["a"].last.n == 1, "nothing was submitted before, so the number is the same"


def test_a_failure_that_does_not_pass_is_given_up_and_resumed_later(lab: Lab) -> None:
    lab.write({"a": {}})
    lab.calls.fail("submit", *[BackendError("busy", retryable=True)] * 5)
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (7, {"submit_failed"})
    assert reasons(lab.plan()) == {"a": "accepted create new"}
    assert lab.apply().exit == 0
    assert lab.made() == ["a"]


def test_an_ambiguous_answer_is_looked_up_and_found(lab: Lab) -> None:
    lab.write({"a": {}})
    lab.calls.fail("submit", BackendError("timeout", ambiguous=True), moment="after")
    assert lab.apply().exit == 0
    assert lab.made() == ["a"]
    assert [event.adopted for event in lab.heard.events if isinstance(event, Ended)] == [True]


def test_an_ambiguous_answer_is_looked_up_and_absent(lab: Lab) -> None:
    lab.write({"a": {}})
    lab.calls.fail("submit", BackendError("reset", ambiguous=True, retryable=True))
    assert lab.apply().exit == 0
    assert lab.made() == ["a"]


def test_an_ambiguous_answer_that_nobody_can_explain_keeps_its_intent(lab: Lab) -> None:
    lab.backends["ref"]["window"] = 60
    lab.write({"a": {}, "b": {}})
    lab.calls.fail("submit", BackendError("reset", ambiguous=True), subject="a")
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (7, {"unknown_submission"})
    assert lab.made() == ["b"]
    assert lab.state.jobs["a"].intent is not None
    assert reasons(lab.plan())["a"] == "hold unknown_submission"
    lab.clock.advance(61)
    assert reasons(lab.plan())["a"] == "accepted create new"
    assert lab.apply().exit == 0
    assert lab.made() == ["b", "a"]


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, RecursionError])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_bug_in_a_plug_in_does_not_lose_a_run(lab: Lab, error: type[Exception], moment: str) -> None:
    lab.write({"a": {}, "b": {}})
    lab.calls.fail("submit", error("oops"), subject="a", moment=moment)
    outcome = lab.apply()
    assert outcome.exit == (0 if moment == "after" else 7)
    assert "b" in lab.made()
    assert lab.apply().exit == 0
    assert sorted(lab.made()) == ["a", "b"]
    lab.check()


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, RecursionError])
def test_a_bug_while_it_is_looked_up_keeps_the_intent(lab: Lab, error: type[Exception]) -> None:
    lab.write({"a": {}})
    lab.calls.fail("submit", error("oops"), moment="after")
    lab.calls.fail("find", error("again"))
    assert lab.apply().exit == 7
    assert lab.state.jobs["a"].intent is not None
    assert lab.apply().exit == 0
    assert lab.made() == ["a"]


def test_independent_branches_go_on(lab: Lab) -> None:
    lab.write({
        "bad": {"spec": {"exit": 1}}, "after_bad": {"needs": ["bad"]}, "good": {"spec": {"seconds": 3}},
        "after_good": {"needs": ["good"]},
    })
    outcome = lab.apply()
    assert outcome.exit == 7
    assert codes(outcome) == {"dependency_failed", "job_failed"}
    assert lab.made() == ["bad", "good", "after_good"] or sorted(lab.made()) == ["after_good", "bad", "good"]
    assert reasons(lab.plan())["after_bad"] == "hold dependency_failed"


def test_fail_fast_starts_nothing_more(lab: Lab) -> None:
    lab.write({"a": {"spec": {"exit": 1}}, "long": {"spec": {"seconds": 5}}, "later": {"needs": ["long"]}})
    outcome = lab.apply(fail_fast=True)
    assert outcome.exit == 7
    assert "given_up" in codes(outcome)
    assert sorted(lab.made()) == ["a", "long"]


def test_a_stop_ends_calls_in_flight_and_starts_none(lab: Lab) -> None:
    stop = Stop()
    lab.calls.on = lambda operation, subject, moment: stop.ask(143) if (operation, moment) == ("submit", "after") else None
    lab.write(many(6))
    assert lab.apply(parallelism=1, stop=stop).exit == 143
    assert lab.made() == ["j000"]
    assert all(record.intent is None for record in lab.state.jobs.values())
    assert lab.apply().exit == 0
    assert len(lab.made()) == 6
    lab.check()


def test_a_place_that_cannot_be_proven_stops_only_its_own_jobs(lab: Lab) -> None:
    lab.write({"a": {}, "b": {"backend": "other"}})
    lab.world.set_scope("other", None)
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (7, {"scope_not_proven"})
    assert lab.made() == ["a"]


# --- stops ------------------------------------------------------------------------------------------------------------


def test_a_conditional_stop_that_meets_a_started_run_leaves_it_alone(lab: Lab) -> None:
    lab.write({"a": {"spec": {"start_after": 10, "seconds": 20}}})
    lab.apply(detach=True)
    lab.edit("a", spec={"command": ["other"]})
    assert acting(lab.plan()) == {"a": "replace spec_changed"}

    def start_it(operation: str, subject: str, moment: str) -> None:
        if (operation, moment) == ("cancel", "before"):
            lab.clock.advance(11)

    lab.calls.on = start_it
    outcome = lab.apply()
    assert outcome.exit == 7
    assert "refused" in codes(outcome)
    assert [event.how for event in lab.heard.events if isinstance(event, Settled)] == ["refused"]
    assert calls_of(lab.heard.events, Op.CANCEL) == ["a"], "asked once, then looked at"
    assert lab.made() == ["a"]
    assert lab.state.jobs["a"].last.phase is Phase.SUCCEEDED


def test_a_waiting_run_is_replaced(lab: Lab) -> None:
    lab.write({"a": {"spec": {"start_after": 10, "seconds": 20}}})
    lab.apply(detach=True)
    lab.edit("a", spec={"command": ["other"], "start_after": 0})
    assert lab.apply().exit == 0
    assert [attempt.phase for attempt in lab.state.jobs["a"].attempts] == [Phase.CANCELLED, Phase.SUCCEEDED]
    lab.check()
    assert not acting(lab.plan())


def test_a_new_attempt_is_begun_only_after_the_old_one_was_seen_to_end(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 50, "grace": 30}}})
    lab.apply(detach=True)
    lab.edit("a", spec={"command": ["other"]}, on_change_while_running="cancel")
    assert lab.apply().exit == 0
    assert lab.made() == ["a", "a"]
    lab.check()


def test_delete_stops_waits_and_removes(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 50, "grace": 5}}, "b": {}})
    lab.apply(detach=True)
    lab.jobs.pop("a")
    lab.write(removed=[{"job": "a", "cancel": True}])
    assert lab.apply().exit == 0
    state = lab.state
    assert "a" not in state.jobs
    assert not state.tombstones["a"].live
    assert [entry.kind for entry in lab.world.entries() if entry.address == "a"][-1] == "deleted"


def test_a_delete_that_cannot_remove_an_older_object_is_not_complete(lab: Lab) -> None:
    lab.write({"a": {"keep_objects": 5}, "b": {}})
    lab.apply()
    lab.edit("a", generation=2)
    lab.apply()
    lab.jobs.pop("a")
    lab.write()
    lab.calls.fail("delete", BackendError("denied"))
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (7, {"delete_failed"})
    assert lab.apply().exit == 0
    assert "a" not in lab.state.jobs


@pytest.mark.parametrize("command", ["apply", "wait", "advance"])
def test_an_end_that_the_first_look_of_a_command_saw_counts(lab: Lab, command: str) -> None:
    lab.write({"bad": {"spec": {"seconds": 5, "exit": 1}}, "good": {"spec": {"seconds": 5}}})
    lab.apply(detach=True)
    lab.clock.advance(10.0)
    outcome = getattr(lab, command)()
    assert (outcome.exit, codes(outcome)) == (8, {"job_failed"})
    assert (outcome.counts["succeeded"], outcome.counts["failed"]) == (1, 1)
    assert getattr(lab, command)().exit == 0, "a job that failed before is not this command's"


def test_what_has_not_started_is_counted_and_what_is_withdrawn_too(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 50}}, "b": {"needs": ["a"]}, "c": {"needs": ["b"]}})
    assert lab.apply(detach=True).counts["waiting"] == 2
    outcome = lab.cancel("b")
    assert (outcome.exit, outcome.counts["cancelled"]) == (0, 1)
    assert {change.address: change.detail for change in lab.plan().changes}["c"] == "what was accepted of b was cancelled"


def test_an_end_that_nobody_waits_for_does_not_count(lab: Lab) -> None:
    lab.write({"bad": {"spec": {"seconds": 5, "exit": 1}}, "good": {"spec": {"seconds": 5}}})
    lab.apply(detach=True)
    lab.clock.advance(10.0)
    assert lab.wait("good").exit == 0


def test_nobody_waits_for_the_end_of_a_run_that_was_forgotten(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 50}}, "b": {}})
    lab.apply(detach=True)
    lab.write({"b": {}}, removed=[{"job": "a"}])
    outcome = lab.apply(timeout=20.0)
    assert (outcome.exit, outcome.counts["live"]) == (0, 0)
    assert lab.state.tombstones["a"].live


def test_a_removal_that_is_taken_back_stops_nothing(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 50}}, "b": {}})
    lab.apply(detach=True)
    lab.write({"b": {}}, removed=[{"job": "a", "cancel": True}])
    lab.calls.fail("cancel", BackendError("denied"))
    assert lab.apply(timeout=1.0).exit == 7
    lab.write({"a": {"spec": {"seconds": 50}}, "b": {}})
    assert acting(lab.plan()) == {"a": "update policy_changed"}
    assert lab.apply().exit == 0
    assert lab.state.jobs["a"].last.phase is Phase.SUCCEEDED


# --- objects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "deleted"), [(0, 3), (1, 2), (5, 0)])
def test_objects_of_older_attempts_are_removed(lab: Lab, kept: int, deleted: int) -> None:
    lab.write({"a": {"keep_objects": kept}})
    for generation in range(1, 5):
        lab.edit("a", generation=generation)
        assert lab.apply().exit == 0
    assert sum(entry.kind == "deleted" for entry in lab.world.entries()) == deleted
    assert [attempt.removed for attempt in lab.state.jobs["a"].attempts] == [True] * deleted + [False] * (4 - deleted)


def test_an_object_that_cannot_be_removed_is_a_warning(lab: Lab) -> None:
    lab.write({"a": {}})
    lab.apply()
    lab.edit("a", generation=2)
    lab.calls.fail("delete", BackendError("denied"))
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (0, {"object_left"})


def test_an_update_of_an_object_that_is_gone_is_recorded(lab: Lab) -> None:
    lab.write({"a": {}})
    lab.apply()
    lab.world.vanish(lab.run_of("a"))
    lab.edit("a", spec={"labels": {"x": "y"}})
    assert acting(lab.plan()) == {"a": "update spec_changed"}
    assert lab.apply().exit == 0
    assert not acting(lab.plan())
    assert lab.state.jobs["a"].last.removed


def test_an_update_that_takes_the_last_label_away_is_done_once(lab: Lab) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "labels": {"x": "y"}}}})
    lab.apply()
    lab.write({"a": {}})
    assert acting(lab.plan()) == {"a": "update spec_changed"}
    assert lab.apply().exit == 0
    assert not acting(lab.plan())


def test_an_update_in_place_is_one_call(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 9}}})
    lab.apply(detach=True)
    lab.edit("a", spec={"labels": {"x": "y"}, "region": "eu"})
    assert lab.apply().exit == 0
    last = lab.state.jobs["a"].last
    assert (len(last.updates), lab.state.specs[last.applied]["labels"]) == (1, {"x": "y"})
    assert "region" not in lab.state.specs[last.applied], "it may never change; it waits for the next attempt"
    assert not acting(lab.plan())


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_outputs_of_a_matrix_reach_dependants_as_a_list(lab: Lab) -> None:
    lab.write({
        "part": {"matrix": {"n": [2, 1]}, "spec": {"outputs": {"count": 7}, "seconds": 1}},
        "sum": {"spec": {"args": ["{{ jobs.part.outputs[1].outputs.count }}", "{{ jobs.part.outputs[0].matrix.n }}"]}},
    })
    outcome = lab.apply()
    assert outcome.exit == 0, outcome
    last = lab.state.jobs["sum"].last
    shown = lab.world.get("default", lab.run_of("sum"))
    assert shown.fields["args"] == ["7", "1"]
    assert list(last.used) == ["jobs.part.outputs"]


def test_outputs_of_a_matrix_are_in_address_order_whatever_was_needed_first(lab: Lab) -> None:
    lab.write({
        "part": {"matrix": {"n": [10, 9, 1, True]}, "spec": {"outputs": {"count": 7}}},
        "sum": {"needs": ["part[n=10]"], "spec": {"args": ["{{ jobs.part.outputs | map(attribute='matrix.n') | join(' ') }}"]}},
    })
    assert lab.apply().exit == 0
    assert lab.world.get("default", lab.run_of("sum")).fields["args"] == ["true 1 9 10"]


def test_an_output_that_does_not_fit_is_held_and_released(lab: Lab) -> None:
    lab.write({
        "prep": {"spec": {"outputs": {"count": "many"}}},
        "train": {"spec": {"seconds": "{{ jobs.prep.outputs.count }}"}},
    })
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (7, {"invalid_output"})
    assert [event.reason for event in lab.heard.events if isinstance(event, Held)] == ["invalid_output"]
    assert reasons(lab.plan())["train"] == "hold invalid_output"
    lab.edit("prep", spec={"outputs": {"count": 3}})
    assert lab.apply().exit == 0
    assert any(isinstance(event, Released) for event in lab.heard.events)
    assert sorted(lab.made()) == ["prep", "prep", "train"]


# --- policy -----------------------------------------------------------------------------------------------------------


def test_retries_wait_for_their_backoff_and_end(lab: Lab) -> None:
    rerun = {"on": ["infra"], "max_attempts": 4, "backoff": "10s..30s"}
    lab.write({"a": {"spec": {"fail_class": "infra"}, "rerun": rerun}})
    assert lab.apply().exit == 8
    at = [entry.at for entry in lab.world.entries() if entry.kind == "created"]
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert [low <= wait < low + 2 for low, wait in zip((10, 20, 30), waits, strict=True)] == [True] * 3
    assert reasons(lab.plan()) == {"a": "hold failed"}


def test_retries_go_on_by_advance_alone(lab: Lab) -> None:
    lab.write({"a": {"spec": {"fail_class": "infra"}, "rerun": {"on": ["infra"], "max_attempts": 2, "backoff": "60s..60s"}}})
    lab.apply(detach=True, timeout=0.0)
    assert reasons(lab.plan()) == {"a": "accepted rerun retry"}
    lab.advance()
    assert len(lab.made()) == 1
    lab.clock.advance(61)
    lab.advance()
    assert len(lab.made()) == 2


def test_a_cancelled_retry_stays_cancelled(lab: Lab) -> None:
    lab.write({"a": {"spec": {"fail_class": "infra"}, "rerun": {"on": ["infra"], "backoff": "60s..60s"}}})
    lab.apply(timeout=1.0)
    lab.cancel("a")
    lab.clock.advance(100)
    lab.advance()
    assert len(lab.made()) == 1
    assert reasons(lab.plan()) == {"a": "hold cancelled"}


def test_a_run_that_fails_while_it_is_stopped_is_not_retried(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 5, "grace": 20, "exit": 1}, "rerun": {"on": ["failed"]}}})
    lab.apply(detach=True)
    lab.cancel("a")
    lab.clock.advance(100)
    lab.advance()
    assert len(lab.made()) == 1
    assert reasons(lab.plan()) == {"a": "hold failed"}


def test_a_rerun_by_name_of_a_job_that_never_ran_waits_for_its_need(lab: Lab) -> None:
    lab.write({"prep": {"spec": {"seconds": 50}}, "a": {"needs": ["prep"]}})
    lab.apply(detach=True)
    lab.cancel("a")
    lab.rerun("a", timeout=0.0)
    assert reasons(lab.plan())["a"] == "accepted create requested"
    lab.clock.advance(60)
    lab.advance()
    lab.advance()
    assert lab.made() == ["prep", "a"]


def test_a_create_that_was_accepted_goes_on_under_its_new_name(lab: Lab) -> None:
    lab.write({"prep": {"spec": {"seconds": 50}}, "a": {"needs": ["prep"]}})
    lab.apply(detach=True)
    lab.write({"prep": {"spec": {"seconds": 50}}, "b": {"needs": ["prep"], "spec": {"command": ["a"]}}},
              moved=[{"from": "a", "to": "b"}])
    assert acting(lab.plan()) == {"b": "move renamed"}
    assert lab.apply().exit == 0
    assert lab.made() == ["prep", "b"]


def test_a_create_that_was_accepted_may_be_renamed_to_a_name_of_old(lab: Lab) -> None:
    lab.write({"prep": {"spec": {"seconds": 50}}, "b": {}})
    lab.apply(detach=True)
    lab.edit("b", generation=2)
    lab.apply(detach=True)
    lab.write({"prep": {"spec": {"seconds": 50}}, "a": {"needs": ["prep"]}})
    lab.apply(detach=True)
    lab.write({"prep": {"spec": {"seconds": 50}}, "b": {"needs": ["prep"], "spec": {"command": ["a"]}}},
              moved=[{"from": "a", "to": "b"}])
    assert lab.apply().exit == 0
    assert lab.made()[-1] == "b"
    assert lab.state.jobs["b"].last.n == 3
    lab.check()


def test_a_chain_of_needs_finishes_by_advance_alone(lab: Lab) -> None:
    lab.write({"c": {"needs": ["b"]}, "b": {"needs": ["a"]}, "a": {"spec": {"seconds": 5}}})
    lab.apply(detach=True)
    for _ in range(6):
        lab.clock.advance(6)
        lab.advance()
    assert lab.made() == ["a", "b", "c"]


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["chain", "fan_in", "fan_out", "crowd"])
def test_no_job_is_looked_at_more_often_than_its_needs_end(tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 400
    jobs = many(count)
    names = list(jobs)
    if shape == "chain":
        for before, after in itertools.pairwise(names):
            jobs[after]["needs"] = [before]
    elif shape == "fan_in":
        jobs["zzz"] = {"needs": names}
    elif shape == "fan_out":
        for name in names[1:]:
            jobs[name]["needs"] = [names[0]]
    lab = Lab(tmp_path, max_submitted=5 if shape == "crowd" else None)
    lab.write(jobs)
    counts = {"todo": 0, "judge": 0}

    def counted(name: str, module: str, attribute: str) -> None:
        owner = importlib.import_module(module)
        real = getattr(owner, attribute)

        def call(*arguments: Any, **keys: Any) -> Any:
            counts[name] += 1
            return real(*arguments, **keys)

        monkeypatch.setattr(owner, attribute, call)

    counted("todo", "jobform.engine.apply", "todo")
    counted("judge", "jobform.engine.apply", "judge_record")
    counted("judge", "jobform.engine.todo", "judge_record")
    assert lab.apply(parallelism=10).exit == 0
    assert len(lab.made()) == len(jobs)
    assert counts["todo"] <= 8 * count, counts
    assert counts["judge"] <= 8 * count, counts
