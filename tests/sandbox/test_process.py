"""Commands of jobs as processes on this machine: what they print, how they end, and that nothing of them stays."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobform.sandbox.ledger import Ledger
from jobform.sandbox.process import Command, Process
from jobform.sandbox.world import Course, State, World
from tests.sandbox.kit import HANG

Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def make(script: str, **env: str) -> Process:
        started.append(Process(Command(("/bin/sh", "-c", script), env)))
        return started[-1]

    yield make
    for process in started:
        process.kill()


def ended(process: Process) -> int:
    ends = time.monotonic() + HANG
    while (code := process.exit) is None:
        assert time.monotonic() < ends, "it does not end"
        time.sleep(0.005)
    return code


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def assert_ends(pid: int) -> None:
    """A process that was killed is gone soon: the system takes it down when it has the time."""
    ends = time.monotonic() + HANG
    while not gone(pid):
        assert time.monotonic() < ends, f"{pid} lives"
        time.sleep(0.005)


def wait_for(path: Path) -> str:
    ends = time.monotonic() + HANG
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < ends
        time.sleep(0.005)
    return path.read_text().strip()


def test_what_it_prints_and_how_it_ends(start: Start) -> None:
    process = start("echo $A; echo oops >&2; printf tail; exit 3", A="1")
    assert ended(process) == 3
    assert process.read() == ["1\n", "oops\n", "tail"]
    assert process.read() == []


def test_whole_lines_while_it_runs(start: Start, tmp_path: Path) -> None:
    process = start(f"echo one; printf tw; while ! test -e {tmp_path}/go; do sleep 0.01; done; echo o")
    ends = time.monotonic() + HANG
    while not (lines := process.read()) and time.monotonic() < ends:
        time.sleep(0.005)
    assert lines == ["one\n"]
    (tmp_path / "go").touch()
    assert ended(process) == 0
    assert process.read() == ["two\n"]


def test_what_it_finds_around_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own directory, its own variables, no input, and none of the sandbox's secrets."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    process = start("pwd; ls -A; cat; env | cut -d= -f1 | sort | tr '\\n' ' '", MINE="1")
    ended(process)
    directory, variables = process.read()
    assert "jobform-sandbox-" in directory
    assert {"MINE", "PATH"} <= set(variables.split()) <= {"MINE", "PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}
    process.kill()
    assert not Path(directory.strip()).exists()


@pytest.mark.parametrize("command", [Command(("no-such-program",)), Command(("/",)), Command(()), Command(("a\0b",))])
def test_what_cannot_be_started_ends_with_127(command: Command) -> None:
    process = Process(command)
    assert process.exit == 127
    assert len(process.read()) == 1
    process.stop()
    process.kill()


def test_a_signal_is_128_and_its_number(start: Start) -> None:
    assert ended(start("kill -9 $$")) == 137


def test_asked_to_stop(start: Start, tmp_path: Path) -> None:
    process = start(f"trap 'echo bye; exit 5' TERM; echo $$ > {tmp_path}/up; while :; do sleep 0.01; done")
    wait_for(tmp_path / "up")
    process.stop()
    assert ended(process) == 5
    assert process.read()[-1] == "bye\n"


def test_killed_with_all_that_it_started(start: Start, tmp_path: Path) -> None:
    process = start(f"trap '' TERM; sleep 1000 & echo $! > {tmp_path}/child; wait")
    child = int(wait_for(tmp_path / "child"))
    process.kill()
    assert process.exit == 137
    assert_ends(child)


def test_what_it_leaves_behind_ends_with_it(start: Start, tmp_path: Path) -> None:
    """A container's processes end with its first one."""
    process = start(f"nohup sleep 1000 >/dev/null 2>&1 & echo $! > {tmp_path}/child; exit 0")
    assert ended(process) == 0
    assert_ends(int(wait_for(tmp_path / "child")))


def test_no_more_than_a_megabyte_is_kept(start: Start) -> None:
    process = start("yes | head -c 3000000")
    assert ended(process) == 0
    assert sum(len(line) for line in process.read()) == 1 << 20
    assert process.read() == []


@pytest.fixture
def world() -> Iterator[World]:
    made = World("svc", Ledger(), run_locally=True)
    yield made
    made.stop()


def until(world: World, done: Callable[[], bool]) -> None:
    ends = time.monotonic() + HANG
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.005)
        with world.held():
            pass


def test_a_world_runs_commands(world: World) -> None:
    job = world.add("a", "", {}, Course(0.0, 99.0), Command(("/bin/sh", "-c", "echo real; exit 4")))
    until(world, lambda: job.over)
    assert (job.state, job.exit, [text for _, text in job.output]) == (State.FAILED, 4, ["real\n"])


def test_a_world_stops_commands(world: World, tmp_path: Path) -> None:
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"
    kind = f"echo $$ > {tmp_path}/kind; exec sleep 1000"
    stubborn = world.add("a", "", {}, Course(0.0), Command(("/bin/sh", "-c", script)))
    obedient = world.add("b", "", {}, Course(0.0), Command(("/bin/sh", "-c", kind)))
    until(world, lambda: (tmp_path / "pid").exists() and (tmp_path / "kind").exists())
    pids = [int(wait_for(tmp_path / name)) for name in ("pid", "kind")]
    for job in (stubborn, obedient):
        with world.held():
            world.cancel(job)
    until(world, lambda: obedient.over)
    assert obedient.state is State.CANCELLED
    assert stubborn.state is State.CANCELLING, "it is cancelled when it has ended, and it has not"
    with world.held():
        world.remove(stubborn)
    for pid in pids:
        assert_ends(pid)


def test_without_the_option_no_command_runs(tmp_path: Path) -> None:
    made = World("svc", Ledger())
    job = made.add("a", "", {}, Course(0.0, 0.0), Command(("touch", str(tmp_path / "ran"))))
    until(made, lambda: job.over)
    assert list(tmp_path.iterdir()) == []
