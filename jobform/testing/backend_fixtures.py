"""The vocabulary of the backend contract and its fixtures: what a test needs of a backend, and how it may break."""

import time
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import ClassVar, Protocol

import pytest

from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Backend, Found, Gone, Mark, ReadError, Ref, Submission, Unknown
from jobform.testing.marks import make_mark

PATIENCE = 120.0
"""Seconds that a test waits at most for a change of state: tells a hang from a busy machine."""


class Wish(StrEnum):
    """A job that a contract test needs.

    ends: exit 0, soon. fails: exit 3, soon. runs: until it is cancelled. waits: never starts by itself. outputs: ends with the
    outputs `OUTPUTS`.
    """

    ENDS = "ends"
    FAILS = "fails"
    RUNS = "runs"
    WAITS = "waits"
    OUTPUTS = "outputs"


OUTPUTS: Mapping[str, Json] = {"answer": 42, "parts": ["a", {"b": None}], "text": "grün"}

MakeSubmission = Callable[[Wish, str], Submission]
"""May call `pytest.skip` for a wish that the backend cannot fulfil."""


class Break(StrEnum):
    """What goes wrong with the next call of an operation.

    error: a 5xx before it takes effect. error_after: a 5xx after it took effect. lost: it takes effect, the answer never arrives.
    throttled: 429 with Retry-After 1, no effect. denied: 403, no effect. html: a login page with status 200, no effect.
    half: it takes effect, half of the answer arrives. expired_page: the token of the second page of a list is refused once.
    """

    ERROR = "error"
    ERROR_AFTER = "error_after"
    LOST = "lost"
    THROTTLED = "throttled"
    DENIED = "denied"
    HTML = "html"
    HALF = "half"
    EXPIRED_PAGE = "expired_page"


class FaultSource(Protocol):
    """Breaks the service behind a backend."""

    def break_next(self, operation: str, how: Break) -> None:
        """Let the next call of `scope`, `read`, `find`, `submit`, `cancel` or `delete` fail; may call `pytest.skip`."""


class BackendFixtures:
    """What a subclass of the contract gives, and what the tests make of it.

    exact: submitting the same mark again gives the same run. many: how many runs the bulk tests use; most_calls: how many
    calls reading them all may take. delete_refuses_live: else deleting a live run is not tested. reports_exit: the service says
    with which code a program ended. removes: an ended run is gone after `delete`; else the service keeps it for ever. marked: a
    run carries its mark; else what was begun and not ended stays unknown while there is any run that might be it. marks_body: the
    mark tells with which body it was made.
    """

    exact: ClassVar[bool] = True
    conditional_cancel: ClassVar[bool] = True
    delete_refuses_live: ClassVar[bool] = True
    reports_exit: ClassVar[bool] = True
    removes: ClassVar[bool] = True
    marked: ClassVar[bool] = True
    marks_body: ClassVar[bool] = True
    many: ClassVar[int] = 500
    most_calls: ClassVar[int] = 5

    # --- what a subclass gives ---

    @pytest.fixture
    def backend(self) -> Backend:
        """A connected backend in a scope of this test's own."""
        raise NotImplementedError

    @pytest.fixture
    def make_submission(self) -> MakeSubmission:
        raise NotImplementedError

    @pytest.fixture
    def wait_until(self) -> Callable[[Callable[[], bool]], None]:
        """Poll until a condition holds; fail after `PATIENCE`. A backend with a clock that a test moves overrides it."""

        def wait(condition: Callable[[], bool]) -> None:
            end = time.monotonic() + PATIENCE
            while not condition():
                assert time.monotonic() < end, "it did not come true in time"
                time.sleep(0.02)

        return wait

    @pytest.fixture
    def faults(self) -> FaultSource:
        pytest.skip("no faults can be injected here")

    @pytest.fixture
    def calls(self) -> Callable[[], int]:
        """How many calls the service has seen so far."""
        pytest.skip("calls cannot be counted here")

    @pytest.fixture
    def relabel(self) -> Callable[[Submission], Submission]:
        """The same submission with another value in a field that may always be updated."""
        pytest.skip("nothing can be updated in place here")

    # --- helpers ---

    def assert_found(self, backend: Backend, mark: Mark, ref: Ref | None = None) -> None:
        """The run of a mark is found; where runs carry no mark, nobody claims that there is none."""
        answer = backend.find([mark])[mark]
        if not self.marked:
            assert isinstance(answer, Unknown), answer
            return
        assert isinstance(answer, Found), answer
        assert answer.body == mark.body
        assert ref in (None, answer.ref)
        assert isinstance(read_one(backend, answer.ref), Actual)

    def need(self, promise: bool) -> None:
        """Skip unless the backend promises it."""
        if not promise:
            pytest.skip("this backend does not promise it")

    @pytest.fixture
    def lineage(self) -> str:
        return uuid.uuid4().hex

    @pytest.fixture
    def start(self, backend: Backend, make_submission: MakeSubmission, lineage: str) -> Callable[..., Ref]:
        """`start(wish, address="job", attempt=1)` submits and gives the reference."""

        def submit(wish: Wish, address: str = "job", attempt: int = 1) -> Ref:
            return backend.submit(make_submission(wish, address), make_mark(address, attempt, lineage=lineage))

        return submit

    @pytest.fixture
    def reach(self, backend: Backend, wait_until: Callable[[Callable[[], bool]], None]) -> Callable[..., Actual]:
        """`reach(ref, *phases)` waits until a run is in one of these phases and gives what was read."""

        def until(ref: Ref, *phases: Phase) -> Actual:
            seen: list[Actual] = []

            def there() -> bool:
                actual = read_one(backend, ref)
                assert isinstance(actual, Actual), f"{ref.text} cannot be read: {actual}"
                seen.append(actual)
                return actual.phase in phases

            wait_until(there)
            return seen[-1]

        return until


def read_one(backend: Backend, ref: Ref) -> Actual | Gone | ReadError:
    """What a backend says of one reference."""
    return backend.read([ref])[ref]
