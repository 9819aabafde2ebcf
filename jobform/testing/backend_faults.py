"""The backend contract's part about faults: what must follow when a call fails, before or after it took effect."""

from collections.abc import Callable

import pytest

from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.protocols import Absent, Actual, Backend, Gone, Mark, ReadError, Ref, Unknown
from jobform.testing.backend_fixtures import BackendFixtures, Break, FaultSource, MakeSubmission, Wish, read_one
from jobform.testing.marks import make_mark


class FaultContract(BackendFixtures):
    """Skipped as a whole when the subclass gives no `faults`."""

    def test_error_before_submission(
        self, backend: Backend, make_submission: MakeSubmission, faults: FaultSource, lineage: str,
    ) -> None:
        mark = make_mark("job", lineage=lineage)
        error = _broken_submit(backend, make_submission, mark, faults, Break.ERROR)
        assert error.retryable
        assert backend.find([mark]) == {mark: Absent()}
        self.assert_found(backend, mark, backend.submit(make_submission(Wish.RUNS, "job"), mark))

    @pytest.mark.parametrize("how", [Break.ERROR_AFTER, Break.LOST, Break.HALF])
    def test_submission_that_took_effect_is_ambiguous_and_found(
        self, backend: Backend, make_submission: MakeSubmission, faults: FaultSource, lineage: str, how: Break,
    ) -> None:
        mark = make_mark("job", lineage=lineage)
        error = _broken_submit(backend, make_submission, mark, faults, how)
        assert error.ambiguous
        self.assert_found(backend, mark)

    def test_page_of_html_is_no_submission(
        self, backend: Backend, make_submission: MakeSubmission, faults: FaultSource, lineage: str,
    ) -> None:
        error = _broken_submit(backend, make_submission, make_mark("job", lineage=lineage), faults, Break.HTML)
        assert error.ambiguous, "an answer that says nothing leaves open what happened"

    def test_throttled_submission_may_be_repeated(
        self, backend: Backend, make_submission: MakeSubmission, faults: FaultSource, lineage: str,
        wait_until: Callable[[Callable[[], bool]], None],
    ) -> None:
        mark = make_mark("job", lineage=lineage)
        error = _broken_submit(backend, make_submission, mark, faults, Break.THROTTLED)
        assert error.retryable
        assert not error.ambiguous

        def accepted() -> bool:
            try:
                return bool(backend.submit(make_submission(Wish.RUNS, "job"), mark).text)
            except BackendError as again:
                assert again.retryable
                return False

        wait_until(accepted)

    def test_denied_submission_is_final(
        self, backend: Backend, make_submission: MakeSubmission, faults: FaultSource, lineage: str,
    ) -> None:
        mark = make_mark("job", lineage=lineage)
        error = _broken_submit(backend, make_submission, mark, faults, Break.DENIED)
        assert not error.retryable
        assert not error.ambiguous
        assert backend.find([mark]) == {mark: Absent()}

    @pytest.mark.parametrize("how", [Break.ERROR, Break.LOST, Break.HALF, Break.HTML, Break.DENIED, Break.THROTTLED])
    def test_read_that_fails_says_nothing_of_the_runs(
        self, backend: Backend, start: Callable[..., Ref], faults: FaultSource, how: Break,
    ) -> None:
        refs = [start(Wish.RUNS, "one"), start(Wish.RUNS, "two")]
        faults.break_next("read", how)
        try:
            read = backend.read(refs)
        except BackendError as error:
            assert error.summary
            assert not error.ambiguous, "reading changes nothing"
        else:
            assert all(isinstance(answer, ReadError) for answer in read.values())

    @pytest.mark.parametrize("how", [Break.ERROR, Break.LOST, Break.HALF, Break.HTML, Break.DENIED])
    def test_find_that_fails_is_no_absence(self, backend: Backend, faults: FaultSource, lineage: str, how: Break) -> None:
        mark = make_mark("job", lineage=lineage)
        faults.break_next("find", how)
        try:
            answer = backend.find([mark])[mark]
        except BackendError:
            return
        assert isinstance(answer, Unknown)

    def test_expired_page_starts_again(self, backend: Backend, start: Callable[..., Ref], faults: FaultSource) -> None:
        refs = [start(Wish.RUNS, f"job{index}") for index in range(self.many // 4)]
        faults.break_next("read", Break.EXPIRED_PAGE)
        read = backend.read(refs)
        assert len(read) == len(refs)
        assert all(isinstance(answer, Actual) for answer in read.values())

    @pytest.mark.parametrize("how", [Break.ERROR, Break.HTML, Break.DENIED])
    def test_scope_that_fails_is_not_proven(self, backend: Backend, faults: FaultSource, how: Break) -> None:
        faults.break_next("scope", how)
        with pytest.raises(BackendError):
            backend.scope()

    def test_lost_answer_to_a_cancel(
        self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual], faults: FaultSource,
    ) -> None:
        ref = start(Wish.RUNS)
        reach(ref, Phase.RUNNING)
        faults.break_next("cancel", Break.LOST)
        with pytest.raises(BackendError) as caught:
            backend.cancel(ref, only_if_waiting=False)
        assert caught.value.ambiguous
        backend.cancel(ref, only_if_waiting=False)
        assert reach(ref, Phase.CANCELLED).ended_at is not None

    def test_lost_answer_to_a_delete(
        self, backend: Backend, start: Callable[..., Ref], reach: Callable[..., Actual], faults: FaultSource,
    ) -> None:
        self.need(self.removes)
        ref = start(Wish.ENDS)
        reach(ref, Phase.SUCCEEDED)
        faults.break_next("delete", Break.LOST)
        with pytest.raises(BackendError):
            backend.delete(ref)
        backend.delete(ref)
        assert isinstance(read_one(backend, ref), Gone)


def _broken_submit(backend: Backend, make: MakeSubmission, mark: Mark, faults: FaultSource, how: Break) -> BackendError:
    faults.break_next("submit", how)
    with pytest.raises(BackendError) as caught:
        backend.submit(make(Wish.RUNS, mark.address), mark)
    assert caught.value.summary
    return caught.value
