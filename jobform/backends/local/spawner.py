"""A small single-threaded process that forks launchers: forking it costs a millisecond, starting Python costs fifty.

One per command, started with the first submission and gone when the command is. It speaks on descriptor 0, a Unix socket:
four bytes of length (with the run's locked file attached for an order), then the message; the answer has the same form.
It needs the standard library only.
"""

import gc
import json
import os
import signal
import socket
from typing import NoReturn

from jobform.backends.local.facts import END_OF_FILES
from jobform.backends.local.launcher import launch, stop
from jobform.backends.local.order import Order, Stop, decode


def main() -> None:
    """Serve until the other side closes."""
    os.setsid()
    os.chdir("/")
    os.closerange(3, END_OF_FILES)  # whatever the command had inherited: a launcher must not keep a pipe of a CI runner open
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what came while it was blocked is forgotten so; the default would end us by it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for launchers: the kernel forgets them by itself
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # a launcher makes no garbage worth collecting, and looking for it would unshare its memory
    gc.freeze()
    connection = socket.socket(fileno=0)
    while (message := _receive(connection)) is not None:
        data, lock = message
        answer = json.dumps(_serve(data, lock, connection)).encode("ascii")
        connection.sendall(len(answer).to_bytes(4, "big") + answer)


def _receive(connection: socket.socket) -> tuple[bytes, int | None] | None:
    head, files, _, _ = socket.recv_fds(connection, 4, 1)
    head += _exactly(connection, 4 - len(head)) if head else b""
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    data = _exactly(connection, size)
    return (data, files[0] if files else None) if len(data) == size else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := connection.recv(min(size - len(parts), 1 << 20))):
        parts += part
    return bytes(parts)


def _serve(data: bytes, lock: int | None, connection: socket.socket) -> dict[str, object]:
    try:
        message = decode(data)
        pid = os.fork()
    except OSError as error:
        return {"error": f"cannot start a process: {error.strerror}"}
    else:
        if pid == 0:
            _alone(message, lock, connection)
        return {"pid": pid}
    finally:
        if lock is not None:
            os.close(lock)


def _alone(message: Order | Stop, lock: int | None, connection: socket.socket) -> NoReturn:
    """In the child: a session of its own, no terminal, no socket; only the lock stays open."""
    try:
        connection.detach()
        null = os.open(os.devnull, os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        os.close(null)
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if isinstance(message, Stop):
            stop(message)
        elif lock is not None:
            launch(message, lock)
    finally:
        os._exit(0)
