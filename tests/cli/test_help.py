"""Help, versions, schemas and completion: what a newcomer meets first."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from jobform.cli import COMMANDS
from jobform.cli import cli as group
from jobform.schema import document_names
from tests.cli.conftest import Cli, Make, job
from tests.conftest import Jobform
from tests.support import ROOT


def commands(parent: click.Group = group, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    for name in parent.list_commands(click.Context(parent)):
        command = parent.get_command(click.Context(parent), name)
        assert command is not None
        found[*words, name] = command
        if isinstance(command, click.Group):
            found |= commands(command, (*words, name))
    return found


EVERY = commands()
PLAIN = {words: command for words, command in EVERY.items() if not isinstance(command, click.Group)}
EXAMPLES = [
    (words, match[0].strip())
    for words, command in PLAIN.items()
    for match in re.finditer(r"^  jobform .*$", command.epilog or "", re.MULTILINE)
]
ELSEWHERE = {
    "jobform sandbox --speed 10",  # stays until ^C: sandbox/test_command
    "jobform apply", "jobform destroy",  # ask on a terminal: test_prompts
    "jobform state resolve train --not-submitted", "jobform state resolve train --found ID",
    "jobform state resolve train --ended",  # need a submission whose fate is unknown: test_state_commands
    "jobform import train 8f2c41ab", "jobform import 'train[lr=0.1]' 8f2c41ab --format json",
    "jobform import train 8f2c41ab --accept-differences",  # need a run of that id: test_import
}


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], cli: Cli, tmp_path: Path) -> None:
    done = cli(*words, "--help", cwd=tmp_path)
    assert (done.exit, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: jobform {' '.join(words)}")
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    if words in PLAIN:
        assert "Examples:" in done.stdout, "no example"
    for option in EVERY[words].params:
        assert not isinstance(option, click.Option) or option.help, f"{option.name} has no help"


def test_help_of_all(cli: Cli, tmp_path: Path) -> None:
    done = cli("--help", cwd=tmp_path)
    assert done.exit == 0
    assert all(re.search(rf"^  {name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert "Exit codes:" in done.stdout
    assert cli(cwd=tmp_path).exit == 64 or "Usage" in cli(cwd=tmp_path).stdout


def test_the_table_of_commands_says_what_they_say_themselves() -> None:
    for name, (_, text) in COMMANDS.items():
        first = (EVERY[name,].help or "").split("\n")[0]
        assert text.split()[0].rstrip(",.") == first.split()[0].rstrip(",."), f"{name}: {text!r} and {first!r}"


@pytest.mark.parametrize(("words", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_every_example_works(words: tuple[str, ...], line: str, cli: Cli, make: Make, bin_directory: Path) -> None:
    """In a project that has what the examples name, each example line runs as it stands in the help."""
    command = line.partition("#")[0].strip()
    if command in ELSEWHERE:
        pytest.skip("is tested elsewhere")
    directory = make({
        "prep": job('echo \'{"rows": 3}\' > "$JOBFORM_OUTPUT"'),
        "train": {
            "backend": "here", "needs": ["prep"], "matrix": {"lr": [0.1], "seed": [1, 2] if "seed=2" in command else [1]},
            "spec": {"command": ["sh", "-c", "echo {{ matrix.lr }}"]},
        },
        "report": job("echo done"), "old": job("true"),
    })
    if "train" in command and "[" not in command:
        source = json.loads((directory / "jobs" / "jobs.yaml").read_text())
        source["jobs"]["train"] = job("echo trained; sleep 0.2", needs=["prep"])
        (directory / "jobs" / "jobs.yaml").write_text(json.dumps(source))
    shutil.copytree(ROOT / "examples" / "errors", directory / "examples" / "errors")
    before = words[0] in ("wait", "cancel", "rerun", "logs", "output", "history", "show", "status", "state", "destroy")
    if before:
        assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    if "plan.json" in command and words[0] != "plan":
        assert cli("plan", "--out", "plan.json", cwd=directory).exit == 0
    for name in ("errored.jobform.json", "backup.json"):
        if name in command and ">" not in command:
            (directory / name).write_text(cli("state", "pull", cwd=directory).stdout)
    if "DIGEST" in command:
        command = command.replace("DIGEST", cli("plan", "--format", "json", cwd=directory).json["digest"])
    command = command.replace("sleep 60", "sleep 0.1").replace("--attempt 1 --tail 50", "--attempt 1 --tail 5")
    env = {"PATH": f"{bin_directory}:/usr/bin:/bin", "HOME": str(directory / "home")}
    (directory / "home/.local/share/bash-completion/completions").mkdir(parents=True)
    (directory / "home/.config/fish/completions").mkdir(parents=True)
    shell = f"fpath=({directory}/home)\n{command}"
    done = subprocess.run(["bash", "-c", shell], cwd=directory, env=env | {"XDG_STATE_HOME": str(directory.parent / "state")},
                          capture_output=True, text=True, timeout=300)
    expected = 3 if "examples/errors" in command else 2 if "--detailed-exitcode" in command else 0
    if "advance" in command and "while" not in command:
        expected = 0
    if "--since" in command or "--index" in command:  # of jobs in a cluster: those of a local backend have no such parts
        expected = 1
        assert "has no meaning for a job on a local backend" in done.stderr
    if "--context" in command:
        expected = 64
        assert "no backend of this project has a setting `context`" in done.stderr
    assert done.returncode == expected, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_versions(jobform: Jobform) -> None:
    short = jobform("--version")
    assert (short.returncode, short.stderr) == (0, "")
    assert re.fullmatch(r"jobform \d+\.\d+\.\d+\n", short.stdout)
    assert jobform("-V").stdout == short.stdout
    assert jobform("version").stdout.startswith(short.stdout.strip())
    assert json.loads(jobform("version", "--format", "json").stdout)["jobform"] == short.stdout.split()[1]


def test_schemas(cli: Cli, tmp_path: Path) -> None:
    names = cli("schema", cwd=tmp_path).stdout.split()
    assert set(names) == set(document_names())
    assert {"plan", "status", "diagnostics", "events", "history", "jobs", "project", "local", "state"} <= set(names)
    for name in names:
        assert cli("schema", name, cwd=tmp_path).json["$schema"].startswith("https://json-schema.org/draft/2020-12")
    unknown = cli("schema", "job", cwd=tmp_path)
    assert (unknown.exit, unknown.stdout) == (3, "")
    assert "did you mean 'jobs'" in unknown.stderr


def test_graph(cli: Cli, make: Make) -> None:
    directory = make({"a": job("true"), "b": job("true", needs=["a"])})
    done = cli("graph", cwd=directory)
    assert done.exit == 0
    assert done.stdout.startswith(("graph", "flowchart"))
    assert '"a"' in done.stdout and '"b"' in done.stdout and "-->" in done.stdout


COMPLETED = """
source <(jobform completion bash)
COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); COMPREPLY=()
_jobform_completion jobform
echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(("typed", "completed"), [
    ("jobform st", "status state"), ("jobform plan --detai", "--detailed-exitcode"), ("jobform state li", "list"),
    ("jobform apply --format j", "json"), ("jobform --ch", "--chdir"), ("jobform -C . hist", "history"),
])
def test_bash_completes(typed: str, completed: str, bin_directory: Path, tmp_path: Path) -> None:
    done = subprocess.run(["bash", "-c", COMPLETED % typed], cwd=tmp_path, env={"PATH": f"{bin_directory}:/usr/bin:/bin"},
                          capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (completed, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete(shell: str, jobform: Jobform, bin_directory: Path, tmp_path: Path) -> None:
    """What the script asks of jobform is answered; the script itself is read by the shell where there is one."""
    script = jobform("completion", shell).stdout
    assert f"_JOBFORM_COMPLETE={shell}_complete" in script
    program = shutil.which(shell)
    if program:
        (tmp_path / "script").write_text(script)
        assert subprocess.run([program, "-n", str(tmp_path / "script")]).returncode == 0
    word = "1" if shell == "zsh" else "st"
    asked = jobform(env={"_JOBFORM_COMPLETE": f"{shell}_complete", "COMP_WORDS": "jobform st", "COMP_CWORD": word})
    assert asked.returncode == 0
    assert "status" in asked.stdout and "state" in asked.stdout and "plan" not in asked.stdout


def test_completion_wants_a_shell(cli: Cli, tmp_path: Path) -> None:
    done = cli("completion", "tcsh", cwd=tmp_path)
    assert done.exit == 64
    assert "bash" in done.stderr


def test_help_loads_no_command(tmp_path: Path) -> None:
    own = "('jobform.cli.app', 'jobform.cli.streams')"
    found = f"any(m.startswith('jobform.cli.') and m not in {own} for m in sys.modules)"
    code = f"import sys; from jobform.cli import main; main(['--help']); sys.exit({found})"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True).returncode == 0
