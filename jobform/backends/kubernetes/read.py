"""The present of attempts: one list for all of a project's objects of a kind, and a look at their pods.

An object that a list lacks is asked for by name before it counts as gone, and nothing counts as gone in a namespace that goes.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.current import Current
from jobform.backends.kubernetes.look import Seen, actuals, seen_of
from jobform.backends.kubernetes.names import LINEAGE
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.site import Site, is_unserved, uid_of
from jobform.clients.kube.errors import KubeError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Actual, Gone, ReadError, Ref

Answer = Actual | Gone | ReadError

_FEW = 2
"""So many objects of a kind are asked for by name; more are listed."""


class Reader:
    """Reads attempts. Safe to use from several threads."""

    def __init__(self, site: Site, ending: Callable[[Collection[Ref]], None] = lambda _refs: None) -> None:
        """ending: hears of runs that are followed and whose end is decided, while their pods may still be there."""
        self._site = site
        self._current = Current(site)
        self._ending = ending
        self._changed: set[str] = set()

    @contextmanager
    def changing(self, ref: Ref) -> Iterator[None]:
        """Around a call that may change a run: a watch is not believed about it again until it shows what a fresh look shows."""
        try:
            yield
        finally:
            self._changed.add(JobRef.parse(ref).uid)

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
                if is_unserved(error):
                    failed.detail = f"The cluster does not serve {name} of {api}; its definition may have been removed."
                answers |= dict.fromkeys(known, ReadError(failed.summary, failed.detail, failed.retryable))
        return answers

    def close(self) -> None:
        """Follow nothing any more."""
        self._current.close()

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
        path = self._site.path(api, name, namespace)
        shown = self._followed(path, wanted)
        found = {uid: seen for uid, seen in shown.items() if uid not in self._changed}
        if ending := {uid for uid, seen in found.items() if seen.judged.decided is not None or seen.judged.deleting}:
            self._ending([ref for ref, job in group.items() if job.uid in ending])
        missing = {uid: job for uid, job in wanted.items() if uid not in found}
        if len(missing) > _FEW:
            found |= self._listed(path, missing)
        gone = False
        for uid, job in missing.items():
            if uid in found:
                continue
            obj = self._site.get(self._site.ref_path(job))
            if obj is not None and uid_of(obj) == uid:
                found[uid] = seen_of(self._site.kind(job), obj)
            else:
                gone = gone or obj is None
                self._changed.discard(uid)
        if gone:
            self._site.believe_absence(namespace)
        self._changed -= {uid for uid in missing.keys() & shown.keys() & found.keys() if shown[uid].version == found[uid].version}
        told = actuals(self._site, namespace, list(found.values()), self._current.pods)
        return {ref: told.get(job.uid, Gone()) for ref, job in group.items()}

    def _followed(self, path: str, wanted: Mapping[str, JobRef]) -> dict[str, Seen]:
        """What a watch shows of them."""
        found: dict[str, Seen] = {}
        for lineage in sorted({job.lineage for job in wanted.values()}):
            current = self._current.workloads(path, lineage) or {}
            found |= {uid: current[uid] for uid in wanted if uid in current}
        return found

    def _listed(self, path: str, wanted: Mapping[str, JobRef]) -> dict[str, Seen]:
        kind = self._site.kind(next(iter(wanted.values())))
        found: dict[str, Seen] = {}

        def keep(obj: dict[str, Json]) -> None:
            uid = uid_of(obj)
            if uid in wanted:
                found[uid] = seen_of(kind, obj)

        for lineage in sorted({job.lineage for job in wanted.values()}):
            self._site.client.list(path, {"labelSelector": f"{LINEAGE}={lineage}"}, keep)
        return found
