"""What a backend offers so that people can see the output of its runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jobform.protocols.backend import Ref


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which output is wanted. tail: only so many last lines, at first. since: only the last so many seconds.

    index, container: of a run that has several. previous: of the container before its last restart.
    tell: hears, once each, what people should know while they wait, such as why there is no output yet.
    """

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    index: int | None = None
    container: str = ""
    previous: bool = False
    tell: Callable[[str], None] = field(default=lambda _text: None, compare=False, repr=False)


@runtime_checkable
class LogSource(Protocol):
    """A backend that can show output."""

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        """The run's output, oldest first, in chunks; with follow until the run has ended.

        Raises BackendError for an option that the backend does not have.
        """

    def kept(self, ref: Ref, limit: int) -> bytes:
        """The last `limit` bytes of each part of the run that writes by itself, to be stored beside the state.

        Empty when there is nothing. Whoever stores it blanks the secrets that it knows.
        """


@runtime_checkable
class Blanking(Protocol):
    """A log source that may have the secrets of a run blanked by who knows their values while it runs.

    Of any other, a step that lacks one of the values stores nothing.
    """

    @property
    def blanks_secrets(self) -> bool:
        """Whether no value of a secret that its run was given is in what `kept` gives, whatever this process knows."""
