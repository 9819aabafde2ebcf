"""The command's end of the spawner: starts it with the first submission, and hands it orders."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import jobform
from jobform.backends.local.order import Order, Stop, encode
from jobform.model.errors import BackendError

ANSWER_WITHIN = 60.0
"""Seconds; a fork takes a millisecond, so a spawner that is silent for so long was stopped by someone."""
PROGRAM = "import sys; sys.path.append(sys.argv[1]); from jobform.backends.local.spawner import main; main()"
KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What Python itself may need to start. Nothing else: launchers live long, and the environment may hold credentials."""


class SpawnerGone(Exception):
    """The spawner ended before it answered: whether it acted is not known."""


class Starter:
    """Used from several threads; one conversation at a time."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: environ[name] for name in KEPT_ENVIRONMENT if name in environ}
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._close: weakref.finalize[[int, socket.socket], Starter] | None = None

    def send(self, message: Order | Stop, lock: int | None = None) -> int:
        """Have it done by a process of its own; its number. lock: the run's locked file, which that process inherits.

        Raises SpawnerGone, and BackendError when the machine cannot start a process.
        """
        data = encode(message)
        with self._lock:
            connection = self._connected()
            try:
                whole = len(data).to_bytes(4, "big") + data  # in one piece: half an order holds the lock, and nothing comes of it
                sent = socket.send_fds(connection, [whole], [] if lock is None else [lock])
                connection.sendall(whole[sent:])
                answer = json.loads(_exactly(connection, int.from_bytes(_exactly(connection, 4), "big")))
            except OSError as error:
                self._drop()
                raise SpawnerGone(str(error)) from error
            except BaseException:
                self._drop()  # half a conversation cannot go on
                raise
        if "error" in answer:
            raise BackendError(f"this machine {answer['error']}", retryable=True)
        return int(answer["pid"])

    def _connected(self) -> socket.socket:
        if self._connection is None:
            self._connection, pid = _spawn(self._environ)
            self._close = weakref.finalize(self, _end, pid, self._connection)
        return self._connection

    def _drop(self) -> None:
        if self._close is not None:
            self._close()
        self._connection = self._close = None


def _spawn(environ: Mapping[str, str]) -> tuple[socket.socket, int]:
    """The process and our end of its socket. SIGINT is blocked until it has a session of its own, so that ^C cannot hit it."""
    root = str(Path(jobform.__file__).resolve().parent.parent)
    ours, theirs = socket.socketpair()
    ours.settimeout(ANSWER_WITHIN)
    with theirs:
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-I", "-S", "-X", "utf8", "-c", PROGRAM, root], dict(environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigmask=[signal.SIGINT],
        )
    return ours, pid


def _end(pid: int, connection: socket.socket) -> None:
    """Close our end, which ends the spawner. A zombie until this command ends is all that can remain."""
    connection.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the process that starts jobs has ended")
        parts += part
    return bytes(parts)
