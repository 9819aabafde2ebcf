"""When an ended attempt is followed by another one without anybody asking: `rerun` in the accepted policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobform.model.job import Policy
from jobform.model.state import Attempt, Phase


@dataclass(frozen=True, slots=True)
class Retry:
    """number: which retry this is, from 1. limit: max_attempts. not_before: when it may start."""

    number: int
    limit: int
    not_before: datetime


def retry_due(policy: Policy, attempts: Sequence[Attempt]) -> Retry | None:
    """The retry that a policy gives the last attempt, None if it gives none.

    Attempts count from the last change of fingerprint or generation; the k-th failure is followed after min(high, low * 2^(k-1))
    seconds. An attempt that was cancelled, or failed while it was being stopped, is never retried: somebody wanted it to stop.
    """
    last = attempts[-1] if attempts else None
    if last is None or last.phase is not Phase.FAILED or last.asked_stop or not allows(policy, last.class_):
        return None
    count = 0
    for attempt in reversed(attempts):
        if (attempt.fingerprint, attempt.generation) != (last.fingerprint, last.generation):
            break
        count += 1
    if count >= policy.rerun.max_attempts:
        return None
    low, high = policy.rerun.backoff
    delay = min(high, low * 2.0 ** min(count - 1, 60))
    return Retry(count, policy.rerun.max_attempts, moment(last.ended_at or last.submitted_at) + timedelta(seconds=delay))


def allows(policy: Policy, failure: str | None) -> bool:
    """Whether `rerun.on` names this failure class; `failed` names every class, `lost` among them."""
    return "failed" in policy.rerun.on or (failure is not None and failure in policy.rerun.on)


def moment(text: str) -> datetime:
    """A timestamp of the state as a point in time."""
    return datetime.fromisoformat(text).astimezone(UTC)
