"""The configured backends of one command, opened when they are first needed."""

from collections.abc import Callable, Mapping
from threading import Lock

from jobform.model.errors import BackendError, FailedError, InputError
from jobform.model.job import BackendBlock
from jobform.model.state import Attempt
from jobform.model.values import Json, dotted
from jobform.protocols import Backend, BackendType, Place, Scope
from jobform.schema import SpecSchema


class Places:
    """Backends by configured name. Safe to use from several threads."""

    def __init__(
        self, blocks: Mapping[str, BackendBlock], types: Callable[[str], BackendType], settings: Callable[[str], SpecSchema],
        specs: Callable[[str], SpecSchema], place: Place,
    ) -> None:
        """types, settings, specs: a backend type, the schema of its block, and that of its specs, by the type's name."""
        self._blocks = blocks
        self._types = types
        self._settings = settings
        self._specs = specs
        self._place = place
        self._open: dict[str, Backend] = {}
        self._scopes: dict[str, Scope] = {}
        self._vouched: set[tuple[str, str]] = set()
        self._lock = Lock()

    def configured(self, name: str) -> bool:
        """Whether jobform.yaml has a backend of this name."""
        return name in self._blocks

    def type(self, name: str) -> BackendType:
        """The type of a configured backend. Raises InputError for a name that is not configured."""
        return self._types(self._block(name).type)

    def completes(self, attempt: Attempt, specs: Mapping[str, Json]) -> bool:
        """Whether an attempt ends by itself: its type says so, and what is in force for it; else it is converged while it runs.

        specs: the state's. True where its backend is not configured any more.
        """
        if not self.configured(attempt.backend):
            return True
        kind = self.type(attempt.backend)
        spec = specs.get(attempt.applied)
        return kind.completes and not (isinstance(spec, dict) and not self._specs(kind.name).completes(spec))

    def backend(self, name: str) -> Backend:
        """The backend itself, opened once. Raises InputError for a name that is not configured, or not as its type wants it."""
        with self._lock:
            if name not in self._open:
                block = self._block(name)
                for problem in self._settings(block.type).problems(block.settings):
                    raise InputError.of(
                        problem.code, f"backends.{dotted((name, *problem.path))}: {problem.summary}", detail=problem.detail,
                        hint=problem.hint, range=block.range,
                    )
                try:
                    self._open[name] = self._types(block.type).open(block, self._place)
                except BackendError as error:
                    raise InputError.of(
                        "bad_backend", f"backend {name!r} cannot be used: {error.summary}", detail=error.detail,
                        range=block.range,
                    ) from error
            return self._open[name]

    def scope(self, name: str) -> Scope:
        """Who the backend says it is, asked once per command. Raises FailedError when that cannot be proven."""
        backend = self.backend(name)
        with self._lock:
            if name not in self._scopes:
                try:
                    self._scopes[name] = backend.scope()
                except BackendError as error:
                    raise FailedError.of(
                        "scope_not_proven", f"backend {name!r} cannot say which place it reaches: {error.summary}",
                        detail=error.detail, range=self._block(name).range,
                        hint="nothing is believed to be gone until this is known; check its settings and credentials",
                    ) from error
            return self._scopes[name]

    def vouch(self, name: str, recorded: str) -> None:
        """A run of this recorded scope was seen by a backend: whatever its key is, it is of the same account."""
        self._vouched.add((name, recorded))

    def shows_all(self, name: str, recorded: str) -> bool:
        """Whether what a backend does not show has gone from the recorded scope, as far as is known by now."""
        return not recorded or (name, recorded) in self._vouched or self.scope(name).shows_all(recorded)

    def _block(self, name: str) -> BackendBlock:
        block = self._blocks.get(name)
        if block is None:
            raise InputError.of(
                "backend_not_configured", f"the state has jobs on backend {name!r}, which jobform.yaml does not configure",
                hint=f"put `{name}:` back under `backends:` until those jobs are deleted or forgotten",
            )
        return block
