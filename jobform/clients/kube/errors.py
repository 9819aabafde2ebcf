"""What an API server's refusals mean. Pure: an answer in, a `KubeError` out.

The server checks in this order, and the first refusal hides the rest: field ownership (409), validation (422), webhooks (403).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.values import Json

_MOST_CAUSES = 100
_LONGEST = 1 << 16
"""Characters of a message that are looked at: what is looked for stands at its beginning, before any dump."""

_MANAGER = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')
_WEBHOOK = re.compile(r'admission webhook "([^"]{1,253})" denied the request')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']{1,253})'")
_RBAC = re.compile(r'(?:\bUser "[^"]*" cannot \w+ |\bno relationship found between )')
_IMMUTABLE = re.compile(r"\bimmutable\b|may not (?:be )?(?:change|update)|updates? to .*(?:forbidden|not allowed)", re.IGNORECASE)
_GONE = re.compile(r"uid mismatch: .*no existing object was found", re.DOTALL)
_UID = re.compile(r"UID in (?:the )?precondition|uid mismatch", re.IGNORECASE)
_VERSION = re.compile(r"the object has been modified|ResourceVersion in (?:the )?precondition", re.IGNORECASE)
_UNTYPED = "failed to create typed patch object"
_UNCONVERTED = "failed to convert new object"  # such as a quantity that is none: a 500 that says the same every time
_UNDECLARED = re.compile(r"(\.[^\s:]{1,300}): (field not declared in schema|[^\n]+)")

_GRANT = "whoever runs the cluster can grant it: examples/kubernetes-gpu/rbac.yaml has what plan and apply need"

UNDECLARED = "FieldUndeclared"
"""Our reason for the causes of a body that does not fit the kind's schema; the server gives them as text only."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of a refusal. field: as the server names it, such as `spec.template` or `.spec.suspend`; message: short."""

    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field that an apply would take from another manager. field: `.spec.suspend`, list items as `[name="w"]`."""

    field: str
    manager: str


class KubeError(Exception):
    """A request that did not do what it should.

    status: of the HTTP answer, 0 when there was none. reason: the server's (`Invalid`, `AlreadyExists`, ...) or, without an
    answer, ours (`Unreachable`, `Cut`, `Timeout`, `TLS`, `BadAnswer`, `Redirect`, `Credentials`, `BadName`, `Deadline`).
    message: one short line. retry_after: seconds, 0.0 when the server named none. sent: the request went out and no usable answer
    came, so it may have taken effect. changing: the request would change something.
    denied_by: of a refusal by 403 or by an admission plug-in: `rbac`, `webhook NAME`, `policy NAME`, `quota`, `pod security`,
    `limit range`, `namespace terminating`, `admission` when it names nobody, else "".
    conflict: of a 409: `exists`, `ending` (exists and is being deleted), `fields`, `uid` (another object has the name now),
    `gone` (the object of this uid exists no more), `version`, `other`; else "".
    """

    def __init__(
        self, status: int, reason: str, message: str, causes: tuple[Cause, ...] = (), retry_after: float = 0.0,
        sent: bool = False, *, changing: bool = False, denied_by: str = "", conflict: str = "",
        conflicts: tuple[FieldConflict, ...] = (), hint: str = "",
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after = retry_after
        self.sent = sent
        self.changing = changing
        self.denied_by = denied_by
        self.conflict = conflict
        self.conflicts = conflicts
        self.hint = hint

    @property
    def other_object(self) -> bool:
        """Whether the name belongs to another object than the uid that was sent. To be asked before any 422 means `replace`."""
        return self.conflict == "uid" or (self.status == 422 and any(cause.field == "metadata.uid" for cause in self.causes))

    @property
    def immutable(self) -> tuple[str, ...]:
        """The fields that cannot be changed in place, all that the server named, in its order; () for another object."""
        if self.status != 422 or self.other_object:
            return ()
        return tuple(dict.fromkeys(cause.field for cause in self.causes if _IMMUTABLE.search(cause.message)))

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, without anybody changing anything."""
        if self.status == 0:
            return self.reason in ("Unreachable", "Cut", "Timeout", "Deadline")
        return self.status in (408, 429) or (self.status >= 500 and not self.undeclared and _UNCONVERTED not in self.message)

    @property
    def undeclared(self) -> tuple[str, ...]:
        """The fields of an apply that the kind does not have, such as `.spec.nope`. The server says so with a 500."""
        return tuple(cause.field for cause in self.causes if cause.reason == UNDECLARED)

    @property
    def webhook_failed(self) -> bool:
        """A webhook could not be asked; nothing was stored."""
        return self.status == 500 and "failed calling webhook" in self.message

    @property
    def ambiguous(self) -> bool:
        """Whether the request may have taken effect all the same."""
        return self.changing and (self.sent or (self.status >= 500 and not self.webhook_failed and not self.undeclared))

    def backend_error(self, summary: str) -> BackendError:
        """The same for the engine."""
        detail = f"{self}; {self.hint}" if self.hint else str(self)
        return BackendError(
            summary, detail, retryable=self.retryable, ambiguous=self.ambiguous, retry_after=self.retry_after,
        )


