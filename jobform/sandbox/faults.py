"""Faults that a server commits on request: rules by method and path, each used a number of times."""

import re
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from jobform.model.values import Json

HTML = "<!doctype html><title>Log in</title><p>Please log in."
"""What a proxy answers with when it stands before a service."""

_WORDS = ("service", "method", "path", "skip", "times", "delay", "status", "retry_after", "applied", "drop", "half", "html")


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
    """One rule. service, method and path are regular expressions that must match whole; path is without its query.

    skip: how many matching requests pass first; times: how many are met after that. applied: whether the request takes effect
    before the fault happens. delay: seconds before anything else. status, headers and body are those of an `answer`.
    """

    service: str = ".*"
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
    def parse(cls, text: str) -> "Fault":
        """From words such as `service=fireworks method=POST status=503 times=2`, as the command line takes them.

        One of: `status=N` (with `applied=yes` after it took effect), `drop=before`, `drop=after`, `half=yes`, `html=yes`; or only
        `delay=SECONDS`. retry_after=SECONDS goes with a status. Raises ValueError.
        """
        given: dict[str, str] = {}
        for word in shlex.split(text):
            key, equals, value = word.partition("=")
            if not equals or key not in _WORDS:
                raise ValueError(f"{word!r} is none of {', '.join(f'{known}=' for known in _WORDS)}")
            given[key] = value
        if sum(key in given for key in ("status", "drop", "half", "html")) > 1:
            raise ValueError("status, drop, half and html exclude each other")
        for key in ("service", "method", "path"):
            re.compile(given.get(key, ""))
        rule = cls(
            given.get("service", ".*"), given.get("method", ".*"), given.get("path", ".*"), int(given.get("skip", "0")),
            int(given.get("times", "1")), Then.PROCEED, delay=float(given.get("delay", "0")),
        )
        if "status" in given:
            headers = {"Retry-After": given["retry_after"]} if "retry_after" in given else {}
            applied = given.get("applied") == "yes"
            return replace(rule, then=Then.ANSWER, status=int(given["status"]), headers=headers, applied=applied)
        if "drop" in given:
            if given["drop"] not in ("before", "after"):
                raise ValueError("drop is before or after: the call takes effect, or does not")
            return replace(rule, then=Then.DROP, applied=given["drop"] == "after")
        if given.get("half") == "yes":
            return replace(rule, then=Then.HALF, applied=True)
        if given.get("html") == "yes":
            return replace(rule, then=Then.ANSWER, status=200, headers={"Content-Type": "text/html"}, body=HTML)
        if not rule.delay:
            raise ValueError("it says where, and not what: add status=, drop=, half=, html= or delay=")
        return rule

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

    def add(self, rule: Fault) -> None:
        """One more rule, behind those in force."""
        with self._lock:
            self._rules.append(rule)
            self._seen.append(0)

    def meet(self, method: str, path: str, service: str = "") -> Fault | None:
        """The rule for this request, counted as used."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                asked = ((rule.service, service), (rule.method, method), (rule.path, path))
                if not all(re.fullmatch(pattern, text) for pattern, text in asked):
                    continue
                self._seen[index] += 1
                if rule.skip < self._seen[index] <= rule.skip + rule.times:
                    return rule
            return None
