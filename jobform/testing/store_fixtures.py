"""Where a store contract test keeps its state, and a second process that uses the same place.

`python -m jobform.testing.store_fixtures PLACE ACTION` is that process. PLACE is `Place.to_json`; ACTION is `hold` (take the
lock, print `held`, keep it until standard input has a line or closes) or `count N` (N times: lock, add 1 to the journal and to
the snapshot, unlock).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from jobform.model.clock import SystemClock
from jobform.model.values import Json
from jobform.protocols import Clock, Effect, LockInfo, Store, StoreType, no_effect

PATIENCE = 240.0
"""Seconds that a test waits at most for a lock or for another process."""


@dataclass(frozen=True, slots=True)
class Place:
    """One empty place for a state. type: `module:attribute` of the store type; settings: its `state:` block."""

    type: str
    directory: Path
    settings: Mapping[str, Json] = field(default_factory=dict)

    def open(self, clock: Clock | None = None, effect: Effect = no_effect) -> Store:
        """Another instance of the store."""
        module, attribute = self.type.split(":")
        store_type: StoreType = getattr(import_module(module), attribute)
        return store_type.open(self.settings, self.directory, clock or SystemClock(), effect)

    def to_json(self) -> str:
        return json.dumps({"type": self.type, "directory": str(self.directory), "settings": dict(self.settings)})

    @classmethod
    def from_json(cls, text: str) -> "Place":
        value = json.loads(text)
        return cls(value["type"], Path(value["directory"]), value["settings"])

    def start(self, *action: str) -> "subprocess.Popen[str]":
        """Another process that uses the place."""
        command = [sys.executable, "-m", "jobform.testing.store_fixtures", self.to_json(), *action]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ)  # noqa: S603 - our own module

    @contextmanager
    def held(self) -> Iterator["subprocess.Popen[str]"]:
        """Another process that holds the lock until the block ends, or until the test ends it."""
        process = self.start("hold")
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.communicate("\n" if process.poll() is None else None, timeout=PATIENCE)


def lock_info(name: str, pid: int | None = None) -> LockInfo:
    """A lock's note. name: its id."""
    return LockInfo(name, "tester", "machine", os.getpid() if pid is None else pid, f"test {name}", "2030-01-01T00:00:00.000000Z")


@contextmanager
def locked(store: Store, name: str = "test") -> Iterator[Store]:
    """The store with its lock held."""
    store.lock(lock_info(name), PATIENCE)
    try:
        yield store
    finally:
        store.unlock()


def count(store: Store, times: int, name: str) -> None:
    """Add 1 to the number in the snapshot and a line with that number to the journal, each time under the lock.

    Every fifth time the journal's lines move into the snapshot, as a manager folds them.
    """
    for _ in range(times):
        with locked(store, name):
            stored = store.read()
            lines = [*(stored.data or b"").splitlines(), *stored.journal.splitlines()]
            line = f"{len(lines)} {name}\n".encode()
            if len(lines) % 5 == 4:
                store.write(b"".join(each + b"\n" for each in lines) + line, stored.version)
            else:
                store.append(line, len(stored.journal))


def main() -> None:
    place, action, *rest = sys.argv[1:]
    store = Place.from_json(place).open()
    if action == "count":
        count(store, int(rest[0]), str(os.getpid()))
        return
    with locked(store, "elsewhere"):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main()
