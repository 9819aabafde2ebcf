"""A command that dies: `python -m tests.state.worker ...` is run as a process of its own.

`sweep BASE [FIRST]`: for n = 1, 2, ...: in `BASE/n`, run the scenario in a child that kills itself at its n-th effect, until
one is not killed. With FIRST the scenario is killed at effect FIRST before, so that it is the recovery which is killed.
`once DIRECTORY`: run the scenario and print, as JSON, how it ended.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from jobform.engine.manager import Manager
from jobform.engine.record import fold
from jobform.model.errors import JobformError
from jobform.model.event import Event, Held, RunEnded
from jobform.model.state import State
from jobform.protocols import Effect, LockInfo, no_effect
from jobform.stores.file import TYPE
from jobform.testing.clock import ManualClock
from tests.state import samples

INFO = LockInfo("id", "me", "here", 1, "apply", samples.AT)
BATCHES: list[list[Event]] = [
    samples.first_apply()[:4], samples.first_apply()[4:6], samples.first_apply()[6:],
    [Held("prep", samples.AT, "failed", "x" * 3000)], [RunEnded("run-1", samples.AT, "applied", 0)],
]
"""What the scenario records: one list per append."""


def prefixes() -> list[State]:
    """The state after 0, 1, 2 ... batches."""
    result = []
    for count in range(len(BATCHES) + 1):
        state = State(samples.LINEAGE)
        for batch in BATCHES[:count]:
            for event in batch:
                fold(state, event)
        state.specs = {} if count == 0 else state.specs
        result.append(state)
    return result


def position(state: State) -> int:
    """How many batches a state holds. Raises ValueError when it holds part of one."""
    for count, prefix in enumerate(prefixes()):
        if (state.jobs, state.runs) == (prefix.jobs, prefix.runs):
            return count
    raise ValueError("the state holds part of a batch")


def scenario(directory: Path, effect: Effect) -> None:
    """Record what is missing, in one command; the file `acknowledged` says how much `record` has confirmed."""
    clock = ManualClock()
    manager = Manager(
        TYPE.open({}, directory, clock, effect), clock, effect, directory / ".jobform" / "seen.json", recovery=(),
        new_lineage=lambda: samples.LINEAGE, fold_at=2500,  # so that a snapshot is written between two batches too
    )
    manager.open()
    with manager.locked(INFO):
        for count in range(position(manager.state), len(BATCHES)):
            manager.record(BATCHES[count])
            (directory / "acknowledged").write_text(str(count + 1), encoding="ascii")
    manager.close()


def dying(at: int) -> Effect:
    """An effect hook that ends the process at its n-th call, as kill -9 does."""
    calls = 0

    def effect(name: str, address: str) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return effect


def in_child(work: Callable[[], None]) -> bool:
    """Run in a forked child; whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent must see a failure and no second copy of itself
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"the scenario failed with status {status}")
    return status == 0


def sweep(base: Path, first: int) -> None:
    for number in range(1, 500):
        directory = base / str(number)
        directory.mkdir(mode=0o700)
        if first:
            in_child(lambda directory=directory: scenario(directory, dying(first)))  # type: ignore[misc]  # bound now
        if in_child(lambda directory=directory, number=number: scenario(directory, dying(number))):  # type: ignore[misc]  # bound now
            return
    raise SystemExit("the scenario never came to its end")


def once(directory: Path, limit: int) -> None:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        scenario(directory, no_effect)
    except JobformError as error:
        [finding] = error.diagnostics
        print(json.dumps({
            "exit": error.exit_code, "code": finding.code, "text": f"{finding.summary} {finding.detail} {finding.hint}",
        }))
    else:
        print(json.dumps({"exit": 0, "code": "", "text": ""}))


if __name__ == "__main__":
    action, where, *rest = sys.argv[1:]
    {"sweep": sweep, "once": once}[action](Path(where), int(rest[0]) if rest else 0)
