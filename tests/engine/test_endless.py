"""Jobs that end by themselves and jobs that do not, of one type: a field of their spec decides (`x-jobform-endless`)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from jobform.model.errors import InputError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.plugins import Registry
from jobform.run.looking import present, progress
from jobform.schema import SpecSchema, check
from jobform.stores.file import TYPE as FILE
from jobform.testing.fields import SPEC
from jobform.testing.reference import ReferenceType
from tests.engine.lab import Lab, acting, reasons

KIND: dict[str, Json] = {
    "enum": ["batch", "service", "shell"], "x-jobform-endless": ["service", "shell"], "x-jobform-class": "result",
    "x-jobform-mutable": "never", "x-jobform-reason": "the kind of job",
}


@dataclass(frozen=True, slots=True)
class KindedType(ReferenceType):
    """The reference service, whose jobs say in `kind` whether they end."""

    def spec_schema(self) -> dict[str, Json]:
        properties = SPEC["properties"]
        assert isinstance(properties, dict)
        return {**SPEC, "properties": {**properties, "kind": KIND}}


@pytest.fixture
def kinded(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.type = KindedType(world=lab.world, hook=lab.calls, poll=(0.1, 1.0))
    lab.registry = Registry(backends={"reference": lab.type}, stores={"file": FILE})
    return lab


def service(**spec: Any) -> dict[str, Any]:
    return {"spec": {"command": ["serve"], "kind": "service", "seconds": 1e6, **spec}}


def last(lab: Lab, address: str) -> Any:
    return lab.state.jobs[address].last


@pytest.mark.parametrize("kind", ["service", "shell"])
def test_apply_waits_for_a_service_until_it_runs_and_for_a_batch_until_it_ends(kinded: Lab, kind: str) -> None:
    kinded.write({"web": service(kind=kind, start_after=30), "work": {"spec": {"kind": "batch", "seconds": 5}}})
    assert kinded.apply().exit == 0
    assert (last(kinded, "web").phase, last(kinded, "work").phase) == (Phase.RUNNING, Phase.SUCCEEDED)
    assert not acting(kinded.plan())
    assert kinded.apply().exit == 0
    assert sorted(kinded.made()) == ["web", "work"]


def test_a_batch_of_the_same_type_is_not_reached_while_it_runs(kinded: Lab) -> None:
    kinded.write({"work": {"spec": {"kind": "batch", "seconds": 1e6}}})
    assert kinded.apply(timeout=60.0).exit == 9


@pytest.mark.parametrize("when", ["succeeded", "finished", "started"])
def test_a_need_of_a_service_is_met_while_it_runs(kinded: Lab, when: str) -> None:
    kinded.write({"web": service(start_after=5), "test": {"needs": [{"job": "web", "when": when}]}})
    assert kinded.apply().exit == 0
    assert kinded.made() == ["web", "test"]
    assert last(kinded, "test").phase is Phase.SUCCEEDED


def test_a_later_job_finds_its_need_met_by_a_service_that_runs(kinded: Lab) -> None:
    kinded.write({"web": service()})
    assert kinded.apply().exit == 0
    kinded.write({"web": service(), "test": {"needs": ["web"]}})
    change = next(change for change in kinded.plan().changes if change.address == "test")
    assert (change.action, change.after) == ("create", ())
    assert kinded.apply().exit == 0


def test_status_is_done_while_a_service_runs(kinded: Lab) -> None:
    kinded.write({"web": service(start_after=5)})
    kinded.apply(detach=True)
    with kinded.session() as session:
        assert progress(session, present(session, refresh=True)[0]) == 2
    kinded.clock.advance(6)
    with kinded.session() as session:
        assert progress(session, present(session, refresh=True)[0]) == 0


def test_wait_ends_when_a_service_runs(kinded: Lab) -> None:
    kinded.write({"web": service(start_after=5)})
    kinded.apply(detach=True)
    assert kinded.wait("web").exit == 0
    assert last(kinded, "web").phase is Phase.RUNNING


def test_a_service_that_ends_has_failed(kinded: Lab) -> None:
    kinded.write({"web": service(seconds=20)})
    assert kinded.apply().exit == 0
    kinded.clock.advance(30)
    assert reasons(kinded.plan()) == {"web": "hold failed"}
    kinded.advance()
    ended = last(kinded, "web")
    assert (ended.phase, ended.class_) == (Phase.FAILED, "infra")
    assert "goes on" in ended.native_reason


def test_a_service_that_ends_is_made_again_by_its_rerun_rules(kinded: Lab) -> None:
    kinded.write({"web": {**service(seconds=20), "rerun": {"on": ["infra"], "max_attempts": 3}}})
    assert kinded.apply().exit == 0
    kinded.clock.advance(30)
    kinded.advance()
    kinded.advance()
    assert (last(kinded, "web").n, last(kinded, "web").phase) == (2, Phase.RUNNING)
    kinded.check()


def test_a_service_that_was_stopped_by_us_is_cancelled(kinded: Lab) -> None:
    kinded.write({"web": service(seconds=20, grace=60)})
    assert kinded.apply().exit == 0
    kinded.cancel("web", detach=True)
    kinded.clock.advance(30)  # it ends well by itself before the grace is over
    kinded.advance()
    assert last(kinded, "web").phase is Phase.CANCELLED
    assert reasons(kinded.plan()) == {"web": "hold cancelled"}


def test_status_is_not_done_while_a_service_is_being_stopped(kinded: Lab) -> None:
    kinded.write({"web": service(grace=60)})
    kinded.apply()
    kinded.cancel("web", detach=True)
    with kinded.session() as session:
        assert progress(session, present(session, refresh=True)[0]) == 2
    assert kinded.advance().progress


def test_a_service_is_stopped_and_that_is_waited_for(kinded: Lab) -> None:
    kinded.write({"web": service(grace=5)})
    assert kinded.apply().exit == 0
    assert kinded.cancel("web").exit == 0
    assert last(kinded, "web").phase is Phase.CANCELLED


def test_a_service_is_removed_by_a_yes(kinded: Lab) -> None:
    kinded.write({"web": service(grace=5), "other": {}})
    assert kinded.apply().exit == 0
    kinded.write({"other": {}}, removed=[{"job": "web", "cancel": True}])
    assert kinded.apply(timeout=60.0).exit == 0
    assert "web" not in kinded.state.jobs


def test_a_service_is_replaced_by_a_yes_and_never_twice(kinded: Lab) -> None:
    kinded.write({"web": service(grace=5)})
    assert kinded.apply().exit == 0
    kinded.edit("web", spec={"command": ["serve", "more"]}, on_change_while_running="cancel")
    assert kinded.apply(timeout=60.0).exit == 0
    assert (last(kinded, "web").n, last(kinded, "web").phase) == (2, Phase.RUNNING)
    assert not acting(kinded.plan())
    kinded.check()


def test_a_service_that_may_finish_is_waited_for_to_its_end(kinded: Lab) -> None:
    kinded.write({"web": service(seconds=20)})
    assert kinded.apply().exit == 0
    kinded.edit("web", spec={"command": ["serve", "more"]}, on_change_while_running="finish")
    assert kinded.apply(timeout=10.0).exit == 9
    assert kinded.apply(timeout=60.0).exit == 0
    assert (last(kinded, "web").n, last(kinded, "web").phase) == (2, Phase.RUNNING)
    kinded.check()


def test_what_runs_decides_not_what_the_files_say_today(kinded: Lab) -> None:
    kinded.write({"web": service(), "test": {"needs": ["web"], "spec": {"seconds": 0}}})
    assert kinded.apply().exit == 0
    kinded.write({"web": service(kind="batch"), "test": {"needs": ["web"], "generation": 2, "spec": {"seconds": 0}}})
    plan = kinded.plan()
    assert reasons(plan)["web"] == "block live"
    assert next(change for change in plan.changes if change.address == "test").after == (), "a service runs, and that is enough"
    with kinded.session() as session:
        assert progress(session, present(session, refresh=True)[0]) == 0


def test_a_kind_that_is_known_only_later_is_refused(kinded: Lab) -> None:
    kinded.write({"a": {}, "web": service(kind="{{ jobs.a.outputs.kind }}")})
    with pytest.raises(InputError) as caught:
        kinded.plan()
    assert [found.code for found in caught.value.diagnostics] == ["not_known_yet"]
    assert caught.value.diagnostics[0].summary.startswith("kind must be known")


def test_a_spec_that_the_state_has_lost_says_nothing(kinded: Lab) -> None:
    kinded.write({"web": service()})
    assert kinded.apply().exit == 0
    with kinded.session() as session:
        state, places = session.manager.state, session.places
        attempt = state.jobs["web"].last
        assert attempt is not None
        assert not places.completes(attempt, state.specs)
        assert places.completes(attempt, {})
        assert places.completes(replace(attempt, backend="gone"), state.specs), "nor does one whose backend is not there"


NESTED: dict[str, Json] = {
    "type": "object",
    "properties": {
        "restart": {"type": "object", "properties": {"policy": {"$ref": "#/$defs/policy"}}},
        "serve": {"type": "boolean", "x-jobform-endless": [True]},
    },
    "$defs": {"policy": {"enum": ["always", "never"], "x-jobform-endless": ["always"]}},
}


@pytest.mark.parametrize(("spec", "completes"), [
    ({}, True), ({"serve": True}, False), ({"serve": False}, True), ({"serve": None}, True), ({"restart": {}}, True),
    ({"restart": {"policy": "always"}}, False), ({"restart": {"policy": "never"}, "serve": False}, True),
    ({"restart": "always"}, True), ({"other": True}, True), ({"serve": {"expr": "x", "with": {}}}, True),
])
def test_a_schema_tells_which_specs_end(spec: dict[str, Json], completes: bool) -> None:
    assert SpecSchema(NESTED).completes(spec) is completes


@pytest.mark.parametrize("value", [True, "service", [], {"a": 1}])
def test_the_annotation_is_a_list_of_values(value: Json) -> None:
    with pytest.raises(ValueError, match="x-jobform-endless is a list of values"):
        check({"properties": {"kind": {"type": "string", "x-jobform-endless": value}}})


def test_a_service_that_never_starts_is_waited_for(kinded: Lab) -> None:
    kinded.write({"web": service(stay_pending=True)})
    assert kinded.apply(timeout=30.0).exit == 9


def test_a_plan_says_what_goes_on_until_somebody_ends_it(kinded: Lab) -> None:
    """Once for all that begins, and never for what has begun already."""
    kinded.write({"web": service(), "work": {"spec": {"kind": "batch", "seconds": 1}}})
    assert kinded.plan().notes == {"web": "goes on, and is paid for, until somebody cancels it"}
    kinded.apply()
    assert kinded.plan().notes == {}
    kinded.write({"web": {**service(command=["serve", "again"]), "on_change_while_running": "cancel"}, "one": service()})
    assert sorted(kinded.plan().notes) == ["one and 1 more"]
    kinded.write({"web": {**service(), "rerun": {"on": []}}, "work": {"spec": {"kind": "batch", "seconds": 1}}})
    assert kinded.plan().notes == {}, "a change of policy begins nothing"
