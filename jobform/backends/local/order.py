"""What the command tells a launcher. It travels over a socket pair and is never written down, since it holds secrets.

The launcher uses this module too, so it needs the standard library only.
"""

import json
import signal
from typing import NamedTuple

WAKE = signal.SIGUSR1
"""Makes a launcher look whether its run was cancelled."""


class Order(NamedTuple):
    """One run. Paths are absolute. timeout and grace: seconds. masks: secret values to blank in what is kept.

    mark: as in `Mark.text`. gpus: the numbers that this machine lends; gpu_count: how many of them the job needs.
    hide_gpus: the job sees no GPU, although the machine lends some.
    """

    proof: str
    mark: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    run_dir: str
    output: str
    timeout: float | None
    grace: float
    masks: list[str]
    slots: str
    max_parallel: int
    gpus: list[int]
    gpu_count: int
    hide_gpus: bool


class Stop(NamedTuple):
    """End the process group of a job whose launcher is dead, if it still is that job."""

    pid: int
    started: str
    boot: str
    grace: float


def encode(message: Order | Stop) -> bytes:
    """The bytes of one message, without its length."""
    return json.dumps({"kind": type(message).__name__, **message._asdict()}).encode("ascii")


def decode(data: bytes) -> Order | Stop:
    """The message that `encode` wrote."""
    value = json.loads(data)
    kinds: dict[str, type[Order | Stop]] = {"Order": Order, "Stop": Stop}
    return kinds[value.pop("kind")](**value)
