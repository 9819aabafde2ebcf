"""From a spec to the objects of one attempt. Pure: no call, no clock, the same objects for the same arguments, in microseconds.

A spec holds either the vocabulary (`image` and so on), which becomes a batch/v1 Job, or `objects`: the user's own manifests.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping

from jobform.backends.kubernetes.compose_env import Environment, environment, node_count
from jobform.backends.kubernetes.compose_objects import compose_objects
from jobform.backends.kubernetes.compose_pods import pod_template
from jobform.backends.kubernetes.compose_values import Trace, items, mapping, renamed, seconds, text, texts, whole
from jobform.backends.kubernetes.composed import Composed, Manifest, Origins
from jobform.backends.kubernetes.kinds import Kinds
from jobform.backends.kubernetes.names import ADDRESS, QUEUE_NAME, QUEUE_PRIORITY, labels, workload_labels
from jobform.model.values import Json
from jobform.protocols import Mark

_LONGEST_TTL = 2**31 - 1
"""Seconds in the API's 32 bits: 68 years; a longer wait means the same."""
_LONGEST_TIMEOUT = 2**62

_COUNTS = {
    "completions": "completions", "parallelism": "parallelism", "retries_per_index": "backoffLimitPerIndex",
    "max_failed_indexes": "maxFailedIndexes", "pod_replacement_policy": "podReplacementPolicy",
}
_ON_EXIT_CODES = {"container_name": "containerName", "operator": "operator"}


def compose(
    spec: Mapping[str, Json], mark: Mark, namespace: str, kinds: Kinds, described: Mapping[str, Json] | None = None,
) -> Composed:
    """The objects of one attempt. spec: valid by the schema; secrets and outputs in place, or `UNKNOWN_TEXT`, or `{expr, with}`.

    described: the same spec with secrets as `{expr, with}`, which tells what goes into a Secret; by default the spec itself.
    Raises BackendError for what no schema can say: a name in both `env` and `secrets`, a manifest for another namespace.
    """
    if "objects" in spec:
        return compose_objects(spec, mark, namespace, kinds)
    kind = kinds.of("batch/v1", "Job")
    assert kind is not None, "the table of kinds has the Job"
    trace = Trace()
    env = environment(spec, spec if described is None else described, mark, trace)
    metadata = _metadata(spec, mark, namespace, trace)
    template = pod_template(spec, mark, env.entries, trace)
    workload: Manifest = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {**_job_fields(spec, trace), "template": template},
    }
    companions = tuple(_companions(spec, mark, namespace, env))
    return Composed(
        workload, kind, tuple(companion for companion, _ in companions), _held_back(spec, trace), tuple(trace.entries),
        tuple(origins for _, origins in companions), queued=QUEUE_NAME in mapping(metadata["labels"]),
    )


def _metadata(spec: Mapping[str, Json], mark: Mark, namespace: str, trace: Trace) -> Manifest:
    wanted, annotations = texts(spec.get("labels")), texts(spec.get("annotations"))
    for name, entries in (("labels", wanted), ("annotations", annotations)):
        for key in entries:
            trace.note(("metadata", name, key), name, key)
    for name, label in (("queue", QUEUE_NAME), ("queue_priority", QUEUE_PRIORITY)):
        if name in spec:
            wanted[label] = text(spec[name])
            trace.note(("metadata", "labels", label), name)
    return {
        "name": mark.name, "namespace": namespace, "labels": {**wanted, **workload_labels(mark)},
        "annotations": {**annotations, ADDRESS: mark.address},
    }


