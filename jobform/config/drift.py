"""`ignore_drift`: dotted keys from `spec`, `*` for one level, list items by their list key (`containers[name=main].image`)."""

import re
from collections.abc import Sequence

from jobform.config.problem import Problem, Report
from jobform.model.suggest import suggest
from jobform.schema import SpecSchema
from jobform.schema_rules import Node

_PART = re.compile(r"(\*|[^.\[\]*]+)((?:\[[^\[\]]*\])*)(?:\.|$)")


def unknown_fields(paths: Sequence[str], schema: SpecSchema, report: Report) -> None:
    """Note each path that names no field of the schema. Paths in problems start at the job's entry."""
    for index, text in enumerate(paths):
        hint = _fault(text, schema.root)
        if hint is not None:
            report(Problem(("ignore_drift", index), "unknown_field", f"{text[:80]!r} is no field of spec",
                           "write dotted keys, * for one level, [key=value] for an item of a list", hint))


def _fault(text: str, root: Node) -> str | None:
    """None for a known path, else a hint, which may be empty."""
    nodes, position = [root], 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return ""
        key = part[1]
        names = sorted({name for known in (node.keys() for node in nodes) for name in known})
        below = [node.child(name) for node in nodes for name in ((*node.keys(), "*") if key == "*" else (key,))]
        nodes = [node for node in below if node.rule.known]
        for _ in range(part[2].count("[")):
            nodes = [item for node in nodes if (item := node.item(0)).rule.known]
        if not nodes:
            near = suggest(key, names)
            return f"did you mean {near}?" if near else ""
        position = part.end()
    return None if text and not text.endswith(".") else ""
