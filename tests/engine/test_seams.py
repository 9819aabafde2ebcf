"""What the engine makes of a backend with more to say: previews, drift of its own, named objects, and values held back."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from jobform.model.errors import BackendError
from jobform.model.event import Begun
from jobform.model.state import Op
from jobform.plugins import Registry
from jobform.protocols import Actual, Difference, Forecast, Intended, Mark, Ref, Submission
from jobform.testing.reference import ReferenceBackend, ReferenceType
from tests.engine.lab import Lab, acting, calls_of, codes, reasons

TEXT = {"type": "string"}


@dataclass
class Words:
    """What the backend says, and what it heard."""

    forecast: Callable[[Intended], Forecast] = lambda _intended: Forecast("ok")
    asked: list[Intended] = field(default_factory=list)
    seen: dict[str, tuple[Difference, ...]] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    refuse_release: BackendError | None = None
    whole: list[str] = field(default_factory=list)


class Talkative(ReferenceBackend):
    """The reference backend with every small protocol on top."""

    words: Words

    def preflight(self, intended: Collection[Intended], parallelism: int) -> Mapping[str, Forecast]:
        self.words.asked += intended
        return {one.mark.address: self.words.forecast(one) for one in intended}

    def differences(self, spec: Mapping[str, Any], actual: Actual) -> Iterable[Difference]:
        return self.words.seen.get(str(spec["command"][0]), ())

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        sent = {key: value for key, value in submission.spec.items() if key not in ("ttl", "name")}
        return super().submit(replace(submission, spec=sent), mark)

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        sent = {key: value for key, value in submission.spec.items() if key not in ("ttl", "name")}
        return super().update(ref, replace(submission, spec=sent), expected)

    def release(self, ref: Ref, submission: Submission) -> None:
        if self.words.refuse_release:
            raise self.words.refuse_release
        self.words.released.append(f"{submission.address} {submission.spec['ttl']}")

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        if whole:
            self.words.whole.append(ref.text)
        super().delete(ref)


class TalkativeType(ReferenceType):
    words = Words()

    def spec_schema(self) -> dict[str, Any]:
        schema = super().spec_schema()
        more: dict[str, Any] = {
            "name": {**TEXT, "x-jobform-name": True, "x-jobform-class": "placement"},
            "ttl": {**TEXT, "x-jobform-after-end": True, "x-jobform-class": "operational", "x-jobform-mutable": "always"},
        }
        return {**schema, "properties": {**schema["properties"], **more}}  # type: ignore[dict-item]  # properties is a map

    def open(self, *given: Any) -> Talkative:
        opened = super().open(*given)
        opened.__class__ = Talkative
        assert isinstance(opened, Talkative)
        opened.words = self.words
        return opened


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def lab(tmp_path: Path, words: Words) -> Lab:
    lab = Lab(tmp_path)
    type_ = TalkativeType(world=lab.world, hook=lab.calls, poll=(0.1, 1.0))
    object.__setattr__(type_, "words", words)
    lab.registry = Registry(backends={"reference": type_}, stores=lab.registry.stores)
    return lab


def test_the_plan_asks_about_what_is_new_and_about_nothing_else(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"seconds": 5}}, "b": {"needs": ["a"]}})
    assert acting(lab.plan()) == {"a": "create new", "b": "create new"}
    assert [(one.op, one.mark.address, one.ref, one.partial) for one in words.asked] == [
        (Op.SUBMIT, "a", None, False), (Op.SUBMIT, "b", None, False)
    ]
    lab.apply()
    words.asked.clear()
    assert acting(lab.plan()) == {}
    assert words.asked == []


def test_a_preview_knows_no_secret_and_says_so(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "env": {"T": "{{ secret('T') }}", "U": "u"}}}})
    lab.plan()
    (one,) = words.asked
    assert one.partial
    assert one.submission.spec["env"] == {"T": "jobform-not-known-yet", "U": "u"}


def test_a_refusal_blocks_that_job_alone(lab: Lab, words: Words) -> None:
    def refuse(intended: Intended) -> Forecast:
        if intended.mark.address != "bad":
            return Forecast("ok", warnings=("this API version is old",))
        return Forecast("refused", path=("env", "T"), summary="quota", detail="2 of 1 GPUs", hint="ask for less")

    words.forecast = refuse
    lab.write({"bad": {"spec": {"command": ["a"], "env": {"T": "1"}}}, "good": {}})
    plan = lab.plan()
    assert reasons(plan) == {"bad": "block refused", "good": "create new"}
    bad = plan.changes[0]
    assert (bad.detail, bad.hint) == ("quota: 2 of 1 GPUs", "ask for less")
    assert bad.range is not None
    assert (lab.directory / "jobs/jobs.yaml").read_text()[bad.range.column - 1 :].startswith('"1"')
    assert [found.summary for found in plan.diagnostics] == ["this API version is old"]
    outcome = lab.apply()
    assert (outcome.exit, lab.made()) == (7, ["good"])


def test_a_taken_name_is_never_adopted(lab: Lab, words: Words) -> None:
    words.forecast = lambda _one: Forecast("taken", summary="a Job 'a' of somebody else exists")
    lab.write({"a": {}})
    assert reasons(lab.plan()) == {"a": "block name_taken"}
    lab.apply()
    assert lab.made() == []


def test_what_may_not_be_asked_is_one_warning(lab: Lab, words: Words) -> None:
    words.forecast = lambda _one: Forecast("unasked", summary="no right to patch jobs")
    lab.write({"a": {}, "b": {}})
    plan = lab.plan()
    assert acting(plan) == {"a": "create new", "b": "create new"}
    assert [(found.code, found.count) for found in plan.diagnostics] == [("not_previewed", 2)]


def test_the_service_has_the_last_word_on_what_changes_in_place(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "seconds": 100, "labels": {"t": "x"}, "priority": 1}}})
    lab.apply(detach=True)
    lab.clock.sleep(1)
    lab.advance()
    lab.edit("a", spec={"labels": {"t": "y"}, "priority": 2})
    words.forecast = lambda _one: Forecast("fixed", paths=(("priority",),))
    plan = lab.plan()
    assert acting(plan) == {"a": "update spec_changed"}
    assert plan.changes[0].fixed == ("spec.priority",)
    lab.apply(detach=True)
    spec = lab.state.spec(lab.state.jobs["a"].last.applied)
    assert (spec["labels"], spec["priority"]) == ({"t": "y"}, 1), "the label was changed, the priority was left alone"


def test_a_change_that_restarts_the_run_is_what_it_does(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "seconds": 100, "priority": 1}}})
    lab.apply(detach=True)
    lab.clock.sleep(1)
    lab.advance()
    lab.edit("a", spec={"priority": 2})
    words.forecast = lambda _one: Forecast("restarts", paths=(("priority",),), detail="its queue stops it")
    plan = lab.plan()
    assert reasons(plan) == {"a": "block live"}
    assert plan.changes[0].detail == "it is running, and the change needs a new attempt: its queue stops it"
    assert acting(lab.plan(allow_cancel=["a"])) == {"a": "replace spec_changed"}


def test_drift_names_who_and_is_set_back_where_it_can_be(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "seconds": 100, "labels": {"t": "x"}}}})
    lab.apply(detach=True)
    words.seen["a"] = (Difference(("labels", "t"), "z", by="kubectl-edit"),)
    lab.clock.sleep(1)
    lab.advance()
    plan = lab.plan()
    assert acting(plan) == {"a": "update drifted"}
    (change,) = plan.changes
    assert [(f.path, f.before, f.after, f.by) for f in change.fields] == [("spec.labels.t", "x", "z", "kubectl-edit")]
    lab.edit("a", ignore_drift=["labels"])
    lab.apply(detach=True)
    plan = lab.plan()
    assert reasons(plan) == {"a": "no-op in_progress"}
    assert [(f.path, f.ignored) for f in plan.changes[0].fields] == [("spec.labels.t", True)]
    words.seen["a"] = (Difference(("command",), ["b"], by="someone"),)
    assert reasons(lab.plan()) == {"a": "no-op drifted"}, "it cannot be set back without a new attempt"


def test_drift_of_a_run_that_waits_is_set_back_and_never_replaces_it(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "seconds": 100, "labels": {"t": "x"}}}})
    lab.apply(detach=True)
    assert lab.state.jobs["a"].last.waiting
    words.seen["a"] = (Difference(("labels", "t"), "z", by="kubectl-edit"),)
    assert acting(lab.plan()) == {"a": "update drifted"}
    words.seen["a"] = (Difference(("command",), ["b"], by="someone"),)
    assert reasons(lab.plan()) == {"a": "no-op drifted"}


def test_what_is_held_back_is_sent_once_the_outcome_is_recorded(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "seconds": 3, "ttl": "1h"}}, "b": {"spec": {"command": ["b"]}}})
    outcome = lab.apply()
    assert outcome.exit == 0
    assert words.released == ["a 1h"]
    events = lab.heard.events
    release = next(i for i, e in enumerate(events) if isinstance(e, Begun) and e.intent.op is Op.RELEASE)
    ended = next(i for i, e in enumerate(events) if getattr(e, "ended_at", None) and getattr(e, "address", "") == "a")
    assert ended < release
    assert lab.state.jobs["a"].last.held is False
    lab.advance()
    assert words.released == ["a 1h"], "once"


def test_a_value_that_is_held_back_can_be_changed_after_the_end(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "ttl": "1h"}}, "b": {"spec": {"command": ["b"]}}})
    lab.apply()
    lab.edit("a", spec={"ttl": "2h"})
    lab.edit("b", spec={"ttl": "3h"})
    assert acting(lab.plan()) == {"a": "update spec_changed", "b": "update spec_changed"}
    lab.apply()
    assert sorted(words.released) == ["a 1h", "a 2h", "b 3h"]
    assert acting(lab.plan()) == {}


def test_a_release_that_is_refused_is_a_warning_and_made_again_later(lab: Lab, words: Words) -> None:
    words.refuse_release = BackendError("forbidden")
    lab.write({"a": {"spec": {"command": ["a"], "ttl": "1h"}}})
    outcome = lab.apply()
    assert (outcome.exit, codes(outcome)) == (0, {"not_released"})
    words.refuse_release = None
    lab.advance()
    assert words.released == ["a 1h"]


def test_a_named_object_goes_before_the_next_attempt_takes_its_name(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "name": "mine"}}})
    lab.apply()
    assert lab.state.jobs["a"].last.name == "mine"
    lab.edit("a", generation=2)
    lab.apply()
    events = [e.intent.op.value for e in lab.heard.events if isinstance(e, Begun)]
    assert events == ["delete", "submit"]
    assert [attempt.name for attempt in lab.state.jobs["a"].attempts] == ["mine", "mine"]
    assert lab.made() == ["a", "a"]
    lab.check()


def test_a_named_live_object_is_replaced_in_order(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "name": "mine", "seconds": 100}, "on_change_while_running": "cancel"}})
    lab.apply(detach=True)
    lab.clock.sleep(1)
    lab.advance()
    lab.edit("a", spec={"command": ["b"], "seconds": 1})
    assert lab.apply().exit == 0
    assert [e.intent.op.value for e in lab.heard.events if isinstance(e, Begun)] == ["cancel", "delete", "submit"]
    lab.check()


def test_what_attempts_share_goes_with_the_job_and_not_with_an_attempt(lab: Lab, words: Words) -> None:
    lab.write({"a": {}, "b": {}})
    lab.apply()
    lab.edit("a", generation=2)
    lab.apply()
    assert calls_of(lab.heard.events, Op.DELETE) == ["a"]
    assert words.whole == []
    lab.write({"b": lab.jobs["b"]})
    lab.apply()
    assert len(words.whole) == 1


def test_an_outcome_without_a_body_needs_no_secret(lab: Lab, words: Words) -> None:
    lab.write({"a": {"spec": {"command": ["a"], "env": {"T": "{{ secret('T') }}"}, "ttl": "1h", "seconds": 2}}})
    lab.environ["JOBFORM_SECRET_T"] = "value-of-it"
    lab.apply(detach=True)
    del lab.environ["JOBFORM_SECRET_T"]
    lab.clock.sleep(10)
    lab.advance()
    lab.advance()
    assert words.released == ["a 1h"]


def test_a_plan_file_carries_what_is_fixed(lab: Lab, words: Words) -> None:
    from jobform.codec import plan_from_bytes, plan_to_bytes

    lab.write({"a": {}})
    made = lab.plan()
    change = replace(made.changes[0], fixed=("spec.priority",))
    assert plan_from_bytes(plan_to_bytes(replace(made, changes=(change,)))).changes[0].fixed == ("spec.priority",)
