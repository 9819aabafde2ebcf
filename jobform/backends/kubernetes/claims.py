"""Workloads that no state of this project holds: one by its name, to be taken over, and all that jobform made.

Only what carries jobform's labels can be taken over: by them its pods are found, and with them its logs and exit codes.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.identity import mark_of, owner_of, ref_of
from jobform.backends.kubernetes.kinds import Kind
from jobform.backends.kubernetes.look import Seen, actuals, seen_of
from jobform.backends.kubernetes.names import FIELD_MANAGER, LABELS, MANAGED_BY, parse_mark
from jobform.backends.kubernetes.refs import is_name
from jobform.backends.kubernetes.shapes import text
from jobform.backends.kubernetes.site import Site, is_unserved, refused
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Actual, Sighting

EARLIER = "jobform, before the import"
"""Stands for jobform in the managed fields of what is looked up, so that every field is compared by its value: what another
project applied is nothing that this one did."""

_DEFAULT = "Job"


def lookup(site: Site, run: str) -> Sighting | None:
    """The workload `NAME` (a Job) or `KIND/NAME` in the backend's namespace. Raises BackendError, also for one without a mark."""
    kind_name, _, name = run.rpartition("/")
    kind = _kind(site, kind_name or _DEFAULT)
    if kind is None or not is_name(name):
        raise BackendError(f"{run} names no workload", "Write NAME of a Job, or KIND/NAME, as in `job/train` or `jobset/train`.")
    with refused(f"{run} could not be read"):
        obj = site.get(site.path(kind.api, kind.kind, site.namespace, name))
        if obj is None:
            site.believe_absence(site.namespace)
            return None
        if parse_mark(mark_of(obj)) is None:
            raise BackendError(
                f"{kind.kind} {name} cannot be taken over: {owner_of(obj)}",
                f"Its pods are found by the labels {', '.join(sorted(LABELS))}, which it does not have.",
            )
        seen = seen_of(kind, obj)
        actual = actuals(site, site.namespace, [seen])[seen.uid]
    return _sighting(site, seen, replace(actual, native=_unowned(obj)))


def listed(site: Site) -> Iterator[Sighting]:
    """Every workload in the namespace that carries our label, newest first. Raises BackendError.

    A kind that may not be listed is passed by, unless none may be: who has no right to a kind has made nothing of it.
    """
    with refused("the workloads could not be listed"):
        found, denied = list[Seen](), dict[str, KubeError]()
        kinds = _served(site)
        for kind in kinds:
            path = site.path(kind.api, kind.kind, site.namespace)
            try:
                for obj in site.client.list(path, {"labelSelector": f"{MANAGED_BY}={FIELD_MANAGER}"}):
                    if mark_of(obj):
                        found.append(seen_of(kind, {"apiVersion": kind.api, "kind": kind.kind, **obj}))
            except KubeError as error:
                if error.status != 403 and not is_unserved(error):
                    raise
                denied[kind.kind] = error
        if denied and len(denied) == len(kinds):
            raise next(iter(denied.values()))
        told = actuals(site, site.namespace, found)
    yield from sorted(
        (_sighting(site, seen, told[seen.uid]) for seen in found), key=lambda sighting: sighting.created_at or "", reverse=True,
    )


def _kind(site: Site, name: str) -> Kind | None:
    """The kind that people mean by a name, as the cluster serves it: its key in specs before its kind and its plural.

    Of a plural that several have it is the kind that goes by its own name: `jobs` are those of batch, as for kubectl.
    """
    wanted, known = name.lower(), site.kinds.all()
    named = [kind for kind in known if kind.key.lower() == wanted] or [kind for kind in known if kind.kind.lower() == wanted]
    plural = [kind for kind in known if kind.plural == wanted]
    named = named or [kind for kind in plural if kind.key == kind.kind] or plural
    if len(named) == 1 and len(named[0].apis) == 1:
        return named[0]  # nothing to choose from
    served = (_in_served(site, kind) for kind in reversed(named))  # a project's own kinds come last
    return next((kind for kind in served if kind is not None), named[-1] if named else None)


def _served(site: Site) -> list[Kind]:
    """Each known kind that the cluster serves. Raises KubeError."""
    return [served for kind in site.kinds.all() if (served := _in_served(site, kind)) is not None]


def _in_served(site: Site, kind: Kind) -> Kind | None:
    """A kind in the first of its apiVersions that the cluster serves, None where it serves none. Raises KubeError."""
    served = site.client.served()
    return next((replace(kind, api=api) for api in kind.apis if (api, kind.kind) in served), None)


def _sighting(site: Site, seen: Seen, actual: Actual) -> Sighting:
    obj, kind = seen.obj, seen.kind
    name, created = text(obj, "metadata", "name"), text(obj, "metadata", "creationTimestamp")
    ref = ref_of(obj, kind.api, kind.kind, site.namespace).ref
    return Sighting(ref, f"{kind.key.lower()}/{name}", mark_of(obj), actual, name, created or None)


def _unowned(obj: Manifest) -> bytes:
    """The object as `Actual.native` carries it, as if nobody of this name had applied it."""
    metadata = dict(found) if isinstance(found := obj.get("metadata"), dict) else {}
    managed = metadata.get("managedFields")
    entries: list[Json] = [
        {**entry, "manager": EARLIER} if text(entry, "manager").split("-")[0] == FIELD_MANAGER else entry
        for entry in (managed if isinstance(managed, list) else []) if isinstance(entry, dict)
    ]
    whole = {key: value for key, value in obj.items() if key != "status"} | {"metadata": {**metadata, "managedFields": entries}}
    return json.dumps(whole, separators=(",", ":")).encode("utf-8", "surrogatepass")
