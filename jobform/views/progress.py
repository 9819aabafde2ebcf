"""The live part of an apply: counts and running jobs, redrawn in place below the lines that stay."""

from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from jobform.model.event import Begun, Ended, Event, Held, Observed, Removed, Settled
from jobform.model.state import Op, Phase
from jobform.protocols import Clock
from jobform.views.escape import terminal
from jobform.views.words import duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_SHOWN = 12
"""Running jobs listed at most: the rest is counted."""


class ProgressView(Protocol):
    """What an apply needs of a progress display. A context manager: the live part lives inside it.

    total: how many jobs the command is about, 0 when that is not known.
    """

    total: int

    @property
    def live(self) -> int:
        """How many jobs are shown as pending or running."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the live part."""

    def event(self, event: Event) -> None:
        """Take an event into account."""

    def known(self, address: str, phase: Phase, detail: str) -> None:
        """Take a job into account that was pending or running before there were events."""

    def line(self, text: str) -> None:
        """Print a line that stays, without its line break; "" prints nothing."""


class PlainProgress:
    """No terminal, no progress: only the lines that stay, written to `results`."""

    def __init__(self, results: TextIO) -> None:
        self._results = results
        self.total = 0

    @property
    def live(self) -> int:
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def event(self, event: Event) -> None:
        del event

    def known(self, address: str, phase: Phase, detail: str) -> None:
        del address, phase, detail

    def line(self, text: str) -> None:
        if text:
            self._results.write(f"{text}\n")
            self._results.flush()


class Progress:
    """A live display on a terminal.

    out: the terminal's stream (stderr), for the live part alone. results: where lines that stay go (stdout); while one is written
    the live part is away, so that both may be the same terminal.
    """

    def __init__(self, out: TextIO, clock: Clock, total: int, results: TextIO, *, colour: bool = False) -> None:
        from rich.console import Console  # rich costs 60 ms, and only a terminal needs it

        self._console = Console(
            file=out, force_terminal=True, no_color=not colour, color_system="standard",
            markup=False, highlight=False, emoji=False,
        )
        self._clock, self.total, self._results = clock, total, results
        self._lock = Lock()
        self._since: dict[str, tuple[str, float]] = {}
        self._waiting: dict[str, str] = {}
        self._ended: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    @property
    def live(self) -> int:
        return len(self._since) + len(self._waiting)

    def event(self, event: Event) -> None:
        with self._lock:
            self._take(event)

    def known(self, address: str, phase: Phase, detail: str) -> None:
        with self._lock:
            if address not in self._since and address not in self._waiting:
                self._phase(address, phase, detail)

    def line(self, text: str) -> None:
        if not text:
            return
        self._stop()
        self._results.write(f"{text}\n")
        self._results.flush()
        self._start()

    def rows(self) -> list[str]:
        """The live part as text, first the counts: what is drawn, without its colours. Escaped."""
        with self._lock:
            now = self._clock.monotonic()
            running = sorted(self._since.items(), key=lambda item: item[1][1])
            waiting, ended = dict(self._waiting), list(self._ended.values())
        counts = [f"{ended.count(word)} {word}" for word in dict.fromkeys(ended)]
        of = f"/{self.total}" if self.total else ""
        words = [f"{len(ended)}{of} ended", f"{len(running)} running", f"{len(waiting)} pending", *counts]
        lines = [", ".join(words)]
        lines += [f"  {address}: {what} for {duration(now - since)}" for address, (what, since) in running[:_SHOWN]]
        room = max(0, _SHOWN - len(running))
        lines += [f"  {address}: pending{f': {why}' if why else ''}" for address, why in list(waiting.items())[:room]]
        hidden = len(running) + len(waiting) - (len(lines) - 1)
        return [terminal(line) for line in lines] + ([f"  and {hidden} more"] if hidden > 0 else [])

    def _take(self, event: Event) -> None:
        match event:
            case Begun() if event.intent.op is Op.SUBMIT:
                self._ended.pop(event.address, None)
                self._waiting[event.address] = "being submitted"
            case Ended() if event.op is Op.SUBMIT:
                if event.ok:
                    self._waiting[event.address] = "submitted"
                else:
                    self._waiting.pop(event.address, None)
            case Observed():
                self._phase(event.address, event.phase, event.detail)
            case Removed():
                self._over(event.address, "removed")
            case Held():
                self._over(event.address, "held")
            case Settled() if event.how != "done":
                self._over(event.address, event.how.replace("_", " "))
            case _:
                pass

    def _phase(self, address: str, phase: Phase, detail: str) -> None:
        if phase is Phase.PENDING:
            self._waiting[address] = detail
            self._since.pop(address, None)
        elif phase in (Phase.RUNNING, Phase.UNKNOWN):
            self._waiting.pop(address, None)
            since = self._since.get(address, ("", self._clock.monotonic()))[1]
            self._since[address] = (phase.value, since)
        else:
            self._over(address, phase.value)

    def _over(self, address: str, how: str) -> None:
        self._waiting.pop(address, None)
        self._since.pop(address, None)
        self._ended[address] = how

    def _start(self) -> None:
        from rich.live import Live  # as above

        self._live = Live(
            get_renderable=self._drawn, console=self._console, transient=True, refresh_per_second=4, redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _drawn(self) -> "RenderableType":
        from rich.text import Text  # as above

        return Text("\n".join(self.rows()), no_wrap=True, overflow="ellipsis")
