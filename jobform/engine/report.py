"""What a scheduler tells of when it is done, beside the events."""

from dataclasses import dataclass, field

from jobform.model.diagnostic import Diagnostic


@dataclass(slots=True)
class Report:
    """What did not go as accepted. problems: by address; watched: addresses whose attempts this command made or waited for."""

    problems: dict[str, Diagnostic] = field(default_factory=dict)
    warnings: list[Diagnostic] = field(default_factory=list)
    secrets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    given_up: bool = False
