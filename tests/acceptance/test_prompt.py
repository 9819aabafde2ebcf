"""The question before an apply: only `yes`, typed on a terminal, is one."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

JOBS = "jobs:\n  hello:\n    backend: here\n    spec: {command: [echo, hello]}\n"
SETTINGS = "jobform: 1\nproject: asked\nbackends:\n  here: {type: local}\n"
END_OF_INPUT = "\x04"


@pytest.mark.parametrize(("answer", "code"), [
    ("yes\n", 0), ("y\n", 1), ("no\n", 1), ("\n", 1), ("YES please\n", 1), (END_OF_INPUT, 1), ("\x03", 130),
])
def test_only_yes_is_yes(answer: str, code: int, tmp_path: Path, bin_directory: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "main.yaml").write_text(JOBS)
    (tmp_path / "jobform.yaml").write_text(SETTINGS)
    shown, found = typed([str(bin_directory / "jobform"), "apply"], answer, tmp_path)
    assert found == code, shown
    assert "1 to create" in shown
    assert ("succeeded" in shown) == (code == 0)
    assert (tmp_path / ".jobform" / "runs").exists() == (code == 0)


def typed(command: list[str], answer: str, directory: Path) -> tuple[str, int]:
    """What a terminal showed and the exit code; the answer is typed when the command asks, which ends in `: `."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                               preexec_fn=lambda: make_controlling(theirs))
    os.close(theirs)
    shown, deadline, answered = b"", time.monotonic() + 300, False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        if not answered and shown.rstrip().endswith((b":", b"?", b">")) and b"yes" in shown:
            os.write(ours, answer.encode())
            answered = True
    os.close(ours)
    return shown.decode("utf-8", "replace"), process.wait(timeout=300)


def make_controlling(terminal: int) -> None:
    """As a login does: ^C on this terminal becomes SIGINT."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
