"""The reference service itself: runs in memory whose states move with time. No input or output; time is passed in.

`World` answers in the caller's thread and is safe to call from several. The loopback server puts HTTP around it.
"""

import heapq
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.testing.fields import DEFAULTS, MUTABLE, WRITE_ONLY, Behaviour, behaviour
from jobform.testing.ledger import Entry, Ledger
from jobform.testing.service import Order, ServiceError, Shown, mark_key


@dataclass(slots=True)
class _Run:
    """One run as the service knows it. Times are seconds since the epoch; resumed: its latest start; frozen: its script rules."""

    id: str
    namespace: str
    order: Order
    spec: dict[str, Json]
    does: Behaviour
    queued: float
    frozen: bool = False
    version: int = 1
    phase: Phase = Phase.PENDING
    created: float = 0.0
    started: float | None = None
    resumed: float = 0.0
    stopping: float | None = None
    ended: float | None = None
    class_: str | None = None
    reason: str = ""
    exit: int | None = None
    outputs: Mapping[str, Json] | None = None
    overlay: dict[str, Json] = field(default_factory=dict)

    def next(self) -> float:
        """When its state changes by itself next."""
        if self.ended is not None:
            return self.ended + self.does.ttl
        if self.phase is Phase.RUNNING:
            stop = inf if self.stopping is None else self.stopping + self.does.grace
            return min(self.resumed + self.does.seconds, self.resumed + self.does.timeout, stop)
        if self.stopping is not None:
            return self.stopping
        return inf if self.does.stay_pending or self.does.suspend else self.queued + self.does.start_after

    def fields(self) -> dict[str, Json]:
        """What the service reports of its spec: with what it filled in, without what it never returns."""
        shown = {**DEFAULTS, **{key: value for key, value in self.spec.items() if key not in WRITE_ONLY}, **self.overlay}
        return {key: value for key, value in shown.items() if value is not None}

    def detail(self) -> str:
        """One line for people on why it is not further."""
        if self.phase is Phase.PENDING:
            return "suspended" if self.does.suspend else "waiting for a slot"
        return "stopping" if self.phase is Phase.RUNNING and self.stopping is not None else ""

    def shown(self) -> Shown:
        return Shown(
            self.id, self.order.name, self.order.mark, self.version, self.phase, self.created, self.detail(), self.class_,
            self.reason, self.exit, self.outputs, self.started, self.ended, self.fields(),
        )


