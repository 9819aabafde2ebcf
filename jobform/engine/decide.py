"""The decision table: what one address needs. Pure: a case in, a change out; nothing is read, printed or stored.

Rows are tried top to bottom and the first that matches wins. Two comparisons stand behind them: what the project's files say with
what was accepted (is there something to accept?), and what is wanted with the last attempt (is there something to do?).
"""

from dataclasses import replace

from jobform.engine.against import against, declared, drift, key_change, updatable
from jobform.engine.case import Case
from jobform.engine.compare import policy_changes
from jobform.engine.retry import allows, retry_due
from jobform.model.change import Action, Change, FieldChange, Reason
from jobform.model.diagnostic import Range
from jobform.model.job import OnChange
from jobform.model.state import Attempt, Desired, Phase
from jobform.model.values import Path


def decide(case: Case) -> Change:
    """The one change of an address. `accepted` is set when an earlier apply already said yes to exactly this."""
    change = _guard(case, _heed(case, _decide(case)))
    if change.action in (Action.NO_OP, Action.HOLD):
        change = _acceptance(case, change)
    elif change.desired is not None:
        change = _with_policy(case, change)
    if change.action.acting:
        change = replace(change, accepted=_already_accepted(case, change))
    return change


def _decide(case: Case) -> Change:
    record, last = case.record, case.last
    if record and record.intent is not None:
        return _open_intent(case)
    if case.foreign and last and not last.ended:
        return _change(case, Action.HOLD, Reason.OTHER_MACHINE, detail="its run lives on another machine, which alone can see it")
    if last and last.phase is Phase.UNKNOWN:
        return _change(
            case, Action.HOLD, Reason.UNKNOWN_PHASE, detail=last.detail or "the backend reports a phase that is not known"
        )
    if case.wanted is None or case.flags.destroy:
        return _removed(case)
    if last is None:
        return _never_ran(case)
    if not last.ended:
        return _live(case, last) if last.live else _waiting(case, last)
    if case.same and record and record.hold:
        return _change(case, Action.HOLD, Reason(record.hold.reason), detail=record.hold.detail)
    if case.open and case.open.attempt == case.next_attempt:
        if case.open.action == "replace":  # its stop is done; with other files the new attempt is another one
            return _new(case, Action.REPLACE, Reason.INTERRUPTED_REPLACE, fields=against(case, last)[0])
        if case.same and case.open.action in ("create", "rerun"):
            return _new(case, Action(case.open.action), Reason(case.open.reason))
    return _ended(case, last)


def _heed(case: Case, change: Change) -> Change:
    """What the service said that this very change would do."""
    forecast = case.forecast
    if forecast is None or forecast.verdict not in ("refused", "taken") or change.action not in _CALLING:
        return change
    assert case.job
    path: Path = ("spec", *(forecast.path or ()))
    return _change(
        case, Action.BLOCK, Reason.NAME_TAKEN if forecast.verdict == "taken" else Reason.REFUSED, fields=change.fields,
        detail=": ".join(part for part in (forecast.summary, forecast.detail) if part), hint=forecast.hint,
        where=case.job.locate(path if forecast.path else ()),
    )


_CALLING = frozenset({Action.CREATE, Action.RERUN, Action.REPLACE, Action.UPDATE})
"""The actions that send a spec to the backend."""


# --- rows -------------------------------------------------------------------------------------------------------------


def _open_intent(case: Case) -> Change:
    assert case.record and case.record.intent
    intent = case.record.intent
    if case.in_flight:
        return _change(case, Action.NO_OP, Reason.IN_FLIGHT, detail=f"another command is just making its {intent.op} call")
    hold = case.record.hold
    return _change(
        case,
        Action.HOLD,
        Reason.UNKNOWN_SUBMISSION,
        detail=(hold.detail if hold else "")
        or f"whether the {intent.op} call of attempt {intent.attempt} took effect is not known",
        hint=f"look for {intent.name} on the backend, then: jobform state resolve '{case.address}' --found ID | --not-submitted",
    )


def _removed(case: Case) -> Change:
    """No longer in the project's files, or everything is being destroyed."""
    if case.record is None:
        return _change(case, Action.NO_OP, Reason.UNCHANGED)
    last, reason = case.last, Reason.DESTROY if case.flags.destroy else Reason.REMOVED
    leave = case.removal is False and not case.flags.destroy
    if last is None or last.ended:
        return _change(case, Action.DELETE, reason)
    if leave:
        return _change(case, Action.FORGET, reason, detail="the run goes on; jobform forgets it")
    if last.waiting:
        return _change(case, Action.DELETE, reason, detail="it has not started: stopping it loses no work")
    if case.stoppable or (case.removal is True and not case.flags.destroy):
        return _change(case, Action.DELETE, reason, stop=last.n, detail="the running attempt is stopped")
    hint = f"--allow-cancel '{case.address}' stops it"
    if not case.flags.destroy:
        hint = f"`removed: [{{job: {case.address}, cancel: true}}]` stops it, the same without cancel forgets it; {hint} too"
    if case.protected:
        hint = _lifting(case)
    return _change(case, Action.BLOCK, Reason.LIVE, detail="it is running, and nobody said that it may be stopped", hint=hint)


