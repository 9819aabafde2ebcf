"""Events of a running apply as lines for people. It remembers what it needs to say each thing once and in full."""

from jobform.model.event import (
    Begun,
    ChangeAccepted,
    Ended,
    Event,
    Held,
    Imported,
    Moved,
    Observed,
    Released,
    Removed,
    Resolved,
    Settled,
)
from jobform.model.state import Op, Phase
from jobform.views.escape import terminal
from jobform.views.screen import Paint
from jobform.views.words import between, duration

_SETTLED = {
    "superseded": "its accepted change was superseded by a later apply",
    "cancelled": "its accepted change was cancelled",
    "dependency_failed": "not started: a job that it needs ended otherwise than required",
    "skipped": "skipped: the failure that it waits for did not happen",
}

_STYLES = {
    Phase.RUNNING: "cyan", Phase.SUCCEEDED: "green", Phase.FAILED: "red", Phase.CANCELLED: "yellow", Phase.UNKNOWN: "magenta",
}


class EventLines:
    """Turns events into lines, in the order in which they come."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint
        self._names: dict[tuple[str, int], str] = {}
        self._recorded: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def line(self, event: Event) -> str:
        """`train: submitted as attempt 2 (train-1a2b3c4d-2)`, or "" for what people need not see."""
        text, style = self._text(event)
        address = getattr(event, "address", "")
        if not text or self._said.get(address) == text:
            return ""
        self._said[address] = text
        return f"{terminal(address)}: {self._paint(text, style) if style else text}"

    def _text(self, event: Event) -> tuple[str, str | None]:
        match event:
            case ChangeAccepted():
                self._recorded[event.address] = event.accepted.action
                return "", None
            case Begun():
                self._recorded.pop(event.address, None)
                self._names[event.address, event.intent.attempt] = event.intent.name
                return "", None
            case Ended():
                return self._ended(event)
            case Imported():
                return f"taken over as attempt {event.attempt.n} ({terminal(event.attempt.name)})", None
            case Observed():
                return _observed(event), _STYLES.get(event.phase)
            case Settled():
                return self._settled(event), None
            case Held():
                return f"held: {_with(event.reason, event.detail)}", "magenta"
            case Released():
                return "no longer held", None
            case Moved():
                return f"moved to {terminal(event.to)}", None
            case Removed():
                return ("forgotten" if event.how == "forgotten" else "removed"), None
            case Resolved():
                return f"resolved by {terminal(event.who)}: {terminal(event.how)}", None
            case _:
                return "", None

    def _ended(self, event: Ended) -> tuple[str, str | None]:
        name = self._names.pop((event.address, event.attempt), "")
        if not event.ok:
            return f"{_failed(event.op)} of attempt {event.attempt} failed: {terminal(event.error) or 'no reason given'}", "red"
        if event.op is Op.SUBMIT:
            how = "found again, adopted" if event.adopted else "submitted"
            return f"{how} as attempt {event.attempt}" + (f" ({terminal(name)})" if name else ""), None
        if event.op is Op.CANCEL:
            return f"stop of attempt {event.attempt} requested", None
        if event.op is Op.UPDATE:
            return f"attempt {event.attempt} updated", None
        if event.op is Op.RELEASE:
            return f"the outcome of attempt {event.attempt} is recorded, its ttl was set", None
        return f"what was left of attempt {event.attempt} removed", None

    def _settled(self, event: Settled) -> str:
        """What was merely recorded is said here, since no call and no phase will ever tell of it."""
        action = self._recorded.pop(event.address, "")
        if event.how == "done":
            return "recorded, no call needed" if action == "update" else ""
        said = _SETTLED.get(event.how, terminal(event.how))
        return f"{said} ({terminal(event.detail)})" if event.detail else said


def _failed(op: Op) -> str:
    return {Op.SUBMIT: "submission", Op.UPDATE: "update", Op.CANCEL: "stop", Op.DELETE: "removal", Op.RELEASE: "ttl"}[op]


def _observed(event: Observed) -> str:
    took = between(event.started_at, event.ended_at)
    after = f" after {duration(took)}" if took is not None else ""
    if event.phase is Phase.SUCCEEDED:
        return f"succeeded{after}"
    if event.phase is Phase.FAILED:
        return f"failed{after}{_why(event)}"
    if event.phase is Phase.CANCELLED:
        return f"cancelled{after}"
    return _with(event.phase.value, event.detail)


def _why(event: Observed) -> str:
    parts = [terminal(event.detail or event.native_reason)] if event.detail or event.native_reason else []
    code = f"exit code {event.exit}"
    if event.exit is not None and event.exit >= 0 and code not in event.detail:
        parts.insert(0, code)
    if event.exit is not None and event.exit < 0 and not parts:
        parts.append(f"signal {-event.exit}")
    said = f": {', '.join(parts)}" if parts else ""
    return f"{said} ({terminal(event.class_)})" if event.class_ else said


def _with(text: str, detail: str) -> str:
    return f"{terminal(text)}: {terminal(detail)}" if detail else terminal(text)
