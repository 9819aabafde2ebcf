"""The plan use case: look at files, state and backends; change nothing."""

from collections import defaultdict
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, replace

from jobform.config.secrets import secret_names
from jobform.engine.plan import Basis, Options, make_plan
from jobform.engine.record import fold
from jobform.engine.refresh import Sights, observe, observe_orphans, recover
from jobform.model.change import Action, Plan, Reason
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import InputError
from jobform.model.event import Event
from jobform.model.state import State
from jobform.run.preview import look_ahead
from jobform.run.session import Session

_BEGINS = (Action.CREATE, Action.RERUN, Action.REPLACE, Action.MOVE)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """refresh False trusts the state; offline opens no backend at all, and such a plan cannot be applied."""

    plan: Options = Options()
    refresh: bool = True
    offline: bool = False
    allow_empty: bool = False


def plan(session: Session, options: PlanOptions) -> Plan:
    """A plan made without a lock, from a copy of the state. Raises InputError, StateError or FailedError."""
    check_not_empty(session, options)
    state = copy_of(session.manager.state)
    sights = Sights()
    in_flight: frozenset[str] = frozenset()
    if options.refresh and not options.offline:
        if session.store.holder() is not None:
            in_flight = frozenset(address for address, record in state.jobs.items() if record.intent)
        sights = look(session, state, in_flight)
    return plan_of(session, state, sights, options, in_flight)


def plan_of(
    session: Session, state: State, sights: Sights, options: PlanOptions, in_flight: frozenset[str] = frozenset()
) -> Plan:
    """The plan against a state that is as fresh as it will be."""
    basis = Basis(
        session.project, state, session.lineage, sights, session.schema_of, session.block_digests(),
        lambda attempt: session.places.completes(attempt, state.specs),
        replace(options.plan, approvable=not options.offline), session.now(), in_flight,
        diagnostics=(*session.project.warnings, *session.manager.warnings, *warnings_of(sights)),
    )
    made = make_plan(basis)
    if options.refresh and not options.offline:
        seen = look_ahead(session, state, made)
        if seen.forecasts:
            made = make_plan(replace(basis, forecasts=seen.forecasts))
        made = replace(made, diagnostics=made.diagnostics + seen.warnings)
    visible = tuple(_visible_secrets(session, made))
    return replace(made, diagnostics=made.diagnostics + visible, notes={**made.notes, **_endless(session, made)})


def look(session: Session, state: State, in_flight: Iterable[str] = ()) -> Sights:
    """Fold into this state what recovering and reading would record now."""
    at = session.now()
    held = set(in_flight)
    intents = [address for address, record in state.jobs.items() if record.intent and address not in held]
    _fold(state, recover(state, session.places, intents, at))
    live = [address for address, record in state.jobs.items() if record.last and not record.last.ended]
    events, sights = observe(state, session.places, live, at, compare=True)
    _fold(state, [*events, *observe_orphans(state, session.places, at)])
    return sights


def check_not_empty(session: Session, options: PlanOptions) -> None:
    """An empty project over a state with jobs is more often a wrong directory than a wish to delete everything.

    Raises InputError.
    """
    if session.project.jobs or options.allow_empty or options.plan.destroy or not session.manager.state.jobs:
        return
    if session.project.removed or session.project.moved:
        return
    raise InputError.of(
        "no_jobs", f"no job is declared, but the state has {len(session.manager.state.jobs)}",
        detail=f"job files: {', '.join(session.settings.files)}",
        hint="a wrong directory or pattern? --dangerous-allow-empty plans to delete every job",
    )


def copy_of(state: State) -> State:
    """Records are frozen: a state whose dictionaries are its own is a whole copy."""
    other = copy(state)
    other.jobs, other.tombstones = dict(state.jobs), dict(state.tombstones)
    other.runs, other.specs = dict(state.runs), dict(state.specs)
    return other


def _fold(state: State, events: Iterable[Event]) -> None:
    for event in events:
        fold(state, event)


def warnings_of(sights: Sights) -> Iterable[Diagnostic]:
    """What reading the backends should make a user aware of."""
    unread: dict[tuple[str, str], list[str]] = defaultdict(list)
    for address, error in sights.unread.items():
        unread[error.summary, error.detail].append(address)
    for (summary, detail), addresses in unread.items():
        one = addresses[0] if len(addresses) == 1 else None
        yield Diagnostic(
            Severity.WARNING, "not_read", f"the present could not be read: {summary}", detail,
            "what the state says may be out of date", address=one, count=len(addresses),
        )
    for address, warning in sights.warnings:
        yield Diagnostic(Severity.WARNING, "backend_warning", warning, address=address)


def _endless(session: Session, made: Plan) -> dict[str, str]:
    """A note for the new runs that nothing but a person ends."""
    going = [
        change.address for change in made.changes
        if change.acting and change.action in _BEGINS and change.reason is not Reason.RENAMED
        and change.spec is not None and change.desired and not session.schema_of(change.desired.type).completes(change.spec)
    ]
    more = f" and {len(going) - 1} more" if len(going) > 1 else ""
    return {f"{going[0]}{more}": "goes on, and is paid for, until somebody cancels it"} if going else {}


def _visible_secrets(session: Session, made: Plan) -> Iterable[Diagnostic]:
    for change in made.changes:
        if change.acting and change.spec is not None and change.desired and session.places.configured(change.backend):
            names = secret_names(change.spec)
            if names and session.places.type(change.backend).secrets_visible:
                yield Diagnostic(
                    Severity.WARNING, "secret_visible", f"the value of {', '.join(sorted(names))} is visible in {change.backend}",
                    "its service shows the environment of a job to everyone who may read the job", address=change.address,
                )
