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
        given = _given(text)
        kinds = [key for key in ("status", "drop", "half", "html") if key in given]
        if len(kinds) > 1:
            raise ValueError("status, drop, half and html exclude each other")
        for key in ("applied", "retry_after"):
            if key in given and kinds != ["status"]:
                raise ValueError(f"{key}= goes with status=")
        rule = cls(
            _pattern(given, "service"), _pattern(given, "method"), _pattern(given, "path"), int(_number(given, "skip", 0)),
            int(_number(given, "times", 1)), Then.PROCEED, delay=_number(given, "delay", 0),
        )
        match kinds:
            case ["status"]:
                status = int(_number(given, "status", 0))
                if not 200 <= status <= 599:
                    raise ValueError("status is from 200 to 599")
                headers = {"Retry-After": given["retry_after"]} if "retry_after" in given else {}
                return replace(rule, then=Then.ANSWER, status=status, headers=headers, applied=_is_yes(given, "applied"))
            case ["drop"]:
                if given["drop"] not in ("before", "after"):
                    raise ValueError("drop is before or after: the call takes effect, or does not")
                return replace(rule, then=Then.DROP, applied=given["drop"] == "after")
            case ["half"] if _is_yes(given, "half"):
                return replace(rule, then=Then.HALF, applied=True)
            case ["html"] if _is_yes(given, "html"):
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


def _given(text: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if not equals or key not in _WORDS:
            raise ValueError(f"{word!r} is none of {', '.join(f'{known}=' for known in _WORDS)}")
        if key in given:
            raise ValueError(f"{key}= is given twice")
        given[key] = value
    return given


def _pattern(given: Mapping[str, str], key: str) -> str:
    text = given.get(key, ".*")
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{key}={text} is no regular expression: {error}") from error
    return text


def _number(given: Mapping[str, str], key: str, otherwise: float) -> float:
    text = given.get(key, str(otherwise))
    if not re.fullmatch(r"\d{1,9}(\.\d+)?" if key == "delay" else r"\d{1,9}", text, re.ASCII):
        raise ValueError(f"{key}={text} is no {'number of seconds' if key == 'delay' else 'whole number'}")
    return float(text)


def _is_yes(given: Mapping[str, str], key: str) -> bool:
    if given.get(key, "no") not in ("yes", "no"):
        raise ValueError(f"{key} is yes or no")
    return given.get(key) == "yes"


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
