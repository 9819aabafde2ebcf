"""`jobform logs`, and which logs are kept beside the state: never one that might hold a secret nobody here knows."""

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobform.backends.local.backend import LocalBackend, LocalType
from jobform.cli import main
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.model.state import Attempt
from jobform.plugins import Registry
from jobform.protocols import Backend, LogOptions, Place, Ref, no_effect
from jobform.run.looking import _LONGEST, log_lines
from jobform.run.runtime import Runtime
from jobform.run.session import Session, Where, log_name
from tests.cli.conftest import Cli, Make, job
from tests.cli.terminal import until
from tests.support import Result

CANARY = "canary-in-the-coal-mines"


class Service(LocalBackend):
    """Processes of this machine behind the face of a service: what it keeps of output is what was printed, as it was printed."""

    blanks_secrets = False

    def kept(self, ref: Ref, limit: int) -> bytes:
        value = ref.value
        assert isinstance(value, dict)
        return (self._place.project / ".jobform/runs" / str(value["name"]) / "stdout.log").read_bytes()[-limit:]


class ServiceType(LocalType):
    def open(self, block: BackendBlock, place: Place) -> Backend:
        backend = super().open(block, place)
        backend.__class__ = Service
        return backend


def kept(directory: Path) -> list[Path]:
    """The logs beside the state."""
    return [path for path in directory.rglob("*.log") if "runs" not in path.parts]


@dataclass
class Shell:
    """Commands of one project in this process, with `ServiceType` as the type `local`."""

    directory: Path
    home: Path

    def runtime(self, env: Mapping[str, str] | None = None) -> Runtime:
        environ = {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(self.home), **(env or {})}
        streams = io.StringIO(), io.StringIO(), io.StringIO()
        return Runtime(SystemClock(), no_effect, environ, Registry({"local": ServiceType()}), *streams)

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
        runtime = self.runtime(env)
        code = main([arguments[0], "-C", str(self.directory), *arguments[1:]], runtime)
        assert isinstance(runtime.stdout, io.StringIO)
        assert isinstance(runtime.stderr, io.StringIO)
        return Result(code, runtime.stdout.getvalue(), runtime.stderr.getvalue())

    def logs(self) -> dict[str, bytes]:
        return {path.name.partition("-")[0]: path.read_bytes() for path in kept(self.directory)}


def printing(**more: object) -> dict[str, object]:
    """Prints its secret plain and in base64."""
    made = job('echo "token $TOKEN"; printf %s "$TOKEN" | base64; echo done')
    return made | {"spec": made["spec"] | {"env": {"TOKEN": "{{ secret('TOKEN') }}"}}, **more}


@pytest.fixture
def shell(make: Make, tmp_path: Path, home: Path) -> Shell:
    del home  # a home of its own for every test
    return Shell(make({"train": printing()}), tmp_path / "state-home")


def test_known_values_are_blanked_in_what_is_kept(shell: Shell) -> None:
    done = shell("apply", "--auto-approve", env={"JOBFORM_SECRET_TOKEN": CANARY})
    assert done.exit == 0, done
    assert shell.logs() == {"train": b"token ***\n***\ndone\n"}


def test_a_step_without_the_value_keeps_nothing_and_says_so(shell: Shell) -> None:
    """The outcome is recorded all the same."""
    assert shell("apply", "--auto-approve", "--detach", env={"JOBFORM_SECRET_TOKEN": CANARY}).exit == 0
    done = shell("wait")
    assert done.exit == 0, done
    assert "the log of attempt 1 could not be kept: JOBFORM_SECRET_TOKEN is not set" in done.stderr
    assert shell.logs() == {}
    status = json.loads(shell("status", "--format", "json").stdout)
    assert status["jobs"][0]["phase"] == "succeeded"


def test_a_value_that_cannot_be_used_is_not_known(shell: Shell) -> None:
    assert shell("apply", "--auto-approve", "--detach", env={"JOBFORM_SECRET_TOKEN": CANARY}).exit == 0
    done = shell("wait", env={"JOBFORM_SECRET_TOKEN_FILE": "/nonexistent"})
    assert done.exit == 0, done
    assert "JOBFORM_SECRET_TOKEN is not set" in done.stderr
    assert shell.logs() == {}


