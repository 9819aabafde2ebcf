"""Mistakes on the command line: exit 64 or 3 at once, one clear sentence, and what to type instead."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Make, job, sleeper
from tests.cli.terminal import until

MISTAKES = [
    (["aply"], 64, "Did you mean 'apply'"),
    (["fmt"], 64, "not supported yet"),
    (["import", "train"], 64, "ID"),
    (["import", "tain", "x"], 3, "did you mean 'train'"),
    (["import", "train[", "x"], 3, "train["),
    (["import", "train", "no such run"], 1, "there is no run no such run"),
    (["orphans", "--backend", "her"], 3, "did you mean 'here'"),
    (["plan", "--refresh-only"], 64, "not supported yet"),
    (["plan", "--untrusted"], 64, "not supported yet"),
    (["plan", "--detailed-exitcodes"], 64, "--detailed-exitcode"),
    (["plan", "--slect", "a"], 64, "--select"),
    (["--chdri", "x", "plan"], 64, "--chdir"),
    (["state", "lst"], 64, "list"),
    (["plan", "extra"], 64, "extra"),
    (["plan", "--target", "train"], 3, "did you mean --select train"),
    (["plan", "--target", "prod"], 3, "the project has no targets"),
    (["plan", "--var", "a"], 64, "NAME=VALUE"),
    (["plan", "--var", "=1"], 64, "NAME=VALUE"),
    (["plan", "--var", "siz=1"], 3, "did you mean"),
    (["plan", "--var", "size=x"], 3, "size"),
    (["plan", "--var-file", "missing.yaml"], 3, "missing.yaml"),
    (["plan", "--select", "train["], 64, "--select"),
    (["plan", "--select", "[]"], 64, "--select"),
    (["plan", "--format", "xml"], 64, "json"),
    (["apply", "--parallelism", "0", "--auto-approve"], 64, "--parallelism"),
    (["apply", "--parallelism", "-1", "--auto-approve"], 64, "--parallelism"),
    (["apply", "--parallelism", "abc", "--auto-approve"], 64, "--parallelism"),
    (["apply", "--parallelism", "1000000000", "--auto-approve"], 64, "--parallelism"),
    (["apply", "--lock-timeout", "abc", "--auto-approve"], 64, "--lock-timeout"),
    (["apply", "--lock-timeout", "-1", "--auto-approve"], 64, "--lock-timeout"),
    (["apply", "--timeout", "5", "--auto-approve"], 64, "--timeout"),
    (["apply", "--auto-approve", "--approved", "x"], 64, "exclude each other"),
    (["apply", "plan.json", "--auto-approve"], 64, "exclude each other"),
    (["apply", "plan.json", "--select", "train"], 64, "--select shapes a new plan, and PLAN is applied as it was saved"),
    (["apply", "plan.json", "--allow-cancel", "train"], 64, "--allow-cancel shapes a new plan"),
    (["apply", "plan.json"], 3, "jobform plan --out"),
    (["apply", "train"], 3, "--select train"),
    (["apply", "."], 3, "cannot be read"),
    (["apply", "jobform.yaml"], 6, "plan"),
    (["apply", "--approved", "abc"], 6, "approved"),
    (["plan", "--out", "."], 64, "not a regular file"),
    (["plan", "--out", "/dev/full"], 64, "not a regular file"),
    (["plan", "--out", "no/such/dir.json"], 64, "directory"),
    (["-C", "nowhere", "plan"], 64, "does not exist"),
    (["-C", "jobform.yaml", "plan"], 64, "is not a directory"),
    (["plan", "-C", "jobs"], 3, "jobform init"),
    (["cancel"], 64, "SELECTOR"),
    (["logs"], 64, "ADDRESS"),
    (["logs", "train", "--tail", "-1"], 64, "--tail"),
    (["show", "nothing"], 3, "state list"),
    (["plan", "--select", "\x1b[2J"], 64, "\\x1b[2J"),
    (["\x1b[2J"], 64, "\\x1b[2J"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISTAKES, ids=[repr(" ".join(case[0])) for case in MISTAKES])
def test_a_mistake(arguments: list[str], code: int, said: str, cli: Cli, make: Make) -> None:
    directory = make({"train": job("true")}, variables={"size": {"type": "number", "default": 1}})
    before = sorted(directory.rglob("*"))
    done = cli(*arguments, cwd=directory)
    assert done.exit == code, done
    assert said in done.stderr, done
    assert "Traceback" not in done.stderr and "fault in jobform" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
    assert [path for path in sorted(directory.rglob("*")) if path not in before and ".lock" not in path.name] == []


def test_a_state_that_cannot_be_read(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    (directory / "jobform.state.json").write_text("{")
    for command in (("plan",), ("apply", "--auto-approve"), ("status",), ("advance",), ("state", "list"), ("logs", "a")):
        assert cli(*command, cwd=directory).exit == 5, command


def test_the_order_of_exit_codes(cli: Cli, make: Make, tmp_path: Path) -> None:
    """7 before 8 before 9: the first that holds is told."""
    both = make({"bad": job("exit 1"), "after": job("true", needs=["bad"])})
    assert cli("apply", "--auto-approve", cwd=both).exit == 7
    go = tmp_path / "go"
    late = make({"bad": job("exit 1"), "long": sleeper(go)}, name="late")
    assert cli("apply", "--auto-approve", "--detach", cwd=late).exit == 0
    until(lambda: "failed" in cli("status", "bad", cwd=late).stdout, "the job fails")
    assert cli("wait", "--timeout", "0", cwd=late).exit == 8
    assert cli("wait", "--timeout", "0", cwd=late).exit == 9
    go.touch()


def test_a_plan_file_is_private_and_whole(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true")})
    (directory / "p.json").write_text("old")
    assert cli("plan", "--out", "p.json", cwd=directory).exit == 0
    assert (directory / "p.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in directory.glob(".p.json*")] == []
    assert cli("apply", "p.json", cwd=directory).exit == 0
    again = cli("apply", "p.json", cwd=directory)
    assert again.exit == 6
    assert "new plan" in again.stderr


def test_init(cli: Cli, tmp_path: Path) -> None:
    assert cli("init", "-C", "new/one", cwd=tmp_path).exit == 0
    directory = tmp_path / "new" / "one"
    assert cli("plan", "--detailed-exitcode", cwd=directory).exit == 2
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    assert cli("logs", "hello", cwd=directory).stdout == "hello from jobform\n"
    before = (directory / "jobform.yaml").read_bytes()
    assert cli("init", cwd=directory).exit == 0
    assert (directory / "jobform.yaml").read_bytes() == before
    (tmp_path / "file").write_text("")
    assert cli("init", "-C", "file/below", cwd=tmp_path).exit == 3
    for name in ("Bad Name", "a: b", "x\ny", ""):
        refused = cli("init", "-C", "named", "--name", name, cwd=tmp_path)
        assert "Traceback" not in refused.stderr and "fault" not in refused.stderr, refused
        assert refused.exit in (0, 3, 64), refused
        assert not (tmp_path / "named" / "jobform.yaml").exists() or refused.exit == 0


def test_init_keeps_comments_when_it_pins(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true")})
    (directory / "jobform.yaml").write_text("# ours\njobform: 1\nproject: test  # its name\nbackends: {here: {type: local}}\n")
    assert cli("init", cwd=directory).exit == 0
    text = (directory / "jobform.yaml").read_text()
    assert "# ours" in text and "# its name" in text
    lineage = cli("state", "pull", cwd=directory).json["lineage"]
    assert f"lineage: {lineage}" in text
    (directory / "jobform.state.json").unlink()
    assert cli("plan", cwd=directory).exit == 5
