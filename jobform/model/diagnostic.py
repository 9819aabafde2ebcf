"""Diagnostics are values: collected on the way, shown once at the end."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a diagnostic matters: an error stops the command, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """A place in a file: path relative to the project root; lines and columns count from 1, the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that explains a diagnostic, such as the first of two duplicate keys."""

    message: str
    range: Range


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: what, where, why and what to do.

    code: stable snake_case identifier. summary: one plain sentence. detail: what was expected or seen. hint: the correction.
    snippet: the source line that `range` points into, without its line break. count: how many matrix instances share it.
    """

    severity: Severity
    code: str
    summary: str
    detail: str = ""
    hint: str = ""
    range: Range | None = None
    address: str | None = None
    snippet: str | None = None
    related: tuple[Related, ...] = ()
    count: int = 1
