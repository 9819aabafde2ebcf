"""What a scheduler is given: the surroundings of one command, and the wish to stop."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from jobform.engine.body import Resolve
from jobform.engine.places import Places
from jobform.protocols import Clock, Effect
from jobform.schema import SpecSchema


class Stop:
    """Asked by the user to stop: nothing new is begun, calls in flight end.

    graceful: set once something may have been begun; before that a command may just be ended.
    """

    def __init__(self) -> None:
        self.requested = self.graceful = False
        self.exit_code = 130

    def ask(self, exit_code: int) -> None:
        """Stop, and end the command with this exit code (130 for SIGINT, 143 for SIGTERM)."""
        self.requested, self.exit_code = True, exit_code


@dataclass(frozen=True, slots=True)
class Means:
    """What a scheduler works with. keep: stores the kept log of an ended attempt. only: which addresses it may touch."""

    places: Places
    schema: Callable[[str], SpecSchema]
    resolve: Resolve
    clock: Clock
    effect: Effect
    pool: Executor
    keep: Callable[[str, int], None]
    only: Callable[[str], bool] = lambda _address: True
    parallelism: int = 10
    fail_fast: bool = False
