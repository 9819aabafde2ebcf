"""What the users `viewer` and `applier` may do. `nobody` gets nothing, and so only discovery."""

import time
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.api import Api, Object

SHIPPED = Path(__file__).parents[2] / "examples" / "kubernetes-gpu" / "rbac.yaml"
"""The roles that users are told to create: the tests run with exactly these."""

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PLURALS = {
    "Role": "roles", "ClusterRole": "clusterroles", "RoleBinding": "rolebindings", "ClusterRoleBinding": "clusterrolebindings",
}
READ = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "test-viewer"},
    "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}],
}


def let_view(api: Api) -> None:
    """`viewer` may get, list and watch everything, everywhere."""
    _apply(api, READ, "")
    _apply(api, _binding("ClusterRoleBinding", "test-viewer", "ClusterRole", "viewer"), "")
    await_right(api, "viewer", READ["rules"][-1])


def let_apply(api: Api, namespace: str, user: str = "applier", file: Path = SHIPPED) -> None:
    """Gives `user` in `namespace` the roles of `file`, and returns when they act; its bindings are made for the user.

    A role of the file that it does not bind itself is bound in the namespace. Service accounts and namespaces in it are left out.
    """
    documents = [document for document in yaml.safe_load_all(file.read_text()) if document and document["kind"] in PLURALS]
    bound = {document["roleRef"]["name"] for document in documents if "roleRef" in document}
    for document in documents:
        if "roleRef" in document:
            subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]
            document = document | {"subjects": subjects}
        _apply(api, document, namespace)
        name = document["metadata"]["name"]
        if "roleRef" not in document and name not in bound:
            _apply(api, _binding("RoleBinding", name, document["kind"], user), namespace)
    for document in documents:
        if document.get("rules"):
            await_right(api, user, document["rules"][-1], namespace)


def await_right(api: Api, user: str, rule: dict[str, Any], namespace: str = "") -> None:
    """The server takes a moment to know a role or a binding that was made; it knows a role whole."""
    resource, _, subresource = rule["resources"][-1].partition("/")
    asked = {"verb": rule["verbs"][-1], "group": rule["apiGroups"][-1], "resource": resource, "subresource": subresource}
    asked |= {"namespace": namespace, "name": (rule.get("resourceNames") or [""])[-1]}
    review = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked},
    }
    ends = time.monotonic() + 60
    while not api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]:
        assert time.monotonic() < ends, f"{user} still may not {asked}"
        time.sleep(0.02)


def _binding(kind: str, role: str, role_kind: str, user: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": f"{role}-{user}"},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
    }


def _apply(api: Api, document: Object, namespace: str) -> None:
    kind, metadata = document["kind"], {**document["metadata"]}
    folder = RBAC
    if not kind.startswith("Cluster"):
        metadata["namespace"] = namespace
        folder = f"{RBAC}/namespaces/{namespace}"
    api.apply(f"{folder}/{PLURALS[kind]}/{metadata['name']}", document | {"metadata": metadata})
