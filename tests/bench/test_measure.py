"""What is measured is the command, not who asks."""

import os
import sys
from pathlib import Path

import pytest
from measure import measure

BALLAST = 200_000_000


def test_memory_is_that_of_the_command_alone(tmp_path: Path) -> None:
    ballast = b"x" * BALLAST
    small = measure([sys.executable, "-c", "print('done')"], tmp_path, os.environ)
    large = measure([sys.executable, "-c", f"b'x' * {BALLAST // 2}; raise SystemExit(3)"], tmp_path, os.environ)
    assert (small.code, small.output, large.code) == (0, "done\n", 3)
    assert small.peak < BALLAST / 4
    assert BALLAST / 2 < large.peak < len(ballast)
    assert small.seconds > 0


def test_signals_and_programs_that_are_not_there(tmp_path: Path) -> None:
    assert measure(["sh", "-c", "kill -9 $$"], tmp_path, os.environ).code == -9
    with pytest.raises(AssertionError, match=r"no-such-program was not started: (?s:.*)FileNotFoundError"):
        measure(["no-such-program"], tmp_path, os.environ)
