"""What every backend must do, as tests: subclass `BackendContract`, give its fixtures, and pytest collects the rest.

    class TestMine(BackendContract):
        @pytest.fixture
        def backend(self): ...                  # connected, in a scope of its own
        @pytest.fixture
        def make_submission(self): ...          # a Wish and an address become a Submission

`backend_fixtures` says what else it may give. For full messages, call `pytest.register_assert_rewrite` with this module,
`jobform.testing.backend_faults` and `jobform.testing.backend_fixtures` before the import.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import pytest

from jobform.model.errors import BackendError, Started
from jobform.model.state import Phase
from jobform.protocols import Absent, Actual, Backend, Found, Gone, Importing, Lister, ReadError, Ref, Submission
from jobform.testing.backend_faults import FaultContract
from jobform.testing.backend_fixtures import OUTPUTS, MakeSubmission, Wish, read_one
from jobform.testing.marks import make_mark


class BackendContract(FaultContract):
    """The whole contract, faults included."""

    # --- scope and reading ---

    def test_scope_is_stable(self, backend: Backend) -> None:
        first, second = backend.scope(), backend.scope()
        assert first.text
        assert first.described
        assert first.text == second.text

    def test_reading_nothing_gives_nothing(self, backend: Backend) -> None:
        assert dict(backend.read([])) == {}
        assert dict(backend.find([])) == {}

    def test_submit_does_not_wait_for_the_end(self, start: Callable[..., Ref], backend: Backend) -> None:
        actual = read_one(backend, start(Wish.RUNS))
        assert isinstance(actual, Actual)
        assert actual.phase in (Phase.PENDING, Phase.RUNNING)
        assert actual.ended_at is None
        assert actual.exit is None

    def test_reference_survives_json(self, start: Callable[..., Ref], backend: Backend) -> None:
        ref = start(Wish.RUNS)
        again = Ref.of(ref.value)
        assert again == ref
        assert isinstance(read_one(backend, again), Actual)

    def test_success(self, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        actual = reach(start(Wish.ENDS), Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)
        assert actual.phase is Phase.SUCCEEDED
        assert actual.exit in (0, None)
        assert actual.class_ is None
        assert _moment(actual.started_at) <= _moment(actual.ended_at)

    def test_failure_has_exit_code_and_class(self, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        actual = reach(start(Wish.FAILS), Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)
        assert actual.phase is Phase.FAILED
        assert actual.exit == (3 if self.reports_exit else None)
        assert actual.class_ == "user_error"
        assert actual.outputs is None

    def test_outputs(self, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        assert reach(start(Wish.OUTPUTS), Phase.SUCCEEDED, Phase.FAILED).outputs == OUTPUTS

    def test_running_has_started(self, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        actual = reach(start(Wish.RUNS), Phase.RUNNING)
        assert actual.started_at is not None
        assert actual.ended_at is None

    def test_waiting_has_not_started(self, start: Callable[..., Ref], backend: Backend) -> None:
        actual = read_one(backend, start(Wish.WAITS))
        assert isinstance(actual, Actual)
        assert actual.phase is Phase.PENDING
        assert actual.started_at is None

    def test_gone_after_delete(self, start: Callable[..., Ref], reach: Callable[..., Actual], backend: Backend) -> None:
        self.need(self.removes)
        ref = start(Wish.ENDS)
        reach(ref, Phase.SUCCEEDED)
        backend.delete(ref)
        assert isinstance(read_one(backend, ref), Gone)

    def test_every_reference_is_answered(self, start: Callable[..., Ref], reach: Callable[..., Actual], backend: Backend) -> None:
        runs, ends, gone = start(Wish.RUNS, "runs"), start(Wish.ENDS, "ends"), start(Wish.ENDS, "gone")
        reach(gone, Phase.SUCCEEDED)
        reach(ends, Phase.SUCCEEDED)
        backend.delete(gone)
        read = backend.read([runs, ends, gone])
        assert read.keys() == {runs, ends, gone}
        assert isinstance(read[gone], Gone if self.removes else Actual)
        assert isinstance(read[runs], Actual)
        assert isinstance(read[ends], Actual)

    def test_foreign_reference_is_no_absence(self, backend: Backend) -> None:
        ref = Ref.of({"nobody": "made this"})
        try:
            answer = read_one(backend, ref)
        except BackendError:
            return
        assert isinstance(answer, ReadError)

    # --- marks ---

    def test_absent_then_found(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> None:
        mark = make_mark("job", lineage=lineage, body="one")
        assert backend.find([mark]) == {mark: Absent()}
        ref = backend.submit(make_submission(Wish.RUNS, "job"), mark)
        self.assert_found(backend, mark, ref)

    def test_found_with_the_submitted_body(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> None:
        self.need(self.marked and self.marks_body)
        submitted, asked = (make_mark("job", lineage=lineage, body=body) for body in ("one", "two"))
        ref = backend.submit(make_submission(Wish.RUNS, "job"), submitted)
        assert backend.find([asked]) == {asked: Found(ref, submitted.body)}

    def test_marks_are_told_apart(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> None:
        self.need(self.marked)
        mark = make_mark("job", 1, lineage=lineage)
        ref = backend.submit(make_submission(Wish.RUNS, "job"), mark)
        others = [
            make_mark("job", 2, lineage=lineage), make_mark("job", 11, lineage=lineage), make_mark("job2", 1, lineage=lineage),
            make_mark("job", 1, lineage=f"{lineage}x"),
        ]
        found = backend.find([*others, mark])
        assert found[mark] == Found(ref, mark.body)
        assert [found[other] for other in others] == [Absent()] * len(others)

    def test_ended_run_is_found(
        self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual], lineage: str,
    ) -> None:
        ref, mark = start(Wish.ENDS), make_mark("job", lineage=lineage)
        reach(ref, Phase.SUCCEEDED)
        self.assert_found(backend, mark, ref)

    def test_the_same_mark_twice_is_one_run(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> None:
        self.need(self.exact)
        mark = make_mark("job", lineage=lineage)
        first = backend.submit(make_submission(Wish.RUNS, "job"), mark)
        assert backend.submit(make_submission(Wish.RUNS, "job"), mark) == first

    def test_the_same_mark_at_the_same_time_is_one_run(
        self, backend: Backend, make_submission: MakeSubmission, lineage: str,
    ) -> None:
        self.need(self.exact)
        mark = make_mark("job", lineage=lineage)

        def submit(_: int) -> Ref:
            return backend.submit(make_submission(Wish.RUNS, "job"), mark)

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(submit, range(4)))) == 1

    # --- stopping and removing ---

    def test_cancel_running(self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        ref = start(Wish.RUNS)
        reach(ref, Phase.RUNNING)
        backend.cancel(ref, only_if_waiting=False)
        backend.cancel(ref, only_if_waiting=False)
        actual = reach(ref, Phase.CANCELLED, Phase.SUCCEEDED, Phase.FAILED)
        assert actual.phase is Phase.CANCELLED
        assert actual.ended_at is not None

    @pytest.mark.parametrize("only_if_waiting", [True, False])
    def test_cancel_waiting(
        self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual], *, only_if_waiting: bool,
    ) -> None:
        ref = start(Wish.WAITS)
        backend.cancel(ref, only_if_waiting=only_if_waiting)
        actual = reach(ref, Phase.CANCELLED, Phase.SUCCEEDED, Phase.FAILED)
        assert actual.phase is Phase.CANCELLED
        assert actual.started_at is None

    def test_conditional_cancel_leaves_a_started_run_alone(
        self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual],
    ) -> None:
        self.need(self.conditional_cancel)
        ref = start(Wish.RUNS)
        reach(ref, Phase.RUNNING)
        with pytest.raises(Started):
            backend.cancel(ref, only_if_waiting=True)
        assert reach(ref, Phase.RUNNING).ended_at is None

    @pytest.mark.parametrize("only_if_waiting", [True, False])
    def test_cancel_is_quiet_when_over(
        self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual], *, only_if_waiting: bool,
    ) -> None:
        ref = start(Wish.ENDS)
        reach(ref, Phase.SUCCEEDED)
        backend.cancel(ref, only_if_waiting=only_if_waiting)
        assert reach(ref, Phase.SUCCEEDED).exit in (0, None)
        backend.delete(ref)
        backend.cancel(ref, only_if_waiting=only_if_waiting)

    def test_delete_is_quiet_when_gone(self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        ref = start(Wish.ENDS)
        reach(ref, Phase.SUCCEEDED)
        backend.delete(ref)
        backend.delete(ref)

    def test_delete_refuses_a_live_run(self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual]) -> None:
        self.need(self.delete_refuses_live)
        ref = start(Wish.RUNS)
        reach(ref, Phase.RUNNING)
        with pytest.raises(BackendError):
            backend.delete(ref)
        assert reach(ref, Phase.RUNNING).ended_at is None

    # --- changing in place ---

    def test_update(
        self, backend: Backend, make_submission: MakeSubmission, relabel: Callable[[Submission], Submission], lineage: str,
    ) -> None:
        submission = make_submission(Wish.RUNS, "job")
        ref = backend.submit(submission, make_mark("job", lineage=lineage))
        before = read_one(backend, ref)
        assert isinstance(before, Actual)
        after = backend.update(ref, relabel(submission), before)
        assert after.fields != before.fields
        read = read_one(backend, ref)
        assert isinstance(read, Actual)
        assert read.fields == after.fields

    def test_update_refuses_what_has_changed(
        self, backend: Backend, make_submission: MakeSubmission, relabel: Callable[[Submission], Submission], lineage: str,
    ) -> None:
        submission = make_submission(Wish.RUNS, "job")
        ref = backend.submit(submission, make_mark("job", lineage=lineage))
        before = read_one(backend, ref)
        assert isinstance(before, Actual)
        backend.update(ref, relabel(submission), before)
        with pytest.raises(BackendError):
            backend.update(ref, submission, replace(before, fields={**before.fields, "labels": {"some": "other"}}))

    # --- runs that nobody recorded ---

    def test_a_listed_run_is_the_one_that_was_submitted(
        self, backend: Backend, make_submission: MakeSubmission, lineage: str,
    ) -> None:
        """Its reference is equal, else it would look like another run; its mark, where it carries one, names its attempt."""
        if not isinstance(backend, Lister):
            pytest.skip("runs cannot be listed here")
        marks = {make_mark(address, lineage=lineage) for address in ("one", "two")}
        refs = {backend.submit(make_submission(Wish.RUNS, mark.address), mark): mark for mark in marks}
        seen = {sighting.ref: sighting for sighting in backend.list() if sighting.ref in refs}
        assert seen.keys() == refs.keys()
        for ref, mark in refs.items():
            assert seen[ref].id
            assert seen[ref].mark in ("", mark.text) or seen[ref].mark.rsplit("-", 1)[0] == mark.text.rsplit("-", 1)[0]
            assert seen[ref].actual.phase in (Phase.PENDING, Phase.RUNNING)
            assert seen[ref].created_at is None or _moment(seen[ref].created_at)

    def test_a_run_is_looked_up_by_its_id(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> None:
        if not isinstance(backend, Importing):
            pytest.skip("runs cannot be looked up here")
        mark = make_mark("job", lineage=lineage)
        ref = backend.submit(make_submission(Wish.RUNS, mark.address), mark)
        if isinstance(backend, Lister):
            run = next(sighting.id for sighting in backend.list() if sighting.ref == ref)
            sighting = backend.lookup(run)
            assert sighting is not None
            assert (sighting.ref, sighting.id) == (ref, run)
            assert isinstance(read_one(backend, sighting.ref), Actual)
            assert backend.lookup(run[:-1] + ("0" if run[-1] != "0" else "1")) is None
        for odd in ("no such run", "../..", "\x00", "\u65e5" * 400):
            with suppress(BackendError):  # it is no id here
                assert backend.lookup(odd) is None

    # --- many at a time ---

    def test_reading_many_takes_few_calls(
        self, backend: Backend, make_submission: MakeSubmission, calls: Callable[[], int], lineage: str,
    ) -> None:
        marks = [make_mark(f"job{index}", lineage=lineage) for index in range(self.many)]
        with ThreadPoolExecutor(8) as pool:
            refs = list(pool.map(lambda mark: backend.submit(make_submission(Wish.ENDS, mark.address), mark), marks))
        before = calls()
        read = backend.read(refs)
        assert calls() - before <= self.most_calls
        assert len(read) == self.many
        assert all(isinstance(answer, Actual) for answer in read.values())
        before = calls()
        found = backend.find(marks)
        assert calls() - before <= self.most_calls
        if not self.marked:
            return
        assert found == {mark: Found(ref, mark.body) for mark, ref in zip(marks, refs, strict=True)}

    def test_several_threads_at_once(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> None:
        def whole(index: int) -> bool:
            mark = make_mark(f"job{index}", lineage=lineage)
            ref = backend.submit(make_submission(Wish.RUNS, mark.address), mark)
            self.assert_found(backend, mark, ref)
            return isinstance(read_one(backend, ref), Actual)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(whole, range(16)))


def _moment(text: str | None) -> datetime:
    assert text is not None
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return moment
