"""Whether what a job needs has happened: asked wherever an attempt would start, and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from jobform.engine.retry import retry_due
from jobform.model.job import Policy, When
from jobform.model.state import Attempt, Phase, Record

NEW_ATTEMPT = frozenset({"create", "rerun", "replace", "adopt"})
"""The actions after which another attempt exists."""


Completes: TypeAlias = Callable[[Attempt], bool]
"""Whether an attempt ends by itself; one that does not is where it should be while it runs."""


class Verdict(StrEnum):
    """MET; WAIT: it may still come; OVER: it can no longer come; SKIP: the job that should have failed succeeded."""

    MET = "met"
    WAIT = "wait"
    OVER = "over"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Answer:
    """verdict over all needs, the addresses that are waited for, and one sentence about the first that is over."""

    verdict: Verdict
    waiting_for: tuple[str, ...] = ()
    detail: str = ""


def ask(policy: Policy, judge: Callable[[str, When], tuple[Verdict, str]]) -> Answer:
    """All needs of a policy together: over beats skip beats wait beats met. judge answers for one address."""
    waiting: list[str] = []
    worst, reason = Verdict.MET, ""
    rank = (Verdict.MET, Verdict.WAIT, Verdict.SKIP, Verdict.OVER)
    for need in policy.needs:
        for address in need.addresses:
            verdict, detail = judge(address, need.when)
            if verdict is Verdict.WAIT:
                waiting.append(address)
            if rank.index(verdict) > rank.index(worst):
                worst, reason = verdict, detail
    return Answer(worst, tuple(dict.fromkeys(waiting)), reason)


def judge_record(address: str, record: Record | None, when: When, completes: Completes) -> tuple[Verdict, str]:
    """What the state alone says of one need."""
    if record is None or record.desired is None:
        return Verdict.OVER, f"{address} is not in the state"
    accepted = record.accepted
    if record.intent is not None:
        return Verdict.WAIT, ""
    if accepted and accepted.action in NEW_ATTEMPT:
        if accepted.settled is None:
            return Verdict.WAIT, ""
        if accepted.settled != "done":
            return Verdict.OVER, f"{address} was {_words(accepted.settled)}"
    if accepted and accepted.action in ("delete", "forget") and accepted.settled is None:
        return Verdict.OVER, f"{address} is being removed"
    if record.last is None:
        return Verdict.OVER, f"{address} has not run"
    if retry_due(record.desired.policy, record.attempts) and not (accepted and accepted.settled == "cancelled"):
        return Verdict.WAIT, ""
    return judge_attempt(address, record.last, when, completes)


def judge_attempt(address: str, attempt: Attempt, when: When, completes: Completes) -> tuple[Verdict, str]:
    """What one attempt, after which none follows by itself, says of a need."""
    if not attempt.ended:
        reached = attempt.phase is Phase.RUNNING and when in (When.SUCCEEDED, When.FINISHED) and not completes(attempt)
        started = when is When.STARTED and attempt.started_at is not None
        return (Verdict.MET, "") if reached or started else (Verdict.WAIT, "")
    if when is When.FINISHED:
        return Verdict.MET, ""
    if when is When.STARTED:
        return (Verdict.MET, "") if attempt.started_at else (Verdict.OVER, f"{address} ended without having started")
    if when is When.FAILED:
        if attempt.phase is Phase.SUCCEEDED:
            return Verdict.SKIP, f"{address} succeeded, this job runs only when it fails"
        return (Verdict.MET, "") if attempt.phase is Phase.FAILED else (Verdict.OVER, f"{address} was cancelled")
    if attempt.phase is Phase.SUCCEEDED:
        return Verdict.MET, ""
    how = "was cancelled" if attempt.phase is Phase.CANCELLED else f"has {attempt.phase}"
    return Verdict.OVER, f"{address} {how} and will not run again by itself"


def _words(settled: str) -> str:
    return {"dependency_failed": "not run because a job that it needs failed", "skipped": "skipped"}.get(settled, settled)


