"""A stand-in for a variational eigensolver: what a hybrid job reads and what it leaves."""

import json
import os
from pathlib import Path

from ansatz import energy


def main() -> None:
    parameters = json.loads(Path(os.environ["AMZN_BRAKET_HP_FILE"]).read_text())
    layers, shots = int(parameters["layers"]), int(parameters["shots"])
    print(f"{layers} layers, {shots} shots on {os.environ['AMZN_BRAKET_DEVICE_ARN'].rpartition('/')[2]}")
    found = [energy(layer) for layer in range(1, layers + 1)]
    print("energies:", *(f"{value:.4f}" for value in found))
    results = {
        "braketSchemaHeader": {"name": "braket.jobs_data.persisted_job_data", "version": "1"},
        "dataDictionary": {"energy": min(found)}, "dataFormat": "plaintext",
    }
    Path(os.environ["AMZN_BRAKET_JOB_RESULTS_DIR"], "results.json").write_text(json.dumps(results))
