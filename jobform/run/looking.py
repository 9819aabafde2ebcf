"""Use cases that only look."""

from collections.abc import Iterator, Mapping, Sequence

from jobform.config.secrets import Masker
from jobform.engine.retry import retry_due
from jobform.model.diagnostic import Diagnostic
from jobform.model.errors import BackendError, FailedError, InputError, JobformError
from jobform.model.state import Attempt, Phase, State
from jobform.model.suggest import suggest
from jobform.model.values import Json
from jobform.protocols import LogOptions, LogSource, Ref
from jobform.run.planning import copy_of, look, warnings_of
from jobform.run.session import Session, log_name


def present(session: Session, *, refresh: bool) -> tuple[State, Sequence[Diagnostic]]:
    """A copy of the state with what the backends say now folded in, and what should be warned of."""
    state = copy_of(session.manager.state)
    if not refresh:
        return state, tuple(session.manager.warnings)
    sights = look(session, state)
    return state, (*session.manager.warnings, *warnings_of(sights))


def progress(session: Session, state: State) -> int:
    """2 while anything is live, waiting, open or due for a retry; else 8 if a last attempt has failed; else 0."""
    failed = False
    for record in state.jobs.values():
        last, accepted = record.last, record.accepted
        running = last is not None and last.phase is Phase.RUNNING and not last.asked_stop
        reached = last is not None and running and not session.places.completes(last, state.specs)
        if (last and not last.ended and not reached) or record.intent or (accepted and accepted.settled is None):
            return 2
        if record.desired and retry_due(record.desired.policy, record.attempts):
            return 2
        failed = failed or bool(last and last.phase in (Phase.FAILED, Phase.CANCELLED))
    return 8 if failed else 0


def attempts(state: State, address: str) -> tuple[Attempt, ...]:
    """Every attempt of an address, those before a deletion included; a job that moved here brought its own numbers.

    Raises InputError for an address that never was.
    """
    record, tombstone = state.jobs.get(address), state.tombstones.get(address)
    if record is None and tombstone is None:
        near = suggest(address, [*state.jobs, *state.tombstones])
        raise InputError.of("unknown_job", f"the state has no job {address!r}", hint=f"did you mean {near!r}?" if near else "")
    known = (*(tombstone.attempts if tombstone else ()), *(record.attempts if record else ()))
    return tuple(sorted(known, key=lambda attempt: (attempt.n, attempt.begun_at)))


def outputs(state: State, address: str) -> Mapping[str, Json]:
    """What the last successful attempt gave. Raises FailedError when there is none."""
    done = [attempt for attempt in state.jobs[address].attempts if attempt.phase is Phase.SUCCEEDED]
    if not done:
        raise FailedError.of("no_outputs", f"no run of {address} has succeeded", address=address)
    return done[-1].outputs or {}


def log_lines(session: Session, address: str, number: int | None, options: LogOptions) -> Iterator[str]:
    """The log of an attempt, line by line and safe to show: from the backend, else what was kept.

    Raises InputError for an attempt that never was and FailedError when nothing is left or it cannot be read.
    """
    tried = session.manager.state.jobs[address].attempts
    attempt = next((a for a in reversed(tried) if number in (None, a.n)), None)
    if attempt is None:
        raise InputError.of(
            "no_attempt", f"{address} has no attempt {number}" if number else f"{address} has not run yet",
            detail=f"attempts: {', '.join(str(a.n) for a in tried) or 'none'}",
        )
    yield from _lines(_chunks(session, attempt, options), session.masker)


def _chunks(session: Session, attempt: Attempt, options: LogOptions) -> Iterator[bytes]:
    failure: BackendError | None = None
    if session.places.configured(attempt.backend) and not attempt.removed:
        backend = session.places.backend(attempt.backend)
        if isinstance(backend, LogSource):
            seen = False
            try:
                for chunk in backend.logs(Ref.of(attempt.ref), options):
                    seen = seen or bool(chunk)
                    yield chunk
            except JobformError:
                raise
            except Exception as error:  # whatever a plug-in does: what was kept may still be shown
                failure = error if isinstance(error, BackendError) else BackendError(
                    f"{type(error).__name__}: {error}", "this is a fault in the backend's plug-in",
                )
                if seen:
                    raise FailedError.of(
                        "logs_failed", f"the log could not be read on: {failure.summary}", detail=failure.detail
                    ) from error
            if seen or (failure is None and not attempt.ended):
                return
    yield from _kept(session, attempt, options, failure)


def _kept(session: Session, attempt: Attempt, options: LogOptions, failure: BackendError | None) -> Iterator[bytes]:
    """What is beside the state of the output of an attempt. Raises FailedError when it cannot answer what was asked."""
    data = session.store.kept(log_name(attempt)) if attempt.ended else None
    chosen = options.index is not None or options.container or options.previous or options.since is not None
    if failure is not None and (chosen or not data):
        raise FailedError.of("logs_failed", failure.summary, detail=failure.detail) from failure
    if not data:
        return
    if options.previous:
        raise FailedError.of("logs_failed", "only the end of the last output was kept, nothing from before it was started again")
    why = f"; the backend could not be asked: {failure.summary}" if failure else ""
    options.tell(f"what follows is what was kept of attempt {attempt.n}: the end of its output{why}")
    if chosen:
        options.tell("no part of it is left out: what was kept cannot be chosen from by index, container or time")
    if options.tail is not None:
        data = b"".join(data.splitlines(keepends=True)[-options.tail :] if options.tail else [])
    yield data


_LONGEST = 1 << 20
"""Bytes of a line without end that are held before they are shown."""


def _lines(chunks: Iterator[bytes], masker: Masker) -> Iterator[str]:
    """Whole lines as text; control characters but tabs are shown, not obeyed, and no line is a command to a CI runner."""
    from jobform.views.escape import ci_log, terminal  # a view's word on what a terminal may get

    def shown(line: bytes) -> str:
        return ci_log("\t".join(terminal(cell) for cell in line.decode("utf-8", "replace").split("\t")))

    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield shown(line)
        if len(rest) > _LONGEST:  # a secret that has begun is not torn: what could be one is held back
            text, held = masker.cut(rest.decode("utf-8", "surrogateescape"))
            rest = held.encode("utf-8", "surrogateescape")
            yield shown(text.encode("utf-8", "surrogateescape"))
    if rest:
        yield shown(rest)
