"""Runs jobs as objects of a Kubernetes cluster: Jobs of the vocabulary's own, and manifests of any job-like kind.

Exactly once: an attempt has one name and one mark, its workload is created or not at all, and that name tells whether it was.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping

from jobform.backends.kubernetes import (
    arrange,
    claims,
    differences,
    find,
    kinds_schema,
    leftovers,
    preflight,
    scope,
    stop,
    submit,
    update,
)
from jobform.backends.kubernetes.beside import Beside
from jobform.backends.kubernetes.identity import mark_of, remade
from jobform.backends.kubernetes.logs import Logs
from jobform.backends.kubernetes.names import ADDRESS
from jobform.backends.kubernetes.read import Reader
from jobform.backends.kubernetes.settings import KubernetesSettings
from jobform.backends.kubernetes.shapes import mapping, text
from jobform.backends.kubernetes.site import Site, refused
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.settings import KubeSettings
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import (
    Absent,
    Actual,
    Arranged,
    Difference,
    Forecast,
    Found,
    Gone,
    Intended,
    LogOptions,
    Mark,
    Place,
    ReadError,
    Ref,
    Scope,
    Sighting,
    Submission,
    Unknown,
    Written,
)
from jobform.schema import load_definition, load_document


class KubernetesBackend:
    """One `type: kubernetes` block. Refs are `refs.JobRef` as JSON: api, kind, namespace, name, uid, lineage, companions."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._logs = Logs(site)
        self._reader = Reader(site, self._logs.hold)
        self._beside = Beside(site)

    def close(self) -> None:
        """End what runs in the background. The backend can still be used."""
        self._reader.close()
        self._site.close()

    def scope(self) -> Scope:
        with refused("the cluster cannot be asked who it is"):
            return scope.prove(self._site.client, self._site.namespace)

    def read(self, refs: Collection[Ref]) -> Mapping[Ref, Actual | Gone | ReadError]:
        self._beside.anew(refs)
        return self._reader.read(refs)

    def find(self, marks: Collection[Mark]) -> Mapping[Mark, Found | Absent | Unknown]:
        return find.find(self._site, marks)

    def submit(self, submission: Submission, mark: Mark) -> Ref:
        """Raises BackendError; after an ambiguous one, `find` knows."""
        return submit.submit(self._site, submission, mark)

    def update(self, ref: Ref, submission: Submission, expected: Actual) -> Actual:
        with self._reader.changing(ref):
            return update.update(self._site, ref, submission, expected)

    def cancel(self, ref: Ref, *, only_if_waiting: bool) -> None:
        """The deletion is accepted when this returns; pods get their grace period."""
        with self._reader.changing(ref):
            stop.cancel(self._site, self._reader, ref, only_if_waiting=only_if_waiting)

    def delete(self, ref: Ref, *, whole: bool = False) -> None:
        """Raises BackendError while the run is live."""
        with self._reader.changing(ref):
            stop.delete(self._site, self._reader, ref, whole=whole)

    def release(self, ref: Ref, submission: Submission) -> None:
        """Sends the time to live, which no submission carries."""
        update.release(self._site, ref, submission)

    def abandon(self, mark: Mark, kept: Collection[Ref]) -> None:
        """Removes companions whose workload was never made."""
        leftovers.abandon(self._site, mark, kept)

    def differences(self, spec: Mapping[str, Json], actual: Actual) -> Iterable[Difference]:
        """What others changed since it was applied, in the workload and beside it, by the managed fields of the objects."""
        if not isinstance(actual.native, bytes):
            return ()
        try:
            live: Json = json.loads(actual.native)
        except (ValueError, RecursionError) as error:
            raise BackendError("what the cluster said of a job cannot be read", str(error)[:200]) from error
        obj = live if isinstance(live, dict) else {}
        mark = remade(mark_of(obj), text(mapping(obj, "metadata", "annotations"), ADDRESS), text(obj, "metadata", "name"))
        composed = self._site.composed(Submission(mark.address, dict(spec)), mark)
        found = differences.differences(composed, obj)
        with refused(f"what stands beside {mark.name} could not be read"):
            return [*found, *self._beside.differences(composed, obj)] if composed.companions else found

    def preflight(self, intended: Collection[Intended], parallelism: int) -> Mapping[str, Forecast]:
        return preflight.preflight(self._site, intended, parallelism)

    def lookup(self, run_id: str) -> Sighting | None:
        return claims.lookup(self._site, run_id)

    def list(self) -> Iterator[Sighting]:
        return claims.listed(self._site)

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        return self._logs.logs(ref, options)

    def kept(self, ref: Ref, limit: int) -> bytes:
        return self._logs.kept(ref, limit)


class KubernetesType:
    """The entry point `kubernetes`."""

    name = "kubernetes"
    completes = True
    max_submitted: int | None = None
    poll = (0.3, 3.0)
    foreign_scope = "error"
    secrets_visible = False

    def spec_schema(self) -> dict[str, Json]:
        return load_document("kubernetes")

    def spec_schema_for(self, settings: Collection[Mapping[str, Json]]) -> dict[str, Json]:
        """Raises InputError when two blocks describe kinds of one name differently."""
        return kinds_schema.spec_schema_for(settings)

    def arrange(self, spec: dict[str, Json], settings: Mapping[str, Json], written: Written) -> Arranged:
        """`manifest` and `manifest_file` become `objects`."""
        return arrange.arrange(spec, settings, written)

    def settings_schema(self) -> dict[str, Json]:
        return load_definition("kubernetes", "settings")

    def open(self, block: BackendBlock, place: Place) -> KubernetesBackend:
        """Reads no file and asks nobody: the first call does."""
        settings = KubernetesSettings.of(block.settings)

        def connect() -> KubeClient:
            wanted = KubeSettings(
                context=settings.context or None, kubeconfig=settings.kubeconfig_in(place.project),
                namespace=settings.namespace or None, total=settings.timeout, plugin=settings.login_timeout,
                attended=place.attended,
            )
            try:
                return KubeClient.open(wanted, settings.environ(place.environ), place.clock)
            except KubeError as error:
                raise BackendError(error.message, error.hint) from error

        return KubernetesBackend(Site(connect, settings.kinds, place))


TYPE = KubernetesType()
