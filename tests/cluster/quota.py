"""Quotas of a namespace, in force: admission knows of one some moments after it is stored and counted."""

import time

from tests.cluster.api import Api, ApiFailure, Object

CONTAINERS = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
PROBES: dict[str, tuple[str, Object]] = {
    "count/jobs.batch": ("/apis/batch/v1/namespaces/{}/jobs", {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"}, "spec": {"template": {"spec": CONTAINERS}},
    }),
    "pods": ("/api/v1/namespaces/{}/pods", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": CONTAINERS,
    }),
}
"""What is counted, to where and what is tried: never made."""


def forbid(api: Api, namespace: str, name: str, counted: str) -> None:
    """A quota that lets none of `counted` be created; returns when the server refuses them for it."""
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {counted: "0"}}}
    api.create(f"/api/v1/namespaces/{namespace}/resourcequotas", body)
    _await(api, namespace, counted, f"exceeded quota: {name}")


def allow(api: Api, namespace: str, name: str, counted: str, most: int) -> None:
    """Widens such a quota; returns when the server takes one. 0: removes it."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/{name}"
    if most:
        api.merge(path, {"spec": {"hard": {counted: str(most)}}})
    else:
        api.delete(path)
    _await(api, namespace, counted, "")


def _await(api: Api, namespace: str, counted: str, words: str) -> None:
    ends = time.monotonic() + 120
    while (said := _refusal(api, namespace, counted)) is None or words not in said or bool(said) != bool(words):
        assert time.monotonic() < ends, f"the quota is not in force: {said}"
        time.sleep(0.05)


def _refusal(api: Api, namespace: str, counted: str) -> str | None:
    """What the server says of one more; "" when it would take it, None when it is busy."""
    path, probe = PROBES[counted]
    try:
        api.create(path.format(namespace), probe, dryRun="All")
    except ApiFailure as failure:
        return str(failure) if failure.status == 403 else None
    return ""
