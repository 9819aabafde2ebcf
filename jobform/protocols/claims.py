"""What a backend offers so that runs which jobform did not record can be found and taken over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jobform.protocols.backend import Actual, Ref


@dataclass(frozen=True, slots=True)
class Sighting:
    """A run as it was met on a service.

    id: as people see it there, and as `import` takes it. mark: of ours or of another project's, "" when it carries none.
    name: what the service calls it, "" for nothing. created_at: RFC 3339, UTC.
    """

    ref: Ref
    id: str
    mark: str
    actual: Actual
    name: str = ""
    created_at: str | None = None


@runtime_checkable
class Importing(Protocol):
    """A backend whose runs can be taken over by their id."""

    def lookup(self, run_id: str) -> Sighting | None:
        """The run of this id with every field that the service reports, None when there is none. Raises BackendError."""


@runtime_checkable
class Lister(Protocol):
    """A backend that can show every run in its place, whoever started it."""

    def list(self) -> Iterator[Sighting]:
        """Newest first where the service says so; runs that ended long ago may be left out. Raises BackendError."""
