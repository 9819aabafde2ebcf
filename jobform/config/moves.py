"""`moved:` and `removed:`: what became of jobs that the state may still know."""

from collections.abc import Collection, Iterable, Iterator

from jobform.config.document import Document
from jobform.config.findings import Findings
from jobform.model.address import Selector, parse_address
from jobform.model.diagnostic import Related
from jobform.model.job import MoveRule, Removal
from jobform.model.values import Json, Path


def read_moves(
    documents: Iterable[Document], jobs: Collection[str], names: Collection[str], findings: Findings,
) -> tuple[MoveRule, ...]:
    """All `moved:` entries. jobs: the declared addresses; names: the declared jobs."""
    rules: list[MoveRule] = []
    for document, path, entry in _listed(documents, "moved"):
        here = document.locate(path, at_key=True)
        sides = {}
        for side in ("from", "to"):
            try:
                parse_address(str(entry[side]))
                sides[side] = str(entry[side])
            except ValueError as error:
                findings.error("bad_address", str(error), document.locate((*path, side)), hint="write NAME or NAME[key=value]")
        if len(sides) < 2:
            continue
        rule = MoveRule(sides["from"], sides["to"], here)
        if _still_declared(rule, jobs, names):
            findings.error("still_declared", f"{rule.source} is moved away and still declared", document.locate((*path, "from")),
                           hint="remove the job's old entry, or this one")
        for other in rules:
            if other.source == rule.source or other.to == rule.to:
                same = "from" if other.source == rule.source else "to"
                findings.error("moved_twice", f"two moves have the same {same}: {sides[same]}", document.locate((*path, same)),
                               related=[Related("the other", other.range)] if other.range else [])
        rules.append(rule)
    return tuple(rules)


def read_removals(documents: Iterable[Document], jobs: Collection[str], findings: Findings) -> tuple[Removal, ...]:
    """All `removed:` entries."""
    removals = []
    for document, path, entry in _listed(documents, "removed"):
        text, where = str(entry["job"]), document.locate((*path, "job"))
        try:
            selector = Selector.parse(text)
        except ValueError as error:
            findings.error("bad_selector", str(error), where)
            continue
        declared = next((address for address in jobs if selector.matches_address(address)), None)
        if declared is not None:
            findings.error("still_declared", f"{declared} is removed and still declared", where,
                           hint="remove the job's entry, or this one")
        removals.append(Removal(text, entry.get("cancel") is True, where))
    return tuple(removals)


def _still_declared(rule: MoveRule, jobs: Collection[str], names: Collection[str]) -> bool:
    """Whether the old side is still there. `{from: train, to: train[opt=adam]}` gives instances of train a further key."""
    old, axes = parse_address(rule.source)
    new, _ = parse_address(rule.to)
    return rule.source in jobs or rule.source == rule.to or (not axes and old != new and old in names)


def _listed(documents: Iterable[Document], key: str) -> Iterator[tuple[Document, Path, dict[str, Json]]]:
    """The entries of a list that have the right shape, with their places."""
    needed = {"moved": ("from", "to"), "removed": ("job",)}[key]
    for document in documents:
        listed = document.value.get(key) if isinstance(document.value, dict) else None
        for index, entry in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(entry, dict) and all(isinstance(entry.get(side), str) for side in needed):
                yield document, (key, index), entry
