"""The pod template of a composed Job: one container, what it needs of its node, and where it may run."""

from collections.abc import Iterator, Mapping

from jobform.backends.kubernetes.compose_env import CONTAINER, node_count
from jobform.backends.kubernetes.compose_values import (
    Trace,
    items,
    literal,
    mapping,
    quantity,
    renamed,
    seconds,
    text,
    texts,
    whole,
)
from jobform.backends.kubernetes.composed import Manifest
from jobform.backends.kubernetes.names import labels, volume_name
from jobform.model.values import Json, Path, is_deferred
from jobform.protocols import Mark

TEMPLATE: Path = ("spec", "template")
DEVICES = "devices"
"""The pod's one resource claim, which holds every request of `claims`."""

_POD: Path = (*TEMPLATE, "spec")
_NVIDIA, _GPU, _PRODUCT = "nvidia.com/", "nvidia.com/gpu", "nvidia.com/gpu.product"
_LONGEST_GRACE = 2**31 - 1

_POD_FIELDS = {
    "service_account": "serviceAccountName", "priority_class": "priorityClassName", "runtime_class": "runtimeClassName",
    "scheduler": "schedulerName", "host_network": "hostNetwork",
}
_POD_SECURITY = {
    "run_as_user": "runAsUser", "run_as_group": "runAsGroup", "run_as_non_root": "runAsNonRoot", "fs_group": "fsGroup",
    "supplemental_groups": "supplementalGroups",
}
_CONTAINER_SECURITY = {
    "privileged": "privileged", "allow_privilege_escalation": "allowPrivilegeEscalation",
    "read_only_root_filesystem": "readOnlyRootFilesystem", "capabilities": "capabilities",
}
_TOLERATION = {
    "key": "key", "operator": "operator", "value": "value", "effect": "effect", "toleration_seconds": "tolerationSeconds",
}
_SOURCES: Mapping[str, tuple[str, str]] = {
    "pvc": ("persistentVolumeClaim", "claimName"), "config_map": ("configMap", "name"), "secret": ("secret", "secretName"),
    "host_path": ("hostPath", "path"),
}


def pod_template(spec: Mapping[str, Json], mark: Mark, env: list[Json], trace: Trace) -> Manifest:
    """The Job's `spec.template`. env: the container's, complete."""
    own = labels(mark)
    metadata: Manifest = {"labels": {**texts(spec.get("pod_labels")), **own}}
    for key in mapping(spec.get("pod_labels")):
        trace.note((*TEMPLATE, "metadata", "labels", key), "pod_labels", key)
    if annotations := texts(spec.get("pod_annotations")):
        metadata["annotations"] = annotations
        trace.note((*TEMPLATE, "metadata", "annotations"), "pod_annotations")
    volumes, mounts = _volumes(spec, trace)
    container = _container(spec, env, mounts, trace)
    pod: Manifest = {"restartPolicy": "Never", "containers": [container], **renamed(spec, _POD_FIELDS)}
    for name, api in _POD_FIELDS.items():
        trace.note((*_POD, api), name)
    if volumes:
        pod["volumes"] = volumes
    if node_count(spec) > 1:
        pod["subdomain"] = mark.name
        trace.note((*_POD, "subdomain"), "nodes")
    pod |= _scheduling(spec, trace) | _pod_details(spec, trace)
    if claims := mapping(spec.get("claims")):
        pod["resourceClaims"] = [{"name": DEVICES, "resourceClaimTemplateName": mark.name}]
        resources = container.setdefault("resources", {})
        assert isinstance(resources, dict)
        resources["claims"] = [{"name": DEVICES}]
        trace.note((*_POD, "resourceClaims"), "claims")
        trace.note((*CONTAINER, "resources", "claims"), "claims", *([next(iter(claims))] if len(claims) == 1 else []))
    return {"metadata": metadata, "spec": pod}


