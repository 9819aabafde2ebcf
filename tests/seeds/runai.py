"""Specs that together use every field of a Run:ai job."""

from jobform.backends.runai.type import TYPE as TYPE
from jobform.model.values import Json

SETTINGS: dict[str, Json] = {"project": "team-a"}

SPECS: list[dict[str, Json]] = [
    {
        "image": "registry.example.net/nlp/train:1.8", "job_name": "bert-tiny", "command": ["python", "train.py"],
        "args": ["-e", "-f"], "env": {"BATCH_SIZE": "50", "LEARNING_RATE": "0.2"}, "image_pull_policy": "IfNotPresent",
        "working_dir": "/workspace", "create_home_dir": True, "large_shm": True,
        "resources": {"gpu": {"count": 2}, "cpu": 4, "cpu_limit": 8, "memory": "16G", "memory_limit": "32G"},
        "pvc": [
            {"storage_class": "my-storage1", "size": "3GB", "path": "/tmp/john", "read_only": True},
            {"storage_class": "my-storage2", "size": "4GB", "path": "/tmp/jill", "read_only": False},
        ],
        "volume": {"/raid/public/john/data": "/root/data", "/raid/public/john/code": "/root/code"}, "host_ipc": True,
        "host_network": True, "retries": 2, "completions": 4, "parallelism": 2, "elastic": False, "ttl": "2h",
        "prevent_privilege_escalation": True, "node_type": "dgx-a100",
    },
    {
        "image": "jupyter/base-notebook", "interactive": True, "preemptible": True, "stdin": True, "tty": True,
        "job_name_prefix": "notebook", "resources": {"gpu_fraction": 0.5}, "service_type": "nodeport",
        "ports": [{"container": 80, "external": 32188, "auto_generate": False}, {"container": 443, "auto_generate": True}],
    },
]
