"""What a job prints: every option, several ranks, following to the end, and answers that are no output."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from jobform.backends.fireworks.backend import FireworksBackend
from jobform.model.errors import BackendError
from jobform.protocols import LogOptions, Ref, timestamp
from jobform.sandbox.host import Sandbox
from jobform.sandbox.world import Job, World
from tests.backends.fireworks.conftest import Start
from tests.sandboxed import Answer

LOGS = "/v1/accounts/[^/]+/batchJobs/[^/]+:getLogs"
HOUR = 3600.0
"""Apart from each other stand lines of which some are old enough, however long a test takes."""


def printed(backend: FireworksBackend, ref: Ref, **options: object) -> list[str]:
    return b"".join(backend.logs(ref, LogOptions(**options))).decode().splitlines()  # type: ignore[arg-type]  # by name


@pytest.fixture
def world(sandbox: Sandbox) -> World:
    return sandbox.world("fireworks")


@pytest.fixture
def written(world: World, start: Start) -> Callable[..., tuple[Ref, Job]]:
    """`written(count, ranks=1, apart=1)` is a running job that has printed so many lines, seconds apart, the last one now."""

    def write(count: int, ranks: int = 1, apart: float = 1.0) -> tuple[Ref, Job]:
        ref = start(num_ranks=ranks)
        with world.held():
            job = next(iter(world.jobs.values()))
            now = world.now()
            job.created = now - count * apart
            job.output[:] = [(now - (count - 1 - index) * apart, f"line {index}\n") for index in range(count)]
        return ref, job

    return write


Written = Callable[..., tuple[Ref, Job]]


def test_all_of_it_oldest_first(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(2500)
    assert printed(backend, ref) == [f"line {index}" for index in range(2500)]


@pytest.mark.parametrize(("tail", "expected"), [(0, []), (1, ["line 29"]), (3, ["line 27", "line 28", "line 29"]), (99, 30)])
def test_the_last_lines(backend: FireworksBackend, written: Written, tail: int, expected: list[str] | int) -> None:
    ref, _ = written(30)
    lines = printed(backend, ref, tail=tail)
    assert lines == expected or len(lines) == expected


def test_more_last_lines_than_a_page_has(backend: FireworksBackend, written: Written, sandbox: Sandbox) -> None:
    ref, _ = written(12_000)
    assert printed(backend, ref, tail=11_000) == [f"line {index}" for index in range(1000, 12_000)]
    asked = [call for call in sandbox.servers["fireworks"].calls if call.path.endswith(":getLogs")]
    assert [call.first("pageSize") for call in asked] == ["10000", "10000"]


def test_records_of_several_lines_are_lines(backend: FireworksBackend, start: Start, answer: Answer) -> None:
    ref = start()
    entries = [{"logTime": f"2026-04-02T10:00:0{n}Z", "rank": 0, "message": f"a{n}\nb{n}"} for n in range(3)]
    answer("GET", LOGS, json.dumps({"entries": entries}))
    assert printed(backend, ref, tail=3) == ["b1", "a2", "b2"]


def test_the_last_minutes(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(100, apart=HOUR)
    since = 10.5 * HOUR
    lines = printed(backend, ref, since=since)
    assert lines == [f"line {index}" for index in range(89, 100)]
    assert printed(backend, ref, since=since, tail=2) == ["line 98", "line 99"]
    assert printed(backend, ref, since=since, tail=50) == lines


def test_ranks_are_told_apart_and_chosen(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(2, ranks=3)
    assert printed(backend, ref) == [f"[rank {rank}] line {line}" for line in (0, 1) for rank in (0, 1, 2)]
    assert printed(backend, ref, index=1) == ["line 0", "line 1"]
    with pytest.raises(BackendError, match="there is no rank 3"):
        printed(backend, ref, index=3)


@pytest.mark.parametrize(("options", "flag"), [({"container": "main"}, "--container"), ({"previous": True}, "--previous")])
def test_options_without_a_meaning_are_refused(
    backend: FireworksBackend, written: Written, options: dict[str, object], flag: str,
) -> None:
    ref, _ = written(1)
    with pytest.raises(BackendError, match=f"{flag} has no meaning"):
        printed(backend, ref, **options)


def test_following_ends_with_the_run(backend: FireworksBackend, written: Written, world: World) -> None:
    ref, job = written(3)
    lines = backend.logs(ref, LogOptions(follow=True))
    assert [next(lines) for _ in range(3)] == [b"line 0\n", b"line 1\n", b"line 2\n"]
    with world.held():
        job.output.append((world.now(), "line 3\n"))
    assert next(lines) == b"line 3\n"
    with world.held():
        job.output.append((world.now(), "last words\n"))
        world.end(job)
    assert list(lines) == [b"last words\n"]


def test_following_shows_no_line_twice_and_none_too_few(backend: FireworksBackend, written: Written, world: World) -> None:
    """Equal lines at one time, and a rank whose lines come late."""
    ref, job = written(10)
    now = world.now()
    lines = backend.logs(ref, LogOptions(follow=True, tail=1))
    follower = Follower(lines)
    assert follower.next(1) == ["line 9"]
    with world.held():
        job.output += [(now, "tick\n"), (now, "tick\n")]
    assert follower.next(2) == ["tick", "tick"]
    with world.held():
        job.output += [(now, "tick\n"), (now - 5, "late\n"), (now + 0.001, "tock\n")]
        job.output.sort()
    assert follower.next(3) == ["late", "tick", "tock"]
    with world.held():
        world.end(job)
    assert list(lines) == []


class Follower:
    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def next(self, count: int) -> list[str]:
        return [line.decode().strip() for line in islice(self._lines, count)]


@pytest.mark.parametrize("options", [{"tail": 2}, {"tail": 2, "since": HOUR}])
@pytest.mark.parametrize("count", [10, 300])
def test_following_the_last_lines_shows_none_from_before(
    backend: FireworksBackend, written: Written, world: World, count: int, options: dict[str, float],
) -> None:
    """Also when the lines before came in the same second."""
    ref, job = written(count)
    job.output[:] = [(world.now() - 1 + index / count / 2, f"line {index}\n") for index in range(count)]
    follower = Follower(backend.logs(ref, LogOptions(follow=True, **options)))  # type: ignore[arg-type]  # by name
    assert follower.next(2) == [f"line {count - 2}", f"line {count - 1}"]
    with world.held():
        job.output.append((world.now(), "more\n"))
        world.end(job)
    assert follower.next(5) == ["more"]


def test_following_since_shows_none_from_before(backend: FireworksBackend, written: Written, world: World) -> None:
    ref, job = written(10, apart=HOUR)
    follower = Follower(backend.logs(ref, LogOptions(follow=True, since=2.5 * HOUR)))
    assert follower.next(3) == ["line 7", "line 8", "line 9"]
    with world.held():
        job.output.append((world.now(), "more\n"))
        world.end(job)
    assert follower.next(5) == ["more"]


@pytest.mark.parametrize("backwards", [False, True])
def test_lines_of_one_moment_keep_their_order(backend: FireworksBackend, start: Start, answer: Answer, backwards: bool) -> None:
    """Whichever way round a page comes."""
    now = datetime.now(UTC)
    times = [timestamp(now + timedelta(seconds=seconds)) for seconds in (-60, 1, 1, 2)]  # the first by a clock that is slow
    entries = [{"logTime": time, "rank": 0, "message": f"line {index}"} for index, time in enumerate(times)]
    answer("GET", LOGS, json.dumps({"entries": entries[::-1] if backwards else entries}))
    ref = start()
    for tail in (None, 4):
        assert printed(backend, ref, tail=tail) == [f"line {index}" for index in range(4)]


def test_following_a_long_output_asks_for_its_end_only(
    backend: FireworksBackend, written: Written, world: World, sandbox: Sandbox,
) -> None:
    ref, job = written(3000)
    lines = backend.logs(ref, LogOptions(follow=True))
    assert len(list(islice(lines, 3000))) == 3000
    calls = sandbox.servers["fireworks"].calls
    calls.clear()
    with world.held():
        job.output.append((world.now(), "more\n"))
    assert next(lines) == b"more\n"
    assert len(calls) < 10, "the job and a page of its newest output, once or a few times"
    lines.close()  # type: ignore[attr-defined]  # a generator


def test_nothing_was_printed(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(0)
    assert printed(backend, ref) == []
    assert backend.kept(ref, 1000) == b""


# --- what is kept ---------------------------------------------------------------------------------------------------------


def test_the_end_is_kept_in_whole_lines(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(5000)
    kept = backend.kept(ref, 100)
    assert len(kept) <= 100
    assert kept.splitlines()[-1] == b"line 4999"
    assert kept.splitlines()[0].startswith(b"line ")
    assert backend.kept(ref, 1 << 20).count(b"\n") == 5000


def test_of_each_rank_as_much_is_kept(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(100, ranks=3)
    kept = backend.kept(ref, 30).decode()
    assert kept == "".join(f"==> rank {rank} <==\nline 97\nline 98\nline 99\n" for rank in range(3))


def test_of_many_ranks_the_first_are_kept(backend: FireworksBackend, written: Written) -> None:
    ref, _ = written(1, ranks=40)
    kept = backend.kept(ref, 30).decode().splitlines()
    assert kept[-1] == "==> 24 more ranks: nothing was kept of them <=="
    assert sum(line.startswith("==> rank") for line in kept) == 16


# --- answers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    "[]", "null", '{"entries": null}', '{"entries": {}}', '{"entries": [1]}', '{"entries": [{}]}',
    '{"entries": [{"logTime": 1, "rank": 0, "message": ""}]}', '{"entries": [{"logTime": "soon", "rank": 0, "message": ""}]}',
    '{"entries": [{"logTime": "0001-01-01T00:00:00+23:59", "rank": 0, "message": ""}]}',
    '{"entries": [{"logTime": "2026-04-02T10:00:00Z", "rank": "x", "message": ""}]}',
    '{"entries": [{"logTime": "2026-04-02T10:00:00Z", "rank": 0, "message": {}}]}',
    '{"entries": [], "nextPageToken": "again"}', "x",
])
def test_what_is_no_output_is_an_error(backend: FireworksBackend, written: Written, answer: Answer, body: str) -> None:
    ref, _ = written(1)
    answer("GET", LOGS, body)
    with pytest.raises(BackendError):
        printed(backend, ref)
    with pytest.raises(BackendError):
        backend.kept(ref, 1000)


def test_the_output_of_a_job_that_is_gone(backend: FireworksBackend) -> None:
    ref = Ref.of({"id": "never"})
    with pytest.raises(BackendError, match="is gone"):
        printed(backend, ref)
    assert backend.kept(ref, 1000) == b""


def test_an_output_without_end_is_read_as_it_comes(backend: FireworksBackend, written: Written, sandbox: Sandbox) -> None:
    ref, _ = written(5000)
    began = time.monotonic()
    assert next(backend.logs(ref, LogOptions())) == b"line 0\n"
    asked = [call for call in sandbox.servers["fireworks"].calls if call.path.endswith(":getLogs")]
    assert len(asked) == 1, f"after {time.monotonic() - began} s"
