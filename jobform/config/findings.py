"""Collects diagnostics over all files of a run, and shows them once, in the order of the text."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from jobform.model.diagnostic import Diagnostic, Range, Related, Severity
from jobform.model.errors import InputError

CAP = 100
"""How many errors one run shows."""


class Lines(Protocol):
    """A file whose lines can be shown."""

    def line(self, number: int) -> str:
        """A source line, counted from 1, without its line break."""


class Findings:
    """What was found so far. One mistake that several instances of a job share becomes one diagnostic with a count."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._shared: dict[tuple[object, ...], int] = {}
        self._repeats: dict[tuple[object, ...], int] = {}

    def error(
        self, code: str, summary: str, where: Range | None = None, *,
        detail: str = "", hint: str = "", address: str | None = None, related: Iterable[Related] = (),
    ) -> None:
        """Note an error."""
        self.add(Diagnostic(Severity.ERROR, code, summary, detail, hint, where, address, related=tuple(related)))

    def warning(
        self, code: str, summary: str, where: Range | None = None, *,
        detail: str = "", hint: str = "", address: str | None = None, related: Iterable[Related] = (),
    ) -> None:
        """Note a warning."""
        self.add(Diagnostic(Severity.WARNING, code, summary, detail, hint, where, address, related=tuple(related)))

    def add(self, diagnostic: Diagnostic) -> None:
        """Note a diagnostic as it is."""
        self._found.append(diagnostic)

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Note several diagnostics."""
        self._found.extend(diagnostics)

    def add_for(self, job: str, diagnostic: Diagnostic) -> None:
        """Note a diagnostic of one instance of a job.

        Within one instance everything counts; the n-th finding of a kind at a place is the same mistake in every instance.
        """
        kind = (job, diagnostic.severity, diagnostic.code, diagnostic.range)
        ordinal = self._repeats.get((*kind, diagnostic.address), 0)
        self._repeats[(*kind, diagnostic.address)] = ordinal + 1
        index = self._shared.setdefault((*kind, ordinal), len(self._found))
        if index == len(self._found):
            self._found.append(diagnostic)
        else:
            self._found[index] = replace(self._found[index], count=self._found[index].count + 1)

    def all(self) -> tuple[Diagnostic, ...]:
        """Everything so far, in the order of finding."""
        return tuple(self._found)

    @property
    def failed(self) -> bool:
        """Whether there is an error among them."""
        return any(found.severity is Severity.ERROR for found in self._found)

    def warnings(self, sources: Mapping[str, Lines]) -> tuple[Diagnostic, ...]:
        """All warnings in the order of the text, with their source lines."""
        return tuple(_in_order((found for found in self._found if found.severity is Severity.WARNING), sources))

    def raise_errors(self, sources: Mapping[str, Lines]) -> None:
        """Raise InputError with everything that was found, if there is an error: errors capped, sorted by file and position."""
        if not self.failed:
            return
        found = _in_order(self._found, sources)
        errors = [item for item in found if item.severity is Severity.ERROR]
        if len(errors) > CAP:
            rest = len(errors) - CAP
            more = Diagnostic(
                Severity.ERROR, "more_errors", f"{rest} more error{'s' if rest > 1 else ''} not shown",
                hint="correct these first, then run again",
            )
            kept = {id(item) for item in errors[:CAP]}
            found = [item for item in found if id(item) in kept] + [more]
        raise InputError(found)


def _in_order(found: Iterable[Diagnostic], sources: Mapping[str, Lines]) -> list[Diagnostic]:
    def position(item: Diagnostic) -> tuple[bool, str, int, int]:
        place = item.range
        return (place is None, place.file if place else "", place.line if place else 0, place.column if place else 0)

    shown = []
    for item in sorted(found, key=position):
        source = sources.get(item.range.file) if item.range and item.snippet is None else None
        shown.append(replace(item, snippet=source.line(item.range.line)) if source and item.range else item)
    return shown
