"""What an approval binds to: what must move a plan's digest, what must not, and what a saved or named plan may do."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobform.codec import plan_from_json, plan_to_json
from jobform.model.errors import BackendError, StaleError
from jobform.model.state import Phase
from jobform.run.approval import Approval
from tests.engine.lab import Lab, acting, codes
from tests.engine.table import Table, table_plan

CHANGED = {"last": "succeeded", "now": {"spec": {"command": ["other"]}}}
UPDATED = {"last": "running", "now": {"spec": {"labels": {"a": "b"}}}, "reported": {"command": ["work"], "labels": {"a": "x"}}}


def digest_of(blocks: dict[str, str] | None = None, **jobs: Any) -> str:
    table = Table()
    for address, given in jobs.items():
        table.add(address, given)
    found = table_plan(table, blocks=blocks).digest
    assert found is not None
    return found


def test_a_job_that_ended_meanwhile_does_not_matter() -> None:
    assert digest_of(job=CHANGED, alone={"last": "running"}) == digest_of(job=CHANGED, alone={"last": "succeeded"})


def test_what_others_hold_or_block_does_not_matter() -> None:
    held = {"last": {"phase": "failed", "class": "user_error"}}
    blocked = {"last": "running", "now": {"spec": {"command": ["other"]}}}
    assert digest_of(job=CHANGED, alone=held) == digest_of(job=CHANGED, alone=blocked) == digest_of(job=CHANGED)


def test_what_was_accepted_before_does_not_matter() -> None:
    assert digest_of(job=CHANGED, alone={}) == digest_of(job=CHANGED)


@pytest.mark.parametrize("other", [
    {"now": {"spec": {"command": ["third"]}}},
    {"now": {"spec": {"command": ["other"], "env": {"A": "b"}}}},
    {"now": {"spec": {"command": ["other"], "timeout": "1h"}}},
    {"now": {"spec": {"command": ["other"], "notify": "me"}}},
    {"now": {"spec": {"command": ["other"]}, "protect": True}},
    {"now": {"spec": {"command": ["other"]}, "keep_objects": 1}},
    {"now": {"spec": {"command": ["other"]}, "rerun": {"on": ["changed", "lost"]}}},
    {"now": {"spec": {"command": ["other"]}, "generation": 2}},
    {"now": {"spec": {"command": ["other"]}, "backend": "other"}},
    {"was": {"spec": {"command": ["before"]}, "protect": True}},
    {"last": ["succeeded", "succeeded"]},
    {"last": "pending"},
])
def test_whatever_concerns_the_job_matters(other: dict[str, Any]) -> None:
    assert digest_of(job=CHANGED | other) != digest_of(job=CHANGED)


def test_a_setting_of_the_backend_matters() -> None:
    assert digest_of({"ref": "a"}, job=CHANGED) != digest_of({"ref": "b"}, job=CHANGED)
    assert digest_of({"ref": "a", "other": "1"}, job=CHANGED) == digest_of({"ref": "a", "other": "2"}, job=CHANGED)


def test_the_actual_value_of_a_field_that_changes_matters() -> None:
    reported = {"command": ["work"], "labels": {"a": "y"}}
    assert digest_of(job=UPDATED) != digest_of(job=UPDATED | {"reported": reported})
    assert digest_of(job=UPDATED) == digest_of(job=UPDATED | {"reported": UPDATED["reported"] | {"priority": 3}})


def test_for_finish_it_does_not_matter_that_the_run_has_ended() -> None:
    finish = {"now": {"spec": {"command": ["other"]}, "on_change_while_running": "finish"}}
    assert digest_of(job=finish | {"last": "running"}) == digest_of(job=finish | {"last": "succeeded"})
    assert digest_of(job=finish | {"last": "running"}) != digest_of(job=finish | {"last": "pending"})


def test_the_yes_to_a_stop_matters() -> None:
    cancel = {"last": "running", "now": {"spec": {"command": ["other"]}, "on_change_while_running": "cancel"}}
    finish = {"last": "running", "now": {"spec": {"command": ["other"]}, "on_change_while_running": "finish"}}
    assert digest_of(job=cancel) != digest_of(job=finish)


# --- plans that are named or saved ------------------------------------------------------------------------------------


def refused(lab: Lab, approval: Approval) -> set[str]:
    with pytest.raises(StaleError) as caught:
        lab.apply(approval)
    assert caught.value.exit_code == 6
    return {found.code for found in caught.value.diagnostics}


def approved(lab: Lab) -> Approval:
    return Approval(digest=lab.plan().digest)


def saved(lab: Lab) -> Approval:
    return Approval(file=plan_from_json(json.loads(json.dumps(plan_to_json(lab.plan())))))


HOWS = pytest.mark.parametrize("how", [approved, saved])


@HOWS
def test_an_approved_plan_is_applied_once(lab: Lab, how: Any) -> None:
    lab.write({"a": {}, "b": {"needs": ["a"]}})
    approval = how(lab)
    assert lab.apply(approval).exit == 0
    assert lab.made() == ["a", "b"]
    assert refused(lab, approval) == {"already_applied"}
    assert lab.made() == ["a", "b"]


@HOWS
def test_an_approved_plan_survives_what_does_not_concern_it(lab: Lab, how: Any) -> None:
    lab.write({"a": {"spec": {"seconds": 30}}})
    lab.apply(detach=True)
    lab.write(lab.jobs | {"b": {"backend": "ref", "spec": {"command": ["b"]}}})
    approval = how(lab)
    lab.clock.advance(60)
    assert lab.apply(approval).exit == 0
    assert lab.made() == ["a", "b"]


@pytest.mark.parametrize("keys", [
    {"spec": {"command": ["b"], "timeout": "1h"}}, {"spec": {"env": {"A": "b"}}}, {"protect": True}, {"generation": 2},
])
def test_a_digest_does_not_allow_another_job(lab: Lab, keys: dict[str, Any]) -> None:
    lab.write({"a": {}})
    approval = approved(lab)
    lab.edit("a", **keys)
    assert refused(lab, approval) == {"not_approved"}
    assert lab.made() == []


@HOWS
def test_neither_allows_another_setting_of_the_backend(lab: Lab, how: Any) -> None:
    lab.write({"a": {}})
    approval = how(lab)
    lab.backends["ref"]["window"] = 5
    lab.write()
    assert refused(lab, approval) <= {"not_approved", "stale"}


@HOWS
def test_neither_allows_a_run_that_somebody_else_made(lab: Lab, how: Any) -> None:
    lab.write({"a": {}})
    lab.apply()
    lab.edit("a", spec={"command": ["other"]})
    approval = how(lab)
    lab.rerun("a")
    assert refused(lab, approval) <= {"not_approved", "stale"}
    assert len(lab.made()) == 2


@HOWS
def test_neither_stops_a_run_that_started_meanwhile(lab: Lab, how: Any) -> None:
    lab.write({"a": {"spec": {"start_after": 10, "seconds": 50}}})
    lab.apply(detach=True)
    lab.edit("a", spec={"command": ["other"]})
    approval = how(lab)
    lab.clock.advance(20)
    assert refused(lab, approval) <= {"not_approved", "stale"}
    assert lab.state.jobs["a"].last.phase is Phase.RUNNING


@HOWS
def test_a_finish_may_be_approved_before_the_end_and_applied_after_it(lab: Lab, how: Any) -> None:
    lab.write({"a": {"spec": {"seconds": 30}, "on_change_while_running": "finish"}})
    lab.apply(detach=True)
    lab.edit("a", spec={"command": ["other"]})
    approval = how(lab)
    lab.clock.advance(60)
    assert lab.apply(approval).exit == 0
    assert lab.made() == ["a", "a"]


def test_a_saved_plan_reads_no_job_files(lab: Lab) -> None:
    lab.write({"a": {}})
    approval = saved(lab)
    (lab.directory / "jobs" / "jobs.yaml").write_text("{ nonsense")
    assert lab.apply(approval).exit == 0
    assert lab.made() == ["a"]


def test_a_saved_plan_that_was_edited_is_refused(lab: Lab) -> None:
    lab.write({"a": {}, "b": {"spec": {"seconds": 1, "labels": {"team": "x"}}}})
    text = json.dumps(plan_to_json(lab.plan()))
    original = plan_from_json(json.loads(text))
    for before, after in [
        ('["a"]', '["c"]'), ('"create"', '"rerun"'), ('"team": "x"', '"team": "y"'), ('"seconds": 1', '"seconds": 2'),
        ('"generation": 1', '"generation": 2'), ('"address": "a"', '"address": "c"'), ('"protect": false', '"protect": true'),
    ]:
        edited = text.replace(before, after, 1)
        if edited == text:
            continue
        try:
            plan = plan_from_json(json.loads(edited))
        except Exception as error:  # noqa: BLE001 - refused earlier still
            assert "Error" in type(error).__name__, error
            continue
        if plan.changes != original.changes:
            assert refused(lab, Approval(file=plan)) <= {"plan_edited", "stale"}, (before, after)
    assert lab.made() == []


@pytest.mark.parametrize("key", ["lineage", "project", "target"])
def test_a_saved_plan_of_another_project_is_refused(lab: Lab, key: str) -> None:
    lab.write({"a": {}})
    lab.apply()
    lab.edit("a", generation=2)
    plan = saved(lab).file
    assert plan
    assert refused(lab, Approval(file=replace(plan, **{key: "another"}))) == {f"other_{key}"}
    other = replace(plan, target="prod", lineage="another")
    assert refused(lab, Approval(file=other)) == {"other_target"}, "what to type comes first"


@HOWS
def test_an_unfinished_apply_is_resumed_by_the_same_word(lab: Lab, how: Any) -> None:
    lab.write({"a": {}, "b": {}, "c": {"needs": ["a"]}})
    approval = how(lab)
    lab.calls.fail("submit", BackendError("quota"), subject="b")
    assert lab.apply(approval).exit == 7
    assert lab.apply(approval).exit == 0
    assert sorted(lab.made()) == ["a", "b", "c"]
    assert refused(lab, approval) == {"already_applied"}
    lab.check()


def test_a_resume_allows_nothing_that_was_not_approved(lab: Lab) -> None:
    lab.write({"a": {}, "b": {}})
    approval = approved(lab)
    lab.calls.fail("submit", BackendError("quota"), subject="b")
    lab.apply(approval)
    lab.edit("a", generation=2)
    assert refused(lab, approval) == {"stale"}
    assert lab.made() == ["a"]


@HOWS
def test_a_resume_never_reruns_what_has_ended(lab: Lab, how: Any) -> None:
    lab.write({"a": {"spec": {"exit": 1}}, "b": {}})
    approval = how(lab)
    lab.calls.fail("submit", BackendError("quota"), subject="b")
    assert lab.apply(approval).exit == 7
    lab.apply(approval)
    assert sorted(lab.made()) == ["a", "b"]


@HOWS
def test_a_superseded_plan_is_refused(lab: Lab, how: Any) -> None:
    lab.write({"a": {}})
    approval = how(lab)
    lab.calls.fail("submit", BackendError("quota"))
    assert lab.apply(approval).exit == 7
    lab.edit("a", spec={"command": ["other"]})
    assert lab.apply().exit == 0
    assert refused(lab, approval) == {"already_applied"}
    assert lab.made() == ["a"]


def test_a_plan_offline_cannot_be_applied(lab: Lab) -> None:
    lab.write({"a": {}})
    plan = lab.plan(offline=True)
    assert plan.digest is None
    assert refused(lab, Approval(file=plan)) == {"not_appliable"}


def test_a_secret_that_is_missing_stops_before_the_first_call(lab: Lab) -> None:
    lab.write({"a": {}, "b": {"spec": {"env": {"S": "{{ secret('S') }}"}}}})
    from jobform.model.errors import InputError

    with pytest.raises(InputError):
        lab.apply()
    assert lab.made() == []
    lab.environ["JOBFORM_SECRET_S"] = "one value"
    assert lab.apply().exit == 0
    lab.environ["JOBFORM_SECRET_S"] = "another value"
    assert not acting(lab.plan()), "rotation changes no plan"


def test_a_block_remains_and_is_told(lab: Lab) -> None:
    lab.write({"a": {"spec": {"seconds": 9}}, "b": {}})
    lab.apply(detach=True)
    lab.edit("a", spec={"command": ["other"]})
    lab.edit("b", generation=2)
    outcome = lab.apply()
    assert outcome.exit == 7
    assert "blocked_live" in codes(outcome)
    assert sorted(lab.made()) == ["a", "b", "b"]