def test_launchers_know_their_secrets(cli: Cli, make: Make) -> None:
    """Of a real local backend a log is kept by a step that lacks the value, blanked."""
    directory = make({"train": printing()})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory, env={"JOBFORM_SECRET_TOKEN": CANARY}).exit == 0
    assert cli("wait", cwd=directory).exit == 0
    [log] = kept(directory)
    assert log.read_bytes() == b"token ***\n***\ndone\n"


def test_the_last_words_of_a_stopped_run_are_kept(cli: Cli, make: Make) -> None:
    """What was kept right before the stop, when a cluster would remove the log with it, gives way to what came after."""
    directory = make({"train": job("trap 'echo last; exit 1' TERM; echo first; while :; do sleep 0.1; done")})
    assert cli("apply", "--auto-approve", "--detach", cwd=directory).exit == 0
    until(lambda: any(b"first" in log.read_bytes() for log in directory.rglob("stdout.log")), "the job prints")
    assert cli("cancel", "train", cwd=directory).exit in (0, 8)
    cli("wait", cwd=directory)
    [log] = kept(directory)
    assert log.read_bytes().startswith(b"first\nlast\n")


def test_logs_are_kept_from_many_threads_at_once(shell: Shell) -> None:
    jobs = {f"job{n}": job(f"echo {n}") for n in range(24)}
    (shell.directory / "jobs" / "jobs.yaml").write_text(json.dumps({"jobs": jobs}))
    assert shell("apply", "--auto-approve").exit == 0
    expected = {f"job{n}": f"{n}\n".encode() for n in range(24)}
    assert shell.logs() == expected
    for path in kept(shell.directory):
        path.unlink()
    session = Session(shell.runtime(), Where(shell.directory))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: session.keep_log(f"job{n % 24}", 1), range(96)))
    assert shell.logs() == expected
    assert session.unkept == {}


def test_a_log_that_cannot_be_stored_is_a_warning(shell: Shell) -> None:
    assert shell("apply", "--auto-approve", env={"JOBFORM_SECRET_TOKEN": CANARY}).exit == 0
    [log] = kept(shell.directory)
    shutil.rmtree(log.parent)
    log.parent.write_text("no folder")
    session = Session(shell.runtime({"JOBFORM_SECRET_TOKEN": CANARY}), Where(shell.directory))
    session.keep_log("train", 1)
    [warning] = session.unkept.values()
    assert "could not be kept" in warning.summary


def test_attempts_of_one_name_keep_a_log_each(shell: Shell) -> None:
    """A manifest's own name is that of every attempt."""
    def attempt(n: int) -> Attempt:
        return Attempt(
            n=n, token=str(n) * 64, name="n" * 253, mark="m", backend="here", scope="s", generation=1, fingerprint="f", rules="1",
            spec="s", body_hash="b", run="r", begun_at="2026-01-02T11:00:00.000000Z", submitted_at="2026-01-02T11:00:01.000000Z",
        )

    session = Session(shell.runtime(), Where(shell.directory))
    for n in (1, 2):
        session.store.keep(log_name(attempt(n)), str(n).encode())
    assert [session.store.kept(log_name(attempt(n))) for n in (1, 2)] == [b"1", b"2"]


class Broken(Service):
    """A plug-in with a bug."""

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        yield b"first\n"
        raise KeyError("stream")

    def kept(self, ref: Ref, limit: int) -> bytes:
        raise ZeroDivisionError("by nobody")


class BrokenFromTheStart(Broken):
    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        raise KeyError("stream")


