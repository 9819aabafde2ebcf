"""Specs that together use every field of a create, and how its multipart bodies are read."""

import json
from collections.abc import Iterable
from pathlib import Path

from jobform.backends.unstructured import TYPE as TYPE
from jobform.model.inputs import hash_input
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.sandbox.wire import Call
from tests.backends.unstructured.multipart import parts_of
from tests.seeds.paths import held

SETTINGS: dict[str, Json] = {}

SPECS: list[dict[str, Json]] = [
    {"template_id": "hi_res_and_enrichment", "input_files": ["docs/contract.txt"]},
    {
        "job_nodes": [
            {
                "name": "Partitioner", "type": "partition", "subtype": "unstructured_api",
                "settings": {"strategy": "fast", "include_page_breaks": False}, "id": "5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11",
            },
            {"name": "Chunker", "type": "chunk", "subtype": "chunk_by_title", "settings": {"max_characters": 1500}},
        ],
        "input_files": ["docs/contract.txt", "docs/b.html"],
    },
]


def prepare(project: Path, _variables: object) -> None:
    (project / "docs").mkdir()
    (project / "docs" / "contract.txt").write_text("It is agreed.")
    (project / "docs" / "b.html").write_text("<p>hello</p>")


def submission(address: str, spec: dict[str, Json], project: Path) -> Submission:
    paths = spec["input_files"]
    assert isinstance(paths, list)
    return Submission(address, dict(spec), dict(spec), inputs={str(path): hash_input(project, str(path)) for path in paths})


def fields(calls: Iterable[Call]) -> set[str]:
    """Paths in the text part, which is JSON, and the parts themselves."""
    found: set[str] = set()
    for call in calls:
        if call.method != "POST":
            continue
        text, files = parts_of(call)
        found |= {"request_data", *held(json.loads(text), "request_data")} | ({"input_files[]"} if files else set())
    return found
