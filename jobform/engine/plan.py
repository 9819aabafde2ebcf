"""Builds the plan: every address decided, needs looked at, hashes that an approval binds to. Pure: values in, one value out."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jobform.codec.tables import DESIRED
from jobform.engine.case import Case, Flags
from jobform.engine.decide import decide
from jobform.engine.moves import concrete_moves
from jobform.engine.needs import NEW_ATTEMPT, Completes, Verdict, ask, judge_attempt, judge_record
from jobform.engine.record import fold
from jobform.engine.refresh import Sights
from jobform.engine.retry import moment
from jobform.model.address import Selector, address_key, format_address, parse_address
from jobform.model.change import Action, Change, Plan, Reason
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import InputError
from jobform.model.event import Moved
from jobform.model.graph import Edges, closure, order
from jobform.model.job import Job, OnChange, Project, When
from jobform.model.state import Desired, Phase, State
from jobform.model.suggest import suggest
from jobform.model.values import Json, digest
from jobform.protocols import Forecast
from jobform.schema import SpecSchema


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a plan. Selectors choose addresses; select brings what it needs along."""

    select: tuple[Selector, ...] = ()
    exclude: tuple[Selector, ...] = ()
    destroy: bool = False
    allow_cancel: tuple[Selector, ...] = ()
    recreate_lost: bool = False
    rerun: tuple[Selector, ...] = ()
    approvable: bool = True


@dataclass(frozen=True, slots=True)
class Basis:
    """Everything that a plan is made from. state: with what the backends said folded in; it is not changed.

    lineage: the state's, "" while it is not stored yet and could still get any. blocks: by backend name, the digest of its
    settings without credentials. forecasts: what services said that changes would do, by address.
    """

    project: Project
    state: State
    lineage: str
    sights: Sights
    schema: Callable[[str], SpecSchema]
    blocks: Mapping[str, str]
    completes: Completes
    options: Options
    created_at: str
    in_flight: frozenset[str] = frozenset()
    forecasts: Mapping[str, Forecast] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = field(default=())


def make_plan(basis: Basis) -> Plan:
    """The plan of a project against a state. Raises InputError for moves that cannot be made."""
    moves = concrete_moves(basis.project, basis.state)
    state = replace(
        basis.state, jobs=dict(basis.state.jobs), tombstones=dict(basis.state.tombstones), runs=dict(basis.state.runs),
    )
    for move in moves.values():
        fold(state, Moved(move.source, move.to, basis.created_at))
    wanted = {address: desired_of(job) for address, job in basis.project.jobs.items()}
    edges = edges_of(wanted, state)
    refuse_unmatched(edges, basis.options)
    chosen = choose(edges, basis.options)
    changes: dict[str, Change] = {}
    for address in order(edges):
        if address in chosen:
            case = _case(address, basis, state, wanted.get(address))
            change = _gate(decide(case), state, changes, basis)
            source = moves[address].source if address in moves else ""
            changes[address] = _timed(_bound(_renamed(change, source, case), case, basis), case, basis.created_at)
    in_order = tuple(changes[address] for address in sorted(changes, key=address_key))
    settings = basis.project.settings
    return Plan(
        settings.project, basis.lineage, settings.target,
        plan_digest(basis.lineage, settings.target, in_order) if basis.options.approvable else None,
        in_order, basis.created_at, basis.options.destroy, basis.diagnostics,
        {change.address: change.detail for change in in_order if change.action is Action.NO_OP and change.reason in _NOTED},
    )


def desired_of(job: Job) -> Desired:
    """What accepting a job records."""
    return Desired(job.backend, job.type, digest(job.spec), job.policy, job.generation, job.matrix, job.inputs)


def edges_of(wanted: Mapping[str, Desired], state: State) -> dict[str, tuple[str, ...]]:
    """Needs by address, for every address that is declared or recorded, in address order; what is not declared needs nothing."""
    edges: dict[str, tuple[str, ...]] = {}
    for address in sorted({*wanted, *state.jobs}, key=address_key):
        desired = wanted.get(address)
        edges[address] = tuple(a for need in desired.policy.needs for a in need.addresses) if desired else ()
    return edges


