"""What commands show besides plans and findings: the present, the past, outputs, records, locks."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from jobform.model.address import address_key
from jobform.model.state import Attempt, Phase, Record, Run, State, Tombstone
from jobform.model.values import Json
from jobform.protocols import LockInfo
from jobform.views.escape import terminal
from jobform.views.fields import inline, value_lines
from jobform.views.screen import Paint
from jobform.views.table import table
from jobform.views.words import between, count, duration

PHASE_STYLES: Mapping[Phase, str | None] = {
    Phase.PENDING: None, Phase.RUNNING: "cyan", Phase.SUCCEEDED: "green", Phase.FAILED: "red", Phase.CANCELLED: "yellow",
    Phase.UNKNOWN: "magenta",
}


def status_text(state: State, now: datetime, paint: Paint) -> str:
    """One row per address, holds and open calls in its last column, then how many there are of each phase."""
    if not state.jobs:
        return "The state knows no jobs.\n"
    rows, styles, phases = [], [], []
    for address in sorted(state.jobs, key=address_key):
        record = state.jobs[address]
        phase, style = _phase(record)
        phases.append(phase)
        rows.append([address, record.backend, phase, *_numbers(record.last, now), _detail(record, now)])
        styles.append(style)
    counts = ", ".join(f"{phases.count(phase):,} {phase}" for phase in dict.fromkeys(phases))
    headers = ["ADDRESS", "BACKEND", "PHASE", "ATTEMPT", "AGE", "DURATION", "EXIT", "DETAIL"]
    return f"{table(headers, rows, paint, styles)}\n{count(len(rows), 'job')}: {counts}.\n"


def history_text(address: str, attempts: Iterable[Attempt], now: datetime, paint: Paint) -> str:
    """One row per attempt."""
    listed = sorted(attempts, key=lambda attempt: attempt.n)
    if not listed:
        return f"{terminal(address)} has no attempts.\n"
    rows = [
        [
            str(a.n), a.backend, a.phase, second(a.submitted_at or a.begun_at), _duration(a, now), _exit(a), a.class_ or "-",
            a.name, a.detail,
        ]
        for a in listed
    ]
    headers = ["ATTEMPT", "BACKEND", "PHASE", "SUBMITTED", "DURATION", "EXIT", "CLASS", "NAME", "DETAIL"]
    return table(headers, rows, paint, [PHASE_STYLES[a.phase] for a in listed])


def runs_text(runs: Iterable[Run], paint: Paint) -> str:
    """One row per run."""
    rows = [
        [
            run.id, run.command, second(run.at), run.who, run.commit[:12] or "-", f"{len(run.changes):,}",
            run.outcome or "unfinished", "-" if run.exit is None else str(run.exit), run.digest[:12] or "-",
        ]
        for run in runs
    ]
    if not rows:
        return "Nothing has been applied yet.\n"
    return table(["RUN", "COMMAND", "AT", "WHO", "COMMIT", "CHANGES", "OUTCOME", "EXIT", "DIGEST"], rows, paint)


def outputs_text(outputs: Mapping[str, Json]) -> str:
    """`key = value`, values as JSON."""
    if not outputs:
        return "No outputs.\n"
    return "".join(f"{terminal(key)} = {inline(value)}\n" for key, value in outputs.items())


def state_list_text(state: State) -> str:
    """One address per line, tombstones that may still be alive after them."""
    lines = [terminal(address) for address in sorted(state.jobs, key=address_key)]
    orphans = [address for address, tombstone in state.tombstones.items() if tombstone.live]
    lines += [f"{terminal(address)} (removed; an attempt may still be running)" for address in sorted(orphans, key=address_key)]
    return "".join(f"{line}\n" for line in lines) or "The state knows no jobs.\n"


def record_text(state: State, address: str, paint: Paint, width: int) -> str:
    """A record from its desire down to its attempts; of a removed address what its tombstone keeps."""
    record = state.jobs.get(address)
    if record is None:
        return _tombstone_text(address, state.tombstones[address], paint)
    lines = [paint(terminal(address), "bold"), f"  backend: {terminal(record.backend)}"]
    if record.scope:
        lines.append(f"  scope: {terminal(record.scope)}")
    if record.hold:
        lines.append(f"  held: {_because(record.hold.reason, record.hold.detail)}, since {second(record.hold.at)}")
    if record.intent:
        lines.append(f"  open call: {record.intent.op} of attempt {record.intent.attempt} ({terminal(record.intent.name)})")
    if record.accepted:
        accepted = record.accepted
        what = terminal(f"{accepted.action} ({accepted.reason})")
        lines.append(f"  accepted: {what} at {second(accepted.at)}: {terminal(accepted.settled or 'open')}")
    if record.desired:
        lines.append(f"  desired: generation {record.desired.generation}, type {terminal(record.desired.type)}")
        for key, value in state.spec(record.desired.spec).items():
            lines += [f"    {line[2:]}" for line in value_lines(f"spec.{key}", value, _unpainted, width - 4)]
    text = "\n".join(lines) + "\n"
    return text + "".join(_attempt_text(attempt, paint) for attempt in record.attempts)


def lock_text(info: LockInfo | None) -> str:
    """Who holds the lock, for people who wait for it."""
    if info is None:
        return "The state is not locked.\n"
    url = f"  run:     {terminal(info.run_url)}\n" if info.run_url else ""
    return (
        f"The state is locked.\n  id:      {terminal(info.id)}\n  who:     {terminal(info.who)} on {terminal(info.host)}, "
        f"process {info.pid}\n  command: {terminal(info.command)}\n  since:   {terminal(info.at)}\n{url}"
    )


def _phase(record: Record) -> tuple[str, str | None]:
    if record.hold:
        return "held", "magenta"
    if record.accepted and record.accepted.settled is None and (not record.last or record.last.n < record.accepted.attempt):
        return "accepted", None
    if record.last is None:
        settled = record.accepted.settled if record.accepted else None
        return ("-" if settled in (None, "done") else settled if settled in ("skipped", "cancelled") else "not started"), None
    return record.last.phase.value, PHASE_STYLES[record.last.phase]


def _numbers(attempt: Attempt | None, now: datetime) -> tuple[str, str, str, str]:
    if attempt is None:
        return "-", "-", "-", "-"
    age = between(attempt.submitted_at or attempt.begun_at, now)
    return str(attempt.n), "-" if age is None else duration(age), _duration(attempt, now), _exit(attempt)


def _duration(attempt: Attempt, now: datetime) -> str:
    """How long it ran, or has been running; `-` if it never started."""
    seconds = between(attempt.started_at, attempt.ended_at or (None if attempt.ended else now))
    return "-" if seconds is None else duration(seconds)


def _exit(attempt: Attempt) -> str:
    return "-" if attempt.exit is None else str(attempt.exit)


def _detail(record: Record, now: datetime) -> str:
    if record.intent:
        since = between(record.intent.at, now)
        ago = f", begun {duration(since)} ago" if since is not None else ""
        return f"open {record.intent.op} of attempt {record.intent.attempt}{ago}"
    if record.hold:
        return _because(record.hold.reason, record.hold.detail, escaped=False)
    if record.accepted and record.accepted.settled is None and (not record.last or record.last.n < record.accepted.attempt):
        return f"{record.accepted.action} as attempt {record.accepted.attempt}: {record.accepted.reason}"
    if record.last is None:
        return _never_started(record)
    parts = [part for part in (record.last.class_, record.last.detail) if part]
    return ": ".join(parts)


_NEVER_STARTED = {
    "skipped": "the failure that it waits for did not happen", "cancelled": "what was accepted of it was cancelled",
    "dependency_failed": "a job that it needs ended otherwise than required",
}


def _never_started(record: Record) -> str:
    """Why what was accepted of a job without attempts was not done."""
    settled = record.accepted.settled if record.accepted else None
    return _NEVER_STARTED.get(settled, settled.replace("_", " ")) if settled and settled != "done" else ""


def _because(reason: str, detail: str, *, escaped: bool = True) -> str:
    text = f"{reason}: {detail}" if detail else reason
    return terminal(text) if escaped else text


def _attempt_text(attempt: Attempt, paint: Paint) -> str:
    style = PHASE_STYLES[attempt.phase]
    phase = paint(attempt.phase.value, style) if style else attempt.phase.value
    lines = [f"  attempt {attempt.n}: {phase}" + (f" ({terminal(attempt.class_)})" if attempt.class_ else "")]
    facts = {
        "name": attempt.name, "ref": json.dumps(attempt.ref, ensure_ascii=False) if attempt.ref is not None else "",
        "begun": attempt.begun_at, "submitted": attempt.submitted_at,
        "started": attempt.started_at or "", "ended": attempt.ended_at or "",
        "exit": "" if attempt.exit is None else str(attempt.exit), "detail": attempt.detail, "reason": attempt.native_reason,
        "outputs": json.dumps(attempt.outputs, ensure_ascii=False) if attempt.outputs is not None else "",
        "not compared when it was imported": ", ".join(attempt.asserted),
    }
    lines += [f"    {key}: {terminal(value)}" for key, value in facts.items() if value]
    return "\n".join(lines) + "\n"


def _tombstone_text(address: str, tombstone: Tombstone, paint: Paint) -> str:
    alive = "an attempt of it is not known to have ended" if tombstone.live else "nothing of it is running"
    head = (
        f"{paint(terminal(address), 'bold')}\n  {terminal(tombstone.how)} at {second(tombstone.at)}; {alive}\n"
        f"  last attempt: {tombstone.last_attempt}\n"
    )
    return head + "".join(_attempt_text(attempt, paint) for attempt in tombstone.attempts)


def second(moment: str) -> str:
    """A recorded time without its microseconds."""
    head, dot, _ = moment.partition(".")
    return terminal(f"{head}Z" if dot else moment)


def _unpainted(text: str, style: str) -> str:
    del style
    return text
