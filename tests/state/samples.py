"""States, events and plans to test with: fixed ones, random ones, and random histories that a real apply could have written."""

from collections.abc import Iterator
from random import Random

from hypothesis import strategies as st

from jobform.engine.record import Recorder
from jobform.model.change import Action, Change, FieldChange, Plan, Reason
from jobform.model.diagnostic import Diagnostic, Range, Related, Severity
from jobform.model.event import (
    EVENT_TYPES,
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
    State,
    Tombstone,
    Update,
)

LINEAGE = "3f0c6f7e-0000-4000-8000-000000000001"
AT = "2030-01-01T00:00:00.000000Z"

texts = st.text(max_size=12)
naturals = st.integers(0, 2**53)
integers = st.integers(-(2**53), 2**53)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)
hashes = st.dictionaries(texts, texts, max_size=2)
maybe = st.none() | texts


def tuples(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=2).map(tuple)


policies = st.builds(
    Policy, tuples(st.builds(Need, texts, st.sampled_from(When), tuples(texts))),
    st.builds(Rerun, tuples(texts), naturals, st.tuples(st.floats(0, 1e9), st.floats(0, 1e9))),
    st.sampled_from(OnChange), st.booleans(), tuples(texts), naturals, tuples(texts), tuples(texts),
)
desires = st.builds(Desired, texts, texts, texts, policies, integers, json_objects, hashes)
accepteds = st.builds(Accepted, texts, texts, texts, texts, texts, naturals, st.none() | naturals, maybe)
intents = st.builds(
    Intent, st.sampled_from(Op), naturals, texts, texts, texts, texts, texts, texts, texts, texts, integers, texts, texts, texts,
    json_objects, hashes,
)
attempts = st.builds(
    Attempt, naturals, texts, texts, texts, texts, texts, integers, texts, texts, texts, texts, texts, texts, texts, json_values,
    tuples(st.builds(Update, texts, texts, texts)), json_objects, hashes, st.sampled_from(Phase), texts, maybe, texts,
    st.none() | integers, st.none() | json_objects, maybe, maybe, st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    tuples(texts),
)
records = st.builds(
    Record, texts, texts, st.none() | desires, st.none() | accepteds, st.none() | intents,
    st.none() | st.builds(Hold, texts, texts, texts), tuples(attempts),
)
tombstones = st.builds(Tombstone, naturals, texts, texts, json_values, texts, texts, texts, tuples(attempts))
run_changes = st.builds(RunChange, texts, texts, texts, naturals, maybe)


@st.composite
def states(draw: st.DrawFn) -> State:
    runs = draw(st.lists(
        st.builds(Run, texts, texts, texts, texts, texts, texts, tuples(run_changes), maybe, maybe, st.none() | integers),
        max_size=2, unique_by=lambda run: run.id,
    ))
    return State(
        draw(st.text(min_size=1, max_size=8)), draw(naturals), (), draw(st.dictionaries(texts, records, max_size=2)),
        draw(st.dictionaries(texts, tombstones, max_size=2)), {run.id: run for run in runs},
        draw(st.dictionaries(texts, json_objects, max_size=2)),
    )


_FIELD_VALUES = {
    "changes": tuples(run_changes), "exit": integers, "spec": json_objects, "accepted": accepteds, "desired": st.none() | desires,
    "intent": intents, "op": st.sampled_from(Op), "attempt": naturals, "ok": st.booleans(), "ref": json_values,
    "adopted": st.booleans(), "phase": st.sampled_from(Phase), "class_": maybe, "outputs": st.none() | json_objects,
    "started_at": maybe, "ended_at": maybe,
}
events: st.SearchStrategy[Event] = st.one_of([
    st.builds(kind, **{name: _FIELD_VALUES.get(name, texts) for name in kind.__dataclass_fields__})
    for kind in EVENT_TYPES.values() if kind is not Imported
] + [st.builds(Imported, texts, texts, accepteds, desires, attempts)])

ranges = st.builds(Range, texts, naturals, naturals, naturals, naturals)
field_changes = st.builds(
    FieldChange, texts, json_values, json_values, st.booleans(), st.booleans(), texts, texts, texts, st.booleans(), texts,
    st.none() | ranges,
)
changes = st.builds(
    Change, texts, st.sampled_from(Action), st.sampled_from(Reason), texts, st.booleans(), tuples(field_changes), tuples(texts),
    naturals, st.none() | naturals, texts, texts, st.none() | desires, st.none() | json_objects, texts, texts, texts,
    st.none() | ranges, texts, st.none() | st.floats(0, 1e9),
)
plans = st.builds(
    Plan, texts, texts, maybe, maybe, tuples(changes), texts, st.booleans(),
    tuples(st.builds(
        Diagnostic, st.sampled_from(Severity), texts, texts, texts, texts, st.none() | ranges, maybe, maybe,
        tuples(st.builds(Related, texts, ranges)), naturals,
    )), hashes,
)


