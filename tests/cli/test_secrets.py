"""I6: a secret's value goes to the job and nowhere else."""

from pathlib import Path

from tests.cli.conftest import Cli, Make, job, sleeper
from tests.cli.terminal import Running, until
from tests.support import Result, assert_no_secret

CANARY = "canary-5up3r-s3cr3t-value"


def secret_job(script: str) -> dict[str, object]:
    return job(script, spec={"env": {"TOKEN": "{{ secret('X') }}"}})


def test_a_canary_is_nowhere(cli: Cli, make: Make, tmp_path: Path) -> None:
    """F136: in no file, no output, no argument of any process; the job itself has it."""
    go = tmp_path / "go"
    directory = make({"a": secret_job(
        f'test "$TOKEN" = "$(cat {tmp_path}/expected)" || exit 9; while ! test -e {go}; do sleep 0.05; done; exit 0',
    )})
    (tmp_path / "expected").write_text(CANARY)
    env = {"JOBFORM_SECRET_X": CANARY}
    results: list[Result] = [cli("plan", "--out", "p.json", cwd=directory, env=env)]
    with Running("apply", "p.json", cwd=directory, env=env) as apply:
        apply.until("a: running")
        assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if CANARY.encode() in _read(path)]
        go.touch()
        assert apply.wait() == 0, apply
    results.append(Result(0, apply.stdout, apply.stderr))
    looks = (("status",), ("show", "a"), ("logs", "a"), ("state", "pull"), ("history", "a"), ("plan", "--format", "json"))
    for command in looks:
        results.append(cli(*command, cwd=directory, env=env))
    assert_no_secret(CANARY, directory, *results)


def test_what_the_job_prints_is_masked(cli: Cli, make: Make) -> None:
    directory = make({"a": secret_job('echo "got $TOKEN"; printf \'{"t": "%s"}\' "$TOKEN" > "$JOBFORM_OUTPUT"')})
    env = {"JOBFORM_SECRET_X": CANARY}
    assert cli("apply", "--auto-approve", cwd=directory, env=env).exit == 0
    looks = (("logs", "a"), ("output", "a"), ("status", "--format", "json"))
    shown = [cli(*command, cwd=directory, env=env) for command in looks]
    assert "got ***" in shown[0].stdout
    for result in shown:
        assert CANARY not in result.stdout + result.stderr
    assert CANARY not in cli("state", "pull", cwd=directory).stdout


def test_a_missing_secret_stops_an_apply_before_anything(cli: Cli, make: Make) -> None:
    directory = make({"a": secret_job("true"), "b": job("true")})
    done = cli("apply", "--auto-approve", cwd=directory)
    assert done.exit == 3, done
    assert "JOBFORM_SECRET_X" in done.stderr
    assert cli("state", "list", cwd=directory).stdout == "The state knows no jobs.\n"
    assert not (directory / ".jobform" / "runs").exists()


def test_a_missing_secret_in_advance_holds_up_only_its_job(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make({
        "first": sleeper(tmp_path / "go"), "a": secret_job("true") | {"needs": ["first"]}, "b": job("true", needs=["first"]),
    })
    assert cli("apply", "--auto-approve", "--detach", cwd=directory, env={"JOBFORM_SECRET_X": CANARY}).exit == 0
    (tmp_path / "go").touch()
    until(lambda: cli("advance", cwd=directory).exit == 7, "the step that would begin it")
    done = cli("advance", cwd=directory)
    assert done.exit == 7, done
    assert "JOBFORM_SECRET_X" in done.stdout + done.stderr
    assert cli("wait", "b", cwd=directory).exit == 0
    assert cli("wait", cwd=directory, env={"JOBFORM_SECRET_X": CANARY}).exit == 0


def test_a_secret_that_is_too_short_or_unreadable_is_said(cli: Cli, make: Make) -> None:
    directory = make({"a": secret_job("true")})
    for env in ({"JOBFORM_SECRET_X": "abc"}, {"JOBFORM_SECRET_X_FILE": "/nonexistent"}):
        done = cli("apply", "--auto-approve", cwd=directory, env=env)
        assert done.exit == 3, done
        assert "JOBFORM_SECRET_X" in done.stderr
        assert "Traceback" not in done.stderr


def test_sensitive_variables(cli: Cli, make: Make, tmp_path: Path) -> None:
    directory = make(
        {"a": job('echo "got $TOKEN"', spec={"env": {"TOKEN": "{{ var.token }}"}})},
        variables={"token": {"type": "string", "sensitive": True}},
    )
    missing = cli("apply", "--auto-approve", cwd=directory)
    assert missing.exit == 3
    assert "JOBFORM_VAR_token" in missing.stderr or "JOBFORM_VAR_TOKEN" in missing.stderr
    given = cli("plan", "--var", f"token={CANARY}", cwd=directory)
    assert given.exit == 3
    assert CANARY not in given.stdout + given.stderr
    env = {"JOBFORM_VAR_token": CANARY}
    done = cli("apply", "--auto-approve", cwd=directory, env=env)
    assert done.exit == 0, done
    logs = cli("logs", "a", cwd=directory, env=env)
    assert logs.stdout == "got ***\n"
    assert CANARY not in cli("state", "pull", cwd=directory).stdout


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # that process has ended
        return b""
