"""What makes a plan allowed: a word, a digest, a saved plan; and the unfinished run that the same word resumes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from jobform.engine.plan import change_key, desired_hash, plan_digest, precondition
from jobform.engine.refresh import Sights
from jobform.model.change import Change, Plan
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import StaleError
from jobform.model.state import Record, Run, State
from jobform.model.values import digest
from jobform.run.session import Session


@dataclass(frozen=True, slots=True)
class Approval:
    """At most one of: auto (whatever the plan says), digest (only a plan with this digest), file (a saved plan)."""

    auto: bool = False
    digest: str | None = None
    file: Plan | None = None

    @property
    def interactive(self) -> bool:
        """Whether a person has to be asked."""
        return not self.auto and self.digest is None and self.file is None

    @property
    def named(self) -> str | None:
        """The digest that was approved."""
        return self.file.digest if self.file else self.digest


def unfinished(run: Run, state: State) -> bool:
    """Whether a run's list is not done: a change that is not settled, or an attempt of its making that has not ended."""
    for change in run.changes:
        record = state.jobs.get(change.address)
        last = record.last if record else None
        if change.settled is None or (last and not last.ended and last.run == run.id):
            return True
    return False


def resumable(approval: Approval, made: Plan, state: State) -> Run | None:
    """The unfinished run that this approval began, None when the plan itself is what was approved.

    Raises StaleError when the approved plan is neither the present one nor unfinished.
    """
    if approval.auto or approval.named is None:
        return None
    runs = [run for run in state.runs.values() if run.digest and run.digest == approval.named and run.changes]
    run = next((run for run in reversed(runs) if unfinished(run, state)), None)
    if run:
        listed = {change.digest for change in run.changes}
        others = [change for change in made.changes if change.acting and digest(change_key(change)) not in listed]
        if others:
            raise StaleError([_moved(change, "it is not part of the unfinished run that was approved") for change in others])
        return run
    if made.digest == approval.named:
        return None
    if runs:
        raise StaleError.of(
            "already_applied", f"this plan was applied already, by run {runs[-1].id}",
            hint="make a new plan: what is left to do, if anything, is in it",
        )
    acting = [f"{change.action} {change.address} ({change.reason})" for change in made.changes if change.acting]
    raise StaleError.of(
        "not_approved", "what would be done now is not what was approved",
        detail=f"approved {approval.named}, now {made.digest}: " + ("; ".join(acting[:20]) or "nothing to do"),
        hint="look at a new plan, and approve that",
    )


def verify(session: Session, file: Plan, sights: Sights) -> Plan:
    """A saved plan checked against itself, this project and the present. Raises StaleError naming everything that moved."""
    state, settings = session.manager.state, session.settings
    if file.digest is None:
        raise StaleError.of(
            "not_appliable", "this plan was made with --offline and cannot be applied", hint="make it without --offline"
        )
    begun = [run for run in state.runs.values() if run.digest == file.digest and run.changes]
    lineage = "" if begun and file.lineage == "" else session.lineage  # made before there was a state, which its own run began
    own = (
        (file.project, settings.project, "project", "make the plan in this project"),
        (file.target, settings.target, "target", f"--target {file.target}" if file.target else "make a new plan"),
        (file.lineage, lineage, "lineage", "another state is used now than when the plan was made: make a new plan"),
    )
    for said, present, what, hint in own:
        if said != present:
            raise StaleError.of("other_" + what, f"this plan is for {what} {said!r}, here it is {present!r}", hint=hint)
    if plan_digest(file.lineage, file.target, file.changes) != file.digest:
        raise StaleError.of(
            "plan_edited", "the digest of the plan file does not fit its content", hint="it was changed after it was made"
        )
    going_on = next((run for run in reversed(begun) if unfinished(run, state)), None)
    if going_on:
        file = replace(file, changes=tuple(_carried_on(change, going_on, state) for change in file.changes))
    acting = [change for change in file.changes if change.acting]
    if begun and acting and not going_on:
        raise StaleError.of("already_applied", "this plan was applied already", hint="make a new plan")
    problems = [problem for change in acting for problem in _stale(session, change, state, sights)]
    if problems:
        raise StaleError(problems)
    return file


def _carried_on(change: Change, run: Run, state: State) -> Change:
    """A change of a plan whose run goes on: accepted, unless a crash came between the run's first line and this acceptance."""
    record, key = state.jobs.get(change.address), digest(change_key(change))
    open_ = any(listed.digest == key and listed.settled is None for listed in run.changes)
    missing = open_ and (record is None or record.accepted is None or record.accepted.digest != key)
    missing = missing or (change.source in state.jobs and record is None)
    return replace(change, accepted=change.action.acting and not (change.acting and missing))


def _stale(session: Session, change: Change, state: State, sights: Sights) -> Iterable[Diagnostic]:
    block = session.block_digests().get(change.backend, "")
    if change.desired and (change.spec is None or digest(change.spec) != change.desired.spec):
        yield _moved(change, "its spec in the plan file is not the one that its hash names")
    elif desired_hash(change, block) != change.desired_hash:
        yield _moved(change, f"the settings of backend {change.backend!r} are not those of the plan")
    taken = state.tombstones.get(change.address)
    if change.source in state.jobs and (change.address in state.jobs or (taken and taken.live)):
        yield _moved(change, f"{change.address} is somebody else's by now")
        return
    there = state if not change.source else replace(state, jobs={**state.jobs, **_at(state, change)})
    if precondition(change.address, there, change, sights) != change.precondition:
        record = there.jobs.get(change.address)
        last = record.last if record else None
        now = f"attempt {last.n} is {last.phase}" if last else "it has no attempt"
        yield _moved(change, f"its accepted desire, last attempt, phase or reported values moved since: now {now}")


def _at(state: State, change: Change) -> dict[str, Record]:
    record = state.jobs.get(change.source)
    return {change.address: record} if record else {}


def _moved(change: Change, why: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR, "stale", f"{change.action} {change.address} is not what was approved: {why}", hint="make a new plan",
        address=change.address, range=change.range,
    )
