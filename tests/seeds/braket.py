"""Specs that together use every member of CreateJob."""

from jobform.backends.braket.backend import TYPE as TYPE
from jobform.model.values import Json

SETTINGS: dict[str, Json] = {"region": "us-east-1", "role_arn": "arn:aws:iam::123456789012:role/braket-jobs"}

SPECS: list[dict[str, Json]] = [
    {
        "job_name": "vqe-h2-sweep", "role_arn": "arn:aws:iam::123456789012:role/service-role/AmazonBraketJobsExecutionRole",
        "image": "292282985366.dkr.ecr.us-west-2.amazonaws.com/amazon-braket-base-jobs:latest",
        "algorithm_specification": {"script_mode_config": {
            "entry_point": "vqe.run:main", "s3_uri": "s3://acme-braket/code/vqe-1f3a.tar.gz", "compression_type": "GZIP",
        }},
        "device_config": {"device": "arn:aws:braket:::device/quantum-simulator/amazon/sv1"},
        "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30, "instance_count": 1},
        "output_data_config": {"s3_path": "s3://acme-braket/jobs/vqe-h2-sweep", "kms_key_id": "alias/acme-out"},
        "checkpoint_config": {"s3_uri": "s3://acme-braket/ckpt/vqe-h2-sweep", "local_path": "/opt/braket/checkpoints/"},
        "hyper_parameters": {"shots": 1000, "layers": "3", "noisy": False, "rate": 0.1},
        "timeout": "2h", "tags": {"team": "chem"},
    },
    {
        "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/qaoa:2.4",
        "device_config": {"device": "local:pennylane/lightning.gpu"},
        "instance_config": {"instance_type": "ml.g4dn.xlarge", "volume_size_in_gb": 100},
        "input_data_config": [{
            "channel_name": "graphs", "content_type": "application/json",
            "data_source": {"s3_data_source": {"s3_uri": "s3://acme-data/graphs/"}},
        }],
        "output_data_config": {"s3_path": "s3://acme-out/qaoa-gpu"},
    },
    {
        "algorithm_specification": {"script_mode_config": {"entry_point": "run_window", "s3_uri": "s3://acme-braket/window.py"}},
        "device_config": {"device": "arn:aws:braket:us-east-1::device/qpu/ionq/Aria-1"},
        "instance_config": {"instance_type": "ml.t3.large", "volume_size_in_gb": 10},
        "output_data_config": {"s3_path": "s3://acme-braket/jobs/window"},
        "associations": [{
            "arn": "arn:aws:braket:us-east-1:123456789012:reservation/0f9d7c1a-2b33-4a55-9c66-1d2e3f4a5b6c",
            "type": "RESERVATION_TIME_WINDOW_ARN",
        }],
    },
]
