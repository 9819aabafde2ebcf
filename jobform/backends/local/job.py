"""The job's own process: a fork that waits for the word, then becomes the program.

The launcher uses this module, so it needs the standard library only.
"""

import errno
import os
import signal
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from jobform.backends.local.facts import END_OF_FILES, signal_group


class NotRun(Exception):
    """The program could not be executed. name: the errno's name, such as ENOENT."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail


class Job(NamedTuple):
    """A forked process, leader of a session and a group of its own. It ends at once if `word` closes before `go`."""

    pid: int
    word: int
    answer: int

    def go(self, argv: list[str], env: Mapping[str, str], cwd: str) -> None:
        """Let it execute the program; return when that has happened. Raises NotRun when it could not."""
        os.write(self.word, b"!")
        os.close(self.word)
        with open(self.answer, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            failure = file.read().decode("utf-8", "replace")
        if failure:
            os.waitpid(self.pid, 0)
            step, _, rest = failure.partition(" ")
            number, _, text = rest.partition(" ")
            raise _not_run(step, int(number), text, argv, env, cwd)

    def give_up(self) -> None:
        """It never runs anything."""
        os.close(self.word)
        os.close(self.answer)
        os.waitpid(self.pid, 0)

    def ended(self) -> int | None:
        """The exit code (negative for a signal), None while it runs. The group's other processes are told to end before the
        number of their leader can be given to anyone else.
        """
        if sys.platform != "darwin":
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            signal_group(self.pid, signal.SIGTERM)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        if sys.platform == "darwin":  # no waitid before Python 3.13: only now is the end known
            signal_group(self.pid, signal.SIGTERM)
        return os.waitstatus_to_exitcode(status)


def fork_job(argv: list[str], env: Mapping[str, str], cwd: str, out: int, err: int) -> Job:
    """A process that is ready to execute `argv` with these output files, waiting for `Job.go`."""
    word_read, word = os.pipe()
    answer, answer_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(argv, env, cwd, (out, err), word_read, answer_write)
    os.close(word_read)
    os.close(answer_write)
    return Job(pid, word, answer)


def _become(argv: list[str], env: Mapping[str, str], cwd: str, files: tuple[int, int], word: int, answer: int) -> NoReturn:
    """In the child: never returns, never raises, inherits nothing of the launcher's locks."""
    step = "start"
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((null, *files)):
            os.dup2(source, target)
        low, high = sorted((word, answer))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, END_OF_FILES)
        if os.read(word, 1) != b"!":
            os._exit(127)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        step = "cwd"
        os.chdir(cwd)
        step = "exec"
        os.execvpe(argv[0], argv, env)  # noqa: S606 - running what the user declared is the purpose
    except OSError as error:
        os.write(answer, f"{step} {error.errno or 0} {error.strerror}".encode())
    except ValueError as error:  # a NUL character, or text that cannot be encoded
        os.write(answer, f"{step} 0 {error}".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _not_run(step: str, number: int, text: str, argv: list[str], env: Mapping[str, str], cwd: str) -> NotRun:
    name = errno.errorcode.get(number, "EINVAL")
    program = argv[0]
    if step == "cwd":
        return NotRun(name, f"cannot enter the working directory {cwd!r}: {text} ({name})")
    if number == errno.ENOENT and "/" not in program:
        return NotRun(name, f"cannot run {program!r}: no such program in PATH={env.get('PATH', os.defpath)} ({name})")
    if number == errno.ENOENT and (Path(cwd) / program).exists():
        return NotRun(name, f"cannot run {program!r}: the interpreter that its first line names does not exist ({name})")
    if number == errno.ENOEXEC:
        return NotRun(name, f"cannot run {program!r}: {text}; a script needs a first line such as #!/bin/sh ({name})")
    if number == errno.EACCES and _plain_file(Path(cwd) / program):
        return NotRun(name, f"cannot run {program!r}: it is not executable, or its directory may not be entered ({name})")
    return NotRun(name, f"cannot run {program!r}: {text} ({name})")


def _plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
