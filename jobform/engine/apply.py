"""The loop that calls backends: a step looks at what moved, starts what can start, and ends when nothing more can be done now.

A step is a generator of lists of events. Whoever drives it makes each list durable, folds it into the state, and only then asks for the
next: a call is made only after its `Begun` came back. Three collections are the whole scheduler: blocked, acting, waiting.
One thread decides; the pool only makes calls; nothing here sleeps.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobform.engine.body import InvalidOutput, MissingSecret, Resolve
from jobform.engine.calls import Answer, Done, Failed, make
from jobform.engine.intents import intent_for, intent_of
from jobform.engine.places import Places
from jobform.engine.refresh import Sights, observe, recover
from jobform.engine.retry import retry_due
from jobform.engine.todo import Call, Note, Wait, World, todo
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.event import Begun, Ended, Event, Held, Observed, Released, Removed, Settled, SpecStored
from jobform.model.state import Intent, Op, Phase, State
from jobform.protocols import Clock, Effect, Ref, timestamp
from jobform.schema import SpecSchema

TRIES = 5
"""How often one command makes a call that fails in a way that may pass."""


class Stop:
    """Asked by the user to stop: nothing new is begun, calls in flight end.

    graceful: set once something may have been begun; before that a command may just be ended.
    """

    def __init__(self) -> None:
        self.requested = self.graceful = False
        self.exit_code = 130

    def ask(self, exit_code: int) -> None:
        """Stop, and end the command with this exit code (130 for SIGINT, 143 for SIGTERM)."""
        self.requested, self.exit_code = True, exit_code


@dataclass(slots=True)
class Report:
    """What did not go as accepted. problems: by address; watched: addresses whose attempts this command submitted or waited for."""

    problems: dict[str, Diagnostic] = field(default_factory=dict)
    warnings: list[Diagnostic] = field(default_factory=list)
    secrets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Means:
    """What a scheduler works with. keep: stores the kept log of an ended attempt. only: which addresses it may touch."""

    places: Places
    schema: Callable[[str], SpecSchema]
    resolve: Resolve
    clock: Clock
    effect: Effect
    pool: Executor
    keep: Callable[[str, int], None]
    only: Callable[[str], bool] = lambda _address: True
    parallelism: int = 10
    fail_fast: bool = False


class Scheduler:
    """Drives every accepted change of a state, step by step, for the length of one command."""

    def __init__(self, state: State, means: Means, stop: Stop) -> None:
        self.state = state
        self.report = Report()
        self._means, self._stop = means, stop
        self._acting: dict[Future[Answer], tuple[str, Call, Intent]] = {}
        self._waiting: set[str] = set()
        self._blocked: dict[str, Wait] = {}
        self._crowd: dict[str, dict[str, None]] = defaultdict(dict)
        self._dependents: dict[str, set[str]] = defaultdict(set)
        self._dirty: dict[str, None] = {}
        self._tries: dict[str, tuple[int, datetime]] = {}
        self._submitted: dict[str, int] = defaultdict(int)
        self._cleaned: set[tuple[str, int]] = set()
        self.rebuild(state)

    def rebuild(self, state: State) -> None:
        """Look at the whole state again: after somebody else changed it."""
        self.state = state
        self._waiting.clear()
        self._blocked.clear()
        self._crowd.clear()
        self._dependents.clear()
        self._submitted.clear()
        for address, record in state.jobs.items():
            if record.last and not record.last.ended:
                self._submitted[record.last.backend] += 1
            if not self._means.only(address):
                continue
            unsettled = record.accepted is not None and record.accepted.settled is None
            live = record.last is not None and not record.last.ended
            retry = bool(record.desired and record.attempts and retry_due(record.desired.policy, record.attempts))
            if unsettled or live or retry or record.intent is not None:
                self._dirty[address] = None
                self._index(address)
                if live:
                    self._waiting.add(address)

    @property
    def pending(self) -> bool:
        """Whether anything that this command may touch has not ended or may still start by itself."""
        return bool(self._waiting or self._dirty or any(block.why != "need" for block in self._blocked.values()) or self._hoped())

    @property
    def live(self) -> int:
        """How many attempts have not ended."""
        return len(self._waiting)

    @property
    def startable(self) -> bool:
        """Whether something accepted may still start without an end of something else: it only waits for a time or for room."""
        return bool(self._dirty) or any(block.why in ("time", "room") for block in self._blocked.values())

    @property
    def wakes(self) -> datetime | None:
        """When the next retry is due, None if there is none."""
        return min((block.until for block in self._blocked.values() if block.until), default=None)

    def step(self) -> Iterator[list[Event]]:
        """One round under the lock. Yields what to make durable; ends with no call in flight."""
        at = timestamp(self._means.clock.now())
        open_intents = [address for address in self._dirty if address in self.state.jobs and self.state.jobs[address].intent]
        events = recover(self.state, self._means.places, open_intents, at)
        if events:
            yield events
            self._folded(events)
        self._means.effect("engine.observe.before", "")
        events, sights = observe(self.state, self._means.places, self._watchable(), at)
        self._means.effect("engine.observe.after", "")
        self._note(sights)
        if events:
            yield events
            self._folded(events)
            self._keep_logs(events)
        self._waiting -= {address for address in self._waiting if self._reached(address)}
        self._wake()
        yield from self._act()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _act(self) -> Iterator[list[Event]]:
        done: Iterable[Future[Answer]] = ()
        while True:
            batch: list[Event] = []
            for future in done:
                batch += self._ended(future)
            starts = self._choose(batch)
            if batch:
                yield batch
                self._folded(batch)
            for address, call, intent, body in starts:
                self._start(address, call, intent, body)
            if self._acting:
                done, _ = wait(self._acting, return_when=FIRST_COMPLETED)
            elif not self._dirty or self._closed():
                return
            else:
                done = ()

    def _choose(self, batch: list[Event]) -> list[tuple[str, Call, Intent, object]]:
        """Take what can be done now off the dirty list: notes go straight to the batch, calls get their `Begun` there."""
        starts: list[tuple[str, Call, Intent, object]] = []
        busy = {address for address, _, _ in self._acting.values()} | {_address_of(event) for event in batch}
        later: dict[str, None] = {}
        while self._dirty and len(self._acting) + len(starts) < self._means.parallelism and not self._closed():
            address = next(iter(self._dirty))
            del self._dirty[address]
            if address in busy:
                later[address] = None
                continue
            now = self._means.clock.now()
            world = World(now, timestamp(now), self._room, self._completes)
            step = self._paced(address, now) or todo(self.state, address, world)
            self._blocked.pop(address, None)
            if isinstance(step, Wait):
                self._blocked[address] = step
                if step.why == "room":
                    self._crowd[self._backend_of(address)][address] = None
            elif isinstance(step, Note):
                batch += step.events
            elif isinstance(step, Call):
                self._prepare(address, step, world.at, batch, starts)
        self._dirty = later | self._dirty
        return starts

    def _prepare(self, address: str, call: Call, at: str, batch: list[Event], starts: list[tuple[str, Call, Intent, object]]) -> None:
        record = self.state.jobs[address]
        if call.op is Op.DELETE and (address, call.attempt) in self._cleaned:
            return
        try:
            intent, body, spec = intent_for(self.state, address, call, at, self._means)
        except MissingSecret as missing:
            self.report.secrets[address] = missing.names
            self._problem(address, "missing_secret", f"the secret {', '.join(missing.names)} is not set", hint="set the variable, then run again")
            return
        except InvalidOutput as invalid:
            self._problem(address, "invalid_output", str(invalid), hint="run the job that gives the output again, or change the expression")
            if record.hold is None or record.hold.detail != str(invalid):
                batch.append(Held(address, at, "invalid_output", str(invalid)))
            return
        if record.hold is not None:
            batch.append(Released(address, at))
        if spec is not None and intent.spec not in self.state.specs:
            batch.append(SpecStored(intent.spec, spec))
        batch.append(Begun(address, intent))
        if call.op is Op.SUBMIT:
            self._submitted[intent.backend] += 1
            self.report.watched.add(address)
        starts.append((address, call, intent, body))

    def _start(self, address: str, call: Call, intent: Intent, body: object) -> None:
        backend = self._means.places.backend(intent.backend)
        attempt = next((a for a in self.state.jobs[address].attempts if a.n == call.attempt), None)
        ref = Ref.of(attempt.ref) if attempt and call.op is not Op.SUBMIT else None
        if call.op is Op.DELETE:
            self._means.keep(address, call.attempt)
        future = self._means.pool.submit(
            make, backend, address, intent, ref, body, self._means.effect, only_if_waiting=call.only_if_waiting,  # type: ignore[arg-type]  # Body or None
        )
        self._acting[future] = (address, call, intent)

    def _ended(self, future: Future[Answer]) -> list[Event]:
        """The events of a call that is over; what is unclear keeps its intent open."""
        address, call, intent = self._acting.pop(future)
        answer, at = future.result(), timestamp(self._means.clock.now())
        self._dirty[address] = None
        if isinstance(answer, Done):
            self._tries.pop(address, None)
            self.report.problems.pop(address, None)
            ref = answer.ref.value if answer.ref and call.op is Op.SUBMIT else None
            return [Ended(address, call.op, call.attempt, at, ok=True, ref=ref, adopted=answer.adopted)]
        if call.op is Op.SUBMIT:
            self._submitted[intent.backend] -= 1
        if isinstance(answer, Failed):
            return self._call_failed(address, call, answer, at)
        del self._dirty[address]
        self._problem(
            address, "unknown_submission", f"whether attempt {call.attempt} was submitted is not known", detail=answer.reason,
            hint=f"run again in a while, or: jobform state resolve '{address}' --found ID | --not-submitted",
        )
        return [Held(address, at, "unknown_submission", answer.reason)]

    def _call_failed(self, address: str, call: Call, answer: Failed, at: str) -> list[Event]:
        over = Ended(address, call.op, call.attempt, at, ok=False, error=answer.summary)
        if answer.started:
            return [over]  # the next look at it decides: a started run needs an explicit yes
        if answer.gone:
            attempt = next(a for a in self.state.jobs[address].attempts if a.n == call.attempt)
            nothing_left = intent_of(attempt, Op.DELETE, attempt.body_hash, at, attempt.run)
            return [over, Begun(address, nothing_left), Ended(address, Op.DELETE, call.attempt, at, ok=True)]
        clean_up = call.op is Op.DELETE and call.attempt != getattr(self.state.jobs[address].last, "n", None)
        if clean_up:
            self._cleaned.add((address, call.attempt))
            self.report.warnings.append(Diagnostic(
                Severity.WARNING, "object_left", f"what is left of attempt {call.attempt} could not be removed: {answer.summary}",
                answer.detail, "it is tried again when the next attempt is submitted", address=address,
            ))
            return [over]
        count = self._tries.get(address, (0, None))[0] + 1
        if answer.retryable and count < TRIES:
            delay = timedelta(seconds=min(30.0, 0.5 * 2**count) * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
            self._tries[address] = (count, self._means.clock.now() + delay)
            return [over]
        del self._dirty[address]
        self._problem(address, f"{call.op}_failed", f"the {call.op} call failed: {answer.summary}", detail=answer.detail)
        return [over]

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _folded(self, events: Iterable[Event]) -> None:
        """The events are durable and folded: whoever is concerned is looked at again."""
        for event in events:
            address = _address_of(event)
            if isinstance(event, Observed):
                self._moved(address)
            elif isinstance(event, Ended) and event.op is Op.SUBMIT and event.ok:
                self._waiting.add(address)
                self._dirty.setdefault(address)
            elif isinstance(event, Settled | Removed | Released):
                if isinstance(event, Settled) and event.how in ("dependency_failed", "refused"):
                    self._problem(address, event.how, event.detail)
                self._look(address)
                self._look_at_dependents(address)

    def _moved(self, address: str) -> None:
        last = self.state.jobs[address].last
        if last and last.ended:
            self._waiting.discard(address)
            self._submitted[last.backend] -= 1
            if last.phase != "succeeded" and self._means.fail_fast and not self._retry(address):
                self.report.given_up = True
            crowd = self._crowd[last.backend]
            if crowd:
                self._look(next(iter(crowd)))
        self._look(address)
        self._look_at_dependents(address)

    def _look(self, address: str) -> None:
        block = self._blocked.pop(address, None)
        if block and block.why == "room":
            self._crowd[self._backend_of(address)].pop(address, None)
        if address in self.state.jobs and self._means.only(address):
            self._dirty[address] = None

    def _look_at_dependents(self, address: str) -> None:
        for dependent in self._dependents.get(address, ()):
            if dependent in self._blocked:
                self._look(dependent)

    def _wake(self) -> None:
        now = self._means.clock.now()
        for address in [a for a, block in self._blocked.items() if block.until is not None and block.until <= now]:
            self._look(address)

    def _paced(self, address: str, now: datetime) -> Wait | None:
        """A call that failed in a way that may pass is made again only after its delay."""
        _, until = self._tries.get(address, (0, None))
        return Wait("time", until=until) if until is not None and until > now else None

    def _index(self, address: str) -> None:
        desired = self.state.jobs[address].desired
        for need in desired.policy.needs if desired else ():
            for needed in need.addresses:
                self._dependents[needed].add(address)

    def _watchable(self) -> list[str]:
        return [address for address in sorted(self._waiting) if address in self.state.jobs]

    def _note(self, sights: Sights) -> None:
        for address in sights.foreign:
            self._waiting.discard(address)
            self._dirty.pop(address, None)
            if self._accepted(address):
                self._problem(address, "other_machine", "its run lives on another machine, which alone can see it")
        for address, warning in sights.warnings:
            self.report.warnings.append(Diagnostic(Severity.WARNING, "backend_warning", warning, address=address))
        self.report.watched |= self._waiting

    def _keep_logs(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Observed) and event.ended_at is not None:
                self._means.keep(event.address, event.attempt)

    def _closed(self) -> bool:
        return self._stop.requested or self.report.given_up

    def _hoped(self) -> bool:
        """Whether a blocked address waits for one that still moves."""
        return any(
            needed in self._waiting or (needed in self._blocked and self._blocked[needed].why != "need")
            for block in self._blocked.values() for needed in block.addresses
        )

    def _backend_of(self, address: str) -> str:
        desired = self.state.jobs[address].desired
        return desired.backend if desired else ""

    def _room(self, backend: str) -> bool:
        limit = self._means.places.type(backend).max_submitted
        return limit is None or self._submitted[backend] < limit

    def _completes(self, backend: str) -> bool:
        return not self._means.places.configured(backend) or self._means.places.type(backend).completes

    def _retry(self, address: str) -> bool:
        record = self.state.jobs[address]
        return bool(record.desired and retry_due(record.desired.policy, record.attempts))

    def _reached(self, address: str) -> bool:
        """Whether this is a run that does not end by itself and is where it should be: running."""
        record = self.state.jobs.get(address)
        last = record.last if record else None
        return last is not None and last.phase is Phase.RUNNING and not self._completes(last.backend) and not last.asked_stop

    def _accepted(self, address: str) -> bool:
        accepted = self.state.jobs[address].accepted
        return accepted is not None and accepted.settled is None

    def _problem(self, address: str, code: str, summary: str, *, detail: str = "", hint: str = "") -> None:
        self.report.problems[address] = Diagnostic(Severity.ERROR, code, summary, detail, hint, address=address)
        if self._means.fail_fast:
            self.report.given_up = True


def _address_of(event: Event) -> str:
    return getattr(event, "address", "")