def _never_ran(case: Case) -> Change:
    record, accepted = case.record, case.open
    if case.tombstone and case.tombstone.live and record is None:
        return _change(
            case, Action.BLOCK, Reason.LIVE_ORPHAN,
            detail=f"attempt {case.tombstone.last_attempt} of an earlier job of this name is not known to have ended",
            hint=f"wait for it, stop it with `jobform cancel '{case.address}'`, take it over with `jobform import "
                 f"'{case.address}' ID` (`jobform orphans` shows the ID), or say that it is over: "
                 f"jobform state resolve '{case.address}' --ended",
        )
    if record and record.hold and case.same:
        return _change(case, Action.HOLD, Reason(record.hold.reason), detail=record.hold.detail)
    if case.settled == "cancelled" and not case.flags.rerun:
        return _cancelled(case)
    if record and record.desired and case.wanted and case.job and not case.same:  # accepted before, and never begun
        return _new(case, Action.CREATE, Reason.NEW, fields=declared(case, record.desired.spec, record.desired.inputs))
    return _new(case, Action.CREATE, Reason(accepted.reason) if accepted and case.same else Reason.NEW)


def _live(case: Case, last: Attempt) -> Change:
    assert case.job and case.wanted
    fields, needs_attempt, reason = against(case, last)
    if needs_attempt:
        return _live_change(case, last, fields, reason)
    if fields:
        return _in_place(case, last, fields)
    return _drifted(case, last)


def _drifted(case: Case, last: Attempt) -> Change:
    """Nothing was declared anew: what somebody else changed is set back where that is possible in place, and never by a stop."""
    seen = drift(case, last)
    changed = tuple(field for field in seen if not field.ignored)
    if not changed:
        said = "somebody changed it, and ignore_drift covers that" if seen else ""
        return _change(case, Action.NO_OP, Reason.IN_PROGRESS, fields=seen, detail=said)
    if all(updatable(case, last, field) for field in changed):
        return _change(case, Action.UPDATE, Reason.DRIFTED, fields=changed, detail="someone else changed it; it is set back")
    return _change(
        case, Action.NO_OP, Reason.DRIFTED, fields=changed, detail="someone else changed it, and it cannot be set back in place"
    )


def _live_change(case: Case, last: Attempt, fields: tuple[FieldChange, ...], reason: Reason) -> Change:
    """A difference that needs a new attempt while the last one is live: never without an explicit yes."""
    assert case.wanted
    if last.backend != case.wanted.backend:
        return _change(
            case, Action.BLOCK, Reason.BACKEND_CHANGED, fields=fields,
            detail="moving a live job to another backend is not supported yet", hint="let it end, or cancel it, first",
        )
    policy = case.wanted.policy.on_change_while_running
    if case.stoppable or policy is OnChange.CANCEL:
        return _new(case, Action.REPLACE, reason, fields=fields, stop=last.n, detail="the running attempt is stopped")
    if policy is OnChange.FINISH:
        return _new(case, Action.RERUN, reason, fields=fields, detail="it starts when the running attempt has ended")
    forecast = case.forecast
    why = f": {forecast.detail}" if forecast and forecast.verdict == "restarts" and forecast.detail else ""
    return _change(
        case, Action.BLOCK, Reason.LIVE, fields=fields, detail=f"it is running, and the change needs a new attempt{why}",
        hint=f"wait for its end, set on_change_while_running: finish or cancel, or plan with --allow-cancel '{case.address}'",
    )


def _waiting(case: Case, last: Attempt) -> Change:
    assert case.wanted
    fields, needs_attempt, reason = against(case, last)
    if last.backend != case.wanted.backend:
        return _live_change(case, last, fields, reason)
    if needs_attempt or not all(updatable(case, last, field) for field in fields):
        return _new(case, Action.REPLACE, reason, fields=fields, detail="it has not started: stopping it loses no work")
    if fields:
        return _in_place(case, last, fields)
    return _drifted(case, last)


