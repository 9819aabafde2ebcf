"""Whatever is killed, and whenever: never two processes for one run, and never a wrong word about one."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobform.backends.local import starter
from jobform.backends.local.facts import system_facts
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.protocols import Absent, Found, Mark, ReadError, Ref
from tests.backends.local.world import PATIENCE, World, alive, finish, job, make_mark, now, reach, shell, until

ROOT = Path(__file__).parents[3]

COMMAND = """
import os, signal, socket, sys, time
from pathlib import Path
from jobform.testing.marks import make_mark
from tests.backends.local.world import World, shell
world = World.__new__(World)
world.project, state, (kill_at, then) = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:5]
world.environ = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(state)}
points = []
def effect(name, address):
    points.append(name)
    if name == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
def send_fds(*arguments, send=socket.send_fds):
    send(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
if kill_at == "sent":
    socket.send_fds = send_fds
if then == "race":
    (world.project / f"ready-{os.getpid()}").touch()
    while not (world.project / "start").exists():
        time.sleep(0)
world.open(effect=effect).submit(shell("echo $$ >> ledger; while [ ! -e on ]; do sleep 0.01; done"), make_mark("job"))
print(*points, sep=",", flush=True)
if then == "stay":
    time.sleep(600)
"""


def command(world: World, kill_at: str = "", then: str = "end") -> list[str]:
    return [sys.executable, "-c", COMMAND, str(world.project), str(world.home.parent), kill_at, then]


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def ledger(world: World) -> list[int]:
    path = world.project / "ledger"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


POINTS = [f"local.{what}.{when}" for what in ("proof", "lock", "spawn") for when in ("before", "after")]


def test_the_effect_points_are_these(world: World) -> None:
    (world.project / "on").touch()
    done = subprocess.run(command(world), env=environ(), capture_output=True, text=True, check=True)
    assert done.stdout.strip().split(",") == POINTS


@pytest.mark.parametrize("point", POINTS)
def test_a_command_killed_anywhere_in_a_submission_leaves_one_run_or_none(world: World, point: str) -> None:
    assert subprocess.run(command(world, point), env=environ(), check=False).returncode == -signal.SIGKILL
    backend, mark = world.open(), make_mark("job")
    found = backend.find([mark])[mark]
    assert isinstance(found, Found if point == "local.spawn.after" else Absent)
    ref = backend.submit(shell("echo $$ >> ledger; while [ ! -e on ]; do sleep 0.01; done"), mark)
    until(lambda: ledger(world))
    assert backend.find([mark]) == {mark: Found(ref, mark.body)}
    (world.project / "on").touch()
    assert reach(backend, ref).phase is Phase.SUCCEEDED
    assert len(ledger(world)) == 1


def test_an_order_is_whole_as_soon_as_it_holds_the_lock(world: World) -> None:
    """The command is killed right after the lock went over to the spawner: the run is found, and it runs."""
    assert subprocess.run(command(world, "sent"), env=environ(), check=False).returncode == -signal.SIGKILL
    backend, mark = world.open(), make_mark("job")
    found = backend.find([mark])[mark]
    assert isinstance(found, Found)
    (world.project / "on").touch()
    assert reach(backend, found.ref).phase is Phase.SUCCEEDED
    assert len(ledger(world)) == 1


def test_many_commands_that_submit_the_same_run_at_once_make_one_process(world: World) -> None:
    commands = [subprocess.Popen(command(world, then="race"), env=environ(), stdout=subprocess.DEVNULL) for _ in range(6)]
    until(lambda: len(list(world.project.glob("ready-*"))) == 6)
    (world.project / "start").touch()
    assert [process.wait(PATIENCE) for process in commands] == [0] * 6
    (world.project / "on").touch()
    backend, mark = world.open(), make_mark("job")
    found = backend.find([mark])[mark]
    assert isinstance(found, Found)
    assert reach(backend, found.ref).phase is Phase.SUCCEEDED
    assert len(ledger(world)) == 1


def test_someone_who_only_looks_at_a_run_does_not_keep_it_from_starting(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    world.proof(mark).directory.mkdir(parents=True, mode=0o700)
    with world.proof(mark).lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        looking = threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN))
        looking.start()
        ref = backend.submit(job("true"), mark)
        looking.join()
    assert reach(backend, ref).phase is Phase.SUCCEEDED


def test_jobs_survive_control_c(world: World) -> None:
    process = subprocess.Popen(
        command(world, then="stay"), env=environ(), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: ledger(world))
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE)
    assert_goes_on(world)


def test_jobs_survive_a_closed_terminal(world: World) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, command(world, then="stay"), environ())
    until(lambda: ledger(world))
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    assert_goes_on(world)


def assert_goes_on(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    found = backend.find([mark])[mark]
    assert isinstance(found, Found)
    assert now(backend, found.ref).phase is Phase.RUNNING
    (world.project / "on").touch()
    assert reach(backend, found.ref).phase is Phase.SUCCEEDED


def test_control_c_while_the_spawner_starts_does_not_end_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal is blocked until the spawner has a session of its own, and must not be met when it is let through."""
    monkeypatch.setattr(starter, "PROGRAM", f"import os, signal; os.kill(os.getpid(), signal.SIGINT); {starter.PROGRAM}")
    assert finish(world.open(), job("true")).phase is Phase.SUCCEEDED


def test_the_spawner_may_die_at_any_time(world: World) -> None:
    backend, mark = world.open(), make_mark("first")
    first = backend.submit(shell("while [ ! -e on ]; do sleep 0.01; done", address="first"), mark)
    until(lambda: world.proof(mark).start.exists())
    stat = Path(f"/proc/{world.launcher(mark)}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert finish(backend, job("true", address="second")).phase is Phase.SUCCEEDED
    (world.project / "on").touch()
    assert reach(backend, first).phase is Phase.SUCCEEDED


def test_the_spawner_ends_with_its_command(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("exec sleep 600"), mark)
    stat = Path(f"/proc/{world.launcher(mark)}/stat").read_text()
    spawner = int(stat.rpartition(")")[2].split()[1])
    assert alive(spawner)
    launcher = world.launcher(mark)
    assert (os.getsid(spawner), os.getsid(launcher)) == (spawner, launcher), "no terminal of the command reaches either"
    del backend
    until(lambda: not alive(spawner))
    assert reach(world.open(), ref, Phase.RUNNING)


def test_an_orphan_runs_on_and_is_lost_when_it_ends(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("touch up; while [ ! -e on ]; do sleep 0.01; done"), mark)
    kill_launcher(world, mark)
    actual = now(backend, ref)
    assert actual.phase is Phase.RUNNING
    assert "launcher was killed" in actual.detail
    assert backend.submit(shell("touch second"), mark) == ref
    assert backend.find([mark]) == {mark: Found(ref, mark.body)}
    with pytest.raises(BackendError, match="has not ended"):
        backend.delete(ref)
    (world.project / "on").touch()
    actual = reach(backend, ref)
    assert (actual.phase, actual.class_, actual.exit) == (Phase.FAILED, "lost", None)
    assert not (world.project / "second").exists()


def test_an_orphan_is_stopped_even_when_the_canceller_ends_at_once(world: World) -> None:
    backend, mark = world.open(kill_grace="200ms"), make_mark("job")
    ref = backend.submit(shell("trap '' TERM; touch up; while :; do sleep 0.05; done"), mark)
    kill_launcher(world, mark)
    other = world.open(kill_grace="200ms")
    other.cancel(ref, only_if_waiting=False)
    del other
    assert reach(backend, ref).phase is Phase.CANCELLED
    assert not alive(world.record(mark, "start.json")["pid"])


def test_a_run_whose_launcher_died_while_it_waited_never_started(world: World) -> None:
    backend, mark = world.open(max_parallel=1), make_mark("waits")
    blocker = backend.submit(shell("exec sleep 600", address="blocker"), make_mark("blocker"))
    reach(backend, blocker, Phase.RUNNING)
    ref = backend.submit(shell("touch ran"), mark)
    os.kill(world.launcher(mark), signal.SIGKILL)
    until(lambda: not alive(world.launcher(mark)))
    actual = now(backend, ref)
    assert (actual.phase, actual.class_, actual.started_at) == (Phase.FAILED, "infra", None)
    assert "never started" in actual.detail
    assert backend.find([mark]) == {mark: Absent()}
    backend.cancel(ref, only_if_waiting=False)
    backend.cancel(blocker, only_if_waiting=False)
    assert backend.submit(shell("touch ran"), mark) == ref, "absent: the same number and token are used again"
    assert reach(backend, ref).phase is Phase.SUCCEEDED


def kill_launcher(world: World, mark: Mark) -> None:
    """Once the job says that it runs."""
    until((world.project / "up").exists)
    os.kill(world.launcher(mark), signal.SIGKILL)
    until(lambda: not alive(world.launcher(mark)))


# --- who is who ---


class OtherBoot:
    """The same processes, after a restart of the machine."""

    def boot_id(self) -> str:
        return "another"

    def start_time(self, pid: int) -> str | None:
        return system_facts().start_time(pid)

    def group_lives(self, group: int) -> bool:
        return system_facts().group_lives(group)


def abandoned(world: World) -> tuple[Ref, int]:
    """A run without a launcher whose process still lives."""
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("touch up; exec sleep 600"), mark)
    kill_launcher(world, mark)
    pid = world.record(mark, "start.json")["pid"]
    assert isinstance(pid, int)
    return ref, pid


def test_after_a_restart_a_number_is_just_a_number(world: World) -> None:
    ref, pid = abandoned(world)
    backend = world.open(facts=OtherBoot())
    actual = now(backend, ref)
    assert (actual.phase, actual.class_) == (Phase.FAILED, "infra")
    assert "restarted" in actual.detail
    backend.cancel(ref, only_if_waiting=False)
    time.sleep(0.1)
    assert alive(pid), "a process of this boot was signalled for one of another"


def test_a_strangers_process_with_the_same_number_is_never_touched(world: World) -> None:
    ref, pid = abandoned(world)
    path = world.proof(make_mark("job")).start
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": "12345"}))
    backend = world.open()
    assert now(backend, ref).class_ == "lost"
    backend.cancel(ref, only_if_waiting=False)
    time.sleep(0.1)
    assert alive(pid)
    os.killpg(pid, signal.SIGKILL)


def test_a_stranger_with_the_launchers_number_is_not_woken(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("exec sleep 600"), mark)
    reach(backend, ref, Phase.RUNNING)
    time.sleep(0.05)  # start times count in 10 ms: whoever reuses a number comes later than that
    with subprocess.Popen(["sleep", "600"]) as stranger:
        lock = world.proof(mark).lock
        real = lock.read_bytes()
        lock.write_text(json.dumps(json.loads(real) | {"pid": stranger.pid}))
        backend.cancel(ref, only_if_waiting=False)
        assert reach(backend, ref).phase is Phase.CANCELLED, "the launcher looks by itself"
        assert stranger.poll() is None
        stranger.kill()


def test_damaged_records_are_said_not_guessed(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(job("true"), mark)
    reach(backend, ref)
    for text in ("", "{", "[]", "\0" * 100):
        world.proof(mark).exit.write_text(text)
        answer = backend.read([ref])[ref]
        assert isinstance(answer, ReadError)
        assert not answer.retryable
        assert "damaged" in answer.detail
        with pytest.raises(BackendError):
            backend.delete(ref)


@pytest.mark.parametrize("value", [
    None, [], "x", {}, {"run": "../..", "name": "a"}, {"run": "0" * 32, "name": "../../etc"}, {"run": "0" * 32, "name": "a/b"},
    {"run": "0" * 31 + "\n", "name": "a"}, {"run": 1, "name": "a"},
])
def test_references_from_elsewhere_lead_nowhere(world: World, value: object) -> None:
    backend, ref = world.open(), Ref(json.dumps(value))
    assert isinstance(backend.read([ref])[ref], ReadError)
    for call in (backend.delete, lambda ref: backend.cancel(ref, only_if_waiting=False), lambda ref: backend.kept(ref, 10)):
        with pytest.raises(BackendError, match="no reference to a local run"):
            call(ref)


def test_a_full_disk_under_the_logs_is_the_jobs_own_error(world: World) -> None:
    """The job sees its write fail and says so by its exit code; nothing kills it and its outcome is known."""
    place = world.project / ".jobform" / "runs"
    place.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs more rights")
    try:
        script = "head -c 200000 /dev/zero; [ $? = 1 ] && exit 42"
        actual = finish(world.open(), shell(script))
        assert (actual.phase, actual.exit) == (Phase.FAILED, 42)
        assert actual.ended_at is not None
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
