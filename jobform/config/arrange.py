"""Specs that a backend type arranges: the files that they name are read once, and every value keeps the place where it stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobform.config.check import placed, plain_shapes
from jobform.config.document import Document
from jobform.config.expand import Entry, at_indices
from jobform.config.files import ProjectFiles
from jobform.config.findings import Findings
from jobform.config.load import load_foreign
from jobform.config.matrix import Instance
from jobform.config.problem import Problem
from jobform.config.render import Renderer
from jobform.config.validate import without
from jobform.model.diagnostic import Diagnostic, Range, Related, Severity
from jobform.model.files import FileError
from jobform.model.values import Json, Path, canonical
from jobform.protocols import Arranged, Arranging, Claim, Complaint, Spot

MAX_BYTES = 4 * 1024 * 1024 - 1
"""The largest file that a spec may name."""

Report = Callable[[Diagnostic], None]


@dataclass(frozen=True, slots=True)
class Layout:
    """A spec as its backend type arranged it, and where its values stand. jobs: whose outputs its files read.

    written: the same spec before its templates were rendered.
    """

    spec: dict[str, Json]
    written: dict[str, Json]
    jobs: frozenset[str]
    entry: Entry
    files: Mapping[str, Document]
    origins: Mapping[Path, Spot]

    def nearest(self, path: Path, *, at_key: bool = False, offset: int | None = None) -> Range | None:
        """As `Entry.nearest`, for a path of the arranged entry."""
        if path[:1] != ("spec",):
            return self.entry.nearest(path, at_key=at_key, offset=offset)
        spot = self.spot(path[1:])
        document = self.files.get(spot.file)
        if document is not None:
            return document.nearest(spot.path, at_key=at_key, offset=offset)
        return self.entry.nearest(("spec", *spot.path), at_key=at_key, offset=offset)

    def locate(self, path: Path) -> Range | None:
        """For the job's `locate`: the empty path is its name."""
        return self.nearest(path, at_key=not path)

    def source(self, path: Path) -> str:
        """How a scalar of the arranged spec was written."""
        spot = self.spot(path)
        document = self.files.get(spot.file)
        return document.source(spot.path) if document is not None else self.entry.spec_source(spot.path)

    def spot(self, path: Path) -> Spot:
        """Where what stands at a path of the arranged spec was written."""
        path = at_indices(self.spec, path)
        for length in range(len(path), 0, -1):
            origin = self.origins.get(path[:length])
            if origin is not None:
                return origin.below(*path[length:])
        return Spot(path)


class Arranger:
    """Arranges the specs of one project."""

    def __init__(self, files: ProjectFiles, renderer: Renderer, findings: Findings, sources: dict[str, Document]) -> None:
        """sources: gets every file that is read, for the lines that messages show."""
        self._files, self._renderer, self._findings, self._sources = files, renderer, findings, sources
        self._documents: dict[str, Document | FileError | None] = {}
        self._claims: dict[tuple[str, str], tuple[_Pages, Spot]] = {}
        self._where: dict[str, str] = {}

    def arrange(
        self, arranging: Arranging, entry: Entry, instance: Instance, spec: dict[str, Json], broken: set[Path],
    ) -> Layout | None:
        """The rendered spec of one instance, arranged; None, with errors noted, when it cannot be.

        broken: paths whose templates could not be rendered; nothing further is said of them.
        """
        def report(diagnostic: Diagnostic) -> None:
            self._findings.add_for(entry.name, replace(diagnostic, address=instance.address))

        pages = _Pages(self, entry, instance, report)
        arranged = arranging.arrange(spec, entry.backend.settings, pages)
        shown = [item for item in arranged.complaints if item.spot.file or item.spot.path not in broken]
        arranged, shown = _without_optional(arranged, shown, entry.raw.get("optional_keys"))
        allowed = entry.raw.get("allow_plain")
        for complaint in shown:
            if complaint.code != "plain_secret" or not _allowed(complaint.spot.path, allowed):
                report(pages.diagnostic(complaint))
        for claim in arranged.claims:
            self._claim(claim, pages)
        if pages.failed or not arranged.judge:
            return None
        written = dict(arranged.spec) | {key: value for key, value in entry.spec.items() if key in arranged.spec}
        return Layout(
            arranged.spec, _raw(written, arranged, entry.spec, pages.files), frozenset(pages.jobs), entry, pages.files,
            arranged.origins,
        )

    def load(self, path: str) -> Document | FileError | None:
        """A file's documents; None, with errors noted once, when its text is wrong. path: without needless parts."""
        if path not in self._documents:
            self._documents[path] = self._load(path)
        return self._documents[path]

    def _load(self, path: str) -> Document | FileError | None:
        try:
            data = self._files.read(path, MAX_BYTES)
        except FileError as error:
            return error
        document = load_foreign(path, data, self._findings)
        text = document or Document(path, data.decode("utf-8", "replace").removeprefix("\ufeff"), None, 0)
        self._sources.setdefault(path, text)
        return document if document is not None and plain_shapes(document, self._findings) else None

    def render(self, value: Json, matrix: Mapping[str, Json], report: Callable[[Problem], None]) -> tuple[Json, frozenset[str]]:
        """The value with its templates rendered, and the jobs whose outputs it reads."""
        rendered = self._renderer.render(value, matrix, report)
        return rendered.value, rendered.jobs

    def _claim(self, claim: Claim, pages: "_Pages") -> None:
        """Only one job can be one thing in one place; a place is told by all that its backend's block says."""
        backend = pages.entry.backend
        if backend.name not in self._where:
            self._where[backend.name] = canonical([backend.type, backend.settings])
        first, spot = self._claims.setdefault((self._where[backend.name], claim.identity), (pages, claim.spot))
        if first is pages:
            return
        same, where = first.entry.name == pages.entry.name, first.place(spot)
        pages.report(Diagnostic(
            Severity.ERROR, "duplicate_object",
            f"{first.instance.address} and {pages.instance.address} both name {claim.described}",
            "there can be only one of it, and one job would overwrite the other's",
            "put a value of the matrix into its name" if same else "give one of them another name", pages.place(claim.spot),
            related=() if where is None or same else (Related(f"{first.instance.address} has it here", where),),
        ))