def refusal(
    status: int, body: Mapping[str, Json], *, changing: bool, retry_after: float = 0.0, fallback: str = "",
) -> KubeError:
    """The error of an answer of 300 or more. body: the Status object, {} when there was none; fallback: its message then."""
    text = body.get("message")
    raw = (text if isinstance(text, str) and text else fallback)[:_LONGEST]
    reason = body.get("reason")
    causes, conflicts = _causes(body.get("details"))
    denied = _denied_by(status, raw, body.get("details"))
    if _UNTYPED in raw:
        causes = tuple(Cause(UNDECLARED, short(found[1], 300), short(found[2])) for found in _UNDECLARED.finditer(raw))
    return KubeError(
        status,
        short(reason, 60) if isinstance(reason, str) and reason else _default_reason(status),
        _message(status, raw, causes),
        causes,
        retry_after or _told_retry(body.get("details")),
        changing=changing,
        denied_by=denied,
        conflict=_conflict(status, reason, raw, conflicts),
        conflicts=conflicts,
        hint=_GRANT if denied == "rbac" else "",
    )


def _causes(details: Json) -> tuple[tuple[Cause, ...], tuple[FieldConflict, ...]]:
    listed = details.get("causes") if isinstance(details, dict) else None
    causes: list[Cause] = []
    conflicts: list[FieldConflict] = []
    for item in (listed if isinstance(listed, list) else [])[:_MOST_CAUSES]:
        if not isinstance(item, dict):
            continue
        reason, message, field = (str(item.get(key) or "") for key in ("reason", "message", "field"))
        causes.append(Cause(short(reason, 60), short(field, 300), short(message)))
        if reason == "FieldManagerConflict":
            manager = _MANAGER.search(message)
            conflicts.append(FieldConflict(short(field, 300), short(manager.group(1) if manager else message, 128)))
    return tuple(causes), tuple(conflicts)


def _message(status: int, raw: str, causes: tuple[Cause, ...]) -> str:
    """A validation message repeats every cause with its dump: what the causes say is said by them alone."""
    if status == 422 and causes:
        return short("; ".join(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes)), dump=0)
    return short(raw) or "no message"


def _denied_by(status: int, raw: str, details: Json) -> str:
    if webhook := _WEBHOOK.search(raw):
        return f"webhook {short(webhook.group(1), 253)}"
    if policy := _POLICY.search(raw):
        return f"policy {short(policy.group(1), 253)}"
    if status != 403:
        return ""
    if "NamespaceTerminating" in str(details) or "because it is being terminated" in raw:
        return "namespace terminating"
    if "exceeded quota:" in raw or "failed quota:" in raw:
        return "quota"
    if "violates PodSecurity" in raw:
        return "pod security"
    if _RBAC.search(raw):
        return "rbac"
    if re.search(r"\b(?:maximum|minimum) \S+ usage per \w+ is|\blimit to request ratio\b", raw):
        return "limit range"
    return "admission"


def _conflict(status: int, reason: Json, raw: str, conflicts: tuple[FieldConflict, ...]) -> str:
    if status != 409:
        return ""
    if reason == "AlreadyExists":
        return "ending" if "object is being deleted" in raw else "exists"
    if conflicts:
        return "fields"
    for pattern, name in ((_GONE, "gone"), (_UID, "uid"), (_VERSION, "version")):
        if pattern.search(raw):
            return name
    return "other"


def _told_retry(details: Json) -> float:
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return float(seconds) if isinstance(seconds, int) and 0 < seconds < 3600 else 0.0


def _default_reason(status: int) -> str:
    known = {
        400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict",
        410: "Gone", 413: "RequestEntityTooLarge", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError",
        502: "BadGateway", 503: "ServiceUnavailable", 504: "Timeout",
    }
    return known.get(status, "Unknown")
