"""Values of declared variables: the last of default, target, `JOBFORM_VAR_NAME`, `--var-file` and `--var` wins.

A sensitive variable has no value here: it is a reference that is resolved at submission.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from jobform.config import scalars
from jobform.config.document import Document
from jobform.config.files import read_given
from jobform.config.findings import Findings
from jobform.config.load import MAX_DEPTH, load
from jobform.model.diagnostic import Range
from jobform.model.files import FileError
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path

PREFIX = "JOBFORM_VAR_"

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "list": (list,), "map": (dict,),
}
_PHRASES = {
    "string": "a string", "number": "a number", "integer": "a whole number", "boolean": "true or false", "list": "a list",
    "map": "a map",
}
_LONGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line and the environment say. variables: from --var, in order. var_files: in order."""

    variables: tuple[tuple[str, str], ...]
    var_files: tuple[FilePath, ...]
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Variables:
    """values: of all variables that are not sensitive."""

    values: Mapping[str, Json]
    sensitive: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a value comes from: `label` in words, `where` in a file."""

    label: str
    where: Range | None = None


def read_variables(project: Document, target: str | None, given: Given, findings: Findings) -> Variables:
    """All values for one target. project: jobform.yaml, whose shape was checked. Everything wrong is noted."""
    declared = _maps(_at(project.value, "variables"))
    _Declarations(project, declared, findings).check()
    values: dict[str, Json] = {}
    reader = _Reader(declared, findings, values)
    for name in declared:
        path: Path = ("variables", name, "default")
        if "default" in declared[name] and declared[name].get("sensitive") is not True:
            reader.take(name, declared[name]["default"], _Source("the default", project.locate(path)), project.source(path))
    if target is not None:
        for name, value in _map(_at(project.value, "targets", target, "variables")).items():
            path = ("targets", target, "variables", name)
            source = _Source(f"target {target}", project.locate(path))
            reader.take(name, value, source, project.source(path), project.locate(path, at_key=True))
    reader.environment(given.environ)
    for file in given.var_files:
        reader.file(file)
    reader.assignments(given.variables)
    sensitive = frozenset(name for name, entry in declared.items() if entry.get("sensitive") is True)
    for name in declared:
        if name not in values and name not in sensitive and name not in reader.failed:
            findings.error("no_value", f"the variable {name} has no value", project.locate(("variables", name), at_key=True),
                           hint=f"give it a default, or --var {name}=..., or {PREFIX}{name}")
    return Variables(values, sensitive)


class _Declarations:
    """What is wrong with `variables:` itself, beyond its shape."""

    def __init__(self, project: Document, declared: Mapping[str, Mapping[str, Json]], findings: Findings) -> None:
        self._project, self._declared, self._findings = project, declared, findings

    def check(self) -> None:
        """Note names that one environment variable could mean, and sensitive variables whose value stands in a file."""
        folded: dict[str, str] = {}
        for name, entry in self._declared.items():
            first = folded.setdefault(name.upper(), name)
            if first != name:
                self._findings.error("confusable_names", f"the variables {first} and {name} differ only by case",
                                     self._project.locate(("variables", name), at_key=True), hint="rename one of them")
            if entry.get("sensitive") is True and "default" in entry:
                self._findings.error("sensitive_value", f"the sensitive variable {name} has its value in a file",
                                     self._project.locate(("variables", name, "default"), at_key=True),
                                     hint=f"remove the default and set {PREFIX}{name} or {PREFIX}{name}_FILE")


class _Reader:
    """Takes values from one source after the other. failed: the names whose value was refused."""

    def __init__(self, declared: Mapping[str, Mapping[str, Json]], findings: Findings, values: dict[str, Json]) -> None:
        self._declared, self._findings, self._values = declared, findings, values
        self.failed: set[str] = set()

    def take(self, name: str, value: Json, source: _Source, written: str = "", key: Range | None = None) -> None:
        """A typed value from a file. written: its text there."""
        if not self._allowed(name, source, key):
            return
        kind = self._kind(name)
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
            quotable = kind == "string" and isinstance(value, bool | int | float) and written
            self._wrong(name, f"{source.label} of the variable {name} must be {_PHRASES[kind]}, not {_described(value)}", source,
                        f'quote it: "{_short(written)}"' if quotable else "")
        else:
            self._values[name] = value

    def text(self, name: str, text: str, source: _Source) -> None:
        """A value that can only be text: read by the variable's type."""
        if not self._allowed(name, source, None):
            return
        kind = self._kind(name)
        value: Json = text
        if len(text) > _LONGEST or "\0" in text:
            self._wrong(name, f"{source.label} is longer than 1 MiB or holds the character U+0000", source)
            return
        if kind in ("list", "map"):
            read = Findings()
            document = load(source.label, text.encode("utf-8", "surrogateescape"), read)
            if document is None:
                reason = next((found.summary for found in read.all()), "it cannot be read")
                self._wrong(name, f"{source.label} must be {_PHRASES[kind]}: {reason}", source)
                return
            value = document.value
        elif kind != "string":
            try:
                value = scalars.resolve(text)
            except scalars.BadNumber as bad:
                self._wrong(name, f"{source.label} must be {_PHRASES[kind]}: {bad}", source)
                return
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
            self._wrong(name, f"{source.label} must be {_PHRASES[kind]}, not {_short(text)!r}", source)
        else:
            self._values[name] = value

    def environment(self, environ: Mapping[str, str]) -> None:
        """`JOBFORM_VAR_NAME`, as the name is written or in upper case. Undeclared ones belong to other projects."""
        for name, entry in self._declared.items():
            for variable in dict.fromkeys((PREFIX + name.upper(), PREFIX + name)):
                if variable in environ and entry.get("sensitive") is not True:
                    self.text(name, environ[variable], _Source(variable))
                if f"{variable}_FILE" in environ and entry.get("sensitive") is not True:
                    self._findings.warning("not_sensitive", f"{variable}_FILE is ignored: the variable {name} is not sensitive",
                                           hint=f"set {variable}, or declare sensitive: true")

    def file(self, path: FilePath) -> None:
        """A YAML or JSON file with a map of values."""
        findings = Findings()
        document = _load_file(path, findings)
        self._findings.extend(findings.all())
        if document is None:
            return
        if not isinstance(document.value, dict):
            self._findings.error("wrong_type", f"{path} must be a map of variables", Range(str(path), 1, 1, 1, 1))
            return
        for name, value in document.value.items():
            here = document.locate((name,)) or Range(str(path), 1, 1, 1, 1)
            key = document.locate((name,), at_key=True) or here
            self.take(name, value, _Source(f"the value in {path}", here), document.source((name,)), key)

    def assignments(self, pairs: Iterable[tuple[str, str]]) -> None:
        """`--var NAME=VALUE`, each name once."""
        seen: set[str] = set()
        for name, value in pairs:
            if name in seen:
                self._wrong(name, f"--var {name} is given twice", _Source("--var"))
            elif not name:
                self._findings.error("bad_assignment", "--var needs a name before =", hint="write --var NAME=VALUE")
            else:
                self.text(name, value, _Source(f"--var {name}"))
            seen.add(name)

    def _allowed(self, name: str, source: _Source, key: Range | None) -> bool:
        if name not in self._declared:
            near = suggest(name, self._declared)
            known = ", ".join(sorted(self._declared)[:40])
            self._findings.error(
                "unknown_variable", f"the variable {_short(name)} is not declared", key or source.where,
                detail=f"given by {source.label}; " + (f"declared: {known}" if known else "no variables are declared"),
                hint=f"did you mean {near}?" if near else "declare it under variables: in jobform.yaml",
            )
            return False
        if self._declared[name].get("sensitive") is True:
            self._wrong(name, f"the variable {name} is sensitive and cannot be given by {source.label}", source,
                        f"set {PREFIX}{name} or {PREFIX}{name}_FILE", "sensitive_value")
            return False
        return True

    def _kind(self, name: str) -> str:
        kind = self._declared[name].get("type", "string")
        return kind if isinstance(kind, str) and kind in _KINDS else "string"

    def _wrong(self, name: str, summary: str, source: _Source, hint: str = "", code: str = "bad_variable") -> None:
        self.failed.add(name)
        self._findings.error(code, summary, source.where, hint=hint)


