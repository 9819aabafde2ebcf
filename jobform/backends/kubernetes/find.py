"""Whether an attempt that was begun was submitted: the object of its exact name, and the mark that it carries.

Exact, because a name belongs to one object: what does not exist now can only appear by another submission, and a workload is made
without a time to live, so an ended one stays until its outcome is recorded.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.identity import mark_of, ref_of, same_attempt
from jobform.backends.kubernetes.kinds import Kind
from jobform.backends.kubernetes.names import LINEAGE, parse_mark
from jobform.backends.kubernetes.shapes import mapping, text
from jobform.backends.kubernetes.site import Site
from jobform.clients.kube.errors import KubeError
from jobform.model.values import Json
from jobform.protocols import Absent, Found, Mark, Unknown

Answer = Found | Absent | Unknown

_FEW = 3
"""So many names of a kind are asked for one by one; more are found in a list."""


def find(site: Site, marks: Collection[Mark]) -> Mapping[Mark, Answer]:
    """Raises BackendError when no cluster can be had."""
    answers: dict[Mark, Answer] = {}
    by_kind: dict[str, list[Mark]] = defaultdict(list)
    kinds: dict[str, Kind] = {}
    if not marks:
        return answers
    namespace = site.namespace
    try:
        for mark in marks:
            known_kinds = _kinds_of(site, mark)
            if not known_kinds:
                answers[mark] = Unknown("its kind is not known any more: put it back into `kinds:` of the backend's block")
            for kind in known_kinds:
                kinds[kind.key] = kind
                by_kind[kind.key].append(mark)
    except KubeError as error:
        return dict.fromkeys(marks, Unknown(f"what the cluster serves could not be asked: {error}"))
    for key, asked in by_kind.items():
        try:
            found = _found(site, kinds[key], namespace, asked)
        except KubeError as error:
            answers |= dict.fromkeys(asked, Unknown(f"the {kinds[key].kind} objects of {namespace} could not be read: {error}"))
            continue
        for mark, obj in found.items():
            parts = parse_mark(mark_of(obj))
            known = answers.get(mark, Absent())
            if isinstance(known, Absent) and parts is not None:
                answers[mark] = Found(ref_of(obj, kinds[key].api, kinds[key].kind, namespace).ref, parts[3])
            elif isinstance(known, Found):
                answers[mark] = Unknown(f"two objects carry this mark: {known.ref.text} and {kinds[key].kind} {mark.name}")
    absent = [mark for mark in marks if mark not in answers]
    if absent:
        try:
            site.believe_absence(namespace)
            answers |= dict.fromkeys(absent, Absent())
        except KubeError as error:
            answers |= dict.fromkeys(absent, Unknown(str(error)))
    return answers


def _kinds_of(site: Site, mark: Mark) -> list[Kind]:
    """The kind that was to be submitted, [] for one that nobody describes any more. When what was to be submitted is not known,
    all that the cluster serves. Raises KubeError.
    """
    objects = mark.spec.get("objects")
    if isinstance(objects, dict):
        known = [kind for key, kind in site.kinds.by_key.items() if key in objects]
        kinds = []
        for kind in known:
            api = text(mapping(objects, kind.key), "apiVersion") or kind.api
            kinds.append(site.kinds.of(api, kind.kind) or kind)
        return kinds
    if mark.spec:
        job = site.kinds.of("batch/v1", "Job")
        return [job] if job is not None else []
    served = site.client.served()
    named = [site.kinds.of(api, known.kind) for known in site.kinds.all() for api in known.apis if (api, known.kind) in served]
    return [found for found in named if found is not None]


def _found(site: Site, kind: Kind, namespace: str, marks: Collection[Mark]) -> dict[Mark, Manifest]:
    """The objects of these marks. Raises KubeError."""
    if len(marks) <= _FEW:
        found = {}
        for mark in marks:
            obj = site.get(site.path(kind.api, kind.kind, namespace, mark.name))
            if obj is not None and same_attempt(mark_of(obj), mark.text):
                found[mark] = obj
        return found
    by_attempt: dict[tuple[str, str, int], Mark] = {}
    for mark in marks:
        parts = parse_mark(mark.text)
        if parts is not None:
            by_attempt[parts[:3]] = mark
    listed: dict[Mark, Manifest] = {}

    def keep(obj: dict[str, Json]) -> None:
        parts = parse_mark(mark_of(obj))
        mark = by_attempt.get(parts[:3]) if parts is not None else None
        if mark is not None and text(obj, "metadata", "name") == mark.name:
            listed[mark] = {key: value for key, value in obj.items() if key == "metadata"}

    path = site.path(kind.api, kind.kind, namespace)
    for lineage in sorted({parts[0] for parts in by_attempt}):
        site.client.list(path, {"labelSelector": f"{LINEAGE}={lineage}"}, keep)
    return listed
