"""What the reference backend adds to the contract: states that move with time, rules for updates, faults, and a ledger."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError, InputError
from jobform.model.job import BackendBlock
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Backend, Found, Gone, Place, Ref, Submission, Unknown, no_effect, timestamp
from jobform.sandbox.faults import Fault, Then
from jobform.schema import SpecSchema
from jobform.testing.clock import ManualClock
from jobform.testing.fields import MUTABLE, SETTINGS, SPEC, Behaviour
from jobform.testing.ledger import Entry, Ledger, assert_never_two_live, assert_no_attempt_twice, mutations, twice, two_live
from jobform.testing.marks import make_mark
from jobform.testing.reference import TYPE, ReferenceType
from jobform.testing.server import ReferenceServer
from jobform.testing.world import World

BLOCK = BackendBlock("ref", "reference", {})


class Desk:
    """A world on a clock that the test moves, and a backend on it."""

    def __init__(self, settings: dict[str, Json] | None = None, *, completes: bool = True, script: object = None) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger()
        self.world = World(lambda: self.clock.now().timestamp(), self.ledger, script)  # type: ignore[arg-type]  # tests give any mapping
        self.place = Place(Path(), self.clock, no_effect, {})
        block = BackendBlock("ref", "reference", settings or {})
        self.backend: Backend = ReferenceType(world=self.world, completes=completes).open(block, self.place)

    def submit(self, spec: dict[str, Json], address: str = "job", attempt: int = 1, body: str = "") -> Ref:
        return self.backend.submit(Submission(address, spec), make_mark(address, attempt, body=body))

    def read(self, ref: Ref) -> Actual:
        answer = self.backend.read([ref])[ref]
        assert isinstance(answer, Actual)
        return answer

    def id(self, ref: Ref) -> str:
        value = ref.value
        assert isinstance(value, dict)
        return str(value["id"])


def test_states_move_with_time() -> None:
    desk = Desk()
    ref = desk.submit({"start_after": 10, "seconds": 5, "exit": 2, "ttl": 60})
    assert desk.read(ref).phase is Phase.PENDING
    desk.clock.advance(10)
    assert desk.read(ref).phase is Phase.RUNNING
    desk.clock.advance(5)
    ended = desk.read(ref)
    assert (ended.phase, ended.exit, ended.class_) == (Phase.FAILED, 2, "user_error")
    assert (ended.started_at, ended.ended_at) == ("2030-01-01T00:00:10.000000Z", "2030-01-01T00:00:15.000000Z")
    desk.clock.advance(60)
    assert desk.backend.read([ref]) == {ref: Gone()}
    assert [entry.kind for entry in desk.world.entries()] == ["created", "started", "ended", "expired"]


def test_everything_that_was_due_happens_in_its_order() -> None:
    desk = Desk()
    desk.submit({"seconds": 30}, "slow")
    desk.submit({"seconds": 10}, "quick")
    desk.clock.advance(3600)
    entries = desk.world.entries()
    assert [(entry.kind, entry.address) for entry in entries[-2:]] == [("ended", "quick"), ("ended", "slow")]
    assert entries == sorted(entries, key=lambda entry: entry.at)


def test_fail_class_and_timeout() -> None:
    desk = Desk()
    full = desk.submit({"fail_class": "oom"}, "full")
    long = desk.submit({"seconds": 3600, "timeout": "10m"}, "long")
    desk.clock.advance(600)
    assert (desk.read(full).phase, desk.read(full).class_) == (Phase.FAILED, "oom")
    assert (desk.read(long).phase, desk.read(long).class_, desk.read(long).exit) == (Phase.FAILED, "timeout", None)


def test_cancel_takes_its_grace() -> None:
    desk = Desk()
    ref = desk.submit({"seconds": 3600, "grace": 30})
    desk.read(ref)
    desk.backend.cancel(ref, only_if_waiting=False)
    assert (desk.read(ref).phase, desk.read(ref).detail) == (Phase.RUNNING, "stopping")
    desk.clock.advance(30)
    assert desk.read(ref).phase is Phase.CANCELLED


def test_suspended_run_is_pending_and_starts_anew() -> None:
    desk = Desk()
    spec: dict[str, Json] = {"seconds": 60, "note": "a"}
    ref = desk.submit(spec)
    desk.clock.advance(30)
    desk.backend.update(ref, Submission("job", {**spec, "suspend": True}), desk.read(ref))
    held = desk.read(ref)
    assert (held.phase, held.detail) == (Phase.PENDING, "suspended")
    assert held.started_at is not None, "pending, yet it has started once: live"
    desk.clock.advance(3600)
    desk.backend.update(ref, Submission("job", {**spec, "note": "b"}), desk.read(ref))
    assert desk.read(ref).phase is Phase.RUNNING
    desk.clock.advance(59)
    assert desk.read(ref).phase is Phase.RUNNING
    desk.clock.advance(1)
    assert desk.read(ref).phase is Phase.SUCCEEDED


STAGES: dict[str, dict[str, Json]] = {
    "queued": {"stay_pending": True}, "suspended": {"suspend": True}, "running": {"seconds": 60}, "ended": {"seconds": 0},
}
ALLOWED = {
    "always": {"queued", "suspended", "running", "ended"},
    "queued": {"queued", "suspended"},
    "suspended": {"queued", "suspended"},
    "never": set(),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "name", ["labels", "priority", "checkpoint", "image", "queue_label", "precision", "note", "command", "zone"],
)
def test_fields_change_when_their_rule_allows(stage: str, name: str) -> None:
    desk = Desk()
    ref = desk.submit(STAGES[stage])
    new: Json = {"labels": {"a": "b"}, "priority": 3, "command": ["x"]}.get(name, "other")
    change = Submission("job", {**STAGES[stage], name: new})
    before = desk.read(ref)
    if stage in ALLOWED[MUTABLE[name]]:
        assert desk.backend.update(ref, change, before).fields[name] == new
    else:
        with pytest.raises(BackendError, match=name):
            desk.backend.update(ref, change, before)
        assert desk.read(ref).fields == before.fields


def test_reported_fields() -> None:
    desk = Desk()
    ref = desk.submit({"command": ["a"], "token": "s3cret"})
    assert desk.read(ref).fields == {"command": ["a"], "zone": "zone-a", "shard": 1}
    desk.world.drift(desk.id(ref), {"shard": 7, "command": None, "labels": {"by": "hand"}})
    assert desk.read(ref).fields == {"zone": "zone-a", "shard": 7, "labels": {"by": "hand"}}


def test_service_type_runs_until_it_is_ended() -> None:
    desk = Desk(completes=False)
    ref = desk.submit({})
    desk.clock.advance(1e6)
    assert desk.read(ref).phase is Phase.RUNNING
    desk.world.end(desk.id(ref), 1)
    assert (desk.read(ref).phase, desk.read(ref).exit) == (Phase.FAILED, 1)


def test_script_decides_by_attempt() -> None:
    desk = Desk(script={"job": [Behaviour(exit=1), Behaviour(seconds=5, outputs={"n": 2})]})
    first = desk.submit({"exit": 0}, attempt=1)
    assert desk.read(first).phase is Phase.FAILED
    second = desk.submit({"exit": 0}, attempt=2)
    desk.clock.advance(5)
    assert desk.read(second).outputs == {"n": 2}


def test_absence_is_unknown_inside_the_window() -> None:
    desk = Desk({"window": 60})
    mark = make_mark("job", begun_at=timestamp(desk.clock.now()))
    assert isinstance(desk.backend.find([mark])[mark], Unknown)
    desk.clock.advance(60)
    assert not isinstance(desk.backend.find([mark])[mark], Unknown)


def test_two_runs_with_one_mark_are_not_told_apart() -> None:
    desk = Desk({"mode": "always_creates"})
    mark = make_mark("job")
    desk.submit({"seconds": 60})
    desk.submit({"seconds": 60})
    answer = desk.backend.find([mark])[mark]
    assert isinstance(answer, Unknown)
    assert "run-00000001, run-00000002" in answer.reason
    assert len(two_live(desk.world.entries())) == 1
    assert len(twice(desk.world.entries())) == 1


def test_name_of_another_run_is_refused() -> None:
    desk = Desk()
    desk.submit({"seconds": 60}, body="one")
    with pytest.raises(BackendError, match="another run") as caught:
        desk.submit({"seconds": 60}, body="two")
    assert not caught.value.ambiguous


def test_lost_run_and_other_scope() -> None:
    desk = Desk()
    ref = desk.submit({"seconds": 60})
    before = desk.backend.scope().text
    desk.world.vanish(desk.id(ref))
    assert desk.backend.read([ref]) == {ref: Gone()}
    desk.world.set_scope("default", "another")
    assert desk.backend.scope().text != before
    desk.world.set_scope("default", None)
    with pytest.raises(BackendError):
        desk.backend.scope()


def test_hook_stands_around_each_call() -> None:
    heard: list[tuple[str, str, str]] = []
    world = World(lambda: 0.0)
    kind = ReferenceType(world=world, hook=lambda *words: heard.append(words))
    backend = kind.open(BLOCK, Place(Path(), ManualClock(), no_effect, {}))
    backend.submit(Submission("job", {}), make_mark("job"))
    assert heard == [("submit", "job", "before"), ("submit", "job", "after")]


def test_without_url_and_world_it_says_so() -> None:
    with pytest.raises(InputError, match="url"):
        TYPE.open(BLOCK, Place(Path(), ManualClock(), no_effect, {}))


def test_schemas_are_usable_and_cover_every_rule() -> None:
    schema = SpecSchema(SPEC)
    assert schema.is_valid({"command": ["a"], "timeout": "10m", "resources": {"memory": "1Gi"}, "tags": ["b", "a"]})
    assert not schema.is_valid({"comand": ["a"]})
    assert SpecSchema(SETTINGS).is_valid({"url": "http://127.0.0.1:1", "mode": "always_creates"})
    rules = {(schema.rule((name,)).class_, schema.rule((name,)).mutable) for name in MUTABLE}
    assert len(rules) == 12, "three classes times four mutabilities"


# --- the ledger's judgement -------------------------------------------------------------------------------------------


def line(kind: str, run: str, attempt: int = 1) -> Entry:
    return Entry(0.0, kind, "ns", run, "job", f"jf1-{'a' * 16}-{'b' * 16}-{attempt}-{'c' * 16}")


def test_judgement_of_a_ledger() -> None:
    whole = [line("created", "1"), line("ended", "1"), line("created", "2", 2), line("deleted", "1")]
    assert_never_two_live(whole)
    assert_no_attempt_twice(whole)
    with pytest.raises(AssertionError, match="beside 1"):
        assert_never_two_live([line("created", "1"), line("created", "2", 2)])
    with pytest.raises(AssertionError, match="again as 2"):
        assert_no_attempt_twice([line("created", "1"), line("ended", "1"), line("created", "2")])


# --- the server -------------------------------------------------------------------------------------------------------


def connect(server: ReferenceServer, namespace: str, **settings: Json) -> Backend:
    block = BackendBlock("ref", "reference", {"url": server.url, "namespace": namespace, **settings})
    return TYPE.open(block, Place(Path(), SystemClock(), no_effect, {}))


def test_match_on_the_third_page(server: ReferenceServer) -> None:
    backend = connect(server, "pages", page=3)
    marks = [make_mark(f"job{number}") for number in range(8)]
    refs = [backend.submit(Submission(mark.address, {}), mark) for mark in marks]
    assert backend.find([marks[-1]]) == {marks[-1]: Found(refs[-1], marks[-1].body)}
    pages = [entry for entry in server.entries("pages") if entry.data.get("method") == "GET"]
    assert len(pages) == 3


def test_ledger_tells_mutations_from_reads(server: ReferenceServer) -> None:
    backend = connect(server, "ledger")
    ref = backend.submit(Submission("job", {}), make_mark("job"))
    backend.read([ref])
    backend.delete(ref)
    kinds = [(entry.data["method"], entry.data["status"]) for entry in mutations(server.entries("ledger"))]
    assert kinds == [("POST", 200), ("DELETE", 200)]


def test_control_of_the_server(server: ReferenceServer) -> None:
    backend = connect(server, "control")
    ref = backend.submit(Submission("job", {"seconds": 3600}), make_mark("job"))
    value = ref.value
    assert isinstance(value, dict)
    run = str(value["id"])
    server.drift(run, {"labels": {"by": "hand"}})
    answer = backend.read([ref])[ref]
    assert isinstance(answer, Actual)
    assert answer.fields["labels"] == {"by": "hand"}
    server.end(run, 4)
    answer = backend.read([ref])[ref]
    assert isinstance(answer, Actual)
    assert answer.exit == 4
    server.vanish(run)
    assert backend.read([ref]) == {ref: Gone()}
    server.set_scope("control", None)
    with pytest.raises(BackendError):
        backend.scope()


def test_fault_rules_skip_and_run_out(server: ReferenceServer) -> None:
    server.faults(Fault(method="GET", path="/v1/namespaces/rules", skip=1, times=2, status=500))
    backend = connect(server, "rules")
    outcomes = []
    for _ in range(4):
        try:
            backend.scope()
            outcomes.append(True)
        except BackendError:
            outcomes.append(False)
    assert outcomes == [True, False, False, True]


def test_slow_answer_meets_the_timeout(server: ReferenceServer) -> None:
    server.faults(Fault(method="POST", path="/v1/namespaces/slow/runs", then=Then.PROCEED, delay=600))
    backend = connect(server, "slow", timeout=1.0)
    with pytest.raises(BackendError) as caught:
        backend.submit(Submission("job", {}), make_mark("job"))
    assert caught.value.ambiguous


def test_nobody_listens(server: ReferenceServer) -> None:
    block = BackendBlock("ref", "reference", {"url": "http://127.0.0.1:1"})
    backend = TYPE.open(block, Place(Path(), SystemClock(), no_effect, {}))
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:1") as caught:
        backend.submit(Submission("job", {}), make_mark("job"))
    assert caught.value.retryable
    assert not caught.value.ambiguous


def test_client_is_killed_after_its_request_took_effect(server: ReferenceServer) -> None:
    server.faults(Fault(method="POST", path="/v1/namespaces/killer/runs", then=Then.KILL, applied=True))
    script = (
        "import sys; from pathlib import Path; from tests.contract import test_reference_service as t\n"
        "class S: url = sys.argv[1]\n"
        "t.connect(S, 'killer').submit(t.Submission('job', {}), t.make_mark('job'))"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, server.url], env=environ, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert next(entry.kind for entry in server.entries("killer")) == "created"


def test_only_loopback_is_spoken_to() -> None:
    for url in ("http://example.com:80", "https://127.0.0.1:1", "file:///etc/passwd", "http://127.0.0.1"):
        with pytest.raises(BackendError, match=r"127\.0\.0\.1"):
            TYPE.open(BackendBlock("ref", "reference", {"url": url}), Place(Path(), SystemClock(), no_effect, {}))


def test_server_ends_with_its_parent(tmp_path: Path) -> None:
    with ReferenceServer(ledger=tmp_path / "ledger.jsonl") as server:
        connect(server, "file").scope()
        assert server.exit is None
    assert server.exit == 0, "it ended by itself, as soon as nobody held its standard input"
    assert '"path": "/v1/namespaces/file"' in (tmp_path / "ledger.jsonl").read_text()
