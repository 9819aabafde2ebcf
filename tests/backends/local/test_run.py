"""What a job meets when it runs, and what is known of it afterwards."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.protocols import Found, Gone, LogOptions
from tests.backends.local.world import World, alive, finish, job, make_mark, now, python, reach, shell, until


def test_success_is_final_even_when_the_job_ends_before_anyone_looks(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(job("true"), mark)
    until(lambda: world.proof(mark).exit.exists())
    actual = now(world.open(), ref)
    assert (actual.phase, actual.exit, actual.class_, actual.outputs) == (Phase.SUCCEEDED, 0, None, None)
    assert actual.started_at is not None and actual.ended_at is not None
    assert actual.started_at <= actual.ended_at
    assert actual.ended_at.endswith("Z") and len(actual.ended_at) == len("2026-01-02T03:04:05.000006Z")


@pytest.mark.parametrize(("script", "code", "detail"), [("exit 3", 3, "exit code 3"), ("kill -9 $$", -9, "killed by SIGKILL")])
def test_exit_code_and_signal_are_the_users_error(world: World, script: str, code: int, detail: str) -> None:
    actual = finish(world.open(), shell(script))
    assert (actual.phase, actual.class_, actual.exit, actual.detail) == (Phase.FAILED, "user_error", code, detail)


def test_environment_is_exactly_what_is_documented(world: World) -> None:
    environ = {"LANG": "C.UTF-8", "EDITOR": "vi", "CUDA_HOME": "/cuda", "JOBFORM_SECRET_KEY": "hunter22", "JOBFORM_VAR_x": "1"}
    backend, mark = world.open(environ=environ), make_mark("train[lr=0.1]", 2)
    finish(backend, job(
        "env", "-0", address="train[lr=0.1]", env={"EPOCHS": "3", "HOME": "/elsewhere"},
        inherit_env=["CUDA_HOME", "NOT_SET", "JOBFORM_SECRET_KEY", "JOBFORM_VAR_x"],
    ), mark)
    lines = (world.run_dir(mark) / "stdout.log").read_text().split("\0")
    seen = dict(line.split("=", 1) for line in lines if line)
    assert seen == {
        "PATH": world.environ["PATH"], "HOME": "/elsewhere", "LANG": "C.UTF-8", "CUDA_HOME": "/cuda", "EPOCHS": "3",
        "JOBFORM_ADDRESS": "train[lr=0.1]", "JOBFORM_ATTEMPT": "2", "JOBFORM_NAME": mark.name,
        "JOBFORM_PROJECT_DIR": str(world.project), "JOBFORM_RUN_DIR": str(world.run_dir(mark)),
        "JOBFORM_OUTPUT": str(world.run_dir(mark) / "outputs.json"),
    }


def test_job_inherits_nothing_but_three_files(world: World) -> None:
    """No lock, no socket, no ignored signal, no terminal; a session of its own."""
    mark = make_mark("job")
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        finish(world.open(), shell(
            "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; ps -o sid= -p $$; echo $$;"
            "grep -E 'SigBlk|SigIgn' /proc/self/status"
        ), mark)
    finally:
        os.close(leak)
    files, stdin, session, pid, blocked, ignored = (world.run_dir(mark) / "stdout.log").read_text().split("\n")[:6]
    assert (files, stdin, session.strip()) == ("4", "/dev/null", pid), "the fourth is the directory that ls reads"
    standard = (1 << 31) - 1  # above are the signals that the C library keeps for itself
    assert int(blocked.split()[1], 16) & standard == 0
    assert int(ignored.split()[1], 16) & standard == 0


def test_arguments_and_working_directory(world: World) -> None:
    (world.project / "data").mkdir()
    mark = make_mark("job")
    finish(world.open(), job("sh", "-c", 'pwd; printf "<%s>" "$@"', args=["zero", "a b", "$HOME", "é"], working_dir="data"), mark)
    assert (world.run_dir(mark) / "stdout.log").read_text() == f"{world.project}/data\n<a b><$HOME><é>"


def make_file(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize(("command", "spec", "code", "words"), [
    (["no-such-program"], {}, "ENOENT", "no such program in PATH"),
    (["./missing"], {}, "ENOENT", "./missing"),
    (["./plain"], {}, "EACCES", "not executable"),
    (["./orphan"], {}, "ENOENT", "the interpreter that its first line names"),
    (["./no-line"], {}, "ENOEXEC", "#!/bin/sh"),
    (["."], {}, "EACCES", "'.'"),
    (["true"], {"working_dir": "nowhere"}, "ENOENT", "working directory"),
    (["true"], {"working_dir": "plain"}, "ENOTDIR", "working directory"),
    (["true", "a\0b"], {}, "EINVAL", "null"),
    (["true", "x" * 200_000], {}, "E2BIG", "too long"),
])
def test_what_cannot_be_executed_fails_with_its_errno(
    world: World, command: list[str], spec: dict[str, Any], code: str, words: str,
) -> None:
    make_file(world.project / "plain", "#!/bin/sh\n", 0o644)
    make_file(world.project / "orphan", "#!/no/such/interpreter\n", 0o755)
    make_file(world.project / "no-line", "echo hello\n", 0o755)
    actual = finish(world.open(), job(*command, **spec))
    assert (actual.phase, actual.class_, actual.exit, actual.native_reason) == (Phase.FAILED, "user_error", None, code)
    assert words.lower() in actual.detail.lower()
    assert actual.started_at is None, "nothing of it ever ran"


@pytest.mark.parametrize(("trap", "grace", "code"), [("exit 0", "2m", 0), ("", "200ms", -9)], ids=["obeys", "deaf"])
def test_timeout_tells_then_kills(trap: str, grace: str, code: int, world: World) -> None:
    """`obeys` ends at TERM; `deaf` does not and is killed after the grace; both are timeouts whatever their exit."""
    backend = world.open(kill_grace=grace)
    for number, timeout in enumerate(("300ms", "3s", "30s"), 1):  # a busy machine may take longer to set a trap
        script = f"trap '{trap}' TERM; touch trap-{number}; while :; do sleep 0.02; done"
        ended = finish(backend, shell(script, timeout=timeout), make_mark("job", number))
        assert (ended.phase, ended.class_) == (Phase.FAILED, "timeout")
        if (world.project / f"trap-{number}").exists():
            break
    assert ended.exit == code


def test_what_a_job_leaves_behind_is_ended_before_it_counts_as_ended(world: World) -> None:
    mark = make_mark("job")
    script = (
        "(trap '' TERM; echo $$ > deaf; exec sleep 600) & sleep 600 & echo $! > child;"
        " while [ ! -s deaf ]; do sleep 0.01; done; exit 4"
    )
    actual = finish(world.open(kill_grace="200ms"), shell(script), mark)
    assert actual.exit == 4
    group = world.record(mark, "start.json")["pid"]
    processes = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    assert not [line for line in processes.splitlines() if line.split()[0] == str(group) and line.split()[1][0] != "Z"]
    assert not alive(int((world.project / "child").read_text()))


# --- outputs ---


def test_outputs_are_read_and_the_file_is_taken_away(world: World) -> None:
    mark = make_mark("job")
    actual = finish(world.open(), shell('echo \'{"count": 3, "names": ["a", null], "x": {"y": 1.5}}\' > "$JOBFORM_OUTPUT"'), mark)
    assert actual.outputs == {"count": 3, "names": ["a", None], "x": {"y": 1.5}}
    assert actual.warnings == ()
    assert not (world.run_dir(mark) / "outputs.json").exists()


@pytest.mark.parametrize(("write", "words"), [
    ("'{\"a\": 1'", "delimiter"),
    ("''", "Expecting value"),
    ("'[1]'", "not a JSON object"),
    ("'{\"a\": NaN}'", "NaN is not JSON"),
    ("'{\"a\": -Infinity}'", "-Infinity is not JSON"),
    ("'{\"a\": 1e999}'", "too large a number"),
    ("'{\"a\": 1, \"a\": 2}'", "'a' stands twice"),
    ("'{\"a\": \"\\\\ud800\"}'", "not UTF-8"),
    ("'{\"a\":' + '[' * 3000 + ']' * 3000 + '}'", "deeper"),
    ("'{\"a\":' + '[' * 80 + ']' * 80 + '}'", "deeper"),
    ("'{\"a\": \"' + 'x' * 65536 + '\"}'", "larger than 64 KiB"),
    ("'{\"a\": ' + '9' * 5000 + '}'", "ignored"),
])
def test_bad_outputs_are_a_warning_and_no_outputs(world: World, write: str, words: str) -> None:
    actual = finish(world.open(), python(f"import os; open(os.environ['JOBFORM_OUTPUT'], 'w').write({write})"))
    assert (actual.phase, actual.outputs) == (Phase.SUCCEEDED, None)
    assert len(actual.warnings) == 1
    assert words in actual.warnings[0]


@pytest.mark.parametrize("make", ['mkfifo "$JOBFORM_OUTPUT"', 'ln -s /etc/passwd "$JOBFORM_OUTPUT"', 'mkdir "$JOBFORM_OUTPUT"'])
def test_outputs_that_are_no_plain_file_neither_hang_nor_leak(world: World, make: str) -> None:
    actual = finish(world.open(), shell(make))
    assert (actual.phase, actual.outputs, len(actual.warnings)) == (Phase.SUCCEEDED, None, 1)


# --- secrets ---


SECRET = "s3cr3t/pass+word é"
FORMS = (
    SECRET, json.dumps(SECRET), SECRET.encode().hex(), base64.b64encode(SECRET.encode()).decode(),
    base64.b64encode(b"user:" + SECRET.encode()).decode(),
)


def test_secrets_reach_the_job_and_nothing_that_is_kept(world: World) -> None:
    mark = make_mark("job")
    script = (
        "import base64, json, os, time\n"
        "s = os.environ['TOKEN']\n"
        "print('plain', s, json.dumps(s), s.encode().hex(), base64.b64encode(s.encode()).decode(),"
        " base64.b64encode(b'user:' + s.encode()).decode(), 'end')\n"
        "json.dump({'token': 'Bearer ' + s, s: [s]}, open(os.environ['JOBFORM_OUTPUT'], 'w'))\n"
        "open('go', 'w').close()\n"
        "while not os.path.exists('on'): time.sleep(0.01)\n"
    )
    backend = world.open()
    submission = python(script, env={"TOKEN": SECRET}, masks=(SECRET,))
    submission.described["env"] = {"TOKEN": {"expr": "{{ secret('TOKEN') }}", "with": {}}}
    ref = backend.submit(submission, mark)
    until((world.project / "go").exists)
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert SECRET.encode() not in line.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    for pid in (world.launcher(mark), os.getpid()):
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    (world.project / "on").touch()
    actual = reach(backend, ref)
    assert actual.outputs == {"token": "Bearer ***", "***": ["***"]}
    kept = backend.kept(ref, 65536)
    assert kept.startswith(b"plain *** ") and kept.endswith(b" end\n")
    for path in [*world.home.rglob("*"), world.run_dir(mark) / "job.json"]:
        if path.is_file():
            assert not [form for form in FORMS if form.encode() in path.read_bytes()], path


def test_kept_tail_is_the_end_and_never_half_a_secret(world: World) -> None:
    """The cut at 64 KiB is swept across a secret: whole or blanked, never a part of it."""
    backend, secret = world.open(), "0123456789abcdef"
    for cut in (0, 1, 8, 15, 16):
        mark = make_mark("job", cut + 1)
        ref = backend.submit(python(f"print('{secret}' + 'x' * {65536 - cut - 1}); print('e', end='')", masks=(secret,)), mark)
        reach(backend, ref)
        kept = backend.kept(ref, 1 << 20)
        assert kept.strip(b"*") == b"x" * len(kept.strip(b"*\ne")) + b"\ne"
        assert 65500 < len(kept) <= 65536 + 3


def test_run_files_are_the_users_alone(world: World) -> None:
    mark = make_mark("job")
    finish(world.open(), shell("echo hello"), mark)
    for path in [*world.home.rglob("*"), *(world.project / ".jobform").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


# --- the same run again, references, removal ---


def test_submitting_the_same_mark_again_is_the_same_run(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("echo run >> ledger; sleep 0.2"), mark)
    assert backend.submit(shell("echo other >> ledger"), mark) == ref
    assert reach(backend, ref).phase is Phase.SUCCEEDED
    assert world.open().submit(shell("echo third >> ledger"), mark) == ref
    assert world.open().find([mark]) == {mark: Found(ref, mark.body)}
    assert (world.project / "ledger").read_text() == "run\n"


def test_deleting_a_run_directory_loses_no_outcome(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    script = (
        'echo kept; echo \'{"n": 1}\' > o; while [ ! -e on ]; do sleep 0.01; done;'
        ' mkdir -p "$JOBFORM_RUN_DIR"; cp o "$JOBFORM_OUTPUT"'
    )
    ref = backend.submit(shell(script), mark)
    until((world.project / "o").exists)
    (world.project / ".jobform").rename(world.project / "removed")
    (world.project / "on").touch()
    actual = reach(backend, ref)
    assert (actual.phase, actual.outputs) == (Phase.SUCCEEDED, {"n": 1})
    assert backend.kept(ref, 100) == b"kept\n"
    (world.project / ".jobform").rename(world.project / "removed too")
    assert now(world.open(), ref) == actual
    assert b"".join(backend.logs(ref, LogOptions(follow=True))) == b"kept\n"
    backend.delete(ref)


def test_delete_removes_everything_and_refuses_what_lives(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("exec sleep 600"), mark)
    reach(backend, ref, Phase.RUNNING)
    with pytest.raises(BackendError, match="has not ended"):
        backend.delete(ref)
    backend.cancel(ref, only_if_waiting=False)
    reach(backend, ref)
    backend.delete(ref)
    assert isinstance(backend.read([ref])[ref], Gone)
    assert not world.run_dir(mark).exists()
    assert list((world.home / "runs").iterdir()) == []
    backend.delete(ref)


def test_an_interrupted_delete_is_finished_by_the_next(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(job("true"), mark)
    reach(backend, ref)
    world.proof(mark).directory.rename(world.home / "runs" / f".deleted-{mark.token[:32]}")
    assert isinstance(backend.read([ref])[ref], Gone)
    backend.delete(ref)
    assert list((world.home / "runs").iterdir()) == []


def test_more_gpus_than_there_are_is_refused_before_anything_is_done(world: World) -> None:
    backend, mark = world.open(gpus=[0]), make_mark("job")
    with pytest.raises(BackendError, match="needs 2 GPUs and this backend has 1") as caught:
        backend.submit(job("true", resources={"gpu": {"count": 2}}), mark)
    assert not caught.value.retryable
    assert not world.proof(mark).directory.exists()


def test_a_linked_run_directory_is_refused(world: World, tmp_path: Path) -> None:
    (world.project / ".jobform").symlink_to(tmp_path)
    with pytest.raises(BackendError, match="symbolic link"):
        world.open().submit(job("true"), make_mark("job"))


def test_the_program_that_runs_the_tests_starts_jobs_with_spaces_in_paths(world: World) -> None:
    place = world.project / "a directory"
    place.mkdir()
    (place / "my program").symlink_to(sys.executable)
    assert finish(world.open(), job("./my program", "-c", "pass", working_dir="a directory")).phase is Phase.SUCCEEDED
