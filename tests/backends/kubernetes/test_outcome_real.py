"""Outcomes of real containers, by a real kubelet."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobform.model.errors import Started
from jobform.model.state import Phase
from jobform.protocols import Gone, Ref
from tests.backends.kubernetes.desk import IMAGE, Desk
from tests.cluster.cluster import Cluster


@pytest.fixture
def real(node: Cluster, node_namespace: str) -> Iterator[Desk]:
    desk = Desk(node, node_namespace)
    yield desk
    desk.close()


def run(desk: Desk, script: str, **more: Any) -> Ref:
    return desk.submit({"image": IMAGE, "command": ["sh", "-c", script], "retries": 0, **more})


def test_success_with_outputs(real: Desk) -> None:
    actual = real.reach(run(real, """printf '{"loss": 0.25}' > /dev/termination-log"""), Phase.SUCCEEDED, Phase.FAILED)
    assert (actual.phase, actual.exit, actual.outputs) == (Phase.SUCCEEDED, 0, {"loss": 0.25})
    assert actual.started_at is not None
    assert actual.ended_at is not None
    assert actual.started_at <= actual.ended_at


def test_exit_code(real: Desk) -> None:
    actual = real.reach(run(real, "exit 3"), Phase.SUCCEEDED, Phase.FAILED)
    assert (actual.phase, actual.exit, actual.class_) == (Phase.FAILED, 3, "user_error")


def test_memory(real: Desk) -> None:
    ref = run(real, "x=a; while true; do x=$x$x; done", resources={"memory": "16Mi"})
    actual = real.reach(ref, Phase.SUCCEEDED, Phase.FAILED)
    assert (actual.exit, actual.class_, actual.native_reason) == (137, "oom", "OOMKilled")


def test_deadline(real: Desk) -> None:
    actual = real.reach(run(real, "sleep 600", timeout="2s", grace_period="1s"), Phase.SUCCEEDED, Phase.FAILED)
    assert (actual.class_, actual.native_reason) == ("timeout", "DeadlineExceeded")


def test_last_of_several_tries_decides(real: Desk) -> None:
    ref = real.submit({"image": IMAGE, "command": ["sh", "-c", "exit 4"], "retries": 1})
    assert real.reach(ref, Phase.FAILED).exit == 4


@pytest.mark.parametrize(("spec", "said"), [
    ({"image": "registry.invalid/nothing:1"}, "registry.invalid/nothing:1"),
    ({"image": IMAGE, "command": ["/nowhere"]}, ""),
])
def test_what_cannot_start_says_why(real: Desk, spec: dict[str, Any], said: str) -> None:
    ref = real.submit({"retries": 0, **spec})
    if said:
        actual = real.until(lambda: real.actual(ref), lambda actual: "ImagePull" in actual.detail)
        assert said in actual.detail
        assert actual.started_at is None
        real.backend.cancel(ref, only_if_waiting=True)
    else:
        actual = real.reach(ref, Phase.FAILED)
        assert (actual.class_, actual.native_reason) == ("user_error", "StartError")
        assert actual.exit == 128


def test_stopping_a_run_needs_the_yes_and_leaves_nothing(real: Desk) -> None:
    ref = run(real, "trap 'exit 0' TERM; while true; do sleep 0.1; done")
    real.reach(ref, Phase.RUNNING)
    with pytest.raises(Started):
        real.backend.cancel(ref, only_if_waiting=True)
    assert real.actual(ref).phase is Phase.RUNNING
    real.backend.cancel(ref, only_if_waiting=False)
    real.until(lambda: real.read(ref), lambda answer: isinstance(answer, Gone))
    assert real.api.items(real.pods) == []
