"""`jobform sandbox` as a command: what it runs, how it ends, and that nothing is left of it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobform.sandbox.host import Sandbox
from tests.conftest import Jobform
from tests.sandbox.kit import HANG
from tests.sandbox.test_process import assert_ends, wait_for
from tests.support import project

JOB: dict[str, Any] = {"backend": "fw", "spec": {"node_pool_id": "pool", "command": ["true"]}}
URL = "FIREWORKS_BASE_URL"


@pytest.fixture(autouse=True)
def path(bin_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that the sandbox runs find `jobform`."""
    monkeypatch.setenv("PATH", f"{bin_directory}:{os.environ['PATH']}")


def make(directory: Path, **jobs: Any) -> Path:
    return project(directory, jobs or {"train": JOB}, {"fw": {"type": "fireworks"}})


@contextmanager
def started(bin_directory: Path, *arguments: str, cwd: Path, before: Sequence[str] = ()) -> Iterator["subprocess.Popen[str]"]:
    """The command while it runs, in a process group of its own, as a terminal would start it."""
    known = signal.signal(signal.SIGINT, signal.default_int_handler)  # a script ignores it for what it starts in the background
    try:
        process = subprocess.Popen(
            [*before, str(bin_directory / "jobform"), "sandbox", *arguments], cwd=cwd, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, process_group=0,
        )
    finally:
        signal.signal(signal.SIGINT, known)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def closed(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as one:
        return one.connect_ex((parts.hostname or "", parts.port or 0)) != 0


def test_the_users_own_account_at_aws_is_left_out(jobform: Jobform, tmp_path: Path) -> None:
    """A session's token would be sent with the sandbox's keys, and a profile or a region would count instead of them."""
    spec = {"image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4", "device_config": {"device": "local:x/y"},
            "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
            "output_data_config": {"s3_path": "s3://acme/jobs"}, "role_arn": "arn:aws:iam::123456789012:role/x"}
    project(tmp_path, {"vqe": {"backend": "qpu", "spec": spec}}, {"qpu": {"type": "braket"}})
    own = {"AWS_PROFILE": "nobody", "AWS_SESSION_TOKEN": "canary", "AWS_REGION": "eu-west-2", "BRAKET_ENDPOINT": "https://x"}
    ready = (
        "import os, socket, urllib.parse; url = urllib.parse.urlsplit(os.environ['AWS_ENDPOINT_URL_STS'])\n"
        "with socket.create_connection((url.hostname, url.port)) as one: one.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); one.recv(1)"
    )  # to load it may take longer than a call may
    script = f'env; python3 -c "{ready}"; jobform init && jobform plan'
    result = jobform("sandbox", "--", "sh", "-c", script, env={**own, "KEPT": "yes"})
    assert result.returncode == 0, result
    assert "Plan: 1 to create" in result.stdout
    found = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    assert found["KEPT"] == "yes"
    assert found["AWS_ACCESS_KEY_ID"] == "sandbox"
    assert {name: found.get(name, "") for name in own} == dict.fromkeys(own, "")


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
def test_its_exit_code_is_the_commands(jobform: Jobform, script: str, code: int) -> None:
    assert jobform("sandbox", "--", "sh", "-c", script).returncode == code


def test_options_of_the_command_are_its_own(jobform: Jobform) -> None:
    done = jobform("sandbox", "--speed", "5", "--", "sh", "-c", 'echo "$@"', "sh", "--speed", "x", "--help", "--", "-h")
    assert (done.returncode, done.stdout) == (0, "--speed x --help -- -h\n"), done


def test_variables_of_the_sandbox_win(jobform: Jobform) -> None:
    """Whatever account somebody has, its credentials do not meet the sandbox, nor the sandbox's that account."""
    done = jobform("sandbox", "--", "env", env={"FIREWORKS_API_KEY": "canary", URL: "https://canary.example", "MINE": "1"})
    assert "canary" not in done.stdout
    assert "MINE=1\n" in done.stdout
    assert re.search(rf"^{URL}=http://127\.0\.0\.1:\d+$", done.stdout, re.MULTILINE)


def test_what_is_no_command(jobform: Jobform) -> None:
    done = jobform("sandbox", "--", "no-such-program")
    assert done.returncode == 64
    assert "no-such-program" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "code", "word"), [
    (["--fault", "status=503 when=now"], 64, "when=now"), (["--fault", "path=( drop=after"], 64, "regular expression"),
    (["--speed", "0"], 64, "--speed"),
    (["--speed", "nan"], 64, "--speed"), (["--jobs-run", "remote"], 64, "local"), (["--ledger", "no/such/dir"], 3, "no/such/dir"),
])
def test_options_that_are_wrong(jobform: Jobform, arguments: list[str], code: int, word: str) -> None:
    done = jobform("sandbox", *arguments, "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (code, ""), done
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(("script", "code"), [("exit 0", 1), ("exit 5", 5)])
def test_a_ledger_that_cannot_be_written_is_told(jobform: Jobform, tmp_path: Path, script: str, code: int) -> None:
    """It stops nothing: what it was to tell of has happened."""
    directory = make(tmp_path / "p")
    work = f"jobform apply --auto-approve >&2; {script}"
    done = jobform("sandbox", "--speed", "50", "--ledger", "/dev/full", "--", "sh", "-c", work, cwd=directory)
    assert done.returncode == code, done
    assert "1 succeeded" in done.stderr
    assert "Error: /dev/full lacks entries: No space left on device" in done.stderr
    assert "fault in jobform" not in done.stderr


def test_variables_that_a_shell_can_take(bin_directory: Path, tmp_path: Path) -> None:
    with started(bin_directory, cwd=tmp_path) as process:
        assert process.stdout is not None
        lines: list[str] = []
        with Sandbox() as every:
            expected = len(every.variables)
        while len(lines) < expected:
            lines.append(process.stdout.readline())
        assert all(re.fullmatch(r"export [A-Z][A-Z0-9_]*=\S+\n", line) for line in lines), lines
        shown = subprocess.run(["sh", "-c", f"{''.join(lines)}\necho ${URL}"], capture_output=True, text=True, check=True).stdout
        assert not closed(shown.strip())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=HANG)
        assert (process.returncode, out) == (0, "")
        assert "until ^C" in err
        with pytest.raises(ProcessLookupError):  # not by its ports: they may be somebody else's by now
            os.killpg(process.pid, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_when_it_is_asked_to(bin_directory: Path, tmp_path: Path, number: int) -> None:
    with started(bin_directory, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(HANG) == 0


def test_it_ends_when_it_is_asked_to_before_it_waits(
    bin_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request comes as soon as a handler is there, while the others are being set."""
    (tmp_path / "sitecustomize.py").write_text("""
import os, signal, sys
set_handler = signal.signal
def disturbed(number, handler):
    before = set_handler(number, handler)
    if number == signal.SIGTERM and getattr(handler, "__name__", "") == "_nothing":
        os.kill(os.getpid(), number)
        print("asked", file=sys.stderr)
    return before
signal.signal = disturbed
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with started(bin_directory, cwd=tmp_path) as process:
        _, err = process.communicate(timeout=HANG)
    assert (process.returncode, err.splitlines()[:1]) == (0, ["asked"])


def test_an_interrupt_at_the_terminal_is_the_commands_to_answer(bin_directory: Path, tmp_path: Path) -> None:
    script = f"trap 'sleep 0.2; echo saved; exit 130' INT; echo $$ > {tmp_path}/up; while :; do sleep 0.01; done"
    with started(bin_directory, "--", "sh", "-c", script, cwd=tmp_path) as process:
        wait_for(tmp_path / "up")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=HANG)
    assert (process.returncode, out) == (130, "saved\n")
    assert "Traceback" not in err


def test_a_request_to_end_reaches_the_command(bin_directory: Path, tmp_path: Path) -> None:
    script = f"trap 'echo saved; exit 143' TERM; echo $$ > {tmp_path}/up; while :; do sleep 0.01; done"
    with started(bin_directory, "--", "sh", "-c", script, cwd=tmp_path) as process:
        wait_for(tmp_path / "up")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=HANG)
    assert (process.returncode, out.splitlines()[-1]) == (143, "saved")


def test_a_request_to_end_reaches_a_command_that_has_just_been_started(
    bin_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request is the command's own first step, and the sandbox's process gets no processor until long after that."""
    (tmp_path / "sitecustomize.py").write_text("""
import subprocess, time
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        time.sleep(0.5)
subprocess.Popen = Popen
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = "trap 'echo saved; exit 143' TERM; kill -TERM $PPID; while :; do sleep 0.01; done"
    with started(bin_directory, "--", "sh", "-c", script, cwd=tmp_path) as process:
        out, _ = process.communicate(timeout=HANG)
    assert (process.returncode, out.splitlines()[-1:]) == (143, ["saved"])


def test_a_hang_up_that_is_ignored_is_ignored_by_the_command_too(bin_directory: Path, tmp_path: Path) -> None:
    script = "kill -HUP $$; kill -HUP $PPID; echo here"
    with started(bin_directory, "--", "sh", "-c", script, cwd=tmp_path, before=["nohup"]) as process:
        out, _ = process.communicate(timeout=HANG)
    assert (process.returncode, out.splitlines()[-1:]) == (0, ["here"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_stops_leaves_no_job_running(tmp_path: Path, number: int) -> None:
    """As of somebody who asks twice: the command is over, and the servers are about to stop."""
    spec = {"node_pool_id": "pool", "command": ["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 1000"]}
    directory = make(tmp_path / "p", train={"backend": "fw", "spec": spec})
    code = f"""
import os, signal, sys, time
from jobform.cli import main
from jobform.sandbox import serve
stop = serve.Server.stop
def disturbed(self):
    os.kill(os.getpid(), {int(number)})
    time.sleep(0.05)
    stop(self)
serve.Server.stop = disturbed
sys.exit(main(sys.argv[1:]))
"""
    script = f"jobform apply --auto-approve --detach && while ! test -s {tmp_path}/pid; do sleep 0.01; done"
    command = [sys.executable, "-c", code, "sandbox", "--jobs-run", "local", "--", "sh", "-c", script]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    assert_ends(int((tmp_path / "pid").read_text()))


def test_local_jobs_really_run_and_end_with_the_sandbox(jobform: Jobform, tmp_path: Path) -> None:
    spec = {"node_pool_id": "pool", "env": {"WHO": "you", "TOLD": f"{tmp_path}/told"}}
    failing = {"backend": "fw", "spec": {**spec, "command": ["sh", "-c", "echo hello $WHO; echo x > $TOLD; exit 7"]}}
    inside = f"pwd > {tmp_path}/where; echo $$ > {tmp_path}/pid; sleep 1000"
    endless = {"backend": "fw", "spec": {**spec, "command": ["sh", "-c", inside]}}
    directory = make(tmp_path / "p", failing=failing, endless=endless)
    script = (
        "jobform apply --auto-approve --detach; "
        f"while ! test -s {tmp_path}/pid || ! grep -q failed {tmp_path}/calls; do sleep 0.05; done && "
        f"test -s {tmp_path}/told && test -d $(cat {tmp_path}/where) && jobform logs failing"
    )
    done = jobform("sandbox", "--jobs-run", "local", "--ledger", str(tmp_path / "calls"), "--", "sh", "-c", script, cwd=directory)
    assert done.returncode == 0, done
    assert "hello you" in done.stdout, done
    entries = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    states = [each["state"] for each in entries if each["event"] == "state"]
    assert "failed" in states
    assert_ends(int((tmp_path / "pid").read_text()))
    assert not Path((tmp_path / "where").read_text().strip()).exists()


def test_without_the_option_jobs_only_seem_to_run(jobform: Jobform, tmp_path: Path) -> None:
    spec = {"node_pool_id": "pool", "command": ["touch", str(tmp_path / "ran")], "env": {"SANDBOX_EXIT": "1"}}
    directory = make(tmp_path / "p", train={"backend": "fw", "spec": spec})
    done = jobform("sandbox", "--speed", "50", "--", "jobform", "apply", "--auto-approve", cwd=directory)
    assert done.returncode == 8, done
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("rule", "code", "posts"), [
    ("method=POST status=429", 0, 2), ("method=POST drop=before", 7, 1), ("method=POST status=400 skip=1", 0, 1),
])
def test_faults_and_ledger(jobform: Jobform, tmp_path: Path, rule: str, code: int, posts: int) -> None:
    directory = make(tmp_path / "p")
    arguments = ["--speed", "50", "--fault", f"service=fireworks {rule}", "--ledger", "../calls"]
    done = jobform("sandbox", *arguments, "--", "jobform", "apply", "--auto-approve", "--detach", cwd=directory)
    assert done.returncode == code, done
    entries = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    requests = [each for each in entries if each["event"] == "request"]
    assert sum(each["method"] == "POST" for each in requests) == posts
    assert sum(each["fault"] is not None for each in requests) == ("skip" not in rule)


def test_speed(jobform: Jobform, tmp_path: Path) -> None:
    slow = {"backend": "fw", "spec": {**JOB["spec"], "env": {"SANDBOX_SECONDS": "300"}}}
    directory = make(tmp_path / "p", train=slow)
    began = time.monotonic()
    done = jobform("sandbox", "--speed", "1000", "--", "jobform", "apply", "--auto-approve", cwd=directory)
    assert done.returncode == 0, done
    assert time.monotonic() - began < 200, "the job takes five minutes"


def test_without_the_extra_there_is_a_hint(jobform: Jobform, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'moto' else find(name, package)\n",
    )
    done = jobform("sandbox", "--", "echo", "ran", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (64, ""), done
    assert "pip install 'jobform[sandbox]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_up_in_well_under_a_second(tmp_path: Path) -> None:
    """What takes long is loaded by whoever needs it. The time of the processor counts, and the best of some tries: the machine
    may be busy.
    """
    code = (
        "import sys, time\nbegan = time.process_time()\nfrom jobform.sandbox.host import Sandbox\n"
        "with Sandbox(): print(time.process_time() - began, 'moto' in sys.modules, 'boto3' in sys.modules)"
    )
    found = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        seconds, *loaded = done.stdout.split()
        assert loaded == ["False", "False"]
        found.append(float(seconds))
    assert min(found) < 0.8
