"""A run's output: streamed while it is written, or the end of it as it was kept."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from jobform.protocols import Clock

CHUNK = 64 * 1024
PAUSE = 0.1
"""Seconds between looks at files that may grow."""


def stream(
    files: tuple[Path, Path], clock: Clock, over: Callable[[], bool], *, follow: bool, tail: int | None,
) -> Iterator[bytes]:
    """What is in the files, the first one first, then, with follow, what is added to either until the run is over.

    tail: at first only so many last lines of each. A file that does not exist (yet) is empty.
    """
    readers = [_Reader(path, tail) for path in files]
    try:
        while True:
            last = not follow or over()  # asked before reading: what was written before the end is read after this
            for reader in readers:
                yield from reader.rest()
            if last:
                return
            clock.sleep(PAUSE)
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    def __init__(self, path: Path, tail: int | None) -> None:
        self._path, self._tail = path, tail
        self._fd: int | None = None

    def rest(self) -> Iterator[bytes]:
        """Everything up to the present end of the file."""
        if self._fd is None:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return
            if self._tail is not None:
                os.lseek(self._fd, _last_lines(self._fd, self._tail), os.SEEK_SET)
        while data := os.read(self._fd, CHUNK):
            yield data

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


def _last_lines(fd: int, count: int) -> int:
    """Where the last `count` lines of a file begin; reads no more of it than needed."""
    end = os.fstat(fd).st_size
    at, wanted = end, count
    if count > 0 and end and os.pread(fd, 1, end - 1) != b"\n":
        wanted -= 1  # the last line is not finished: it is one without its line break
    if count <= 0:
        return end
    while at > 0:
        begin = max(0, at - CHUNK)
        block = os.pread(fd, at - begin, begin)
        place = len(block)
        while (place := block.rfind(b"\n", 0, place)) >= 0:
            if wanted == 0:
                return begin + place + 1
            wanted -= 1
        at = begin
    return 0


def end_of(path: Path, size: int) -> bytes:
    """The last bytes of a file, b"" when it does not exist."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read(size)
    except FileNotFoundError:
        return b""
