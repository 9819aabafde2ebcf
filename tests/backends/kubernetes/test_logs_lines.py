"""One container's lines: what is cut off, what is skipped when a read goes on, and what no line may do."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from jobform.backends.kubernetes import log_reader, logs
from jobform.backends.kubernetes.log_reader import Reader
from jobform.backends.kubernetes.log_sources import Source, labels_of, sources_of
from jobform.clients.kube.client import KubeClient
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.settings import KubeSettings
from jobform.model.values import Json
from jobform.protocols import LogOptions
from tests.clients.kube.faulty import Faulty, Reply, Seen, faulty, status

SOURCE = Source("train-0", "u1", "main", started=True, running=True)
ALL = LogOptions()
Serve = Callable[..., tuple[Reader, Faulty]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A reader of a server that answers so; a bytes is a whole log."""
    opened = []

    def serve(*answers: bytes | Reply, options: LogOptions = ALL) -> tuple[Reader, Faulty]:
        replies = [answer if isinstance(answer, Reply) else Reply(200, answer, kind="text/plain") for answer in answers]
        manager = faulty(replies)
        server = manager.__enter__()
        opened.append(manager)
        client = KubeClient.open(KubeSettings(server=server.url), {"HOME": "/nonexistent"})
        return Reader(client, "ml", SOURCE, options), server

    yield serve
    for manager in opened:
        manager.__exit__(None, None, None)


def lines(reader: Reader, **how: bool) -> list[bytes]:
    return [line for piece in reader.read(**how) for line in piece]


def query(seen: Seen) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(seen.path).query).items()}


def stamp(second: int, nanos: int = 0, zone: str = "Z") -> str:
    hours = int(zone[:3]) if zone != "Z" else 0
    moment = datetime(2026, 1, 2, 3, 0, tzinfo=UTC) + timedelta(seconds=second, hours=hours)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanos:09d}{zone}"


def log(*entries: tuple[str, str]) -> bytes:
    return "".join(f"{when} {text}\n" for when, text in entries).encode()


def test_timestamps_are_cut_off_and_nothing_else(serve: Serve) -> None:
    reader, server = serve(log((stamp(1), "a"), (stamp(1), ""), (stamp(2), "  two  blanks ")) + stamp(3).encode() + b" end")
    assert lines(reader) == [b"a\n", b"\n", b"  two  blanks \n", b"end\n"]
    assert urlsplit(server.seen[0].path).path == "/api/v1/namespaces/ml/pods/train-0/log"
    assert query(server.seen[0]) == {"container": "main", "timestamps": "true"}


def test_what_was_chosen_is_asked_for_once(serve: Serve) -> None:
    options = LogOptions(tail=5, since=89.2)
    reader, server = serve(b"", log((stamp(7, 5), "a")), b"", options=options)
    for _ in range(3):
        list(reader.read(follow=True))
    asked = [query(seen) for seen in server.seen]
    assert [(one.get("tailLines"), one.get("sinceSeconds")) for one in asked] == [("5", "90"), ("5", "90"), (None, None)]
    assert [one.get("sinceTime") for one in asked] == [None, None, "2026-01-02T03:00:07Z"]
    assert asked[0]["follow"] == "true"


@pytest.mark.parametrize("zone", ["Z", "+02:00", "-11:30"])
def test_no_line_is_given_twice_and_none_is_lost(serve: Serve, zone: str) -> None:
    """A read begins with the whole second in which the last one ended; equal lines with equal times are told apart by number."""
    same = stamp(1, 7, zone)
    whole = [(stamp(1, 5, zone), "a"), (same, "b"), (same, "b"), (same, "c"), (stamp(2, 0, zone), "d")]
    for cut in range(1, 5):
        reader, _ = serve(log(*whole[:cut]), log(*whole))
        assert lines(reader) + lines(reader) == [b"a\n", b"b\n", b"b\n", b"c\n", b"d\n"]


