"""Nodes by the hundred that run nothing: pods on them go through the motions that an annotation of theirs asks for.

| annotation | value | what the pod does |
|---|---|---|
| `jobform.test/end` | absent | ends well, as soon as it runs |
| | `exit` | ends with the code in `jobform.test/exit` |
| | `oom`, `evicted`, `preempted` | is killed for memory, is evicted by its node, makes room for another pod |
| | `never` | runs until it is deleted |
| `jobform.test/after` | a duration such as `2s` | the time from start to end |

The annotation may come while the pod runs: a test that gives `never` to a template can end its pods one by one.
"""

import json
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cluster.api import Api, Object
from tests.cluster.processes import Child, free_port, start

END = "jobform.test/end"
EXIT = "jobform.test/exit"
AFTER = "jobform.test/after"
PORT = "simulator.port"
"""A file in the cluster's folder: where the simulator answers as the kubelet of its nodes."""
MANAGED = {"kwok.x-k8s.io/node": "fake"}
EVICTED = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi."

READY = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
"""
TERMINATED = """
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    running: null
    terminated: {exitCode: EXITCODE, reason: REASON, startedAt: {{ $start | Quote }}, finishedAt: {{ $now | Quote }}}
{{ end }}
"""
HEAD = "{{ $now := Now }}\n{{ $start := or .status.startTime $now }}\n"
CODE = f'{{{{ $code := or ( index .metadata.annotations "{EXIT}" ) "0" }}}}\n'


def _over(code: str, reason: str, more: str = "", phase: str = "Failed") -> str:
    return HEAD + f"phase: {phase}\n{more}" + TERMINATED.replace("EXITCODE", code).replace("REASON", reason)


def _disrupted(reason: str, message: str) -> str:
    return (
        "conditions:\n- {type: DisruptionTarget, status: \"True\", lastTransitionTime: {{ $now | Quote }}, "
        f"reason: {reason}, message: {json.dumps(message)}}}\n"
    )


def stages() -> list[Object]:
    """How pods move, in kwok's terms."""
    gone, here = ("Exists", None), ("DoesNotExist", None)
    running = (".status.phase", "In", ["Running"])
    end = f'.metadata.annotations["{END}"]'
    deleted = ".metadata.deletionTimestamp"
    made = [
        _stage("start", [(deleted, *here), (".status.podIP", "DoesNotExist", None)], READY),
        _stage("stopped", [(deleted, *gone), running], _over("143", "Error")),
        _stage("deleted", [(deleted, *gone), (".status.phase", "NotIn", ["Running"])], delete=True),
        _stage("preempted-deleted", [(deleted, *here), running, (end, "In", ["preempted"]), _condition("In")], delete=True),
    ]
    well = '{{ if eq $code "0" }}'
    exited = (
        CODE + HEAD + f"{well}phase: Succeeded{{{{ else }}}}phase: Failed{{{{ end }}}}\n"
        + TERMINATED.replace("EXITCODE", "{{ $code }}").replace("REASON", f"{well}Completed{{{{ else }}}}Error{{{{ end }}}}")
    )
    evicted = f"reason: Evicted\nmessage: {json.dumps(EVICTED)}\n" + _disrupted("TerminationByKubelet", EVICTED)
    preempted = _disrupted("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod")
    ends = {
        "complete": ((end, "DoesNotExist", None), _over("0", "Completed", phase="Succeeded")),
        "exit": ((end, "In", ["exit"]), exited),
        "oom": ((end, "In", ["oom"]), _over("137", "OOMKilled")),
        "evicted": ((end, "In", ["evicted"]), _over("137", "Error", evicted)),
        "preempted": ((end, "In", ["preempted"]), HEAD + preempted),
    }
    for name, (asked, template) in ends.items():
        more = [_condition("NotIn")] if name == "preempted" else []
        made.append(_stage(name, [(deleted, *here), running, asked, *more], template, after=True))
    return made


def _condition(operator: str) -> tuple[str, str, list[str]]:
    return ('.status.conditions.[] | select( .type == "DisruptionTarget" ) | .status', operator, ["True"])


def _stage(
    name: str, when: "list[tuple[str, str, list[str] | None]]", template: str = "", *, delete: bool = False, after: bool = False,
) -> Object:
    expressions = [{"key": key, "operator": operator} | ({"values": values} if values else {}) for key, operator, values in when]
    spec: Object = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"}, "selector": {"matchExpressions": expressions},
        "next": {"delete": True} if delete else {"statusTemplate": template},
    }
    if after:
        spec["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": f'.metadata.annotations["{AFTER}"]'}}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def run(assets: Path, directory: Path, kubeconfig: Path) -> Child:
    """Starts the simulator; it takes care of every node that `add_nodes` makes, and every container has the same log."""
    config, log, port = directory / "stages.yaml", directory / "simulated.log", free_port()
    log.write_text("2026-01-01T00:00:00.000000000Z stdout F simulated\n")
    shown = {"logs": [{"containers": [], "logsFile": str(log)}]}
    logs: Object = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", "metadata": {"name": "all"}, "spec": shown}
    config.write_text("\n---\n".join(json.dumps(each) for each in [*stages(), logs]))
    (directory / PORT).write_text(str(port))
    selector = ",".join(f"{key}={value}" for key, value in MANAGED.items())
    certificate = directory / "certs" / "apiserver"
    return start([
        assets / "kwok", f"--kubeconfig={kubeconfig}", f"--config={config}", "--node-lease-duration-seconds=40",
        f"--manage-nodes-with-annotation-selector={selector}", "--cidr=10.200.0.1/16", f"--server-address=127.0.0.1:{port}",
        f"--tls-cert-file={certificate}.crt", f"--tls-private-key-file={certificate}.key",
    ], directory)


def add_nodes(api: Api, pool_key: str, count: int, gpus: int, labels: Mapping[str, str], port: int) -> str:
    """`count` nodes of a new pool, whose name is returned, each with `gpus` GPUs, 64 cores and 512 GiB. port: the simulator's."""
    pool = f"sim-{secrets.token_hex(3)}"
    resources = {"cpu": "64", "memory": "512Gi", "pods": "200", "ephemeral-storage": "1Ti", "nvidia.com/gpu": str(gpus)}

    def body(number: int) -> Object:
        name = f"{pool}-{number}"
        return {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "annotations": MANAGED, "labels": {pool_key: pool, **labels}},
            "spec": {"taints": [{"key": pool_key, "value": pool, "effect": "NoSchedule"}]},
            "status": {
                "capacity": resources, "allocatable": resources, "addresses": [{"type": "Hostname", "address": "localhost"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            },
        }

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: api.create("/api/v1/nodes", body(number)), range(count)))
    for number in range(count):
        api.wait(f"/api/v1/nodes/{pool}-{number}", _placeable, what="the simulated nodes")
    return pool


def _placeable(node: Object | None) -> bool:
    """Ready, and no more marked as not ready, which the controllers take back a moment later."""
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in (node or {}).get("status", {}).get("conditions", []))
    taints = (node or {}).get("spec", {}).get("taints", [])
    return ready and not any(taint["key"].startswith("node.kubernetes.io/") for taint in taints)
