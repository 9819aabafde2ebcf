"""Random projects, random outcomes, random commands: what must hold whatever anybody does in whatever order."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobform.codec import state_from_bytes, state_to_bytes
from jobform.model.address import token
from jobform.model.errors import BackendError, JobformError
from jobform.model.state import Op, State
from jobform.testing.ledger import assert_never_two_live, assert_no_attempt_twice
from tests.engine.lab import Lab, acting, reasons

NAMES = ("a", "b", "c", "d")
"""In this order: a job needs only earlier ones, so there is no circle."""

SPECS = st.fixed_dictionaries({
    "command": st.sampled_from([["one"], ["two"], ["three"]]),
    "seconds": st.sampled_from([0, 3, 40]),
    "exit": st.sampled_from([0, 0, 0, 1]),
    "start_after": st.sampled_from([0, 0, 6]),
    "grace": st.sampled_from([0, 8]),
}, optional={"labels": st.sampled_from([{"t": "x"}, {"t": "y"}]), "region": st.sampled_from(["eu", "us"])})

RERUNS = st.sampled_from([
    {"on": ["changed"]}, {"on": ["changed", "failed"], "max_attempts": 2, "backoff": "5s..5s"}, {"on": ["changed", "lost"]},
    {"on": ["lost"]},
])


@st.composite
def a_job(draw: st.DrawFn, name: str) -> dict[str, Any]:
    earlier = NAMES[: NAMES.index(name)]
    needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else []
    whens = st.sampled_from(["succeeded", "succeeded", "finished", "failed", "started"])
    return {
        "spec": draw(SPECS), "rerun": draw(RERUNS), "generation": draw(st.integers(1, 3)),
        "needs": [{"job": needed, "when": draw(whens)} for needed in needs],
        "on_change_while_running": draw(st.sampled_from(["refuse", "cancel", "finish"])),
        "keep_objects": draw(st.integers(0, 2)),
    }


def with_needs(jobs: dict[str, Any]) -> dict[str, Any]:
    """Needs of jobs that are not declared are left out, as a person would have to."""
    return {name: {**job, "needs": [need for need in job["needs"] if need["job"] in jobs]} for name, job in jobs.items()}


PROJECTS = st.fixed_dictionaries({}, optional={name: a_job(name) for name in NAMES})

FAULTS = st.sampled_from([
    None, None, None, ("submit", "before", False, True), ("submit", "after", False, True), ("submit", "before", False, False),
    ("cancel", "before", True, False), ("delete", "after", False, True),
    ("update", "before", False, False), ("find", "before", False, False),
])

STEPS = st.one_of(
    st.tuples(st.just("plan")),
    st.tuples(st.just("apply"), st.sampled_from([0.0, 4.0, None]), FAULTS, st.booleans()),
    st.tuples(st.just("apply"), st.sampled_from([0.0, 4.0, None]), st.none(), st.booleans()),
    st.tuples(st.just("advance")),
    st.tuples(st.just("pass"), st.sampled_from([1, 10, 100])),
    st.tuples(st.just("write"), PROJECTS),
    st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just("edit"), st.just(name), a_job(name))),
    st.tuples(st.just("drop"), st.sampled_from(NAMES), st.sampled_from([None, True, False])),
    st.tuples(st.sampled_from(["cancel", "rerun", "forget", "vanish", "drift"]), st.sampled_from(NAMES)),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
)


class Player:
    """Does what the steps say, and looks at what must hold after each."""

    def __init__(self, directory: Path) -> None:
        self.lab = Lab(directory)
        self.jobs: dict[str, Any] = {}
        self.lab.write({})
        self.tokens: dict[str, tuple[str, int]] = {}
        self.renamed: set[str] = set()

    def play(self, step: tuple[Any, ...]) -> None:
        word, *rest = step
        try:
            getattr(self, f"do_{word}")(*rest)
        except JobformError as error:
            assert error.diagnostics, "an error says what is wrong"
            assert error.exit_code in (1, 3, 6), error
        finally:
            self.lab.calls.faults.clear()
        self.check()

    def do_plan(self) -> None:
        before = self.lab.mutations()
        self.lab.plan(allow_empty=True)
        assert self.lab.mutations() == before, "a plan calls nothing that changes anything"

    def do_apply(self, timeout: float | None, fault: Any, allow_cancel: bool) -> None:
        if fault:
            operation, moment, retryable, ambiguous = fault
            self.lab.calls.fail(operation, BackendError("fault", retryable=retryable, ambiguous=ambiguous), moment=moment)
        options: dict[str, Any] = {"allow_empty": True, "allow_cancel": ["*"] if allow_cancel else []}
        outcome = self.lab.apply(timeout=timeout, **options)
        clean = fault is None and outcome.exit in (0, 8)
        if clean and timeout is None:
            left = acting(self.lab.plan(allow_empty=True))
            assert not left, f"a plan right after an apply that ended with {outcome.exit}: {left}"
            before = self.lab.mutations()
            self.lab.apply(allow_empty=True)
            assert self.lab.mutations() == before, "a second apply changes nothing"

    def do_advance(self) -> None:
        self.lab.advance()

    def do_pass(self, seconds: int) -> None:
        self.lab.clock.advance(seconds)

    def do_write(self, jobs: dict[str, Any]) -> None:
        self.jobs = dict(jobs)
        self._write()

    def do_edit(self, name: str, job: dict[str, Any]) -> None:
        self.jobs[name] = job
        self._write()

    def do_drop(self, name: str, cancel: bool | None) -> None:
        self.jobs.pop(name, None)
        self._write(removed=[] if cancel is None else [{"job": name, "cancel": cancel}])

    def do_rename(self, name: str, to: str) -> None:
        if name in self.jobs and to not in self.jobs:
            job = self.jobs.pop(name)
            earlier = NAMES[: NAMES.index(to)]
            self.jobs[to] = {**job, "needs": [need for need in job["needs"] if need["job"] in earlier]}
            self._write(moved=[{"from": name, "to": to}])

    def do_cancel(self, name: str) -> None:
        self.lab.cancel(name, timeout=4.0)

    def do_rerun(self, name: str) -> None:
        self.lab.rerun(name, timeout=4.0)

    def do_forget(self, name: str) -> None:
        self.lab.forget(name)

    def do_vanish(self, name: str) -> None:
        last = self._last(name)
        if last:
            self.lab.world.vanish(last)

    def do_drift(self, name: str) -> None:
        last = self._last(name)
        if last:
            self.lab.world.drift(last, {"labels": {"t": "drifted"}})

    def _last(self, name: str) -> str | None:
        record = self.lab.state.jobs.get(name)
        run = str(record.last.ref["id"]) if record and record.last else None
        return run if run in self.lab.world.runs("default", [run or ""]) else None

    def _write(self, **more: Any) -> None:
        self.lab.write(with_needs(self.jobs), **more)

    def check(self) -> None:
        state = self.lab.state
        self._once(state)
        again = state_from_bytes(state_to_bytes(state))
        assert (again.jobs, again.tombstones, again.runs, again.specs) == (state.jobs, state.tombstones, state.runs, state.specs)
        self._numbers(state)

    def _once(self, state: State) -> None:
        """Never two live runs of one address; a run that took its mark along to another name is that name's."""
        self.renamed |= {
            attempt.mark for address, record in state.jobs.items() for attempt in record.attempts
            if attempt.token != token(state.lineage, address, attempt.n)
        }
        entries = self.lab.world.entries()
        assert_no_attempt_twice(entries)
        assert_never_two_live(entry for entry in entries if entry.mark not in self.renamed)

    def _numbers(self, state: State) -> None:
        """A token is one attempt for ever; numbers of one address only grow."""
        for address, record in state.jobs.items():
            numbers = [attempt.n for attempt in record.attempts]
            assert numbers == sorted(set(numbers)), (address, numbers)
            seen = [(attempt.token, attempt.mark, attempt.n) for attempt in record.attempts]
            if record.intent and record.intent.op is Op.SUBMIT:
                seen.append((record.intent.token, record.intent.mark, record.intent.attempt))
            for own, mark, n in seen:
                known = self.tokens.setdefault(own, (mark.rsplit("-", 1)[0], n))
                assert known == (mark.rsplit("-", 1)[0], n), f"{address}: token {own} was {known}"
        marks = {attempt.mark for record in state.jobs.values() for attempt in record.attempts}
        assert len(marks) == sum(len(record.attempts) for record in state.jobs.values()), "two attempts share a mark"


def play(project: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="jobform-property-"))
    try:
        player = Player(directory)
        player.play(("write", project))
        for step in steps:
            player.play(step)
    finally:
        shutil.rmtree(directory)


LIMITS = settings(suppress_health_check=list(HealthCheck), derandomize=True, database=None)


@given(PROJECTS, st.lists(STEPS, min_size=3, max_size=10))
@settings(LIMITS, max_examples=60)
def test_whatever_happens(project: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    play(project, steps)


@pytest.mark.slow
@given(PROJECTS, st.lists(STEPS, min_size=3, max_size=25))
@settings(LIMITS, max_examples=1500, derandomize=False)
def test_whatever_happens_for_long(project: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    play(project, steps)


def test_a_forgotten_live_run_keeps_its_address(tmp_path: Path) -> None:
    """A run that its state forgot keeps its address: the invariants rest on that."""
    player = Player(tmp_path)
    player.do_write({"a": {"spec": {"command": ["x"], "seconds": 40}, "needs": []}})
    player.lab.apply(detach=True)
    player.lab.forget("a")
    state = player.lab.state
    assert reasons(player.lab.plan())["a"] == "block live_orphan"
    assert state.tombstones["a"].live
