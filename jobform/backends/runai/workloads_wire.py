"""Specs as the workloads API of the control plane has them, in both directions.

Wire facts: the vendor's OpenAPI document (`TrainingCreationRequest`, `DistributedCreationRequest`). Whether the service divides
`args` as a shell does is not said; it is written so that a shell would.
"""

import shlex
from collections.abc import Mapping
from contextlib import suppress

from jobform.backends.runai.jobs_wire import cores, program, seconds
from jobform.model.errors import BackendError
from jobform.model.values import Json

MARK = "jobform.dev/mark"
ADDRESS = "jobform.dev/address"
_OWN = "jobform.dev/"

TRAININGS, DISTRIBUTED = "trainings", "distributed"

_PLAIN: Mapping[str, str] = {
    "image": "image", "image_pull_policy": "imagePullPolicy", "working_dir": "workingDir", "create_home_dir": "createHomeDir",
    "stdin": "stdin", "tty": "tty", "retries": "backoffLimit", "completions": "completions", "parallelism": "parallelism",
    "node_type": "nodeType", "node_pools": "nodePools", "priority_class": "priorityClass",
}
_SECURITY: Mapping[str, str] = {
    "host_ipc": "hostIpc", "host_network": "hostNetwork", "run_as_uid": "runAsUid", "run_as_gid": "runAsGid",
    "uid_gid_source": "uidGidSource", "run_as_non_root": "runAsNonRoot", "read_only_root_filesystem": "readOnlyRootFilesystem",
    "capabilities": "capabilities", "seccomp_profile": "seccompProfileType",
}
_GIT: Mapping[str, str] = {"repository": "repository", "branch": "branch", "revision": "revision", "path": "path"}
_GIT_SECRET: Mapping[str, str] = {
    "name": "name", "method": "authenticationMethod", "user_key": "secretKeyOfUser", "password_key": "secretKeyOfPassword",
}
_DIGITS = 12
"""Of the longest number that a spec can have."""
_EVERY = "Any"
"""The effect of a toleration that is for every effect."""
_DURATIONS: Mapping[str, str] = {"ttl": "autoDeletionTimeAfterCompletionSeconds", "grace_period": "terminationGracePeriodSeconds"}
_MEMORY: Mapping[str, str] = {"memory": "cpuMemoryRequest", "memory_limit": "cpuMemoryLimit"}
_CPU: Mapping[str, str] = {"cpu": "cpuCoreRequest", "cpu_limit": "cpuCoreLimit"}
_FRAMEWORKS: Mapping[str, str] = {"pytorch": "PyTorch", "mpi": "MPI", "tf": "TF", "xgboost": "XGBoost", "jax": "JAX"}
_MASTERED = frozenset({"PyTorch", "TF", "XGBoost"})
"""Frameworks whose master is one of the pods that work; MPI's launcher is none."""
_CLEAN: Mapping[str, str] = {"none": "None", "all": "All", "running": "Running"}
_SERVICES: Mapping[str, str] = {"nodeport": "NodePort", "loadbalancer": "LoadBalancer"}

KEYS = frozenset(_PLAIN) | frozenset(_SECURITY) | frozenset(_DURATIONS) | {
    "command", "args", "env", "secrets", "resources", "nodes", "distributed", "image_pull_secrets", "large_shm", "pvc", "volume",
    "nfs", "git", "ports", "service_type", "prevent_privilege_escalation", "supplemental_groups", "tolerations", "preemptible",
    "suspended", "labels", "annotations", "job_name",
}
"""Every key of a spec that this API has."""


def kind_of(spec: Mapping[str, Json]) -> str:
    """The kind of workload that a spec is, as paths call it."""
    nodes = spec.get("nodes")
    return DISTRIBUTED if "distributed" in spec or (isinstance(nodes, int) and nodes > 1) else TRAININGS


