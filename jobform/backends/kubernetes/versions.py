"""What an API server of a given version lets change in a batch/v1 Job, and which fields it knows: data from the KEPs.

A server that may be asked says it itself, by a dry run. This is for accounts that may only read, and to explain fields that an
older server drops without a word.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jobform.backends.kubernetes.shapes import at, condition, mapping, number, text
from jobform.model.values import Json, Path


class Version(NamedTuple):
    """A server's version as `GET /version` has it; `(0, 0)` when it is not known."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" if self != (0, 0) else "of unknown version"


SINCE: Mapping[Path, Version] = {
    ("spec", "podFailurePolicy"): Version(1, 26),
    ("spec", "backoffLimitPerIndex"): Version(1, 29),
    ("spec", "maxFailedIndexes"): Version(1, 29),
    ("spec", "podReplacementPolicy"): Version(1, 29),
    ("spec", "successPolicy"): Version(1, 31),
    ("spec", "managedBy"): Version(1, 32),
    ("spec", "template", "spec", "resourceClaims"): Version(1, 34),
}
"""The first version that keeps a field without a feature gate being set. Sources: KEP-3329, 3850, 3939, 3998, 4368, 4381."""

_ALWAYS = frozenset({
    "parallelism", "suspend", "activeDeadlineSeconds", "backoffLimit", "maxFailedIndexes", "ttlSecondsAfterFinished",
    "podReplacementPolicy",
})
"""Fields of a Job's spec that may change at any time. Source: kubernetes pkg/apis/batch/validation, ValidateJobSpecUpdate."""

_DIRECTIVES = (
    ("metadata", "labels"), ("metadata", "annotations"), ("spec", "nodeSelector"), ("spec", "affinity", "nodeAffinity"),
    ("spec", "tolerations"), ("spec", "schedulingGates"),
)
"""What may change in the template while the Job is suspended. Source: KEP-2926."""

_DIRECTIVES_SINCE = Version(1, 23)
_ELASTIC_SINCE = Version(1, 27)
_RESOURCES_SINCE = Version(1, 36)
"""From here on container resources may change while suspended too, and directives after a job has run. Source: KEP-5440."""


def fixed(version: Version, live: Json, wanted: Mapping[str, Json], paths: Iterable[Path]) -> tuple[Path, ...]:
    """Those of the paths that this server would refuse to change now in a Job.

    live: the present Job; wanted: what is to be applied; paths: in the Job, items of lists of maps as `[name=main]`.
    """
    return tuple(path for path in paths if not _may_change(version, live, wanted, path))


def unknown_since(version: Version, path: Path) -> Version | None:
    """The first version that knows a field which this server is too old for, None for any other field."""
    if version == (0, 0):
        return None
    needed = next((since for prefix, since in SINCE.items() if path[: len(prefix)] == prefix), None)
    return needed if needed is not None and version < needed else None


def _may_change(version: Version, live: Json, wanted: Mapping[str, Json], path: Path) -> bool:
    if path[:1] == ("metadata",):
        return True
    name = path[1] if len(path) > 1 else ""
    if name == "template":
        return _template_may_change(version, live, path[2:])
    if name == "completions":
        same = at(dict(wanted), "spec", "completions") == at(dict(wanted), "spec", "parallelism")
        return version >= _ELASTIC_SINCE and text(live, "spec", "completionMode") == "Indexed" and same
    return name in _ALWAYS


def _template_may_change(version: Version, live: Json, below: Path) -> bool:
    """below: the path within the template."""
    if at(live, "spec", "suspend") is not True or version < _DIRECTIVES_SINCE:
        return False
    directive = any(below[: len(prefix)] == prefix for prefix in _DIRECTIVES)
    resources = len(below) > 3 and below[1] in ("containers", "initContainers") and below[3] == "resources"
    started = at(live, "status", "startTime") is not None
    if version < _RESOURCES_SINCE:
        return directive and not started
    suspended = condition(live, "Suspended").get("status") == "True"
    idle = not number(mapping(live, "status"), "active")
    return (directive or resources) and idle and (suspended or not started)
