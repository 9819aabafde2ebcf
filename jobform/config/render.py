"""String scalars with `{{ }}` to values: at planning as far as variables, matrix, target and files reach, at submission the rest.

A scalar that names a secret, a sensitive variable or another job's output is kept as `{expr, with}`: its text, and the values of
everything else that it reads. `resolve` evaluates it when those are known.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobform.config.problem import Problem, Report
from jobform.config.secrets import VARIABLE_PREFIX, environment_variable
from jobform.model.suggest import suggest
from jobform.model.values import Json, Path, is_deferred

if TYPE_CHECKING:
    from jobform.config.syntax import Fault, Read
    from jobform.config.template import Expression, Piece

ReadFile = Callable[[str], str]
"""The text of a file of the project. Raises ValueError, with a plain sentence, or OSError."""

Secrets = Callable[[str], str | None]
"""The value of a secret by name, of a sensitive variable by `JOBFORM_VAR_NAME`; None when the runner has none."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A tree with its templates replaced.

    jobs: whose outputs are read. secrets: the names that are read, `JOBFORM_VAR_NAME` for sensitive variables.
    """

    value: Json
    jobs: frozenset[str]
    secrets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A tree with its `{expr, with}` replaced. value may hold secrets: it is neither shown nor stored.

    used: what was read of other jobs, keyed `jobs.prep.outputs.count`. missing: what is not there; of secrets the environment
    variable that would hold it. problems: what could not be evaluated with the values that are there. Scalars with either stay
    as they are.
    """

    value: Json = field(repr=False)
    used: dict[str, Json]
    missing: frozenset[str]
    problems: tuple[Problem, ...] = ()


class Renderer:
    """Renders the values of one project for one target. Holds what is equal for all jobs."""

    def __init__(
        self, variables: Mapping[str, Json], sensitive: Collection[str], target: str | None, read_file: ReadFile,
        jobs: Collection[str],
    ) -> None:
        """sensitive: the variables whose values are only known at submission. jobs: every job's name."""
        self.variables, self.sensitive, self.target, self.jobs = variables, frozenset(sensitive), target, jobs
        self._read_file = read_file
        self._files: dict[str, str | Exception] = {}
        self._faults: dict[Expression, tuple[Fault, ...]] = {}
        self._constants: dict[Expression, Json] = {}

    def render(self, value: Json, matrix: Mapping[str, Json], report: Report) -> Rendered:
        """The tree with every string scalar rendered; keys are left alone.

        A scalar that cannot be rendered is reported and becomes an `{expr, with}` that reads nothing, so that no later stage
        complains about it again.
        """
        walk = _Walk(self, matrix, report)
        return Rendered(walk.value(value, ()), frozenset(walk.jobs), frozenset(walk.secrets))

    def faults(self, expression: "Expression") -> tuple["Fault", ...]:
        """What is wrong with an expression here, whatever the matrix."""
        found = self._faults.get(expression)
        if found is None:
            found = expression.faults or tuple(fault for read in expression.reads for fault in self._judge(read, expression))
            self._faults[expression] = found
        return found

    def read(self, read: "Read", matrix: Mapping[str, Json]) -> Json:
        """The value of a read that is known now. Raises TemplateFault for a file that cannot be read."""
        if read.root == "var":
            return self.variables[read.name]
        if read.root == "matrix":
            return matrix[read.name]
        return self.target if read.root == "target" else self._file(read.name)

    def constant(self, expression: "Expression") -> Json:
        """The value of an expression that reads nothing of the matrix, evaluated once. Raises TemplateFault."""
        if expression not in self._constants:
            self._constants[expression] = expression.evaluate(self.known(expression, {}))
        value = self._constants[expression]
        return value if isinstance(value, str | int | float) else expression.evaluate(self.known(expression, {}))

    def known(self, expression: "Expression", matrix: Mapping[str, Json]) -> dict["Read", Json]:
        """The value of everything that an expression reads and that is known now."""
        now = [read for read in expression.reads if not self.later(read) and self._present(read, matrix)]
        return {read: self.read(read, matrix) for read in now}

    def later(self, read: "Read") -> bool:
        """Whether a read is only known at submission."""
        return read.root in ("secret", "jobs") or (read.root == "var" and read.name in self.sensitive)

    def _present(self, read: "Read", matrix: Mapping[str, Json]) -> bool:
        names: Collection[str] = self.variables if read.root == "var" else matrix
        return read.root not in ("var", "matrix") or read.name in names

    def _judge(self, read: "Read", expression: "Expression") -> list["Fault"]:
        from jobform.config.syntax import Fault

        if read.root == "var" and read.name in self.sensitive:
            if read in expression.derived:
                words = f"{read} is sensitive: it takes no filter and no test, it can only stand in a text"
                return [Fault(words, "", "forbidden_template", read.name)]
        elif read.root == "var" and read.name not in self.variables and read not in expression.optional:
            return [_unknown("variable", read.name, [*self.variables, *self.sensitive])]
        elif read.root == "jobs" and read.name not in self.jobs:
            return [_unknown("job", read.name, self.jobs)]
        return []

    def _file(self, path: str) -> str:
        from jobform.config.sandbox import TemplateFault

        if path not in self._files:
            try:
                self._files[path] = self._read_file(path)
            except (ValueError, OSError) as error:
                self._files[path] = error
        found = self._files[path]
        if isinstance(found, OSError):
            raise TemplateFault(f"the file cannot be read: {found.strerror or 'input/output error'}", code="unreadable_file")
        if isinstance(found, Exception):
            raise TemplateFault(str(found), code="unreadable_file")
        return found


