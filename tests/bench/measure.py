"""One process from start to end: how long, how much memory, what it said."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT = 1 if os.uname().sysname == "Darwin" else 1024
"""What `ru_maxrss` counts in: bytes on macOS, KiB on Linux (getrusage(2))."""


@dataclass(frozen=True)
class Measured:
    """seconds: from start to end. peak: the largest resident size in bytes. output: both streams."""

    code: int
    seconds: float
    peak: int
    output: str


def measure(command: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> Measured:
    """Run a command and wait for it; nothing else is measured meanwhile."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(environ), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return Measured(process.returncode, seconds, usage.ru_maxrss * UNIT, output.read().decode("utf-8", "replace"))