_NOTED = frozenset({Reason.GENERATION, Reason.DRIFTED})
"""Reasons of changes that do nothing and that a person should hear of all the same."""


def refuse_unmatched(edges: Edges, options: Options) -> None:
    """Raises InputError for a selector of the command line that chooses no job: it would silently mean something else."""
    unmatched = [
        (flag, selector)
        for flag, selectors in (
            ("--select", options.select), ("--exclude", options.exclude), ("--allow-cancel", options.allow_cancel),
            ("--rerun", options.rerun),
        )
        for selector in selectors if not any(selector.matches_address(address) for address in edges) and not selector.wild
    ]
    found = []
    for flag, selector in unmatched:
        near = suggest(selector.name, {*edges, *(parse_address(address)[0] for address in edges)})
        hint = f"did you mean {near!r}?" if near else "`jobform plan` lists the jobs"
        found.append(
            Diagnostic(
                Severity.ERROR, "unknown_job", f"{flag} {format_address(selector.name, selector.axes)} chooses no job", hint=hint
            )
        )
    if found:
        raise InputError(found)


def choose(edges: Edges, options: Options) -> Collection[str]:
    """The addresses that a plan looks at: those selected with what they need, less those excluded."""
    chosen: Collection[str] = edges.keys()
    if options.select:
        chosen = closure(edges, [address for address in edges if _any(options.select, address)])
    if options.exclude:
        chosen = {address for address in chosen if not _any(options.exclude, address)}
    return chosen


def plan_digest(lineage: str, target: str | None, changes: Iterable[Change]) -> str:
    """What an approval names: lineage, target and every acting change; no time, no estimate, nothing that merely waits."""
    return digest([lineage, target, [change_key(change) for change in changes if change.acting]])


def change_key(change: Change) -> list[Json]:
    """The part of a change that approval binds to."""
    return [change.action.value, change.address, change.source, change.stop, change.precondition, change.desired_hash]


def precondition(address: str, state: State, change: Change, sights: Sights) -> str:
    """A hash of what must still hold when the change is made; never of the serial, so unrelated jobs do not matter."""
    record = state.jobs.get(address)
    last = record.last if record else None
    phase = last.phase_class if last else "none"
    finish = change.desired is not None and change.desired.policy.on_change_while_running is OnChange.FINISH
    actual: Json = None
    if change.action in (Action.UPDATE, Action.REPLACE) and change.fields:
        reported = sights.fields.get(address) or {}
        actual = {f.path: reported[key] for f in change.fields if (key := _top(f.path)) in reported}
        actual |= {f.path: f.after for f in change.fields if f.source == "actual" and f.has_after}
    return digest({
        "desired": DESIRED.write(record.desired) if record and record.desired else None,
        "protect": bool(record and record.desired and record.desired.policy.protect),
        "attempt": last.n if last else state.last_attempt(address),
        "ref": last.ref if last else None,
        "phase": "live or ended" if finish and phase in ("live", "ended") else phase,
        "actual": actual,
    })


def desired_hash(change: Change, block: str) -> str:
    """A hash of everything that the change would make true: the backend's block and the whole rendered job."""
    desired = DESIRED.write(change.desired) if change.desired else None
    return digest({"backend": block, "desired": desired, "spec": change.spec})


def _case(address: str, basis: Basis, state: State, wanted: Desired | None) -> Case:
    options, removal = basis.options, None
    if wanted is None:
        name, axes = parse_address(address)
        entries = [r.cancel for r in basis.project.removed if Selector.parse(r.job).matches(name, axes)]
        removal = any(entries) if entries else None
    flags = Flags(
        options.destroy, _any(options.allow_cancel, address), options.recreate_lost, _any(options.rerun, address),
    ) if options.destroy or options.allow_cancel or options.recreate_lost or options.rerun else _NO_FLAGS
    return Case(
        address, basis.project.jobs.get(address), wanted, state.jobs.get(address), state.tombstones.get(address),
        state.last_attempt(address) + 1, state.spec, basis.schema, removal, basis.sights.fields.get(address),
        basis.sights.differences.get(address, ()), basis.forecasts.get(address), address in basis.sights.foreign,
        address in basis.in_flight, flags,
    )


_NO_FLAGS = Flags()


