"""What one job gives another one on the way through state and service."""

from pathlib import Path

import pytest

from jobform.testing.server import ReferenceServer
from tests.support import Warm, project, read_state


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (0.10, "0.1"), (True, "true"), ("x", "x")])
def test_scalar_output_fills_a_string_in_its_shortest_form(
    value: object, text: str, tmp_path: Path, warm: Warm, server: ReferenceServer,
) -> None:
    server.faults()
    namespace = f"handover-{text.replace('.', '-')}"
    jobs = {
        "prep": {"backend": "ref", "spec": {"outputs": {"value": value}}},
        "train": {"backend": "ref", "spec": {"command": ["train", "{{ jobs.prep.outputs.value }}"]}},
    }
    backend = {"type": "reference", "url": server.url, "namespace": namespace}
    directory = project(tmp_path, jobs, {"ref": backend})
    result = warm.run("apply", "--auto-approve", cwd=directory)
    assert result.exit == 0, result
    state = read_state(directory)
    assert state is not None
    last = state.jobs["train"].last
    assert last is not None
    assert last.used == {"jobs.prep.outputs.value": value}
    again = warm.run("plan", "--detailed-exitcode", cwd=directory)
    assert again.exit == 0, again
