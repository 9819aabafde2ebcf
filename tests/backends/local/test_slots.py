"""How many run at once on a machine, and who waits."""

import time
from functools import partial
from pathlib import Path

import pytest

from jobform.backends.local.proof import is_held, write_record
from jobform.model.errors import Started
from jobform.model.state import Phase
from jobform.protocols import Actual, Found, Gone, Mark
from tests.backends.local.world import World, alive, job, make_mark, now, reach, shell, until

ONE_OF_FOUR = """
for place in 1 2 3 4; do
  if mkdir "$JOBFORM_PROJECT_DIR/place-$place" 2>/dev/null; then
    [ "$place" = 1 ] || touch "$JOBFORM_PROJECT_DIR/parallel"
    while [ ! -e "$JOBFORM_PROJECT_DIR/parallel" ]; do sleep 0.01; done
    rmdir "$JOBFORM_PROJECT_DIR/place-$place"; exit 0
  fi
done
exit 9
"""
"""Fails when more than four of it run at the same time; the first one goes on only when it has met another one."""


def test_never_more_than_max_parallel_at_once(world: World) -> None:
    """300 jobs from two commands on one machine."""
    backends = [world.open(max_parallel=4), world.open(max_parallel=4)]
    refs = [
        backends[n % 2].submit(shell(ONE_OF_FOUR, address=f"job{n}"), make_mark(f"job{n}")) for n in range(300)
    ]

    def ended() -> list[Actual]:
        found = [actual for actual in backends[0].read(refs).values() if isinstance(actual, Actual)]
        return found if all(actual.ended_at for actual in found) else []

    assert {(actual.phase, actual.exit) for actual in until(ended)} == {(Phase.SUCCEEDED, 0)}


def test_a_full_machine_says_what_a_job_waits_for(world: World) -> None:
    backend = world.open(max_parallel=1, gpus=[4, 5])
    first = backend.submit(shell("exec sleep 600", address="first"), make_mark("first"))
    reach(backend, first, Phase.RUNNING)
    second = backend.submit(job("true", address="second", resources={"gpu": {"count": 1}}), make_mark("second"))
    actual = now(backend, second)
    assert (actual.phase, actual.started_at) == (Phase.PENDING, None)
    assert actual.detail == "waiting for a slot: 0 of 1 free, and for 1 GPU: 2 of 2 free"
    backend.cancel(first, only_if_waiting=False)
    assert reach(backend, second).phase is Phase.SUCCEEDED


def test_gpus_are_lent_all_or_none_and_to_one_job_at_a_time(world: World) -> None:
    backend, marks = world.open(gpus=[0, 2, 5]), []
    script = (
        'IFS=,; for g in $CUDA_VISIBLE_DEVICES; do mkdir "gpu$g" || exit 9; done; sleep 0.02;'
        'for g in $CUDA_VISIBLE_DEVICES; do rmdir "gpu$g"; done; echo "$CUDA_VISIBLE_DEVICES"'
    )
    refs = []
    for n in range(24):
        mark = make_mark(f"job{n}")
        refs.append(backend.submit(shell(script, address=f"job{n}", resources={"gpu": {"count": 1 + n % 3}}), mark))
        marks.append(mark)
    for n, ref in enumerate(refs):
        assert reach(backend, ref).exit == 0
        lent = (world.run_dir(marks[n]) / "stdout.log").read_text().strip().split(",")
        assert len(lent) == 1 + n % 3
        assert set(lent) <= {"0", "2", "5"}


@pytest.mark.parametrize(("settings", "env", "seen"), [
    ({"gpus": [0]}, {}, ""), ({"gpus": [0]}, {"CUDA_VISIBLE_DEVICES": "7"}, "7"), ({}, {}, "unset"),
])
def test_a_job_without_gpus_sees_none_of_those_that_are_lent(
    world: World, settings: dict[str, list[int]], env: dict[str, str], seen: str,
) -> None:
    backend, mark = world.open(**settings), make_mark("job")
    reach(backend, backend.submit(shell('echo "${CUDA_VISIBLE_DEVICES-unset}"', env=env), mark))
    assert (world.run_dir(mark) / "stdout.log").read_text().strip() == seen


