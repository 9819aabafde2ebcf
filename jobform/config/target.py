"""Which target is meant, and what jobform.yaml says for it: state, lineage and backends, with `var` and `target` filled in."""

import posixpath
from collections.abc import Callable, Collection, Mapping
from pathlib import Path as FilePath

from jobform.config.check import placed
from jobform.config.document import Document
from jobform.config.findings import Findings
from jobform.config.problem import Problem
from jobform.config.render import Renderer
from jobform.config.variables import Given, Variables, read_variables
from jobform.model.diagnostic import Related
from jobform.model.job import BackendBlock, Settings, StoreBlock
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path, canonical, dotted

DEFAULT_STATE: Mapping[str, Json] = {"type": "file", "path": "jobform.state.json"}


def settings_for(
    directory: FilePath, project: Document, wanted: str | None, given: Given, jobs: Callable[[], Collection[str]],
    findings: Findings,
) -> Settings | None:
    """The settings of one target; None, with errors noted, when there is no telling which.

    project: jobform.yaml, whose shape was checked. jobs: the names of all jobs, asked for only to explain an unknown target.
    """
    value = project.value
    assert isinstance(value, dict)
    targets = _mapping(value.get("targets"))
    target = _chosen(project, targets, wanted, jobs, findings)
    if target is None and (targets or wanted is not None):
        return None
    variables = read_variables(project, target, given, findings)
    blocks = _Blocks(project, variables, target, findings)
    state = blocks.state()
    if targets:
        _tell_apart(project, targets, given, findings)
    lineage = _mapping(targets.get(target or "")).get("lineage", value.get("lineage"))
    listed = value.get("jobs")
    return Settings(
        directory=directory, project=str(value["project"]), target=target, lineage=lineage if isinstance(lineage, str) else None,
        state=state, backends=blocks.backends(_mapping(value.get("backends"))), variables=variables.values,
        sensitive=variables.sensitive,
        files=tuple(str(item) for item in listed) if isinstance(listed, list) else ("jobs/*.yaml",),
    )


def _chosen(
    project: Document, targets: Mapping[str, Json], wanted: str | None, jobs: Callable[[], Collection[str]], findings: Findings,
) -> str | None:
    value = project.value
    assert isinstance(value, dict)
    default = value.get("default_target")
    if isinstance(default, str) and default not in targets:
        near = suggest(default, targets)
        findings.error("unknown_target", f"default_target names {default!r}, which is no target",
                       project.locate(("default_target",)), detail=_known(targets), hint=f"did you mean {near}?" if near else "")
        return None
    name = wanted if wanted is not None else default
    if not targets and wanted is None:
        return None
    where = project.locate(("targets",), at_key=True)
    if not isinstance(name, str):
        findings.error("no_target", "this project has targets, and none is chosen", where, detail=_known(targets),
                       hint=f"give --target {next(iter(targets))}, or set default_target")
        return None
    if name not in targets:
        near = suggest(name, targets)
        hint = f"did you mean {near}?" if near else "" if targets else "leave --target out"
        if name in jobs():
            hint = f"did you mean --select {name}?"
        findings.error("unknown_target", f"there is no target {name[:80]!r}", where, detail=_known(targets), hint=hint)
        return None
    return name


def _known(targets: Mapping[str, Json]) -> str:
    return f"targets: {', '.join(targets)}" if targets else "the project has no targets"


def _tell_apart(project: Document, targets: Mapping[str, Json], given: Given, findings: Findings) -> None:
    """Two targets must share neither a lineage nor a state."""
    lineages: dict[str, str] = {}
    states: dict[str, str] = {}
    for name, block in targets.items():
        lineage = _mapping(block).get("lineage")
        if isinstance(lineage, str):
            first = lineages.setdefault(lineage, name)
            if first != name:
                _shared(project, "lineage", first, name, findings)
        quiet = Findings()  # another target's own mistakes are shown when it is chosen
        state = _Blocks(project, read_variables(project, name, given, quiet), name, quiet).state()
        if not quiet.failed:
            first = states.setdefault(_identity(state), name)
            if first != name:
                _shared(project, "state", first, name, findings)


def _shared(project: Document, what: str, first: str, second: str, findings: Findings) -> None:
    path: Path = ("targets", second, what)
    where = project.nearest(path, at_key=True)
    other = project.nearest(("targets", first, what), at_key=True)
    findings.error(
        f"shared_{what}", f"the targets {first} and {second} have the same {what}", where,
        detail="each target needs a state of its own, or one would undo what the other did",
        hint="give each its own" + ("" if what == "lineage" else ", for example by {{ target }} in its path"),
        related=[Related(f"{what} of {first}", other)] if other else [],
    )


def _identity(state: StoreBlock) -> str:
    settings = dict(state.settings)
    if state.type == "file":
        settings["path"] = posixpath.normpath(str(settings.get("path", DEFAULT_STATE["path"])))
    return canonical([state.type, settings])


class _Blocks:
    """The blocks of jobform.yaml in which texts may use `var` and `target`."""

    def __init__(self, project: Document, variables: Variables, target: str | None, findings: Findings) -> None:
        self._project, self._target, self._findings = project, target, findings
        self._renderer = Renderer(variables.values, variables.sensitive, target, _no_file, ())

    def state(self) -> StoreBlock:
        """The target's state, else the project's, else the default."""
        for path in ([("targets", self._target, "state")] if self._target else []) + [("state",)]:
            found = _at(self._project.value, path)
            if isinstance(found, dict):
                settings = {key: item for key, item in found.items() if key != "type"}
                return StoreBlock(str(found.get("type")), self._rendered(settings, path), self._project.locate(path, at_key=True))
        settings = {key: item for key, item in DEFAULT_STATE.items() if key != "type"}
        return StoreBlock(str(DEFAULT_STATE["type"]), settings)

    def backends(self, blocks: Mapping[str, Json]) -> dict[str, BackendBlock]:
        """Every configured backend. Its defaults stay as written: they are rendered with each job."""
        made = {}
        for name, block in blocks.items():
            if isinstance(block, dict):
                path: Path = ("backends", name)
                settings = {key: item for key, item in block.items() if key not in ("type", "defaults")}
                made[name] = BackendBlock(
                    name, str(block.get("type")), self._rendered(settings, path), _mapping(block.get("defaults")),
                    self._project.locate(path, at_key=True),
                )
        return made

    def _rendered(self, settings: dict[str, Json], path: Path) -> dict[str, Json]:
        if not self._project.templated(path):
            return settings
        made = {}
        for key, value in settings.items():
            here: Path = (*path, key)

            def report(problem: Problem, here: Path = here) -> None:
                self._findings.add(placed(problem, self._project, here))

            rendered = self._renderer.render(value, {}, report)
            if rendered.secrets:
                self._findings.error("template_not_allowed", f"{dotted(here)} cannot use a secret", self._project.locate(here),
                                     detail="only var and target may be used here, and no sensitive variable")
            made[key] = rendered.value
        return made


def _no_file(path: str) -> str:
    raise ValueError(f"file({path[:80]!r}) cannot be used here: only var and target may")


def _at(value: Json, path: Path) -> Json:
    for part in path:
        value = value.get(str(part)) if isinstance(value, dict) else None
    return value


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
