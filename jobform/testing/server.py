"""The handle by which a test holds a reference server."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from jobform.model.clock import SystemClock
from jobform.model.values import Json
from jobform.sandbox.faults import Fault
from jobform.testing.http import Wire
from jobform.testing.ledger import Entry


class ReferenceServer:
    """A running server process; a context manager. Everything but `url` may be called from any thread.

    ledger: a file that also gets every entry. idle: seconds without a request after which the server ends by itself, should
    nothing tell it that its parent has: a session of tests may do something else for long.
    """

    def __init__(self, ledger: Path | None = None, idle: float = 86_400.0) -> None:
        command = [sys.executable, "-m", "jobform.testing.serve", "--idle", str(idle)]
        command += ["--ledger", str(ledger)] if ledger else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own module
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"the reference server did not start, exit code {self.exit}")
        self.url = str(json.loads(line)["url"])
        self._wire = Wire(self.url, 120.0, SystemClock())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit(self) -> int | None:
        """The exit code of the process, negative for a signal, None while it runs."""
        return self._process.poll()

    def faults(self, *rules: Fault) -> None:
        """Put these rules in force instead of all earlier ones; none at all ends them."""
        self._wire.call("POST", "/admin/faults", [rule.to_json() for rule in rules])

    def entries(self, namespace: str | None = None) -> list[Entry]:
        """The ledger up to this moment, of one namespace or of all."""
        value = self._wire.call("GET", f"/admin/ledger?namespace={namespace or ''}")
        assert isinstance(value, list)
        return [Entry.from_json(line) for line in value if isinstance(line, dict)]

    def drift(self, run: str, fields: Mapping[str, Json]) -> None:
        """As `World.drift`. Raises ServiceError for an unknown run, as the next two do."""
        self._wire.call("POST", f"/admin/runs/{run}/drift", dict(fields))

    def end(self, run: str, exit_code: int = 0, fail_class: str | None = None) -> None:
        """As `World.end`."""
        self._wire.call("POST", f"/admin/runs/{run}/end", {"exit": exit_code, "class": fail_class})

    def vanish(self, run: str) -> None:
        """As `World.vanish`."""
        self._wire.call("POST", f"/admin/runs/{run}/vanish")

    def set_scope(self, namespace: str, uid: str | None) -> None:
        """As `World.set_scope`."""
        self._wire.call("POST", f"/admin/scopes/{namespace}", {"uid": uid})

    def stop(self) -> None:
        """End the process; quiet when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
