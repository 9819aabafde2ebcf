"""One table per class: which keys a document has and what each may hold."""

from jobform.codec.shape import (
    Kind,
    Malformed,
    Shape,
    array,
    boolean,
    document,
    free,
    integer,
    mapping,
    member,
    natural,
    number,
    optional,
    text,
    values,
)
from jobform.model.change import Action, Change, FieldChange, Reason
from jobform.model.diagnostic import Diagnostic, Range, Related, Severity
from jobform.model.event import (
    Begun,
    ChangeAccepted,
    Ended,
    Event,
    Held,
    Imported,
    Moved,
    Observed,
    Released,
    Removed,
    Resolved,
    RunEnded,
    RunStarted,
    Settled,
    SpecStored,
)
from jobform.model.job import Need, OnChange, Policy, Rerun, When
from jobform.model.state import (
    Accepted,
    Attempt,
    Desired,
    Hold,
    Intent,
    Op,
    Phase,
    Record,
    Run,
    RunChange,
    Tombstone,
    Update,
)
from jobform.model.values import Json


def _read_backoff(value: object) -> tuple[float, float]:
    low_high = array(number).decode(value)
    if len(low_high) != 2:
        raise Malformed(f"expected 2 numbers, not {len(low_high)}")
    return low_high[0], low_high[1]


def _write_backoff(value: tuple[float, float], full: bool) -> Json:
    del full
    return list(value)


POLICY = Shape(
    Policy,
    needs=array(Shape(Need, job=text, when=member(When), addresses=array(text))),
    rerun=Shape(
        Rerun, on=array(text), max_attempts=natural,
        backoff=Kind(_read_backoff, _write_backoff),
    ),
    on_change_while_running=member(OnChange), protect=boolean, ignore_drift=array(text), keep_objects=natural,
    optional_keys=array(text), allow_plain=array(text),
)
DESIRED = Shape(
    Desired, backend=text, type=text, spec=text, policy=POLICY, generation=integer, matrix=values, inputs=mapping(text),
)
ACCEPTED = Shape(
    Accepted, action=text, reason=text, run=text, at=text, digest=text, attempt=natural, stop=optional(natural),
    settled=optional(text), fixed=array(text),
)
INTENT = Shape(
    Intent, op=member(Op), attempt=natural, token=text, name=text, mark=text, body_hash=text, at=text, run=text, backend=text,
    scope=text, generation=integer, fingerprint=text, rules=text, spec=text, used=values, inputs=mapping(text),
    held=boolean, whole=boolean,
)
ATTEMPT = Shape(
    Attempt, n=natural, token=text, name=text, mark=text, backend=text, scope=text, generation=integer, fingerprint=text,
    rules=text, spec=text, body_hash=text, run=text, begun_at=text, submitted_at=text, ref=free,
    updates=array(Shape(Update, at=text, run=text, spec=text)), used=values, inputs=mapping(text), phase=member(Phase),
    detail=text, class_=optional(text), native_reason=text, exit=optional(integer), outputs=optional(values),
    started_at=optional(text), ended_at=optional(text), asked_stop=boolean, removed=boolean, held=boolean,
    cleared=boolean, asserted=array(text),
)
RECORD = Shape(
    Record, backend=text, scope=text, desired=optional(DESIRED), accepted=optional(ACCEPTED), intent=optional(INTENT),
    hold=optional(Shape(Hold, reason=text, detail=text, at=text)), attempts=array(ATTEMPT),
)
TOMBSTONE = Shape(
    Tombstone, last_attempt=natural, at=text, how=text, ref=free, mark=text, backend=text, scope=text, attempts=array(ATTEMPT),
)
RUN_CHANGE = Shape(RunChange, address=text, action=text, digest=text, attempt=natural, settled=optional(text))
RUN = Shape(
    Run, id=text, command=text, at=text, who=text, commit=text, digest=text, changes=array(RUN_CHANGE), ended_at=optional(text),
    outcome=optional(text), exit=optional(integer),
)

EVENTS: dict[type[Event], Shape[Event]] = {
    RunStarted: Shape(
        RunStarted, run=text, at=text, command=text, who=text, commit=text, digest=text, changes=array(RUN_CHANGE),
    ),
    RunEnded: Shape(RunEnded, run=text, at=text, outcome=text, exit=integer),
    SpecStored: Shape(SpecStored, digest=text, spec=document),
    ChangeAccepted: Shape(ChangeAccepted, address=text, accepted=ACCEPTED, desired=optional(DESIRED)),
    Settled: Shape(Settled, address=text, at=text, how=text, detail=text),
    Begun: Shape(Begun, address=text, intent=INTENT),
    Ended: Shape(
        Ended, address=text, op=member(Op), attempt=natural, at=text, ok=boolean, ref=free, error=text, adopted=boolean,
    ),
    Observed: Shape(
        Observed, address=text, attempt=natural, at=text, phase=member(Phase), detail=text, class_=optional(text),
        native_reason=text, exit=optional(integer), outputs=optional(values), started_at=optional(text), ended_at=optional(text),
    ),
    Held: Shape(Held, address=text, at=text, reason=text, detail=text),
    Released: Shape(Released, address=text, at=text),
    Moved: Shape(Moved, address=text, to=text, at=text),
    Removed: Shape(Removed, address=text, at=text, how=text),
    Resolved: Shape(Resolved, address=text, at=text, who=text, how=text),
    Imported: Shape(Imported, address=text, at=text, accepted=ACCEPTED, desired=DESIRED, attempt=ATTEMPT),
}

RANGE = Shape(Range, file=text, line=natural, column=natural, end_line=natural, end_column=natural)
DIAGNOSTIC = Shape(
    Diagnostic, severity=member(Severity), code=text, summary=text, detail=text, hint=text, range=optional(RANGE),
    address=optional(text), snippet=optional(text), related=array(Shape(Related, message=text, range=RANGE)), count=natural,
)
CHANGE = Shape(
    Change, address=text, action=member(Action), reason=member(Reason), backend=text, accepted=boolean,
    fields=array(Shape(
        FieldChange, path=text, before=free, after=free, has_before=boolean, has_after=boolean, source=text, class_=text,
        mutable=text, sensitive=boolean, reason=text, range=optional(RANGE), by=text, ignored=boolean,
    )),
    after=array(text), attempt=natural, stop=optional(natural), precondition=text, desired_hash=text, desired=optional(DESIRED),
    spec=optional(document), detail=text, hint=text, source=text, range=optional(RANGE), phase=text,
    running_seconds=optional(number), fixed=array(text),
)
