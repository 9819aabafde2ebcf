"""A finding inside one value, before anyone knows which file and line that value came from."""

from collections.abc import Callable
from dataclasses import dataclass

from jobform.model.diagnostic import Severity
from jobform.model.values import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """path: where in the value. at_key: point at the key, not at its value. offset: characters into a scalar's text, if known."""

    path: Path
    code: str
    summary: str
    detail: str = ""
    hint: str = ""
    at_key: bool = False
    offset: int | None = None
    severity: Severity = Severity.ERROR


Report = Callable[[Problem], None]
