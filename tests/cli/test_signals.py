"""Stopped from outside at many moments: the state is saved, jobs keep running, and the next command picks them up."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Make, job, sleeper
from tests.cli.terminal import Running, Terminal, until
from tests.support import assert_one_process, read_state, starts


def ledgered(address: str, ledger: Path, script: str, **policy: object) -> dict[str, object]:
    return job(f"echo start {address} >> {ledger}; {script}; echo end {address} >> {ledger}", **policy)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_leaves_the_jobs_running(number: signal.Signals, code: int, cli: Cli, make: Make, tmp_path: Path) -> None:
    """F103, F105: and the next apply waits for the same process."""
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    directory = make({
        "long": ledgered("long", ledger, f"while ! test -e {go}; do sleep 0.05; done"),
        "after": ledgered("after", ledger, "true", needs=["long"]),
    })
    with Running("apply", "--auto-approve", cwd=directory) as apply:
        apply.until("long: running")
        until(lambda: starts(ledger) == ["long"], "the program of the job has begun")
        apply.signal(number)
        assert apply.wait() == code, apply
    assert "jobs keep running" in apply.stderr
    assert "Traceback" not in apply.stderr
    state = read_state(directory)
    assert state is not None
    assert state.jobs["long"].last is not None and state.jobs["long"].last.phase == "running"
    assert starts(ledger) == ["long"]
    assert cli("lock", "show", "--format", "json", cwd=directory).json["locked"] is False
    assert cli("status", "--exit-code", cwd=directory).exit == 2
    assert cli("history", "--format", "json", cwd=directory).json["runs"][-1]["exit"] == code
    with Running("apply", "--auto-approve", cwd=directory) as again:
        time.sleep(0.3)
        go.touch()
        assert again.wait() == 0, again
    assert starts(ledger) == ["long", "after"]
    assert_one_process(ledger)


def test_advance_alone_picks_up_what_a_signal_left(cli: Cli, make: Make, tmp_path: Path) -> None:
    go = tmp_path / "go"
    directory = make({"long": sleeper(go), "after": job("true", needs=["long"])})
    with Running("apply", "--auto-approve", cwd=directory) as apply:
        apply.until("long: running")
        apply.signal(signal.SIGINT)
        assert apply.wait() == 130
    assert cli("advance", cwd=directory).exit == 2
    go.touch()
    until(lambda: cli("advance", cwd=directory).exit == 0, "the chain ends by advance")
    state = read_state(directory)
    assert state is not None
    assert [state.jobs[a].attempts[-1].phase for a in ("long", "after")] == ["succeeded", "succeeded"]
    assert all(len(record.attempts) == 1 for record in state.jobs.values())


PATIENT = """
import sys
from jobform.cli import main
from jobform.run import applying
applying.LAST_WORD = 3600.0
sys.exit(main())
"""


def test_the_second_signal_leaves_at_once(make: Make, tmp_path: Path) -> None:
    """F104: even while the lock is waited for to write the end of the run."""
    directory = make({"long": sleeper(tmp_path / "go")})
    with Running("apply", "--auto-approve", cwd=directory, command=[sys.executable, "-c", PATIENT]) as apply:
        apply.until("long: running")
        with held(directory):
            apply.signal(signal.SIGINT)
            apply.until("Stopping")
            apply.signal(signal.SIGINT)
            assert apply.wait() == 130, apply
    assert "Stopped at once" in apply.stderr
    (tmp_path / "go").touch()


HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "r+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(3600)
"""


