"""A request and an answer of a sandboxed service, and what a service must offer."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from urllib.parse import unquote

from jobform.model.values import Json
from jobform.sandbox.world import World

_MOST_NUMBER = 2.0**53


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back. body: JSON, bytes as they are, or None for nothing."""

    status: int = 200
    body: "Json | bytes" = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        """The bytes and their type."""
        if self.body is None:
            return b"", ""
        if isinstance(self.body, bytes):
            return self.body, self.headers.get("Content-Type", "application/octet-stream")
        return json.dumps(self.body).encode(), self.headers.get("Content-Type", "application/json")


class Refused(Exception):
    """The service says no. message: for people; code: the service's own, where it has codes."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(frozen=True, slots=True)
class Call:
    """A request. path: as it came, still percent-encoded; headers: names in lower case; query: decoded, in order."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Json:
        """Raises Refused for what is no JSON."""
        try:
            value: Json = json.loads(self.body, parse_int=_sane(int), parse_float=_sane(float), parse_constant=_sane(float))
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body is not JSON: {error}") from error
        return value

    def object(self) -> dict[str, Json]:
        """Raises Refused for what is no JSON object."""
        value = self.json()
        if not isinstance(value, dict):
            raise Refused(400, "the body is not a JSON object")
        return value

    @property
    def parts(self) -> list[str]:
        """The decoded segments of the path."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    def first(self, name: str, otherwise: str = "") -> str:
        """A parameter of the query."""
        return next((value for key, value in self.query if key == name), otherwise)


def _sane(kind: Callable[[str], int | float]) -> Callable[[str], int | float]:
    """Numbers that a program of any language could take in."""
    def number(text: str) -> int | float:
        if not abs(float(text)) < _MOST_NUMBER:
            raise ValueError(f"{text[:40]} is out of range")
        return kind(text)

    return number


class SandboxService(Protocol):
    """One remote service. What the entry point group `jobform.sandbox` holds is called without arguments to make one."""

    @property
    def name(self) -> str:
        """As the backend type is called."""

    def variables(self, url: str) -> Mapping[str, str]:
        """What a client finds the server by, and who it is: names and values of environment variables."""

    def open(self, world: World, services: Mapping[str, str]) -> None:
        """Before the first call. services: addresses of further servers, such as `s3`."""

    def answer(self, call: Call) -> Reply:
        """Answer a call, with the world held. Raises Refused."""

    def refusal(self, error: Refused) -> Reply:
        """An error in the form that the service gives it, with the world held since the call that it is of."""


@runtime_checkable
class Keeping(Protocol):
    """A service that keeps something on this machine."""

    def close(self) -> None:
        """After the last call, or when it was never opened."""


@runtime_checkable
class Storing(Protocol):
    """A service whose users keep files on S3."""

    @property
    def buckets(self) -> Sequence[str]:
        """What is there from the start."""
