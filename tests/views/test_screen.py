"""Colour, width, the live display and what is printed below it, on a real terminal."""

import io
import os
import pty
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

import pytest

from jobform.model.event import Begun, Ended, Held, Observed, Settled
from jobform.model.state import Op, Phase
from jobform.views.progress import PlainProgress, Progress
from jobform.views.screen import screen, wants_colour
from tests.views import samples


class StillClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A real terminal: the side that programs write to, and the descriptor that a person would look at."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        yield stream, leader
    os.close(leader)


def seen(leader: int) -> str:
    data = b""
    while True:
        try:
            chunk = os.read(leader, 65_536)
        except BlockingIOError:
            return data.decode()
        data += chunk


@pytest.mark.parametrize(("environ", "no_color", "expected"), [
    ({}, False, True), ({"TERM": "xterm"}, False, True), ({"TERM": "dumb"}, False, False), ({"NO_COLOR": "1"}, False, False),
    ({"NO_COLOR": ""}, False, True), ({}, True, False),
])
def test_colour_on_a_terminal(terminal: tuple[TextIO, int], environ: dict[str, str], no_color: bool, expected: bool) -> None:
    assert wants_colour(terminal[0], environ, no_color=no_color) is expected


def test_no_colour_and_a_fixed_width_elsewhere(terminal: tuple[TextIO, int]) -> None:
    elsewhere = screen(io.StringIO(), {})
    assert (elsewhere.colour, elsewhere.width) == (False, 100)
    assert screen(terminal[0], {}).width == 100  # a terminal that was never given a size


def test_plain_progress_prints_only_lines() -> None:
    out = io.StringIO()
    with PlainProgress(out) as progress:
        progress.event(Held("a", samples.STARTED, "failed"))
        progress.line("a: running")
        progress.line("")
    assert out.getvalue() == "a: running\n"


def test_progress_knows_what_is_going_on(terminal: tuple[TextIO, int]) -> None:
    clock = StillClock()
    progress = Progress(terminal[0], clock, 5, io.StringIO())
    at = samples.STARTED
    progress.event(Begun("train", samples.intent()))
    assert progress.rows() == ["0/5 ended, 0 running, 1 pending", "  train: pending: being submitted"]
    progress.event(Ended("train", Op.SUBMIT, 2, at, ok=True))
    progress.event(Observed("train", 2, at, Phase.RUNNING))
    progress.event(Observed("prep", 1, at, Phase.PENDING, "waiting for a \x1b[2JGPU"))
    clock.sleep(72)
    assert progress.rows() == [
        "0/5 ended, 1 running, 1 pending", "  train: running for 1m 12s", "  prep: pending: waiting for a \\x1b[2JGPU",
    ]
    progress.event(Observed("train", 2, at, Phase.SUCCEEDED))
    progress.event(Observed("prep", 1, at, Phase.FAILED))
    progress.event(Held("prep", at, "failed"))
    progress.event(Settled("report", at, "dependency_failed"))
    progress.event(Begun("x", samples.intent()))
    progress.event(Ended("x", Op.SUBMIT, 2, at, ok=False, error="no"))
    assert progress.rows() == ["3/5 ended, 0 running, 0 pending, 1 succeeded, 1 held, 1 dependency failed"]


def test_progress_lists_a_screenful() -> None:
    progress = Progress(io.StringIO(), StillClock(), 100, io.StringIO())
    for n in range(100):
        progress.event(Observed(f"job{n}", 1, samples.STARTED, Phase.RUNNING if n < 50 else Phase.PENDING))
    assert len(progress.rows()) < 16
    assert progress.rows()[-1] == "  and 88 more"


def test_lines_stay_and_the_live_part_goes(terminal: tuple[TextIO, int]) -> None:
    stream, leader = terminal
    with Progress(stream, StillClock(), 2, stream) as progress:
        progress.event(Observed("[bold]train", 1, samples.STARTED, Phase.RUNNING))
        progress.line("prep: succeeded")
    stream.flush()
    text = seen(leader)
    assert "prep: succeeded" in text
    assert "[bold]train: running for 0s" in text  # names are data, not markup
    assert on_screen(text) == ["prep: succeeded"]


def test_lines_can_go_elsewhere(terminal: tuple[TextIO, int]) -> None:
    results = io.StringIO()
    with Progress(terminal[0], StillClock(), 1, results) as progress:
        progress.line("prep: succeeded")
    assert results.getvalue() == "prep: succeeded\n"
    terminal[0].flush()
    assert on_screen(seen(terminal[1])) == []


def on_screen(text: str) -> list[str]:
    """What a terminal shows after a stream of text, cursor up, erase line and carriage return; colours and modes aside."""
    rows, row, column = [""], 0, 0
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\x1b":
            start = position + 1
            while not text[position].isalpha():
                position += 1
            argument, command = text[start:position], text[position]
            position += 1
            if command == "A":
                row = max(0, row - int(argument or 1))
            elif command == "K":
                rows[row] = ""
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        else:
            rows[row] = rows[row][:column].ljust(column) + character + rows[row][column + 1:]
            column += 1
    return [line for line in rows if line.strip()]