def wire_body(spec: Mapping[str, Json], name: str, project: str, cluster: str, own: Mapping[str, str]) -> dict[str, Json]:
    """The body that submits a spec. project, cluster: ids. own: further annotations.

    Raises BackendError for what this API does not have.
    """
    if foreign := sorted(spec.keys() - KEYS):
        raise BackendError(f"the workloads API of Run:ai has no {foreign[0]}", "`api: jobs` of the backend may have it")
    wire: dict[str, Json] = {theirs: spec[key] for key, theirs in _PLAIN.items() if key in spec}
    wire |= {theirs: seconds(spec[key]) for key, theirs in _DURATIONS.items() if key in spec}
    command, args = program(spec)
    wire |= {"command": command} if command else {}
    wire |= {"args": shlex.join(args)} if args else {}
    environment: list[Json] = [{"name": key, "value": str(value)} for key, value in _items(spec, "env")]
    environment += [{"name": key, "secret": value} for key, value in _items(spec, "secrets")]
    listed: dict[str, list[Json]] = {
        "environmentVariables": environment,
        "imagePullSecrets": [{"name": secret} for secret in _list(spec, "image_pull_secrets")],
        "labels": [{"name": key, "value": value} for key, value in _items(spec, "labels")],
        "annotations": [{"name": key, "value": value} for key, value in (*_items(spec, "annotations"), *own.items())],
        "ports": _ports(spec),
        "tolerations": [_toleration(item) for item in _maps(spec, "tolerations")],
    }
    wire |= {key: items for key, items in listed.items() if items}
    parts = {"compute": _compute(spec), "storage": _storage(spec), "security": _security(spec)}
    wire |= {key: part for key, part in parts.items() if part}
    if "preemptible" in spec:
        wire["preemptibility"] = "preemptible" if spec["preemptible"] else "non-preemptible"
    body: dict[str, Json] = {"name": name, "projectId": project, "clusterId": cluster, "spec": wire}
    if kind_of(spec) == DISTRIBUTED:
        wire |= _distributed(spec)
        body["masterSpecSameAsWorker"] = True
    return body


def _distributed(spec: Mapping[str, Json]) -> dict[str, Json]:
    how, nodes = spec.get("distributed"), spec.get("nodes")
    told = how if isinstance(how, dict) else {}
    framework = _FRAMEWORKS[str(told.get("framework", "pytorch"))]
    workers = nodes if isinstance(nodes, int) else 1
    wire: dict[str, Json] = {
        "distributedFramework": framework, "numWorkers": max(1, workers - 1) if framework in _MASTERED else workers,
    }
    if "slots_per_worker" in told:
        wire["slotsPerWorker"] = told["slots_per_worker"]
    if "clean_pods" in told:
        wire["cleanPodPolicy"] = _CLEAN[str(told["clean_pods"])]
    return wire


def _compute(spec: Mapping[str, Json]) -> dict[str, Json]:
    asked = spec.get("resources")
    resources = asked if isinstance(asked, dict) else {}
    wire: dict[str, Json] = {theirs: cores(resources[key]) for key, theirs in _CPU.items() if key in resources}
    wire |= {theirs: resources[key] for key, theirs in _MEMORY.items() if key in resources}
    if isinstance(gpu := resources.get("gpu"), dict):
        wire["gpuDevicesRequest"] = gpu["count"]
        wire |= {"gpuRequestType": "portion", "gpuPortionRequest": 1} if gpu["count"] else {}
    elif "gpu_fraction" in resources:
        wire |= {"gpuDevicesRequest": 1, "gpuRequestType": "portion", "gpuPortionRequest": resources["gpu_fraction"]}
    elif "gpu_memory" in resources:
        wire |= {"gpuDevicesRequest": 1, "gpuRequestType": "memory", "gpuMemoryRequest": resources["gpu_memory"]}
    if extended := _items(resources, "extended"):
        wire["extendedResources"] = [{"resource": name, "quantity": str(count)} for name, count in extended]
    if "large_shm" in spec:
        wire["largeShmRequest"] = spec["large_shm"]
    return wire


def _storage(spec: Mapping[str, Json]) -> dict[str, Json]:
    claims: list[Json] = []
    for item in _maps(spec, "pvc"):
        claim: dict[str, Json] = {"path": item["path"], "existingPvc": "claim_name" in item}
        if "claim_name" in item:
            claim["claimName"] = item["claim_name"]
        else:
            made = {"size": item["size"], "storageClass": item.get("storage_class")}
            claim["claimInfo"] = {key: value for key, value in made.items() if value}
        claims.append(claim | ({"readOnly": item["read_only"]} if "read_only" in item else {}))
    hosts: list[Json] = [  # of what a directory is that nothing is said of, the vendor's document says both
        {"path": path, "mountPath": target, "readOnly": False} for path, target in _items(spec, "volume")
    ]
    exports: list[Json] = [
        {"server": item["server"], "path": item["export"], "mountPath": item["path"], "readOnly": item.get("read_only", False)}
        for item in _maps(spec, "nfs")
    ]
    sources: list[Json] = [_git(item) for item in _maps(spec, "git")]
    stored = (("pvc", claims), ("hostPath", hosts), ("nfs", exports), ("git", sources))
    return {key: value for key, value in stored if value}