class World:
    """All runs of all namespaces.

    now: seconds since the epoch. script: what the first, second, ... run of an address does, instead of what its spec says;
    the last one holds for all that follow.
    """

    def __init__(
        self, now: Callable[[], float], ledger: Ledger | None = None, script: Mapping[str, Sequence[Behaviour]] | None = None,
    ) -> None:
        self._now = now
        self._ledger = ledger
        self._script = script or {}
        self._lock = threading.RLock()
        self._runs: dict[str, _Run] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._marked: dict[str, list[str]] = {}
        self._made: dict[str, int] = {}
        self._due: list[tuple[float, str]] = []
        self._scopes: dict[str, str | None] = {}
        self._count = 0

    # --- what a client may ask: `Service` ---

    def scope(self, namespace: str) -> str:
        uid = self._scopes.get(namespace, f"uid-{namespace}")
        if uid is None:
            raise ServiceError(404, "no_namespace", f"there is no namespace {namespace!r}")
        return uid

    def create(self, namespace: str, order: Order) -> Shown:
        with self._lock:
            self.scope(namespace)
            self._advance()
            taken = self._names.get((namespace, order.name))
            if order.unique and taken is not None:
                if self._runs[taken].order.mark != order.mark:
                    raise ServiceError(409, "name_taken", f"the name {order.name!r} is another run's")
                return self._runs[taken].shown()
            run = self._create(namespace, order)
            self._advance()
            return run.shown()

    def get(self, namespace: str, run: str) -> Shown:
        with self._lock:
            return self._get(namespace, run).shown()

    def runs(self, namespace: str, ids: Collection[str]) -> dict[str, Shown]:
        with self._lock:
            self._advance()
            found = [self._runs[run] for run in ids if run in self._runs]
            return {run.id: run.shown() for run in found if run.namespace == namespace}

    def marked(self, namespace: str, keys: Collection[str]) -> dict[str, list[Shown]]:
        with self._lock:
            self._advance()
            found = {}
            for key in keys:
                runs = [self._runs[run] for run in self._marked.get(key, ())]
                if here := [run.shown() for run in runs if run.namespace == namespace]:
                    found[key] = here
            return found

    def listed(self, namespace: str) -> list[Shown]:
        with self._lock:
            self._advance()
            return [run.shown() for run in self._runs.values() if run.namespace == namespace]

    def update(self, namespace: str, run: str, spec: Mapping[str, Json], version: int) -> Shown:
        with self._lock:
            found = self._get(namespace, run)
            if found.version != version:
                raise ServiceError(412, "changed", f"run {run} has version {found.version}, not {version}")
            shown = found.fields() | {key: found.spec[key] for key in WRITE_ONLY & found.spec.keys()}
            asked = {**DEFAULTS, **spec}
            for name in sorted(asked.keys() | shown.keys()):
                if asked.get(name) != shown.get(name) and not _changeable(found, name):
                    raise ServiceError(422, "immutable", f"the field {name!r} of run {run} cannot change now")
            self._behave(found, _behaviour(spec, service=found.order.service))
            found.spec, found.overlay, found.version = dict(spec), {}, found.version + 1
            self._log("updated", found)
            self._advance()
            return found.shown()

    def cancel(self, namespace: str, run: str, *, only_if_waiting: bool) -> None:
        with self._lock:
            found = self._get(namespace, run)
            if only_if_waiting and found.started is not None and found.ended is None:
                raise ServiceError(409, "started", f"run {run} has started")
            if found.ended is None and found.stopping is None:
                found.stopping = self._now()
                self._log("cancelling", found)
                self._schedule(found)
                self._advance()

    def delete(self, namespace: str, run: str) -> None:
        with self._lock:
            found = self._get(namespace, run)
            if found.ended is None:
                raise ServiceError(409, "live", f"run {run} has not ended")
            self._drop(found, "deleted")

    def page(self, namespace: str, after: str, limit: int) -> tuple[list[Shown], str]:
        """Up to `limit` runs by id, and the id to go on after, empty at the end. A missing namespace has no runs."""
        with self._lock:
            self._advance()
            uid = self._scopes.get(namespace, "")
            here = [run for name, run in self._runs.items() if name > after and run.namespace == namespace and uid is not None]
            return [run.shown() for run in here[:limit]], here[limit - 1].id if len(here) > limit else ""

    # --- what a test may do to it ---

    def drift(self, run: str, fields: Mapping[str, Json]) -> None:
        """Let the service report other values; None makes it report a field no more. Raises KeyError for an unknown run."""
        with self._lock:
            self._advance()
            found = self._runs[run]
            found.overlay |= fields
            found.version += 1

    def end(self, run: str, exit_code: int = 0, fail_class: str | None = None) -> None:
        """End a live run now. Raises KeyError for an unknown run."""
        with self._lock:
            self._advance()
            found = self._runs[run]
            if found.ended is None:
                self._end(found, self._now(), _outcome(exit_code, fail_class), exit_code, fail_class)
                self._schedule(found)

    def vanish(self, run: str) -> None:
        """Lose a run without a trace. Raises KeyError for an unknown one."""
        with self._lock:
            self._advance()
            self._drop(self._runs[run], "vanished")

    def set_scope(self, namespace: str, uid: str | None) -> None:
        """Give a namespace another identity, or take it away (None)."""
        with self._lock:
            self._scopes[namespace] = uid

    def entries(self, namespace: str | None = None) -> list[Entry]:
        """The ledger up to this moment; empty without one."""
        with self._lock:
            self._advance()
        return self._ledger.entries(namespace) if self._ledger else []

    # --- how it works ---

    def _get(self, namespace: str, run: str) -> _Run:
        self._advance()
        found = self._runs.get(run)
        if found is None or found.namespace != namespace:
            raise ServiceError(404, "no_run", f"there is no run {run!r}")
        return found

    def _create(self, namespace: str, order: Order) -> _Run:
        made = self._made.get(order.address, 0)
        script = self._script.get(order.address, ())
        does = script[min(made, len(script) - 1)] if script else _behaviour(order.spec, service=order.service)
        self._count += 1
        self._made[order.address] = made + 1
        name, now = f"run-{self._count:08d}", self._now()
        run = _Run(name, namespace, order, dict(order.spec), does, queued=now, created=now, frozen=bool(script))
        self._runs[run.id] = run
        self._names.setdefault((namespace, order.name), run.id)
        self._marked.setdefault(mark_key(order.mark), []).append(run.id)
        self._log("created", run)
        self._schedule(run)
        return run

    def _behave(self, run: _Run, does: Behaviour) -> None:
        """What it does from now on: a running one that is suspended waits again, one that resumes runs its whole time again."""
        if run.frozen:
            return
        if run.does.suspend and not does.suspend:
            run.queued = self._now()
        run.does = does
        if does.suspend and run.phase is Phase.RUNNING:
            run.phase = Phase.PENDING
            self._log("suspended", run)
        self._schedule(run)

    def _schedule(self, run: _Run) -> None:
        moment = run.next()
        if moment < inf:
            heapq.heappush(self._due, (moment, run.id))

    def _advance(self) -> None:
        """Let everything happen that is due, in the order of its time. A stale entry of the queue is one whose time has moved."""
        now = self._now()
        while self._due and self._due[0][0] <= now:
            moment, name = heapq.heappop(self._due)
            run = self._runs.get(name)
            if run is not None and run.next() == moment:
                self._step(run, moment)
                self._schedule(run)

    def _step(self, run: _Run, moment: float) -> None:
        if run.ended is not None:
            self._drop(run, "expired", moment)
        elif run.phase is Phase.RUNNING:
            self._finish(run, moment)
        elif run.stopping is not None:
            self._end(run, moment, Phase.CANCELLED, None, None)
        else:
            run.phase, run.resumed = Phase.RUNNING, moment
            run.started = moment if run.started is None else run.started
            self._log("started", run, moment)

    def _finish(self, run: _Run, moment: float) -> None:
        """The end of a running one: its own end is looked at first, then the cancel, then the timeout."""
        does = run.does
        if moment == run.resumed + does.seconds:
            outcome = _outcome(does.exit, does.fail_class)
            self._end(run, moment, outcome, does.exit, does.fail_class)
        elif run.stopping is not None and moment == run.stopping + does.grace:
            self._end(run, moment, Phase.CANCELLED, None, None)
        else:
            self._end(run, moment, Phase.FAILED, None, "timeout")

    def _end(self, run: _Run, moment: float, phase: Phase, code: int | None, fail_class: str | None) -> None:
        run.phase, run.ended, run.exit = phase, moment, code
        if phase is Phase.FAILED:
            run.class_ = fail_class or "user_error"
            run.reason = f"Exit{code}" if fail_class is None else fail_class.title().replace("_", "")
        if phase is Phase.SUCCEEDED and run.does.outputs is not None:
            run.outputs = dict(run.does.outputs)
        self._log("ended", run, moment, {"phase": phase.value, "exit": code})

    def _drop(self, run: _Run, kind: str, moment: float | None = None) -> None:
        del self._runs[run.id]
        self._marked[mark_key(run.order.mark)].remove(run.id)
        if self._names.get((run.namespace, run.order.name)) == run.id:
            del self._names[run.namespace, run.order.name]
        self._log(kind, run, moment)

    def _log(self, kind: str, run: _Run, moment: float | None = None, data: Mapping[str, Json] | None = None) -> None:
        if self._ledger is not None:
            at = self._now() if moment is None else moment
            self._ledger.add(Entry(at, kind, run.namespace, run.id, run.order.address, run.order.mark, data or {}))


def _behaviour(spec: Mapping[str, Json], *, service: bool) -> Behaviour:
    try:
        return behaviour(spec, service=service)
    except ValueError as error:
        raise ServiceError(422, "invalid", str(error)) from error


def _outcome(code: int, fail_class: str | None) -> Phase:
    return Phase.FAILED if code != 0 or fail_class else Phase.SUCCEEDED


def _changeable(run: _Run, name: str) -> bool:
    rule = MUTABLE.get(name, "never")
    if rule == "queued":
        return run.started is None and run.ended is None
    if rule == "suspended":
        return run.ended is None and run.phase is Phase.PENDING and (run.does.suspend or run.started is None)
    return rule == "always"
