"""What there is to see of a job that prints nothing: how far each node is, and why files failed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobform.backends.unstructured.wire import Details, FailedFile
from jobform.protocols import Clock, LogOptions

_PAUSE = 5.0
"""Seconds between two looks at a job that is followed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One job. word: its status, and whether it has ended. Every call may raise BackendError."""

    word: Callable[[], tuple[str, bool]]
    details: Callable[[], Details]
    failed: Callable[[], list[FailedFile]]
    clock: Clock

    def lines(self, options: LogOptions) -> Iterator[bytes]:
        """The present, a line for each thing; with follow each line that changes, until the job has ended."""
        seen: set[bytes] = set()
        while True:
            found, ended = self._look()
            fresh = [line for line in found if line not in seen]
            yield from fresh if options.tail is None or seen else fresh[len(fresh) - min(options.tail, len(fresh)):]
            if ended or not options.follow:
                return
            seen |= {*found, b""}
            self.clock.sleep(_PAUSE)

    def now(self) -> list[bytes]:
        """The present."""
        return self._look()[0]

    def _look(self) -> tuple[list[bytes], bool]:
        status, ended = self.word()
        details = self.details()
        said = f"job {status}" + (f" ({details.status})" if details.status and details.status != status else "")
        lines = [said + (f": {details.message}" if details.message else "")]
        for node in details.nodes:
            what = f" ({node.what})" if node.what != node.name else ""
            counts = f"{node.ready} ready, {node.in_progress} in progress, {node.success} done, {node.failure} failed"
            lines.append(f"node {node.name}{what}: {counts}")
        if ended and (details.has_failures or status == "FAILED"):
            lines += [f"failed {item.document}: {item.error}" for item in self.failed()]
        return [f"{line}\n".encode("utf-8", "replace") for line in lines], ended
