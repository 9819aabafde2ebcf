"""Paths of the API, built from names that nobody has checked yet."""

from urllib.parse import quote

from jobform.clients.kube.errors import KubeError


def group_path(api: str) -> str:
    """`v1` is `/api/v1`, `batch/v1` is `/apis/batch/v1`."""
    group, _, version = api.rpartition("/")
    return f"/apis/{_part(group)}/{_part(version)}" if group else f"/api/{_part(version)}"


def object_path(
    api: str, plural: str, namespace: str | None = None, name: str | None = None, sub: str | None = None,
) -> str:
    """The path of a collection, or with `name` of one object, or with `sub` of its sub-resource such as `log`.

    Raises KubeError (status 0, reason `BadName`) for a part that would lead elsewhere.
    """
    path = group_path(api)
    if namespace is not None:
        path += f"/namespaces/{_part(namespace)}"
    for part in (plural, name, sub):
        if part is not None:
            path += f"/{_part(part)}"
    return path


def _part(text: str) -> str:
    if text in ("", ".", ".."):
        raise KubeError(0, "BadName", f"{text!r} cannot be part of an API path")
    return quote(text, safe=":")
