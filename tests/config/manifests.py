"""Small projects on a kubernetes backend, read without a cluster."""

from collections.abc import Mapping
from pathlib import Path

from jobform.backends.kubernetes.backend import TYPE
from jobform.config.read import ReadOptions, read_project, read_settings
from jobform.model.errors import InputError
from jobform.model.job import Project
from jobform.plugins import Registry

PROJECT = """\
jobform: 1
project: demo
backends:
  gpu: {type: kubernetes, context: test, namespace: ml}
"""

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: train
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: busybox:1
"""

FILE = {"jobs/a.yaml": "jobs:\n  train:\n    backend: gpu\n    spec: {manifest_file: k8s/train.yaml}\n"}
"""One job whose manifest is `k8s/train.yaml`."""


def registry() -> Registry:
    return Registry(backends={"kubernetes": TYPE})


def inline(manifest: str, name: str = "train", more: str = "") -> str:
    """A job entry with a manifest in it. more: further lines of the entry, indented by four."""
    body = "".join(f"        {line}\n" if line else "\n" for line in manifest.splitlines())
    return f"  {name}:\n    backend: gpu\n{more}    spec:\n      manifest:\n{body}"


def read(directory: Path, files: Mapping[str, str | bytes], options: ReadOptions | None = None) -> Project:
    """A project with these files; jobform.yaml is the smallest one unless it is among them."""
    for name, text in ({"jobform.yaml": PROJECT} | dict(files)).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    wanted = options or ReadOptions()
    return read_project(read_settings(directory, wanted), wanted, registry())


def messages(directory: Path, files: Mapping[str, str | bytes], options: ReadOptions | None = None) -> list[str]:
    """Everything that reading says, one text for each: place, code, summary, then detail, hint and related places."""
    try:
        found = read(directory, files, options).warnings
    except InputError as error:
        found = error.diagnostics
    told = []
    for item in found:
        count = f" ({item.count})" if item.count > 1 else ""
        related = [f"{other.message}: {other.range}" for other in item.related]
        parts = [f"{item.range} {item.severity} {item.code}: {item.summary}{count}", item.detail, item.hint, *related]
        told.append("\n  ".join(part for part in parts if part))
    return told
