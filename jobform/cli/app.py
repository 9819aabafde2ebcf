"""What every command shares: streams that mask secrets, views, sessions, signals, and how an error becomes an exit code."""

import gc
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from types import FrameType

    from jobform.engine.apply import Stop
    from jobform.model.diagnostic import Diagnostic
    from jobform.protocols import Screen, View
    from jobform.run.runtime import Runtime
    from jobform.run.session import Session, Where


@dataclass(slots=True)
class Context:
    """click's `obj`: made before a command is parsed; `runtime` is None until a command needs the real one."""

    given: "Runtime | None"
    sessions: "list[Session]" = field(default_factory=list)


class App:
    """One command's surroundings. Commands get it from `app()`."""

    def __init__(self, context: Context, format_: str = "human", no_color: bool = False) -> None:
        from jobform.run.runtime import Runtime

        self._context = context
        self.format = format_
        self.no_color = no_color
        self.runtime = context.given or Runtime.system()
        self.out: TextIO = _masked(self.runtime.stdout, self.runtime.environ)
        self.err: TextIO = _masked(self.runtime.stderr, self.runtime.environ)

    @cached_property
    def screen(self) -> "Screen":
        from jobform.views.screen import screen

        return screen(self.out, self.runtime.environ, no_color=self.no_color)

    @cached_property
    def error_screen(self) -> "Screen":
        from jobform.views.screen import screen

        return screen(self.err, self.runtime.environ, no_color=self.no_color)

    @cached_property
    def view(self) -> "View":
        """How results are written: `--format`."""
        return self.runtime.registry.view(self.format, self.screen)

    def session(self, where: "Where") -> "Session":
        """The project; its state is folded and closed when the command ends."""
        from jobform.run.session import Session

        if not where.directory.is_dir():
            what = "is not a directory" if where.directory.exists() else "does not exist"
            raise click.UsageError(f"-C {where.directory}: {what}")
        session = Session(self.runtime, where)
        self._context.sessions.append(session)
        return session

    def print(self, text: str) -> None:
        """Results go to standard output, with a line break at their end."""
        if text:
            self.out.write(text if text.endswith("\n") else text + "\n")
            self.out.flush()

    def tell(self, diagnostics: "Sequence[Diagnostic]") -> None:
        """Findings go to standard error, for people."""
        if diagnostics:
            text = self.runtime.registry.view("human", self.error_screen).diagnostics(diagnostics)
            self.err.write(text if text.endswith("\n") else text + "\n")
            self.err.flush()


def run(group: click.Group, arguments: list[str], runtime: "Runtime | None") -> int:
    """Parse and run; every outcome is an exit code. What is no JobformError and no usage error is a bug."""
    from jobform.model.errors import JobformError

    context = Context(runtime)
    environ = runtime.environ if runtime else os.environ
    gc.disable()  # a command reads much, drops little and ends soon: collecting costs a quarter of a large plan and finds nothing
    try:
        with _closing(context):
            result = group.main(_with_defaults(arguments, environ), "jobform", standalone_mode=False, obj=context)
        return result if isinstance(result, int) else 0
    except JobformError as error:
        App(context).tell(error.diagnostics)
        return error.exit_code
    except click.UsageError as error:
        error.show(App(context).err)
        return 64
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        error.show(App(context).err)
        return 64
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  # the reader left: nothing more can be said on this stream
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  # the last line of defence: a bug becomes one line, the trace is there on request
        return _bug(App(context), error)
    finally:
        gc.enable()


def app(ctx: click.Context, format_: str = "human", no_color: bool = False) -> App:
    """The surroundings of the running command."""
    return App(ctx.obj, format_, no_color)


@contextmanager
def stopping(target: App) -> "Iterator[Stop]":
    """Signals ask for a graceful stop; the second one leaves at once: every intent is durable by then."""
    from jobform.engine.apply import Stop

    stop = Stop()

    def handle(number: int, frame: "FrameType | None") -> None:
        del frame
        code = 143 if number == signal.SIGTERM else 129 if number == signal.SIGHUP else 130
        if stop.requested:
            os.write(2, b"\nStopped at once. What was begun is recorded; run apply or advance to go on.\n")
            os._exit(stop.exit_code)
        stop.ask(143 if code == 129 else code)
        os.write(2, b"\nStopping: calls in flight end, the state is saved, jobs keep running. Again to leave at once.\n")

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        del target


@contextmanager
def _closing(context: Context) -> Iterator[None]:
    """At the end of a command, fold what it recorded into a snapshot."""
    try:
        yield
    finally:
        for session in context.sessions:
            session.close()


def _with_defaults(arguments: list[str], environ: Mapping[str, str]) -> list[str]:
    """JOBFORM_CLI_ARGS for every command and JOBFORM_CLI_ARGS_PLAN for one, put right behind the command's name."""
    index = next((i for i, argument in enumerate(arguments) if not argument.startswith("-") and (i == 0 or arguments[i - 1] not in ("-C", "--chdir"))), None)
    if index is None:
        return arguments
    extra: list[str] = []
    for name in ("JOBFORM_CLI_ARGS", f"JOBFORM_CLI_ARGS_{arguments[index].upper()}"):
        try:
            extra += shlex.split(environ.get(name, ""))
        except ValueError as error:
            raise click.UsageError(f"{name}: {error}") from error
    return [*arguments[: index + 1], *extra, *arguments[index + 1 :]]


def _masked(stream: TextIO, environ: Mapping[str, str]) -> TextIO:
    """The stream itself, or one that blanks every known secret on its way out."""
    if not any(name.startswith("JOBFORM_SECRET_") for name in environ):
        return stream
    from jobform.cli.masking import masked

    return masked(stream, environ)


def _bug(target: App, error: Exception) -> int:
    wanted = target.runtime.environ.get("JOBFORM_LOG", "").lower() in ("debug", "trace")
    if wanted:
        target.err.write("".join(traceback.format_exception(error)))
    hint = "" if wanted else "; JOBFORM_LOG=debug shows where"
    target.err.write(f"Error: this is a fault in jobform: {type(error).__name__}: {error}{hint}\n")
    return 1


