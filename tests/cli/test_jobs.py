"""Commands about one job: cancel, rerun, wait, logs, output, history, and the repair of the state."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Make, job, sleeper
from tests.cli.terminal import Running, until


def phase(cli: Cli, directory: Path, address: str) -> str | None:
    found = {entry["address"]: entry for entry in cli("status", "--format", "json", cwd=directory).json["jobs"]}
    return found[address]["phase"] if address in found else None


def test_cancel_a_live_job(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({"long": sleeper(tmp_path / "go"), "after": job("true", needs=["long"])})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    until(lambda: phase(cli, directory, "long") == "running", "it runs")
    done = cli("cancel", "long", cwd=directory)
    assert done.exit == 0, done
    assert phase(cli, directory, "long") == "cancelled"
    assert "cancelled" in cli("plan", cwd=directory).stdout
    assert cli("plan", "--detailed-exitcode", cwd=directory).exit == 0


def test_cancel_what_was_accepted_and_not_started(cli: Cli, make: Make, tmp_path: Path) -> None:
    go = tmp_path / "go"
    directory = make({"long": sleeper(go), "after": job("true", needs=["long"])})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    done = cli("cancel", "after", cwd=directory)
    assert done.exit == 0, done
    go.touch()
    assert cli("wait", cwd=directory).exit == 0
    assert phase(cli, directory, "after") is None
    plan = {change["address"]: change for change in cli("plan", "--format", "json", cwd=directory).json["changes"]}
    assert (plan["after"]["action"], plan["after"]["reason"]) == ("hold", "cancelled")


def test_cancel_a_job_that_waits_for_a_slot(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({"first": sleeper(tmp_path / "go"), "second": sleeper(tmp_path / "go")})
    head = json.loads((directory / "jobform.yaml").read_text())
    head["backends"]["here"]["max_parallel"] = 1
    (directory / "jobform.yaml").write_text(json.dumps(head))
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    until(lambda: "running" in [phase(cli, directory, name) for name in ("first", "second")], "one runs")
    waiting = next(name for name in ("first", "second") if phase(cli, directory, name) == "pending")
    done = cli("cancel", waiting, cwd=directory)
    assert done.exit == 0, done
    assert phase(cli, directory, waiting) == "cancelled"
    (tmp_path / "go").touch()
    assert cli("wait", cwd=directory).exit == 0


def test_cancel_and_rerun_of_nothing(cli: Cli, make: Make) -> None:
    directory = make({"train": job("true")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    for command in ("cancel", "rerun", "wait", "logs", "output", "show", "status", "history"):
        done = cli(command, "trian", cwd=directory)
        assert done.exit == 3, done
        assert "did you mean 'train'" in done.stderr, done
    assert cli("cancel", "train", cwd=directory).exit == 0
    assert cli("cancel", "train[", cwd=directory).exit == 3


def test_rerun(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({"a": job("echo again; exit 0")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    (directory / "jobs" / "jobs.yaml").write_text(json.dumps({"jobs": {"a": job("echo other")}}))
    assert cli("rerun", "a", cwd=directory).exit == 0
    assert cli("logs", "a", cwd=directory).stdout == "again\n", "what was accepted, not what the file says"
    assert [a["n"] for a in cli("history", "a", "--format", "json", cwd=directory).json["attempts"]] == [1, 2]
    (directory / "jobs" / "jobs.yaml").write_text(json.dumps({"jobs": {"a": sleeper(tmp_path / "go")}}))
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    live = cli("rerun", "a", cwd=directory)
    assert live.exit == 1, live
    assert "jobform cancel" in live.stderr
    (tmp_path / "go").touch()
    assert cli("wait", "a", cwd=directory).exit == 0


def test_wait_has_an_end(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({"long": sleeper(tmp_path / "go")})
    timed = cli("apply", "--auto-approve", "--timeout", "300ms", cwd=directory)
    assert timed.exit == 9, timed
    assert cli("status", "--exit-code", cwd=directory).exit == 2
    again = cli("wait", "--timeout", "300ms", cwd=directory)
    assert again.exit == 9
    assert "jobform wait" in again.stderr
    (tmp_path / "go").touch()
    assert cli("wait", "long", "--timeout", "10m", cwd=directory).exit == 0
    assert cli("status", "--exit-code", cwd=directory).exit == 0


def test_status_of_a_failure(cli: Cli, make: Make) -> None:
    directory = make({"bad": job("exit 3")})
    failed = cli("apply", "--auto-approve", cwd=directory)
    assert failed.exit == 8
    assert "jobform logs" in failed.stderr
    assert cli("status", "--exit-code", cwd=directory).exit == 8
    assert cli("status", cwd=directory).exit == 0
    assert cli("output", "bad", cwd=directory).exit == 1


def test_following_a_log_ends_with_the_job(cli: Cli, make: Make, tmp_path: Path) -> None:
    go = tmp_path / "go"
    directory = make({"long": job(f"echo first; while ! test -e {go}; do sleep 0.05; done; printf 'tab\\there\\nlast'")})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    with Running("logs", "long", "-f", cwd=directory) as logs:
        logs.until("first")
        assert logs.process.poll() is None
        go.touch()
        assert logs.wait() == 0
    assert logs.stdout == "first\ntab\there\nlast\n"
    assert cli("logs", "long", "--tail", "1", cwd=directory).stdout.splitlines()[-1] == "last"


def test_logs_that_were_kept(cli: Cli, make: Make) -> None:
    directory = make({"a": job("echo kept; exit 1")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 8
    shutil.rmtree(directory / ".jobform" / "runs")
    done = cli("logs", "a", cwd=directory)
    assert (done.exit, done.stdout) == (0, "kept\n"), done
    assert cli("logs", "a", "--attempt", "7", cwd=directory).exit == 3


def test_outputs(cli: Cli, make: Make) -> None:
    directory = make({"a": job('echo \'{"n": 3, "s": "x y", "l": [1]}\' > "$JOBFORM_OUTPUT"')})
    assert cli("output", "a", cwd=directory).exit == 3
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    assert cli("output", "a", "n", cwd=directory).stdout == "3\n"
    assert cli("output", "a", "s", cwd=directory).stdout == "x y\n"
    assert cli("output", "a", "l", cwd=directory).stdout == "[1]\n"
    assert cli("output", "a", "--format", "json", cwd=directory).json["outputs"] == {"n": 3, "s": "x y", "l": [1]}
    unknown = cli("output", "a", "m", cwd=directory)
    assert unknown.exit == 3
    assert "n" in unknown.stderr


def test_hostile_output_is_shown_and_not_obeyed(cli: Cli, make: Make) -> None:
    """Escape sequences in log lines, outputs and details come out as text."""
    hostile = "\\033[2J\\033]0;title\\007\\r\\302\\233 \\342\\200\\256end"
    directory = make({"a": job(
        f"printf '{hostile}\\n::set-env name=x::y\\n'; "
        "printf '{\"text\": \"\\\\u001b[2J\\\\u202e\"}' > \"$JOBFORM_OUTPUT\"",
    )})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    for command in (("logs", "a"), ("output", "a"), ("output", "a", "text"), ("status",), ("show", "a"), ("history", "a")):
        done = cli(*command, cwd=directory)
        assert done.exit == 0, done
        assert not [c for c in done.stdout if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or c == "\u202e"], done
    log = cli("logs", "a", cwd=directory).stdout
    assert "\\x1b[2J" in log and "\\u202e" in log
    assert not any(line.startswith("::") for line in log.splitlines())


def test_state_commands(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true"), "b": job("true")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    assert cli("state", "list", cwd=directory).stdout == "a\nb\n"
    assert "attempt" in cli("state", "show", "a", cwd=directory).stdout
    document = cli("state", "pull", cwd=directory).stdout
    assert json.loads(document)["serial"] >= 1
    assert cli("state", "rm", "zzz", cwd=directory).exit == 3
    assert cli("state", "rm", "a", cwd=directory).stdout.rstrip().endswith("a: forgotten")
    assert cli("state", "list", cwd=directory).stdout == "b\n"
    older = cli("state", "push", "-", cwd=directory, stdin=document)
    assert older.exit == 5, older
    assert cli("state", "push", "-", "--force", cwd=directory, stdin=document).exit == 0
    assert cli("state", "list", cwd=directory).stdout == "a\nb\n"
    for text in ("", "{", "[]", '{"format_version": 99}', "\x00"):
        broken = cli("state", "push", "-", cwd=directory, stdin=text)
        assert broken.exit == 5, (text, broken)
    assert cli("state", "push", "missing.json", cwd=directory).exit == 3
    assert cli("state", "resolve", "a", "--not-submitted", cwd=directory).exit == 3
    assert cli("state", "resolve", "a", cwd=directory).exit == 64
    assert cli("state", "resolve", "a", "--ended", "--found", "x", cwd=directory).exit == 64
    assert cli("plan", "--detailed-exitcode", cwd=directory).exit == 0


def test_who_holds_the_lock(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true")})
    assert cli("lock", "show", cwd=directory).exit == 0
    assert cli("lock", "show", "--format", "json", cwd=directory).json["locked"] is False


@pytest.mark.parametrize("command", [
    ("status",), ("plan",), ("show",), ("history",), ("state", "list"), ("logs", "a"), ("advance",),
])
def test_before_anything_was_applied(command: tuple[str, ...], cli: Cli, make: Make) -> None:
    directory = make({"a": job("true")})
    done = cli(*command, cwd=directory)
    assert done.exit == (3 if command[0] == "logs" else 0), done
    assert "Traceback" not in done.stderr and "fault" not in done.stderr
