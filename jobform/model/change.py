"""A plan is data: ordered changes, each with an action, a reason, what differs and what must still hold when it is applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jobform.model.diagnostic import Diagnostic, Range
from jobform.model.state import Desired
from jobform.model.values import Json


class Action(StrEnum):
    """What a change does. Everything before NO_OP acts."""

    CREATE = "create"
    RERUN = "rerun"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    ADOPT = "adopt"
    MOVE = "move"
    FORGET = "forget"
    NO_OP = "no-op"
    HOLD = "hold"
    BLOCK = "block"

    @property
    def acting(self) -> bool:
        return self not in (Action.NO_OP, Action.HOLD, Action.BLOCK)


class Reason(StrEnum):
    """Why: stable codes for machines."""

    NEW = "new"
    SPEC_CHANGED = "spec_changed"
    POLICY_CHANGED = "policy_changed"
    NEXT_ATTEMPT = "next_attempt"
    BACKEND_CHANGED = "backend_changed"
    DRIFTED = "drifted"
    GENERATION = "generation"
    REQUESTED = "requested"
    RETRY = "retry"
    LOST = "lost"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED_AFTER_SUCCESS = "expired_after_success"
    UNCHANGED = "unchanged"
    IN_PROGRESS = "in_progress"
    IN_FLIGHT = "in_flight"
    REMOVED = "removed"
    DESTROY = "destroy"
    RENAMED = "renamed"
    PROTECTED = "protected"
    LIVE = "live"
    LIVE_ORPHAN = "live_orphan"
    UNKNOWN_PHASE = "unknown_phase"
    UNKNOWN_SUBMISSION = "unknown_submission"
    DEPENDENCY_RERAN = "dependency_reran"
    DEPENDENCY_FAILED = "dependency_failed"
    INVALID_OUTPUT = "invalid_output"
    OTHER_MACHINE = "other_machine"
    SKIPPED = "skipped"
    INTERRUPTED_REPLACE = "interrupted_replace"
    REFUSED = "refused"
    NAME_TAKEN = "name_taken"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs.

    path: dotted, from the job's entry (`spec.command`, `needs`, `generation`). has_before / has_after: False when the key is
    absent. source: `desired` (YAML against what was applied) or `actual` (the backend against what was applied: drift).
    class_: result, placement, operational or policy. reason: why the class and mutability are what they are. by: who made the
    drift, as the service calls them. ignored: drift that the job's `ignore_drift` covers.
    """

    path: str
    before: Json
    after: Json
    has_before: bool = True
    has_after: bool = True
    source: str = "desired"
    class_: str = "policy"
    mutable: str = "always"
    sensitive: bool = False
    reason: str = ""
    range: Range | None = None
    by: str = ""
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What one address needs.

    accepted: an earlier apply already said yes; it is listed apart and enters neither the digest nor exit code 2.
    after: addresses whose attempts must end first. attempt / stop: as in `state.Accepted`.
    precondition, desired_hash: hashes that approval binds to. desired / spec: what would be accepted (None for delete, forget,
    hold ...). source: the old address of a move. fixed: as in `state.Accepted`.
    """

    address: str
    action: Action
    reason: Reason
    backend: str = ""
    accepted: bool = False
    fields: tuple[FieldChange, ...] = ()
    after: tuple[str, ...] = ()
    attempt: int = 0
    stop: int | None = None
    precondition: str = ""
    desired_hash: str = ""
    desired: Desired | None = None
    spec: dict[str, Json] | None = None
    detail: str = ""
    hint: str = ""
    source: str = ""
    range: Range | None = None
    phase: str = ""
    running_seconds: float | None = None
    fixed: tuple[str, ...] = ()

    @property
    def acting(self) -> bool:
        """Whether it needs approval: an acting action that nobody accepted yet."""
        return self.action.acting and not self.accepted


@dataclass(frozen=True, slots=True)
class Plan:
    """digest: None when it cannot be applied (`--offline`). summary: counts by action, plus `accepted` and `unchanged`."""

    project: str
    lineage: str
    target: str | None
    digest: str | None
    changes: tuple[Change, ...]
    created_at: str
    destroy: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_approval(self) -> bool:
        """Whether any change acts that nobody accepted yet."""
        return any(change.acting for change in self.changes)

    @property
    def summary(self) -> dict[str, int]:
        """How many changes of each kind: by action, with `accepted` for all accepted ones and `unchanged` for no-op."""
        counts = {action.value: 0 for action in Action if action is not Action.NO_OP}
        counts |= {"accepted": 0, "unchanged": 0}
        for change in self.changes:
            if change.action.acting and change.accepted:
                counts["accepted"] += 1
            elif change.action is Action.NO_OP:
                counts["unchanged"] += 1
            else:
                counts[change.action.value] += 1
        return counts
