"""What an object's status means: ordered rules, as data, from a status to a phase.

A rule looks at one condition, or at one path; the first rule that fits decides. An object that is being deleted and has not
ended keeps the phase that its rules give it: its containers may still run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobform.model.state import ENDED, Phase
from jobform.model.values import Json, Path

_LONGEST = 1000
_EVERY = "*"


@dataclass(frozen=True, slots=True)
class Judged:
    """What an object's own status says.

    class_: the failure class where the reason alone tells it, else None: then the pods must be asked. reason: as the service
    calls it. detail: its message, one line. started_at, ended_at: RFC 3339, None where the object does not say. decided: the
    outcome that is certain although pods are still ending; phase is then running. suspended: somebody or a queue holds it back.
    deleting: the object has a deletionTimestamp.
    """

    phase: Phase
    class_: str | None = None
    reason: str = ""
    detail: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    decided: Phase | None = None
    suspended: bool = False
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class StatusRule:
    """One rule. It fits when the condition has this status, or the value at `path` is one of `equals` or more than `above`.

    With a condition, reason, message and ended default to those of the condition.
    """

    phase: Phase
    condition: str = ""
    status: str = "True"
    path: Path = ()
    equals: tuple[Json, ...] = ()
    above: float | None = None
    reason: Path = ()
    message: Path = ()
    ended: Path = ()
    class_: str | None = None
    decided: Phase | None = None
    suspended: bool = False

    @classmethod
    def of(cls, block: Mapping[str, Json]) -> "StatusRule":
        """A rule as it is written; see `$defs/status` of `kubernetes-objects.schema.json`."""
        equals, above, decided = block.get("equals", []), block.get("above"), block.get("decided")
        return cls(
            phase=Phase(str(block["phase"])), condition=_text(block.get("condition")), status=str(block.get("status", "True")),
            path=_path(block.get("path")), equals=tuple(equals) if isinstance(equals, list) else (equals,),
            above=float(above) if isinstance(above, int | float) else None, reason=_path(block.get("reason")),
            message=_path(block.get("message")), ended=_path(block.get("ended")),
            class_=_text(block.get("class")) or None, decided=Phase(decided) if isinstance(decided, str) else None,
            suspended=block.get("suspended") is True,
        )

    def fits(self, obj: Json, conditions: Mapping[str, Mapping[str, Json]]) -> bool:
        """Whether it speaks of this object."""
        if self.condition:
            return conditions.get(self.condition, {}).get("status") == self.status
        return any(self._fits(value) for value in _values(obj, self.path))

    def _fits(self, value: Json) -> bool:
        if self.above is not None:
            return isinstance(value, int | float) and not isinstance(value, bool) and value > self.above
        return any(type(value) is type(wanted) and value == wanted for wanted in self.equals)


@dataclass(frozen=True, slots=True)
class StatusRules:
    """All rules of a kind. started: where the start stands. classes: failure classes by the service's reason."""

    rules: tuple[StatusRule, ...]
    started: Path = ()
    classes: Mapping[str, str] | None = None

    @classmethod
    def of(cls, block: Mapping[str, Json]) -> "StatusRules":
        """The rules of a kind's block; the standard conditions where it has none."""
        listed, classes = block.get("status"), block.get("classes")
        rules = tuple(StatusRule.of(item) for item in listed if isinstance(item, dict)) if isinstance(listed, list) else ()
        known = {key: str(value) for key, value in classes.items()} if isinstance(classes, dict) else {}
        return cls(rules or STANDARD.rules, _path(block.get("started", "status.startTime")), known)

    def judge(self, obj: Mapping[str, Json]) -> Judged:
        """The first rule that fits; without one the run is pending."""
        whole: Json = dict(obj)
        conditions = _conditions(whole)
        deleting = bool(_value(whole, ("metadata", "deletionTimestamp")))
        rule = next((rule for rule in self.rules if rule.fits(whole, conditions)), None)
        if rule is None:
            return Judged(Phase.PENDING, deleting=deleting)
        condition = conditions.get(rule.condition, {})
        reason = _line(_value(whole, rule.reason) if rule.reason else condition.get("reason"))
        detail = _line(_value(whole, rule.message) if rule.message else condition.get("message"))
        ended = None
        if rule.phase in ENDED:
            ended = _text(_value(whole, rule.ended)) or _text(condition.get("lastTransitionTime")) or None
        started = None if rule.phase is Phase.PENDING else _text(_value(whole, self.started)) or None
        return Judged(
            rule.phase, self._class(rule, reason), reason, detail, started, ended, rule.decided, rule.suspended, deleting,
        )

    def _class(self, rule: StatusRule, reason: str) -> str | None:
        """Some controllers join two reasons with a slash: the first that is known counts."""
        if Phase.FAILED not in (rule.phase, rule.decided):
            return None
        classes = self.classes or {}
        return rule.class_ or next((classes[part] for part in reason.split("/") if part in classes), None)


def _conditions(obj: Json) -> dict[str, Mapping[str, Json]]:
    """Conditions by type."""
    listed = _value(obj, ("status", "conditions"))
    found: dict[str, Mapping[str, Json]] = {}
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict) and isinstance(item.get("type"), str):
            found[str(item["type"])] = item
    return found


def _values(value: Json, path: Path) -> Iterator[Json]:
    """Every value at a path; `*` stands for every item of a list or map."""
    if not path:
        yield value
        return
    part, rest = path[0], path[1:]
    if part == _EVERY:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from _values(item, rest)
    elif isinstance(value, dict) and part in value:
        yield from _values(value[str(part)], rest)


def _value(value: Json, path: Path) -> Json:
    return next(_values(value, path), None) if path else None


def _path(text: Json) -> Path:
    return tuple(text.split(".")) if isinstance(text, str) and text else ()


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _line(value: Json) -> str:
    """A text of the service as one line of bounded length."""
    return " ".join(_text(value)[:_LONGEST].split())


def _standard(*names: str, phase: Phase) -> tuple[StatusRule, ...]:
    return tuple(StatusRule(phase, condition=name, ended=("status", "completionTime")) for name in names)


STANDARD = StatusRules(
    (
        *_standard("Complete", "Completed", "Succeeded", phase=Phase.SUCCEEDED),
        *_standard("Failed", phase=Phase.FAILED),
        StatusRule(Phase.PENDING, condition="Suspended", suspended=True),
        StatusRule(Phase.RUNNING, condition="Running"),
    ),
    started=("status", "startTime"),
)
"""For a kind whose block has no rules: the conditions that most controllers set."""
