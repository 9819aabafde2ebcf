"""What the documents show is what is printed, see `tests.documents`; what needs a cluster is in `tests/kubernetes`."""

import os
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, ROOT, Play, begin, groups


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_printed_as_shown(path: Path, tmp_path: Path, home: Path, bin_directory: Path, request: pytest.FixtureRequest) -> None:
    environ = os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "USER": "you"}
    play = Play(path, home)
    changes = []
    for name, found in groups(path, cluster=False).items():
        begin(tmp_path / name, path)
        changes += play.group(found, tmp_path / name, environ)
    play.judge(changes, update=request.config.getoption("--update"))