def _git(item: Mapping[str, Json]) -> dict[str, Json]:
    wire: dict[str, Json] = {theirs: item[key] for key, theirs in _GIT.items() if key in item}
    if secret := _mapping(item.get("secret")):
        wire["secretRef"] = {theirs: secret[key] for key, theirs in _GIT_SECRET.items() if key in secret}
    return wire


def _toleration(item: Mapping[str, Json]) -> dict[str, Json]:
    """The service has no defaults of its own for the operator and the effect."""
    wire: dict[str, Json] = {
        "key": item["key"], "operator": item.get("operator", "Equal"), "effect": item.get("effect", _EVERY),
    }
    wire |= {theirs: item[key] for key, theirs in (("value", "value"), ("toleration_seconds", "seconds")) if key in item}
    return wire


def _security(spec: Mapping[str, Json]) -> dict[str, Json]:
    wire: dict[str, Json] = {theirs: spec[key] for key, theirs in _SECURITY.items() if key in spec}
    if "prevent_privilege_escalation" in spec:
        wire["allowPrivilegeEscalation"] = not spec["prevent_privilege_escalation"]
    if groups := _list(spec, "supplemental_groups"):
        wire["supplementalGroups"] = ",".join(str(group) for group in groups)
    if "run_as_uid" in spec or "run_as_gid" in spec:
        wire["uidGidSource"] = "custom"
    return wire


def _ports(spec: Mapping[str, Json]) -> list[Json]:
    kind = _SERVICES.get(str(spec.get("service_type", "")))
    served: dict[str, Json] = {"serviceType": kind} if kind else {}
    return [{key: item[key] for key in item if key in ("container", "external")} | served for item in _maps(spec, "ports")]


# --- what the service reports -----------------------------------------------------------------------------------------


def reported(wire: Json) -> dict[str, Json]:
    """The `spec` of a workload in the vocabulary of ours; what is missing or of another type is left out."""
    if not isinstance(wire, dict):
        return {}
    fields: dict[str, Json] = {key: wire[theirs] for key, theirs in _PLAIN.items() if wire.get(theirs) is not None}
    fields |= {key: f"{value}s" for key, theirs in _DURATIONS.items() if (value := _whole(wire.get(theirs))) is not None}
    fields |= _told_program(wire)
    for key, theirs in (("env", "environmentVariables"), ("labels", "labels"), ("annotations", "annotations")):
        named = _named(wire.get(theirs), "value")
        fields |= {key: {name: value for name, value in named.items() if not name.startswith(_OWN)}} if named else {}
    if secrets := _named(wire.get("environmentVariables"), "secret"):
        fields["secrets"] = secrets
    fields |= _told_compute(_mapping(wire.get("compute"))) | _told_security(_mapping(wire.get("security")))
    if isinstance(word := wire.get("preemptibility"), str):
        fields["preemptible"] = word == "preemptible"
    storage = _mapping(wire.get("storage"))
    hosts = {str(item["path"]): item["mountPath"] for item in _shaped(storage.get("hostPath"), ("path", "mountPath"))}
    claims: list[Json] = [
        {"path": item["path"]} | ({"claim_name": item["claimName"]} if item.get("existingPvc") and item.get("claimName") else {})
        for item in _shaped(storage.get("pvc"), ("path",))
    ]
    ports: list[Json] = [
        {"container": item["container"]} for item in _objects(wire.get("ports")) if _whole(item.get("container")) is not None
    ]
    sources: list[Json] = [
        {key: item[theirs] for key, theirs in _GIT.items() if item.get(theirs) is not None}
        for item in _shaped(storage.get("git"), ("repository", "path"))
    ]
    taints = [_told_toleration(item) for item in _shaped(wire.get("tolerations"), ("key",)) if not item.get("exclude")]
    listed = (("volume", hosts), ("pvc", claims), ("git", sources), ("ports", ports), ("tolerations", taints))
    return fields | {key: value for key, value in listed if value}


