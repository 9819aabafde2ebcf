"""How the three steps leave their results: files that are whole or absent, and the outputs that jobform passes on."""

import json
import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def publish(outputs: dict[str, object]) -> None:
    """Hand a JSON object to jobform: it becomes `jobs.NAME.outputs`. Run by hand, without jobform, the step just goes on."""
    target = os.environ.get("JOBFORM_OUTPUT")
    if target:
        Path(target).write_text(json.dumps(outputs))
