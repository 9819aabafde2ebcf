"""The intent of a call, complete and frozen before the call is made: number, token, name, mark, and the hash of what is sent."""

from dataclasses import replace

from jobform.engine.body import Body, placeholders
from jobform.engine.compare import changeable, differing, in_place
from jobform.engine.means import Means
from jobform.engine.todo import Call
from jobform.model.address import address_key, mark_text, parse_address, remote_name, token
from jobform.model.state import Attempt, Desired, Intent, Op, Phase, Record, State
from jobform.model.values import Json, digest


def intent_for(
    state: State, address: str, call: Call, at: str, means: Means
) -> tuple[Intent, Body | None, dict[str, Json] | None]:
    """The intent of a call, the body to send if there is one, and the spec that the intent names.

    Its run is the one that accepted it.

    Raises MissingSecret and InvalidOutput, before anything is begun.
    """
    record = state.jobs[address]
    run = record.accepted.run if record.accepted else ""
    if call.op is Op.SUBMIT:
        return _submit(state, address, record, call.attempt, run, at, means)
    attempt = next(attempt for attempt in record.attempts if attempt.n == call.attempt)
    if call.op is Op.UPDATE:
        return _update(state, address, record, attempt, run, at, means)
    intent = replace(intent_of(attempt, call.op, attempt.body_hash, at, run), whole=call.whole)
    return intent, _released(state, attempt) if call.op is Op.RELEASE else None, None


def _submit(
    state: State, address: str, record: Record, number: int, run: str, at: str, means: Means,
) -> tuple[Intent, Body, dict[str, Json]]:
    desired = record.desired
    assert desired
    spec, schema = state.spec(desired.spec), means.schema(desired.type)
    body = means.resolve(address, desired, spec, outputs_for(state, desired))
    intent = Intent(
        op=Op.SUBMIT,
        attempt=number,
        token=token(state.lineage, address, number),
        name=schema.given_name(body.spec) or remote_name(state.lineage, address, number),
        mark=mark_text(state.lineage, address, number, body.hash),
        body_hash=body.hash,
        at=at,
        run=run,
        backend=desired.backend,
        scope=means.places.scope(desired.backend).text,
        generation=desired.generation,
        fingerprint=schema.fingerprint(spec, desired.inputs),
        rules=schema.rules_version,
        spec=desired.spec,
        used=body.used,
        inputs=desired.inputs,
        held=schema.holds_back(spec),
    )
    return intent, body, spec


def _update(
    state: State, address: str, record: Record, attempt: Attempt, run: str, at: str, means: Means,
) -> tuple[Intent, Body, dict[str, Json]]:
    desired = record.desired
    assert desired
    fixed = record.accepted.fixed if record.accepted else ()
    schema = means.schema(desired.type)
    applied = state.spec(attempt.applied)
    spec = in_place(schema, applied, state.spec(desired.spec), changeable(attempt), fixed)
    resolved = means.resolve(address, desired, spec, outputs_for(state, desired))
    body = replace(resolved, changes=differing(schema, applied, spec), ignored=desired.policy.ignore_drift)
    intent = intent_of(attempt, Op.UPDATE, body.hash, at, run)
    return replace(intent, spec=digest(spec), used=body.used, held=schema.holds_back(spec)), body, spec


def _released(state: State, attempt: Attempt) -> Body:
    """What was applied, as it is recorded: what is held back until the end is no secret and no output."""
    spec = placeholders(state.spec(attempt.applied))
    return Body(spec, spec, attempt.body_hash, attempt.used, inputs=attempt.inputs)


def intent_of(attempt: Attempt, op: Op, body_hash: str, at: str, run: str) -> Intent:
    """The intent of a call on an attempt that exists."""
    return Intent(op, attempt.n, attempt.token, attempt.name, attempt.mark, body_hash, at, run, attempt.backend, attempt.scope)


def outputs_for(state: State, desired: Desired) -> dict[str, Json]:
    """The outputs of every job that this one needs, by job name: an object, or for a matrix a list of `{matrix, outputs}`.

    The list is in address order, whatever the order of the needs.
    """
    found: dict[str, Json] = {}
    addresses = {address for need in desired.policy.needs for address in need.addresses}
    for address in sorted(addresses, key=address_key):
        name, axes = parse_address(address)
        record = state.jobs.get(address)
        last = record.last if record else None
        outputs: Json = dict(last.outputs) if last and last.outputs is not None and last.phase is Phase.SUCCEEDED else None
        if not axes:
            found[name] = outputs
            continue
        instances = found.setdefault(name, [])
        assert isinstance(instances, list)  # a name has axes in all of its addresses or in none
        instances.append({"matrix": dict(record.desired.matrix) if record and record.desired else axes, "outputs": outputs})
    return found
