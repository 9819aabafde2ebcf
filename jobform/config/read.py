"""From a project's directory to its settings and its jobs: load, check, expand, render and validate, with all errors at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Protocol

from jobform.config.build import JobBuilder
from jobform.config.check import check_jobs, check_project, placed
from jobform.config.document import Document
from jobform.config.expand import declared_names, expand
from jobform.config.files import ProjectFiles
from jobform.config.findings import Findings
from jobform.config.load import load
from jobform.config.moves import read_moves, read_removals
from jobform.config.needs import check_cycle
from jobform.config.target import settings_for
from jobform.config.variables import Given
from jobform.model.diagnostic import Range
from jobform.model.errors import JobformError
from jobform.model.files import FileError
from jobform.model.job import BackendBlock, Project, Settings
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path
from jobform.protocols import Arranging
from jobform.schema import SpecSchema

PROJECT_FILE = "jobform.yaml"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the command line and the environment add to the files.

    variables: names and values of --var, in order. allow_empty: no job file at all is not an error.
    """

    target: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    var_files: tuple[FilePath, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    allow_empty: bool = False


class BackendTypes(Protocol):
    """The backend types that this process knows. Every lookup raises InputError for a type that cannot be had."""

    def names(self) -> Collection[str]:
        """All of them."""

    def spec(self, type_name: str, blocks: Collection[Mapping[str, Json]] = (), /) -> SpecSchema:
        """The schema of `spec`. blocks: the settings of the project's backends of this type, which may extend it."""

    def arranging(self, type_name: str, /) -> Arranging | None:
        """The type itself where it arranges its specs."""

    def settings(self, type_name: str, /) -> SpecSchema:
        """The schema of a backend's block without `type` and `defaults`."""


def read_settings(directory: FilePath, options: ReadOptions) -> Settings:
    """What jobform.yaml says for the chosen target.

    Raises InputError with everything that is wrong with it; the shape of the job files is then looked at too, so that one run
    shows all errors that can be found.
    """
    reader = _Reader(directory)
    settings = reader.settings(options)
    if settings is None or reader.findings.failed:
        if settings is not None or reader.project is not None:
            reader.job_files(settings.files if settings else reader.patterns(), allow_empty=True)
        reader.findings.raise_errors(reader.sources)
    assert settings is not None, "errors were raised"
    return replace(settings, warnings=reader.findings.warnings(reader.sources))


def read_project(settings: Settings, options: ReadOptions, types: BackendTypes) -> Project:
    """All jobs of a project, rendered and valid, in address order. Raises InputError with every error of every file."""
    reader = _Reader(settings.directory)
    project = reader.project_file()
    findings, sources = reader.findings, reader.sources
    if project is None:
        findings.raise_errors(sources)
        raise AssertionError("a file that cannot be read is an error")
    specs, arranging = _specs(settings, project, types, findings)
    checked = reader.job_files(settings.files, options.allow_empty)
    documents = [document for document, _ in checked]
    names = declared_names(documents)
    entries = expand(project, settings.backends, checked, findings)
    builder = JobBuilder(settings, reader.files, names, specs, arranging, findings, sources)
    jobs = builder.build(entries)
    check_cycle(jobs, findings)
    moved = read_moves(documents, jobs, names, findings)
    removed = read_removals(documents, jobs, findings)
    findings.raise_errors(sources)
    return Project(settings, jobs, moved, removed, settings.warnings + findings.warnings(sources))


class _Reader:
    """The files of one project, each read once, and what was found in them."""

    def __init__(self, directory: FilePath) -> None:
        self.findings = Findings()
        self.sources: dict[str, Document] = {}
        self.files = ProjectFiles(directory)
        self.project: Document | None = None
        self._directory = directory

    def settings(self, options: ReadOptions) -> Settings | None:
        """The settings, as far as they can be told."""
        if options.environ.get("JOBFORM_SETTINGS"):
            self.findings.error("not_supported", "JOBFORM_SETTINGS is not supported yet",
                                detail="without it the settings would come from jobform.yaml, which is not what it asks for",
                                hint="unset it only if jobform.yaml may be trusted")
            return None
        project = self.project_file()
        if project is None:
            return None
        self.project = project
        if not check_project(project, self.findings):
            return None
        given = Given(options.variables, options.var_files, options.environ)
        return settings_for(self._directory, project, options.target, given, self._job_names, self.findings)

    def project_file(self) -> Document | None:
        """jobform.yaml, loaded."""
        try:
            data = self.files.read(PROJECT_FILE)
        except FileError as error:
            missing = error.code == "no_such_file"
            self.findings.error(
                "no_project" if missing else error.code,
                f"there is no {PROJECT_FILE} in {self._directory}" if missing else error.summary,
                hint="`jobform init` makes one; -C names another directory" if missing else error.hint,
            )
            return None
        return self._load(PROJECT_FILE, data)

    def patterns(self) -> tuple[str, ...]:
        """The job files' patterns, of a jobform.yaml that is wrong in other ways."""
        value = self.project.value if self.project else None
        listed = value.get("jobs") if isinstance(value, dict) else None
        return tuple(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else ("jobs/*.yaml",)

    def job_files(self, patterns: tuple[str, ...], allow_empty: bool) -> list[tuple[Document, frozenset[str]]]:
        """Every job file that can be read, with the names of the entries that have the right shape."""
        project = self.sources.get(PROJECT_FILE)

        def report(index: int, error: FileError) -> None:
            where = project.locate(("jobs", index)) or project.locate((), at_key=True) if project else None
            self.findings.error(error.code, error.summary, where, hint=error.hint)

        checked = []
        for path in self.files.matching(patterns, allow_empty, report):
            try:
                data = self.files.read(path)
            except FileError as error:
                self.findings.error(error.code, error.summary, Range(path, 1, 1, 1, 1), hint=error.hint)
                continue
            document = self._load(path, data)
            if document is not None:
                checked.append((document, check_jobs(document, self.findings).jobs))
        return checked

    def _load(self, path: str, data: bytes) -> Document | None:
        document = load(path, data, self.findings)
        shown = document or Document(path, data.decode("utf-8", "replace").removeprefix("\ufeff"), None, 0)
        self.sources[path] = shown
        return document

    def _job_names(self) -> set[str]:
        """The names of all jobs, whatever else is wrong: only to explain an unknown target."""
        aside = _Reader(self._directory)
        return declared_names(document for document, _ in aside.job_files(self.patterns(), allow_empty=True))


def _specs(
    settings: Settings, project: Document, types: BackendTypes, findings: Findings,
) -> tuple[dict[str, SpecSchema], dict[str, Arranging]]:
    """By the backend's name: the spec schema of each backend whose type can be had, and those types that arrange specs.

    The settings are validated on the way. What cannot be told with wrong settings is left out.
    """
    specs: dict[str, SpecSchema] = {}
    arranging: dict[str, Arranging] = {}
    known = types.names()
    for name, block in settings.backends.items():
        path: Path = ("backends", name)
        if block.type not in known:
            near = suggest(block.type, known)
            findings.error(
                "unknown_backend_type", f"there is no backend type {block.type[:80]!r}", project.locate((*path, "type")),
                detail=f"installed: {', '.join(sorted(known)) or 'none'}",
                hint=f"did you mean {near}?" if near else "install the package that offers it",
            )
            continue
        try:
            valid = _settings_fit(block, types.settings(block.type), project, findings)
            arranger = types.arranging(block.type)
            if arranger is None or valid:
                specs[name] = types.spec(block.type, blocks_of(settings, block.type) if valid else ())
            if arranger is not None and valid:
                arranging[name] = arranger
        except JobformError as error:
            findings.extend(replace(found, range=found.range or project.locate((*path, "type"))) for found in error.diagnostics)
    return specs, arranging


def blocks_of(settings: Settings, type_name: str) -> list[Mapping[str, Json]]:
    """The settings of all backends of one type."""
    return [block.settings for block in settings.backends.values() if block.type == type_name]


def _settings_fit(block: BackendBlock, schema: SpecSchema, project: Document, findings: Findings) -> bool:
    path: Path = ("backends", block.name)
    problems = list(schema.problems(block.settings, lambda below: project.source((*path, *below))))
    findings.extend(placed(problem, project, path) for problem in problems)
    return not problems
