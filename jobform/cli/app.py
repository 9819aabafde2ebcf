"""What every command shares: its streams, views, sessions, and how an error becomes an exit code."""

import io
import os
import shlex
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import click

from jobform.cli.streams import Mask, Output, OutputLostError, as_text, give_up, go_on

if TYPE_CHECKING:
    from jobform.model.diagnostic import Diagnostic
    from jobform.model.errors import JobformError
    from jobform.protocols import Screen, View
    from jobform.run.runtime import Runtime
    from jobform.run.session import Session, Where


class Interrupted(BaseException):
    """A signal came while nothing had been begun. As KeyboardInterrupt it is no error. exit_code: 130 or 143."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


@dataclass(slots=True)
class Context:
    """click's `obj`: made before a command is parsed. given: None until a command needs the real runtime.

    alone: whether this process does nothing after the command. document: whether standard output is to be one JSON document.
    """

    given: "Runtime | None"
    alone: bool = False
    document: bool = False
    sessions: "list[Session]" = field(default_factory=list)
    streams: "tuple[Output, Output] | None" = None

    def close(self) -> None:
        """Fold what was recorded into a snapshot; quiet when nothing was, or when it is done already."""
        for session in self.sessions:
            session.close()


class App:
    """One command's surroundings. Commands get it from `app()`."""

    def __init__(self, context: Context, format_: str = "human", no_color: bool = False) -> None:
        from jobform.run.runtime import Runtime

        self._context = context
        context.document = format_ == "json"
        self.format = format_
        self.no_color = no_color
        context.given = self.runtime = context.given or Runtime.system()
        self.mask = Mask(self.runtime.environ, self._sensitive)
        if context.streams is None:
            context.streams = Output(self.runtime.stdout, self.mask, give_up), Output(self.runtime.stderr, self.mask, go_on)
        self.alone = context.alone
        self.stdout = context.streams[0]
        self.out: TextIO = as_text(context.streams[0])
        self.err: TextIO = as_text(context.streams[1])

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
        session = Session(self.runtime, where, lambda held: self.say(f"Waiting for the lock: {held}\n"))
        self._context.sessions.append(session)
        return session

    def streams_events(self) -> None:
        """Standard output is JSON Lines, not one document."""
        self._context.document = False

    def close(self) -> None:
        """Fold what this command recorded into a snapshot; quiet when nothing was."""
        self._context.close()

    def print(self, text: str) -> None:
        """Results go to standard output, with a line break at their end."""
        if text:
            self.out.write(text if text.endswith("\n") else text + "\n")
            self.out.flush()

    def tell(self, diagnostics: "Sequence[Diagnostic]") -> None:
        """Findings go to standard error, for people."""
        if diagnostics:
            text = self.runtime.registry.view("human", self.error_screen).diagnostics(diagnostics)
            self.say(text if text.endswith("\n") else text + "\n")

    def say(self, text: str) -> None:
        """A word on standard error, written at once."""
        self.err.write(text)
        self.err.flush()

    def _sensitive(self) -> Iterator[str]:
        """The variables whose values are secrets, as far as the project's settings were read."""
        for session in self._context.sessions:
            if "settings" in session.__dict__:
                yield from session.settings.sensitive


def run(group: click.Group, arguments: list[str], runtime: "Runtime | None") -> int:
    """Parse and run; every outcome is an exit code."""
    context = Context(runtime, alone=runtime is None)
    with _debugging(context):
        code = _outcome(group, arguments, context)
    lost = context.streams[0].lost if context.streams else None
    if lost is None:
        return code
    if lost.reason:
        App(context).say(f"Error: standard output cannot be written: {lost.reason}\n")
    return code or 1