@pytest.mark.parametrize(("kind", "shown", "said"), [
    (Broken, "first\n", "the log could not be read on: KeyError: 'stream'"), (BrokenFromTheStart, "", "KeyError: 'stream'"),
])
def test_a_fault_of_a_plug_in_loses_no_outcome(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, kind: type[Service], shown: str, said: str,
) -> None:
    monkeypatch.setattr("tests.cli.test_logs.Service", kind)
    done = shell("apply", "--auto-approve", env={"JOBFORM_SECRET_TOKEN": CANARY})
    assert done.exit == 0, done
    assert "the log of attempt 1 could not be kept: ZeroDivisionError: by nobody" in done.stderr
    assert "fault in the backend's plug-in" in done.stderr
    assert json.loads(shell("status", "--format", "json").stdout)["jobs"][0]["phase"] == "succeeded"
    logs = shell("logs", "train")
    assert (logs.exit, logs.stdout) == (1, shown)
    assert said in logs.stderr and "fault in the backend's plug-in" in logs.stderr
    assert "fault in jobform" not in logs.stderr


# --- what is shown ---


@pytest.mark.parametrize(("options", "words"), [
    (("--index", "0"), "--index has no meaning"), (("--container", "main"), "--container has no meaning"),
    (("--previous",), "--previous has no meaning"), (("--since", "10m"), "--since has no meaning"),
])
def test_what_a_local_run_does_not_have_is_refused(cli: Cli, make: Make, options: tuple[str, ...], words: str) -> None:
    directory = make({"train": job("echo out")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    done = cli("logs", "train", *options, cwd=directory)
    assert (done.exit, done.stdout) == (1, "")
    assert words in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error")]) == 1


@pytest.mark.parametrize("options", [
    ("-f", "--previous"), ("--since", "soon"), ("--index", "-1"), ("--tail", "x"), ("--since", "-5m"), ("--container",),
])
def test_usage_errors(cli: Cli, make: Make, options: tuple[str, ...]) -> None:
    assert cli("logs", "train", *options, cwd=make({"train": job("true")})).exit == 64


def test_what_was_kept_is_shown_when_nothing_else_is_left(cli: Cli, make: Make, home: Path) -> None:
    directory = make({"train": job("for i in 1 2 3; do echo line $i; done")})
    assert cli("apply", "--auto-approve", cwd=directory).exit == 0
    assert cli("logs", "train", cwd=directory).stderr == ""
    shutil.rmtree(directory / ".jobform" / "runs")
    for proof in home.rglob("tail"):
        proof.unlink()
    done = cli("logs", "train", cwd=directory)
    assert (done.exit, done.stdout) == (0, "line 1\nline 2\nline 3\n")
    assert done.stderr == "what follows is what was kept of attempt 1: the end of its output\n"
    assert cli("logs", "train", "--tail", "1", cwd=directory).stdout == "line 3\n"
    assert cli("logs", "train", "-f", cwd=directory).stdout == "line 1\nline 2\nline 3\n"
    assert cli("logs", "train", "--since", "10m", cwd=directory).exit == 1


class Endless(LocalBackend):
    """Prints one line that never ends, with a secret in it again and again."""

    def logs(self, ref: Ref, options: LogOptions) -> object:  # type: ignore[override]  # a generator of bytes
        del ref
        options.tell("it \x1b[31m waits")
        for _ in range(40):
            yield (CANARY.encode() + b"." * 7) * 5000
        raise BackendError("the line broke", "far away")


def test_a_line_without_end_is_shown_in_parts_that_tear_no_secret(shell: Shell) -> None:
    secret = {"JOBFORM_SECRET_TOKEN": CANARY}
    assert shell("apply", "--auto-approve", env=secret).exit == 0
    session = Session(shell.runtime(secret), Where(shell.directory))
    session.places.backend("here").__class__ = Endless
    told: list[str] = []
    shown = []
    with pytest.raises(Exception, match="the log could not be read on: the line broke"):
        for line in log_lines(session, "train", None, LogOptions(tell=told.append)):
            shown.append(line)
            assert len(line) < 2 * _LONGEST
    assert len(shown) > 3
    assert set("".join(shown)) == {"*", "."}
    assert told == ["it \x1b[31m waits"], "escapes are the command line's business"
