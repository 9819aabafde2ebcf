"""The reference backend: a small service with every behaviour that an engine must cope with, for tests of ours and of others.

In two forms with the same semantics. *Server*: `server.ReferenceServer` starts a loopback HTTP server in a process of its own,
which a kill of the client does not touch. *Thread*: a `World` in this process, answered in the caller's thread, for benchmarks
and unit tests.

Promise: exact where names are unique (`mode: idempotent`). With `mode: always_creates` every request makes a new run: there
only the journalled intent and `find` prevent a second one. `delete` refuses a run that has not ended.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobform.model.errors import BackendError, InputError, Started
from jobform.model.inputs import accepted_input
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import (
    Absent,
    Actual,
    Backend,
    Clock,
    Found,
    Gone,
    Mark,
    Place,
    ReadError,
    Ref,
    Scope,
    Sighting,
    Submission,
    Unknown,
    timestamp,
)
from jobform.testing.fields import SETTINGS, SPEC
from jobform.testing.http import HttpService, Wire
from jobform.testing.service import Order, Service, ServiceError, Shown, mark_key
from jobform.testing.world import World

Hook = Callable[[str, str, str], None]
"""`hook(operation, address or run id, "before" | "after")`: may raise BackendError, before or after the call took effect."""


def no_hook(operation: str, subject: str, moment: str) -> None:
    """A hook that does nothing."""
    del operation, subject, moment


@dataclass(frozen=True, slots=True)
class ReferenceType:
    """`protocols.BackendType`. world and hook: for the thread form, which a block without `url` gets.

    The other fields are what a type declares; a test sets them to try how the engine treats such a type.
    """

    name: str = "reference"
    completes: bool = True
    max_submitted: int | None = None
    poll: tuple[float, float] = (0.02, 0.2)
    foreign_scope: str = "error"
    secrets_visible: bool = True
    world: World | None = None
    hook: Hook = no_hook

    def spec_schema(self) -> dict[str, Json]:
        return SPEC

    def settings_schema(self) -> dict[str, Json]:
        return SETTINGS

    def open(self, block: BackendBlock, place: Place) -> Backend:
        """Raises InputError when there is neither a `url` nor a world in this process."""
        settings = block.settings
        url = settings.get("url")
        if isinstance(url, str):
            page, timeout = settings.get("page", 100), settings.get("timeout", 120.0)
            assert isinstance(page, int)
            assert isinstance(timeout, int | float)
            wire = Wire(url, timeout, place.clock, str(settings.get("api_key", "")))
            service: Service = HttpService(wire, page)
        elif self.world is not None:
            service = self.world
        else:
            raise InputError.of("missing_key", f"backend {block.name!r} needs the key 'url'", hint="start a reference server")
        window = settings.get("window", 0.0)
        assert isinstance(window, int | float)
        namespace, unique = str(settings.get("namespace", "default")), settings.get("mode") != "always_creates"
        return ReferenceBackend(
            service, place.clock, namespace, unique=unique, endless=not self.completes, window=window, hook=self.hook,
            project=place.project,
        )


class ReferenceBackend:
    """`protocols.Backend` over a `Service`. endless: a run without `seconds` never ends by itself."""

    def __init__(
        self, service: Service, clock: Clock, namespace: str = "default", *,
        unique: bool = True, endless: bool = False, window: float = 0.0, hook: Hook = no_hook, project: Path = Path(),
    ) -> None:
        self._service = service
        self._clock = clock
        self._namespace = namespace
        self._unique = unique
        self._endless = endless
        self._window = timedelta(seconds=window)
        self._hook = hook
        self._project = project

    def scope(self) -> Scope:
        with self._call("scope", self._namespace):
            uid = self._service.scope(self._namespace)
        return Scope(f"reference:{self._namespace}:{uid}", f"namespace {self._namespace} ({uid})", "namespace")

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Actual | Gone | ReadError]:
        ids = {ref: _id(ref) for ref in refs}
        if not ids:
            return {}
        with self._call("read", ""):
            runs = self._service.runs(self._namespace, set(ids.values()))
        return {ref: _actual(runs[run]) if run in runs else Gone() for ref, run in ids.items()}

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        if not marks:
            return {}
        with self._call("find", ""):
            runs = self._service.marked(self._namespace, {mark_key(mark.text) for mark in marks})
        return {mark: self._judge(mark, runs.get(mark_key(mark.text), [])) for mark in marks}

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        order = Order(mark.name, mark.text, submission.address, submission.spec, self._endless, self._unique)
        for path in submission.inputs:
            accepted_input(self._project, submission.inputs, path)
        with self._call("submit", submission.address):
            run = self._service.create(self._namespace, order)
        return _ref(run.id)

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        with self._call("update", submission.address):
            present = self._service.get(self._namespace, _id(ref))
            if dict(present.fields) != dict(expected.fields):
                raise BackendError(f"the run {present.id} has changed since it was read")
            return _actual(self._service.update(self._namespace, present.id, submission.spec, present.version))

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        with self._call("cancel", _id(ref)):
            try:
                self._service.cancel(self._namespace, _id(ref), only_if_waiting=only_if_waiting)
            except ServiceError as error:
                if error.code == "started":
                    raise Started(error.message) from error
                if error.code != "no_run":
                    raise

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        del whole  # attempts share nothing here
        with self._call("delete", _id(ref)):
            try:
                self._service.delete(self._namespace, _id(ref))
            except ServiceError as error:
                if error.code != "no_run":
                    raise

    def lookup(self, run_id: str) -> Sighting | None:
        with self._call("lookup", run_id):
            found = self._service.runs(self._namespace, {run_id})
        return _sighting(found[run_id]) if run_id in found else None

    def list(self) -> Iterator[Sighting]:
        with self._call("list", ""):
            runs = self._service.listed(self._namespace)
        yield from (_sighting(run) for run in reversed(runs))

    @contextmanager
    def _call(self, operation: str, subject: str) -> Iterator[None]:
        """The hook around a call, and the service's refusals as BackendError."""
        self._hook(operation, subject, "before")
        try:
            yield
        except ServiceError as error:
            raise BackendError(error.message, f"status {error.status}, {error.code}") from error
        self._hook(operation, subject, "after")

    def _judge(self, mark: Mark, runs: Sequence[Shown]) -> Found | Absent | Unknown:
        if len(runs) > 1:
            return Unknown(f"{len(runs)} runs carry the mark: {', '.join(run.id for run in runs)}")
        if runs:
            return Found(_ref(runs[0].id), runs[0].mark.rsplit("-", 1)[1])
        certain = datetime.fromisoformat(mark.begun_at) + self._window
        if self._clock.now() < certain:
            return Unknown(f"its absence is certain from {timestamp(certain)} on")
        return Absent()


def _ref(run: str) -> Ref:
    return Ref.of({"id": run})


def _id(ref: Ref) -> str:
    value = ref.value
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise BackendError(f"not a reference of this backend: {ref.text}")
    return str(value["id"])


def _actual(run: Shown) -> Actual:
    return Actual(
        run.phase, run.detail, run.class_, run.reason, run.exit, run.outputs, _time(run.started), _time(run.ended), run.fields,
    )


def _sighting(run: Shown) -> Sighting:
    return Sighting(_ref(run.id), run.id, run.mark, _actual(run), run.name, _time(run.created))


def _time(moment: float | None) -> str | None:
    return None if moment is None else timestamp(datetime.fromtimestamp(moment, UTC))


TYPE = ReferenceType()
"""The backend type `reference`, server form."""

SERVICE_TYPE = ReferenceType(name="reference_service", completes=False)
"""The same service for jobs that do not end by themselves."""
