"""A service that fails, before or after a request took effect: what an apply makes of it, and that nothing runs twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobform.model.clock import SystemClock
from jobform.model.job import BackendBlock
from jobform.protocols import Actual, Place, Submission, no_effect
from jobform.sandbox.faults import Fault, Then
from jobform.testing.ledger import CREATED, mutations
from jobform.testing.marks import make_mark
from jobform.testing.reference import TYPE
from jobform.testing.server import ReferenceServer
from tests.support import Warm, assert_exactly_once, read_state
from tests.sweep.scenes import ServerScene

MODES = ["idempotent", "always_creates"]

HTML = {"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<html>please log in</html>"}


@pytest.fixture(params=MODES)
def scene(request: pytest.FixtureRequest, tmp_path: Path, warm: Warm, server: ReferenceServer) -> ServerScene:
    server.faults()
    return ServerScene.make(tmp_path / "project", warm, 4, server, request.param)


def submits(scene: ServerScene) -> str:
    return f"/v1/namespaces/{scene.namespace}/runs"


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize(
    "fault",
    [
        {"then": Then.DROP, "applied": True}, {"then": Then.DROP}, {"then": Then.HALF}, {"status": 502, "applied": True},
        {"status": 503}, {"status": 429, "headers": {"Retry-After": "1"}},
    ],
    ids=["lost answer", "lost request", "half an answer", "error after", "error before", "throttled"],
)
def test_submission_that_fails_once_is_made_once(scene: ServerScene, fault: dict[str, object], skip: int) -> None:
    scene.server.faults(Fault(method="POST", path=submits(scene), skip=skip, **fault))
    scene.settle()


def test_client_killed_by_the_answer(scene: ServerScene) -> None:
    scene.server.faults(Fault(method="POST", path=submits(scene), then=Then.KILL, applied=True))
    assert scene.apply().exit == -9
    scene.settle()


def test_refusal_is_reported_and_the_others_go_on(scene: ServerScene) -> None:
    denied = '{"code": "denied", "message": "the quota is used up"}'
    scene.server.faults(Fault(method="POST", path=submits(scene), status=403, body=denied))
    result = scene.apply()
    assert result.exit == 7, result
    assert "the quota is used up" in result.stdout + result.stderr
    entries = scene.entries()
    assert len([entry for entry in entries if entry.kind == CREATED]) in (1, 2), "the other one of two roots was submitted"
    scene.settle()


@pytest.mark.parametrize("fault", [{"status": 500}, {"then": Then.DROP}, HTML], ids=["error", "lost", "html"])
@pytest.mark.parametrize("skip", [0, 2, 5])
def test_read_that_fails_makes_no_second_run(scene: ServerScene, fault: dict[str, object], skip: int) -> None:
    scene.server.faults(Fault(method="GET", path=f"{submits(scene)}.*", skip=skip, times=2, **fault))
    scene.apply()
    scene.server.faults()
    scene.settle()


def test_service_that_is_away_changes_nothing(scene: ServerScene) -> None:
    scene.server.faults(Fault(path=f"/v1/namespaces/{scene.namespace}.*", times=10_000, then=Then.DROP))
    result = scene.apply()
    assert result.exit in (1, 7), result
    assert scene.server.url.removeprefix("http://") in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    scene.server.faults()
    scene.settle()


def test_runs_that_the_service_forgot_are_not_made_again(scene: ServerScene) -> None:
    scene.settle()
    for entry in scene.entries():
        if entry.kind == CREATED:
            scene.server.vanish(entry.run)
    before = len(mutations(scene.entries()))
    again = scene.apply()
    assert again.exit == 0, again
    assert len(mutations(scene.entries())) == before


def test_other_scope_stops_everything_while_something_runs(tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """F49: what another place does not have is not gone."""
    server.faults()
    scene = ServerScene.make(tmp_path / "project", warm, 4, server, "always_creates", seconds=3600)
    assert scene.apply("--detach").exit == 0
    before = len(mutations(scene.entries()))
    for uid in ("another", None):
        server.set_scope(scene.namespace, uid)
        result = scene.apply("--detach")
        assert result.exit == 1, result
        assert scene.namespace in result.stdout + result.stderr
    assert len(mutations(scene.entries())) == before
    state = read_state(scene.directory)
    assert state is not None
    assert_exactly_once(state, scene.entries())


def test_name_of_a_stranger_is_neither_adopted_nor_deleted(tmp_path: Path, warm: Warm, server: ReferenceServer) -> None:
    """F45: the state's lineage is known after an apply that may submit nothing; then somebody else takes a name of ours."""
    scene = ServerScene.make(tmp_path / "project", warm, 4, server, "idempotent")
    server.faults(Fault(method="POST", path=submits(scene), times=10_000, status=403))
    scene.apply()
    server.faults()
    state = read_state(scene.directory)
    assert state is not None
    block = BackendBlock("ref", "reference", {"url": server.url, "namespace": scene.namespace})
    stranger = TYPE.open(block, Place(tmp_path, SystemClock(), no_effect, {}))
    theirs = replace(make_mark("solo", lineage="theirs"), name=make_mark("solo", lineage=state.lineage).name)
    run = stranger.submit(Submission("solo", {"seconds": 3600}), theirs)
    result = scene.apply()
    assert result.exit == 7, result
    assert "solo" in result.stdout + result.stderr
    answer = stranger.read([run])[run]
    assert isinstance(answer, Actual)
    assert answer.phase == "running"
