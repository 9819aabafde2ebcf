"""What every test can count on: its own home, so that no test meets the user's state, and `jobform` as a real command."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support import Warm

pytest.register_assert_rewrite(  # before whatever imports them first
    "jobform.testing.backend_contract", "jobform.testing.backend_faults", "jobform.testing.backend_fixtures",
    "jobform.testing.store_contract", "tests.sandboxed",
)

Jobform = Callable[..., "subprocess.CompletedProcess[str]"]

PRIVATE = ("JOBFORM_", "GITHUB_", "XDG_")
"""Variables of the person or the machine that runs the tests: none of them reaches a command under test."""


settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
settings.register_profile("repeatable", settings.get_profile("tests"), derandomize=True)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jobform")
    group.addoption("--slow", action="store_true", help="run the slow tier: the tests marked slow, and only those")
    group.addoption("--update", action="store_true", help="rewrite golden output with what was really printed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = bool(config.getoption("--slow"))
    left_out = [item for item in items if (item.get_closest_marker("slow") is not None) != wanted]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of this session's own, in the environment of every process that a test starts.

    The mask is that of most machines: with another one, what tests write beside a state could be written by others, who are not
    to be trusted, or not be read by the users that tests become.
    """
    os.umask(0o022)
    directory = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PRIVATE)]:
            patch.delenv(name)
        patch.setenv("HOME", str(directory))
        patch.setenv("XDG_STATE_HOME", str(directory / "state"))
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        patch.setenv("NO_COLOR", "1")
        yield directory


@pytest.fixture(scope="session")
def warm(home: Path) -> Iterator["Warm"]:
    """A process that has imported everything; commands are forked from it."""
    from tests.support import Warm

    with Warm() as process:
        yield process


@pytest.fixture(scope="session")
def bin_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH in which `jobform` and `python3` are those of the tests, wherever they were installed."""
    script = Path(sysconfig.get_path("scripts")) / "jobform"
    if not script.exists():
        pytest.fail(f"{script} is missing: install the checkout first, with pip install -e '.[test]'")
    directory = tmp_path_factory.mktemp("bin")
    for name, program in {"jobform": script, "python3": Path(sys.executable)}.items():
        (directory / name).write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def jobform(bin_directory: Path, tmp_path: Path) -> Jobform:
    """`jobform(*arguments, cwd=..., env=...)` runs the command to its end, both streams kept, the exit code not checked."""

    def run(
        *arguments: str, cwd: Path = tmp_path, env: Mapping[str, str] | None = None, timeout: float = 280, stdin: str = "",
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(bin_directory / "jobform"), *arguments], cwd=cwd, env=os.environ | dict(env or {}), timeout=timeout,
            input=stdin, capture_output=True, text=True,
        )

    return run