def test_cancelling_a_job_that_waits_ends_it_at_once_and_it_never_runs(world: World) -> None:
    """The one with the turn, and one that queues behind it."""
    backend = world.open(max_parallel=1)
    blocker = backend.submit(shell("exec sleep 600", address="blocker"), make_mark("blocker"))
    reach(backend, blocker, Phase.RUNNING)
    marks = [make_mark(f"waits{n}") for n in range(3)]
    refs = [backend.submit(shell("touch ran", address=mark.address), mark) for mark in marks]
    launchers = [world.launcher(mark) for mark in marks]
    for ref, launcher in zip(refs[:2], launchers, strict=False):
        backend.cancel(ref, only_if_waiting=True)
        assert now(backend, ref).phase is Phase.CANCELLED
        until(lambda pid=launcher: not alive(pid), "the launcher was not woken")
        backend.cancel(ref, only_if_waiting=False)
    assert backend.find([marks[0]]) == {marks[0]: Found(refs[0], marks[0].body)}
    assert now(backend, refs[2]).phase is Phase.PENDING
    assert backend.submit(shell("touch ran"), marks[0]) == refs[0], "a cancelled run is not started again"
    assert now(backend, refs[0]).phase is Phase.CANCELLED
    backend.delete(refs[0])
    assert isinstance(backend.read([refs[0]])[refs[0]], Gone)
    assert not (world.project / "ran").exists()


def test_a_job_that_started_is_left_alone_by_a_conditional_cancel(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("while [ ! -e on ]; do sleep 0.01; done"), mark)
    reach(backend, ref, Phase.RUNNING)
    with pytest.raises(Started):
        backend.cancel(ref, only_if_waiting=True)
    (world.project / "on").touch()
    assert reach(backend, ref).phase is Phase.SUCCEEDED
    backend.cancel(ref, only_if_waiting=True)
    backend.cancel(ref, only_if_waiting=False)
    assert now(backend, ref).phase is Phase.SUCCEEDED


def test_a_cancel_that_races_with_the_start_has_one_winner(world: World) -> None:
    """Either Started was raised and the job ran to its end, or it never ran; around the moment of the start, wherever that is."""
    backend, pause, outcomes = world.open(), 0.003, set()
    for n in range(60):
        mark = make_mark(f"job{n}")
        ref = backend.submit(shell(f"touch ran-{n}", address=mark.address), mark)
        time.sleep(pause)
        try:
            backend.cancel(ref, only_if_waiting=True)
        except Started:
            won = False
        else:
            won = now(backend, ref).phase is Phase.CANCELLED  # a cancel that came after the end is quiet
        actual = reach(backend, ref)
        until(partial(launcher_is_gone, world, mark))
        assert (world.project / f"ran-{n}").exists() is not won
        assert actual.phase is (Phase.CANCELLED if won else Phase.SUCCEEDED)
        outcomes.add(won)
        pause *= 1.5 if won else 0.7
    assert False in outcomes, "in the end the pause is longer than any start takes"


def test_a_cancel_in_the_last_moment_before_the_start_wins(world: World) -> None:
    """The launcher has its slot and has forked the job; the gate is ours."""
    backend = world.open(max_parallel=1)
    blocker = backend.submit(shell("exec sleep 600", address="blocker"), make_mark("blocker"))
    reach(backend, blocker, Phase.RUNNING)
    mark = make_mark("job")
    ref = backend.submit(shell("touch ran"), mark)
    launcher = world.launcher(mark)
    with world.proof(mark).gate():
        backend.cancel(blocker, only_if_waiting=False)
        until(Path(f"/proc/{launcher}/task/{launcher}/children").read_text)
        write_record(world.proof(mark).cancel, {"at": "2030-01-01T00:00:00.000000Z"}, durable=False)
    assert now(backend, ref).phase is Phase.CANCELLED
    until(partial(launcher_is_gone, world, mark))
    assert not (world.project / "ran").exists()
    assert not world.proof(mark).start.exists()


def launcher_is_gone(world: World, mark: Mark) -> bool:
    return not is_held(world.proof(mark).lock)


def test_cancel_tells_then_kills_the_whole_group(world: World) -> None:
    """The job and its child ignore TERM."""
    backend, mark = world.open(kill_grace="200ms"), make_mark("job")
    ref = backend.submit(shell("trap '' TERM; (sleep 600; true) & echo $! > child; while :; do sleep 0.05; done"), mark)
    pid = int(until(lambda: (world.project / "child").exists() and (world.project / "child").read_text()))
    backend.cancel(ref, only_if_waiting=False)
    assert now(backend, ref).phase is Phase.RUNNING, "the cancel was accepted; the end comes later"
    actual = reach(backend, ref)
    assert (actual.phase, actual.exit, actual.detail) == (Phase.CANCELLED, -9, "stopped on request (killed by SIGKILL)")
    until(lambda: not alive(pid))