def _without_optional(
    arranged: Arranged, complaints: list[Complaint], optional: Json,
) -> tuple[Arranged, list[Complaint]]:
    """What is left when keys that the backend lacks may be dropped: the schema knows them, and this backend does not."""
    names = {tuple(str(key).split(".")) for key in optional} if isinstance(optional, list) else set()
    lacking = names & {item.spot.path for item in complaints if item.code == "unknown_key" and not item.spot.file}
    if not lacking:
        return arranged, complaints
    spec = arranged.spec
    for path in lacking:
        spec = without(spec, path)
    return replace(arranged, spec=spec), [item for item in complaints if item.spot.path not in lacking]


@dataclass(slots=True)
class _Pages:
    """What one instance's spec may look at; see `protocols.Written`."""

    arranger: Arranger
    entry: Entry
    instance: Instance
    report: Report
    files: dict[str, Document] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    failed: bool = False

    def documents(self, file: str, spot: Spot, *, templates: bool) -> Sequence[Json] | None:
        path = "/".join(part for part in file.split("/") if part not in ("", ".")) if not file.startswith("/") else file
        found = self.arranger.load(path)
        if not isinstance(found, Document):
            self.failed = True
            if isinstance(found, FileError):
                self.report(Diagnostic(Severity.ERROR, found.code, str(found), "", found.hint, self.place(spot)))
            return None
        self.files[file] = found
        value = found.value
        if templates and found.templates:
            value, jobs = self.arranger.render(value, self.instance.values, self._in(found))
            self.jobs |= jobs
        assert isinstance(value, list), "documents are a list"
        return value

    def source(self, spot: Spot) -> str:
        document = self.files.get(spot.file)
        return document.source(spot.path) if document is not None else self.entry.spec_source(spot.path)

    def place(self, spot: Spot, *, at_key: bool = False) -> Range | None:
        """Where a spot is."""
        document = self.files.get(spot.file)
        if document is not None:
            return document.nearest(spot.path, at_key=at_key)
        return self.entry.nearest(("spec", *spot.path), at_key=at_key)

    def diagnostic(self, complaint: Complaint) -> Diagnostic:
        """A complaint with its places."""
        related = ((words, self.place(spot, at_key=complaint.at_key)) for words, spot in complaint.related)
        return Diagnostic(
            Severity.WARNING if complaint.warning else Severity.ERROR, complaint.code, complaint.summary, complaint.detail,
            complaint.hint, self.place(complaint.spot, at_key=complaint.at_key),
            related=tuple(Related(words, where) for words, where in related if where is not None),
        )

    def _in(self, document: Document) -> Callable[[Problem], None]:
        def report(problem: Problem) -> None:
            self.failed = True
            self.report(placed(problem, document))

        return report


def _allowed(path: Path, allowed: Json) -> bool:
    return isinstance(allowed, list) and any(part in allowed for part in path)


def _raw(written: dict[str, Json], arranged: Arranged, spec: dict[str, Json], files: Mapping[str, Document]) -> dict[str, Json]:
    """The arranged spec with every part that has an origin as it stands there, before it was rendered."""
    for path, spot in sorted(arranged.origins.items(), key=lambda origin: len(origin[0])):
        document = files.get(spot.file)
        value: Json = document.value if document is not None else spec
        for part in spot.path:
            value = _part(value, part)
        written = _with(written, path, value)
    return written


def _with(whole: dict[str, Json], path: Path, value: Json) -> dict[str, Json]:
    name = str(path[0])
    if len(path) == 1:
        return {**whole, name: value}
    below = whole.get(name)
    return {**whole, name: _with(below if isinstance(below, dict) else {}, path[1:], value)}


def _part(value: Json, part: str | int) -> Json:
    """A part of a value, or the expression that all of it comes from."""
    if isinstance(value, dict) and isinstance(part, str):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int):
        return value[part] if part < len(value) else None
    return value if isinstance(value, str) else None
