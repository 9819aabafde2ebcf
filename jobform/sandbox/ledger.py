"""What happened in a sandbox: every request and every change of a job's state, in order, as JSON Lines."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from jobform.model.values import Json

Entry = dict[str, Json]


class Ledger:
    """Kept in memory, and in a file where one is given. Safe to use from several threads.

    A `request` has service, method, path, status (0: no answer) and fault; a `state` has service, id, owner and state, where
    `owner` is whatever the service knows of who made the job: a mark, a name.
    """

    def __init__(self, file: Path | None = None, now: Callable[[], float] | None = None) -> None:
        """Raises OSError when the file cannot be opened. lost: why it lacks entries, once it could not be written any more."""
        self.lost = ""
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._file = file.open("a", encoding="utf-8") if file else None
        self._now = now or (lambda: datetime.now(UTC).timestamp())

    def write(self, **values: Json) -> None:
        """Add an entry; `at` is now unless it is given."""
        with self._lock:
            entry: Entry = {"at": datetime.fromtimestamp(self._now(), UTC).isoformat(), **values}
            self._entries.append(entry)
            if self._file and not self.lost:
                try:
                    self._file.write(json.dumps(entry) + "\n")
                    self._file.flush()
                except OSError as error:  # what the entry tells of has happened; the sandbox goes on without its file
                    self.lost = error.strerror or str(error)

    def entries(self, event: str | None = None, service: str | None = None) -> Iterator[Entry]:
        """Up to this moment: all, or those of one event or service."""
        with self._lock:
            known = list(self._entries)
        for entry in known:
            if event in (None, entry["event"]) and service in (None, entry["service"]):
                yield entry

    def close(self) -> None:
        """What is written from now on, by a request that is still being answered, is kept in memory alone."""
        with self._lock:
            file, self._file = self._file, None
            if file:
                with suppress(OSError):  # told already: there is nothing in it that was not flushed
                    file.close()