def gpu_resource(gpu: Mapping[str, Json]) -> str:
    """The extended resource that a `resources.gpu` asks for, such as `nvidia.com/mig-1g.5gb`."""
    if isinstance(gpu.get("mig"), str):
        return f"{_NVIDIA}mig-{gpu['mig']}"
    if gpu.get("share") is True:
        return f"{_GPU}.shared"
    return text(gpu["resource"]) if "resource" in gpu else _GPU


def _container(spec: Mapping[str, Json], env: list[Json], mounts: list[Json], trace: Trace) -> Manifest:
    container: Manifest = {"name": "main", "image": text(spec.get("image"))}
    for name in ("command", "args"):
        if name in spec:
            container[name] = [literal(item) for item in items(spec[name])]
            trace.note((*CONTAINER, name), name)
    for name, api in (("working_dir", "workingDir"), ("image_pull_policy", "imagePullPolicy")):
        if name in spec:
            container[api] = text(spec[name])
            trace.note((*CONTAINER, api), name)
    trace.note((*CONTAINER, "image"), "image")
    container["env"] = env
    if sources := items(spec.get("env_from")):
        container["envFrom"] = [_env_source(mapping(source)) for source in sources]
        trace.note((*CONTAINER, "envFrom"), "env_from")
    if resources := _resources(mapping(spec.get("resources")), trace):
        container["resources"] = resources
    if mounts:
        container["volumeMounts"] = mounts
    if security := renamed(mapping(spec.get("security_context")), _CONTAINER_SECURITY):
        container["securityContext"] = security
        trace.note((*CONTAINER, "securityContext"), "security_context")
    return container


def _env_source(source: Mapping[str, Json]) -> Manifest:
    entry: Manifest = {"prefix": text(source["prefix"])} if "prefix" in source else {}
    for name, api in (("config_map", "configMapRef"), ("secret", "secretRef")):
        if name in source:
            entry[api] = {"name": text(source[name])}
    return entry


def _resources(wanted: Mapping[str, Json], trace: Trace) -> Manifest:
    """Requests and limits. An extended resource stands in limits alone: the API takes its request from there."""
    requests: Manifest = {}
    limits: Manifest = {}
    place: Path = (*CONTAINER, "resources")
    for name, api, parts in (
        ("cpu", "cpu", (requests,)), ("cpu_limit", "cpu", (limits,)), ("memory", "memory", (requests, limits)),
        ("ephemeral_storage", "ephemeral-storage", (requests, limits)),
    ):
        if name in wanted and not is_deferred(wanted[name]):
            for part in parts:
                part[api] = quantity(wanted[name])
                trace.note((*place, "limits" if part is limits else "requests", api), "resources", name)
    gpu = mapping(wanted.get("gpu"))
    if count := whole(gpu.get("count")):
        limits[gpu_resource(gpu)] = str(count)
        trace.note((*place, "limits", gpu_resource(gpu)), "resources", "gpu", "count")
    for name, amount in mapping(wanted.get("extended")).items():
        limits[name] = quantity(amount)
        trace.note((*place, "limits", name), "resources", "extended", name)
    return {name: part for name, part in (("requests", requests), ("limits", limits)) if part}


def _volumes(spec: Mapping[str, Json], trace: Trace) -> tuple[list[Json], list[Json]]:
    """The pod's volumes and the container's mounts, one volume for each mount path."""
    volumes: list[Json] = []
    mounts: list[Json] = []
    for path, wanted in _mounts(spec):
        name = volume_name(path)
        volumes.append({"name": name, **_source(wanted)})
        mount: Manifest = {"name": name, "mountPath": path}
        if wanted.get("read_only") is True:
            mount["readOnly"] = True
        if "sub_path" in wanted:
            mount["subPath"] = text(wanted["sub_path"])
        mounts.append(mount)
        origin = ("shm",) if wanted.get("shm") is True else ("volumes", path)
        trace.note((*_POD, "volumes", f"[name={name}]"), *origin)
        trace.note((*CONTAINER, "volumeMounts", f"[mountPath={path}]"), *origin)
    return volumes, mounts