def _ended(case: Case, last: Attempt) -> Change:
    assert case.job and case.wanted
    fields, needs_attempt, reason = against(case, last)
    if case.requested:
        return _new(case, Action.RERUN, Reason.REQUESTED, fields=fields)
    if case.settled == "cancelled" and last.phase is not Phase.CANCELLED:  # what was accepted after this attempt
        return _cancelled(case)
    if case.wanted.generation > last.generation:
        return _new(case, Action.RERUN, Reason.GENERATION, fields=fields)
    if last.phase is Phase.SUCCEEDED:
        return _succeeded(case, last, fields, needs_attempt, reason)
    if any(field.path.startswith(("spec.", "inputs[")) for field in fields):
        return _new(case, Action.RERUN, Reason.SPEC_CHANGED, fields=fields)
    if fields and last.phase is Phase.FAILED:  # the backend changed: somewhere else it may succeed
        return _new(case, Action.RERUN, Reason.BACKEND_CHANGED, fields=fields)
    return _cancelled(case) if last.phase is Phase.CANCELLED else _failed(case, last)


def _cancelled(case: Case) -> Change:
    return _change(case, Action.HOLD, Reason.CANCELLED, hint=f"jobform rerun '{case.address}', or raise its generation")


def _succeeded(case: Case, last: Attempt, fields: tuple[FieldChange, ...], needs_attempt: bool, reason: Reason) -> Change:
    assert case.wanted
    result = needs_attempt and reason is Reason.SPEC_CHANGED
    if result and "changed" in case.wanted.policy.rerun.on:
        return _new(case, Action.RERUN, Reason.SPEC_CHANGED, fields=fields)
    if fields and not result and not last.removed and last.backend == case.wanted.backend:
        return _in_place(case, last, fields)
    if fields and not case.same:
        return _change(case, Action.UPDATE, Reason.NEXT_ATTEMPT, fields=fields, detail="recorded for the next attempt; no call")
    return _change(case, Action.NO_OP, Reason.EXPIRED_AFTER_SUCCESS if last.removed else Reason.UNCHANGED)


def _failed(case: Case, last: Attempt) -> Change:
    assert case.wanted and case.record
    lost = last.class_ == "lost"
    retry = retry_due(case.wanted.policy, case.record.attempts)
    if retry:
        detail = f"retry {retry.number} of at most {retry.limit - 1}"
        return _new(case, Action.RERUN, Reason.LOST if lost else Reason.RETRY, detail=detail)
    if lost and case.flags.recreate_lost:
        return _new(case, Action.RERUN, Reason.LOST, detail="the lost run is given up")
    if lost:
        return _change(
            case, Action.HOLD, Reason.LOST, detail=last.detail or last.native_reason or "it disappeared while it was running",
            hint="--recreate-lost runs it again; rerun: {on: [lost]} always does; if it is found again: "
                 f"jobform import '{case.address}' ID",
        )
    used_up = allows(case.wanted.policy, last.class_)
    how = f"{last.class_ or 'unknown class'}" + (f", exit code {last.exit}" if last.exit is not None else "")
    said = f"attempt {last.n} failed ({how})" + (", and no attempts are left" if used_up else "")
    return _change(
        case, Action.HOLD, Reason.FAILED, detail=said,
        hint=f"change its spec, raise its generation, or: jobform rerun '{case.address}'",
    )


# --- in place, or noted -------------------------------------------------------------------------------------------------


def _in_place(case: Case, last: Attempt, fields: tuple[FieldChange, ...]) -> Change:
    """Fields that need no new attempt: changed in place where the rules allow it, else recorded for the next attempt."""
    assert case.record and case.wanted
    if any(updatable(case, last, field) for field in fields):
        return _change(case, Action.UPDATE, Reason.SPEC_CHANGED, fields=fields, detail="changed in place")
    if case.record.desired and _same_content(case.record.desired, case.wanted):
        return _change(case, Action.NO_OP, Reason.UNCHANGED if last.ended else Reason.IN_PROGRESS)
    return _next_attempt(case, fields)


def _next_attempt(case: Case, fields: tuple[FieldChange, ...]) -> Change:
    """A record of what only the next attempt will see: it lists what is new against what was accepted, if that says anything."""
    assert case.record and case.wanted and case.job
    accepted = case.record.desired
    if accepted and accepted.backend == case.wanted.backend:
        fields = declared(case, accepted.spec, accepted.inputs)
        if not fields:
            return _change(case, Action.NO_OP, Reason.UNCHANGED)
    return _change(case, Action.UPDATE, Reason.NEXT_ATTEMPT, fields=fields, detail="recorded for the next attempt; no call")


