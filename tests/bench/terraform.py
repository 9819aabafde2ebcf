"""The peer: a terraform project of `terraform_data` resources, which call no API. It is terraform's best case."""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

ENVIRON = os.environ | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_CONFIG_FILE": os.devnull}
PROVIDER = 'provider["terraform.io/builtin/terraform"]'


def installed() -> bool:
    return shutil.which("terraform") is not None


def value(number: int) -> dict[str, object]:
    """What one resource holds: as much as one of our jobs says."""
    return {
        "name": f"train-{number}",
        "image": f"registry.example.com/train:{number % 7}",
        "command": ["python", "train.py", "--seed", str(number)],
        "gpu": number % 8,
        "env": {"BATCH_SIZE": "50", "LEARNING_RATE": "0.2", "SEED": str(number)},
    }


def type_of(item: object) -> object:
    """The type of a value as terraform's state writes it."""
    if isinstance(item, dict):
        return ["object", {key: type_of(inner) for key, inner in item.items()}]
    if isinstance(item, list):
        return ["tuple", [type_of(inner) for inner in item]]
    return "number" if isinstance(item, int) else "string"


def hcl(item: object) -> str:
    """A value in terraform's own language, as people write it."""
    if isinstance(item, dict):
        return "{ " + ", ".join(f"{key} = {hcl(inner)}" for key, inner in item.items()) + " }"
    return json.dumps(item)


def project(directory: Path, count: int, *, applied: bool) -> None:
    """`count` resources, initialised; when applied, with a state in which all of them exist.

    The state is written, not applied: a real apply of 10,000 takes hours. A plan without changes proves it.
    """
    directory.mkdir()
    blocks = (f'resource "terraform_data" "job_{number}" {{\n  input = {hcl(value(number))}\n}}\n' for number in range(count))
    (directory / "main.tf").write_text("".join(blocks))
    if applied:
        state = {
            "version": 4, "terraform_version": version(), "serial": 1, "lineage": str(uuid.uuid4()), "outputs": {},
            "resources": [_resource(number) for number in range(count)], "check_results": None,
        }
        (directory / "terraform.tfstate").write_text(json.dumps(state))
    subprocess.run(["terraform", "init", "-input=false"], cwd=directory, env=ENVIRON, check=True, capture_output=True)


def _resource(number: int) -> dict[str, object]:
    held = {"value": value(number), "type": type_of(value(number))}
    attributes = {"id": str(uuid.uuid4()), "input": held, "output": held, "triggers_replace": None}
    return {
        "mode": "managed", "type": "terraform_data", "name": f"job_{number}", "provider": PROVIDER,
        "instances": [{"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}],
    }


def version() -> str:
    answer = subprocess.run(["terraform", "version", "-json"], env=ENVIRON, check=True, capture_output=True, text=True)
    return str(json.loads(answer.stdout)["terraform_version"])