def _gate(change: Change, state: State, planned: Mapping[str, Change], basis: Basis) -> Change:
    """Needs are looked at only where an attempt would start."""
    if change.action not in NEW_ATTEMPT or change.desired is None or not change.desired.policy.needs:
        return change

    def judge(needed: str, when: When) -> tuple[Verdict, str]:
        return _judge(needed, when, state, planned, basis)

    answer = ask(change.desired.policy, judge)
    if answer.verdict is Verdict.OVER:
        return replace(
            change, action=Action.HOLD, reason=Reason.DEPENDENCY_FAILED, detail=answer.detail, desired=None, spec=None,
            accepted=False, hint="run that job again, or change what this one needs",
        )
    if answer.verdict is Verdict.SKIP:
        return replace(
            change, action=Action.NO_OP, reason=Reason.SKIPPED, detail=answer.detail, desired=None, spec=None, accepted=False
        )
    return replace(change, after=answer.waiting_for)


def _judge(needed: str, when: When, state: State, planned: Mapping[str, Change], basis: Basis) -> tuple[Verdict, str]:
    change, record = planned.get(needed), state.jobs.get(needed)
    if change is None:  # left out of this plan: only what is already known or accepted counts
        if record is None:
            return Verdict.OVER, f"{needed} has not run and is not part of this plan"
        return judge_record(needed, record, when, basis.completes)
    if change.action in NEW_ATTEMPT or change.reason in _UNDECIDED:
        return Verdict.WAIT, ""
    if change.action in (Action.DELETE, Action.FORGET):
        return Verdict.OVER, f"{needed} is being removed"
    if change.reason in (Reason.DEPENDENCY_FAILED, Reason.SKIPPED):
        return Verdict.OVER, f"{needed} does not run: {change.detail or change.reason}"
    last = record.last if record else None
    if change.action is Action.HOLD and change.reason is Reason.CANCELLED and (last is None or last.phase is not Phase.CANCELLED):
        return Verdict.OVER, f"what was accepted of {needed} was cancelled"
    if last is None:
        return Verdict.OVER, f"{needed} has not run: {change.action} ({change.reason})"
    return judge_attempt(needed, last, when, basis.completes)


_UNDECIDED = frozenset({Reason.IN_FLIGHT, Reason.UNKNOWN_SUBMISSION, Reason.INVALID_OUTPUT})
"""A job that was accepted and has not run for one of these reasons may still run."""


def _renamed(change: Change, source: str, case: Case) -> Change:
    if not source:
        return change
    if change.action is Action.UPDATE and {field.path for field in change.fields} == {"matrix"}:  # that is what its new name says
        change = replace(change, action=Action.NO_OP)
    if change.action in (Action.NO_OP, Action.HOLD) or change.accepted:
        return replace(
            change,
            action=Action.MOVE,
            reason=Reason.RENAMED,
            source=source,
            accepted=False,
            detail=f"was {source}; no call",
            fields=(),
            desired=case.wanted,
            spec=case.job.spec if case.job else None,
        )
    return replace(change, source=source, detail=f"was {source}; {change.detail}".removesuffix("; "))


def _bound(change: Change, case: Case, basis: Basis) -> Change:
    """The hashes of an acting change; a change that does not act binds nobody."""
    if not change.acting:
        return change
    state = basis.state if not change.source else replace(
        basis.state, jobs={**basis.state.jobs, **({case.address: case.record} if case.record else {})},
    )
    bound = replace(change, precondition=precondition(case.address, state, change, basis.sights))
    return replace(bound, desired_hash=desired_hash(bound, basis.blocks.get(change.backend, "")))


def _timed(change: Change, case: Case, now: str) -> Change:
    """How long the live run has been going, where a person decides about stopping it."""
    last = case.last
    if (
        change.action not in (Action.BLOCK, Action.REPLACE, Action.DELETE)
        or last is None
        or not last.live
        or last.started_at is None
    ):
        return change
    return replace(change, running_seconds=max(0.0, (moment(now) - moment(last.started_at)).total_seconds()))


def _any(selectors: Iterable[Selector], address: str) -> bool:
    return any(selector.matches_address(address) for selector in selectors)


def _top(path: str) -> str:
    return path.removeprefix("spec.").split(".", 1)[0].split("[", 1)[0]
