"""What a run prints: the output of every container of every pod, each line told apart, and the end of it for keeping."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from jobform.backends.kubernetes.log_follow import Follower
from jobform.backends.kubernetes.log_reader import EXCUSE
from jobform.backends.kubernetes.log_run import Look, Run
from jobform.backends.kubernetes.log_sources import Source, labels_of, prefixed
from jobform.backends.kubernetes.refs import JobRef
from jobform.backends.kubernetes.site import Site, refused
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.model.errors import BackendError
from jobform.protocols import LogOptions, Ref

KEPT_IN_ALL = 1 << 20
"""Bytes that are kept of one run, however many containers it has."""

LEAST_KEPT = 1024
"""Bytes that are kept of one container: with so many that not even this is left, the last ones are left out."""

HELD = 64 << 10
"""Bytes of each container that are read while its pod is being removed."""

_LINES = 1024
"""Lines that are asked for at first, to find the last bytes: the API can only count lines from the end."""

_AT_ONCE = 8
_CONTAINERS = 200
"""Containers that are followed at a time: each holds a connection to the API server."""


class Logs:
    """The output of runs in one place of a cluster. Safe to use from several threads."""

    def __init__(self, site: Site, look_every: float = 1.0) -> None:
        """look_every: seconds between listings of the pods while a run is followed."""
        self._site = site
        self._every = look_every
        self._held: dict[Ref, bytes] = {}

    def logs(self, ref: Ref, options: LogOptions) -> Iterator[bytes]:
        """Whole lines; where there is more than one container, each begins with `[pod container] `.

        Without follow: one container after the other. With it: all at once, those of later pods too, until the run has ended.
        Raises BackendError.
        """
        run = Run(self._site, JobRef.parse(ref), options)
        with refused(f"the output of {run.ref} could not be read"):
            if options.follow:
                if options.previous:
                    raise BackendError("what a container printed before it was started again cannot be followed")
                yield from Follower(run, self._every, _CONTAINERS).lines()
            else:
                yield from self._once(run)

    def hold(self, refs: Collection[Ref]) -> None:
        """Read the end of what these runs have printed, for a later `kept`: their controller is removing their pods.

        A run whose deadline is over loses its pods, and their output with them, before it counts as ended.
        """
        new = [ref for ref in refs if not self._held.get(ref)]
        if not new:
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(new)), thread_name_prefix="log") as pool:
            self._held.update(zip(new, pool.map(self._readable, new), strict=True))

    def kept(self, ref: Ref, limit: int) -> bytes:
        """The last `limit` bytes of each container, less where there are many, under a line that names it if there are several.

        Of pods that are gone what `hold` has read. Empty when nothing has printed anything. Raises BackendError when nothing of
        it can be read.
        """
        return self._kept(ref, limit) or self._held.pop(ref, b"")

    def _readable(self, ref: Ref) -> bytes:
        try:
            return self._kept(ref, HELD)
        except BackendError:  # it is read too early, in case that nothing is left later: then `kept` says what is wrong
            return b""

    def _kept(self, ref: Ref, limit: int) -> bytes:
        run = Run(self._site, JobRef.parse(ref))
        with refused(f"the output of {run.ref} could not be read"):
            sources = [source for source in run.look().sources if source.started]
            share = min(limit, max(LEAST_KEPT, KEPT_IN_ALL // max(1, len(sources))))
            some, left_out = sources[: KEPT_IN_ALL // share], len(sources) - KEPT_IN_ALL // share
            ends = self._ends(run, some, share)
        errors = [end for end in ends if isinstance(end, KubeError)]
        if errors and len(errors) == len(ends):
            raise errors[0].backend_error(f"the output of {run.ref} could not be read") from errors[0]
        if len(sources) == 1:
            return ends[0] if isinstance(ends[0], bytes) else b""
        labels = labels_of(sources, run.ref.name)
        parts = [
            f"==> {labels[source.key]} <==\n".encode()
            + (f"(not kept: {end.message})\n".encode() if isinstance(end, KubeError) else _whole_lines(end))
            for source, end in zip(some, ends, strict=True) if end
        ]
        if left_out > 0:
            parts.append(f"==> {left_out} more containers: nothing was kept of them <==\n".encode())
        return b"".join(parts)

    def _once(self, run: Run) -> Iterator[bytes]:
        look, previous = run.look(), run.options.previous
        if not look.sources:
            _tell_none(run, look)
            return
        labels = labels_of(look.sources, run.ref.name)
        several = len(look.sources) > 1
        failed, read = None, False
        for source in look.sources:
            said = _unreadable(source, previous)
            if not said:
                try:
                    for lines in run.reader(source).read(previous=previous):
                        yield prefixed(labels[source.key], lines) if several else b"".join(lines)
                    read = True
                except KubeError as error:
                    if error.status in (401, 403):
                        raise
                    failed, said = error, f"its output could not be read: {error.message}"
            if said:
                run.options.tell(f"{labels[source.key]}: {said}")
        if failed is not None and not read:
            raise failed

    def _ends(self, run: Run, sources: list[Source], share: int) -> list[bytes | KubeError]:
        def end(source: Source) -> bytes | KubeError:
            try:
                return _end(self._site, run.ref.namespace, source, share)
            except KubeError as error:
                return error

        if len(sources) < 2:
            return [end(source) for source in sources]
        with ThreadPoolExecutor(min(_AT_ONCE, len(sources)), thread_name_prefix="log") as pool:
            return list(pool.map(end, sources))


def printed(data: bytes) -> bytes:
    """The end of an output without the kubelet's own words, which would take the place of what was kept before they came."""
    return EXCUSE.sub(b"", data)


def _tell_none(run: Run, look: Look) -> None:
    if run.options.index is not None or run.options.container:
        run.options.tell(f"{run.ref} has no such pod now")
    elif not look.over:
        run.options.tell(f"{run.ref} has no pod yet" + (f": {look.said}" if look.said else ""))


def _unreadable(source: Source, previous: bool) -> str:
    """Why a container has no output to read, "" when it has."""
    if not source.started:
        return "it never started" if source.over else f"waiting to start: {source.waits}"
    return "it was not started again: there is nothing from before" if previous and not source.restarts else ""


def _end(site: Site, namespace: str, source: Source, size: int) -> bytes:
    """The last bytes of a container's output. Raises KubeError."""
    path, lines = object_path("v1", "pods", namespace, source.pod, "log"), _LINES
    while True:
        with site.client.stream(path, {"container": source.container, "tailLines": lines}) as chunks:
            data, count = _last(chunks, size)
        if count < lines or 2 * len(data) >= size or lines >= size:
            return printed(data)
        lines = min(size, 2 * lines * size // max(1, len(data)))  # lines are this short: so many should be enough


def _last(chunks: Iterable[bytes], size: int) -> tuple[bytes, int]:
    """The last whole lines of a stream that fit, and how many it had; no more than about `size` bytes are ever held.

    Half a line may hold half a secret, which nobody would recognise.
    """
    held: deque[bytes] = deque()
    length = count = 0
    for chunk in chunks:
        count += chunk.count(b"\n")
        held.append(chunk)
        length += len(chunk)
        while length - len(held[0]) >= size:
            length -= len(held.popleft())
    data = b"".join(held)
    return (data if len(data) <= size else data[-size:].partition(b"\n")[2]), count


def _whole_lines(data: bytes) -> bytes:
    return data if data.endswith(b"\n") else data + b"\n"
