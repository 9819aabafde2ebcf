"""A job's command as a process on this machine: for `--jobs-run local`."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

_MOST = 1 << 20
"""Bytes of output that are kept at most."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: a program and its arguments, and its variables beside PATH and HOME."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class Process:
    """One running command, in a directory and a process group of its own. Its output is stdout and stderr as they come."""

    def __init__(self, command: Command) -> None:
        """A program that cannot be started is a process that ends with 127."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
        self._directory = tempfile.TemporaryDirectory(prefix="jobform-sandbox-", ignore_cleanup_errors=True)
        self._read = 0
        self._exit: int | None = None
        environ = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ} | dict(command.env)
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(  # noqa: S603  # it is the job that a user gave
                command.argv, cwd=self._directory.name, env=environ, stdin=subprocess.DEVNULL, stdout=self._output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:  # IndexError: there is no program at all
            self._process, self._exit = None, 127
            self._output.write(f"{command.argv[0] if command.argv else 'the command'}: {error}\n".encode())
            self._output.flush()

    @property
    def exit(self) -> int | None:
        """The exit code, 128 + n for signal n, None while it runs. With it ends all that it started."""
        if self._exit is None and self._process is not None and (code := self._process.poll()) is not None:
            self._over(self._process, code)
        return self._exit

    def read(self) -> list[str]:
        """The whole lines that are new, all of it once the process has ended; no more than a megabyte in all."""
        over = self.exit is not None
        with suppress(ValueError):  # closed
            data = os.pread(self._output.fileno(), max(0, _MOST - self._read), self._read)
            whole = data if over else data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            return whole.decode("utf-8", "replace").splitlines(keepends=True)
        return []

    def stop(self) -> None:
        """Ask it to end."""
        if self._process and self.exit is None:
            _signal(self._process, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started; quiet when it is over."""
        if self._process and self.exit is None:
            _signal(self._process, signal.SIGKILL)
            self._over(self._process, self._process.wait())
        self._output.close()
        self._directory.cleanup()

    def _over(self, process: "subprocess.Popen[bytes]", code: int) -> None:
        self._exit = code if code >= 0 else 128 - code
        _signal(process, signal.SIGKILL)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to the process's whole group; quiet when that is empty."""
    with suppress(ProcessLookupError, PermissionError):  # some systems say the latter of a group of the dead
        os.killpg(process.pid, number)
