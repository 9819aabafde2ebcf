"""What is sent for one attempt: the accepted spec with outputs and secrets in place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobform.model.state import Desired
from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import UNKNOWN_TEXT


@dataclass(frozen=True, slots=True)
class Body:
    """spec: resolved, secrets included. described: secrets as references. hash: of what is described, never of a secret.

    changes: of an update, the paths in the spec that differ from what was applied. inputs, ignored: as in `Submission`.
    """

    spec: dict[str, Json] = field(repr=False)
    described: dict[str, Json]
    hash: str
    used: Mapping[str, Json]
    masks: tuple[str, ...] = field(default=(), repr=False)
    changes: tuple[Path, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def placeholders(spec: Mapping[str, Json]) -> dict[str, Json]:
    """A spec for a look ahead: every value that is not known yet is `UNKNOWN_TEXT`."""
    return {key: _placeholder(value) for key, value in spec.items()}


def _placeholder(value: Json) -> Json:
    if is_deferred(value):
        return UNKNOWN_TEXT
    if isinstance(value, dict):
        return {key: _placeholder(item) for key, item in value.items()}
    return [_placeholder(item) for item in value] if isinstance(value, list) else value


class MissingSecret(Exception):
    """Secrets that the environment does not hold; `names` are those of the variables to set."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class InvalidOutput(Exception):
    """An output that is missing, or that makes the spec invalid; the text says which and why."""


class Resolve(Protocol):
    """Makes bodies: the step between what was accepted and what a backend gets."""

    def __call__(self, address: str, desired: Desired, spec: dict[str, Json], outputs: Mapping[str, Json]) -> Body:
        """outputs: by job name, for a matrix a list of `{matrix, outputs}`. Raises MissingSecret and InvalidOutput."""
