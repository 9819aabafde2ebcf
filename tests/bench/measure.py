"""One process from start to end: how long, how much memory, what it said."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT = 1 if os.uname().sysname == "Darwin" else 1024
"""What `ru_maxrss` counts in: bytes on macOS, KiB on Linux (getrusage(2))."""

LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py")))


@dataclass(frozen=True)
class Measured:
    """seconds: from start to end. peak: the largest resident size in bytes. output: both streams."""

    code: int
    seconds: float
    peak: int
    output: str


def measure(command: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> Measured:
    """Run a command and wait for it; nothing else is measured meanwhile, and nothing of this process is."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output, os.fdopen(reader) as answer:
        try:
            subprocess.run(
                [*LAUNCHER, str(writer), *command], cwd=cwd, env=dict(environ), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, pass_fds=[writer], check=False,
            )
        finally:
            os.close(writer)
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
        found = answer.read().split()
        assert found, f"{command[0]} was not started: {said}"
        return Measured(int(found[0]), float(found[1]), int(found[2]) * UNIT, said)
