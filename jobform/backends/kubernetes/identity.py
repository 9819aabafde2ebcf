"""Whose an object is: what its labels say, and the reference to it."""

import json
from collections.abc import Iterable, Mapping

from jobform.backends.kubernetes.names import ADDRESS, JOB, LINEAGE, MARK, parse_mark
from jobform.backends.kubernetes.refs import Companion, JobRef
from jobform.backends.kubernetes.shapes import at, line, mapping, text
from jobform.model.values import Json
from jobform.protocols import Mark

COMPANIONS = "jobform.dev/companions"
"""An annotation of a workload: its companions as the reference holds them, so that whoever finds it knows them too."""


def mark_of(obj: Mapping[str, Json]) -> str:
    """The text of the mark that an object carries, "" when it has none."""
    return text(mapping(dict(obj), "metadata", "labels"), MARK)


def same_attempt(one: str, other: str) -> bool:
    """Whether two texts of marks name one attempt, whatever its body."""
    mine, theirs = parse_mark(one), parse_mark(other)
    return mine is not None and theirs is not None and mine[:3] == theirs[:3]


def of_job(obj: Mapping[str, Json], mark: str) -> bool:
    """Whether an object is labelled as one of the job that a mark names, by this project, whatever the attempt."""
    labels, parts = mapping(dict(obj), "metadata", "labels"), parse_mark(mark)
    return parts is not None and (text(labels, LINEAGE), text(labels, JOB)) == parts[:2]


def owner_of(obj: Mapping[str, Json]) -> str:
    """Whose an object is, for people."""
    address = line(text(mapping(dict(obj), "metadata", "annotations"), ADDRESS))
    mark = parse_mark(mark_of(obj))
    if mark is not None:
        return f"it is attempt {mark[2]} of {address or 'a job'} of the project with lineage {mark[0]}"
    if text(mapping(dict(obj), "metadata", "labels"), LINEAGE):
        return "it belongs to another job that jobform runs"
    managed = at(dict(obj), "metadata", "managedFields")
    managers = [text(item, "manager") for item in (managed if isinstance(managed, list) else [])]
    by = line(", ".join(dict.fromkeys(manager for manager in managers if manager)))
    return "it was not made by jobform" + (f"; its fields are managed by {by}" if by else "")


def ref_of(obj: Mapping[str, Json], api: str, kind: str, namespace: str) -> JobRef:
    """The reference to a workload that carries a mark of ours."""
    whole: Json = dict(obj)
    parts = parse_mark(mark_of(obj))
    lineage = parts[0] if parts else text(mapping(whole, "metadata", "labels"), LINEAGE)
    return JobRef(
        api, kind, text(whole, "metadata", "namespace") or namespace, text(whole, "metadata", "name"),
        text(whole, "metadata", "uid"), lineage, companions_of(whole),
    )


def companions_of(obj: Json) -> tuple[Companion, ...]:
    """What a workload says of its companions; an annotation that somebody spoiled says nothing."""
    try:
        listed = json.loads(text(mapping(obj, "metadata", "annotations"), COMPANIONS) or "[]")
        return tuple(Companion.of(item) for item in (listed if isinstance(listed, list) else []))
    except (ValueError, RecursionError):
        return ()


def companions_text(companions: Iterable[Companion]) -> str:
    """The annotation's value."""
    return json.dumps([companion.value for companion in companions], separators=(",", ":"))


def remade(mark: str, address: str, name: str) -> Mark:
    """A mark from what a workload carries, to compose its attempt again. The token is not known, nor when it was begun.

    Of a workload whose mark somebody removed, one that names nobody: it is not to be applied.
    """
    parts = parse_mark(mark)
    return Mark(address, parts[2] if parts else 0, "", name, mark if parts else _NOBODY, "")


_NOBODY = f"jf1-{'0' * 16}-{'0' * 16}-0-{'0' * 16}"