def _outcome(group: click.Group, arguments: list[str], context: Context) -> int:
    """The exit code of a command. What is no JobformError and no usage error is a bug."""
    from jobform.model.errors import JobformError

    environ = context.given.environ if context.given else os.environ
    try:
        with _closing(context):
            result = group.main(_with_defaults(group, arguments, environ), "jobform", standalone_mode=False, obj=context)
        return result if isinstance(result, int) else 0
    except JobformError as error:
        return _failed(context, error)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _usage(App(context), error)
    except Interrupted as error:
        App(context).say("\nStopped before anything was begun; nothing was changed.\n")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except OutputLostError:
        return 1
    except Exception as error:  # noqa: BLE001  # the last line of defence: a bug becomes one line, the trace is there on request
        return _bug(App(context), error)


def app(ctx: click.Context, format_: str = "human", no_color: bool = False) -> App:
    """The surroundings of the running command."""
    return App(ctx.obj, format_, no_color)


@contextmanager
def _closing(context: Context) -> Iterator[None]:
    """At the end of a command, fold what it recorded into a snapshot."""
    try:
        yield
    finally:
        context.close()


def _wants_debugging(environ: Mapping[str, str]) -> bool:
    return environ.get("JOBFORM_LOG", "").lower() in ("debug", "trace")


@contextmanager
def _debugging(context: Context) -> Iterator[None]:
    """With JOBFORM_LOG=debug, what jobform's loggers say goes to standard error, masked as everything that is printed."""
    if not _wants_debugging(context.given.environ if context.given else os.environ):
        yield
        return
    import logging

    from jobform.views.escape import terminal

    class ToStandardError(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if context.streams is not None:  # nothing is logged before a command has its streams
                context.streams[1].write(f"{record.name}: {terminal(record.getMessage())}\n")
                context.streams[1].flush()

    handler, logger = ToStandardError(), logging.getLogger("jobform")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _with_defaults(group: click.Group, arguments: list[str], environ: Mapping[str, str]) -> list[str]:
    """JOBFORM_CLI_ARGS for every command and JOBFORM_CLI_ARGS_PLAN for one, put right behind the command's name.

    A command in two words has its own as JOBFORM_CLI_ARGS_STATE_LIST.
    """
    if not any(name.startswith("JOBFORM_CLI_ARGS") for name in environ):
        return arguments
    index = _command_index(arguments)
    if index is None:
        return arguments
    words, end = [arguments[index].upper()], index + 1
    command = group.get_command(click.Context(group), arguments[index])
    if isinstance(command, click.Group) and end < len(arguments):
        words, end = [*words, f"{words[0]}_{arguments[end].upper()}"], end + 1
    extra: list[str] = []
    for name in ("JOBFORM_CLI_ARGS", *(f"JOBFORM_CLI_ARGS_{word}" for word in words)):
        try:
            extra += shlex.split(environ.get(name, ""))
        except ValueError as error:
            raise click.UsageError(f"{name}: {error}") from error
    return [*arguments[:end], *extra, *arguments[end:]]


def _command_index(arguments: Sequence[str]) -> int | None:
    """Where the command's name stands: the first word that is neither an option nor the value of -C."""
    for index, argument in enumerate(arguments):
        if not argument.startswith("-") and (index == 0 or arguments[index - 1] not in ("-C", "--chdir")):
            return index
    return None


def _failed(context: Context, error: "JobformError") -> int:
    """For people on standard error; where a document was asked for, also as that."""
    document = context.document
    target = App(context, "json" if document else "human")
    if document:
        with suppress(OutputLostError):
            target.print(target.view.diagnostics(error.diagnostics))
    target.tell(error.diagnostics)
    return error.exit_code


def _usage(target: App, error: click.ClickException) -> int:
    """What was wrong with the command line, which may hold anything."""
    from jobform.views.escape import terminal

    text = io.StringIO()
    error.show(text)
    target.say(terminal(text.getvalue(), multiline=True))
    return 64


def _bug(target: App, error: Exception) -> int:
    wanted = _wants_debugging(target.runtime.environ)
    if wanted:
        target.say("".join(traceback.format_exception(error)))
    hint = "" if wanted else "; JOBFORM_LOG=debug shows where"
    with suppress(OSError):
        target.say(f"Error: this is a fault in jobform: {type(error).__name__}: {error}{hint}\n")
    return 1
