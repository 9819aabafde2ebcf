"""One configured place in a cluster, as every operation needs it: the client, the namespace, the kinds, the paths, the hooks."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from jobform.backends.kubernetes.compose import compose
from jobform.backends.kubernetes.composed import Composed, Manifest
from jobform.backends.kubernetes.kinds import Kind, Kinds
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.shapes import at, text
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Mark, Place, Submission

PLURALS: Mapping[tuple[str, str], str] = {
    ("v1", "ConfigMap"): "configmaps", ("v1", "Secret"): "secrets", ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts", ("v1", "PersistentVolumeClaim"): "persistentvolumeclaims",
    ("resource.k8s.io/v1", "ResourceClaimTemplate"): "resourceclaimtemplates",
}
"""Names in paths that need no question; discovery knows the others."""

_NO_TYPE = ("could not find the requested resource", "page not found")
"""How an API server says that it does not serve a type at all, in the same 404 as for an object that is not there."""


class Site:
    """Safe to use from several threads. The client is opened, and anything read, at the first use."""

    def __init__(self, connect: Callable[[], KubeClient], kinds: Kinds, place: Place) -> None:
        self._connect = connect
        self._place = place
        self._lock = threading.Lock()
        self._client: KubeClient | None = None
        self.kinds = kinds
        self.clock = place.clock

    @property
    def client(self) -> KubeClient:
        """Raises BackendError when no cluster or no credentials can be had."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def close(self) -> None:
        """Drop idle connections; the client can still be used."""
        with self._lock:
            if self._client is not None:
                self._client.close()

    @property
    def namespace(self) -> str:
        return self.client.namespace

    def kind(self, ref: JobRef) -> Kind:
        """Raises BackendError for a kind that nobody describes any more."""
        kind = self.kinds.of(ref.api, ref.kind)
        if kind is None:
            raise BackendError(
                f"nothing is known of the kind {ref.kind} of {ref.api}",
                f"{ref} was submitted with a kind of the project's own: put it back into `kinds:` of the backend's block.",
            )
        return kind

    def composed(self, submission: Submission, mark: Mark) -> Composed:
        """The objects of a submission. Raises BackendError."""
        return compose(submission.spec, mark, self.namespace, self.kinds, submission.described or None)

    def path(self, api: str, kind: str, namespace: str, name: str | None = None) -> str:
        """Of a collection, or of an object. Raises KubeError with status 404 where the cluster does not serve the kind."""
        known = self.kinds.of(api, kind)
        plural = PLURALS.get((api, kind)) or (known.plural if known else "")
        if not plural:
            served = self.client.served().get((api, kind))
            if served is None:
                raise KubeError(404, "NotFound", f"the cluster does not serve {kind} of {api}: {_NO_TYPE[0]}")
            plural = served.plural
        return object_path(api, plural, namespace, name)

    def path_of(self, obj: Manifest, namespace: str) -> str:
        """The path of an object that is described whole."""
        return self.path(
            text(obj, "apiVersion"), text(obj, "kind"), text(obj, "metadata", "namespace") or namespace,
            text(obj, "metadata", "name"),
        )

    def ref_path(self, ref: JobRef) -> str:
        return self.path(ref.api, ref.kind, ref.namespace, ref.name)

    def get(self, path: str) -> Manifest | None:
        """An object as it is now, None when it is not there. Raises KubeError, also when its type is not served."""
        try:
            return dict(self.client.request("GET", path).body)
        except KubeError as error:
            if is_absent(error):
                return None
            raise

    def believe_absence(self, namespace: str) -> None:
        """Raises KubeError when nothing may be concluded from an object that is not there: its namespace goes or is gone.

        Who may not read the namespace is told nothing: the backend's scope, which is proven before, holds its uid where it may.
        """
        try:
            body = self.client.request("GET", object_path("v1", "namespaces", None, namespace)).body
        except KubeError as error:
            if error.status == 403:
                return
            raise
        if text(body, "status", "phase") == "Terminating" or at(body, "metadata", "deletionTimestamp"):
            raise KubeError(409, "Conflict", f"the namespace {namespace} is being removed")

    @contextmanager
    def effect(self, what: str, address: str) -> Iterator[None]:
        """Around every request that changes something; what: `apply`, `delete`, ..."""
        self._place.effect(f"kubernetes.{what}.before", address)
        yield
        self._place.effect(f"kubernetes.{what}.after", address)


def is_absent(error: KubeError) -> bool:
    """Whether an answer says that one object is not there, and not that its whole type is not."""
    return error.status == 404 and not is_unserved(error)


def is_unserved(error: KubeError) -> bool:
    """Whether an answer says that the server does not have a type at all, as when its definition was removed."""
    return error.status == 404 and any(words in error.message for words in _NO_TYPE)


@contextmanager
def refused(summary: str) -> Iterator[None]:
    """What the cluster refuses as BackendError."""
    try:
        yield
    except KubeError as error:
        raise error.backend_error(summary) from error


def uid_of(obj: Mapping[str, Json]) -> str:
    return text(dict(obj), "metadata", "uid")