class _Walk:
    """One tree being rendered."""

    def __init__(self, renderer: Renderer, matrix: Mapping[str, Json], report: Report) -> None:
        self._renderer, self._matrix, self._report = renderer, matrix, report
        self.jobs: set[str] = set()
        self.secrets: set[str] = set()
        self._current: Expression | None = None

    def value(self, value: Json, path: Path) -> Json:
        if isinstance(value, str):
            return self._scalar(value, path) if "{" in value and ("{{" in value or "{%" in value) else value
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _scalar(self, text: str, path: Path) -> Json:
        from jobform.config.sandbox import TemplateFault
        from jobform.config.template import split

        pieces: tuple[Piece, ...] = ()
        self._current = None
        try:
            pieces = split(text)
            expressions = [piece for piece in pieces if not isinstance(piece, str)]
            if self._has_faults(text, pieces, path):
                return _broken(text)
            if any(self._renderer.later(read) for expression in expressions for read in expression.reads):
                return self._kept(text, expressions)
            return _joined(pieces, self._evaluated)
        except TemplateFault as fault:
            offset = _offset(text, pieces, pieces.index(self._current), "") if self._current is not None else None
            self._report(Problem(path, fault.code, fault.summary, hint=fault.hint, offset=offset))
            return _broken(text)

    def _has_faults(self, text: str, pieces: tuple["Piece", ...], path: Path) -> bool:
        """Report what is wrong with each expression before any is evaluated."""
        found = False
        for index, piece in enumerate(pieces):
            if isinstance(piece, str):
                continue
            for fault in (*self._renderer.faults(piece), *self._matrix_faults(piece)):
                found = True
                offset = _offset(text, pieces, index, fault.needle)
                self._report(Problem(path, fault.code, fault.summary, hint=fault.hint, offset=offset))
        return found

    def _matrix_faults(self, expression: "Expression") -> list["Fault"]:
        return [
            _unknown("matrix key", read.name, self._matrix) for read in expression.reads
            if read.root == "matrix" and read.name not in self._matrix and read not in expression.optional
        ]

    def _evaluated(self, expression: "Expression") -> Json:
        self._current = expression
        if any(read.root == "matrix" for read in expression.reads):
            return expression.evaluate(self._renderer.known(expression, self._matrix))
        return self._renderer.constant(expression)

    def _kept(self, text: str, expressions: list["Expression"]) -> Json:
        """The scalar as `{expr, with}`."""
        known: dict[str, Json] = {}
        for expression in expressions:
            self._current = expression
            known |= {str(read): value for read, value in self._renderer.known(expression, self._matrix).items()}
            for read in expression.reads:
                if read.root == "jobs":
                    self.jobs.add(read.name)
                elif self._renderer.later(read):
                    self.secrets.add(_secret_name(read))
        return {"expr": text, "with": {name: known[name] for name in sorted(known)}}


def resolve(value: Json, outputs: Mapping[str, Json], secrets: Secrets | None) -> Resolved:
    """Evaluate every `{expr, with}` in a tree.

    outputs: by job name its outputs object, or for a matrix the list of `{matrix, outputs}`. secrets: None keeps scalars with
    secrets as `{expr, with}`, with the outputs that they read added to `with`, so that the result can be hashed and shown.
    """
    resolution = _Resolution(outputs, secrets)
    result = resolution.value(value, ())
    return Resolved(result, resolution.used, frozenset(resolution.missing), tuple(resolution.problems))


