"""What a store must offer: bytes in a place, with a lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobform.model.values import Json
from jobform.protocols.world import Clock, Effect


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds a lock: shown to whoever finds it held."""

    id: str
    who: str
    host: str
    pid: int
    command: str
    at: str
    run_url: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds. data: the snapshot's bytes, None if there is none. version: for compare-and-swap, "" if there is none.

    journal: the journal's bytes, b"" if there is none. stamp: changes whenever data or journal changes.
    """

    data: bytes | None
    version: str
    journal: bytes
    stamp: str


class Store(Protocol):
    """Bytes in a place, with a lock. Lineage, serial, journal format and checks belong to `engine.manager`, on top of it.

    Everything that cannot be done raises StateError, a lock that is held LockHeldError.
    """

    @property
    def location(self) -> str:
        """Where it is, for messages and for `.jobform/seen.json`; without credentials."""

    def read(self) -> Stored:
        """Everything."""

    def stamp(self) -> str:
        """The present `Stored.stamp`, cheaply: equal stamps mean that nothing moved."""

    def write(self, data: bytes, expected_version: str) -> str:
        """Replace the snapshot if its version is the expected one: the new version.

        The previous one is kept as a backup, the journal is dropped.
        """

    def append(self, entries: bytes, expected_size: int) -> None:
        """Add whole lines to the journal and make them durable.

        expected_size: the journal's length before, cutting a torn tail.
        """

    def lock(self, info: LockInfo, timeout: float) -> None:
        """Take the lock, waiting up to `timeout` seconds."""

    def unlock(self) -> None:
        """Give it back; quiet when not held."""

    def holder(self) -> LockInfo | None:
        """Who holds the lock now, None if nobody."""

    def check(self) -> None:
        """Under the lock, before the first backend call: prove that writing works."""

    def keep(self, name: str, data: bytes) -> None:
        """Put a kept log under a name of `[a-z0-9.-]`."""

    def kept(self, name: str) -> bytes | None:
        """A kept log, None if there is none."""


class StoreType(Protocol):
    """What the entry point group `jobform.stores` holds."""

    @property
    def name(self) -> str:
        """The `type` in `state:`."""

    def settings_schema(self) -> dict[str, Json]:
        """JSON Schema 2020-12 of the `state:` block without `type`."""

    def open(self, settings: Mapping[str, Json], directory: Path, clock: Clock, effect: Effect) -> Store:
        """Connect; must not write."""