def _acceptance(case: Case, change: Change) -> Change:
    """Nothing to do, but something to accept: a new policy, or a spec that only the next attempt will see."""
    if case.wanted is None or case.record is None or case.flags.destroy or change.reason is Reason.IN_FLIGHT:
        return change
    if case.open and case.open.action in (Action.DELETE, Action.FORGET):
        return _change(case, Action.UPDATE, Reason.POLICY_CHANGED, detail="its accepted removal is taken back; no call")
    if case.same or change.reason is Reason.UNKNOWN_SUBMISSION:  # what was accepted goes on when its fate is known
        return change
    assert case.job
    accepted = case.record.desired
    if accepted and change.reason in (Reason.UNKNOWN_PHASE, Reason.OTHER_MACHINE) and not _only_policy(accepted, case.wanted):
        return change
    fields = policy_changes(accepted.policy, case.wanted.policy, case.job.locate) if accepted else ()
    if accepted and accepted.matrix != case.wanted.matrix:
        fields += (key_change(case, "matrix", dict(accepted.matrix), dict(case.wanted.matrix)),)
    if accepted is None or fields:
        held = f"it stays on hold: {change.detail}" if change.action is Action.HOLD else "recorded; no call"
        return _change(case, Action.UPDATE, Reason.POLICY_CHANGED, fields=fields or change.fields, detail=held)
    fields = declared(case, accepted.spec, accepted.inputs)
    if accepted.backend != case.wanted.backend:
        fields += (key_change(case, "backend", accepted.backend, case.wanted.backend),)
    if fields:
        return _change(case, Action.UPDATE, Reason.NEXT_ATTEMPT, fields=fields, detail="recorded for the next attempt; no call")
    if accepted.generation > case.wanted.generation:
        said = f"generation {case.wanted.generation} is lower than {accepted.generation}, which was accepted: it means nothing"
        return replace(change, reason=Reason.GENERATION, detail=said) if change.action is Action.NO_OP else change
    return change


def _same_content(accepted: Desired, wanted: Desired) -> bool:
    return (accepted.spec, accepted.inputs) == (wanted.spec, wanted.inputs)


def _only_policy(accepted: Desired, wanted: Desired) -> bool:
    """Whether nothing but policy differs: all that may be accepted of a job whose run cannot be judged."""
    return replace(wanted, policy=accepted.policy) == accepted


def _with_policy(case: Case, change: Change) -> Change:
    """What is accepted beside the reason is listed with it."""
    accepted = case.record.desired if case.record else None
    if accepted is None or case.same or case.wanted is None or case.job is None:
        return change
    return replace(change, fields=change.fields + policy_changes(accepted.policy, case.wanted.policy, case.job.locate))


def _guard(case: Case, change: Change) -> Change:
    """`protect` beats every flag: it is remembered in the state, so deleting the file or the line does not get around it."""
    ended = case.last is not None and case.last.ended
    stops = change.action in (Action.DELETE, Action.FORGET) or (change.action is Action.REPLACE and not ended)
    if not stops or not case.protected or _already_accepted(case, change):
        return change
    return _change(
        case, Action.BLOCK, Reason.PROTECTED, fields=change.fields, detail=f"it is protected, and this would {change.action} it",
        hint=_lifting(case),
    )


def _lifting(case: Case) -> str:
    declared = "change nothing else of this job" if case.wanted else "put its entry back as it was"
    return f"lifting the protection takes an apply of its own: {declared}, set protect: false, and apply"


def _already_accepted(case: Case, change: Change) -> bool:
    """Whether an open accepted change, or the accepted policy, already says yes to this very change."""
    if change.action in (Action.DELETE, Action.FORGET):
        return case.open is not None and (case.open.action, case.open.stop) == (change.action, change.stop)
    if not case.same:
        return False
    accepted = case.open
    if accepted and accepted.action == change.action and accepted.attempt == change.attempt:
        return True
    by_policy = bool(case.record and case.record.desired and retry_due(case.record.desired.policy, case.record.attempts))
    return (
        change.action is Action.RERUN
        and change.reason in (Reason.RETRY, Reason.LOST)
        and by_policy
        and case.settled in (None, "done")
    )


# --- making changes ---------------------------------------------------------------------------------------------------


def _new(
    case: Case,
    action: Action,
    reason: Reason,
    *,
    fields: tuple[FieldChange, ...] = (),
    stop: int | None = None,
    detail: str = "",
) -> Change:
    return _change(case, action, reason, fields=fields, stop=stop, detail=detail, attempt=case.next_attempt)


def _change(
    case: Case, action: Action, reason: Reason, *, fields: tuple[FieldChange, ...] = (), stop: int | None = None,
    detail: str = "", hint: str = "", attempt: int | None = None, where: Range | None = None,
) -> Change:
    record, last = case.record, case.last
    accepts = action in (Action.CREATE, Action.RERUN, Action.UPDATE, Action.REPLACE)
    return Change(
        address=case.address, action=action, reason=reason, fields=fields, stop=stop, detail=detail, hint=hint,
        backend=case.wanted.backend if case.wanted else record.backend if record else "",
        attempt=attempt if attempt is not None else last.n if last else 0,
        desired=case.wanted if accepts else None,
        spec=case.job.spec if accepts and case.job else None,
        range=where or (case.job.locate(()) if case.job and action is not Action.NO_OP else None),
        fixed=case.fixed if action is Action.UPDATE else (),
        phase=last.phase if last else "",
    )
