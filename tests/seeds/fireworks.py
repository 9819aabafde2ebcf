"""Specs that together use every field of a batch job."""

from jobform.backends.fireworks import TYPE as TYPE
from jobform.model.values import Json

SETTINGS: dict[str, Json] = {"account": "sandbox"}

SPECS: list[dict[str, Json]] = [
    {
        "node_pool_id": "a100-pool", "display_name": "resnet nightly", "environment_id": "train-env",
        "snapshot_id": "snap-20260401", "num_ranks": 8, "env": {"EPOCHS": "20"}, "shared": True,
        "python_executor": {"target_type": "MODULE", "target": "train.resnet", "args": ["--amp", "--batch", "256"]},
        "annotations": {"acme.io/team": "vision"},
    },
    {
        "node_pool_id": "cpu-pool", "num_ranks": 4, "image": "ghcr.io/acme/tokeniser:1.8.2",
        "role": "arn:aws:iam::123456789012:role/fw-batch", "command": ["python", "-m", "tok.run"],
    },
    {"node_pool_id": "a100-pool", "environment_id": "report-env", "notebook_executor": {"notebook_filename": "weekly.ipynb"}},
    {"node_pool_id": "cpu-pool", "environment_id": "report-env", "shell_executor": {"command": "echo $RANK | tee rank"}},
]