class held:  # noqa: N801  # reads as a word
    """The state's lock in another process's hand."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(lock_of(directory))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"held\n"

    def __enter__(self) -> None:
        return None

    def __exit__(self, *about: object) -> None:
        self._process.kill()
        self._process.communicate()


def lock_of(directory: Path) -> Path:
    found = [path for path in directory.iterdir() if path.name.endswith(".lock")]
    assert len(found) == 1, list(directory.iterdir())
    return found[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_the_lock_can_be_stopped(number: signal.Signals, cli: Cli, make: Make) -> None:
    """F74."""
    directory = make({"a": job("true")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    with held(directory), Running("apply", "--auto-approve", "--lock-timeout", "1h", cwd=directory) as apply:
        apply.until("Waiting for the lock")
        apply.signal(number)
        assert apply.wait() == (130 if number == signal.SIGINT else 143), apply
    assert "nothing was changed" in apply.stderr


def test_a_held_lock_is_said(cli: Cli, make: Make) -> None:
    """F74: exit 4 at once without a timeout, advance 2, and commands that only look do not care."""
    directory = make({"a": job("true")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    with held(directory):
        for command in (("apply", "--auto-approve"), ("cancel", "a"), ("rerun", "a"), ("state", "rm", "a"), ("wait",)):
            done = cli(*command, "--lock-timeout", "0", cwd=directory)
            assert done.exit == 4, f"{command}: {done}"
            assert "Waiting for the lock" not in done.stderr
        assert cli("advance", cwd=directory).exit == 2
        for command in (("plan",), ("status",), ("show",), ("history",), ("state", "list"), ("logs", "a")):
            assert cli(*command, cwd=directory).exit == 0, command
        short = cli("apply", "--auto-approve", "--lock-timeout", "300ms", cwd=directory)
        assert short.exit == 4, short
        assert "Waiting for the lock" in short.stderr


@pytest.mark.parametrize("moment", range(8))
def test_a_signal_at_any_moment(moment: int, cli: Cli, make: Make, tmp_path: Path) -> None:
    """F103: whenever it comes, what happened is known and the rest is done by the next apply."""
    ledger = tmp_path / "ledger"
    needs = {"a": [], "b": ["a"], "c": ["b"]}
    directory = make({name: ledgered(name, ledger, "sleep 0.1", needs=needs[name]) for name in needs})
    with Running("apply", "--auto-approve", cwd=directory) as apply:
        time.sleep(0.25 + moment * 0.15)
        apply.signal(signal.SIGINT)
        code = apply.wait()
    if code == -signal.SIGINT or "KeyboardInterrupt" in apply.stderr:  # the interpreter met it, before a command could
        assert code == 0 or not ledger.exists(), apply  # 0: it came in a callback of the import system, which drops it
    else:
        assert code in (0, 130), apply
        assert "Traceback" not in apply.stderr
    again = cli("apply", "--auto-approve", cwd=directory)
    assert again.exit == 0, again
    assert sorted(starts(ledger)) == ["a", "b", "c"]
    assert_one_process(ledger)
    assert cli("plan", "--detailed-exitcode", cwd=directory).exit == 0


def test_a_closed_terminal_is_a_stop(cli: Cli, make: Make, tmp_path: Path) -> None:
    """F106."""
    directory = make({"long": sleeper(tmp_path / "go")})
    with Terminal("apply", "--auto-approve", cwd=directory) as terminal:
        terminal.until("long: running")
        assert terminal.hang_up() == 143
    (tmp_path / "go").touch()
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    assert len(cli("history", "long", "--format", "json", cwd=directory).json["attempts"]) == 1


def test_control_c_on_a_terminal(cli: Cli, make: Make, tmp_path: Path) -> None:
    """The terminal sends SIGINT to its whole foreground group: the jobs must not be in it."""
    directory = make({"long": sleeper(tmp_path / "go")})
    with Terminal("apply", "--auto-approve", cwd=directory) as terminal:
        terminal.until("long: running")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "jobs keep running" in terminal.text
    assert cli("status", "--format", "json", cwd=directory).json["jobs"][0]["phase"] == "running"
    (tmp_path / "go").touch()
    assert cli("wait", cwd=directory).exit == 0


def test_others_can_work_while_an_apply_waits(cli: Cli, make: Make, tmp_path: Path) -> None:
    """F75: an apply that waits holds no lock."""
    go = tmp_path / "go"
    directory = make({"long": sleeper(go), "after": job("true", needs=["long"])})
    with Running("apply", "--auto-approve", cwd=directory) as apply:
        apply.until("long: running")
        for _ in range(5):
            assert cli("plan", "--detailed-exitcode", cwd=directory).exit == 0
            assert cli("advance", "--lock-timeout", "1m", cwd=directory).exit == 2
        go.touch()
        assert apply.wait() == 0, apply
    assert "Done" in apply.stdout
    assert cli("advance", cwd=directory).exit == 0


def test_a_chain_ends_by_advance_after_detach(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true"), "b": job("true", needs=["a"]), "c": job("true", needs=["b"])})
    done = cli("apply", "--auto-approve", "--detach", cwd=directory)
    assert done.exit == 0, done
    codes = []
    until(lambda: codes.append(cli("advance", cwd=directory).exit) or codes[-1] == 0, "the chain ends")
    assert set(codes[:-1]) <= {2}
    assert {job["phase"] for job in cli("status", "--format", "json", cwd=directory).json["jobs"]} == {"succeeded"}


def test_jobform_inside_its_own_job(cli: Cli, make: Make, bin_directory: Path) -> None:
    """F78: a job that applies its own project is told so at once instead of waiting for itself."""
    inner = "jobform apply --auto-approve > inner.out 2> inner.err; echo $? > inner.exit"
    directory = make({"inner": job(f"PATH={bin_directory}:$PATH; {inner}")})
    done = cli("apply", "--auto-approve", cwd=directory)
    assert done.exit == 0, done
    assert (directory / "inner.exit").read_text().strip() == "4", (directory / "inner.err").read_text()
    assert "inside inner" in (directory / "inner.err").read_text(), "not that somebody holds the lock"


def test_the_events_of_a_stopped_apply_end_with_a_summary(make: Make, tmp_path: Path) -> None:
    directory = make({"long": sleeper(tmp_path / "go")})
    with Running("apply", "--auto-approve", "--format", "json", cwd=directory) as apply:
        apply.until('"phase":"running"')
        apply.signal(signal.SIGTERM)
        assert apply.wait() == 143
    lines = [json.loads(line) for line in apply.stdout.splitlines()]
    assert (lines[0]["type"], lines[-1]["type"], lines[-1]["exit"]) == ("version", "summary", 143)
    (tmp_path / "go").touch()