class _Resolution:
    """One tree being resolved."""

    def __init__(self, outputs: Mapping[str, Json], secrets: Secrets | None) -> None:
        self._outputs, self._secrets = outputs, secrets
        self.used: dict[str, Json] = {}
        self.missing: set[str] = set()
        self.problems: list[Problem] = []

    def value(self, value: Json, path: Path) -> Json:
        if is_deferred(value):
            return self._scalar(value, path)
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _scalar(self, kept: dict[str, Json], path: Path) -> Json:
        from jobform.config.sandbox import TemplateFault
        from jobform.config.template import split

        text, known = kept["expr"], kept["with"]
        assert isinstance(text, str) and isinstance(known, dict), "the shape of a deferred value"
        try:
            pieces = split(text)
            expressions = [piece for piece in pieces if not isinstance(piece, str)]
            for fault in (fault for expression in expressions for fault in expression.faults):
                raise TemplateFault(fault.summary, fault.hint, fault.code)
            values: dict[Read, Json] = {}
            reads = [(read, expression) for expression in expressions for read in expression.reads]
            complete = True
            for read, expression in reads:
                complete &= self._gather(read, expression, known, values)
            if not complete:
                return kept
            if self._secrets is None and any(_is_secret(read, known) for read, _ in reads):
                outputs = {str(read): value for read, value in values.items() if read.root == "jobs"}
                return {"expr": text, "with": {**known, **outputs}}
            return _joined(pieces, lambda e: e.evaluate({read: values[read] for read in e.reads if read in values}))
        except TemplateFault as fault:
            self.problems.append(Problem(path, fault.code, fault.summary, hint=fault.hint))
            return kept

    def _gather(self, read: "Read", expression: "Expression", known: dict[str, Json], values: dict["Read", Json]) -> bool:
        """Put the value of a read into `values`; False if it is needed and not there. Raises TemplateFault."""
        from jobform.config.sandbox import TemplateFault

        name = str(read)
        if name in known:
            values[read] = known[name]
        elif read.root == "jobs":
            return self._output(read, values) or read in expression.optional or self._lacks(name)
        elif _is_secret(read, known) and read not in expression.optional:
            if self._secrets is not None:
                secret = self._secrets(_secret_name(read))
                if secret is None:
                    return self._lacks(environment_variable(_secret_name(read)))
                values[read] = secret
            return True
        elif read not in expression.optional:
            raise TemplateFault(f"the value of {name} was not recorded")
        if read.root == "jobs":
            self.used[name] = values[read]
        return True

    def _output(self, read: "Read", values: dict["Read", Json]) -> bool:
        """Whether another job gave what is read."""
        from jobform.config.sandbox import TemplateFault

        if read.name not in self._outputs:
            return False
        given = self._outputs[read.name]
        if read.key is not None:
            if isinstance(given, list):
                hint = f"write jobs.{read.name}.outputs[0].outputs.{read.key}, or map(attribute='outputs.{read.key}')"
                raise TemplateFault(f"{read.name} has a matrix: its outputs are a list of matrix and outputs", hint)
            if not isinstance(given, dict) or read.key not in given:
                return False
            given = given[read.key]
        values[read] = self.used[str(read)] = given
        return True

    def _lacks(self, name: str) -> bool:
        self.missing.add(name)
        return False


def _secret_name(read: "Read") -> str:
    return read.name if read.root == "secret" else VARIABLE_PREFIX + read.name


def _is_secret(read: "Read", known: Mapping[str, Json]) -> bool:
    """Whether a read is a secret or a sensitive variable, the only variables whose values are not recorded."""
    return read.root == "secret" or (read.root == "var" and str(read) not in known)


def _joined(pieces: tuple["Piece", ...], evaluate: Callable[["Expression"], Json]) -> Json:
    """The value of a scalar: the expression's own if it is one alone, else a text. Raises TemplateFault."""
    from jobform.config.sandbox import text_of
    from jobform.config.template import checked_text

    if len(pieces) == 1 and not isinstance(pieces[0], str):
        return evaluate(pieces[0])
    return checked_text("".join([piece if isinstance(piece, str) else text_of(evaluate(piece)) for piece in pieces]))


def _broken(text: str) -> Json:
    """What stands for a scalar that could not be rendered: later stages pass it by."""
    return {"expr": text, "with": {}}


def _offset(text: str, pieces: tuple["Piece", ...], index: int, needle: str) -> int:
    """Where in a scalar's text an expression, or the needle inside it, stands."""
    from jobform.config.template import offsets

    start = list(offsets(text, pieces))[index]
    within = text.find(needle, start) if needle else -1
    return within if within >= 0 else start


def _unknown(what: str, name: str, choices: Collection[str]) -> "Fault":
    from jobform.config.syntax import Fault

    near = suggest(name, sorted(choices))
    listed = ", ".join(sorted(choices)[:20])
    hint = f"did you mean {near}?" if near else f"there are {listed}" if listed else f"there is no {what} here"
    return Fault(f"unknown {what} {name[:60]}", hint, "unknown_name", name)
