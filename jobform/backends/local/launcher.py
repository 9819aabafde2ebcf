"""The process that stands beside a job from before its start until its end is written down.

It holds the run's lock from the first moment: it inherits the very open file that the submitting command locked. Everything
durable that it knows goes to the proof directory (`proof.py`); the lock is freed by its end, however that comes.
It needs the standard library only, and nothing that is slow to import.
"""

import json
import os
import select
import signal
import time
from pathlib import Path

from jobform.backends.local.facts import Facts, signal_group, system_facts
from jobform.backends.local.job import Job, NotRun, fork_job
from jobform.backends.local.masks import Blanks
from jobform.backends.local.order import WAKE, Order, Stop
from jobform.backends.local.outputs import read_outputs
from jobform.backends.local.proof import KEPT, Proof, Value, shares, stamp, sync_directory, write_record, write_whole
from jobform.backends.local.slots import Held, Slots

LOOK = 1.0
"""Seconds between looks at the `cancel` file, should the signal that announces it be lost."""
RETRY_PAUSES = (0.1, 1.0, 5.0, 15.0, 60.0)
"""Pauses between attempts to write the outcome down: a full disk is often freed soon."""


class Cancelled(Exception):
    """The wait for a slot is over: the run was cancelled before it started."""


def launch(order: Order, lock: int) -> None:
    """Run one job to its end. lock: the run's locked file. The caller is a session leader and exits after this."""
    launcher = Launcher(order, lock, system_facts())
    try:
        launcher.run()
    except Cancelled:
        pass  # the `cancel` file is the record
    except Exception as error:  # noqa: BLE001 - the record is the only place where anyone will ever read of it
        launcher.abandon()
        if launcher.proof.directory.exists():
            launcher.record("infra", detail=f"the launcher failed: {type(error).__name__}: {error}")


