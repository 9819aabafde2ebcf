"""What a template may say: its syntax tree is judged before anything is compiled or evaluated.

Allowed are expressions over `var`, `matrix`, `target`, `file`, `secret` and `jobs`, and `{% if %}`. Everything that an expression
looks at is named literally, so it is known here what it reads.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from jinja2 import TemplateSyntaxError, nodes

from jobform.config.sandbox import FILTERS, TESTS, TemplateFault, environment, number
from jobform.model.suggest import suggest

_MOST_EXPRESSION, _MOST_NODES, _DEEPEST = 4096, 2000, 50

_DASHED = re.compile(r"\b(jobs|var|matrix)\.([A-Za-z_]\w*(?:-\w+)+)", re.ASCII)
_SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_USES = {
    "var": "var.NAME", "matrix": "matrix.KEY", "target": "target", "secret": "secret('NAME')", "file": "file('path')",
    "jobs": "jobs.NAME.outputs.KEY",
}


@dataclass(frozen=True, slots=True)
class Read:
    """One thing that an expression looks at.

    root: var, matrix, target, file, secret or jobs. name: of the variable, matrix key, file, secret or job. key: of the job's
    outputs, None for all of them.
    """

    root: str
    name: str = ""
    key: str | None = None

    def __str__(self) -> str:
        """As it stands in `with` and in `used`: `var.x`, `file('p')`, `jobs.prep.outputs.count`."""
        if self.root in ("file", "secret"):
            return f"{self.root}('{self.name}')"
        if self.root == "jobs":
            return f"jobs.{self.name}.outputs" + (f".{self.key}" if self.key is not None else "")
        return f"{self.root}.{self.name}" if self.name else self.root


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake in an expression. needle: the part of its text to point at."""

    summary: str
    hint: str = ""
    code: str = "bad_template"
    needle: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of an expression before it runs; `tree` is None when it could not be parsed.

    reads: what it looks at, in order. optional: of these, whose absence `default` or `is defined` takes care of everywhere.
    derived: of these, those that are not only put into a text. whole: the one read that the expression consists of, if it does.
    """

    tree: nodes.Template | None
    reads: tuple[Read, ...] = ()
    optional: frozenset[Read] = frozenset()
    derived: frozenset[Read] = frozenset()
    whole: Read | None = None
    faults: tuple[Fault, ...] = ()


def check(text: str, *, block: bool) -> Checked:
    """Parse and judge the inside of `{{ }}`, or a whole text with tags when `block`; everything wrong with it is a fault."""
    if not block and len(text) > _MOST_EXPRESSION:
        return _broken(f"an expression has at most {_MOST_EXPRESSION} characters")
    if not block and not text.strip():
        return _broken("the expression is empty", "write {{ var.NAME }}")
    try:
        tree = environment().parse(text if block else "{{ " + text + " }}")
    except TemplateSyntaxError as error:
        return _broken(f"the template cannot be read: {error.message}")
    except (ValueError, RecursionError, MemoryError):
        return _broken("the expression is too large or too deep")
    if not _is_small(tree):
        return _broken("the expression is too large or too deep")
    alone = None if block else _alone(tree)
    if alone is None and not block:
        return _broken("one expression is expected between {{ and }}")
    walk = _Walk()
    walk.visit(tree, joined=True)
    reads, joined = tuple(walk.joined), walk.joined
    return Checked(
        _with_joins(tree),
        reads,
        optional=frozenset(read for read in reads if read not in walk.required),
        derived=frozenset(read for read in reads if not joined[read]),
        whole=exact_read(alone) if alone is not None else None,
        faults=_explained(tuple(dict.fromkeys(walk.faults)), text, tree),
    )


def exact_read(node: nodes.Node) -> Read | None:
    """The read that a node is, no more and no less: `var.x`, `matrix['k']`, `target`, `file('p')`, `jobs.prep.outputs.count`."""
    if isinstance(node, nodes.Call):
        if isinstance(node.node, nodes.Name) and node.node.name in ("secret", "file") and len(node.args) == 1:
            argument = node.args[0]
            plain = not (node.kwargs or node.dyn_args or node.dyn_kwargs)
            if plain and isinstance(argument, nodes.Const) and isinstance(argument.value, str):
                return Read(node.node.name, argument.value)
        return None
    root, keys = _chain(node)
    if root == "target" and not keys:
        return Read("target")
    if root in ("var", "matrix") and len(keys) == 1:
        return Read(root, keys[0])
    if root == "jobs" and len(keys) in (2, 3) and keys[1] == "outputs":
        return Read("jobs", keys[0], keys[2] if len(keys) == 3 else None)
    return None


def _chain(node: nodes.Node) -> tuple[str, list[str]]:
    """The name at the bottom of `a.b['c']` and the keys above it; an empty name where something else is in between."""
    keys: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            keys.append(node.arg.value)
        else:
            return "", []
        node = node.node
    return (node.name, keys[::-1]) if isinstance(node, nodes.Name) else ("", [])


def _broken(summary: str, hint: str = "") -> Checked:
    return Checked(None, faults=(Fault(summary, hint),))


def _explained(faults: tuple[Fault, ...], text: str, tree: nodes.Template) -> tuple[Fault, ...]:
    """The faults, or the one cause of them: a name with a dash after a dot."""
    dashed = _DASHED.search(text)
    if not faults or dashed is None or tree.find(nodes.Sub) is None:
        return faults
    root, name = dashed.groups()
    return (Fault(f"{root}.{name} reads as a subtraction", f"write {root}['{name}']", needle=dashed[0]),)


def _alone(tree: nodes.Template) -> nodes.Expr | None:
    """The expression that a template consists of, None if it is anything else."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output) or len(tree.body[0].nodes) != 1:
        return None
    node = tree.body[0].nodes[0]
    return None if isinstance(node, nodes.TemplateData) else node


