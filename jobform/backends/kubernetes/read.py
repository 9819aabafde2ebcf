"""The present of attempts: one list for all of a project's objects of a kind, and a look at their pods.

An object that a list lacks is asked for by name before it counts as gone, and nothing counts as gone in a namespace that goes.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.kinds import Kind
from jobform.backends.kubernetes.look import Seen, actuals
from jobform.backends.kubernetes.names import LINEAGE
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.shapes import mapping, text
from jobform.backends.kubernetes.site import Site, uid_of
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Actual, Gone, ReadError, Ref

Answer = Actual | Gone | ReadError

_FEW = 2
"""So many objects of a kind are asked for by name; more are listed."""


class Reader:
    """Reads attempts. Safe to use from several threads."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Answer]:
        """The present of every ref. A group whose list fails is answered with ReadErrors."""
        answers: dict[Ref, Answer] = {}
        groups: dict[tuple[str, str, str], dict[Ref, JobRef]] = defaultdict(dict)
        for ref in refs:
            try:
                job = JobRef.parse(ref)
                groups[job.api, job.kind, job.namespace][ref] = job
                self._site.kind(job)
            except BackendError as error:
                answers[ref] = ReadError(error.summary, error.detail, retryable=False)
        for (api, name, namespace), group in groups.items():
            known = {ref: job for ref, job in group.items() if ref not in answers}
            try:
                answers |= self._group(api, name, namespace, known) if known else {}
            except KubeError as error:
                failed = error.backend_error(f"the {name} objects of namespace {namespace} could not be read")
                answers |= dict.fromkeys(known, ReadError(failed.summary, failed.detail, failed.retryable))
        return answers

    def one(self, ref: JobRef) -> tuple[Manifest, Actual] | None:
        """A workload as it is this moment, None when it is gone. Raises KubeError and BackendError."""
        kind = self._site.kind(ref)
        obj = self._site.get(self._site.ref_path(ref))
        if obj is None:
            self._site.believe_absence(ref.namespace)
            return None
        if uid_of(obj) != ref.uid:
            return None
        seen = seen_of(kind, obj)
        return obj, actuals(self._site, ref.namespace, [seen])[ref.uid]

    def _group(self, api: str, name: str, namespace: str, group: Mapping[Ref, JobRef]) -> dict[Ref, Answer]:
        wanted = {job.uid: job for job in group.values()}
        found = self._listed(api, name, namespace, wanted) if len(wanted) > _FEW else {}
        missing = [job for uid, job in wanted.items() if uid not in found]
        gone = False
        for job in missing:
            obj = self._site.get(self._site.ref_path(job))
            if obj is not None and uid_of(obj) == job.uid:
                found[job.uid] = seen_of(self._site.kind(job), obj)
            else:
                gone = gone or obj is None
        if gone:
            self._site.believe_absence(namespace)
        told = actuals(self._site, namespace, list(found.values()))
        return {ref: told.get(job.uid, Gone()) for ref, job in group.items()}

    def _listed(self, api: str, name: str, namespace: str, wanted: Mapping[str, JobRef]) -> dict[str, Seen]:
        kind = self._site.kind(next(iter(wanted.values())))
        found: dict[str, Seen] = {}

        def keep(obj: dict[str, Json]) -> None:
            uid = uid_of(obj)
            if uid in wanted:
                found[uid] = seen_of(kind, obj)

        path = self._site.path(api, name, namespace)
        for lineage in sorted({job.lineage for job in wanted.values()}):
            self._site.client.list(path, {"labelSelector": f"{LINEAGE}={lineage}"}, keep)
        return found


def seen_of(kind: Kind, obj: Manifest) -> Seen:
    """One object, judged and made small."""
    native = json.dumps({key: value for key, value in obj.items() if key != "status"}, separators=(",", ":"))
    metadata = {key: value for key, value in mapping(obj, "metadata").items() if key != "managedFields"}
    spec = {key: value for key, value in mapping(obj, "spec").items() if not isinstance(value, dict | list)}
    small: dict[str, Json] = {
        "apiVersion": text(obj, "apiVersion"), "kind": text(obj, "kind"), "metadata": metadata, "spec": spec,
        "status": obj.get("status"),
    }
    return Seen(small, kind, kind.judge(obj), native.encode("utf-8", "surrogatepass"))
