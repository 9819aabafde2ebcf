"""The question before everything is destroyed: the project's name, typed on a terminal, is the yes to stop live jobs too."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Make, job, sleeper
from tests.cli.terminal import Terminal


@pytest.fixture
def live(make: Make, cli: Cli, tmp_path: Path) -> Path:
    directory = make({"long": sleeper(tmp_path / "go"), "done": job("true")})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    return directory


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 1), ("\n", 1), ("\x04", 1), ("\x03", 130)])
def test_anything_else_destroys_nothing(typed: str, code: int, live: Path, cli: Cli, tmp_path: Path) -> None:
    """F110."""
    before = (live / "jobform.state.json").read_bytes()
    with Terminal("destroy", cwd=live) as terminal:
        terminal.until("Type 'test'")
        terminal.type(typed)
        assert terminal.wait() == code, terminal.text
    assert "nothing was changed" in terminal.text
    assert (live / "jobform.state.json").read_bytes() == before
    (tmp_path / "go").touch()


def test_the_name_is_the_yes_for_live_jobs(live: Path, cli: Cli) -> None:
    cli("status", cwd=live)
    with Terminal("destroy", cwd=live) as terminal:
        terminal.until("Type 'test'")
        assert "block" not in terminal.text.partition("Plan:")[0]
        terminal.type("test\n")
        assert terminal.wait() == 0, terminal.text
    assert cli("state", "list", cwd=live).stdout == "The state knows no jobs.\n"
    assert cli("history", "long", "--format", "json", cwd=live).json["attempts"][0]["phase"] == "cancelled"


def test_without_a_terminal_live_jobs_need_a_flag(live: Path, cli: Cli) -> None:
    refused = cli("destroy", "--auto-approve", "--select", "long", cwd=live)
    assert refused.exit == 7, refused
    assert "--allow-cancel" in refused.stdout + refused.stderr
    done = cli("destroy", "--auto-approve", "--allow-cancel", "*", cwd=live)
    assert done.exit == 0, done


def test_the_name_does_not_lift_protection(make: Make, cli: Cli) -> None:
    directory = make({"kept": job("true", protect=True)})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    with Terminal("destroy", cwd=directory) as terminal:
        assert terminal.wait() == 7, terminal.text
    assert "protect" in terminal.text
    assert cli("state", "list", cwd=directory).stdout == "kept\n"


@pytest.mark.parametrize("command", [("apply",), ("destroy",), ("apply", "--format", "json"), ("apply", "--no-input")])
def test_nobody_to_ask(command: tuple[str, ...], make: Make, cli: Cli) -> None:
    """F109."""
    directory = make({"a": job("true")})
    done = cli(*command, cwd=directory, stdin="yes\ntest\n")
    assert done.exit == 64, done
    assert "--auto-approve" in done.stderr
    assert not (directory / "jobform.state.json").exists()


def test_the_plan_is_shown_once(make: Make, cli: Cli) -> None:
    directory = make({"a": job("true")})
    with Terminal("apply", cwd=directory) as terminal:
        terminal.until("Type 'yes'")
        terminal.type("yes\n")
        assert terminal.wait() == 0, terminal.text
    assert terminal.text.count("Plan for test") == 1
    assert "1 succeeded" in terminal.text


def test_progress_is_on_standard_error_and_leaves_nothing(make: Make, cli: Cli, tmp_path: Path) -> None:
    directory = make({"a": sleeper(tmp_path / "go")})
    with Terminal("apply", "--auto-approve", cwd=directory, columns=60) as terminal:
        terminal.until("1 running")
        (tmp_path / "go").touch()
        assert terminal.wait() == 0
    assert terminal.text.rstrip().endswith("1 changed, 1 succeeded.")
    assert b"\x1b[?25h" in terminal.bytes.rpartition(b"\x1b[?25l")[2], "the cursor is shown again"
    plain = cli("apply", "--auto-approve", "--rerun", "a", cwd=directory)
    assert "1 running" not in plain.stdout + plain.stderr
    assert "\x1b" not in plain.stdout + plain.stderr


@pytest.mark.parametrize(("env", "flags"), [({"NO_COLOR": "1"}, []), ({}, ["--no-color"])])
def test_no_colour(env: dict[str, str], flags: list[str], make: Make) -> None:
    directory = make({"a": job("true")})
    with Terminal("plan", *flags, cwd=directory, env=env) as terminal:
        assert terminal.wait() == 0
        assert b"\x1b[3" not in terminal.bytes
    with Terminal("plan", cwd=directory) as coloured:
        assert coloured.wait() == 0
        assert b"\x1b[3" in coloured.bytes
