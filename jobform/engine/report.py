"""What a scheduler tells of when it is done, beside the events."""

from dataclasses import dataclass, field

from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.state import Op


@dataclass(slots=True)
class Report:
    """What did not go as accepted. problems: by address; watched: addresses whose attempts this command made or waited for."""

    problems: dict[str, Diagnostic] = field(default_factory=dict)
    warnings: list[Diagnostic] = field(default_factory=list)
    secrets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    given_up: bool = False


def left_over(address: str, op: Op, attempt: int, summary: str, detail: str) -> Diagnostic:
    """What could not be tidied up: no reason to call the job anything else than it is."""
    if op is Op.RELEASE:
        said = f"what was to be sent after the end of attempt {attempt} (its ttl) was not taken: {summary}"
        return Diagnostic(
            Severity.WARNING, "not_released", said, detail, "it is tried again by the next command", address=address,
        )
    said = f"what is left of attempt {attempt} could not be removed: {summary}"
    return Diagnostic(
        Severity.WARNING, "object_left", said, detail, "it is tried again when the next attempt is submitted",
        address=address,
    )
