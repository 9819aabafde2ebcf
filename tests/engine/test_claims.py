"""`import`, `orphans`: a run that exists is never made again, never taken from somebody else, and none of ours is overlooked."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jobform.engine.manager import Manager
from jobform.engine.record import fold
from jobform.engine.todo import Call, World, todo
from jobform.model.address import mark_text, remote_name
from jobform.model.claims import Orphan, Orphans, Takeover, Why
from jobform.model.errors import BackendError, FailedError, InputError, JobformError
from jobform.model.event import Event, Imported
from jobform.model.state import ASSERTED, Op, Phase
from jobform.model.values import digest
from jobform.plugins import Registry
from jobform.protocols import Actual, Difference, Sighting
from jobform.run import claims, orphans
from jobform.run.planning import copy_of
from jobform.run.session import log_name
from jobform.testing.reference import ReferenceBackend, ReferenceType
from jobform.testing.service import Order
from tests.engine.lab import Lab, acting, reasons

LONG = {"command": ["train"], "seconds": 100}
CANARY = "canary-in-the-coal-mines"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.check()


def made(lab: Lab, spec: dict[str, Any], mark: str = "", name: str = "elsewhere", namespace: str = "default") -> str:
    """A run that this project did not submit, by its id."""
    return lab.world.create(namespace, Order(name, mark, "elsewhere", spec, unique=False)).id


def ours(lab: Lab, address: str, attempt: int = 1) -> str:
    return mark_text(lab.state.lineage, address, attempt, digest("body"))


def take(lab: Lab, address: str, run: str, **options: bool) -> Takeover:
    with lab.session() as session:
        taken, _ = claims.take_over(session, address, run, claims.ImportOptions(**options))
        return taken


def refused(lab: Lab, address: str, run: str, kind: type[JobformError] = FailedError, **options: bool) -> str:
    """The code of the refusal, which changed nothing."""
    before, runs = lab.state, lab.mutations()
    with pytest.raises(kind) as caught:
        take(lab, address, run, **options)
    assert (lab.state.jobs, lab.state.tombstones, lab.mutations()) == (before.jobs, before.tombstones, runs)
    assert caught.value.diagnostics[0].hint or caught.value.diagnostics[0].detail
    return caught.value.diagnostics[0].code


def look(lab: Lab, only: str | None = None, *, everything: bool = False) -> Orphans:
    with lab.session() as session:
        return orphans.orphans(session, only, everything=everything)


def told(found: Orphans) -> dict[str, Why]:
    return {one.id: one.why for one in found.found}


def begin(lab: Lab, **jobs: Any) -> None:
    """A project with a state: nothing is imported into one that was never applied."""
    lab.write({"first": {"spec": {"command": ["first"]}}, **jobs})
    assert lab.apply(select=["first"]).exit == 0


# --- a run becomes an attempt -----------------------------------------------------------------------------------------


def test_a_live_run_is_taken_over_and_waited_for(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG)
    taken = take(lab, "train", run)
    assert (taken.attempt, taken.phase, taken.differences, taken.asserted) == (1, Phase.RUNNING, (), ())
    attempt = lab.state.jobs["train"].attempts[0]
    assert (attempt.ref, attempt.name, attempt.mark, attempt.phase) == ({"id": run}, "elsewhere", "", Phase.RUNNING)
    assert reasons(lab.plan())["train"] == "no-op in_progress"
    assert lab.apply().exit == 0
    assert lab.state.jobs["train"].attempts[0].phase is Phase.SUCCEEDED
    assert (acting(lab.plan()), len(lab.made())) == ({}, 2)
    lab.edit("train", spec={"command": ["other"]})
    lab.apply()
    assert [attempt.n for attempt in lab.state.jobs["train"].attempts] == [1, 2]


@pytest.mark.parametrize(("code", "plan"), [(0, "no-op unchanged"), (3, "hold failed")])
def test_a_run_that_has_ended_is_not_made_again(lab: Lab, code: int, plan: str) -> None:
    spec = {"command": ["train"], "exit": code}
    begin(lab, train={"spec": spec})
    take(lab, "train", made(lab, spec))
    assert reasons(lab.plan())["train"] == plan
    assert lab.apply().exit == 0
    assert len(lab.made()) == 2
    assert lab.state.jobs["train"].attempts[0].exit == code


def test_the_run_of_the_history_says_what_was_done(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    take(lab, "train", made(lab, LONG))
    run = list(lab.state.runs.values())[-1]
    assert (run.command, run.outcome, run.exit) == ("import", "done", 0)
    assert [(change.address, change.action, change.settled) for change in run.changes] == [("train", "adopt", "done")]


def test_others_that_need_it_go_on(lab: Lab) -> None:
    begin(lab, train={"spec": LONG}, report={"needs": ["train"]})
    take(lab, "train", made(lab, LONG))
    assert acting(lab.plan()) == {"report": "create new"}
    assert lab.apply().exit == 0
    assert lab.made()[-1] == "report"


def test_an_instance_of_a_matrix_by_any_spelling(lab: Lab) -> None:
    begin(lab, train={"matrix": {"a": [1, 2], "b": ["x"]}, "spec": {"command": ["{{ matrix.a }}"], "seconds": 9}})
    take(lab, "train[b=x, a=2]", made(lab, {"command": ["2"], "seconds": 9}))
    assert "train[a=2,b=x]" in lab.state.jobs


def test_an_accepted_job_that_never_began_gets_its_run(lab: Lab) -> None:
    begin(lab, gate={"spec": {"command": ["gate"], "stay_pending": True}}, train={"spec": LONG, "needs": ["gate"]})
    lab.apply(detach=True)
    assert lab.state.jobs["train"].attempts == ()
    take(lab, "train", made(lab, LONG))
    assert reasons(lab.plan())["train"] == "no-op in_progress"
    lab.cancel("gate")
    lab.apply()
    assert "train" not in lab.made()


def test_whatever_survives_a_crash_makes_no_other_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(lab, train={"spec": LONG})
    before = copy_of(lab.state)
    recorded: list[Sequence[Event]] = []
    record = Manager.record

    def spy(self: Manager, events: Sequence[Event]) -> None:
        recorded.append(list(events))
        record(self, events)

    monkeypatch.setattr(Manager, "record", spy)
    take(lab, "train", made(lab, LONG))
    (events,) = [events for events in recorded if events]
    world = World(lab.clock.now(), "", lambda _backend: True, lambda _attempt: True)
    for cut in range(len(events) + 1):
        state = copy_of(before)
        for event in events[:cut]:
            fold(state, event)
        step = todo(state, "train", world)
        assert not (isinstance(step, Call) and step.op is Op.SUBMIT)
        known = any(isinstance(event, Imported) for event in events[:cut])
        assert ("train" in state.jobs) is known
        assert not known or [attempt.ref for attempt in state.jobs["train"].attempts] == [lab.state.jobs["train"].last.ref]  # type: ignore[union-attr]  # it is there, or the test fails


# --- differences --------------------------------------------------------------------------------------------------------


def test_differences_are_listed_and_nothing_is_recorded(lab: Lab) -> None:
    begin(lab, train={"spec": {**LONG, "labels": {"a": "1"}}})
    run, state = made(lab, {**LONG, "labels": {"a": "2"}, "env": {"B": "x"}}), lab.state
    taken = take(lab, "train", run)
    assert not taken.recorded
    assert [(field.path, field.before, field.after) for field in taken.differences] == [
        ("spec.env.B", None, "x"), ("spec.labels.a", "1", "2"),
    ]
    assert taken.differences[1].range is not None
    assert (lab.state.jobs, lab.state.runs, lab.state.serial) == (state.jobs, state.runs, state.serial)


@pytest.mark.parametrize(("seen", "plan"), [
    ({**LONG, "labels": {"a": "2"}}, "update spec_changed"),
    ({**LONG, "command": ["other"]}, "block live"),
    ({"command": ["other"], "seconds": 0}, "rerun spec_changed"),
    ({"command": ["train"], "seconds": 0, "exit": 1}, "rerun spec_changed"),
])
def test_accepted_differences_are_recorded_as_they_are(lab: Lab, seen: dict[str, Any], plan: str) -> None:
    begin(lab, train={"spec": LONG})
    assert take(lab, "train", made(lab, seen), accept_differences=True).recorded
    state = lab.state
    attempt = state.jobs["train"].attempts[0]
    assert state.spec(attempt.spec) == seen
    assert state.spec(state.jobs["train"].desired.spec) == LONG  # type: ignore[union-attr]  # it is there, or the test fails
    assert reasons(lab.plan())["train"] == plan


def test_secrets_are_neither_compared_nor_kept(lab: Lab) -> None:
    declared = {**LONG, "env": {"A": "1", "T": "{{ secret('T') }}"}, "token": "{{ secret('T') }}"}
    lab.environ = {"JOBFORM_SECRET_T": CANARY}
    begin(lab, train={"spec": declared})
    taken = take(lab, "train", made(lab, {**LONG, "env": {"A": "1", "T": CANARY}}))
    assert (taken.recorded, taken.asserted) == (True, ("spec.env.T", "spec.token"))
    assert lab.state.jobs["train"].attempts[0].asserted == taken.asserted
    assert lab.state.features == (ASSERTED,)
    assert acting(lab.plan()) == {}
    assert not any(CANARY.encode() in path.read_bytes() for path in lab.directory.rglob("*") if path.is_file())


def test_a_secret_in_the_run_alone_is_neither_shown_nor_kept(lab: Lab) -> None:
    lab.environ = {"JOBFORM_SECRET_T": CANARY}
    begin(lab, train={"spec": LONG})
    run = made(lab, {**LONG, "env": {"T": f"x{CANARY}", "H": "hf_" + "a" * 34, "P": "plain"}})
    taken = take(lab, "train", run, accept_differences=True)
    assert [(field.path, field.sensitive) for field in taken.differences] == [
        ("spec.env.H", True), ("spec.env.P", False), ("spec.env.T", True),
    ]
    state = lab.state
    assert state.spec(state.jobs["train"].attempts[0].spec)["env"] == {"P": "plain"}
    assert not any(CANARY.encode() in path.read_bytes() for path in lab.directory.rglob("*") if path.is_file())


# --- refusals -----------------------------------------------------------------------------------------------------------


def test_a_job_that_is_not_declared(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG)
    assert refused(lab, "tain", run, InputError) == "unknown_job"
    assert refused(lab, "train[", run, InputError) == "bad_address"


def test_a_job_that_has_a_run(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    assert refused(lab, "first", made(lab, {"command": ["first"]})) == "has_run"
    lab.apply(detach=True)
    lab.advance()
    assert refused(lab, "train", made(lab, LONG)) == "has_run"


def test_a_submission_whose_fate_is_unknown(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.calls.fail("submit", BackendError("lost", ambiguous=True), moment="after")
    lab.calls.fail("find", BackendError("down"))
    lab.apply()
    assert refused(lab, "train", "run-00000002") == "unknown_submission"


def test_a_run_that_another_job_has(lab: Lab) -> None:
    begin(lab, train={"spec": LONG}, copy={"spec": LONG})
    lab.apply(detach=True, select=["train"])
    assert refused(lab, "copy", lab.run_of("train")) == "other_job"
    lab.forget("train")
    assert refused(lab, "copy", "run-00000002") == "other_job", "what it left behind is its own"


def test_a_run_whose_mark_names_another_job(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    assert refused(lab, "train", made(lab, LONG, ours(lab, "first", 2))) == "other_job"


def test_a_run_of_another_project(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG, mark_text("another lineage", "train", 7, digest("body")))
    assert refused(lab, "train", run) == "other_project"
    assert take(lab, "train", run, take_over=True).attempt == 1


def test_no_such_run(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    assert refused(lab, "train", "run-00000099") == "no_run"
    elsewhere = made(lab, LONG, namespace="other")
    assert refused(lab, "train", elsewhere) == "no_run", "it is in the place of another backend"


def test_a_backend_that_cannot_be_asked(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG)
    lab.calls.fail("lookup", BackendError("denied", "status 403"))
    assert refused(lab, "train", run) == "lookup_failed"
    lab.calls.fail("lookup", ValueError("a bug"))
    assert refused(lab, "train", run) == "lookup_failed"
    lab.world.set_scope("default", None)
    assert refused(lab, "train", run) == "scope_not_proven"


def test_a_type_without_a_look_up(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.registry = Registry(backends={"reference": Plain(world=lab.world)}, stores=lab.registry.stores)
    assert refused(lab, "train", made(lab, LONG)) == "no_import"
    found = look(lab)
    assert ([one.able for one in found.unlisted], found.complete) == ([False, False], True)
    with pytest.raises(FailedError, match="has no list"):
        look(lab, "ref")


def test_a_name_that_moved_gives(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.write({"later": {"spec": {"command": ["first"]}}}, moved=[{"from": "first", "to": "later"}])
    assert refused(lab, "later", made(lab, {"command": ["first"]})) == "renamed"


class Plain(ReferenceType):
    """The reference backend as a plug-in that has neither list nor look-up."""

    def open(self, *given: Any) -> Any:
        opened = super().open(*given)

        class Seven:
            scope, read, find, submit = opened.scope, opened.read, opened.find, opened.submit
            update, cancel, delete = opened.update, opened.cancel, opened.delete  # type: ignore[attr-defined]  # the test's own

        return Seven()


class Telling(ReferenceType):
    """It compares runs itself, in its service's own words: what it was given is known to it alone."""

    fields: ClassVar[bool] = False

    def open(self, *given: Any) -> Any:
        opened, shows = super().open(*given), self.fields

        class Comparer(ReferenceBackend):
            def lookup(self, run_id: str) -> Sighting | None:
                found = super().lookup(run_id)
                return found and replace(found, actual=told_of(found.actual, shows))

            def read(self, refs: Any) -> Any:
                return {ref: told_of(one, shows) if isinstance(one, Actual) else one for ref, one in super().read(refs).items()}

            def differences(self, spec: Any, actual: Actual) -> list[Difference]:
                assert isinstance(actual.native, Mapping)
                return [
                    Difference((key,), actual.native.get(key), key in actual.native)
                    for key in ("command", "note") if key in spec and actual.native.get(key) != spec[key]
                ]

        opened.__class__ = Comparer
        return opened


