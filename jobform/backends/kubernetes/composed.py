"""What one attempt is in a cluster: the objects to apply, and which of the user's fields each part of them comes from."""

from dataclasses import dataclass, field
from typing import TypeAlias

from jobform.backends.kubernetes.kinds import Kind
from jobform.model.values import Json, Path

Manifest: TypeAlias = dict[str, Json]
"""An object of the cluster as its JSON: `apiVersion`, `kind`, `metadata` and the rest."""

Origins: TypeAlias = tuple[tuple[Path, Path], ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """The objects of one attempt, complete but for the uid.

    workload: the job-like object. companions: applied before it, in this order. kind: the workload's. held_back: an RFC 7386
    patch of the workload that only `release` sends, because it lets the cluster forget the run; None when there is none.
    origins: prefixes of paths in the workload with the field of the spec that each comes from. companion_origins: the same for
    each companion. Items of lists of maps are written `[name=main]`, others by number. verbatim: what lies below a prefix
    lies in the spec below its field in the same shape; otherwise a prefix maps to its field and no deeper.
    queued: a queue admits the workload, so `suspend` and the scheduling of its template are not ours alone.
    """

    workload: Manifest = field(repr=False)  # no secret is in it, but a traceback has no use for its pages
    kind: Kind
    companions: tuple[Manifest, ...] = field(default=(), repr=False)
    held_back: Manifest | None = None
    origins: Origins = field(default=(), repr=False)
    companion_origins: tuple[Origins, ...] = field(default=(), repr=False)
    verbatim: bool = False
    queued: bool = False

    def spec_path(self, object_path: Path) -> Path | None:
        """The field of the spec that a path of the workload comes from, None for what jobform adds itself.

        The path is one within the spec: `("resources", "memory")`, `("objects", "Job", "spec", "parallelism")`.
        """
        return self._origin(self.origins, object_path)

    def companion_path(self, index: int, object_path: Path) -> Path | None:
        """The same for a path of the companion at that place in `companions`."""
        return self._origin(self.companion_origins[index], object_path)

    def _origin(self, origins: Origins, object_path: Path) -> Path | None:
        known = dict(origins)
        for length in range(len(object_path), -1, -1):
            source = known.get(object_path[:length])
            if source is not None:
                return (*source, *object_path[length:]) if self.verbatim else source or None
        return None
