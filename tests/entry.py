"""The command line as tests run it: with the reference backend added, and with a hook that stops the world at a chosen effect.

    python -m tests.entry ARGUMENTS...          one command
    python -m tests.entry --serve               a warm process that forks one child for each request on standard input

`JOBFORM_TEST_HOOK` is JSON of a `Hook`; the command itself never sees it. The shipped command has no such switch.
"""

import json
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TextIO

from jobform.backends.kubernetes.site import Site
from jobform.backends.local.backend import TYPE as LOCAL
from jobform.cli import COMMANDS, main
from jobform.engine.manager import Manager
from jobform.model.clock import SystemClock
from jobform.model.event import Begun, Ended, Event
from jobform.plugins import Registry
from jobform.protocols import Mark, Ref, Submission
from jobform.run.runtime import Runtime
from jobform.stores.file import TYPE as FILE
from jobform.testing.reference import SERVICE_TYPE, TYPE
from jobform.views.human import HumanView
from jobform.views.json import JsonView
from jobform.views.markdown import MarkdownView

VARIABLE = "JOBFORM_TEST_HOOK"

LATE = {"jinja2.sandbox", "jsonschema", "kubernetes.client", "kubernetes.config", "urllib3"}
"""What commands import only when they need it: a warm process has it all."""

ERRORS = {error.__name__: error for error in (MemoryError, RecursionError, RuntimeError)}


@dataclass(frozen=True)
class Hook:
    """What the effect hook does.

    record: a file that gets one line per effect, `name address`. at: the number of the effect, from 1, at which `do` happens;
    with name, only effects of this name count. do: `kill` (kill -9 of this process), `INT` or `TERM` (that signal, and on), or
    the name of an exception to raise. ahead: seconds by which the command's clock is ahead. Only to prove that the tests notice:
    unrecorded_intents: keep each `Begun` back until its call is over, as if nobody wrote intents; names_at_random: let objects
    in a cluster have another name at each try.
    """

    record: str = ""
    at: int = 0
    name: str = ""
    do: str = "kill"
    ahead: float = 0.0
    unrecorded_intents: bool = False
    names_at_random: bool = False

    def to_json(self) -> str:
        return json.dumps(self.__dict__)


class LaterClock(SystemClock):
    """The time in a while."""

    def __init__(self, passed: timedelta) -> None:
        self._passed = passed

    def now(self) -> datetime:
        return super().now() + self._passed


class Effects:
    """The effect hook: safe to call from several threads."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._lock = threading.Lock()
        self._count = 0
        self._file = os.open(hook.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if hook.record else -1

    def __call__(self, name: str, address: str) -> None:
        with self._lock:
            self._count += self._hook.name in ("", name)
            if self._file >= 0:
                os.write(self._file, f"{name} {address}\n".encode())
            met = self._count == self._hook.at and self._hook.name in ("", name)
        if met:
            self._act()

    def _act(self) -> None:
        do = self._hook.do
        if do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        elif do in ERRORS:
            raise ERRORS[do]("injected")
        else:
            os.kill(os.getpid(), getattr(signal, f"SIG{do}"))


def forget_intents() -> None:
    """Break the write-ahead rule: an intent becomes durable together with the end of its call, not before the call."""
    record: Callable[[Manager, list[Event]], None] = Manager.record
    begun: dict[str, Begun] = {}

    def late(manager: Manager, events: list[Event]) -> None:
        written: list[Event] = []
        for event in events:
            if isinstance(event, Begun):
                begun[event.address] = event
            elif isinstance(event, Ended) and event.address in begun:
                written += [begun.pop(event.address), event]
            else:
                written.append(event)
        if written:
            record(manager, written)

    Manager.record = late


def forget_names() -> None:
    """Break the rule that an attempt has one name: what `generateName` would do."""
    from jobform.backends.kubernetes import submit

    named = submit.submit

    def unnamed(site: Site, submission: Submission, mark: Mark) -> Ref:
        return named(site, submission, replace(mark, name=f"{mark.name}-{secrets.token_hex(3)}"))

    submit.submit = unnamed


def plugins() -> Registry:
    """What comes with jobform, whether or not it is installed here, and the reference backend."""
    return Registry(
        backends={"local": LOCAL, TYPE.name: TYPE, SERVICE_TYPE.name: SERVICE_TYPE}, stores={"file": FILE},
        views={"human": HumanView, "json": JsonView, "markdown": MarkdownView},
    )


def run(
    arguments: list[str], environ: Mapping[str, str], stdin: TextIO, stdout: TextIO, stderr: TextIO,
    registry: Registry | None = None,
) -> int:
    """One command in this process; its exit code."""
    environ = dict(environ)
    hook = Hook(**json.loads(environ.pop(VARIABLE, "{}")))
    if hook.unrecorded_intents:
        forget_intents()
    if hook.names_at_random:
        forget_names()
    clock = LaterClock(timedelta(seconds=hook.ahead))
    runtime = Runtime(clock, Effects(hook), environ, registry or plugins(), stdin, stdout, stderr)
    try:
        return main(arguments, runtime) or 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1


def serve() -> None:
    """Fork a child for each request, `{arguments, cwd, environ, timeout, stdin, stdout, stderr}`; answer `{exit}` when it ends.

    The streams are paths. The fork happens here, where everything is imported and there is one thread; the child is a real
    process and can be killed.
    """
    registry = plugins()
    for name in ("reference", "local", "kubernetes"):
        registry.spec(name)
        registry.settings(name)
    for module in {module for module, _ in COMMANDS.values()} | LATE:
        import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(request, registry)
        exit_code = _wait(child, request["timeout"])
        sys.stdout.write(json.dumps({"exit": exit_code}) + "\n")
        sys.stdout.flush()


def _wait(child: int, timeout: float) -> int:
    """The child's exit code, negative for a signal; it is killed when it takes too long."""
    end = time.monotonic() + timeout
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _child(request: dict[str, Any], registry: Registry) -> NoReturn:
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(request["cwd"])
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(request[name], flags, 0o600), number)
        os.environ.clear()
        os.environ.update(request["environ"])
        code = run(request["arguments"], request["environ"], sys.stdin, sys.stdout, sys.stderr, registry)
    except BaseException:  # noqa: BLE001 - as an interpreter does at its end
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(run(sys.argv[1:], os.environ, sys.stdin, sys.stdout, sys.stderr))
