"""What a run leaves is fetched before its success counts, by the command that records it and by no other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from jobform.model.claims import Takeover
from jobform.model.diagnostic import Diagnostic
from jobform.model.errors import BackendError, FailedError
from jobform.model.job import BackendBlock
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.plugins import Registry
from jobform.protocols import Actual, Backend, Place, Ref
from jobform.run import claims
from jobform.stores.file import TYPE as FILE
from jobform.testing.reference import ReferenceBackend, ReferenceType
from jobform.testing.service import Order

from .lab import Lab, codes


@dataclass
class Shelf:
    """What the backend was asked to fetch, and the errors that it gives first, one per call."""

    fetched: list[Mapping[str, Json]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


class CollectingBackend(ReferenceBackend):
    shelf: Shelf

    def collect(self, ref: Ref, spec: Mapping[str, Json], actual: Actual) -> Actual:
        if self.shelf.errors:
            raise self.shelf.errors.pop(0)
        self.shelf.fetched.append(spec)
        return replace(actual, outputs={"number": len(self.shelf.fetched)})


@dataclass(frozen=True, slots=True)
class CollectingType(ReferenceType):
    shelf: Shelf = field(default_factory=Shelf)

    def open(self, block: BackendBlock, place: Place) -> Backend:
        assert self.world is not None
        backend = CollectingBackend(self.world, place.clock, hook=self.hook)
        backend.shelf = self.shelf
        return backend


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def lab(tmp_path: Path, shelf: Shelf) -> Lab:
    lab = Lab(tmp_path)
    lab.registry = Registry(
        backends={"reference": CollectingType(world=lab.world, hook=lab.calls, poll=(0.1, 1.0), shelf=shelf)},
        stores={"file": FILE},
    )
    lab.write({"one": {}, "two": {"needs": ["one"]}})
    return lab


def test_what_is_left_is_there_before_others_start(lab: Lab, shelf: Shelf) -> None:
    seen: list[int] = []
    lab.calls.on = lambda operation, subject, moment: (
        seen.append(len(shelf.fetched)) if (operation, subject, moment) == ("submit", "two", "before") else None
    )
    lab.apply()
    assert seen == [1]
    assert lab.state.jobs["one"].last.outputs == {"number": 1}
    assert [dict(spec) for spec in shelf.fetched] == [{"command": ["one"]}, {"command": ["two"]}]


def test_a_plan_fetches_nothing(lab: Lab, shelf: Shelf) -> None:
    lab.write({"one": {"spec": {"seconds": 5}}})
    lab.apply(detach=True)
    lab.clock.advance(10)
    lab.plan()
    assert shelf.fetched == []
    lab.apply()
    assert lab.state.jobs["one"].last.outputs == {"number": 1}


def test_what_may_be_had_later_keeps_the_end_from_being_recorded(lab: Lab, shelf: Shelf) -> None:
    shelf.errors = [BackendError("the service is busy", retryable=True)] * 3
    assert lab.apply().exit == 0
    assert shelf.errors == []
    assert lab.state.jobs["one"].last.outputs == {"number": 1}


def test_a_cut_before_the_record_fetches_again(lab: Lab, shelf: Shelf) -> None:
    lab.write({"one": {}})

    def cut(name: str, address: str) -> None:
        if name == "engine.observe.after" and shelf.fetched:
            raise KeyboardInterrupt

    lab.effect = cut
    with pytest.raises(KeyboardInterrupt):
        lab.apply()
    assert not lab.state.jobs["one"].last.ended
    lab.effect = lambda name, address: None
    lab.advance()
    assert lab.state.jobs["one"].last.outputs == {"number": 2}


def test_what_cannot_be_had_is_a_warning_and_no_failure(lab: Lab, shelf: Shelf) -> None:
    shelf.errors = [BackendError("the disk is full", "there is no room in out/")]
    outcome = lab.apply()
    assert outcome.exit == 0
    assert lab.state.jobs["one"].last.phase is Phase.SUCCEEDED
    assert codes(outcome) == {"backend_warning"}
    assert [found.summary for found in outcome.diagnostics] == [
        "what the run left could not be fetched: the disk is full: there is no room in out/"
    ]


def test_only_success_leaves_something(lab: Lab, shelf: Shelf) -> None:
    lab.write({"one": {"spec": {"exit": 1}}})
    lab.apply()
    assert shelf.fetched == []


def _import(lab: Lab, run: str) -> tuple[Takeover, tuple[Diagnostic, ...]]:
    with lab.session() as session:
        return claims.take_over(session, "one", run, claims.ImportOptions())


def _elsewhere(lab: Lab) -> str:
    """A run that has succeeded, made without this project."""
    return lab.world.create("default", Order("elsewhere", "", "elsewhere", {"command": ["one"]}, unique=False)).id


def test_what_a_run_that_is_taken_over_has_left_is_fetched(lab: Lab, shelf: Shelf) -> None:
    lab.write({"one": {}})
    run = _elsewhere(lab)
    lab.clock.advance(10)
    taken, _ = _import(lab, run)
    assert taken.recorded
    assert [dict(spec) for spec in shelf.fetched] == [{"command": ["one"]}]
    assert lab.state.jobs["one"].last.outputs == {"number": 1}


def test_what_may_be_had_later_keeps_a_run_from_being_taken_over(lab: Lab, shelf: Shelf) -> None:
    lab.write({"one": {}})
    run = _elsewhere(lab)
    lab.clock.advance(10)
    shelf.errors = [BackendError("the service is busy", retryable=True)]
    with pytest.raises(FailedError) as caught:
        _import(lab, run)
    assert caught.value.diagnostics[0].code == "not_collected"
    assert "one" not in lab.state.jobs
    shelf.errors = [BackendError("the disk is full")]
    taken, told = _import(lab, run)
    assert taken.recorded
    assert [one.summary for one in told] == ["what the run left could not be fetched: the disk is full"]


def test_a_refused_import_loses_nothing_of_the_run_that_is_there(lab: Lab, shelf: Shelf) -> None:
    lab.write({"one": {"spec": {"seconds": 5}}})
    lab.apply(detach=True)
    lab.clock.advance(10)
    with pytest.raises(FailedError) as caught:
        _import(lab, _elsewhere(lab))
    assert caught.value.diagnostics[0].summary == "one has a run: attempt 1 has succeeded"
    assert not lab.state.jobs["one"].last.ended, "the end is recorded with what the run left"
    lab.advance()
    assert lab.state.jobs["one"].last.outputs == {"number": 1}
