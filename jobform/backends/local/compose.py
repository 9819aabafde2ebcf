"""A submission as the launcher needs it: argument list, environment, directories."""

import os
from collections.abc import Mapping
from pathlib import Path

from jobform.backends.local.gpus import Lending
from jobform.backends.local.order import Order
from jobform.backends.local.proof import Proof
from jobform.backends.local.settings import LocalSettings
from jobform.model.errors import BackendError
from jobform.model.units import parse_duration
from jobform.model.values import Json
from jobform.protocols import Mark, Submission

ALWAYS = ("PATH", "HOME", "LANG", "TMPDIR")
OURS = "JOBFORM_"

_ORDER = "CUDA_DEVICE_ORDER"
"""Numbers that nvidia-smi gave mean the same device to CUDA only if CUDA counts as nvidia-smi does."""


def compose(
    submission: Submission, mark: Mark, *, project: Path, run_dir: Path, proof: Proof, slots: Path,
    settings: LocalSettings, lending: Lending, environ: Mapping[str, str],
) -> Order:
    """The order for one run. Raises BackendError for what this machine can never run."""
    spec = submission.spec
    gpu_count, gpu_type = gpus_wanted(spec), _gpu(spec).get("type")
    type_ = gpu_type if isinstance(gpu_type, str) else ""
    gpus = lending.numbers(type_) if gpu_count else lending.listed or ()
    if gpu_count > len(gpus):
        raise lending.shortage(submission.address, gpu_count, type_)
    found = gpu_count > 0 and (lending.listed is None or bool(type_))
    output = run_dir / "outputs.json"
    return Order(
        proof=str(proof.directory), mark=mark.text,
        argv=[*_texts(spec, "command"), *_texts(spec, "args")],
        env=({_ORDER: "PCI_BUS_ID"} if found else {}) | _environment(submission, mark, project, run_dir, output, environ),
        cwd=str(project / _text(spec.get("working_dir", "."), "working_dir")),
        run_dir=str(run_dir), output=str(output),
        timeout=_timeout(spec), grace=settings.kill_grace, masks=list(submission.masks),
        slots=str(slots), max_parallel=settings.max_parallel, gpus=list(gpus), gpu_count=gpu_count,
        hide_gpus=bool(gpus) and gpu_count == 0,
    )


def gpus_wanted(spec: Mapping[str, Json]) -> int:
    """`resources.gpu.count`, 0 when it is not given."""
    count = _gpu(spec).get("count")
    return count if isinstance(count, int) else 0


def _gpu(spec: Mapping[str, Json]) -> dict[str, Json]:
    resources = spec.get("resources")
    gpu = resources.get("gpu") if isinstance(resources, dict) else None
    return gpu if isinstance(gpu, dict) else {}


def _environment(
    submission: Submission, mark: Mark, project: Path, run_dir: Path, output: Path, environ: Mapping[str, str],
) -> dict[str, str]:
    inherited = [name for name in _texts(submission.spec, "inherit_env") if not name.startswith(OURS)]
    env = {name: environ[name] for name in (*ALWAYS, *inherited) if name in environ}
    env.setdefault("PATH", os.defpath)
    given = submission.spec.get("env", {})
    if not isinstance(given, dict):
        raise _malformed("env")
    return env | {name: _text(value, "env") for name, value in given.items()} | {
        "JOBFORM_ADDRESS": submission.address,
        "JOBFORM_ATTEMPT": str(mark.attempt),
        "JOBFORM_NAME": mark.name,
        "JOBFORM_PROJECT_DIR": str(project),
        "JOBFORM_RUN_DIR": str(run_dir),
        "JOBFORM_OUTPUT": str(output),
    }


def _timeout(spec: Mapping[str, Json]) -> float | None:
    value = spec.get("timeout")
    try:
        return None if value is None else parse_duration(_text(value, "timeout"))
    except ValueError as error:
        raise BackendError(f"the timeout is not usable: {error}") from error


def _texts(spec: Mapping[str, Json], key: str) -> list[str]:
    value = spec.get(key, [])
    if not isinstance(value, list) or (key == "command" and not value):
        raise _malformed(key)
    return [_text(item, key) for item in value]


def _text(value: Json, key: str) -> str:
    if not isinstance(value, str):
        raise _malformed(key)
    return value


def _malformed(key: str) -> BackendError:
    return BackendError(f"the local backend cannot run this spec: {key!r} does not fit its schema")
