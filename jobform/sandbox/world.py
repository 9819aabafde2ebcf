"""The jobs of one sandboxed service: made, moved by time, stopped, removed. What they are called on the wire is the service's."""

import heapq
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from jobform.model.values import Json
from jobform.sandbox.ledger import Ledger
from jobform.sandbox.process import Command, Process


class State(StrEnum):
    """Where a job is, in words of this package."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})

HINTS = ("SANDBOX_QUEUED", "SANDBOX_SECONDS", "SANDBOX_EXIT", "SANDBOX_LOG")
"""Variables by which a job says how it goes in the sandbox, where it has variables; see `Course.of`."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a job goes. queued, running: seconds (inf: until it is stopped); exit: 0 succeeds; log: what it prints."""

    queued: float = 0.5
    running: float = 2.0
    exit: int = 0
    log: str = "hello from the sandbox\n"

    @classmethod
    def of(cls, hints: Mapping[str, object]) -> "Course":
        """From SANDBOX_QUEUED and SANDBOX_SECONDS (`inf`: for ever), SANDBOX_EXIT, SANDBOX_LOG; what is no number is left out."""
        usual = cls()
        queued = _seconds(hints.get("SANDBOX_QUEUED"), usual.queued)
        running = _seconds(hints.get("SANDBOX_SECONDS"), usual.running)
        said = str(hints.get("SANDBOX_EXIT")).strip()
        exit_code = int(said) if re.fullmatch(r"-?[0-9]{1,9}", said) else usual.exit
        return cls(queued, running, exit_code, str(hints.get("SANDBOX_LOG", usual.log)))


def _seconds(value: object, otherwise: float) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        return otherwise
    return otherwise if math.isnan(seconds) else max(0.0, seconds)


@dataclass(slots=True)
class Job:
    """One job of a service. body: as the service keeps it; owner: as `Ledger` says. Times are seconds since the epoch.

    seen: the times of its states. command: what `--jobs-run local` runs, None where the job has none.
    """

    id: str
    owner: str
    body: dict[str, Json]
    course: Course
    created: float
    command: Command | None = None
    state: State = State.QUEUED
    started: float | None = None
    ended: float | None = None
    updated: float = 0.0
    exit: int | None = None
    reason: str = ""
    output: list[tuple[float, str]] = field(default_factory=list)
    process: Process | None = None
    extra: dict[str, Json] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.state in OVER


