"""What a command gets from its surroundings, as one value, so that nothing below reads globals."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from jobform.model.clock import SystemClock
from jobform.plugins import Registry
from jobform.protocols import Clock, Effect, no_effect


@dataclass(frozen=True, slots=True)
class Runtime:
    """clock, effect hook, environment, plug-ins and the three standard streams."""

    clock: Clock
    effect: Effect
    environ: Mapping[str, str]
    registry: Registry
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO

    @property
    def attended(self) -> bool:
        """Whether a person is at a terminal who can read a question and answer it; a CI system may offer a terminal to nobody."""
        return self.environ.get("CI", "").lower() in ("", "0", "false") and self.stdin.isatty() and self.stderr.isatty()

    @classmethod
    def system(cls) -> "Runtime":
        """The real thing: this process's environment and streams, every installed plug-in."""
        return cls(
            SystemClock(), no_effect, dict(os.environ), Registry.installed(),
            _open(sys.stdin, os.O_RDONLY), _open(sys.stdout, os.O_WRONLY), _open(sys.stderr, os.O_WRONLY),
        )


def _open(stream: TextIO | None, flags: int) -> TextIO:
    """A stream that was closed before this process began reads and writes nothing."""
    return stream or os.fdopen(os.open(os.devnull, flags), "r" if flags == os.O_RDONLY else "w", encoding="utf-8")
