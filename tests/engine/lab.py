"""A whole jobform in a test: a project, a file store, the reference service in this process, and a clock that the test moves."""

import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobform.engine.means import Stop
from jobform.engine.plan import Options
from jobform.model.address import Selector
from jobform.model.change import Plan
from jobform.model.event import Begun, Ended, Event
from jobform.model.state import Op, State
from jobform.plugins import Registry
from jobform.run import applying, editing, planning
from jobform.run.applying import ApplyOptions
from jobform.run.approval import Approval
from jobform.run.outcome import Outcome
from jobform.run.planning import PlanOptions
from jobform.run.runtime import Runtime
from jobform.run.session import Session, Where
from jobform.stores.file import TYPE as FILE
from jobform.testing.clock import ManualClock
from jobform.testing.ledger import CREATED, Ledger, assert_never_two_live, assert_no_attempt_twice
from jobform.testing.reference import ReferenceType
from jobform.testing.world import World

MUTATING = ("created", "updated", "cancelling", "deleted")


class Heard:
    """An observer that remembers: every list of events as it became durable is one entry of `waves`."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.events: list[Event] = []

    def planned(self, plan: Plan) -> None:
        self.plans.append(plan)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def waiting(self, left: int) -> None:
        pass


@dataclass
class Calls:
    """The hook of the reference backend: counts what is in flight, and fails where it is told to.

    faults: by (operation, subject, moment), exceptions to raise, one per call. subject "*" means any.
    """

    faults: dict[tuple[str, str, str], list[BaseException]] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    on: Callable[[str, str, str], None] = lambda operation, subject, moment: None
    most: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, operation: str, *errors: BaseException, subject: str = "*", moment: str = "before") -> None:
        self.faults.setdefault((operation, subject, moment), []).extend(errors)

    def __call__(self, operation: str, subject: str, moment: str) -> None:
        self.on(operation, subject, moment)
        with self._lock:
            if moment == "before":
                self.seen.append((operation, subject))
            for key in ((operation, subject, moment), (operation, "*", moment)):
                if self.faults.get(key):
                    raise self.faults[key].pop(0)


class Lab:
    """One project of jobs on the backends `ref` and `other`, which are two namespaces of one service."""

    def __init__(self, directory: Path, *, environ: Mapping[str, str] | None = None, **declared: Any) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.ledger = Ledger()
        self.world = World(lambda: self.clock.now().timestamp(), self.ledger)
        self.calls = Calls()
        self.type = ReferenceType(world=self.world, hook=self.calls, poll=(0.1, 1.0), **declared)
        self.registry = Registry(backends={"reference": self.type}, stores={"file": FILE})
        self.environ = dict(environ or {})
        self.effect: Callable[[str, str], None] = lambda name, address: None
        self.heard = Heard()
        self.backends: dict[str, Any] = {"ref": {"type": "reference"}, "other": {"type": "reference", "namespace": "other"}}
        self.jobs: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        (directory / "jobs").mkdir(parents=True, exist_ok=True)

    # --- the project ---

    def write(self, jobs: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Write the project's files. jobs: by name; a job without a backend is on `ref`. more: `moved`, `removed`."""
        if jobs is not None:
            self.jobs = {name: {"backend": "ref", "spec": {"command": [name]}, **job} for name, job in jobs.items()}
        head = {"jobform": 1, "project": "lab", "backends": self.backends}
        (self.directory / "jobform.yaml").write_text(json.dumps(head))
        (self.directory / "jobs" / "jobs.yaml").write_text(json.dumps({"jobs": self.jobs, **more}))

    def edit(self, name: str, **keys: Any) -> None:
        """Change keys of one job; spec is merged."""
        job = self.jobs[name]
        self.jobs[name] = {**job, **keys, "spec": {**job["spec"], **keys.get("spec", {})}}
        self.write()

    # --- commands, each a session of its own ---

    @contextmanager
    def session(self) -> Any:
        runtime = Runtime(
            self.clock, lambda name, address: self.effect(name, address), self.environ, self.registry,
            io.StringIO(), io.StringIO(), io.StringIO(),
        )
        session = Session(runtime, Where(self.directory))
        try:
            yield session
        finally:
            session.close()

    def plan(self, **options: Any) -> Plan:
        with self.session() as session:
            return planning.plan(session, _plan_options(options))

    def apply(self, approval: Approval = Approval(auto=True), **options: Any) -> Outcome:
        own = {key: options.pop(key) for key in tuple(options) if key in ApplyOptions.__dataclass_fields__}
        stop = own.pop("stop", None) or options.pop("stop", None) or Stop()
        self.heard = Heard()
        with self.session() as session:
            return applying.apply(
                session, ApplyOptions(plan=_plan_options(options), approval=approval, **own), self.heard, lambda _plan: True,
                stop,
            )

    def advance(self, **own: Any) -> Outcome:
        self.heard = Heard()
        with self.session() as session:
            return applying.advance(session, ApplyOptions(command="advance", **own), self.heard, Stop())

    def wait(self, *addresses: str, **own: Any) -> Outcome:
        with self.session() as session:
            options = ApplyOptions(command="wait", **own)
            return applying.follow(session, options, Heard(), Stop(), lambda address: not addresses or address in addresses)

    def cancel(self, *addresses: str, **own: Any) -> Outcome:
        with self.session() as session:
            return editing.cancel(session, addresses, ApplyOptions(command="cancel", **own), Heard(), Stop())

    def rerun(self, *addresses: str, **own: Any) -> Outcome:
        with self.session() as session:
            return editing.rerun(session, addresses, ApplyOptions(command="rerun", **own), Heard(), Stop())

    def forget(self, *addresses: str) -> None:
        with self.session() as session:
            editing.forget(session, addresses, Heard(), 1.0)

    # --- what is known ---

    @property
    def state(self) -> State:
        with self.session() as session:
            return session.manager.state

    def run_of(self, address: str) -> str:
        """The service's id of the last attempt of an address."""
        ref = self.state.jobs[address].last.ref
        return str(ref["id"])

    def made(self) -> list[str]:
        """The addresses of every run that the service made, in order."""
        return [entry.address for entry in self.world.entries() if entry.kind == CREATED]

    def mutations(self) -> int:
        """How often something of ours changed the service."""
        return sum(entry.kind in MUTATING for entry in self.world.entries())

    def check(self) -> None:
        """Never two live runs of one address, never one attempt twice."""
        assert_never_two_live(self.world.entries())
        assert_no_attempt_twice(self.world.entries())


