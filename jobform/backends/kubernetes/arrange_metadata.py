"""What a copied object must not bring along: the server's own fields, and names that are not the user's."""

from collections.abc import Mapping

from jobform.backends.kubernetes.kinds import Kind
from jobform.model.values import Json, Path, dotted, is_deferred
from jobform.protocols import Complaint, Spot

_SERVER: tuple[Path, ...] = (
    ("status",), *(("metadata", name) for name in (
        "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp",
        "deletionGracePeriodSeconds",
    )),
    ("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"),
)
"""Filled in by the server, or by kubectl for itself."""


def cleaned(
    document: dict[str, Json], spot: Spot, kind: Kind | None, namespace: Json,
) -> tuple[dict[str, Json], list[Complaint]]:
    """A copy of an object without what the server put into it, and what is to be said of it.

    kind: of a job-like object. namespace: that of the backend, if its block names one.
    """
    body, complaints = dict(document), list[Complaint]()
    generated = kind.generated(document) if kind is not None else ()
    left = [path for path in (*_SERVER, *generated) if _has(document, path)]
    for path in left:
        body = without(body, path)
    if left and not all(_empty(document, path) for path in left):
        complaints.append(Complaint(
            spot.below(*left[0]), "server_fields", f"{_listed(left)} {'is' if len(left) == 1 else 'are'} left out",
            "the server fills in such fields: this was copied from a cluster", "remove them", at_key=True, warning=True,
        ))
    metadata = document.get("metadata")
    if isinstance(metadata, dict):
        complaints += _metadata(metadata, spot.below("metadata"), namespace)
    for name in ("namespace", "generateName"):
        body = without(body, ("metadata", name))
    return body, complaints


def _metadata(metadata: Mapping[str, Json], spot: Spot, namespace: Json) -> list[Complaint]:
    complaints = []
    for name in ("name", "generateName", "namespace"):
        value = metadata.get(name, "")
        if is_deferred(value):
            complaints.append(Complaint(spot.below(name), "template_not_allowed",
                                        f"metadata.{name} cannot depend on a secret or on another job's output",
                                        "what an object is called must be known when it is planned"))
        elif not isinstance(value, str):
            complaints.append(Complaint(spot.below(name), "wrong_type", f"metadata.{name} must be a text"))
    if "ownerReferences" in metadata:
        complaints.append(Complaint(
            spot.below("ownerReferences"), "owner_references", "an object of a job cannot have another owner",
            "the cluster would delete it with its owner, or at once if that is gone", "remove ownerReferences", at_key=True,
        ))
    wanted = metadata.get("namespace")
    if isinstance(wanted, str) and wanted != namespace:
        used = f"the backend uses {namespace}" if isinstance(namespace, str) else "the backend's block names none"
        complaints.append(Complaint(
            spot.below("namespace"), "other_namespace", f"the manifest is for the namespace {wanted[:80]!r}, and {used}",
            "jobs of one backend run in one namespace", f"write namespace: {wanted[:80]} in a backend's block, or remove it here",
        ))
    return complaints


def without(value: dict[str, Json], path: Path) -> dict[str, Json]:
    """A copy of a map without what is at a path of keys; the map itself if nothing is there."""
    name, rest = str(path[0]), path[1:]
    if name not in value:
        return value
    if not rest:
        return {key: item for key, item in value.items() if key != name}
    below = value[name]
    return {**value, name: without(below, rest)} if isinstance(below, dict) else value


def _has(value: Json, path: Path) -> bool:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[str(part)]
    return True


def _empty(document: Json, path: Path) -> bool:
    """Generators write `creationTimestamp: null` and `status: {}` into manifests that were never copied."""
    for part in path:
        document = document.get(str(part)) if isinstance(document, dict) else None
    return document is None or document == {}


def _listed(paths: list[Path]) -> str:
    names = [dotted(path) if "/" not in str(path[-1]) else str(path[-1]) for path in paths]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
