"""Specs of the vocabulary that stand for what people run, and what turns them into objects."""

from typing import Any

from jobform.backends.kubernetes.compose import compose
from jobform.backends.kubernetes.composed import Composed
from jobform.backends.kubernetes.kinds import Kinds
from jobform.protocols import Mark

KINDS = Kinds.builtin()
MARK = Mark(
    "train", 1, "0" * 64, "train-0a1b2c3d-1", f"jf1-{'a' * 16}-{'b' * 16}-1-{'c' * 16}", "2026-01-01T00:00:00.000000Z",
)

_IMAGE = {"image": "docker.io/local/busybox:1", "command": ["sh", "-c", "exit 0"]}

SPECS: dict[str, dict[str, Any]] = {
    "nothing but an image": {"image": "busybox"},
    "one GPU": {
        **_IMAGE, "resources": {"cpu": 8, "memory": "64Gi", "gpu": {"count": 1, "type": "NVIDIA-H100-80GB-HBM3"}},
        "timeout": "6h", "retries": 2, "ttl": "24h", "working_dir": "/work", "args": ["--lr", "0.1"],
    },
    "whole nodes": {
        **_IMAGE, "resources": {
            "cpu": "96", "cpu_limit": 96, "memory": "900Gi", "ephemeral_storage": "1Ti", "gpu": {"count": 8},
            "extended": {"rdma/hca": 8},
        },
        "shm": "64Gi", "host_network": True, "security_context": {"capabilities": {"add": ["IPC_LOCK"]}},
    },
    "two nodes under torchrun": {
        **_IMAGE, "nodes": 2, "processes_per_node": 8, "resources": {"gpu": {"count": 8}}, "env": {"NCCL_DEBUG": "INFO"},
        "success_policy": [{"succeeded_indexes": "0"}],
    },
    "one node with many processes": {**_IMAGE, "processes_per_node": 4, "resources": {"gpu": {"count": 4}}},
    "a MIG slice": {**_IMAGE, "resources": {"gpu": {"count": 1, "mig": "1g.5gb"}}},
    "a shared GPU": {**_IMAGE, "resources": {"gpu": {"count": 1, "share": True}}},
    "a GPU of another vendor": {**_IMAGE, "resources": {"gpu": {"count": 2, "resource": "amd.com/gpu"}}},
    "no GPU": {**_IMAGE, "resources": {"cpu": 0.5, "gpu": {"count": 0, "type": "NVIDIA-H100-80GB-HBM3"}}},
    "claims": {
        **_IMAGE, "claims": {
            "gpus": {"device_class": "gpu.nvidia.com", "count": 2, "selectors": ["device.driver == 'gpu.nvidia.com'"]},
            "nics": {"device_class": "rdma.example.com", "all": True}, "one": {"device_class": "gpu.nvidia.com"},
        },
    },
    "volumes": {
        **_IMAGE, "shm": "1Gi", "volumes": {
            "/data": {"pvc": "datasets", "read_only": True}, "/data/": {"pvc": "datasets", "sub_path": "a/b"},
            "/": {"empty_dir": {}},
            "/scratch": {"empty_dir": {"medium": "Memory", "size_limit": "2Gi"}}, "/etc/my_app": {"config_map": "settings"},
            "/etc/my-app": {"secret": "s3-credentials"}, "/models": {"host_path": "/mnt/models"},
            f"/{'x' * 300}": {"empty_dir": {}},
        },
    },
    "secrets": {
        **_IMAGE, "secrets": {"HF_TOKEN": {"name": "hugging-face", "key": "token"}},
        "env": {"API_KEY": {"expr": "{{ secret('API_KEY') }}", "with": {}}, "MODE": "fast"},
        "env_from": [{"config_map": "settings"}, {"secret": "s3-credentials", "prefix": "S3_"}],
    },
    "an indexed job": {
        **_IMAGE, "indexed": True, "completions": 8, "parallelism": 4, "retries_per_index": 2, "max_failed_indexes": 3,
        "success_policy": [{"succeeded_indexes": "0,2-3", "succeeded_count": 1}, {"succeeded_count": 6}],
        "pod_failure_policy": [
            {"action": "FailIndex", "on_exit_codes": {"operator": "In", "values": [42, 2]}},
            {"action": "Ignore", "on_pod_conditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "on_exit_codes": {"operator": "NotIn", "values": [3, 0]}},
            {"action": "Count", "on_pod_conditions": [{"type": "Ready", "status": "False"}]},
        ],
        "pod_replacement_policy": "Failed",
    },
    "a pool of workers": {**_IMAGE, "completions": 8, "parallelism": 0, "pod_replacement_policy": "TerminatingOrFailed"},
    "in a queue": {
        **_IMAGE, "queue": "team-vision", "queue_priority": "high", "labels": {"team": "vision", "acme.example/cost": ""},
        "annotations": {"acme.example/owner": "vision, and others"}, "pod_labels": {"tier": "batch"},
        "pod_annotations": {"sidecar.example/inject": "false"},
    },
    "a place of its own": {
        **_IMAGE, "node_selector": {"zone": "a"}, "service_account": "trainer", "runtime_class": "nvidia",
        "scheduler": "kai-scheduler",
        "image_pull_secrets": ["registry"], "image_pull_policy": "IfNotPresent", "grace_period": "2m",
        "tolerations": [
            {"key": "dedicated", "value": "training", "effect": "NoSchedule"},
            {"operator": "Exists", "effect": "PreferNoSchedule"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 60},
        ],
        "node_affinity": {
            "required": [
                {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["70000"]},
                {"key": "spot", "operator": "DoesNotExist"},
            ],
            "preferred": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]}, {"key": "ib", "operator": "Exists", "weight": 50},
            ],
        },
        "security_context": {
            "run_as_user": 1000, "run_as_group": 1000, "run_as_non_root": True, "fs_group": 1000, "supplemental_groups": [44],
            "seccomp_profile": "RuntimeDefault", "privileged": False, "allow_privilege_escalation": False,
            "read_only_root_filesystem": True, "capabilities": {"drop": ["ALL"]},
        },
    },
    "odd sizes": {
        **_IMAGE, "timeout": "250ms", "ttl": "9999w", "grace_period": "0s", "resources": {"cpu": 0.000001, "memory": "1e9"},
        "env": {"A": "$(B) $$ $", "B": "", "C": "x\ny"},
    },
}


def composed(spec: dict[str, Any], mark: Mark = MARK, namespace: str = "ml", **options: Any) -> Composed:
    """What a spec is in a cluster."""
    return compose(spec, mark, namespace, KINDS, **options)