def acting(plan: Plan) -> dict[str, str]:
    """What a plan asks for."""
    return {change.address: f"{change.action} {change.reason}" for change in plan.changes if change.acting}


def reasons(plan: Plan) -> dict[str, str]:
    """All of a plan."""
    return {change.address: f"{'accepted ' if change.accepted else ''}{change.action} {change.reason}" for change in plan.changes}


def codes(outcome: Outcome) -> set[str]:
    return {found.code for found in outcome.diagnostics}


def calls_of(events: Sequence[Event], op: Op) -> list[str]:
    """The addresses of the calls of one kind, in the order in which they were begun."""
    return [event.address for event in events if isinstance(event, Begun) and event.intent.op is op]


def open_calls(events: Sequence[Event]) -> int:
    """The greatest number of calls between begun and ended."""
    most = now = 0
    for event in events:
        now += isinstance(event, Begun) - isinstance(event, Ended)
        most = max(most, now)
    return most


def _plan_options(options: Mapping[str, Any]) -> PlanOptions:
    outer = {key: value for key, value in options.items() if key in ("refresh", "offline", "allow_empty")}
    inner = {
        key: tuple(Selector.parse(text) for text in value) if isinstance(value, list | tuple) else value
        for key, value in options.items() if key not in outer
    }
    return replace(PlanOptions(**outer), plan=Options(**inner))