def _load_file(path: FilePath, findings: Findings) -> Document | None:
    start = Range(str(path), 1, 1, 1, 1)
    try:
        data = read_given(path)
    except FileError as error:
        findings.error(error.code, f"--var-file: {error.summary}", hint=error.hint)
        return None
    if path.suffix != ".json":
        return load(str(path), data, findings)
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number, parse_int=_number)
        _bounded(value)
    except RecursionError:
        findings.error("nesting_too_deep", f"values are nested too deep (limit {MAX_DEPTH})", start)
    except json.JSONDecodeError as error:
        here = Range(str(path), error.lineno, error.colno, error.lineno, error.colno + 1)
        findings.error("json_syntax", f"this is not valid JSON: {error.msg}", here)
    except ValueError as error:
        findings.error("bad_json", str(error), start)
    else:
        return Document(str(path), "", value, 0)
    return None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is written twice")
    return made


def _number(text: str) -> Json:
    return scalars.resolve(text)


def _no_constant(text: str) -> Json:
    raise ValueError(f"{text} is not allowed: JSON has no such number")


def _bounded(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [below for item in containers for below in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise ValueError(f"values are nested too deep (limit {MAX_DEPTH})")


def _described(value: Json) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    return f"the {'string' if isinstance(value, str) else 'value'} {_short(json.dumps(value, ensure_ascii=False))}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _at(value: Json, *path: str) -> Json:
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _map(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _maps(value: Json) -> dict[str, dict[str, Json]]:
    return {name: item for name, item in _map(value).items() if isinstance(item, dict)}
