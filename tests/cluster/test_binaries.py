"""Building the programs where downloads break off: played by a `go` that fails."""

import os
from pathlib import Path

import pytest

from tests.cluster import binaries

GO = """#!/bin/sh
echo . >> "$0.calls"
if [ $(wc -l < "$0.calls") -le {failures} ]; then echo '{said}' >&2; exit 1; fi
while [ $# -gt 2 ]; do shift; done
: > "$1"; chmod +x "$1"
"""
BROKEN_OFF = 'go: k8s.io/api@v0.34.4: Get "https://proxy.golang.org/k8s.io/api/@v/v0.34.4.zip": connection reset by peer'


def environ(directory: Path, failures: int, said: str) -> dict[str, str]:
    (directory / "go").write_text(GO.format(failures=failures, said=said))
    (directory / "go").chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(directory / "cache")}


def asked(directory: Path) -> int:
    return len((directory / "go.calls").read_text().splitlines())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PAUSES", (0.0, 0.0))


def test_a_download_that_broke_off_is_tried_again(tmp_path: Path) -> None:
    given = environ(tmp_path, 2, BROKEN_OFF)
    folder = binaries.ensure(given, lambda line: None)
    assert binaries.find(given, tuple(binaries.PACKAGES)) == folder
    assert asked(tmp_path) == len(binaries.PACKAGES) + 2


def test_a_download_that_never_comes_is_told(tmp_path: Path) -> None:
    with pytest.raises(binaries.Unavailable, match=r"etcd could not be built with .*\n.*connection reset by peer"):
        binaries.ensure(environ(tmp_path, 99, BROKEN_OFF), lambda line: None)
    assert asked(tmp_path) == 3


def test_what_does_not_compile_is_not_compiled_again(tmp_path: Path) -> None:
    with pytest.raises(binaries.Unavailable, match="undefined: x"):
        binaries.ensure(environ(tmp_path, 99, "main.go:1:2: undefined: x"), lambda line: None)
    assert asked(tmp_path) == 1