class World:
    """Every job of one service. All of it is used while `held`; `speed` divides every duration.

    changed: told, while held, of each job that has printed something or has ended: a service that keeps output and results on
    another server puts them there.
    """

    def __init__(
        self, service: str, ledger: Ledger, *, speed: float = 1.0, run_locally: bool = False,
        now: Callable[[], float] = time.time, changed: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self.service = service
        self.ledger = ledger
        self.now = now
        self.changed = changed
        self.jobs: dict[str, Job] = {}
        self.stopping = 0.2
        """Seconds from an asked stop to its end."""
        self._speed = speed
        self._run_locally = run_locally
        self._lock = threading.RLock()
        self._due: list[tuple[float, int, str, State]] = []
        self._stopped = False
        self._count = 0

    @property
    def runs_commands(self) -> bool:
        """Whether a job's command is run on this machine, where it has one."""
        return self._run_locally

    @contextmanager
    def held(self) -> Iterator[None]:
        """Alone with the jobs, brought up to this moment."""
        with self._lock:
            self.advance()
            yield

    def add(self, run_id: str, owner: str, body: dict[str, Json], course: Course, command: Command | None = None) -> Job:
        """A new job, queued from now on."""
        job = Job(run_id, owner, body, course, self.now(), command if self._run_locally else None)
        self.jobs[run_id] = job
        self._enter(job, State.QUEUED, job.created)
        self._later(job, State.RUNNING, job.created + course.queued / self._speed)
        return job

    def cancel(self, job: Job) -> None:
        """Ask for the stop of a job that is not over: one that waits ends at once."""
        if job.over or job.state is State.CANCELLING:
            return
        now = self.now()
        if job.state in (State.QUEUED, State.SUSPENDED):
            self._end(job, State.CANCELLED, now)
            return
        self._enter(job, State.CANCELLING, now)
        if job.process:
            job.process.stop()
        self._later(job, State.CANCELLED, now + self.stopping / self._speed)

    def suspend(self, job: Job) -> None:
        """It waits for `resume`, stopped if it ran; quiet unless it waits or runs."""
        if job.state not in (State.QUEUED, State.RUNNING):
            return
        if job.process:
            job.process.kill()
            job.process = None
        self._due = [due for due in self._due if due[2] != job.id]
        heapq.heapify(self._due)
        self._enter(job, State.SUSPENDED, self.now())

    def resume(self, job: Job) -> None:
        """It is queued again, from its start; quiet unless it was suspended."""
        if job.state is State.SUSPENDED:
            self._enter(job, State.QUEUED, self.now())
            self._later(job, State.RUNNING, self.now() + job.course.queued / self._speed)

    def remove(self, job: Job) -> None:
        """It is gone, as after a deletion; one that runs is stopped."""
        if job.process:
            job.process.kill()
        self.jobs.pop(job.id, None)
        self.ledger.write(event="state", service=self.service, id=job.id, owner=job.owner, state="removed")

    def end(self, job: Job, exit_code: int = 0, reason: str = "") -> None:
        """End a job now, whatever its course says."""
        if not job.over:
            job.exit, job.reason = exit_code, reason
            self._end(job, State.FAILED if exit_code else State.SUCCEEDED, self.now())

    def after(self, seconds: float) -> float:
        """The moment when so much of the world's own time has passed from now."""
        return self.now() + seconds / self._speed

    def newest_first(self) -> list[Job]:
        return sorted(self.jobs.values(), key=lambda job: (job.created, job.id), reverse=True)

    def advance(self) -> None:
        """Every change of state whose time has come, with the time at which it came."""
        now = self.now()
        while not self._stopped and self._due and self._due[0][0] <= now:
            due, _, run, state = heapq.heappop(self._due)
            job = self.jobs.get(run)
            if job is None or job.over:
                continue
            if state is State.CANCELLED:
                if job.process and job.process.exit is None:
                    self._later(job, state, now + 0.05)
                else:
                    self._end(job, state, due)
            elif job.state is State.QUEUED and state is State.RUNNING:
                self._begin(job, due)
            elif job.state is State.RUNNING and state is State.SUCCEEDED:
                self._finish(job, due, now)

    def stop(self) -> None:
        """End every process; from then on time stands still, whoever still asks."""
        with self._lock:
            self._stopped = True
            for job in self.jobs.values():
                if job.process:
                    job.process.kill()

    def _begin(self, job: Job, at: float) -> None:
        job.started = at
        self._enter(job, State.RUNNING, at)
        if job.command is not None:
            job.process = Process(job.command)
            self._later(job, State.SUCCEEDED, self.now() + 0.02)
            return
        job.output.append((at, job.course.log))
        self._later(job, State.SUCCEEDED, at + job.course.running / self._speed)
        self.changed(job)

    def _finish(self, job: Job, at: float, now: float) -> None:
        if job.process is None:
            job.exit = job.course.exit
        else:
            printed = [(now, text) for text in job.process.read()]
            job.output += printed
            job.exit = job.process.exit
            if job.exit is None:
                self._later(job, State.SUCCEEDED, now + 0.02)
                if printed:
                    self.changed(job)
                return
        self._end(job, State.FAILED if job.exit else State.SUCCEEDED, at)

    def _end(self, job: Job, state: State, at: float) -> None:
        job.ended = at
        if job.process:
            job.output += [(at, text) for text in job.process.read()]
        self._enter(job, state, at)
        self.changed(job)

    def _enter(self, job: Job, state: State, at: float) -> None:
        job.state, job.updated = state, at
        stamp = datetime.fromtimestamp(at, UTC).isoformat()
        self.ledger.write(at=stamp, event="state", service=self.service, id=job.id, owner=job.owner, state=state.value)

    def _later(self, job: Job, state: State, due: float) -> None:
        if math.isfinite(due):
            self._count += 1
            heapq.heappush(self._due, (due, self._count, job.id, state))
