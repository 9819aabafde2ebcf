"""Runs that jobform did not record: taking one over, and listing those that nobody accounts for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from shlex import quote

from jobform.config.validate import is_token
from jobform.engine.collect import collected
from jobform.engine.compare import Compared, compare_run, compare_told
from jobform.engine.moves import concrete_moves
from jobform.engine.plan import desired_of
from jobform.engine.record import fold
from jobform.engine.refresh import first_look, observe, observe_orphans
from jobform.model.address import (
    MarkParts,
    format_address,
    mark_hash,
    mark_parts,
    name_hashes,
    parse_address,
    parts_of,
    remote_name,
    token,
)
from jobform.model.claims import Takeover
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import BackendError, FailedError, InputError
from jobform.model.event import Event, Imported, Observed, RunEnded, RunStarted, SpecStored
from jobform.model.job import Job
from jobform.model.state import Accepted, Attempt, Phase, Record, RunChange, State
from jobform.model.suggest import suggest
from jobform.model.values import Json, digest
from jobform.protocols import Actual, Backend, Comparing, Importing, ReadError, Scope, Sighting, timestamp
from jobform.run.planning import copy_of
from jobform.run.session import Session
from jobform.schema import SpecSchema

LOST = "lost"

_LONGEST_NAME = 253
_NAME = re.compile(rf"[a-z0-9][a-z0-9.-]{{0,{_LONGEST_NAME - 1}}}")
"""A name that an object may have, and the file of its log."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """accept_differences: record the run as it is where it is not as declared. take_over: also one of another project."""

    accept_differences: bool = False
    take_over: bool = False
    lock_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """A run that may be taken over, where it is, and how it compares."""

    sighting: Sighting
    scope: Scope
    parts: MarkParts | None
    compared: Compared


def take_over(session: Session, text: str, run: str, options: ImportOptions) -> tuple[Takeover, tuple[Diagnostic, ...]]:
    """`import`: the run with this id becomes the next attempt of a declared job, and what should be warned of.

    Nothing is recorded when the run differs from what is declared, unless that is accepted. Raises InputError for a job that is
    not declared, and FailedError for one that has a run, for a run that somebody else has, and when it cannot be looked up.
    """
    job = _declared(session, text)
    with session.locked("import", options.lock_timeout) as manager:
        state = manager.state
        if job.address in concrete_moves(session.project, state):
            raise FailedError.of(
                "renamed", f"`moved:` gives {job.address} the record of another job", address=job.address,
                hint="apply that first: jobform apply",
            )
        _refuse_recorded(job.address, _look(session, job.address))
        found = _find(session, job, run)
        _refuse_owned(session, job.address, found, options)
        fields = found.compared.fields
        sighting = found.sighting
        seen = Takeover(
            job.address, job.backend, sighting.id, sighting.name, sighting.actual.phase, differences=fields,
            asserted=_asserted(job, found),
        )
        if fields and not options.accept_differences:
            return seen, ()
        if fields and isinstance(session.places.backend(job.backend), Comparing) and not sighting.actual.fields:
            raise FailedError.of(
                "cannot_differ", f"the run {run} differs from what is declared, and a {job.type} run cannot be recorded as it is",
                detail=f"differing: {', '.join(field.path for field in fields[:5])}", address=job.address,
                hint="declare what runs, import it, then change the declaration",
            )
        attempt = _attempt(session, job, found, seen.asserted)
        events, warnings = _events(session, job, attempt, _present(session, job, found))
        manager.record(events)
    if any(isinstance(event, Observed) and event.ended_at for event in events):
        session.keep_log(job.address, attempt.n)
    told = [Diagnostic(Severity.WARNING, "backend_warning", warning, address=job.address) for warning in warnings]
    return replace(seen, attempt=attempt.n), (*told, *session.unkept.values())


def _declared(session: Session, text: str) -> Job:
    """The declared job of an address. Raises InputError."""
    jobs = session.project.jobs
    try:
        address = format_address(*parse_address(text))
    except ValueError as error:
        hint = "write train, or 'train[lr=0.1,seed=2]' for one of a matrix"
        raise InputError.of("bad_address", str(error), hint=hint) from error
    if address not in jobs:
        near = suggest(text, jobs)
        raise InputError.of(
            "unknown_job", f"no job {text!r} is declared", detail="a run is taken over as what the project's files declare",
            hint=f"did you mean {near!r}?" if near else "declare it first, then import its run",
        )
    return jobs[address]


def _look(session: Session, address: str) -> Record | None:
    """The record of an address with what its own run does now. A run that is gone makes room, which is recorded.

    Any other end is left to a command that goes on with the job: it fetches what the run left, and keeps its log.
    """
    state, at = session.manager.state, session.now()
    entry = state.jobs.get(address)
    events: list[Event] = []
    if entry and entry.intent is None and entry.last and not entry.last.ended:
        events, _ = observe(state, session.places, [address], at)
    seen = copy_of(state)
    for event in events:
        fold(seen, event)
    lost = [event for event in events if isinstance(event, Observed) and event.class_ == LOST]
    session.manager.record([*lost, *observe_orphans(state, session.places, at, {address})])
    return seen.jobs.get(address)


def _refuse_recorded(address: str, entry: Record | None) -> None:
    """Raises FailedError unless the address may have another run: it never had one, or its last one is lost."""
    if entry is None:
        return
    if entry.intent is not None:
        raise FailedError.of(
            "unknown_submission", f"whether attempt {entry.intent.attempt} of {address} was submitted is not known yet",
            address=address, hint=f"if this run is it: jobform state resolve {quote(address)} --found ID",
        )
    last = entry.last
    if last is None or (last.phase is Phase.FAILED and last.class_ == LOST):
        return
    raise FailedError.of(
        "has_run", f"{address} has a run: attempt {last.n} is {last.phase}" if not last.ended else
        f"{address} has a run: attempt {last.n} has {last.phase}" if last.phase is not Phase.CANCELLED else
        f"{address} has a run: attempt {last.n} was cancelled",
        address=address, hint=f"see `jobform status {quote(address)}`; `jobform state rm {quote(address)}` forgets it",
    )


def _find(session: Session, job: Job, run: str) -> Found:
    """The run on the job's backend, compared with the job. Raises FailedError."""
    backend, scope = session.places.backend(job.backend), session.places.scope(job.backend)
    if not isinstance(backend, Importing):
        raise FailedError.of(
            "no_import", f"runs on backend {job.backend!r} cannot be imported: its type {job.type} has no look-up by an id",
            address=job.address, hint="a run there is followed only when jobform has submitted it",
        )
    try:
        sighting = backend.lookup(run)
        compared = None if sighting is None else _compared(session, job, backend, sighting)
    except BackendError as error:
        raise FailedError.of(
            "lookup_failed", f"backend {job.backend!r} could not be asked for {run}: {error.summary}", detail=error.detail,
            address=job.address,
        ) from error
    except Exception as error:  # a plug-in's bug is told as one
        raise FailedError.of(
            "lookup_failed", f"backend {job.backend!r} could not be asked for {run}: {type(error).__name__}: {error}",
            detail="this is a fault in the backend's plug-in", address=job.address,
        ) from error
    if sighting is None or compared is None:
        raise FailedError.of(
            "no_run", f"there is no run {run} in {scope.described}", address=job.address,
            detail=f"this is where backend {job.backend!r} looks; the setting that decides it is {scope.source}",
            hint="`jobform orphans --all` lists what runs there and nobody accounts for",
        )
    state = session.manager.state
    named = name_hashes(state.lineage, (job.address, *state.jobs, *state.tombstones))
    return Found(sighting, scope, parts_of(sighting.mark, sighting.name, state.lineage, named), compared)


