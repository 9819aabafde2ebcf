"""All sandboxed services together: started, found by their variables, stopped."""

import threading
import traceback
from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Self

from jobform.sandbox.aws import Aws
from jobform.sandbox.faults import Fault, Faults
from jobform.sandbox.ledger import Ledger
from jobform.sandbox.serve import Server
from jobform.sandbox.wire import Keeping, SandboxService, Storing
from jobform.sandbox.world import World

_TICK = 0.02

CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox", "AWS_SESSION_TOKEN": "",
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""What every client of AWS needs here, whatever it calls; a token of the user's own session would go with the keys."""


def services(only: Collection[str] | None = None) -> list[SandboxService]:
    """Every installed service, or those of these names, by name."""
    points = sorted(entry_points(group="jobform.sandbox"), key=lambda point: point.name)
    return [point.load()() for point in points if only is None or point.name in only]


class Sandbox:
    """A context manager: servers on free ports of 127.0.0.1 while it lasts.

    speed: divides how long everything takes. ledger: a file that also gets every entry. run_locally: run the jobs' commands.
    only: names of the services to start, all of them by default. record: keep the last calls of each server (`Server.calls`).
    """

    def __init__(
        self, *, speed: float = 1.0, faults: tuple[Fault, ...] = (), ledger: Path | None = None, run_locally: bool = False,
        only: frozenset[str] | None = None, record: bool = False,
    ) -> None:
        self.faults = Faults()
        self.faults.set(list(faults))
        self.ledger = Ledger(ledger)
        self._settings = (speed, run_locally)
        self._only = only
        self._record = record
        self._services: list[SandboxService] = []
        self.servers: dict[str, Server] = {}
        self.variables: dict[str, str] = {}
        self._aws: Aws | None = None
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def world(self, name: str) -> World:
        return self.servers[name].world

    def _start(self) -> None:
        speed, run_locally = self._settings
        chosen = self._services = services(self._only)
        further: dict[str, str] = {}
        if any(service.name == "braket" for service in chosen):
            self._aws = Aws([bucket for service in chosen if isinstance(service, Storing) for bucket in service.buckets])
            further = {"s3": self._aws.url, "logs": self._aws.url}
            self.variables |= {f"AWS_ENDPOINT_URL_{name}": self._aws.url for name in ("S3", "LOGS", "STS")}
            self.variables |= CREDENTIALS
        for service in chosen:
            world = World(service.name, self.ledger, speed=speed, run_locally=run_locally)
            service.open(world, further)
            server = self.servers[service.name] = Server(service, world, self.faults, record=self._record)
            server.start()
            self.variables |= service.variables(server.url)
        self._ticker.start()

    def _stop(self) -> None:
        self._stopped.set()
        if self._ticker.is_alive():
            self._ticker.join()
        for server in self.servers.values():
            server.stop()
        for service in self._services:
            if isinstance(service, Keeping):
                service.close()
        if self._aws:
            self._aws.stop()
        self.ledger.close()

    def _tick(self) -> None:
        while not self._stopped.wait(_TICK):
            for name, server in self.servers.items():
                try:
                    with server.world.held():
                        pass
                except Exception:  # noqa: BLE001  # as in an answer: told where it is looked for, and time goes on
                    self.ledger.write(event="bug", service=name, path="", trace=traceback.format_exc(limit=-6))