class TellingFields(Telling):
    """The same with some fields in the vocabulary of the spec."""

    fields: ClassVar[bool] = True


def told_of(actual: Actual, shows: bool) -> Actual:
    shown = {key: actual.fields[key] for key in ("command", "note", "env") if shows and key in actual.fields}
    return replace(actual, fields=shown, native=dict(actual.fields))


def test_a_backend_that_compares_every_field_in_its_own_words(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.registry = Registry(backends={"reference": Telling(world=lab.world)}, stores=lab.registry.stores)
    run = made(lab, {**LONG, "command": ["other"]})
    assert [field.path for field in take(lab, "train", run).differences] == ["spec.command"]
    assert refused(lab, "train", run, accept_differences=True) == "cannot_differ"
    taken = take(lab, "train", made(lab, LONG))
    assert (taken.recorded, taken.asserted) == (True, ())
    assert reasons(lab.plan())["train"] == "no-op in_progress"


def test_a_backend_that_compares_what_it_reports(lab: Lab) -> None:
    spec = {**LONG, "note": "n", "env": {"A": "1", "B": "{{ secret('B') }}", "C": "3"}}
    begin(lab, train={"spec": spec})
    lab.registry = Registry(backends={"reference": TellingFields(world=lab.world)}, stores=lab.registry.stores)
    run = made(lab, {**LONG, "command": ["other"], "env": {"A": "1"}})
    taken = take(lab, "train", run, accept_differences=True)
    assert [field.path for field in taken.differences] == ["spec.command", "spec.note"]
    assert taken.asserted == ("spec.env.B", "spec.env.C", "spec.seconds")
    state = lab.state
    applied = state.spec(state.jobs["train"].attempts[0].spec)
    assert applied["command"] == ["other"] and "note" not in applied
    assert reasons(lab.plan())["train"] == "block live"


# --- after a loss -------------------------------------------------------------------------------------------------------


def test_a_lost_run_that_is_found_again(lab: Lab) -> None:
    """Its object is not what an earlier attempt left behind: it is never removed under the new attempt."""
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    run = lab.run_of("train")
    shown, hidden = lab.world.runs, [run]
    lab.world.runs = lambda namespace, ids: shown(namespace, [one for one in ids if one not in hidden])  # type: ignore[method-assign]  # stands in for the method
    lab.advance()
    assert reasons(lab.plan())["train"] == "hold lost"
    hidden.clear()
    assert take(lab, "train", run).attempt == 2
    assert lab.apply().exit == 0
    assert [attempt.phase for attempt in lab.state.jobs["train"].attempts] == [Phase.FAILED, Phase.SUCCEEDED]
    assert run in shown("default", [run]), "nothing removed it"
    assert lab.made().count("train") == 1


def test_a_lost_run_that_this_very_command_notices(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    lab.world.vanish(lab.run_of("train"))
    assert take(lab, "train", made(lab, LONG)).attempt == 2
    assert reasons(lab.plan())["train"] == "no-op in_progress"


def test_what_a_removed_job_left_behind(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    run = lab.run_of("train")
    lab.forget("train")
    assert reasons(lab.plan())["train"] == "block live_orphan"
    assert refused(lab, "train", made(lab, LONG)) == "live_orphan", "there would be two"
    assert take(lab, "train", run).attempt == 2
    assert not lab.state.tombstones["train"].live
    assert reasons(lab.plan())["train"] == "no-op in_progress"


def test_another_run_once_what_was_left_behind_is_over(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    lab.forget("train")
    lab.clock.advance(200)
    assert take(lab, "train", made(lab, LONG)).attempt == 2


def test_after_the_state_went_numbers_do_not_restart(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    assert take(lab, "train", made(lab, LONG, ours(lab, "train", 5))).attempt == 5
    lab.apply()
    lab.rerun("train")
    assert [attempt.n for attempt in lab.state.jobs["train"].attempts] == [5, 6]


# --- orphans ------------------------------------------------------------------------------------------------------------


def test_no_orphans(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    made(lab, LONG, mark_text("another lineage", "train", 1, digest("")))
    made(lab, LONG)
    assert look(lab) == Orphans(())


def test_a_run_with_our_mark_that_the_state_does_not_know(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG, ours(lab, "train", 3))
    (found,) = look(lab).found
    assert (found.id, found.why, found.address, found.attempt, found.phase) == (run, Why.UNRECORDED, "train", 3, Phase.RUNNING)
    assert (found.backend, found.name) == ("ref", "elsewhere")
    assert f"jobform import train {run}" in found.hint
    take(lab, "train", run)
    assert look(lab).found == ()


def test_a_run_without_a_mark_is_ours_by_the_name_that_we_gave_it(lab: Lab) -> None:
    """Some services keep nothing of ours but a name."""
    begin(lab, train={"spec": LONG})
    lineage = lab.state.lineage
    run = made(lab, LONG, name=remote_name(lineage, "train", 4))
    made(lab, LONG, name=remote_name("another lineage", "train", 1))
    made(lab, LONG, mark="of somebody", name=remote_name(lineage, "train", 5))
    (found,) = look(lab).found
    assert (found.id, found.why, found.address, found.attempt, found.mark) == (run, Why.UNRECORDED, "train", 4, "")
    other = made(lab, LONG, name=remote_name(lineage, "first", 9))
    assert refused(lab, "train", other) == "other_job"
    assert take(lab, "train", run).attempt == 4
    assert lab.state.jobs["train"].attempts[0].mark == ""
    assert told(look(lab)) == {other: Why.UNRECORDED}


@pytest.mark.parametrize(("address", "hint"), [
    ("first", "first has another run: stop this one on the service itself"), ("gone", "declare its job"),
])
def test_a_run_with_our_mark_that_nobody_can_import(lab: Lab, address: str, hint: str) -> None:
    begin(lab)
    made(lab, LONG, ours(lab, address, 9))
    assert hint in look(lab).found[0].hint


def test_a_second_run_of_one_attempt(tmp_path: Path) -> None:
    lab = Lab(tmp_path)  # what nobody should ever see: two live runs
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    mark = lab.state.jobs["train"].attempts[0].mark
    second = made(lab, LONG, mark.rsplit("-", 1)[0] + "-" + "0" * 16)
    (found,) = look(lab).found
    assert (found.id, found.why, found.address, found.attempt) == (second, Why.DUPLICATE, "train", 1)
    assert "stop this one on the service itself" in found.hint


def test_what_removed_jobs_left_behind(lab: Lab) -> None:
    begin(lab, train={"spec": LONG}, short={"spec": {"command": ["s"], "seconds": 5}})
    lab.apply(detach=True)
    run = lab.run_of("train")
    lab.forget("train", "short")
    lab.clock.advance(10)
    (found,) = look(lab).found
    assert (found.id, found.why, found.address, found.phase) == (run, Why.LEFT_BEHIND, "train", Phase.RUNNING)
    assert "jobform cancel train" in found.hint and f"jobform import train {run}" in found.hint
    lab.clock.advance(100)
    assert look(lab).found == ()


def test_what_was_left_behind_where_nobody_can_look(lab: Lab) -> None:
    begin(lab, train={"spec": LONG}, there={"backend": "other", "spec": LONG})
    lab.apply(detach=True)
    lab.forget("train", "there")
    lab.calls.fail("list", BackendError("denied", "status 403"))
    found = look(lab)
    assert [(one.address, one.phase) for one in found.found] == [("there", Phase.RUNNING), ("train", Phase.RUNNING)]
    assert ([one.backend for one in found.unlisted], found.complete) == (["ref"], False)
    lab.jobs.pop("there")
    del lab.backends["other"]
    lab.write()
    assert [(one.address, one.detail) for one in look(lab).found if one.phase is Phase.UNKNOWN] == [
        ("there", "backend other is not configured any more"),
    ]


def test_runs_without_a_mark_only_on_request_and_only_live_ones(lab: Lab) -> None:
    begin(lab)
    live = made(lab, LONG)
    made(lab, {"command": ["over"]})
    assert look(lab).found == ()
    found = look(lab, everything=True)
    assert told(found) == {live: Why.UNOWNED}
    assert f"jobform import ADDRESS {live}" in found.found[0].hint


def test_what_is_just_being_submitted_is_no_orphan(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.calls.fail("submit", BackendError("lost", ambiguous=True), moment="after")
    lab.calls.fail("find", BackendError("down"))
    lab.apply()
    assert "train" in lab.made()
    assert look(lab).found == ()


def test_two_backends_on_one_place_tell_a_run_once(lab: Lab) -> None:
    lab.backends["same"] = {"type": "reference"}
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG, ours(lab, "train", 1))
    assert [one.id for one in look(lab).found] == [run]
    assert [one.backend for one in look(lab, "same").found] == ["same"]


@pytest.mark.parametrize("error", [BackendError("denied", "status 403"), KeyError("a bug")])
def test_a_backend_that_cannot_be_listed_hides_no_other(lab: Lab, error: Exception) -> None:
    begin(lab, train={"spec": LONG}, there={"backend": "other", "spec": LONG})
    run = made(lab, LONG, ours(lab, "there"), namespace="other")
    lab.calls.fail("list", error)
    found = look(lab)
    assert (told(found), found.complete, len(found.unlisted)) == ({run: Why.UNRECORDED}, False, 1)
    assert "'ref'" in found.unlisted[0].summary
    lab.world.set_scope("default", None)
    assert look(lab).unlisted[0].able


def test_it_only_looks(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    lab.apply(detach=True)
    lab.forget("train")
    made(lab, LONG, ours(lab, "other", 4))
    lab.clock.advance(300)
    files = {path: path.read_bytes() for path in lab.directory.rglob("*") if path.is_file()}
    runs = lab.mutations()
    look(lab, everything=True)
    assert {path: path.read_bytes() for path in lab.directory.rglob("*") if path.is_file()} == files
    assert lab.mutations() == runs


def test_files_that_cannot_be_read_do_not_keep_it_from_looking(lab: Lab) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG, ours(lab, "train"))
    (lab.directory / "jobs" / "jobs.yaml").write_text("jobs: {train: {backend: nowhere}}")
    (found,) = look(lab).found
    assert (found.id, found.address) == (run, "")


def test_an_unknown_backend(lab: Lab) -> None:
    begin(lab)
    with pytest.raises(InputError, match="no backend 'reff'"):
        look(lab, "reff")


# --- hostile words ------------------------------------------------------------------------------------------------------

HOSTILE: dict[str, Callable[[Sighting], Sighting]] = {
    "a mark of no shape": lambda one: replace(one, mark="jf1-" + "z" * 60),
    "a huge number": lambda one: replace(one, mark=one.mark.replace("-1-", f"-{'9' * 40}-")),
    "fields of no shape": lambda one: replace(one, actual=replace(one.actual, fields={"command": {"a": [None]}, "env": 7})),
    "odd names": lambda one: replace(one, name="\x1b[2J\u202e", id="\x00"),
    "a name that is a path": lambda one: replace(one, name="../../etc/passwd", id="arn:aws:Braket/X"),
    "a time that is none": lambda one: replace(one, created_at="yesterday"),
    "a time without a zone": lambda one: replace(one, created_at="2026-01-02T03:04:05"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_words_of_a_service(lab: Lab, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(lab, train={"spec": LONG})
    run = made(lab, LONG, ours(lab, "train"))
    lookup, listed = ReferenceBackend.lookup, ReferenceBackend.list

    def spoiled(self: ReferenceBackend, run: str) -> Sighting | None:
        found = lookup(self, run)
        return HOSTILE[how](found) if found else None

    monkeypatch.setattr(ReferenceBackend, "lookup", spoiled)
    monkeypatch.setattr(ReferenceBackend, "list", lambda self: (HOSTILE[how](one) for one in listed(self)))
    assert isinstance(look(lab, everything=True), Orphans)
    taken = take(lab, "train", run)
    assert taken.recorded or taken.differences
    assert isinstance(lab.plan().digest, str)
    for attempt in lab.state.jobs["train"].attempts if taken.recorded else ():
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", attempt.name), "its log is kept in a file of this name"
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", attempt.submitted_at)
        with lab.session() as session:
            session.store.keep(log_name(attempt), b"log")


@pytest.mark.parametrize(("name", "run", "expected"), [
    ("train-1a2b3c4d-1", "x", "train-1a2b3c4d-1"), ("", "8f2c41ab", "8f2c41ab"), ("Nightly run", "8f2c41ab", "8f2c41ab"),
    ("", "arn:aws:braket:us-east-1:1:job/Ab-c", "arn-aws-braket-us-east-1-1-job-ab-c"),
    ("", "\u65e5\u672c", "train-"),
])
def test_what_an_attempt_is_called(lab: Lab, name: str, run: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(lab, train={"spec": LONG})
    there, lookup = made(lab, LONG), ReferenceBackend.lookup

    def called(self: ReferenceBackend, _run: str) -> Sighting | None:
        found = lookup(self, there)
        return replace(found, name=name, id=run) if found else None

    monkeypatch.setattr(ReferenceBackend, "lookup", called)
    take(lab, "train", run)
    got = lab.state.jobs["train"].attempts[0].name
    assert got == expected or (expected == "train-" and got.startswith(expected))


def test_orphans_of_a_kind_are_told_in_order(lab: Lab) -> None:
    begin(lab, a={"spec": LONG}, b={"spec": LONG})
    first = made(lab, LONG, ours(lab, "a"))
    lab.clock.advance(5)
    second = made(lab, LONG, ours(lab, "b"))
    found: list[Orphan] = list(look(lab).found)
    assert [one.id for one in found] == [second, first]
