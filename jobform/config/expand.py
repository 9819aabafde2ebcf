"""From raw job entries to instances: backend defaults laid under each spec, one instance for each combination of a matrix."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobform.config.check import placed
from jobform.config.document import Document
from jobform.config.findings import Findings
from jobform.config.matrix import Instance, instances
from jobform.config.problem import Problem
from jobform.model.diagnostic import Range, Related
from jobform.model.job import BackendBlock
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path

MAX_INSTANCES = 200_000
"""How many instances a project may have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One job as written, with its backend's defaults.

    raw: the entry under `jobs:`. spec: with the defaults of its backend, not rendered. templated: whether `spec` has a template.
    document: the job's file; project: jobform.yaml.
    """

    name: str
    raw: dict[str, Json]
    backend: BackendBlock
    spec: dict[str, Json]
    templated: bool
    instances: tuple[Instance, ...]
    document: Document
    project: Document

    def nearest(self, path: Path, *, at_key: bool = False, offset: int | None = None) -> Range | None:
        """Where a value of the entry was written: here, in the backend's defaults, else the nearest place around it."""
        document, whole = self._home(at_indices(self.raw if path[:1] != ("spec",) else {"spec": self.spec}, path))
        return document.nearest(whole, at_key=at_key, offset=offset)

    def locate(self, path: Path) -> Range | None:
        """The same for the job's `locate`: the empty path is its name."""
        return self.nearest(path, at_key=not path)

    def spec_source(self, path: Path) -> str:
        """How a scalar of `spec` was written."""
        document, whole = self._home(("spec", *path))
        return document.source(whole)

    def _home(self, path: Path) -> tuple[Document, Path]:
        whole: Path = ("jobs", self.name, *path)
        if path[:1] == ("spec",) and self.document.find(whole) is None:
            default: Path = ("backends", self.backend.name, "defaults", *path[1:])
            if self.project.find(default) is not None:
                return self.project, default
        return self.document, whole


def expand(
    project: Document, backends: Mapping[str, BackendBlock], files: Iterable[tuple[Document, frozenset[str]]],
    findings: Findings,
) -> list[Entry]:
    """Every job whose entry is as it must be, in the order of the files. files: documents, each with its good entries' names."""
    maker = _Maker(project, backends, findings)
    entries = []
    for document, good in files:
        for name, raw in _jobs(document).items():
            maker.declare(document, name)
            if name in good and isinstance(raw, dict):
                entry = maker.entry(document, name, raw)
                if entry is not None:
                    entries.append(entry)
    return entries


def declared_names(documents: Iterable[Document]) -> set[str]:
    """The names of all jobs, also of those whose entries are wrong."""
    return {name for document in documents for name in _jobs(document)}


class _Maker:
    """Makes entries, and knows what was declared before."""

    def __init__(self, project: Document, backends: Mapping[str, BackendBlock], findings: Findings) -> None:
        self._project, self._backends, self._findings = project, backends, findings
        self._names: dict[str, Document] = {}  # the first document that declares a name
        self._folded: dict[str, str] = {}
        self._repeated: set[tuple[str, str]] = set()
        self._templated = {name: project.templated(("backends", name, "defaults")) for name in backends}
        self._count = 0

    def declare(self, document: Document, name: str) -> None:
        """Note a name that is taken, or that is easily mistaken for another."""
        folded = name.lower().replace("-", "").replace("_", "")
        near = self._folded.setdefault(folded, name)
        first = self._names.setdefault(near, document)
        if near == name and first is document:
            return
        here, other = document.locate(("jobs", name), at_key=True), first.locate(("jobs", near), at_key=True)
        related = [Related("the other is declared here", other)] if other else []
        if near == name:
            self._repeated.add((document.file, name))
            self._findings.error("duplicate_job", f"the job {name} is declared twice", here, hint="rename one of them",
                                 related=related)
        else:
            self._findings.error("confusable_names", f"the jobs {near} and {name} differ only by case, - and _", here,
                                 hint="rename one of them", related=related)

    def entry(self, document: Document, name: str, raw: dict[str, Json]) -> Entry | None:
        """An entry with its instances; None, with an error noted, when it has no backend or its name is taken."""
        backend = self._backends.get(str(raw["backend"]))
        if backend is None:
            self._unknown_backend(document, name, str(raw["backend"]))
            return None
        if (document.file, name) in self._repeated:
            return None
        written = raw["spec"]
        assert isinstance(written, dict), "checked"
        spec = overlay(backend.defaults, written) if backend.defaults else written
        templated = self._templated[backend.name] or document.templated(("jobs", name, "spec"))
        found = self._instances(document, name, raw)
        return Entry(name, raw, backend, spec, templated, tuple(found), document, self._project)

    def _instances(self, document: Document, name: str, raw: dict[str, Json]) -> list[Instance]:
        matrix = raw.get("matrix")
        if not isinstance(matrix, dict):
            return [Instance(name, {}, {})]
        path: Path = ("jobs", name, "matrix")

        def report(problem: Problem) -> None:
            self._findings.add(placed(problem, document, path))

        found = instances(name, matrix, lambda below: document.source((*path, *below)), report)
        self._count += len(found)
        if self._count > MAX_INSTANCES:
            report(Problem((), "too_many_jobs", f"the project has more than {MAX_INSTANCES} instances", at_key=True))
            return []
        return found

    def _unknown_backend(self, document: Document, name: str, backend: str) -> None:
        near = suggest(backend, self._backends)
        known = ", ".join(sorted(self._backends)[:40])
        self._findings.error(
            "unknown_backend", f"there is no backend {backend[:80]!r}", document.locate(("jobs", name, "backend")),
            detail=f"backends in jobform.yaml: {known}" if known else "jobform.yaml has no backends",
            hint=f"did you mean {near}?" if near else "",
        )


def at_indices(value: Json, path: Path) -> Path:
    """A path in a value with each `[key=value]` in it as the position of that item in its list, up to one that is not there."""
    if not any(isinstance(part, str) and part[:1] == "[" for part in path):
        return path
    found: list[str | int] = []
    for part in path:
        position = _position(value, part) if isinstance(value, list) else None
        if isinstance(value, list) and position is None:
            break
        found.append(part if position is None else position)
        value = value[position] if isinstance(value, list) and position is not None else (
            value.get(str(part)) if isinstance(value, dict) else None)
    return tuple(found)


def _position(listed: list[Json], part: str | int) -> int | None:
    """Where in a list the item is that a part of a path names."""
    if isinstance(part, int):
        return part if part < len(listed) else None
    key, _, wanted = part.removeprefix("[").removesuffix("]").partition("=")
    return next((i for i, item in enumerate(listed) if isinstance(item, dict) and str(item.get(key)) == wanted), None)


def overlay(defaults: dict[str, Json], spec: dict[str, Json]) -> dict[str, Json]:
    """RFC 7386, except that a null which removes nothing stays: it is a key without a value, which the schema then names."""
    merged = dict(defaults)
    for key, value in spec.items():
        below = merged.get(key)
        if value is None and key in merged:
            del merged[key]
        elif isinstance(value, dict) and isinstance(below, dict):
            merged[key] = overlay(below, value)
        else:
            merged[key] = value
    return merged


def _jobs(document: Document) -> dict[str, Json]:
    jobs = document.value.get("jobs") if isinstance(document.value, dict) else None
    return jobs if isinstance(jobs, dict) else {}
