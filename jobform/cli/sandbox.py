"""sandbox: servers of the remote services on this machine, for one command or until ^C."""

import math
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from jobform.cli.app import App, app
from jobform.model.errors import InputError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(epilog="""\b
Examples:
  jobform sandbox -- jobform apply --auto-approve          # one command against the sandbox
  jobform sandbox --speed 10                               # until ^C; prints the `export` lines
  jobform sandbox --fault 'service=otoy method=POST drop=after' -- jobform apply --auto-approve
  jobform sandbox --jobs-run local --ledger calls.jsonl -- jobform apply --auto-approve

\b
A fault is words: where (service=, method=, path=, both as regular expressions; skip=, times=)
and what (status=N [applied=yes] [retry_after=S], drop=before|after, half=yes, html=yes, delay=S).
Jobs take a second or two. One that has variables says how it goes by them:
SANDBOX_QUEUED and SANDBOX_SECONDS (inf: for ever), SANDBOX_EXIT, SANDBOX_LOG.
""")
@click.option("--speed", type=click.FloatRange(0.001, 10000), default=1.0, show_default=True, help="How much faster time goes.")
@click.option("--fault", "faults", metavar="RULE", multiple=True, help="What goes wrong; may be given several times.")
@click.option("--ledger", type=click.Path(dir_okay=False, path_type=Path), help="Append every request and change of state.")
@click.option("--jobs-run", type=click.Choice(["simulated", "local"]), default="simulated", show_default=True,
              help="local: run a job's command as a process here, where the job has one.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sandbox(
    ctx: click.Context, /, speed: float, faults: tuple[str, ...], ledger: Path | None, jobs_run: str, command: tuple[str, ...],
) -> int:
    """Start servers of all remote services on free ports of this machine.

    With a command: run it with the variables set by which backends find them, and stop with its exit code. Without one: stay,
    and print the variables. Nothing leaves this machine; every job is gone when the servers stop.
    """
    target = app(ctx)
    if math.isnan(speed):
        raise click.BadParameter("it is no number", param_hint="--speed")
    try:
        from jobform.sandbox.faults import Fault
        from jobform.sandbox.host import Sandbox

        rules = tuple(Fault.parse(text) for text in faults)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from error
    try:
        started = Sandbox(speed=speed, faults=rules, ledger=ledger, run_locally=jobs_run == "local")
    except OSError as error:
        raise InputError.of("unwritable", f"{ledger} cannot be written: {error.strerror}") from error
    code = 0
    with _signals_kept(), started as running:
        if command:
            code = _run(target, command, running.variables)
        else:
            with _stopping() as wait:
                for name, value in running.variables.items():
                    target.print(f"export {name}={shlex.quote(value)}")
                target.say("The servers run until ^C.\n")
                wait()
    if started.ledger.lost:
        target.say(f"Error: {ledger} lacks entries: {started.ledger.lost}\n")
    return code or int(bool(started.ledger.lost))


def _nothing(_number: int, _frame: object) -> None:
    """What a signal does while the servers stop: they do that anyhow, and what they started must be ended to the last."""


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Whatever is done with signals inside, it is over when the servers have stopped."""
    known = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)


def _run(target: App, command: tuple[str, ...], variables: dict[str, str]) -> int:
    """The command's exit code; 128 + n when a signal ended it. Signals from the terminal reach it by themselves."""
    with _passing_on() as passed_to:
        try:
            process = subprocess.Popen(command, env=_environ(target.runtime.environ, variables))  # noqa: S603  # it is the user's
        except OSError as error:
            raise click.UsageError(f"{command[0]}: {error.strerror}") from error
        passed_to(process)
        while True:
            try:
                code = process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                continue  # a handler runs when this thread goes on: at once mostly, now if its signal came just before the wait
    return code if code >= 0 else 128 - code


def _environ(own: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """The command's environment, without the user's own account at AWS: the sandbox's keys would not be the ones that count."""
    return {name: value for name, value in own.items() if not name.startswith(("AWS_", "BRAKET_"))} | dict(variables)


@contextmanager
def _passing_on() -> Iterator[Callable[["subprocess.Popen[bytes]"], None]]:
    """While the command runs ^C is the command's to answer; TERM and HUP are passed on to it.

    Yields what is called with the command's process. A signal that comes while the process is being started is passed on then:
    were the handlers set only afterwards, that signal would end the servers and leave the command running without them. One that
    is ignored, as under nohup, stays so, in the command too.
    """
    early: list[int] = []
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    def passed_to(process: "subprocess.Popen[bytes]") -> None:
        started.append(process)
        for number in early:
            process.send_signal(number)

    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, _nothing if number is signal.SIGINT else pass_on)
    try:
        yield passed_to
    finally:
        for number in heard:
            signal.signal(number, _nothing)


@contextmanager
def _stopping() -> Iterator[Callable[[], bytes]]:
    """A function that returns after ^C, TERM or HUP, also when that came before it was called.

    The signal itself writes into a pipe. A handler in Python would run only when the main thread goes on, which a signal that
    comes right before it begins to wait does not make it do; and it may interrupt the thread while that holds an event's lock.
    """
    waiting, asked = os.pipe()
    os.set_blocking(asked, False)
    before = signal.set_wakeup_fd(asked)  # first: a signal that has its handler and no pipe yet would be answered by nobody
    for number in _SIGNALS:
        signal.signal(number, _nothing)
    try:
        yield lambda: os.read(waiting, 1)
    finally:
        signal.set_wakeup_fd(before)
        os.close(waiting)
        os.close(asked)
