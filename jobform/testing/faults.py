"""Faults that the reference server commits on request: rules by method and path, each used a number of times."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from jobform.model.values import Json


class Then(StrEnum):
    """What happens to the request that a rule meets.

    answer: give the rule's status, headers and body instead of the real answer. drop: close the connection without an answer.
    half: send half of the real answer and close. kill: kill -9 the client that sent the request, then close. proceed: only the
    delay.
    """

    ANSWER = "answer"
    DROP = "drop"
    HALF = "half"
    KILL = "kill"
    PROCEED = "proceed"


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule. method and path are regular expressions that must match whole; path is without its query.

    skip: how many matching requests pass first; times: how many are met after that. applied: whether the request takes effect
    before the fault happens. delay: seconds before anything else. status, headers and body are those of an `answer`.
    """

    method: str = ".*"
    path: str = ".*"
    skip: int = 0
    times: int = 1
    then: Then = Then.ANSWER
    applied: bool = False
    delay: float = 0.0
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = '{"code": "fault", "message": "as asked"}'

    def to_json(self) -> dict[str, Json]:
        values: dict[str, Json] = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"then": self.then.value, "headers": dict(self.headers)}

    @classmethod
    def from_json(cls, value: Json) -> "Fault":
        """Raises TypeError or ValueError for what is not a rule."""
        if not isinstance(value, dict):
            raise TypeError("a rule is an object")
        return cls(**{**value, "then": Then(str(value["then"]))})  # type: ignore[arg-type]  # written by to_json on our own side


class Faults:
    """The rules in force; the first that matches a request and is not spent is used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._seen: list[int] = []

    def set(self, rules: list[Fault]) -> None:
        """Replace all rules; counting starts anew."""
        with self._lock:
            self._rules, self._seen = list(rules), [0] * len(rules)

    def meet(self, method: str, path: str) -> Fault | None:
        """The rule for this request, counted as used."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                if not re.fullmatch(rule.method, method) or not re.fullmatch(rule.path, path):
                    continue
                self._seen[index] += 1
                if rule.skip < self._seen[index] <= rule.skip + rule.times:
                    return rule
            return None