def test_a_line_that_was_rotated_away_does_not_hide_a_new_one(serve: Serve) -> None:
    before, after = log((stamp(1, 1), "a"), (stamp(1, 2), "b")), log((stamp(1, 2), "b"), (stamp(1, 3), "c"))
    reader, _ = serve(before, after, log((stamp(9), "d")))
    assert [lines(reader), lines(reader), lines(reader)] == [[b"a\n", b"b\n"], [b"c\n"], [b"d\n"]]


def test_lines_a_little_out_of_order_are_all_given_once(serve: Serve) -> None:
    """Standard output and standard error are stamped by two threads."""
    whole = [(stamp(1, 9), "a"), (stamp(1, 8), "b"), (stamp(2), "c")]
    reader, _ = serve(log(*whole[:2]), log(*whole))
    assert lines(reader) + lines(reader) == [b"a\n", b"b\n", b"c\n"]


def test_half_a_line_waits_for_the_next_read_unless_this_is_the_last(serve: Serve) -> None:
    whole = log((stamp(1), "a"), (stamp(2), "bcd"))
    reader, _ = serve(whole[:-3], whole[:-1])
    assert lines(reader, final=False) == [b"a\n"]
    assert lines(reader) == [b"bcd\n"]


def test_a_connection_that_breaks_gives_whole_lines_first(serve: Serve) -> None:
    whole = log((stamp(1), "a"), (stamp(2), "bcd"), (stamp(3), "e"))
    reader, _ = serve(Reply(200, whole, kind="text/plain", cut=len(whole) - 40), whole)
    got: list[bytes] = []
    with pytest.raises(KubeError) as caught:
        for piece in reader.read(follow=True):
            got += piece
    assert caught.value.retryable
    assert got == [b"a\n"]
    assert lines(reader) == [b"bcd\n", b"e\n"]


def test_what_the_kubelet_says_itself_is_shown_whole(serve: Serve) -> None:
    words = b"unable to retrieve container logs for containerd://abc"
    reader, _ = serve(log((stamp(1), "a")) + words)
    assert lines(reader) == [b"a\n", words + b"\n"]


@pytest.mark.parametrize("words", [
    b"unable to retrieve container logs for containerd://" + b"0a" * 32,
    b'failed to try resolving symlinks in path "/var/log/pods/a/b/0.log": lstat /var/log/pods/a: no such file or directory',
])
def test_what_stands_for_a_lost_output_is_none(serve: Serve, words: bytes) -> None:
    reader, _ = serve(log((stamp(1), "a")) + words)
    assert lines(reader) == [b"a\n"]
    assert logs.printed(b"a\n" + words) == b"a\n"


def test_what_the_kubelet_says_itself_is_not_kept() -> None:
    words = b"unable to retrieve container logs for containerd://" + b"0a" * 32
    assert logs.printed(words) == b""
    assert logs.printed(b"a\n" + words) == b"a\n"
    assert logs.printed(b"a\n" + words + b"\n") == b"a\n" + words + b"\n"
    assert logs.printed(b"a " + words) == b"a " + words


@pytest.mark.parametrize("junk", [
    b"\xff\xfe\x00 x\n", b"9999-99-99T99:99:99Z x\n", b"2026-01-02T02:04:05 no zone\n", b"2026-01-02T02:04:05.Z x\n",
    b" \n", b"\n\n",
    b"2026-01-02T02:04:05.1234567890123Z x\n", b"0001-01-01T00:00:00+14:00 x\n", b"\0" * 100 + b"\n",
    "\uff12026-01-02T03:04:05Z wide\n".encode(),
])
def test_junk_is_no_traceback(serve: Serve, junk: bytes) -> None:
    reader, _ = serve(junk + log((stamp(1), "a")), log((stamp(1), "a"), (stamp(2), "b")))
    assert lines(reader)[-1] == b"a\n"
    assert lines(reader)[-1] == b"b\n"


