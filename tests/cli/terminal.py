"""Commands on a real terminal, and commands that are still running when a test wants to do something to them."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.support import ROOT, environ_for

PATIENCE = 120.0
"""Seconds: tells a hang from a busy machine."""
COMMAND = [sys.executable, str(Path(sysconfig.get_path("scripts")) / "jobform")]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def until(done: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + patience
    while not done():
        assert time.monotonic() < end, f"this has not happened in {patience:g} s: {what}"
        time.sleep(0.01)


class Running:
    """A command with both streams in files, in a process group of its own."""

    def __init__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, command: list[str] = COMMAND,
    ) -> None:
        self._paths = [cwd.parent / f"{cwd.name}-{os.urandom(4).hex()}.{name}" for name in ("out", "err")]
        streams = [path.open("w") for path in self._paths]
        self.process = subprocess.Popen(
            [*command, *arguments], cwd=cwd, env=environ_for(env, None) | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            stdout=streams[0], stderr=streams[1], start_new_session=True,
        )
        for stream in streams:
            stream.close()

    @property
    def stdout(self) -> str:
        return self._paths[0].read_text()

    @property
    def stderr(self) -> str:
        return self._paths[1].read_text()

    def until(self, text: str) -> None:
        until(lambda: text in self.stdout + self.stderr or self.process.poll() is not None, f"{text!r}")
        assert text in self.stdout + self.stderr, self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __repr__(self) -> str:
        return f"exit {self.process.poll()}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Terminal:
    """A command whose three streams are one terminal that it controls."""

    def __init__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, columns: int = 100,
        command: list[str] = COMMAND,
    ) -> None:
        self.bytes = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
                os.chdir(cwd)
                environ = {key: value for key, value in environ_for(env, None).items() if key != "NO_COLOR" or key in (env or {})}
                os.execve(command[0], [*command, *arguments], environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"})
            finally:  # whatever failed: there must not be two of the process that runs the tests
                os._exit(127)
        self.exit: int | None = None

    @property
    def text(self) -> str:
        """All that was printed, without control sequences."""
        return _CONTROL.sub("", self.bytes.decode("utf-8", "replace"))

    def until(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in self.text:
            assert time.monotonic() < end, f"{text!r} was not printed:\n{self.text}"
            assert self._read(0.1), f"ended before {text!r} was printed:\n{self.text}"

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait(self) -> int:
        """The exit code, negative for a signal, once everything printed was read."""
        end = time.monotonic() + PATIENCE
        while self._read(0.1):
            assert time.monotonic() < end, f"still there:\n{self.text}"
        _, status = os.waitpid(self.pid, 0)
        self.exit = os.waitstatus_to_exitcode(status)
        return self.exit

    def hang_up(self) -> int:
        """Close the terminal, as its window's button does; the exit code."""
        os.close(self.fd)
        self.fd = -1
        _, status = os.waitpid(self.pid, 0)
        self.exit = os.waitstatus_to_exitcode(status)
        return self.exit

    def _read(self, seconds: float) -> bool:
        """Whether the command may print more."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        self.bytes += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        if self.exit is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.fd >= 0:
            os.close(self.fd)
