"""From entries to jobs: render, validate, and settle what each needs."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial

from jobform.config.arrange import Arranger, Layout
from jobform.config.check import Locator, placed
from jobform.config.document import Document
from jobform.config.drift import unknown_fields
from jobform.config.expand import Entry
from jobform.config.files import ProjectFiles
from jobform.config.findings import Findings
from jobform.config.matrix import Instance
from jobform.config.needs import Directory, resolve_needs
from jobform.config.policy import read_policy
from jobform.config.problem import Problem, Report
from jobform.config.render import Renderer
from jobform.config.validate import validate_spec
from jobform.model.address import address_key
from jobform.model.files import FileError
from jobform.model.job import Job, Policy, Settings
from jobform.model.values import Json, Path, dotted, is_deferred
from jobform.protocols import Arranging
from jobform.schema import SpecSchema

_NOTHING: frozenset[str] = frozenset()


class JobBuilder:
    """Makes the jobs of one project."""

    def __init__(
        self, settings: Settings, files: ProjectFiles, names: Collection[str], specs: Mapping[str, SpecSchema],
        arranging: Mapping[str, Arranging], findings: Findings, sources: dict[str, Document],
    ) -> None:
        """names: of all jobs, also of those whose entries are wrong. specs, arranging: by backend name."""
        self._names, self._specs, self._arranging, self._findings = names, specs, arranging, findings
        self._files = files
        self._hashes: dict[tuple[str, bool | str | None], str | FileError] = {}
        self._renderer = Renderer(settings.variables, settings.sensitive, settings.target, files.text, names)
        self._arranger = Arranger(files, self._renderer, findings, sources)

    def build(self, entries: Iterable[Entry]) -> dict[str, Job]:
        """Every instance of every entry by address, in address order; what is wrong is noted."""
        kept = list(entries)
        directory = Directory({
            entry.name: sorted(((item.address, item.axes) for item in entry.instances), key=lambda pair: address_key(pair[0]))
            for entry in kept
        }, self._names)
        made = [job for entry in kept for job in self._jobs(entry, directory)]
        return {job.address: job for job in sorted(made, key=lambda job: address_key(job.address))}

    def _jobs(self, entry: Entry, directory: Directory) -> Iterable[Job]:
        def report(problem: Problem) -> None:
            self._findings.add(placed(problem, entry))

        policy = read_policy(entry.raw, report)
        schema = self._specs.get(entry.backend.name)
        if schema is not None:
            unknown_fields(policy.ignore_drift, schema, report)
        needs_templated = "needs" in entry.raw and entry.document.templated(("jobs", entry.name, "needs"))
        for instance in entry.instances:
            yield self._job(entry, instance, policy, schema, needs_templated, directory)

    def _job(
        self, entry: Entry, instance: Instance, policy: Policy, schema: SpecSchema | None, needs_templated: bool,
        directory: Directory,
    ) -> Job:
        report = partial(self._report, entry, instance.address)
        spec, outputs, broken = entry.spec, _NOTHING, set[Path]()
        inputs: dict[str, str] = {}
        if entry.templated:
            rendered = self._renderer.render(spec, instance.values, partial(self._report_spec, entry, instance.address, broken))
            assert isinstance(rendered.value, dict), "a map stays a map"
            spec, outputs = rendered.value, rendered.jobs
        arranging, layout = self._arranging.get(entry.backend.name), None
        if arranging is not None:
            layout = self._arranger.arrange(arranging, entry, instance, spec, broken)
            schema = schema if layout is not None else None
        if layout is not None:
            spec, outputs = layout.spec, outputs | layout.jobs
        if schema is not None:
            report_spec = partial(self._report_spec, entry, instance.address, broken, once=True, layout=layout)
            written, source = (layout.written, layout.source) if layout is not None else (entry.spec, entry.spec_source)
            spec = validate_spec(spec, written, schema, policy, report_spec, source)
            inputs = self._inputs(spec, schema, report_spec)
        needs: Json = entry.raw.get("needs")
        if needs_templated:
            listed = self._renderer.render({"needs": needs}, instance.values, report)
            if listed.secrets or listed.jobs:
                report(Problem(("needs",), "template_not_allowed", "needs may use var, matrix and target only", at_key=True))
            assert isinstance(listed.value, dict), "a map stays a map"
            needs = listed.value["needs"]
        found = resolve_needs(needs, instance.address, outputs, directory, report) if needs or outputs else ()
        generation = entry.raw.get("generation", 1)
        return Job(
            instance.address, entry.name, entry.backend.name, entry.backend.type, spec,
            replace(policy, needs=found) if found else policy, int(generation) if isinstance(generation, int | float) else 1,
            instance.values, instance.axes, inputs, entry.locate if layout is None else layout.locate,
        )

    def _inputs(self, spec: dict[str, Json], schema: SpecSchema, report: Report) -> dict[str, str]:
        """What the content of the files that a spec names is called; each is read once. What cannot be used is reported."""
        found: dict[str, str] = {}
        for path, value, rule in schema.inputs(spec):
            if is_deferred(value):
                report(Problem(
                    path, "not_known_yet", f"{dotted(path)} must be known when the job is planned",
                    "the project's files are looked at then", "write the path, or use a variable or a matrix key",
                ))
            elif isinstance(value, str):
                name = self._looked_at(value, rule.input)
                if isinstance(name, FileError):
                    report(Problem(path, name.code, name.summary, hint=name.hint))
                elif name:
                    found[value] = name
        return found

    def _looked_at(self, path: str, kind: bool | str | None) -> str | FileError:
        """What the content is called, "" for a directory that is written to."""
        key = (path, kind)
        if key not in self._hashes:
            try:
                self._hashes[key] = "" if kind == "output" else self._files.hashed(path, only_file=kind == "file")
                if kind == "output":
                    self._files.check_output(path)
            except FileError as error:
                self._hashes[key] = error
        return self._hashes[key]

    def _report(self, entry: Entry, address: str, problem: Problem) -> None:
        self._findings.add_for(entry.name, placed(problem, entry, (), address))

    def _report_spec(
        self, entry: Entry, address: str, broken: set[Path], problem: Problem, *, once: bool = False,
        layout: Layout | None = None,
    ) -> None:
        """broken: the paths with a problem so far. once: say nothing of a value that has one already."""
        written = layout.spot(problem.path).path if layout is not None else problem.path
        if not once or written not in broken:
            locator: Locator = entry if layout is None else layout
            self._findings.add_for(entry.name, placed(problem, locator, ("spec",), address))
        if not once:
            broken.add(problem.path)
