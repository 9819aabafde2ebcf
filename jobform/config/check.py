"""The shape of raw documents: which keys there are, what kind of value each has, and where templates may stand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from jobform.config.document import Document
from jobform.config.findings import Findings
from jobform.config.load import is_template
from jobform.model.address import NAME
from jobform.model.diagnostic import Diagnostic, Range, Related, Severity
from jobform.model.values import Json, Path, dotted, is_deferred
from jobform.schema import SpecSchema, load_document

_MOST_ENTRIES = 200
"""How many wrong entries of one file are explained: more than are shown, and few enough to be quick."""


class Trouble(Protocol):
    """What `Problem` and the schema's findings have in common."""

    @property
    def path(self) -> Path: ...
    @property
    def code(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def hint(self) -> str: ...
    @property
    def at_key(self) -> bool: ...


class Locator(Protocol):
    """Something that knows where values were written."""

    def nearest(self, path: Path, *, at_key: bool = False, offset: int | None = None) -> Range | None:
        """The place of a value or its key, else of the nearest ancestor's key."""


def placed(trouble: Trouble, locator: Locator, prefix: Path = (), address: str | None = None) -> Diagnostic:
    """A finding inside a value as a diagnostic in a file. prefix: where the value stands in what `locator` knows."""
    where = locator.nearest((*prefix, *trouble.path), at_key=trouble.at_key, offset=getattr(trouble, "offset", None))
    severity = getattr(trouble, "severity", Severity.ERROR)
    return Diagnostic(severity, trouble.code, trouble.summary, trouble.detail, trouble.hint, where, address)


@dataclass(frozen=True, slots=True)
class Checked:
    """jobs: the names of the entries that are as they must be. whole: whether the rest of the file is, too."""

    jobs: frozenset[str]
    whole: bool


def check_project(document: Document, findings: Findings) -> bool:
    """Whether jobform.yaml has the right shape; what is wrong is noted."""
    if not _is_map(document, findings, "jobform: 1 and project: NAME"):
        return False
    templated = _templates(document, _project_texts(document.value), findings)
    wrong = [found for found in _schema("project").problems(document.value, document.source) if found.path not in templated]
    for found in wrong:
        findings.add(placed(found, document))
    shape = not templated and not wrong
    if shape and isinstance(document.value, dict) and "targets" in document.value and "lineage" in document.value:
        lineage, targets = document.locate(("lineage",), at_key=True), document.locate(("targets",), at_key=True)
        findings.error(
            "exclusive_keys", "lineage belongs under each target when there are targets", lineage,
            hint="move it to the target that it belongs to", related=[Related("the targets", targets)] if targets else [],
        )
        return False
    return shape and plain_shapes(document, findings)


def check_jobs(document: Document, findings: Findings) -> Checked:
    """Which parts of a job file have the right shape; what is wrong is noted."""
    if document.value is None:
        return Checked(frozenset(), True)
    if not _is_map(document, findings, "a map with the key jobs"):
        return Checked(frozenset(), False)
    assert isinstance(document.value, dict)
    jobs = document.value.get("jobs")
    entries = jobs if isinstance(jobs, dict) else {}
    bad = set() if _schema("jobs").is_valid(document.value) else _explain_jobs(document, entries, findings)
    for path in _templates(document, _policy_texts(entries), findings):
        bad.add(path[1])
    if not plain_shapes(document, findings):
        bad.update(entries)
    _warn_of_commands(document, entries, findings)
    return Checked(frozenset(name for name in entries if name not in bad), None not in bad)


def _explain_jobs(document: Document, entries: dict[str, Json], findings: Findings) -> set[object]:
    """Note why a job file does not fit its schema; the names of the wrong jobs, and None when something else is wrong."""
    assert isinstance(document.value, dict)
    schema = _schema("jobs")
    valid = _entry_schema().is_valid
    wrong = {name: entry for name, entry in entries.items() if not NAME.fullmatch(name) or not valid(entry)}
    rest = dict(document.value)
    if isinstance(rest.get("jobs"), dict):
        rest["jobs"] = dict(list(wrong.items())[:_MOST_ENTRIES])
    bad: set[object] = set(wrong)
    for found in schema.problems(rest, document.source):
        in_job = len(found.path) > 1 and found.path[0] == "jobs"
        bad.add(found.path[1] if in_job else None)
        if not (in_job and is_template(str(_value_at(document.value, found.path)))):
            findings.add(placed(found, document))
    return bad


def _templates(document: Document, texts: Iterator[tuple[Path, str]], findings: Findings) -> set[Path]:
    """Note each text that holds a template and must not; their paths."""
    if not document.templates:
        return set()
    paths = set()
    for path, text in texts:
        if is_template(text):
            paths.add(path)
            findings.error("template_not_allowed", f"templates are not allowed in {dotted(path)}", document.nearest(path),
                           detail="they may stand in spec, needs, backends and state", hint="write the value out")
    return paths


def _policy_texts(entries: dict[str, Json]) -> Iterator[tuple[Path, str]]:
    """All texts of jobs in which templates must not stand."""
    for name, entry in entries.items():
        if isinstance(entry, dict):
            for key, value in entry.items():
                if key == "needs":
                    yield from _texts(value, ("jobs", name, key), lambda path: path[-1] == "when")
                elif key != "spec":
                    yield from _texts(value, ("jobs", name, key))


def _project_texts(value: Json) -> Iterator[tuple[Path, str]]:
    """All texts of jobform.yaml in which templates must not stand."""
    def outside(path: Path) -> bool:
        if path[0] == "targets":
            path = path[2:]
            if path[:1] != ("state",):
                return True
        return path[0] not in ("backends", "state") or (path[-1] == "type" and len(path) == (3 if path[0] == "backends" else 2))

    return _texts(value, (), outside)


def _texts(value: Json, path: Path, wanted: Callable[[Path], bool] = lambda _: True) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if wanted(path):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key), wanted)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index), wanted)


