"""Service accounts with the rights of a file of roles, as whoever follows the example makes them."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.api import Access, Api, Object
from tests.cluster.cluster import Cluster
from tests.cluster.roles import PLURALS, RBAC, SHIPPED

EXAMPLE = "ml"
"""The namespace that the shipped file names: the test's takes its place."""

Right = tuple[str, str]
"""A resource, such as `pods/log`, and a verb."""

READ: Mapping[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader", "namespace": EXAMPLE},
    "rules": [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log", "events"], "verbs": ["get", "list", "watch"]},
    ],
}
"""Nothing but looking, and only at what belongs to jobs: no namespace, no kube-system."""


def shipped() -> list[Object]:
    return [document for document in yaml.safe_load_all(SHIPPED.read_text()) if document]


def reading() -> list[Object]:
    """The shipped account with `READ` for its role, and nothing beyond the namespace."""
    found = [json.loads(json.dumps(READ))]
    for document in shipped():
        if document["kind"] == "ServiceAccount":
            found.append(document)
        elif document["kind"] == "RoleBinding":
            role = {"metadata": document["metadata"] | {"name": "reader"}, "roleRef": document["roleRef"] | {"name": "reader"}}
            found.append(document | role)
    return found


def rights_in(documents: list[Object], kind: str = "Role") -> set[Right]:
    """What the roles of a kind grant."""
    return {
        (resource, verb) for document in documents if document["kind"] == kind
        for rule in document["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }


def without(*rights: Right) -> list[Object]:
    """The shipped documents, less these rights wherever they are granted. Each must be granted."""
    documents = shipped()
    for resource, verb in rights:
        rules = [rule for document in documents for rule in document.get("rules", ()) if resource in rule["resources"]]
        assert any(verb in rule["verbs"] for rule in rules), f"{verb} {resource} is not granted"
        for rule in rules:
            rule["verbs"] = [each for each in rule["verbs"] if each != verb]
    for document in documents:
        if "rules" in document:
            document["rules"] = [rule for rule in document["rules"] if rule["verbs"]]  # an empty list of verbs is refused
    return documents


@contextmanager
def account(cluster: Cluster, namespace: str, documents: list[Object], directory: Path) -> Iterator[Path]:
    """The kubeconfig of the service account that the documents name, with their rights as soon as it is given."""
    cluster_wide: list[str] = []
    for document in documents:
        path, body = _placed(document, namespace)
        cluster.api.apply(path, body)
        if document["kind"].startswith("Cluster"):
            cluster_wide.append(path)
    try:
        token = cluster.api.create(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/jobform/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
        )["status"]["token"]
        access = replace(cluster.access, token=token, certificate="", key="")
        _await(Api.open(access), namespace, documents)
        yield access.write(directory / f"{namespace}.kubeconfig", namespace=namespace)
    finally:
        for path in cluster_wide:
            cluster.api.delete(path)


def user_name(namespace: str) -> str:
    """As the API server knows the account."""
    return f"system:serviceaccount:{namespace}:jobform"


def bearer(kubeconfig: Path) -> str:
    """Its token: it must be in nothing that is printed."""
    return Access.read(kubeconfig).token


def _placed(document: Object, namespace: str) -> tuple[str, Object]:
    """Where a document belongs, and its content, with the test's namespace; what is the cluster's gets a name of the test's."""
    body = json.loads(json.dumps(document))
    kind, metadata = body["kind"], body["metadata"]
    for subject in body.get("subjects", ()):
        subject["namespace"] = namespace
    if kind.startswith("Cluster"):
        metadata["name"] += f"-{namespace}"
        if "roleRef" in body:
            body["roleRef"]["name"] += f"-{namespace}"
        return f"{RBAC}/{PLURALS[kind]}/{metadata['name']}", body
    assert metadata["namespace"] == EXAMPLE
    metadata["namespace"] = namespace
    if kind == "ServiceAccount":
        return f"/api/v1/namespaces/{namespace}/serviceaccounts/{metadata['name']}", body
    return f"{RBAC}/namespaces/{namespace}/{PLURALS[kind]}/{metadata['name']}", body


def _await(api: Api, namespace: str, documents: list[Object]) -> None:
    """The server takes a moment to know a role that was made or changed: asked until it has exactly what the role says."""
    wanted, every = rights_in(documents), rights_in(shipped()) | rights_in(documents)
    ends = time.monotonic() + 120
    while (missing := wanted ^ _allowed(api, namespace, every)):
        assert time.monotonic() < ends, f"still not as wanted: {missing}"
        time.sleep(0.05)
    everywhere = _of_cluster(documents)
    for rule in _of_cluster(shipped()) | everywhere:
        while _may(api, *rule) != (rule in everywhere):
            assert time.monotonic() < ends, f"still not as wanted: {rule}"
            time.sleep(0.05)


def _of_cluster(documents: list[Object]) -> set[tuple[str, str, str, str]]:
    """What roles of the whole cluster grant: group, resource, name and verb."""
    return {
        (rule["apiGroups"][0], resource, (rule.get("resourceNames") or [""])[0], verb)
        for document in documents if document["kind"] == "ClusterRole"
        for rule in document["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }


def _may(api: Api, group: str, resource: str, name: str, verb: str) -> bool:
    asked = {"group": group, "resource": resource, "name": name, "verb": verb}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
    return bool(api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)["status"]["allowed"])


def _allowed(api: Api, namespace: str, every: set[Right]) -> set[Right]:
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    found = api.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body)["status"]["resourceRules"]
    everywhere = [rule for rule in found if not rule.get("resourceNames")]
    return every & {(resource, verb) for rule in everywhere for resource in rule["resources"] for verb in rule["verbs"]}
