"""What is wanted of one address against its last attempt: the fields that differ, and what may be done about each."""

from collections.abc import Mapping

from jobform.engine.case import Case
from jobform.engine.compare import below, changeable, drift_changes, drift_seen, input_changes, spec_changes
from jobform.model.change import FieldChange, Reason
from jobform.model.state import Attempt
from jobform.model.values import Json


def against(case: Case, last: Attempt) -> tuple[tuple[FieldChange, ...], bool, Reason]:
    """What is wanted against the last attempt: the differing fields, whether they need a new attempt, and the reason."""
    assert case.job and case.wanted
    fields: tuple[FieldChange, ...] = ()
    needs_attempt, reason = False, Reason.SPEC_CHANGED
    if case.wanted.spec != last.applied or case.wanted.inputs != last.inputs:
        fields = declared(case, last.applied, last.inputs)
        fixed = [field for field in fields if last.ended or not updatable(case, last, field)]
        needs_attempt = any(field.class_ == "result" for field in fixed) or (bool(fixed) and not last.ended and _restarts(case))
    if case.wanted.generation > last.generation:
        fields += (key_change(case, "generation", last.generation, case.wanted.generation),)
        reason = reason if needs_attempt else Reason.GENERATION
        needs_attempt = True
    if case.wanted.backend != last.backend:
        fields += (key_change(case, "backend", last.backend, case.wanted.backend),)
        reason = reason if needs_attempt else Reason.BACKEND_CHANGED
        needs_attempt = True
    return fields, needs_attempt, reason


def declared(case: Case, spec: str, inputs: Mapping[str, str]) -> tuple[FieldChange, ...]:
    """What the files say now against a spec, given by its digest, and the content of its inputs."""
    assert case.job and case.wanted
    schema = case.schema(case.wanted.type)
    changed = spec_changes(schema, case.specs(spec), case.job.spec, case.job.locate)
    return changed + input_changes(schema, case.job.spec, inputs, case.wanted.inputs, case.job.locate)


def updatable(case: Case, last: Attempt, field: FieldChange) -> bool:
    """Whether a field can be changed in place: by its rule, unless the service said otherwise."""
    return field.mutable in changeable(last) and not below(field.path, case.fixed)


def _restarts(case: Case) -> bool:
    """Whether the service would take a change in place by stopping the run and starting it again."""
    return case.forecast is not None and case.forecast.verdict == "restarts"


def key_change(case: Case, key: str, before: Json, after: Json) -> FieldChange:
    """The difference in one key of a job outside its spec."""
    assert case.job
    return FieldChange(key, before, after, range=case.job.locate((key,)))


def drift(case: Case, last: Attempt) -> tuple[FieldChange, ...]:
    """What somebody else changed of a live run: told by its backend, else found in the fields that it reports."""
    if not case.wanted:
        return ()
    schema, ignored = case.schema(case.wanted.type), case.wanted.policy.ignore_drift
    if case.differences:
        return drift_seen(schema, case.specs(last.applied), case.differences, ignored)
    if not case.fields:
        return ()
    return drift_changes(schema, case.specs(last.applied), case.fields, ignored)
