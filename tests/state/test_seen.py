"""The marker file of what a checkout has seen, written by several commands at once."""

import fcntl
from pathlib import Path

import pytest

from jobform.engine.seen import Seen, Sighting

A, B = Sighting("a", 1, "2026-01-01T00:00:00Z"), Sighting("b", 2, "2026-01-01T00:00:00Z")


def test_what_another_command_notes_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one notes its state after ours has looked into the file, and before ours has the directory to itself."""
    path = tmp_path / ".jobform" / "seen.json"
    real, others = fcntl.flock, [Seen(path)]

    def flock(fd: int, operation: int) -> None:
        if others:
            others.pop().note("prod", A)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    Seen(path).note("dev", B)
    assert (Seen(path).of("prod"), Seen(path).of("dev")) == (A, B)