def _mounts(spec: Mapping[str, Json]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    for path, wanted in mapping(spec.get("volumes")).items():
        yield path, mapping(wanted)
    if "shm" in spec and not is_deferred(spec["shm"]):
        yield "/dev/shm", {"empty_dir": {"medium": "Memory", "size_limit": spec["shm"]}, "shm": True}  # noqa: S108  # a mount


def _source(wanted: Mapping[str, Json]) -> Manifest:
    for name, (api, key) in _SOURCES.items():
        if name in wanted:
            return {api: {key: text(wanted[name])}}
    scratch = mapping(wanted.get("empty_dir"))
    made: Manifest = {"medium": text(scratch["medium"])} if "medium" in scratch else {}
    if "size_limit" in scratch:
        made["sizeLimit"] = quantity(scratch["size_limit"])
    return {"emptyDir": made}


def _scheduling(spec: Mapping[str, Json], trace: Trace) -> Manifest:
    """Where the pods may run. A type of GPU is a node label, and nodes with GPUs are tainted by convention."""
    gpu = mapping(mapping(spec.get("resources")).get("gpu"))
    selector = texts(spec.get("node_selector"))
    for key in selector:
        trace.note((*_POD, "nodeSelector", key), "node_selector", key)
    trace.note((*_POD, "nodeSelector"), "node_selector")
    if "type" in gpu and whole(gpu.get("count")) != 0:
        selector[_PRODUCT] = text(gpu["type"])
        trace.note((*_POD, "nodeSelector", _PRODUCT), "resources", "gpu", "type")
    made: Manifest = {"nodeSelector": selector} if selector else {}
    tolerations: list[Json] = [dict(renamed(mapping(entry), _TOLERATION)) for entry in items(spec.get("tolerations"))]
    if whole(gpu.get("count")):
        resource = gpu_resource(gpu)
        key = _GPU if resource.startswith(_NVIDIA) else resource
        if not any(mapping(entry).get("key") == key for entry in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoSchedule"})
    if tolerations:
        made["tolerations"] = tolerations
        trace.note((*_POD, "tolerations"), *(("tolerations",) if "tolerations" in spec else ("resources", "gpu")))
    if affinity := _node_affinity(mapping(spec.get("node_affinity"))):
        made["affinity"] = {"nodeAffinity": affinity}
        trace.note((*_POD, "affinity"), "node_affinity")
    return made


def _node_affinity(wanted: Mapping[str, Json]) -> Manifest:
    made: Manifest = {}
    if required := items(wanted.get("required")):
        terms: list[Json] = [{"matchExpressions": [_expression(mapping(entry)) for entry in required]}]
        made["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if preferred := items(wanted.get("preferred")):
        made["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": mapping(entry).get("weight", 1), "preference": {"matchExpressions": [_expression(mapping(entry))]}}
            for entry in preferred
        ]
    return made


def _expression(entry: Mapping[str, Json]) -> Manifest:
    return renamed(entry, {"key": "key", "operator": "operator", "values": "values"})


def _pod_details(spec: Mapping[str, Json], trace: Trace) -> Manifest:
    """What else the pod says of itself."""
    made: Manifest = {}
    if pulls := items(spec.get("image_pull_secrets")):
        made["imagePullSecrets"] = [{"name": text(name)} for name in pulls]
        trace.note((*_POD, "imagePullSecrets"), "image_pull_secrets")
    if (grace := seconds(spec.get("grace_period"), most=_LONGEST_GRACE)) is not None:
        made["terminationGracePeriodSeconds"] = grace
        trace.note((*_POD, "terminationGracePeriodSeconds"), "grace_period")
    wanted = mapping(spec.get("security_context"))
    security = renamed(wanted, _POD_SECURITY)
    if "seccomp_profile" in wanted:
        security["seccompProfile"] = {"type": text(wanted["seccomp_profile"])}
    if security:
        made["securityContext"] = security
        trace.note((*_POD, "securityContext"), "security_context")
    return made
