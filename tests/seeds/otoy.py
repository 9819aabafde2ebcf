"""Specs that together use every field of the service's page, in both forms of a job."""

from jobform.backends.otoy.backend import TYPE
from jobform.model.values import Json

__all__ = ["SETTINGS", "SPECS", "TYPE"]

SETTINGS: dict[str, Json] = {}

SPECS: list[dict[str, Json]] = [
    {
        "task": "BATCH", "title": "render-shot-042", "description": "Shot 42 of the trailer.", "timeout": "2h", "retries": 1,
        "image": "registry.gitlab.com/acme/octane-batch:2026.1", "image_src": "gitlab",
        "registry": {"user": "__token__", "secret": "a registry token"},
        "env": {"SCENE": "s3://acme-scenes/shot042.orbx", "FRAMES": "1-120"},
        "resources": {"cpu": 4, "memory": "32Gi", "gpu": {"count": 1, "type": "NVIDIA RTX 4090"}},
        "min_vram_gb": 24, "min_storage_gb": 100, "max_node_count": 1, "allowed_region_codes": ["us-west-2", "us-east-1"],
        "volumes": [{
            "image": "registry.gitlab.com/acme/assets:3", "mount": "/assets",
            "registry": {"user": "__token__", "secret": "another registry token"},
        }],
    },
    {
        "task": "PERSISTENT", "title": "llm-server", "image": "acme/vllm:0.22.0", "start_timeout": "30m", "assign_timeout": "10m",
        "resources": {"gpu": {"count": 1}}, "gpu_registry_uuid": "01234567-89ab-cdef-0123-456789abcdef", "min_vram_gb": 32,
        "ports": [22, 8000], "allowed_ips": ["203.0.113.7/32"], "ssh_key": "ssh-ed25519 AAAAC3Nza ops@acme",
        "env": {"MODEL": "Qwen/Qwen2.5-7B-Instruct"},
    },
]
