"""A look ahead: what the services say that a plan's changes would do, where they can be asked without changing anything."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jobform.engine.body import placeholders
from jobform.engine.compare import changeable, differing, in_place
from jobform.model.address import mark_text, remote_name, token
from jobform.model.change import Action, Change, Plan, Reason
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import BackendError
from jobform.model.state import Attempt, Op, State
from jobform.model.values import Json, Path, deferred, digest
from jobform.protocols import Forecast, Intended, Mark, Preflight, Ref, Submission
from jobform.run.session import Session

PARALLEL = 10
"""How many questions are asked of one service at a time."""


_RULES_ALONE = "the plan rests on the field rules alone"


@dataclass(frozen=True, slots=True)
class Ahead:
    """Forecasts by address, and what a person should know of them."""

    forecasts: dict[str, Forecast] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()


def look_ahead(session: Session, state: State, made: Plan) -> Ahead:
    """Ask about every change that nobody accepted yet and that would send a spec. What may not be asked is a warning.

    Raises FailedError when a place that would be called cannot be reached, or does not prove which one it is.
    """
    asked: dict[str, list[Intended]] = defaultdict(list)
    for change in made.changes:
        if change.acting and session.places.configured(change.backend):
            backend = session.places.backend(change.backend)
            if isinstance(backend, Preflight) and (intended := _intended(session, state, change)):
                asked[change.backend].append(intended)
    forecasts: dict[str, Forecast] = {}
    warnings: list[Diagnostic] = []
    for name, questions in asked.items():
        session.places.scope(name)
        backend = session.places.backend(name)
        assert isinstance(backend, Preflight)
        try:
            answers = backend.preflight(questions, PARALLEL)
        except BackendError as error:
            said = f"backend {name!r} could not be asked what the changes would do: {error.summary}"
            warnings.append(Diagnostic(Severity.WARNING, "not_previewed", said, error.detail, _RULES_ALONE))
            continue
        forecasts |= answers
        warnings += _warnings(name, answers)
    return Ahead(forecasts, tuple(warnings))


def _warnings(backend: str, answers: Mapping[str, Forecast]) -> Iterator[Diagnostic]:
    unasked: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for address, forecast in answers.items():
        for text in forecast.warnings:
            yield Diagnostic(Severity.WARNING, "backend_warning", text, address=address)
        if forecast.verdict == "unasked" and forecast.summary:
            unasked[forecast.summary, forecast.detail, forecast.hint].append(address)
    for (summary, detail, hint), addresses in unasked.items():
        yield Diagnostic(
            Severity.WARNING, "not_previewed", f"backend {backend!r} was not asked what the changes would do: {summary}", detail,
            hint or _RULES_ALONE, address=addresses[0] if len(addresses) == 1 else None,
            count=len(addresses),
        )


def _intended(session: Session, state: State, change: Change) -> Intended | None:
    """The call that a change would make, None when it sends no spec."""
    record = state.jobs.get(change.source or change.address)
    last = record.last if record else None
    if change.spec is None or change.desired is None:
        return None
    if change.action is Action.UPDATE:
        if change.reason in (Reason.NEXT_ATTEMPT, Reason.POLICY_CHANGED) or last is None or last.removed:
            return None
        return _update(session, state, change, last)
    return _submission(session, state, change, last)


def _submission(session: Session, state: State, change: Change, last: Attempt | None) -> Intended:
    assert change.spec is not None and change.desired
    spec = placeholders(change.spec)
    given = session.schema_of(change.desired.type).given_name(spec)
    lineage, address, number = state.lineage, change.address, change.attempt
    mark = Mark(
        address, number, token(lineage, address, number), given or remote_name(lineage, address, number),
        mark_text(lineage, address, number, digest(spec)), session.now(), change.spec,
    )
    present = Ref.of(last.ref) if last and not last.removed and last.backend == change.backend else None
    sent = Submission(address, spec, change.spec, inputs=change.desired.inputs)
    return Intended(Op.SUBMIT, sent, mark, present, (), _partial(change.spec), ends=present is not None)


def _update(session: Session, state: State, change: Change, last: Attempt) -> Intended:
    assert change.spec is not None and change.desired
    schema, applied = session.schema_of(change.desired.type), state.spec(last.applied)
    spec = in_place(schema, applied, change.spec, changeable(last))
    mark = Mark(change.address, last.n, last.token, last.name, last.mark, last.begun_at, spec)
    fields: tuple[Path, ...] = differing(schema, applied, spec)
    sent = Submission(change.address, placeholders(spec), spec, inputs=last.inputs)
    return Intended(Op.UPDATE, sent, mark, Ref.of(last.ref), fields, _partial(spec))


def _partial(spec: dict[str, Json]) -> bool:
    return next(iter(deferred(spec)), None) is not None
