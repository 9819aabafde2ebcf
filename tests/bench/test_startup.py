"""`jobform --version` and `--help` cost little more than click itself."""

import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = {"kubernetes", "boto3", "jinja2", "jsonschema", "jsonschema_rs", "deepdiff", "rich", "yaml", "ruamel"}
PROBE = """
import sys
from jobform.cli import main
sys.argv = ["jobform", *sys.argv[1:]]
try:
    main()
finally:
    print("\\nmodules:", *{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_no_heavy_import(option: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, option], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert HEAVY.isdisjoint(done.stdout.rpartition("modules:")[2].split())


def work() -> float:
    """Seconds that the processes which this one has waited for have kept a processor busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ratios(options: tuple[str, ...], rounds: int, directory: Path, clock: Callable[[], float]) -> dict[str, float]:
    """How many times `python -c "import click"` each option takes: medians of runs in turn, everything byte-compiled."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    script = str(Path(sysconfig.get_path("scripts")) / "jobform")
    commands = {"click": [sys.executable, "-c", "import click"]} | {option: [script, option] for option in options}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            began = clock()
            subprocess.run(command, cwd=directory, env=environ, check=True, stdout=subprocess.DEVNULL)
            if turn:  # the first one compiles
                seconds[name].append(clock() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {option: medians[option] / medians["click"] for option in options}


def test_start_is_quick_enough_on_a_busy_machine(tmp_path: Path) -> None:
    """Other tests run beside this one, so work counts, and the bound leaves room; the slow tier has the real one."""
    assert max(ratios(("--version", "--help"), 5, tmp_path, work).values()) < 4


@pytest.mark.slow
def test_start_is_quick(tmp_path: Path) -> None:
    found = ratios(("--version", "--help"), 15, tmp_path, time.perf_counter)
    for option, ratio in found.items():
        print(f"\njobform {option}: {ratio:.2f} times `import click` (at most 2.5)")
    assert max(found.values()) <= 2.5
