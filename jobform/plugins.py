"""Finds backends, stores and views by entry point; what comes with jobform registers the same way as everyone else's."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from jobform.model.errors import InputError
from jobform.model.suggest import suggest
from jobform.model.values import Json, canonical
from jobform.protocols import Arranging, BackendType, Extensible, Screen, StoreType, View
from jobform.schema import SpecSchema


@cache
def _installed(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of one group by name; a distribution that comes later on the path does not shadow an earlier one."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def _load(group: str, kind: str, name: str) -> object:
    points = _installed(group)
    if name not in points:
        raise InputError.of(
            f"unknown_{kind}_type", f"there is no {kind} type {name!r}",
            detail=f"installed: {', '.join(sorted(points)) or 'none'}", hint=_did_you_mean(name, points),
        )
    try:
        return points[name].load()
    except ImportError as error:
        raise InputError.of(
            "plugin_failed", f"the {kind} type {name!r} could not be loaded: {error}",
            detail=f"entry point {points[name].value}", hint="install the extra or the package that it needs",
        ) from error


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = suggest(name, known)
    return f"did you mean {near!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class Registry:
    """Every plug-in that this process may use. Explicit ones win over installed ones; loading happens at first use."""

    backends: Mapping[str, BackendType] = field(default_factory=dict)
    stores: Mapping[str, StoreType] = field(default_factory=dict)
    views: Mapping[str, Callable[[Screen], View]] = field(default_factory=dict)
    schemas: dict[tuple[str, str], SpecSchema] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def installed(cls) -> "Registry":
        """What entry points offer, and nothing else."""
        return cls()

    def names(self) -> Collection[str]:
        """The names of all backend types."""
        return sorted({*self.backends, *_installed("jobform.backends")})

    def backend(self, name: str) -> BackendType:
        """The backend type of this name. Raises InputError when there is none or its dependencies are missing."""
        if name in self.backends:
            return self.backends[name]
        loaded: BackendType = _load("jobform.backends", "backend", name)  # type: ignore[assignment]  # an entry point is untyped
        return loaded

    def store(self, name: str) -> StoreType:
        """The store type of this name. Raises InputError as `backend` does."""
        if name in self.stores:
            return self.stores[name]
        loaded: StoreType = _load("jobform.stores", "store", name)  # type: ignore[assignment]  # an entry point is untyped
        return loaded

    def view(self, name: str, screen: Screen) -> View:
        """The view of this name, writing to a screen."""
        factory = self.views.get(name) or _load("jobform.views", "view", name)
        view: View = factory(screen)  # type: ignore[operator]  # an entry point is untyped
        return view

    def spec(self, type_name: str, blocks: Collection[Mapping[str, Json]] = ()) -> SpecSchema:
        """The schema of `spec` for a backend type. blocks: the settings of the project's backends of that type.

        Raises InputError where the blocks of a type that can be extended do not agree.
        """
        backend = self.backend(type_name)
        if blocks and isinstance(backend, Extensible):
            return self._schema(f"spec {canonical(list(blocks))}", type_name, lambda: backend.spec_schema_for(blocks))
        return self._schema("spec", type_name, backend.spec_schema)

    def settings(self, type_name: str) -> SpecSchema:
        """The schema of a backend block for a backend type."""
        return self._schema("settings", type_name, self.backend(type_name).settings_schema)

    def arranging(self, type_name: str) -> Arranging | None:
        """The backend type of this name, if it arranges its specs."""
        backend: object = self.backend(type_name)
        return backend if isinstance(backend, Arranging) else None

    def _schema(self, kind: str, type_name: str, document: Callable[[], dict[str, Json]]) -> SpecSchema:
        key = (kind, type_name)
        if key not in self.schemas:
            self.schemas[key] = SpecSchema(document())
        return self.schemas[key]
