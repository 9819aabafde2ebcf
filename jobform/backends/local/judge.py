"""What a run's proof directory says about it, in the backend's words. Read-only, a few system calls per run, no process."""

import signal
from collections.abc import Callable
from pathlib import Path

from jobform.backends.local.facts import Facts
from jobform.backends.local.proof import Proof, Value, is_held, read_record
from jobform.model.state import Phase
from jobform.protocols import Actual, Gone

Waiting = Callable[[int], str]
"""Given how many GPUs a run waits for, one line on why it has not started."""


def judge(proof: Proof, facts: Facts, waiting: Waiting) -> Actual | Gone:
    """The present of one run. Raises ValueError for damaged records and OSError for unreadable ones.

    The order of the looks matters: each file is looked at before those that can be written only after it or instead of it.
    """
    if (ended := read_record(proof.exit)) is not None:
        return _ended(ended)
    held = is_held(proof.lock)
    if not held and (ended := read_record(proof.exit)) is not None:  # written just before the lock was freed
        return _ended(ended)
    stopped = read_record(proof.cancel)
    start = read_record(proof.start)
    if start is None:
        return _not_started(proof, held, stopped, waiting)
    started_at = _text(start, "at")
    if held:
        return Actual(Phase.RUNNING, started_at=started_at)
    if start.get("boot") != facts.boot_id():
        return Actual(
            Phase.FAILED, "the machine was restarted while the job ran", class_="infra", native_reason="restarted",
            started_at=started_at,
        )
    if is_alive(start, facts):
        return Actual(
            Phase.RUNNING, "its launcher was killed; how it ends will not be known", native_reason="no launcher",
            started_at=started_at,
        )
    if stopped is not None:
        return Actual(Phase.CANCELLED, "stopped on request; its exit code is not known", started_at=started_at)
    return Actual(
        Phase.FAILED, "its launcher was killed, and the job has ended since; how is not known", class_="lost",
        native_reason="no launcher", started_at=started_at,
    )


def is_alive(start: dict[str, Value], facts: Facts) -> bool:
    """Whether the process of a start record of this boot is that process still."""
    pid = start.get("pid")
    return isinstance(pid, int) and pid > 1 and facts.start_time(pid) == start.get("started")


def _not_started(proof: Proof, held: bool, stopped: dict[str, Value] | None, waiting: Waiting) -> Actual | Gone:
    if stopped is not None:
        return Actual(Phase.CANCELLED, "cancelled before it started", ended_at=_text(stopped, "at"))
    if held:
        gpus = (read_record(proof.run) or {}).get("gpus", 0)
        return Actual(Phase.PENDING, waiting(gpus if isinstance(gpus, int) else 0))
    if not proof.directory.exists():
        return Gone()
    return Actual(
        Phase.FAILED, "it never started: the process that was to start it has ended",
        class_="infra", native_reason="never started",
    )


def _ended(record: dict[str, Value]) -> Actual:
    """What the launcher wrote down."""
    reason, code, detail = record.get("reason"), record.get("code"), _text(record, "detail") or ""
    number = code if isinstance(code, int) else None
    how = "" if number is None else _how(number)
    phase, class_, native = Phase.FAILED, None, how
    if reason == "cancelled":
        phase, detail = Phase.CANCELLED, f"stopped on request ({how})"
    elif reason == "timeout":
        class_, native, detail = "timeout", "timeout", f"it ran longer than its timeout and was stopped ({how})"
    elif reason in ("exec", "infra"):
        class_, native = "user_error" if reason == "exec" else "infra", _text(record, "errno") or str(reason)
    elif number == 0:
        phase, native = Phase.SUCCEEDED, ""
    else:
        class_, detail = "user_error", how
    outputs, warnings = record.get("outputs"), record.get("warnings")
    return Actual(
        phase, detail, class_=class_, native_reason=native, exit=number,
        outputs=outputs if isinstance(outputs, dict) else None,
        started_at=_text(record, "started_at"), ended_at=_text(record, "ended_at"),
        warnings=tuple(str(text) for text in warnings) if isinstance(warnings, list) else (),
    )


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _text(record: dict[str, Value], key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) else None


def run_directory(proof: Proof, project: Path, name: str) -> Path:
    """Where the run's files for people are: as recorded, else where this project would put them. It need not exist."""
    recorded = (read_record(proof.run) or {}).get("dir")
    return Path(recorded) if isinstance(recorded, str) else project / ".jobform" / "runs" / name
