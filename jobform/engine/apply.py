"""The loop that calls backends: a step looks at what moved, starts what can start, and ends when nothing more can be done now.

A step is a generator of lists of events. Whoever drives it makes each list durable, folds it into the state, and only then asks
for the next: a call is made only after its `Begun` came back. Three collections are the scheduler: blocked, acting, waiting.
One thread decides; the pool only makes calls; nothing here sleeps.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import datetime
from functools import partial

from jobform.engine.blocked import Blocked
from jobform.engine.body import InvalidOutput, MissingSecret
from jobform.engine.calls import Answer, Done, Failed, keep_logs, make, pause_after
from jobform.engine.intents import intent_for, intent_of
from jobform.engine.means import Means, Stop
from jobform.engine.needs import Verdict, judge_record
from jobform.engine.refresh import Sights, abandon, kept_runs, observe, recover
from jobform.engine.report import Report, left_over
from jobform.engine.retry import retry_due
from jobform.engine.todo import Call, Note, Wait, World, todo
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import JobformError
from jobform.model.event import Begun, Ended, Event, Held, Observed, Released, Removed, Settled, SpecStored
from jobform.model.state import Attempt, Desired, Intent, Op, Phase, State
from jobform.protocols import Ref, timestamp


class Scheduler:
    """Drives every accepted change of a state, step by step, for the length of one command."""

    def __init__(self, state: State, means: Means, stop: Stop) -> None:
        self.state = state
        self.report = Report()
        self._means, self._stop = means, stop
        self._acting: dict[Future[Answer], tuple[str, Call, Intent]] = {}
        self._waiting: set[str] = set()
        self._blocked = Blocked()
        self._dirty: OrderedDict[str, None] = OrderedDict()
        self._tries: dict[str, tuple[int, datetime]] = {}
        self._submitted: dict[str, int] = defaultdict(int)
        self._cleaned: set[tuple[Op, str, int]] = set()
        self.rebuild(state)

    def rebuild(self, state: State) -> None:
        """Look at the whole state again: after somebody else changed it."""
        self.state = state
        self._waiting.clear()
        self._blocked.clear()
        self._submitted.clear()
        for address, record in state.jobs.items():
            if record.last and not record.last.ended:
                self._submitted[record.last.backend] += 1
            if not self._means.only(address):
                continue
            unsettled = record.accepted is not None and record.accepted.settled is None
            live = record.last is not None and not record.last.ended
            held = any(attempt.held and attempt.ended and not attempt.removed for attempt in record.attempts)
            retry = bool(record.desired and record.attempts and retry_due(record.desired.policy, record.attempts))
            if unsettled or live or retry or held or record.intent is not None:
                self._dirty[address] = None
                if live:
                    self._waiting.add(address)

    @property
    def pending(self) -> bool:
        """Whether anything that this command may touch has not ended or may still start by itself."""
        return bool(self._waiting or self._dirty) or self._blocked.hoped(self._waiting)

    @property
    def live(self) -> int:
        """How many attempts have not ended."""
        return len(self._waiting)

    @property
    def unstarted(self) -> int:
        """How many accepted attempts wait for a need, a time or a place."""
        return self._blocked.unstarted

    @property
    def startable(self) -> bool:
        """Whether a call is still to be made, if only after a pause: `--detach` waits for that alone."""
        return bool(self._dirty) or self._blocked.startable

    def step(self) -> Iterator[list[Event]]:
        """One round under the lock. Yields what to make durable; ends with no call in flight."""
        at = timestamp(self._means.clock.now())
        open_intents = [address for address in self._dirty if address in self.state.jobs and self.state.jobs[address].intent]
        events = recover(self.state, self._means.places, open_intents, at)
        events, left = abandon(self.state, self._means.places, events, at)
        self._warn(left)
        if events:
            yield events
            self._folded(events)
        self._note_unknown(open_intents)
        self._means.effect("engine.observe.before", "")
        waiting = sorted(self._waiting & self.state.jobs.keys())
        events, sights = observe(self.state, self._means.places, waiting, at, patient=True, collect=True)
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
        later: list[str] = []
        while self._dirty and len(self._acting) + len(starts) < self._means.parallelism and not self._closed():
            address, _ = self._dirty.popitem(last=False)
            if address in busy:
                later.append(address)
                continue
            now = self._means.clock.now()
            world = World(now, timestamp(now), self._room, self._completes, self._named)
            step = self._paced(address, now) or todo(self.state, address, world)
            self._blocked.pop(address)
            if isinstance(step, Wait):
                self._block(address, step)
            elif isinstance(step, Note):
                batch += step.events
            elif isinstance(step, Call):
                self._prepare(address, step, world.at, batch, starts)
        for address in reversed(later):
            self._dirty[address] = None
            self._dirty.move_to_end(address, last=False)
        return starts

    def _prepare(
        self, address: str, call: Call, at: str, batch: list[Event], starts: list[tuple[str, Call, Intent, object]]
    ) -> None:
        record = self.state.jobs[address]
        if (call.op, address, call.attempt) in self._cleaned:
            return
        try:
            intent, body, spec = intent_for(self.state, address, call, at, self._means)
            self._means.places.backend(intent.backend)
        except MissingSecret as missing:
            self.report.secrets[address] = missing.names
            self._problem(
                address,
                "missing_secret",
                f"the secret {', '.join(missing.names)} is not set",
                hint="set the variable, then run again",
            )
            return
        except InvalidOutput as invalid:
            self._problem(
                address, "invalid_output", str(invalid), hint="run the job that gives the output again, or change the expression"
            )
            if record.hold is None or record.hold.detail != str(invalid):
                batch.append(Held(address, at, "invalid_output", str(invalid)))
            return
        except JobformError as error:  # the place cannot be reached: others go on
            for found in error.diagnostics[:1]:
                self._problem(address, found.code, found.summary, detail=found.detail, hint=found.hint)
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
        kept = kept_runs(self.state, address) if call.op is Op.SUBMIT else ()
        future = self._means.pool.submit(
            make, backend, address, intent, ref, body, self._means.effect, only_if_waiting=call.only_if_waiting,  # type: ignore[arg-type]  # Body or None
            keep=partial(self._means.keep, address, call.attempt), kept=kept,
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
            self._look_at_crowd(intent.backend)
        if isinstance(answer, Failed):
            return self._call_failed(address, call, answer, at)
        del self._dirty[address]
        self._not_known(address, call.attempt, answer.reason)
        return [Held(address, at, "unknown_submission", answer.reason)]

    def _note_unknown(self, addresses: Iterable[str]) -> None:
        """What an earlier command left open, and no look could settle: this command has not done it either."""
        for address in addresses:
            record = self.state.jobs.get(address)
            if record and record.intent and record.hold and record.hold.reason == "unknown_submission":
                self._not_known(address, record.intent.attempt, record.hold.detail)

    def _not_known(self, address: str, attempt: int, why: str) -> None:
        self._problem(
            address, "unknown_submission", f"whether attempt {attempt} was submitted is not known", detail=why,
            hint=f"run again in a while, or: jobform state resolve '{address}' --found ID | --not-submitted",
        )

    def _call_failed(self, address: str, call: Call, answer: Failed, at: str) -> list[Event]:
        over = Ended(address, call.op, call.attempt, at, ok=False, error=answer.summary)
        if answer.started:  # what is seen of it next decides: a started run needs an explicit yes
            del self._dirty[address]
            self._block(address, Wait("end"))
            return [over]
        if answer.gone:
            attempt = next(a for a in self.state.jobs[address].attempts if a.n == call.attempt)
            nothing_left = intent_of(attempt, Op.DELETE, attempt.body_hash, at, attempt.run)
            return [over, Begun(address, nothing_left), Ended(address, Op.DELETE, call.attempt, at, ok=True)]
        count = self._tries.get(address, (0, None))[0] + 1
        pause = pause_after(answer, count)
        if pause is not None:
            self._tries[address] = (count, self._means.clock.now() + pause)
            return [over]
        if call.op is Op.RELEASE or (call.op is Op.DELETE and not self._accepted(address)):
            self._cleaned.add((call.op, address, call.attempt))
            self.report.warnings.append(left_over(address, call.op, call.attempt, answer.summary, answer.detail))
            return [over]
        del self._dirty[address]
        self._problem(address, f"{call.op}_failed", f"the {call.op} call failed: {answer.summary}", detail=answer.detail)
        return [Held(address, at, "unknown_submission", answer.detail)] if answer.untidy else [over]

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
                if isinstance(event, Removed) and address in self._waiting:  # forgotten while it runs: its end is nobody's here
                    self._waiting.discard(address)
                    self._submitted[self.state.tombstones[address].backend] -= 1
                self._look(address)
                self._look_at_dependents(address)

    def _moved(self, address: str) -> None:
        last = self.state.jobs[address].last
        if last and last.ended:
            self._waiting.discard(address)
            self._submitted[last.backend] -= 1
            if last.phase != "succeeded" and self._means.fail_fast and not self._retry(address):
                self.report.given_up = True
            self._look_at_crowd(last.backend)
        self._look(address)
        self._look_at_dependents(address)

    def _look(self, address: str) -> None:
        self._blocked.pop(address)
        if address in self.state.jobs and self._means.only(address):
            self._dirty[address] = None

    def _look_at_dependents(self, address: str) -> None:
        """A dependent is looked at when its last need is met, or one no longer can be: not each time that one of many moves."""
        record = self.state.jobs.get(address)
        for dependent, whens in self._blocked.dependents(address).items():
            verdicts = {judge_record(address, record, when, self._completes)[0] for when in whens}
            if verdicts <= {Verdict.MET}:
                if self._blocked.met(dependent, address):
                    self._look(dependent)
            elif Verdict.WAIT not in verdicts or len(verdicts - {Verdict.MET}) > 1:
                self._look(dependent)

    def _look_at_crowd(self, backend: str) -> None:
        """A place is free: it goes to whoever waited longest."""
        first = self._blocked.first_for(backend)
        if first is not None:
            self._look(first)

    def _wake(self) -> None:
        for address in self._blocked.due(self._means.clock.now()):
            self._look(address)
        for backend in self._blocked.crowded:
            if self._room(backend):
                self._look_at_crowd(backend)

    def _block(self, address: str, wait: Wait) -> None:
        desired = self.state.jobs[address].desired
        self._blocked.put(address, wait, desired.policy.needs if desired else (), desired.backend if desired else "")

    def _paced(self, address: str, now: datetime) -> Wait | None:
        """A call that failed in a way that may pass is made again only after its delay."""
        _, until = self._tries.get(address, (0, None))
        return Wait("pace", until=until) if until is not None and until > now else None

    def _note(self, sights: Sights) -> None:
        for address in sights.foreign:
            self._waiting.discard(address)
            self._dirty.pop(address, None)
            if self._accepted(address):
                self._problem(address, "other_machine", "its run lives on another machine, which alone can see it")
        for address, error in sights.unread.items():
            if not error.retryable:
                self._waiting.discard(address)
                self._problem(address, "read_failed", f"its present cannot be read: {error.summary}", detail=error.detail)
        self._warn(sights.warnings)
        self.report.watched |= self._waiting

    def _warn(self, warnings: Iterable[tuple[str, str]]) -> None:
        for address, warning in warnings:
            self.report.warnings.append(Diagnostic(Severity.WARNING, "backend_warning", warning, address=address))

    def _keep_logs(self, events: Iterable[Event]) -> None:
        ended = [
            (event.address, event.attempt) for event in events
            if isinstance(event, Observed) and event.ended_at is not None
        ]
        keep_logs(self._means.pool, self._means.keep, ended)

    def _closed(self) -> bool:
        return self._stop.requested or self.report.given_up

    def _room(self, backend: str) -> bool:
        if not self._means.places.configured(backend):
            return True  # the attempt to begin says what is wrong
        limit = self._means.places.type(backend).max_submitted
        return limit is None or self._submitted[backend] < limit

    def _completes(self, attempt: Attempt) -> bool:
        return self._means.places.completes(attempt, self.state.specs)

    def _named(self, desired: Desired) -> str | None:
        return self._means.schema(desired.type).given_name(self.state.spec(desired.spec))

    def _retry(self, address: str) -> bool:
        record = self.state.jobs[address]
        return bool(record.desired and retry_due(record.desired.policy, record.attempts))

    def _reached(self, address: str) -> bool:
        """Whether this is a run that does not end by itself and is where it should be: running, and nothing waits for its end."""
        record = self.state.jobs.get(address)
        last = record.last if record else None
        if last is None or last.phase is not Phase.RUNNING or last.asked_stop or self._accepted(address):
            return False
        return not self._completes(last)

    def _accepted(self, address: str) -> bool:
        accepted = self.state.jobs[address].accepted
        return accepted is not None and accepted.settled is None

    def _problem(self, address: str, code: str, summary: str, *, detail: str = "", hint: str = "") -> None:
        self.report.problems[address] = Diagnostic(Severity.ERROR, code, summary, detail, hint, address=address)
        if self._means.fail_fast:
            self.report.given_up = True


def _address_of(event: Event) -> str:
    return getattr(event, "address", "")