def _job_fields(spec: Mapping[str, Json], trace: Trace) -> Manifest:
    """The Job's spec without its template. `suspend` is never among them: it is the queue's."""
    made = renamed(spec, _COUNTS)
    for name, api in _COUNTS.items():
        trace.note(("spec", api), name)
    if (nodes := node_count(spec)) > 1:
        made |= {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes}
        for api in ("completionMode", "completions", "parallelism"):
            trace.note(("spec", api), "nodes")
    elif spec.get("indexed") is True:
        made["completionMode"] = "Indexed"
        trace.note(("spec", "completionMode"), "indexed")
    if "retries" in spec or "retries_per_index" not in spec:  # per index, a limit over all would come on top
        made["backoffLimit"] = whole(spec.get("retries")) or 0
    trace.note(("spec", "backoffLimit"), "retries")
    if (limit := seconds(spec.get("timeout"), least=1, most=_LONGEST_TIMEOUT)) is not None:
        made["activeDeadlineSeconds"] = limit
    trace.note(("spec", "activeDeadlineSeconds"), "timeout")
    if rules := _failure_rules(spec):
        made["podFailurePolicy"] = {"rules": rules}
    trace.note(("spec", "podFailurePolicy"), "pod_failure_policy")
    if wanted := items(spec.get("success_policy")):
        names = {"succeeded_indexes": "succeededIndexes", "succeeded_count": "succeededCount"}
        made["successPolicy"] = {"rules": [renamed(mapping(rule), names) for rule in wanted]}
    trace.note(("spec", "successPolicy"), "success_policy")
    return made


def _failure_rules(spec: Mapping[str, Json]) -> list[Json]:
    """The user's rules as they are. Without any, a pod that the cluster took away is no failure of the program."""
    if "pod_failure_policy" in spec:
        return [_failure_rule(mapping(rule)) for rule in items(spec["pod_failure_policy"])]
    if spec.get("pod_replacement_policy") == "TerminatingOrFailed":
        return []  # the API has it only without a failure policy
    return [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]


def _failure_rule(rule: Mapping[str, Json]) -> Manifest:
    made: Manifest = {"action": text(rule.get("action"))}
    if codes := mapping(rule.get("on_exit_codes")):
        values = sorted(code for value in items(codes.get("values")) if (code := whole(value)) is not None)
        made["onExitCodes"] = {**renamed(codes, _ON_EXIT_CODES), "values": list(values)}  # the API wants them in order
    if conditions := items(rule.get("on_pod_conditions")):
        made["onPodConditions"] = [{"status": "True", **mapping(condition)} for condition in conditions]
    return made


def _held_back(spec: Mapping[str, Json], trace: Trace) -> Manifest | None:
    ttl = seconds(spec.get("ttl"), most=_LONGEST_TTL)
    trace.note(("spec", "ttlSecondsAfterFinished"), "ttl")
    return None if ttl is None else {"spec": {"ttlSecondsAfterFinished": ttl}}


def _companions(
    spec: Mapping[str, Json], mark: Mark, namespace: str, env: Environment,
) -> Iterator[tuple[Manifest, Origins]]:
    """What a composed Job needs beside it, each named as the Job."""
    def metadata() -> Manifest:
        return {"name": mark.name, "namespace": namespace, "labels": {**labels(mark)}, "annotations": {ADDRESS: mark.address}}

    if env.secret:
        data: Manifest = {name: _encoded(value) for name, value in env.secret.items()}
        yield (
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(), "type": "Opaque", "data": data},
            (((), ("env",)), *((("data", name), ("env", name)) for name in env.secret)),
        )
    if claims := mapping(spec.get("claims")):
        requests: list[Json] = [{"name": name, "exactly": _request(mapping(claim))} for name, claim in claims.items()]
        yield (
            {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": metadata(),
             "spec": {"spec": {"devices": {"requests": requests}}}},
            (((), ("claims",)),
             *((("spec", "spec", "devices", "requests", f"[name={name}]"), ("claims", name)) for name in claims)),
        )
    if node_count(spec) > 1:
        yield (
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata(),
             "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {**labels(mark)}}},
            (((), ("nodes",)),),
        )


def _encoded(value: str) -> str:
    """A value as a Secret holds it; bytes of the environment that are no text stay what they are."""
    return b64encode(value.encode("utf-8", "surrogateescape")).decode()


def _request(claim: Mapping[str, Json]) -> Manifest:
    """One request of devices; the API's default is exactly one."""
    made = renamed(claim, {"device_class": "deviceClassName", "count": "count"})
    if "count" in made:
        made["allocationMode"] = "ExactCount"
    elif claim.get("all") is True:
        made["allocationMode"] = "All"
    if selectors := items(claim.get("selectors")):
        made["selectors"] = [{"cel": {"expression": text(expression)}} for expression in selectors]
    return made