def _is_small(tree: nodes.Template) -> bool:
    """Whether walking, compiling and running the tree are cheap. Needs no recursion itself."""
    count = 0
    todo: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        count += 1
        if depth > _DEEPEST or count > _MOST_NODES:
            return False
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]
    return True


def _with_joins(tree: nodes.Template) -> nodes.Template:
    """The tree with `a ~ b` as the filter join: it writes values as we do, and bounds the result."""
    for concat in list(tree.find_all(nodes.Concat)):
        parts = nodes.List(list(concat.nodes), lineno=concat.lineno)
        concat.nodes = [nodes.Filter(parts, "join", [], [], None, None, lineno=concat.lineno)]
    tree.set_environment(environment())
    return tree


_FORBIDDEN: dict[type[nodes.Node], tuple[str, str]] = {
    nodes.For: ("loops are not allowed in templates", "a matrix makes several jobs; the filters join and map work on lists"),
    nodes.Pow: ("the operator ** is not allowed", "multiply instead"),
    nodes.Assign: ("set is not allowed in templates", "declare a variable in jobform.yaml"),
    nodes.AssignBlock: ("set is not allowed in templates", "declare a variable in jobform.yaml"),
    nodes.Macro: ("macros are not allowed in templates", ""),
    nodes.CallBlock: ("call blocks are not allowed in templates", ""),
    nodes.FilterBlock: ("filter blocks are not allowed in templates", "write {{ value | filter }}"),
    nodes.Include: ("include is not allowed in templates", "read a file with {{ file('path') }}"),
    nodes.Import: ("import is not allowed in templates", ""),
    nodes.FromImport: ("import is not allowed in templates", ""),
    nodes.Extends: ("extends is not allowed in templates", ""),
    nodes.Block: ("blocks are not allowed in templates", ""),
    nodes.With: ("with is not allowed in templates", ""),
}
_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair,
    nodes.Keyword, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Concat, nodes.CondExpr,
    nodes.Filter, nodes.Test,
)
_JOINING = (nodes.Template, nodes.Output, nodes.Add, nodes.Concat)
"""What only puts its parts into a text."""


