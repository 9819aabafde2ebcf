"""How many jobs run at once on this machine: one lock per slot, taken by launchers, shared by all projects of the user.

Launchers queue on one `turn` lock; only who has the turn looks for free slots, so a machine full of waiting launchers is idle,
and a job that needs several GPUs is not overtaken for ever. The kernel gives a slot back when its launcher ends, however it ends.
The launcher uses this module too, so it needs the standard library only.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jobform.backends.local.proof import is_held, take

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.1


class Held(NamedTuple):
    """Slots that are ours until `give_back` or the end of the process. gpus: their numbers."""

    files: list[int]
    gpus: list[int]

    def give_back(self) -> None:
        for fd in self.files:
            os.close(fd)
        self.files.clear()


class Slots:
    """The slots of one machine as one backend block describes them."""

    def __init__(self, directory: Path, max_parallel: int, gpus: Sequence[int]) -> None:
        self._directory = directory
        self._places = [directory / f"cpu-{number}" for number in range(max_parallel)]
        self._gpus = {number: directory / f"gpu-{number}" for number in gpus}

    def acquire(self, gpu_count: int) -> Held:
        """Wait for one place and `gpu_count` GPUs, all or none."""
        turn = os.open(self._directory / "turn", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            pause = FIRST_PAUSE
            while (held := self._try(gpu_count)) is None:
                time.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)
            return held
        finally:
            os.close(turn)

    def free(self) -> tuple[int, int]:
        """How many places and GPUs nobody holds just now."""
        return (
            sum(not is_held(path) for path in self._places),
            sum(not is_held(path) for path in self._gpus.values()),
        )

    def _try(self, gpu_count: int) -> Held | None:
        held = Held([], [])
        try:
            place = next((fd for path in self._places if (fd := take(path)) is not None), None)
            if place is None:
                return None
            held.files.append(place)
            for number, path in self._gpus.items():
                if len(held.gpus) == gpu_count:
                    break
                if (fd := take(path)) is not None:
                    held.files.append(fd)
                    held.gpus.append(number)
        except BaseException:  # the wait was cancelled, or the disk is broken: keep nothing
            held.give_back()
            raise
        if len(held.gpus) < gpu_count:
            held.give_back()
            return None
        return held
