"""Child processes that cannot outlive the process that started them, each with a log file of its own."""

import ctypes
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
LOG_TAIL = 2000
_LEASES: list[socket.socket] = []


def die_with_parent(number: int) -> Callable[[], None]:
    """What a child runs before its program: the kernel sends it signal `number` when the thread that forked it ends (Linux)."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def arrange() -> None:
        if library is not None and library.prctl(PR_SET_PDEATHSIG, number) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")

    return arrange


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def tail(self) -> str:
        """The end of what it wrote, for an error message."""
        return self.log.read_text(errors="replace")[-LOG_TAIL:]

    def stop(self, patience: float) -> None:
        """TERM, and KILL after `patience` seconds. Returns when it is gone."""
        if self.running:
            self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(argv: Sequence[str | Path], directory: Path, name: str = "", environ: Mapping[str, str] | None = None) -> Child:
    """Starts `argv`; call it from the main thread, because the child dies with the thread that starts it.

    In a process group of its own, so that a ^C at the terminal reaches only its owner, who stops things in order.
    """
    name = name or Path(argv[0]).name
    log = directory / "log" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=directory, env=environ,
            process_group=0, preexec_fn=die_with_parent(signal.SIGKILL),
        )
    return Child(name, process, log)


def lease(name: str) -> bool:
    """Whether nobody had this name: now it is this process's, to its end. Linux: no file is left, however it ends."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0jobform-test-{name}")
    except OSError:
        holder.close()
        return False
    _LEASES.append(holder)
    return True


def free_port() -> int:
    """A loopback port below the range that outgoing connections get theirs from: it stays free while a server restarts.

    It is leased, so that two clusters that start at the same time do not both take one that neither listens on yet.
    """
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if lease(f"port-{port}"):
                return port
    raise OSError("no free port on 127.0.0.1 between 20000 and 32000")