def plain_shapes(document: Document, findings: Findings) -> bool:
    """Whether nobody wrote the shape that stands for a value that is not known yet."""
    if "expr" not in document.text or "with" not in document.text:
        return True
    clean = True
    for path in _deferred_shapes(document.value, ()):
        clean = False
        findings.error("reserved_shape", "a map of just expr and with is reserved", document.nearest(path),
                       detail="jobform writes it for values that are not known yet", hint="rename a key or add another")
    return clean


def _deferred_shapes(value: Json, path: Path) -> Iterator[Path]:
    if is_deferred(value):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _deferred_shapes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _deferred_shapes(item, (*path, index))


def _warn_of_commands(document: Document, entries: dict[str, Json], findings: Findings) -> None:
    """`command: ["python train.py"]` names a program with a space in its name, which is hardly ever meant."""
    for name, entry in entries.items():
        spec = entry.get("spec") if isinstance(entry, dict) else None
        command = spec.get("command") if isinstance(spec, dict) else None
        if isinstance(command, list) and len(command) == 1 and isinstance(command[0], str):
            word = command[0].strip()
            if " " in word and not is_template(word) and "/" not in word.split()[0]:
                findings.warning(
                    "command_one_word", "the command is one word with spaces in it",
                    document.locate(("jobs", name, "spec", "command", 0)), hint=f"write [{', '.join(word.split()[:8])}]",
                )


def _is_map(document: Document, findings: Findings, wanted: str) -> bool:
    if isinstance(document.value, dict):
        return True
    where = document.locate((), at_key=True) if document.value is not None else document.range_of(0, 0)
    kind = "empty" if document.value is None else "a list" if isinstance(document.value, list) else "a single value"
    findings.error("wrong_type", f"{document.file} is {kind}, and must be a map", where, detail=f"expected {wanted}")
    return False


def _value_at(value: Json, path: Path) -> Json:
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


@cache
def _schema(name: str) -> SpecSchema:
    return SpecSchema(load_document(name))


@cache
def _entry_schema() -> SpecSchema:
    return SpecSchema({"$ref": "jobs.schema.json#/$defs/job"})