class _Walk:
    """Collects reads and faults of a tree. joined: each read, and whether it is only ever put into a text."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.joined: dict[Read, bool] = {}
        self.required: set[Read] = set()

    def visit(self, node: nodes.Node, *, joined: bool, optional: bool = False) -> None:
        """joined: everything above only puts this into a text. optional: it may be absent."""
        read = exact_read(node)
        if read is not None:
            self._read(read, joined=joined, optional=optional)
        elif isinstance(node, nodes.Name):
            self._name(node.name)
        elif isinstance(node, nodes.Call):
            self._call(node)
        elif not isinstance(node, _ALLOWED):
            words, hint = _FORBIDDEN.get(type(node), ("this is not allowed in templates", "only expressions and {% if %} are"))
            self._fault(words, hint)
        else:
            self._judge(node)
            self._below(node, joined)

    def _below(self, node: nodes.Node, joined: bool) -> None:
        """Visit the parts of an allowed node."""
        if isinstance(node, nodes.If | nodes.CondExpr):
            self.visit(node.test, joined=False)
            rest = [child for child in node.iter_child_nodes() if child is not node.test]
            for child in rest:
                self.visit(child, joined=joined)
            return
        missing_is_fine = (isinstance(node, nodes.Filter) and node.name in ("default", "d")) or (
            isinstance(node, nodes.Test) and node.name in ("defined", "undefined"))
        subject = node.node if isinstance(node, nodes.Filter | nodes.Test) else None
        for child in node.iter_child_nodes():
            self.visit(child, joined=joined and isinstance(node, _JOINING), optional=missing_is_fine and child is subject)

    def _read(self, read: Read, *, joined: bool, optional: bool) -> None:
        if read.root == "secret":
            if not _SECRET.fullmatch(read.name):
                self._fault("a secret's name is written in capitals, as in secret('HF_TOKEN')", "", "bad_template", read.name)
            elif read.name.startswith("JOBFORM_"):
                hint = "secret('NAME') reads JOBFORM_SECRET_NAME: write NAME alone"
                self._fault("a secret's name does not begin with JOBFORM_", hint, "bad_template", read.name)
            if not joined:
                self._fault("a secret takes no filter and no test: it can only stand in a text", "", needle=read.name)
        for key in (read.name, read.key or ""):
            self._reachable(key)
        self.joined[read] = self.joined.get(read, True) and joined
        if not optional:
            self.required.add(read)

    def _name(self, name: str) -> None:
        if name in _USES:
            self._fault(f"{name} is used as {_USES[name]}, with a name that is written out", "", "bad_template", name)
            return
        near = suggest(name, _USES)
        hint = f"did you mean {_USES[near]}?" if near else f"a variable is var.{name}"
        self._fault(f"unknown name {name[:60]}: there are {', '.join(_USES)}", hint, "unknown_name", name)

    def _call(self, node: nodes.Call) -> None:
        called = node.node
        if isinstance(called, nodes.Name) and called.name in ("secret", "file"):
            summary = f"{called.name} takes one name that is written out, as in {_USES[called.name]}"
            self._fault(summary, "", "bad_template", called.name)
            return
        name = called.attr if isinstance(called, nodes.Getattr) else called.name if isinstance(called, nodes.Name) else ""
        hint = f"write it as a filter: value | {name}" if name in FILTERS else ""
        self._fault("only secret('NAME') and file('path') can be called", hint, "forbidden_template", name)

    def _judge(self, node: nodes.Node) -> None:
        """The names that a node itself holds."""
        if isinstance(node, nodes.Filter):
            self._known(node.name, "filter", FILTERS)
            if node.name == "map" and [pair.key for pair in node.kwargs] != ["attribute"]:
                self._fault("map is written as map(attribute='key')", "", "bad_template", "map")
        elif isinstance(node, nodes.Test):
            self._known(node.name, "test", TESTS)
        if isinstance(node, nodes.Filter | nodes.Test) and (node.dyn_args is not None or node.dyn_kwargs is not None):
            self._fault("* and ** are not allowed in arguments", "", "forbidden_template", "*")
        if isinstance(node, nodes.Const) and isinstance(node.value, int | float):
            self._constant(node.value)
        key = node.attr if isinstance(node, nodes.Getattr) else ""
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            key = node.arg.value
        self._reachable(key)

    def _reachable(self, key: str) -> None:
        if key.startswith("__"):
            self._fault(f"{key[:60]} is not allowed", "keys that begin with __ are out of reach", "forbidden_template", key)

    def _constant(self, value: float) -> None:
        try:
            number(value)
        except TemplateFault as fault:
            self._fault(fault.summary, fault.hint, fault.code)

    def _known(self, name: str, what: str, allowed: Collection[str]) -> None:
        names = sorted(allowed)
        if name not in names:
            near = suggest(name, names)
            hint = f"did you mean {near}?" if near else ""
            self._fault(f"there is no {what} {name[:60]}; allowed are {', '.join(names)}", hint, "forbidden_template", name)

    def _fault(self, summary: str, hint: str, code: str = "forbidden_template", needle: str = "") -> None:
        self.faults.append(Fault(summary, hint, code, needle))
