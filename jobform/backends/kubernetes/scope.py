"""The proof of where a backend works: which cluster, which namespace."""

from urllib.parse import urlsplit

from jobform.backends.kubernetes.shapes import text
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.clients.text import short
from jobform.model.errors import BackendError
from jobform.model.values import Json, canonical
from jobform.protocols import Scope

_CLUSTER = "kube-system"
"""The namespace whose uid stands for the cluster: it is made with it and nobody can make it again."""


def prove(client: KubeClient, namespace: str) -> Scope:
    """Ask the server for the uids of `kube-system` and of the namespace.

    What may not be read (403) is left out and said in `described`. Raises BackendError when the namespace does not exist, when
    the server does not answer or does not know us.
    """
    login = client.login
    cluster: dict[str, Json] = {"server": plain_server(login.server)}
    place: dict[str, Json] = {"name": namespace}
    notes: list[str] = [] if login.verified else ["its certificate is not checked"]
    try:
        own = _namespace(client, namespace)
        system = own if namespace == _CLUSTER else _namespace(client, _CLUSTER)
    except KubeError as error:
        raise _unproven(client, namespace, error) from error
    for part, found, name in ((cluster, system, _CLUSTER), (place, own, namespace)):
        if uid := text(found, "metadata", "uid"):
            part["uid"] = uid
        elif name == namespace or namespace != _CLUSTER:
            notes.append(f"namespace {name} may not be read, so its uid is not known")
    if text(own, "status", "phase") == "Terminating":
        notes.append(f"namespace {namespace} is being deleted")
    described = f"namespace {namespace} of {cluster['server']}" + (f" (context {short(login.context)})" if login.context else "")
    return Scope(
        canonical({"cluster": cluster, "namespace": place}),
        "; ".join([described, *dict.fromkeys(notes)]),
        f"{login.source}; the namespace from {login.namespace_source if namespace == login.namespace else 'the job'}",
    )


def plain_server(url: str) -> str:
    """One text for one server: scheme and host in lower case, the port always, no trailing slash, no credentials."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme.lower()}://{shown}:{parts.port or (443 if parts.scheme == 'https' else 80)}{parts.path.rstrip('/')}"


def _namespace(client: KubeClient, name: str) -> dict[str, Json]:
    """The namespace's object, {} when it may not be read."""
    try:
        return client.get(object_path("v1", "namespaces", None, name)).body
    except KubeError as error:
        if error.status == 403:
            return {}
        raise


def _unproven(client: KubeClient, namespace: str, error: KubeError) -> BackendError:
    login = client.login
    if error.status != 404:
        return error.backend_error(f"the cluster of {login.source} cannot be asked")
    if f'namespaces "{namespace}" not found' in error.message:
        hint = (
            f"the name comes from {login.namespace_source}; correct it with the setting `namespace`, or make the namespace with "
            f"kubectl create namespace {namespace}"
        )
        return BackendError(f"namespace {short(namespace)} does not exist in the cluster of {login.source}", hint)
    return error.backend_error(f"{short(login.server)} of {login.source} does not answer like a Kubernetes API server")
