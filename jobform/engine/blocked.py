"""Addresses that can do nothing now, by what they wait for, so that each is looked at again only when that has happened."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime

from jobform.engine.todo import Wait
from jobform.model.job import Need, When


class Blocked:
    """One of the scheduler's three collections. Putting, taking and asking cost as much as there are needs concerned."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}
        self._missing: dict[str, dict[str, list[When]]] = {}
        self._dependents: dict[str, dict[str, None]] = defaultdict(dict)
        self._crowds: dict[str, dict[str, None]] = defaultdict(dict)
        self._backend: dict[str, str] = {}

    def clear(self) -> None:
        """Forget everything."""
        for collection in (self._waits, self._missing, self._dependents, self._crowds, self._backend):
            collection.clear()

    def put(self, address: str, wait: Wait, needs: Iterable[Need], backend: str) -> None:
        """Let an address wait. needs: all that it has; those that `wait` does not name are met. backend: where it would start."""
        self.pop(address)
        self._waits[address] = wait
        if wait.why == "room":
            self._crowds[backend][address] = None
            self._backend[address] = backend
        if wait.addresses:
            missing: dict[str, list[When]] = {needed: [] for needed in wait.addresses}
            for need in needs:
                for needed in need.addresses:
                    if needed in missing:
                        missing[needed].append(need.when)
            self._missing[address] = missing
            for needed in missing:
                self._dependents[needed][address] = None

    def pop(self, address: str) -> None:
        """It waits no more."""
        self._waits.pop(address, None)
        for needed in self._missing.pop(address, ()):
            self._dependents[needed].pop(address, None)
        backend = self._backend.pop(address, None)
        if backend is not None:
            self._crowds[backend].pop(address, None)

    def dependents(self, needed: str) -> Mapping[str, Sequence[When]]:
        """Who waits for this address, each with what it waits for."""
        return {address: self._missing[address][needed] for address in self._dependents.get(needed, ())}

    def met(self, address: str, needed: str) -> bool:
        """One need of an address is met: whether it was the last one."""
        missing = self._missing[address]
        del missing[needed]
        del self._dependents[needed][address]
        return not missing

    def first_for(self, backend: str) -> str | None:
        """Who waited longest for a place on a backend."""
        return next(iter(self._crowds[backend]), None) if backend in self._crowds else None

    @property
    def crowded(self) -> list[str]:
        """The backends on which somebody waits for a place."""
        return [backend for backend, crowd in self._crowds.items() if crowd]

    def due(self, now: datetime) -> list[str]:
        """Those whose time has come."""
        return [address for address, wait in self._waits.items() if wait.until is not None and wait.until <= now]

    @property
    def unstarted(self) -> int:
        """How many wait to start: all but those that wait for the end of their own attempt."""
        return sum(wait.why != "end" for wait in self._waits.values())

    @property
    def startable(self) -> bool:
        """Whether somebody waits only to make a call again that failed in a way that may pass."""
        return any(wait.why == "pace" for wait in self._waits.values())

    def hoped(self, live: Container[str]) -> bool:
        """Whether somebody waits for anything that can still happen: all but needs of which nothing moves any more."""
        moving = {address for address, wait in self._waits.items() if wait.why != "need"}
        return bool(moving) or any(needed in live for missing in self._missing.values() for needed in missing)
