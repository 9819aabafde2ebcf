"""What the reference service saw, in order and time-stamped, and the invariants that can be asked of it."""

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobform.model.values import Json

CREATED, ENDED, VANISHED = "created", "ended", "vanished"
_OVER = frozenset({ENDED, VANISHED, "deleted", "expired"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger.

    at: seconds since the epoch. kind: request, created, started, suspended, updated, cancelling, ended, deleted, expired or
    vanished. run: the service's id of a run, empty for requests. data: method, path, status, pid and fault of a request; the
    outcome of an end.
    """

    at: float
    kind: str
    namespace: str = ""
    run: str = ""
    address: str = ""
    mark: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        return {
            "at": self.at, "kind": self.kind, "namespace": self.namespace, "run": self.run, "address": self.address,
            "mark": self.mark, "data": dict(self.data),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Json]) -> "Entry":
        at, data = line["at"], line["data"]
        assert isinstance(at, int | float)
        assert isinstance(data, dict)
        words = {key: str(line[key]) for key in ("kind", "namespace", "run", "address", "mark")}
        return cls(at=at, data=data, **words)


class Ledger:
    """Entries in the order in which they happened; with a path also a JSON Lines file that grows as they do."""

    def __init__(self, path: Path | None = None) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8") if path else None

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            if self._file:
                self._file.write(json.dumps(entry.to_json()) + "\n")
                self._file.flush()

    def entries(self, namespace: str | None = None) -> list[Entry]:
        """Everything so far, or what concerns one namespace."""
        with self._lock:
            return [entry for entry in self._entries if namespace is None or entry.namespace == namespace]


def two_live(entries: Iterable[Entry]) -> list[str]:
    """Every moment at which an address had two runs that had not ended, as sentences; empty when all is well.

    A run counts from its creation, so that two waiting ones are found too. Runs of different lineages never meet: the key is the
    mark without its attempt and body.
    """
    live: dict[str, dict[str, str]] = {}
    found = []
    for entry in entries:
        if not entry.mark:
            continue
        runs = live.setdefault("-".join(entry.mark.split("-")[:3]), {})
        if entry.kind == CREATED:
            found += [
                f"{entry.address}: run {entry.run} ({entry.mark}) was created at {entry.at:.6f} beside {run} ({mark})"
                for run, mark in runs.items()
            ]
            runs[entry.run] = entry.mark
        elif entry.kind in _OVER:
            runs.pop(entry.run, None)
    return found


def twice(entries: Iterable[Entry]) -> list[str]:
    """Every attempt that was created more than once, ended or not, as sentences."""
    seen: dict[str, str] = {}
    found = []
    for entry in entries:
        if entry.kind == CREATED and entry.mark:
            attempt = entry.mark.rsplit("-", 1)[0]
            if attempt in seen:
                found.append(f"{entry.address}: attempt {attempt} was created as {seen[attempt]} and again as {entry.run}")
            seen.setdefault(attempt, entry.run)
    return found


def mutations(entries: Iterable[Entry]) -> list[Entry]:
    """The requests that could change something, whatever their answer was."""
    return [entry for entry in entries if entry.kind == "request" and entry.data.get("method") != "GET"]


def assert_never_two_live(entries: Iterable[Entry]) -> None:
    """Raises AssertionError that lists each moment at which an address had two runs."""
    found = two_live(entries)
    assert not found, "\n".join(found)


def assert_no_attempt_twice(entries: Iterable[Entry]) -> None:
    """Raises AssertionError that lists each attempt of which two runs were made."""
    found = twice(entries)
    assert not found, "\n".join(found)
