"""Admission policies that play what webhooks of other people do: Kueue's, one that injects, one that refuses."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobform.backends.kubernetes.names import QUEUE_NAME
from tests.cluster.api import Api, ApiFailure, Object

_V1BETA1 = "/apis/admissionregistration.k8s.io/v1beta1"
_V1 = "/apis/admissionregistration.k8s.io/v1"
_QUEUED = f"has(object.metadata.labels) && '{QUEUE_NAME}' in object.metadata.labels"


@contextmanager
def queueing(api: Api, namespace: str) -> Iterator[None]:
    """Every labelled Job of the namespace is created suspended, as Kueue's webhook does it."""
    suspend = _merging("Object{spec: Object.spec{suspend: true}}")
    with _mutating(api, namespace, "queueing", suspend, ["CREATE"], _QUEUED):
        _until(lambda: _dry(api, namespace, {QUEUE_NAME: "probe"})["spec"].get("suspend") is True)
        yield


@contextmanager
def injecting(api: Api, namespace: str) -> Iterator[None]:
    """Every Job of the namespace gets a label, an environment variable in each container, and a toleration."""
    change = (
        "Object{metadata: Object.metadata{labels: {'team': 'injected'}}, spec: Object.spec{template: Object.spec.template{"
        "spec: Object.spec.template.spec{containers: object.spec.template.spec.containers.map(c, "
        "Object.spec.template.spec.containers{name: c.name, "
        "env: [Object.spec.template.spec.containers.env{name: 'INJECTED', value: 'yes'}]})}}}}"
    )
    with _mutating(api, namespace, "injecting", _merging(change), ["CREATE"], "true"):
        _until(lambda: _dry(api, namespace, {})["metadata"]["labels"].get("team") == "injected")
        yield


@contextmanager
def patching(api: Api, namespace: str, patches: str, probe: Object) -> Iterator[None]:
    """Every Job of the namespace that has the label `patched: no` is changed by these JSON patches (CEL), of which one sets it to
    yes. probe: a Job that they can be applied to."""
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": patches}}
    when = "has(object.metadata.labels) && 'patched' in object.metadata.labels"
    with _mutating(api, namespace, "patching", mutation, ["CREATE"], when):
        body = {**probe, "metadata": {"name": "probe", "labels": {"patched": "no"}}}
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        _until(lambda: api.create(path, body, dryRun="All")["metadata"]["labels"]["patched"] == "yes")
        yield


@contextmanager
def refusing(api: Api, namespace: str, condition: str, message: str) -> Iterator[str]:
    """No Job for which the condition does not hold is accepted. Gives the policy's name."""
    name = f"refusing-{namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "matchConstraints": _matching(namespace, ["CREATE", "UPDATE"]),
            "validations": [{"expression": condition, "message": message}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    with _made(api, f"{_V1}/validatingadmissionpolicies", policy), \
            _made(api, f"{_V1}/validatingadmissionpolicybindings", binding):
        def refuses() -> bool:
            try:
                _dry(api, namespace, {"probe": "refuse"})
            except ApiFailure as failure:
                return message in str(failure)
            return False

        _until(refuses)
        yield name


@contextmanager
def _mutating(api: Api, namespace: str, what: str, mutation: Object, operations: list[str], when: str) -> Iterator[None]:
    name = f"{what}-{namespace}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": _matching(namespace, operations),
            "matchConditions": [{"name": "when", "expression": when}],
            "mutations": [mutation],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name},
    }
    with _made(api, f"{_V1BETA1}/mutatingadmissionpolicies", policy), \
            _made(api, f"{_V1BETA1}/mutatingadmissionpolicybindings", binding):
        yield


def _merging(change: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": change}}


def _matching(namespace: str, operations: list[str]) -> Object:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "resourceRules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": operations, "resources": ["jobs"]}],
    }


@contextmanager
def _made(api: Api, path: str, obj: Object) -> Iterator[None]:
    api.create(path, obj)
    try:
        yield
    finally:
        api.delete(f"{path}/{obj['metadata']['name']}")


def _dry(api: Api, namespace: str, labels: Object) -> Object:
    """What a Job with these labels would be."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    job = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe", "labels": {"any": "any"} | labels},
        "spec": {"template": template},
    }
    return api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", job, dryRun="All")


def _until(holds: Callable[[], bool]) -> None:
    """Policies take effect some time after they were made."""
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, "the policy never took effect"
        time.sleep(0.05)