def mark_of(wire: Json) -> str:
    """The mark in a workload's annotations, "" for none."""
    mark = _named(wire.get("annotations"), "value").get(MARK) if isinstance(wire, dict) else None
    return mark if isinstance(mark, str) else ""


def as_reported(spec: Mapping[str, Json]) -> dict[str, Json]:
    """A spec as `reported` writes it: the service does not tell command and args apart, and a toleration has one form."""
    command, args = program(spec)
    rest = {key: value for key, value in spec.items() if key not in ("command", "args")}
    told: dict[str, Json] = {"command": [command, *args]} if command else {"args": list(args)} if args else {}
    if taints := _maps(spec, "tolerations"):
        told["tolerations"] = [_told_toleration(_toleration(item)) for item in taints]
    return rest | told


def _told_program(wire: Mapping[str, Json]) -> dict[str, Json]:
    command, args = wire.get("command"), wire.get("args")
    words: list[Json] = []
    if isinstance(args, str):
        words = [args]
        with suppress(ValueError):  # an open quote: it stays one word
            words = list(shlex.split(args))
    if isinstance(command, str) and command:
        return {"command": [command, *words]}
    return {"args": words} if words else {}


def _told_compute(compute: Mapping[str, Json]) -> dict[str, Json]:
    names = {**_CPU, **_MEMORY}
    resources: dict[str, Json] = {key: compute[theirs] for key, theirs in names.items() if compute.get(theirs) is not None}
    devices, portion = _whole(compute.get("gpuDevicesRequest")), compute.get("gpuPortionRequest")
    if compute.get("gpuRequestType") == "memory":
        resources["gpu_memory"] = compute.get("gpuMemoryRequest")
    elif isinstance(portion, int | float) and 0 < portion < 1:
        resources["gpu_fraction"] = portion
    elif devices is not None:
        resources["gpu"] = {"count": devices}
    extended: dict[str, Json] = {
        str(item["resource"]): _number(str(item["quantity"]))
        for item in _shaped(compute.get("extendedResources"), ("resource", "quantity")) if not item.get("exclude")
    }
    resources |= {"extended": extended} if extended else {}
    fields: dict[str, Json] = {"resources": resources} if resources else {}
    return fields | ({"large_shm": compute["largeShmRequest"]} if isinstance(compute.get("largeShmRequest"), bool) else {})


def _told_toleration(item: Mapping[str, Json]) -> Json:
    """As short as it can be written."""
    told: dict[str, Json] = {"key": item["key"]}
    told |= {"operator": "Exists"} if item.get("operator") == "Exists" else {"value": item.get("value") or ""}
    told |= {"effect": item["effect"]} if item.get("effect") not in (None, _EVERY) else {}
    return told | ({"toleration_seconds": item["seconds"]} if item.get("seconds") is not None else {})


def _told_security(security: Mapping[str, Json]) -> dict[str, Json]:
    fields: dict[str, Json] = {key: security[theirs] for key, theirs in _SECURITY.items() if security.get(theirs) is not None}
    if isinstance(text := security.get("supplementalGroups"), str) and text:
        fields["supplemental_groups"] = [_number(group.strip()) for group in text.split(",")]
    allowed = security.get("allowPrivilegeEscalation")
    return fields | ({"prevent_privilege_escalation": not allowed} if isinstance(allowed, bool) else {})


# --- shapes -----------------------------------------------------------------------------------------------------------


def _items(spec: Mapping[str, Json], key: str) -> list[tuple[str, Json]]:
    return list(_mapping(spec.get(key)).items())


def _list(spec: Mapping[str, Json], key: str) -> list[Json]:
    value = spec.get(key)
    return value if isinstance(value, list) else []


def _maps(spec: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    return _objects(spec.get(key))


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _shaped(value: Json, keys: tuple[str, ...]) -> list[dict[str, Json]]:
    """The objects of a list in which all these keys are texts."""
    return [item for item in _objects(value) if all(isinstance(item.get(key), str) for key in keys)]


def _named(value: Json, key: str) -> dict[str, Json]:
    """`[{name, <key>}]` as a map; items that a policy excludes are left out."""
    found = (item for item in _shaped(value, ("name",)) if not item.get("exclude") and item.get(key) is not None)
    return {str(item["name"]): item[key] for item in found}


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _number(text: str) -> Json:
    """A whole number that a text is, else the text."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else text


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
