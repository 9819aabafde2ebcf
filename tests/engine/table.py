"""One row of a decision table as data: what was accepted, what became of it, what the files say now, and the plan that follows.

A case is a mapping. For the job `job`, and for every job under `others`, the keys are:

    was        the job as it was accepted ({spec, generation, backend, needs, rerun, protect, ...}); null: never; default: plain
    now        keys that differ from `was` in today's files (spec is merged key by key, null removes one); null: declared no more
    last       the last attempt, a phase or {phase, class, started, asked_stop, removed, ran, ...}; null: none. `ran`: the spec
               that was submitted, when it is not that of `was`; `generation` likewise. A list: all attempts
    accepted   {action, reason, attempt, stop, settled}: the last accepted change; default: what led to the last attempt, done
    intent, hold, tombstone, reported, foreign, in_flight: as in the engine's own types

and for the plan `options`, `removed`, `moved`, `services`. Expected: `plan` ("ACTION REASON", "accepted ACTION REASON" if it
was said yes to before), `fields`, `after`, `stop`, `attempt`, `detail` and `hint` (a part of it), `plans` (of other jobs),
`lists` (all addresses of the plan).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobform.engine.plan import Basis, Options, desired_of, make_plan
from jobform.engine.refresh import Sights
from jobform.model.address import Selector, parse_address
from jobform.model.change import Change, Plan
from jobform.model.job import Job, MoveRule, Need, OnChange, Policy, Project, Removal, Rerun, Settings, StoreBlock, When
from jobform.model.state import Accepted, Attempt, Desired, Hold, Intent, Op, Phase, Record, State, Tombstone
from jobform.model.values import digest, merge_patch
from jobform.protocols import ReadError
from jobform.schema import SpecSchema
from jobform.testing.fields import SPEC

SCHEMA = SpecSchema(SPEC)
NOW = "2030-01-01T12:00:00.000000Z"
PLAIN: dict[str, Any] = {"spec": {"command": ["work"]}}
ENDED = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


def a_job(address: str, written: Mapping[str, Any]) -> Job:
    """A job as its files would give it."""
    name, axes = parse_address(address)
    rerun = written.get("rerun", {})
    policy = Policy(
        needs=tuple(_need(item) for item in written.get("needs", ())),
        rerun=Rerun(tuple(rerun.get("on", ("changed",))), rerun.get("max_attempts", 3), tuple(rerun.get("backoff", (0.0, 0.0)))),
        on_change_while_running=OnChange(written.get("on_change_while_running", "refuse")),
        protect=written.get("protect", False), ignore_drift=tuple(written.get("ignore_drift", ())),
        keep_objects=written.get("keep_objects", 0),
    )
    return Job(
        address, name, written.get("backend", "ref"), "reference", dict(written["spec"]), policy, written.get("generation", 1),
        axes, axes,
    )


def _need(item: Any) -> Need:
    if isinstance(item, str):
        return Need(item, When.SUCCEEDED, (item,))
    return Need(item["job"], When(item.get("when", "succeeded")), (item["job"],))


def an_attempt(n: int, given: Mapping[str, Any], job: Job, specs: dict[str, Any]) -> Attempt:
    """An attempt of a job: it began at 10:0n and, if it has ended, ended an hour later."""
    phase = Phase(given["phase"])
    spec = given.get("ran", job.spec)
    specs[digest(spec)] = spec
    started = given.get("started", phase is not Phase.PENDING)
    return Attempt(
        n=n, token=f"token-{n}", name=f"name-{n}", mark=f"jf1-l-a-{n}-body", backend=given.get("backend", job.backend),
        scope="here",
        generation=given.get("generation", job.generation), fingerprint=SCHEMA.fingerprint(spec, {}), rules=SCHEMA.rules_version,
        spec=digest(spec), body_hash="body", run="run-0", begun_at=f"2030-01-01T10:0{n}:00.000000Z",
        submitted_at=f"2030-01-01T10:0{n}:01.000000Z", ref={"id": f"run-{n}"}, phase=phase, class_=given.get("class"),
        exit=given.get("exit"), outputs=given.get("outputs"),
        started_at=f"2030-01-01T10:0{n}:02.000000Z" if started else None,
        ended_at=given.get("ended_at", f"2030-01-01T11:0{n}:00.000000Z") if phase in ENDED else None,
        asked_stop=given.get("asked_stop", False), removed=given.get("removed", False),
        native_reason=given.get("native_reason", ""),
    )


@dataclass
class Table:
    """A state and a project that grow job by job."""

    state: State = field(default_factory=lambda: State("11111111-lineage"))
    jobs: dict[str, Job] = field(default_factory=dict)
    sights: Sights = field(default_factory=Sights)
    in_flight: set[str] = field(default_factory=set)

    def add(self, address: str, given: Mapping[str, Any]) -> None:
        before = given.get("was", PLAIN)
        base = before if before is not None else PLAIN
        now = given.get("now", {})
        if now is not None:
            written = {**base, **now, "spec": merge_patch(base["spec"], now.get("spec", {}))}
            self.jobs[address] = a_job(address, written)
        if tombstone := given.get("tombstone"):
            self.state.tombstones[address] = Tombstone(at=NOW, how="forgotten", **tombstone)
        if before is not None:
            self.state.jobs[address] = self._record(address, given, a_job(address, base))
        if "reported" in given:
            self.sights.fields[address] = given["reported"]
        if given.get("foreign"):
            self.sights.foreign.add(address)
        if given.get("unread"):
            self.sights.unread[address] = ReadError("no answer")
        if given.get("in_flight"):
            self.in_flight.add(address)

    def _record(self, address: str, given: Mapping[str, Any], job: Job) -> Record:
        self.state.specs[digest(job.spec)] = job.spec
        last = given.get("last")
        listed = last if isinstance(last, list) else [] if last is None else [last]
        listed = [{"phase": item} if isinstance(item, str) else item for item in listed]
        attempts = tuple(an_attempt(n, item, job, self.state.specs) for n, item in enumerate(listed, 1))
        said = {"action": "create" if len(attempts) < 2 else "rerun", "reason": "new", "attempt": max(1, len(attempts))}
        said["settled"] = "done" if attempts else None
        said |= given.get("accepted", {})
        accepted = Accepted(run="run-0", at=NOW, digest="d", stop=said.pop("stop", None), **said)
        hold = given.get("hold")
        intent = given.get("intent")
        return Record(
            job.backend, "here", desired_of(job), accepted, an_intent(**intent) if intent else None,
            Hold(hold["reason"], hold.get("detail", ""), NOW) if hold else None, attempts,
        )


def an_intent(op: str = "submit", attempt: int = 1) -> Intent:
    return Intent(Op(op), attempt, "token", f"name-{attempt}", "jf1-l-a-1-body", "body", NOW, "run-0", "ref", "here")


def plan_of(case: Mapping[str, Any]) -> Plan:
    """The plan of a case."""
    table = Table()
    for address, given in {"job": case, **case.get("others", {})}.items():
        table.add(address, given)
    options = {
        key: tuple(Selector.parse(text) for text in value) if isinstance(value, list) else value
        for key, value in case.get("options", {}).items()
    }
    return table_plan(table, Options(**options), case.get("removed", ()), case.get("moved", ()), case.get("services", ()))


def table_plan(
    table: Table, options: Options = Options(), removed: Any = (), moved: Any = (), services: Any = (), blocks: Any = None,
) -> Plan:
    settings = Settings(Path("/nowhere"), "test", None, None, StoreBlock("file", {}), {}, {})
    project = Project(
        settings, table.jobs, tuple(MoveRule(m["from"], m["to"]) for m in moved),
        tuple(Removal(r["job"], r.get("cancel", False)) for r in removed),
    )
    basis = Basis(
        project, table.state, table.state.lineage, table.sights, lambda _type: SCHEMA,
        blocks or {"ref": "block", "other": "block 2"},
        lambda attempt: attempt.backend not in services, options, NOW, frozenset(table.in_flight),
    )
    return make_plan(basis)


def change_of(plan: Plan, address: str = "job") -> Change:
    return next(change for change in plan.changes if change.address == address)


def words(change: Change) -> str:
    """A change as the tables write it."""
    return f"{'accepted ' if change.accepted else ''}{change.action} {change.reason}"


def with_desired(record: Record, **changed: Any) -> Record:
    """A record whose accepted desire differs in these keys."""
    desired = record.desired
    assert isinstance(desired, Desired)
    return replace(record, desired=replace(desired, **changed))
