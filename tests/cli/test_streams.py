"""Where output goes: full disks, readers that leave, encodings, homes that are missing, projects that cannot be written."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Make, job, sleeper
from tests.cli.terminal import COMMAND
from tests.support import environ_for, read_state

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(line: str, cwd: Path, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """A line of shell in which `jobform` is the command; its exit code is that of jobform."""
    text = f'set -o pipefail; jobform() {{ "{COMMAND[0]}" "{COMMAND[1]}" "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", text], cwd=cwd, env=environ_for(env, None), capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", ["plan", "status", "show", "schema state", "plan --format json", "version", "--help"])
def test_a_full_disk_behind_standard_output(command: str, make: Make) -> None:
    """F108."""
    directory = make({"a": job("true")})
    done = shell(f"jobform {command} > /dev/full", directory)
    assert done.returncode == 1, done
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.parametrize("format_", ["human", "json"])
def test_an_apply_whose_output_is_lost_saves_its_state(format_: str, cli: Cli, make: Make) -> None:
    """F108: it stops, and the next apply does the rest."""
    directory = make({"a": job("true"), "b": job("true", needs=["a"])})
    done = shell(f"jobform apply --auto-approve --format {format_} > /dev/full", directory)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr and "fault" not in done.stderr
    read_state(directory)
    assert cli("lock", "show", "--format", "json", cwd=directory).json["locked"] is False
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    attempts = [cli("history", name, "--format", "json", cwd=directory).json["attempts"] for name in ("a", "b")]
    assert [len(listed) for listed in attempts] == [1, 1]


def test_a_reader_that_leaves_in_the_middle_of_an_apply(cli: Cli, make: Make, tmp_path: Path) -> None:
    """It has left before the second job ends."""
    go = tmp_path / "go"
    directory = make({"a": job("true"), "b": sleeper(go, needs=["a"]), "c": job("true", needs=["b"])})
    done = shell(f"jobform apply --auto-approve --format json | {{ head -n 5 > head; exec <&-; touch {go}; }}", directory)
    assert done.returncode == 1, done
    assert done.stderr == ""
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    attempts = [cli("history", name, "--format", "json", cwd=directory).json["attempts"] for name in ("a", "b", "c")]
    assert [len(listed) for listed in attempts] == [1, 1, 1]


@pytest.mark.parametrize("command", ["plan", "schema state", "schema jobs"])
def test_head(command: str, make: Make) -> None:
    directory = make({f"job{n}": job("true") for n in range(300)})
    done = shell(f"jobform {command} | head -n 1", directory)
    assert done.returncode in (0, 1), done
    assert done.stderr == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, make: Make, cli: Cli) -> None:
    directory = make({"a": job("true")})
    done = shell(f"jobform apply --auto-approve {closed}", directory)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert shell(f"jobform apply {closed}", make({"a": job("true")}, name="q")).returncode == 64
    assert read_state(directory) is not None


def test_text_that_the_locale_cannot_write(make: Make) -> None:
    """F111."""
    directory = make({"a": job("echo größe 日本; exit 0", spec={"env": {"SIZE": "größe"}})})
    for command in ("plan", "apply --auto-approve", "logs a", "show a", "status", "plan --format markdown"):
        done = shell(f"jobform {command}", directory, ASCII)
        assert done.returncode == 0, done
        assert "Traceback" not in done.stderr
    assert "gr\\xf6\\xdfe" in shell("jobform logs a", directory, ASCII).stdout


@pytest.mark.parametrize("env", [
    {"HOME": ""}, {"HOME": "/nonexistent"}, {"TMPDIR": "/nonexistent"}, {"TERM": "dumb"}, {"PATH": "/nonexistent"},
])
def test_poor_surroundings(env: dict[str, str], cli: Cli, make: Make) -> None:
    """F112."""
    directory = make({"a": job("true") | {"spec": {"command": ["/bin/true"]}}})
    for command in (("validate",), ("plan",), ("apply", "--auto-approve"), ("status",)):
        done = subprocess.run([*COMMAND, *command], cwd=directory, env=environ_for(env, None), capture_output=True, text=True)
        assert done.returncode == 0, (command, done)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("home", ["", "/proc/nowhere"])
def test_without_a_place_for_its_own_state(home: str, make: Make) -> None:
    """F112: one clear error, or it works."""
    directory = make({"a": job("true")})
    homes = ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
    environ = {key: value for key, value in environ_for(None, None).items() if key not in homes}
    environ |= {"HOME": home} if home else {}
    done = subprocess.run([*COMMAND, "apply", "--auto-approve"], cwd=directory, env=environ, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "fault" not in done.stderr, done
    assert done.returncode in (0, 1, 7), done
    if home:
        assert home in done.stderr, done


@pytest.fixture
def mortal() -> list[str]:
    """What makes a command obey file modes, whoever runs the tests."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--inh-caps", "-dac_override", "--bounding-set", "-dac_override"]
    if not shutil.which(prefix[0]) or subprocess.run([*prefix, "true"]).returncode != 0:
        pytest.skip("root here cannot lay down its rights")
    return prefix


def test_a_project_that_cannot_be_written(make: Make, cli: Cli, mortal: list[str]) -> None:
    """What only looks needs to write nothing; what writes says what it cannot write, before any call."""
    directory = make({"a": job("true")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    paths = [directory, *directory.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        def run(*command: str) -> "subprocess.CompletedProcess[str]":
            line = [*mortal, *COMMAND, *command]
            return subprocess.run(line, cwd=directory, env=environ_for(None, None), capture_output=True, text=True)

        assert subprocess.run([*mortal, "touch", "x"], cwd=directory, capture_output=True).returncode != 0
        looks = ("plan", "status", "show", "show a", "state list", "history", "validate", "graph", "lock show", "logs a")
        for command in looks:
            done = run(*command.split())
            assert done.returncode == 0, (command, done)
        for command in ("apply --auto-approve --rerun a", "rerun a", "advance", "state rm a"):
            done = run(*command.split())
            assert done.returncode == 5, (command, done)
            assert "Permission denied" in done.stderr and "fault" not in done.stderr
        assert run("init").returncode in (1, 5)
        assert run("plan", "--out", "p.json").returncode == 64
    finally:
        for path in paths:
            path.chmod(path.stat().st_mode | 0o200)
    assert len(cli("history", "a", "--format", "json", cwd=directory).json["attempts"]) == 1
