"""Acceptance cases are data: a folder under `cases/` with a project, a `script` and the golden `output.txt`.

`script` is bash. `jobform` in it prints its command line, what it said on both streams and an exit code other than 0, and lets
the script go on; `edit FILE OLD NEW` replaces text that must be there exactly once. `pytest --update tests/acceptance` rewrites
output.txt with what was printed: read the difference before it is committed.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.golden import difference, normalise, shell

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/script"))

PRELUDE = r"""
jobform() {
  local code=0
  printf '\n$ jobform %s\n' "$*"
  command jobform "$@" || code=$?
  if (( code )); then printf '[exit %d]\n' "$code"; fi
}
edit() {
  python3 -c '
import pathlib, sys
path, old, new = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
text = path.read_text()
assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
path.write_text(text.replace(old, new))' "$@"
  printf '\n# %s: %s\n' "$1" "${3:-"($2 removed)"}"
}
steps_until() {  # what a timer would do, until a job has written this file
  until [[ -e $1 ]]; do command jobform advance >steps.log 2>&1 || true; sleep 0.1; done
}
await() {  # a file that a job writes
  until [[ -e $1 ]]; do sleep 0.05; done
}
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, tmp_path: Path, home: Path, bin_directory: Path, request: pytest.FixtureRequest) -> None:
    project = tmp_path / "project"
    shutil.copytree(case, project, ignore=shutil.ignore_patterns("script", "output.txt"))
    environ = os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "USER": "tester"}
    code, text = shell(PRELUDE + (case / "script").read_text(), project, environ)
    assert code == 0, f"the script itself failed:\n{text}"

    printed = normalise(text, {"PROJECT": project, "HOME": home})
    golden = case / "output.txt"
    if request.config.getoption("--update"):
        golden.write_text(printed)
    assert golden.exists(), "no output.txt yet: write it with --update"
    assert not (changed := difference(golden.read_text(), printed, case.name)), changed
