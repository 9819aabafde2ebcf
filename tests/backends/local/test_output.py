"""Logs while a job runs and after, and what is blanked in them."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from jobform.backends.local.logs import stream
from jobform.backends.local.masks import Blanks
from jobform.model.state import Phase
from jobform.protocols import LogOptions
from jobform.testing.clock import ManualClock
from tests.backends.local.world import World, finish, make_mark, python, reach, shell, until


def test_following_shows_everything_up_to_the_end(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("for i in 1 2 3; do echo out$i; echo err$i >&2; sleep 0.1; done; printf last"), mark)
    seen = b"".join(backend.logs(ref, LogOptions(follow=True)))
    whole = b"out1\nout2\nout3\nlasterr1\nerr2\nerr3\n"
    assert sorted(seen) == sorted(whole), "all of it, once; which stream is ahead depends on the moment"
    for parts in ((b"out1", b"out2", b"out3", b"last"), (b"err1", b"err2", b"err3")):
        places = [seen.index(part) for part in parts]
        assert places == sorted(places)
    assert b"".join(backend.logs(ref, LogOptions(follow=False))) == whole


def test_following_shows_output_while_the_job_runs(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    ref = backend.submit(shell("echo first; while [ ! -e on ]; do sleep 0.01; done; echo second"), mark)
    chunks: list[bytes] = []

    def follow() -> None:
        chunks.extend(backend.logs(ref, LogOptions(follow=True)))

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: b"".join(chunks) == b"first\n")
    (world.project / "on").touch()
    thread.join(120)
    assert b"".join(chunks) == b"first\nsecond\n"


def test_a_job_that_waits_has_no_output_yet(world: World) -> None:
    backend = world.open(max_parallel=1)
    blocker = backend.submit(shell("exec sleep 600", address="blocker"), make_mark("blocker"))
    reach(backend, blocker, Phase.RUNNING)
    ref = backend.submit(shell("echo hello"), make_mark("job"))
    assert list(backend.logs(ref, LogOptions(follow=False))) == [b""] or list(backend.logs(ref, LogOptions(follow=False))) == []
    assert backend.kept(ref, 100) == b""


@pytest.mark.parametrize(("text", "lines", "expected"), [
    (b"a\nb\nc\n", 2, b"b\nc\n"), (b"a\nb\nc", 2, b"b\nc"), (b"a\nb\n", 5, b"a\nb\n"), (b"", 3, b""), (b"a\n", 0, b""),
    (b"\n\n\n", 1, b"\n"), (b"x" * 70_000 + b"\n" + b"y" * 70_000 + b"\n", 1, b"y" * 70_000 + b"\n"), (b"one", 1, b"one"),
])
def test_the_last_lines(tmp_path: Path, text: bytes, lines: int, expected: bytes) -> None:
    (tmp_path / "log").write_bytes(text)
    files = (tmp_path / "log", tmp_path / "missing")
    assert b"".join(stream(files, ManualClock(), lambda: True, follow=False, tail=lines)) == expected


def test_the_last_lines_of_a_huge_file_are_found_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.truncate(1 << 40)  # a hole: reading it would take minutes
        file.seek(0, 2)
        file.write(b"\nlast line\n")
    files = (tmp_path / "log", tmp_path / "missing")
    assert b"".join(stream(files, ManualClock(), lambda: True, follow=False, tail=1)) == b"last line\n"


def test_what_is_written_between_the_last_look_and_the_end_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def answers() -> Iterator[bool]:
        log.write_bytes(b"early ")
        yield False
        with log.open("ab") as file:
            file.write(b"late")
        yield True

    looks = answers()
    assert b"".join(stream((log, tmp_path / "none"), ManualClock(), lambda: next(looks), follow=True, tail=None)) == b"early late"


def test_kept_output_of_a_run_without_secrets_is_there_even_when_its_launcher_was_killed(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    finish(backend, shell("echo out; echo err >&2"), mark)
    ref = backend.submit(shell(""), mark)
    world.proof(mark).tail.unlink()
    assert backend.kept(ref, 100) == b"out\nerr\n"
    assert backend.kept(ref, 6) == b"ut\nrr\n", "each gets half of the room"
    mark = make_mark("other")
    ref = backend.submit(shell("echo x; while [ ! -e on ]; do sleep 0.01; done", masks=("secret-value",)), mark)
    until(lambda: (world.run_dir(mark) / "stdout.log").exists() and (world.run_dir(mark) / "stdout.log").read_bytes())
    assert backend.kept(ref, 100) == b"", "what was not blanked is not kept"
    (world.project / "on").touch()
    reach(backend, ref)
    assert backend.kept(ref, 100) == b"x\n"


def test_errors_have_room_in_the_kept_output(world: World) -> None:
    backend, mark = world.open(), make_mark("job")
    finish(backend, python("import sys; print('o' * 200000); print('e' * 200000, file=sys.stderr)"), mark)
    kept = backend.kept(backend.submit(shell(""), mark), 1 << 20)
    assert len(kept) == 65536
    assert kept == b"o" * 32767 + b"\n" + b"e" * 32767 + b"\n"


# --- blanking ---


SECRET = 'p"a/s+s w\\ö'


@pytest.mark.parametrize("form", [
    SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1], SECRET.encode().hex(),
    SECRET.encode().hex().upper(), quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET),
    base64.b64encode(SECRET.encode()).decode(), base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
])
def test_every_form_is_blanked(form: str) -> None:
    assert Blanks([SECRET]).blank(f"[{form}]".encode()) == b"[***]"


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_a_secret_inside_a_longer_base64_text_is_blanked(before: bytes) -> None:
    coded = base64.b64encode(before + SECRET.encode() + b"after")
    blanked = Blanks([SECRET]).blank(coded)
    assert b"***" in blanked
    assert len(blanked) - 3 <= 4 * (len(before) + len(b"after")) // 3 + 6


def test_the_longest_secret_wins_and_lines_of_a_key_are_blanked_alone() -> None:
    blanks = Blanks(["secret", "secret-longer", "-----BEGIN\nMIIEowIBAAKCAQEA\n-----END"])
    assert blanks.blank(b"secret-longer secret\n> MIIEowIBAAKCAQEA") == b"*** ***\n> ***"


def test_without_secrets_nothing_changes() -> None:
    assert Blanks([]).blank(b"anything") == b"anything"
    assert Blanks([""]).value({"a": ["b", 1, None]}) == {"a": ["b", 1, None]}
