"""The instances of a job with a matrix: combinations, exclude and include as GitHub Actions has them."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from jobform.config.problem import Problem, Report
from jobform.model.address import format_address, number_text, scalar_text
from jobform.model.diagnostic import Severity
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path

_LOST_ZERO = re.compile(r"[0-9]+\.[0-9]*[1-9]0+")

MAX_INSTANCES = 100_000
"""How many instances one job may have."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One combination. values: what templates see as `matrix`. axes: the part of it that is in the address."""

    address: str
    values: Mapping[str, Json]
    axes: Mapping[str, Json]


def instances(
    name: str, matrix: Mapping[str, Json], source: Callable[[Path], str], report: Report,
) -> list[Instance]:
    """Every instance of job `name`, in the order in which the matrix lists them.

    matrix: of the right shape. source: how a scalar of the matrix was written. Paths in problems start below `matrix`.
    """
    listed = {key: value for key, value in matrix.items() if key not in ("include", "exclude") and isinstance(value, list)}
    _warn_of_numbers(listed, source, report)
    axes = {key: _different(key, values, report) for key, values in listed.items()}
    count = math.prod(len(values) for values in axes.values()) if axes else 0
    if count > MAX_INSTANCES:
        report(Problem((), "matrix_too_large", f"the matrix has {count} combinations (limit {MAX_INSTANCES})", at_key=True))
        return []
    excluded = _entries(matrix, "exclude")
    for index, entry in enumerate(excluded):
        _check_exclude(entry, axes, ("exclude", index), report)
    combinations = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    kept = [values for values in combinations if not any(_agrees(entry, values) for entry in excluded)]
    found = _included(name, kept, _entries(matrix, "include"), axes, report)
    if not found:
        report(Problem((), "matrix_empty", "the matrix has no combination left", at_key=True, hint="exclude less"))
    return found


def _included(
    name: str, kept: list[dict[str, Json]], included: list[dict[str, Json]], axes: Mapping[str, list[Json]], report: Report,
) -> list[Instance]:
    """The combinations with what `include` adds to them, then those that it adds.

    An entry adds its values to every combination that it does not contradict. An axis is never overwritten, added values are.
    """
    extra: list[dict[str, Json]] = [{} for _ in kept]
    own: dict[str, Instance] = {}
    for number, entry in enumerate(included):
        on_axes = {key: value for key, value in entry.items() if key in axes}
        added = {key: value for key, value in entry.items() if key not in axes}
        fitting = [index for index, values in enumerate(kept) if _agrees(on_axes, values)]
        for index in fitting:
            extra[index].update(added)
        if not fitting:
            address = format_address(name, entry)
            if address in own:
                report(Problem(("include", number), "duplicate_address", f"two entries of include are {address}",
                               hint="remove one of them"))
            own[address] = Instance(address, entry, entry)
    found = [Instance(format_address(name, values), values | more, values) for values, more in zip(kept, extra, strict=True)]
    return [*found, *own.values()]


def _different(key: str, values: list[Json], report: Report) -> list[Json]:
    """The values of an axis without repetitions, which are noted."""
    unique: dict[str, Json] = {}
    for index, value in enumerate(values):
        text = scalar_text(value)
        if text in unique:
            report(Problem((key, index), "duplicate_address", f"the value {text} stands twice in {key}",
                           "two instances would have one address; numbers are equal when their values are", "remove one of them"))
        unique.setdefault(text, value)
    return list(unique.values())


def _entries(matrix: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    listed = matrix.get(key)
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _agrees(entry: Mapping[str, Json], values: Mapping[str, Json]) -> bool:
    return all(key in values and scalar_text(values[key]) == scalar_text(value) for key, value in entry.items())


def _check_exclude(entry: Mapping[str, Json], axes: Mapping[str, list[Json]], path: Path, report: Report) -> None:
    unknown = [key for key in entry if key not in axes]
    for key in unknown:
        near = suggest(key, axes)
        report(Problem((*path, key), "unknown_key", f"exclude names {key!r}, which is no key of the matrix",
                       f"keys: {', '.join(axes)}", f"did you mean {near}?" if near else "", at_key=True))
    if not unknown and not all(any(_agrees({key: value}, {key: item}) for item in axes[key]) for key, value in entry.items()):
        report(Problem(path, "exclude_nothing", "this entry excludes nothing", severity=Severity.WARNING))


def _warn_of_numbers(axes: Mapping[str, list[Json]], source: Callable[[Path], str], report: Report) -> None:
    """`[3.9, 3.10]` has 3.1 in it."""
    for path, value in _floats(axes):
        written, read = source(path), number_text(value)
        if _LOST_ZERO.fullmatch(written):
            report(Problem(path, "number_text", f"{written} is read as the number {read}",
                           hint=f'quote it if it is text: "{written}"', severity=Severity.WARNING))


def _floats(axes: Mapping[str, list[Json]]) -> Iterator[tuple[Path, float]]:
    for key, values in axes.items():
        for index, value in enumerate(values):
            if isinstance(value, float):
                yield (key, index), value
