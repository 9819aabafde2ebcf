"""Errors that a user can act on.

JobformError
 ├── FailedError      exit 1    something failed, nothing is unknown
 ├── InputError       exit 3    YAML, template, schema or policy is wrong
 ├── LockHeldError    exit 4    someone else holds the state's lock
 ├── StateError       exit 5    state unreadable, missing though pinned, newer, of another lineage, or not saved
 ├── StaleError       exit 6    the plan is stale or not the approved one
 └── UsageError       exit 64   the command line is wrong
BackendError                   what a backend raises; the engine decides what follows from it
Started                        a conditional cancel found that the job had started
"""

from collections.abc import Iterable
from typing import ClassVar

from jobform.model.diagnostic import Diagnostic, Range, Severity


class JobformError(Exception):
    """Carries diagnostics and the exit code of its class. Anything else that escapes is a bug and keeps its traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(d.summary for d in self.diagnostics))

    @classmethod
    def of(
        cls, code: str, summary: str, *, detail: str = "", hint: str = "",
        range: Range | None = None, address: str | None = None,  # noqa: A002  # the field that it fills has this name
    ) -> "JobformError":
        """An error with one diagnostic."""
        return cls([Diagnostic(Severity.ERROR, code, summary, detail, hint, range, address)])


class FailedError(JobformError):
    """Something failed and nothing is unknown."""

    exit_code = 1


class InputError(JobformError):
    """The project's files or variables are wrong."""

    exit_code = 3


class LockHeldError(JobformError):
    """The state's lock is held by someone else."""

    exit_code = 4


class StateError(JobformError):
    """The state cannot be read, trusted or saved."""

    exit_code = 5


class StaleError(JobformError):
    """What was approved is not what would be done now."""

    exit_code = 6


class UsageError(JobformError):
    """The command line is wrong."""

    exit_code = 64


class BackendError(Exception):
    """A backend call failed.

    retryable: the same call may succeed later. ambiguous: the call may have taken effect although it failed (a timeout, a reset,
    a 5xx after a POST); the engine then looks the mark up before it does anything else. retry_after: seconds for which the
    service asked not to be called again.
    """

    def __init__(
        self, summary: str, detail: str = "", *, retryable: bool = False, ambiguous: bool = False, retry_after: float = 0.0,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.retryable = retryable
        self.ambiguous = ambiguous
        self.retry_after = retry_after


class Started(Exception):
    """`Backend.cancel(..., only_if_waiting=True)` found that the job had started; it was left alone."""