def _compared(session: Session, job: Job, backend: Backend, sighting: Sighting) -> Compared:
    schema: SpecSchema = session.schema_of(job.type)

    def is_secret(value: Json) -> bool:
        return any(is_token(text) or session.masker.mask(text) != text for text in _texts(value))

    if isinstance(backend, Comparing):
        told = backend.differences(job.spec, sighting.actual)
        return compare_told(schema, job.spec, told, sighting.actual.fields, is_secret)
    return compare_run(schema, job.spec, sighting.actual.fields, is_secret, job.locate)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from chain(value, *(_texts(item) for item in value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(_texts(item) for item in value)


def _refuse_owned(session: Session, address: str, found: Found, options: ImportOptions) -> None:
    """Raises FailedError for a run that another job of this project has, or that another project made."""
    state, run, parts = session.manager.state, found.sighting.id, found.parts
    owner = _owner(state, address, found)
    if owner is not None:
        left = owner not in state.jobs
        raise FailedError.of(
            "other_job", f"the run {run} is {'what the removed job ' + owner + ' left behind' if left else 'that of ' + owner}",
            address=address,
            hint=f"declare {owner} again, import it as that, then rename it with `moved:`" if left else
            f"rename the job with `moved: [{{from: {owner}, to: {address}}}]`",
        )
    tombstone = state.tombstones.get(address) if address not in state.jobs else None
    if tombstone is not None and tombstone.live and not _is_left(tombstone.ref, tombstone.mark, found):
        raise FailedError.of(
            "live_orphan", f"attempt {tombstone.last_attempt} of an earlier {address} is not known to have ended, and {run} is "
            "another run", address=address,
            hint=f"stop it with `jobform cancel {quote(address)}`, or say that it is over: "
                 f"jobform state resolve {quote(address)} --ended",
        )
    if parts is not None and parts.lineage != mark_hash(state.lineage) and not options.take_over:
        raise FailedError.of(
            "other_project", f"the run {run} belongs to another project: its mark names the lineage {parts.lineage}",
            detail="two projects that both act on one run would stop, replace and repeat each other's work", address=address,
            hint="--take-over takes it all the same: when that project's state is lost, or it has forgotten the run",
        )


def _owner(state: State, address: str, found: Found) -> str | None:
    """The other address that has the run, by its reference or by its mark."""
    ref, scope, parts = found.sighting.ref.value, found.scope, found.parts
    ours = parts is not None and parts.lineage == mark_hash(state.lineage)
    for other, entry in state.jobs.items():
        if other == address:
            continue
        if any(attempt.ref == ref and scope.is_place(attempt.scope) for attempt in entry.attempts):
            return other
        if ours and parts is not None and parts.address == mark_hash(other):
            return other
    for other, tombstone in state.tombstones.items():
        here = scope.is_place(tombstone.scope)
        if other != address and tombstone.live and here and _is_left(tombstone.ref, tombstone.mark, found):
            return other
    return None


def _is_left(ref: Json, mark: str, found: Found) -> bool:
    """Whether the run is the one that a tombstone names."""
    if ref is not None:
        return bool(ref == found.sighting.ref.value)
    named = mark_parts(mark)
    return named is not None and found.parts is not None and named.key == found.parts.key


def _asserted(job: Job, found: Found) -> tuple[str, ...]:
    """What nobody could compare: fields, and the content of files, which no service gives back."""
    return (*found.compared.asserted, *(f"inputs[{path}]" for path in sorted(job.inputs)))


def _attempt(session: Session, job: Job, found: Found, asserted: tuple[str, ...]) -> Attempt:
    """The attempt that the run is. A number that its own mark names is not used again for another run."""
    state, sighting, parts, spec = session.manager.state, found.sighting, found.parts, found.compared.spec
    schema, at, number = session.schema_of(job.type), session.now(), state.last_attempt(job.address) + 1
    if parts is not None and (parts.lineage, parts.address) == (mark_hash(state.lineage), mark_hash(job.address)):
        number = max(number, parts.attempt)
    return Attempt(
        n=number, token=token(state.lineage, job.address, number), name=_name(sighting, state.lineage, job.address, number),
        mark=sighting.mark if mark_parts(sighting.mark) else "", backend=job.backend, scope=found.scope.text,
        generation=job.generation, fingerprint=schema.fingerprint(spec, job.inputs), rules=schema.rules_version,
        spec=digest(spec), body_hash=digest({"type": job.type, "spec": spec}), run=session.new_run(), begun_at=at,
        submitted_at=_moment(sighting.created_at) or at, ref=sighting.ref.value, inputs=job.inputs, held=schema.holds_back(spec),
        asserted=asserted,
    )


def _name(sighting: Sighting, lineage: str, address: str, number: int) -> str:
    """The run's own name where it can name an object or a file, else its id made so."""
    made = re.sub(r"[^a-z0-9]+", "-", sighting.id.lower())[:_LONGEST_NAME].strip("-")
    plain = (name for name in (sighting.name, sighting.id, made) if _NAME.fullmatch(name))
    return next(plain, remote_name(lineage, address, number))


def _moment(text: str | None) -> str | None:
    """A service's time as the state writes it, None for what is none."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return timestamp(found if found.tzinfo else found.replace(tzinfo=UTC)) if found else None


def _present(session: Session, job: Job, found: Found) -> Found:
    """The run with what it left, which is fetched before its success counts. Raises FailedError when that can be had later."""
    sighting = found.sighting
    answers = collected(session.places.backend(job.backend), {sighting.ref: sighting.actual}, lambda _ref: found.compared.spec)
    answer = answers[sighting.ref]
    if isinstance(answer, ReadError):
        raise FailedError.of(
            "not_collected", answer.summary, detail=answer.detail, address=job.address, hint="nothing was recorded; try again",
        )
    assert isinstance(answer, Actual)
    return replace(found, sighting=replace(sighting, actual=answer))


def _events(session: Session, job: Job, attempt: Attempt, found: Found) -> tuple[list[Event], tuple[str, ...]]:
    """One list, made durable at once: whatever part of it survives a crash, no part makes another run."""
    at, run, key = attempt.begun_at, attempt.run, digest(["import", job.address, attempt.n])
    desired = desired_of(job)
    accepted = Accepted("adopt", "requested", run, at, key, attempt.n)
    specs = {desired.spec: job.spec, attempt.spec: found.compared.spec}
    seen, warnings = first_look(
        job.address, attempt, found.sighting.actual, at, lambda each: session.places.completes(each, specs),
    )
    return [
        RunStarted(run, at, "import", session.who, session.commit, "", (RunChange(job.address, "adopt", key, attempt.n),)),
        *(SpecStored(name, spec) for name, spec in specs.items()),
        Imported(job.address, at, accepted, desired, attempt),
        *seen, RunEnded(run, at, "done", 0),
    ], warnings
