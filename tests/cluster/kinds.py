"""Job-like kinds whose controllers are not here: they are declared with an open schema, and the test writes their status."""

import json
import time
from dataclasses import dataclass
from typing import Any

from tests.cluster.api import MERGE, Api, Object

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True, slots=True)
class Declared:
    """A custom kind as a cluster serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api(self) -> str:
        return f"{self.group}/{self.version}"

    def path(self, namespace: str, name: str = "") -> str:
        place = f"namespaces/{namespace}/" if self.namespaced else ""
        return f"/apis/{self.api}/{place}{self.plural}" + (f"/{name}" if name else "")

    def definition(self) -> Object:
        properties = {"spec": OPEN, "status": OPEN}
        schema = {"openAPIV3Schema": OPEN | {"properties": properties}}
        version = {"name": self.version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
        names = {"kind": self.kind, "listKind": f"{self.kind}List", "plural": self.plural, "singular": self.kind.lower()}
        scope = "Namespaced" if self.namespaced else "Cluster"
        return {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.plural}.{self.group}"},
            "spec": {"group": self.group, "names": names, "scope": scope, "versions": [version]},
        }


JOBSET = Declared("jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets")
PYTORCHJOB = Declared("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs")
TFJOB = Declared("kubeflow.org", "v1", "TFJob", "tfjobs")
MPIJOB = Declared("kubeflow.org", "v2beta1", "MPIJob", "mpijobs")
TRAINJOB = Declared("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs")
RAYJOB = Declared("ray.io", "v1", "RayJob", "rayjobs")
VOLCANO_JOB = Declared("batch.volcano.sh", "v1alpha1", "Job", "jobs")
ALL = (JOBSET, PYTORCHJOB, TFJOB, MPIJOB, TRAINJOB, RAYJOB, VOLCANO_JOB)


def declare(api: Api, *kinds: Declared) -> None:
    """Makes the cluster serve `kinds`; nothing if it does already. They stay: the other tests of the session see them too."""
    for kind in kinds:
        api.apply(f"{CRDS}/{kind.plural}.{kind.group}", kind.definition())
    for kind in kinds:
        api.wait(f"{CRDS}/{kind.plural}.{kind.group}", _established, what=f"{kind.kind} to be served")
        api.wait(kind.path("default"), bool, what=f"{kind.kind} to be listed")
        await_discovery(api, kind)


def await_discovery(api: Api, kind: Declared, *, served: bool = True) -> None:
    """Until the server says that it serves the kind, or no longer does: it takes a moment longer than that it does so."""
    ends = time.monotonic() + 120
    while _discovered(api, kind) != served:
        assert time.monotonic() < ends, f"{kind.kind} of {kind.api} is still {'not' if served else ''} told of"
        time.sleep(0.05)


def _discovered(api: Api, kind: Declared) -> bool:
    found = json.loads(api.raw("GET", "/apis", accept=AGGREGATED)[1])
    if found.get("kind") != "APIGroupDiscoveryList":  # of an older server: told for each version alone
        listed = api.maybe(f"/apis/{kind.api}") or {"resources": []}
        return any(resource["name"] == kind.plural for resource in listed["resources"])
    return any(
        resource["resource"] == kind.plural
        for group in found["items"] if group["metadata"]["name"] == kind.group
        for version in group["versions"] if version["version"] == kind.version
        for resource in version.get("resources") or ()
    )


def _established(found: Any) -> bool:
    conditions = (found or {}).get("status", {}).get("conditions") or []  # null at first
    return any(it["type"] == "Established" and it["status"] == "True" for it in conditions)


def set_status(api: Api, kind: Declared, namespace: str, name: str, status: Object) -> Object:
    """What a controller would do: merges `status` into the object's."""
    return api.call(
        "PATCH", kind.path(namespace, name) + "/status", {"status": status}, content_type=MERGE,
        query={"fieldManager": f"{kind.kind.lower()}-controller"},
    )
