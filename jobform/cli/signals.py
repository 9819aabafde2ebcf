"""Signals: the first one asks for a graceful stop, the second one leaves at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from jobform.cli.app import App, Interrupted
from jobform.cli.streams import OutputLostError, go_on
from jobform.engine.means import Stop

STOPPING = b"\nStopping: calls in flight end, the state is saved, jobs keep running. Again to leave at once.\n"
LEFT = b"\nStopped at once. What was begun is recorded; run apply or advance to go on.\n"


@contextmanager
def stopping(target: App) -> Iterator[Stop]:
    """What asks a command to stop while this is open: SIGINT (130), SIGTERM, a closed terminal (143), lost output (1).

    Until something may have been begun a signal just ends the command: at a prompt, while it reads, while it waits for the lock.
    """
    stop = Stop()
    met = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal met
        del frame
        code = 130 if number == signal.SIGINT else 143
        if met:
            _say(LEFT)
            os._exit(stop.exit_code)
        met = True
        stop.ask(code)
        if not stop.graceful:
            raise Interrupted(code)
        _say(STOPPING)

    def lost(error: OutputLostError) -> None:
        if not stop.graceful:
            raise error
        if not stop.requested:
            stop.ask(1)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, handle) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    target.stdout.on_lost = lost
    try:
        yield stop
        target.close()  # what was recorded is folded under the same protection
    finally:
        target.stdout.on_lost = go_on  # how it ended is the exit code, heard or not
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if target.alone else handler)  # what is left is to say how it ended


def _say(words: bytes) -> None:
    """Past every buffer and lock: a handler runs between any two instructions."""
    with suppress(OSError):  # the terminal may be what has gone
        os.write(2, words)