class Launcher:
    """One run."""

    def __init__(self, order: Order, lock: int, facts: Facts) -> None:
        self.order = order
        self._lock = lock
        self.proof = Proof(Path(order.proof))
        self._facts = facts
        self._blanks = Blanks(order.masks)
        self._started_at: str | None = None
        self._waiting = False
        self._job: Job | None = None
        self._wakes, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._wakes, False)
        signal.signal(WAKE, self._woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Wait for a slot, start the job, see it end, write it down."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(self._identity(os.getpid())).encode("ascii"), 0)
        held = self._wait_for_slots()
        out, err = self._open_logs()
        env = self._environment(held)
        job = fork_job(self.order.argv, env, self.order.cwd, out, err)
        if not self._begin(job):
            return
        self._job = job
        try:
            job.go(self.order.argv, env, self.order.cwd)
        except NotRun as error:
            self._job = self._started_at = None
            self.record("exec", errno=error.name, detail=error.detail)
            return
        code, reason, ended_at = self._watch(job)
        self._job = None
        held.give_back()
        self._keep_tail(out, err)
        outputs, warning = read_outputs(Path(self.order.output))
        if outputs is not None:
            Path(self.order.output).unlink(missing_ok=True)
        self.record(
            reason, code=code, ended_at=ended_at, outputs=self._blanks.value(outputs), warnings=[warning] if warning else [],
        )

    def record(
        self, reason: str, *, code: int | None = None, errno: str = "", detail: str = "", ended_at: str = "",
        outputs: Value = None, warnings: list[Value] | None = None,
    ) -> None:
        """Write the outcome down, durably; a full disk is given time."""
        record: dict[str, Value] = {
            "mark": self.order.mark, "reason": reason, "code": code, "errno": errno, "detail": detail,
            "started_at": self._started_at, "ended_at": ended_at or stamp(), "outputs": outputs, "warnings": warnings or [],
        }
        for pause in RETRY_PAUSES:
            try:
                write_record(self.proof.exit, record, durable=True)
            except FileNotFoundError:
                return  # the proof directory was deleted: there is nowhere to write to, and nobody who would read
            except OSError:
                time.sleep(pause)
            else:
                return

    def abandon(self) -> None:
        """After a failure of our own: nothing may go on running under a record that says it ended."""
        if self._job is not None:
            signal_group(self._job.pid, signal.SIGKILL)
            os.waitpid(self._job.pid, 0)

    def _identity(self, pid: int) -> dict[str, Value]:
        return {"pid": pid, "started": self._facts.start_time(pid), "boot": self._facts.boot_id()}

    def _woken(self, *_: object) -> None:
        if self._waiting and self.proof.cancel.exists():
            raise Cancelled

    def _wait_for_slots(self) -> Held:
        slots = Slots(Path(self.order.slots), self.order.max_parallel, self.order.gpus)
        self._waiting = True
        try:
            self._woken()  # the cancel may have come before anyone could wake us
            return slots.acquire(self.order.gpu_count)
        finally:
            self._waiting = False

    def _open_logs(self) -> tuple[int, int]:
        directory = Path(self.order.run_dir)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.open(directory / "stdout.log", flags, 0o600), os.open(directory / "stderr.log", flags, 0o600)

    def _environment(self, held: Held) -> dict[str, str]:
        if held.gpus:
            return self.order.env | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, held.gpus))}
        return {"CUDA_VISIBLE_DEVICES": "", **self.order.env} if self.order.hide_gpus else self.order.env

    def _begin(self, job: Job) -> bool:
        """Make it durable that this process is the job, unless a cancel was first; False then, and the job never ran."""
        try:
            with self.proof.gate():
                if not self.proof.cancel.exists():
                    identity = self._identity(job.pid)
                    self._started_at = stamp()
                    record = {"mark": self.order.mark, "at": self._started_at, **identity}
                    write_record(self.proof.start, record, durable=True)
                    sync_directory(self.proof.directory.parent)
                    return True
        except FileNotFoundError:
            pass  # deleted while it waited
        except BaseException:
            self._started_at = None
            job.give_up()
            raise
        job.give_up()
        return False

    def _watch(self, job: Job) -> tuple[int, str, str]:
        """The exit code, why we stopped it ("" if we did not), and when it ended."""
        begun = time.monotonic()
        reason, kill_at = "", float("inf")
        stop_at = float("inf") if self.order.timeout is None else begun + self.order.timeout
        while (code := job.ended()) is None:
            now = time.monotonic()
            if not reason and (now >= stop_at or self.proof.cancel.exists()):
                reason = "timeout" if now >= stop_at else "cancelled"
                signal_group(job.pid, signal.SIGTERM)
                kill_at = now + self.order.grace
            elif reason and now >= kill_at:
                signal_group(job.pid, signal.SIGKILL)
                kill_at = float("inf")
            select.select([self._wakes], [], [], max(0.0, min(LOOK, (kill_at if reason else stop_at) - now)))
            self._drain()
        ended_at = stamp()
        self._end_group(job.pid, kill_at if reason else time.monotonic() + self.order.grace)
        return code, reason, ended_at

    def _drain(self) -> None:
        try:
            while os.read(self._wakes, 512):
                pass
        except BlockingIOError:
            pass

    def _end_group(self, group: int, kill_at: float) -> None:
        """A run is over when nothing of its process group is left: what is left was told to end, and is killed at `kill_at`."""
        pause = 0.001
        while self._facts.group_lives(group) and time.monotonic() < kill_at:
            time.sleep(pause)
            pause = min(pause * 2, 0.1)
        while self._facts.group_lives(group):
            signal_group(group, signal.SIGKILL)
            time.sleep(0.01)

    def _keep_tail(self, out: int, err: int) -> None:
        """The end of the output: stdout, then stderr."""
        output, errors = shares(os.fstat(out).st_size, os.fstat(err).st_size, KEPT)
        tail = self._last(out, output) + self._last(err, errors)
        if tail:
            try:
                write_whole(self.proof.tail, tail, durable=True)
            except OSError:
                return  # a full disk: the outcome matters more, and the log files are still in the run directory

    def _last(self, fd: int, size: int) -> bytes:
        end = os.fstat(fd).st_size
        begin = max(0, end - size)
        first = max(0, begin - self._blanks.longest)
        return self._blanks.blank(os.pread(fd, end - first, first), begin - first)


def stop(order: Stop) -> None:
    """End a job whose launcher is dead: TERM, and KILL after the grace. Quiet when that job is not there any more."""
    facts = system_facts()
    if facts.boot_id() != order.boot or facts.start_time(order.pid) != order.started:
        return
    signal_group(order.pid, signal.SIGTERM)
    kill_at = time.monotonic() + order.grace
    while time.monotonic() < kill_at:
        leader = facts.start_time(order.pid)
        if leader != order.started and (leader is not None or not facts.group_lives(order.pid)):
            return  # over, or the number belongs to someone else now
        time.sleep(0.05)
    if facts.start_time(order.pid) in (order.started, None):
        signal_group(order.pid, signal.SIGKILL)
