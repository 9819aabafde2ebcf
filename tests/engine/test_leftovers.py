"""What a submission made before it failed: it is removed, and what cannot be removed yet is not forgotten."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.plugins import Registry
from jobform.protocols import Backend, Mark, Place, Ref, Submission
from jobform.run import editing
from jobform.stores.file import TYPE as FILE
from jobform.testing.reference import ReferenceBackend, ReferenceType

from .lab import Heard, Lab, codes


@dataclass
class Shed:
    """What submissions have made beside their runs, by address, and what is refused: errors of submissions and of removals."""

    made: set[str] = field(default_factory=set)
    refusals: list[BackendError] = field(default_factory=list)
    stuck: list[Exception] = field(default_factory=list)
    kept: list[Collection[Ref]] = field(default_factory=list)


class PreparingBackend(ReferenceBackend):
    shed: Shed

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        self.shed.made.add(submission.address)
        if self.shed.refusals:
            raise self.shed.refusals.pop(0)
        return super().submit(submission, mark)

    def abandon(self, mark: Mark, kept: Collection[Ref]) -> None:
        assert mark.spec, "what was to be submitted is known"
        self.shed.kept.append(kept)
        if self.shed.stuck:
            raise self.shed.stuck.pop(0)
        self.shed.made.discard(mark.address)


@dataclass(frozen=True, slots=True)
class PreparingType(ReferenceType):
    shed: Shed = field(default_factory=Shed)

    def open(self, block: BackendBlock, place: Place) -> Backend:
        assert self.world is not None
        backend = PreparingBackend(self.world, place.clock, hook=self.hook)
        backend.shed = self.shed
        return backend


REFUSED = BackendError("the quota is used up", "403")
BUSY = BackendError("the service is busy", "503", retryable=True, ambiguous=True)


@pytest.fixture
def shed() -> Shed:
    return Shed()


@pytest.fixture
def lab(tmp_path: Path, shed: Shed) -> Lab:
    lab = Lab(tmp_path)
    lab.registry = Registry(
        backends={"reference": PreparingType(world=lab.world, hook=lab.calls, poll=(0.1, 1.0), shed=shed)}, stores={"file": FILE},
    )
    lab.write({"one": {}})
    return lab


@pytest.mark.parametrize("refusals", [[REFUSED], [BUSY] * 5], ids=["refused", "unanswered"])
def test_a_submission_that_failed_leaves_nothing(lab: Lab, shed: Shed, refusals: list[BackendError]) -> None:
    shed.refusals = list(refusals)
    outcome = lab.apply()
    assert outcome.exit == 7
    assert codes(outcome) == {"submit_failed"}
    assert shed.refusals == []
    assert shed.made == set()
    assert lab.state.jobs["one"].intent is None


def test_the_things_of_other_attempts_are_named(lab: Lab, shed: Shed) -> None:
    lab.apply()
    ref = Ref.of(lab.state.jobs["one"].attempts[0].ref)
    lab.write({"one": {"generation": 2}})
    shed.refusals = [REFUSED]
    lab.apply()
    assert shed.kept == [[ref]]


@pytest.mark.parametrize("then", ["destroy", "removed", "apply"])
def test_what_cannot_be_removed_yet_is_removed_by_the_next_command(lab: Lab, shed: Shed, then: str) -> None:
    shed.refusals, shed.stuck = [REFUSED], [BUSY]
    outcome = lab.apply()
    assert outcome.exit == 7
    assert codes(outcome) == {"submit_failed"}
    assert "503" in outcome.diagnostics[0].detail
    assert shed.made == {"one"}
    assert lab.state.jobs["one"].intent is not None
    if then == "removed":
        lab.write({"two": {}})
    done = lab.apply(destroy=True) if then == "destroy" else lab.apply()
    assert done.exit == 0
    assert "one" not in shed.made or then == "apply"
    assert ("one" in lab.state.jobs) is (then == "apply")


def test_while_it_cannot_be_removed_the_job_is_held(lab: Lab, shed: Shed) -> None:
    shed.refusals, shed.stuck = [REFUSED], [BUSY, BUSY]
    lab.apply()
    outcome = lab.apply(destroy=True)
    assert outcome.exit == 7
    assert codes(outcome) == {"held_unknown_submission"}
    assert shed.made == {"one"}
    assert lab.made() == [], "a command that removes begins nothing"
    assert lab.state.jobs["one"].intent is not None
    assert lab.apply(destroy=True).exit == 0
    assert shed.made == set()
    assert not lab.state.jobs


@pytest.mark.parametrize("why", [BackendError("it may not be removed", "403"), ValueError("a bug")], ids=["denied", "bug"])
def test_what_may_never_be_removed_is_told_and_holds_nothing_up(lab: Lab, shed: Shed, why: Exception) -> None:
    shed.refusals, shed.stuck = [REFUSED], [why]
    outcome = lab.apply()
    assert outcome.exit == 7
    assert "removed" in outcome.diagnostics[0].detail
    assert lab.state.jobs["one"].intent is None
    assert lab.apply().exit == 0


def test_a_person_who_says_that_nothing_was_submitted_has_it_removed_too(lab: Lab, shed: Shed) -> None:
    shed.refusals, shed.stuck = [REFUSED], [BUSY]
    lab.apply()
    with lab.session() as session:
        assert editing.resolve(session, "one", "not_submitted", None, Heard(), 0.0) == []
    assert shed.made == set()


def test_a_person_is_told_what_could_not_be_removed(lab: Lab, shed: Shed) -> None:
    shed.refusals, shed.stuck = [REFUSED], [BUSY, BUSY]
    lab.apply()
    with lab.session() as session:
        (said,) = editing.resolve(session, "one", "not_submitted", None, Heard(), 0.0)
    assert said.summary == "the service is busy: 503"
    assert lab.state.jobs["one"].intent is None