def test_an_endless_line_is_cut_between_words_and_held_in_bounds(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "LONGEST", 1000)
    bar = b"\r".join(b"%d%%" % n for n in range(2000))
    blob = b"x" * 5000
    reader, _ = serve(stamp(1).encode() + b" " + bar + b"\n" + stamp(2).encode() + b" " + blob + b"\n" + log((stamp(3), "end")))
    got = lines(reader)
    assert b"".join(line[:-1] for line in got) == bar + blob + b"end"
    assert got[-1] == b"end\n"


def test_refusals_are_kube_errors(serve: Serve) -> None:
    reader, _ = serve(status(400, "BadRequest", 'container "main" in pod "train-0" is waiting to start: ImagePullBackOff'))
    with pytest.raises(KubeError, match="waiting to start: ImagePullBackOff"):
        lines(reader)


def test_a_closed_reader_reads_no_more(serve: Serve) -> None:
    reader, server = serve(Reply(200, log((stamp(1), "a")), kind="text/plain", hold=60.0))
    reading = reader.read(follow=True)
    assert next(reading) == [b"a\n"]
    reader.close()
    assert list(reading) == []
    assert len(server.seen) == 1
    assert lines(reader) == []


# --- the end of it, for keeping ---


@pytest.mark.parametrize(("chunks", "size", "kept"), [
    ([b"a\nb\n"], 100, b"a\nb\n"), ([b"a\n", b"bb\n", b"cc\n"], 6, b"bb\ncc\n"), ([b"a\n", b"bb\n", b"cc\n"], 5, b"cc\n"),
    ([b"secret-value"], 6, b""), ([], 5, b""), ([b"x" * 50 + b"\ny"], 10, b"y"),
])
def test_the_last_whole_lines_are_kept(chunks: list[bytes], size: int, kept: bytes) -> None:
    data, count = logs._last(chunks, size)
    assert data == kept
    assert count == b"".join(chunks).count(b"\n")


# --- which containers there are ---


def pod(name: str = "train-0-x", **more: Json) -> Json:
    made: dict[str, Json] = {
        "metadata": {"name": name, "uid": name, "labels": {"i": "0"}},
        "spec": {"restartPolicy": "Never", "initContainers": [{"name": "first"}], "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]},
    }
    return made | more


def test_a_container_waits_runs_and_is_over() -> None:
    first, main = sources_of([pod()], "i")
    assert (first.container, first.started, first.over, first.waits) == ("first", False, False, "its pod is not running yet")
    assert (main.container, main.started, main.running, main.over, main.index) == ("main", True, True, False, "0")


@pytest.mark.parametrize(("policy", "code", "over"), [
    ("Never", 0, True), ("Never", 1, True), ("OnFailure", 0, True), ("OnFailure", 1, False), ("Always", 0, False),
])
def test_whether_a_container_starts_again(policy: str, code: int, over: bool) -> None:
    spec: Json = {"restartPolicy": policy, "containers": [{"name": "main"}]}
    ended: Json = {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": code}}}]}
    [source] = sources_of([pod(spec=spec, status=ended)], "i")
    assert (source.started, source.over) == (True, over)


def test_the_labels_tell_pods_apart() -> None:
    twice = sources_of([pod("a"), pod("b"), pod("c", metadata={"name": "c", "uid": "c", "labels": {"i": "1"}})], "i")
    names = [labels_of(twice, "train")[source.key] for source in twice]
    assert names == ["a first", "a main", "b first", "b main", "train-1 first", "train-1 main"]


@pytest.mark.parametrize("hostile", [
    None, [], "pod", {}, {"metadata": {"name": "../../secrets", "uid": "u"}}, {"metadata": {"name": "a"}},
    {"metadata": {"name": "a", "uid": "u"}, "spec": {"containers": [{"name": "a&follow=true"}, {"name": 7}, None]}},
    {"metadata": {"name": "a", "uid": "u"}, "spec": {"containers": {"name": "main"}}, "status": []},
])
def test_a_pod_of_any_shape_is_no_traceback(hostile: Json) -> None:
    assert sources_of([hostile], "i") == []