def desired(spec: str = "s1", generation: int = 1, backend: str = "here") -> Desired:
    return Desired(backend, "local", spec, Policy(), generation)


def accepted(run: str = "run-1", attempt: int = 1, action: str = "create") -> Accepted:
    return Accepted(action, "new", run, AT, "d" * 64, attempt)


def intent(attempt: int = 1, op: Op = Op.SUBMIT, run: str = "run-1", spec: str = "s1") -> Intent:
    return Intent(
        op, attempt, f"token-{attempt}", f"job-{attempt}", f"mark-{attempt}", "body", AT, run, "here", "machine:1", 1, "print",
        "rules-1", spec,
    )


def imported(attempt: int = 1, ref: object = None, mark: str = "", spec: str = "s1", asserted: tuple[str, ...] = ()) -> Attempt:
    """A run that was made elsewhere, as an attempt."""
    return Attempt(
        attempt, f"token-{attempt}", "elsewhere", mark, "here", "machine:1", 1, "print", "rules-1", spec, "body", "run-i", AT, AT,
        {"pid": 9} if ref is None else ref, asserted=asserted,  # type: ignore[arg-type]  # JSON
    )


def first_apply(addresses: tuple[str, ...] = ("prep", "train"), run: str = "run-1") -> list[Event]:
    """A run that accepts and submits each address once; nothing has ended."""
    result: list[Event] = [
        RunStarted(
            run, AT, "apply", "me", "c0ffee", "digest", tuple(RunChange(each, "create", "d" * 64, 1) for each in addresses),
        ),
        SpecStored("s1", {"command": ["true"]}),
    ]
    result += [ChangeAccepted(each, accepted(run), desired()) for each in addresses]
    for each in addresses:
        result += [Begun(each, intent(run=run)), Ended(each, Op.SUBMIT, 1, AT, True, {"pid": 7})]
    return result


def history(seed: int, length: int, addresses: tuple[str, ...] = ("a", "b", "c")) -> Iterator[Event]:
    """Random events, each of which fits what the ones before left behind."""
    random = Random(seed)
    state = State(LINEAGE)
    recorder = Recorder(state)
    for serial in range(length):
        for event in _step(random, state, random.choice(addresses), serial):
            recorder.fold(event)
            yield event


def _step(random: Random, state: State, address: str, serial: int) -> list[Event]:
    """What may happen next to an address."""
    record = state.jobs.get(address)
    choice = random.random()
    lost = record is not None and record.intent is None and record.last is not None and record.last.class_ == "lost"
    if (record is None or lost) and choice > 0.8:
        number = state.last_attempt(address) + 1
        return [
            SpecStored("s7", {"command": ["found"]}),
            Imported(
                address, AT, Accepted("adopt", "requested", "run-i", AT, "d", number), desired("s7"),
                imported(number, {"pid": serial}, f"mark-{number}", "s7", ("spec.env",)),
            ),
        ]
    if record is None or (choice < 0.15 and record.intent is None):
        run = f"run-{serial}"
        number = state.last_attempt(address) + 1
        action = "create" if record is None else "rerun"
        spec = f"s{random.randrange(3)}"
        return [
            RunStarted(run, AT, "apply", "me", "", "", (RunChange(address, action, f"d{serial}", number),)),
            SpecStored(spec, {"command": ["echo", spec]}),
            ChangeAccepted(address, Accepted(action, "new", run, AT, f"d{serial}", number), desired(spec)),
            RunEnded(run, AT, "applied", 0),
        ]
    if record.intent is not None:
        return [Ended(address, record.intent.op, record.intent.attempt, AT, choice < 0.8, {"pid": serial})]
    last = record.last
    if choice < 0.3:
        return [Held(address, AT, "failed", "exit 1")]
    if choice < 0.4:
        return [Released(address, AT)]
    if choice < 0.5 and record.accepted:
        return [Settled(address, AT, "cancelled")]
    if choice < 0.55:
        return [Removed(address, AT, random.choice(["deleted", "forgotten"]))]
    if choice < 0.6 and f"{address}2" not in state.jobs:
        return [Moved(address, f"{address}2", AT)]
    if last is None or last.ended:
        return [SpecStored("s9", {"command": ["true"]}), Begun(address, intent(state.last_attempt(address) + 1, spec="s9"))]
    if choice < 0.7:
        op = random.choice([Op.UPDATE, Op.CANCEL, Op.DELETE])
        return [SpecStored("s8", {"command": ["false"]}), Begun(address, intent(last.n, op, spec="s8"))]
    phase = random.choice(list(Phase))
    class_ = random.choice(["lost", "oom"]) if phase is Phase.FAILED else None
    return [Observed(address, last.n, AT, phase, class_=class_, exit=random.choice([None, 0, 1]), started_at=AT)]
