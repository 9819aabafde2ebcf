"""Companions of a submission that never arrived: they go, and nothing else does."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobform.model.errors import BackendError
from jobform.protocols import Absent, Mark, Ref, Submission
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.test_submit import CONFIG, Stop, named

TOKEN = {"TOKEN": {"expr": "{{ secret('T') }}", "with": {}}}


def cut(desk: Desk, spec: dict[str, object], mark: Mark) -> Mark:
    """A submission whose process ends right before the workload is made; the mark as the state has it afterwards."""

    def effect(point: str, address: str) -> None:
        if point == "kubernetes.apply.before":
            raise Stop

    with pytest.raises(Stop):
        desk.open(effect).submit(Submission(mark.address, spec, spec), mark)
    assert desk.backend.find([mark]) == {mark: Absent()}
    return replace(mark, spec=spec)


def config(desk: Desk) -> object:
    return desk.api.maybe(f"/api/v1/namespaces/{desk.namespace}/configmaps/settings")


def test_a_secret_and_a_service_of_a_job_that_was_never_made_go(desk: Desk) -> None:
    mark = cut(desk, job(nodes=2, env=TOKEN), desk.mark())
    paths = [f"/api/v1/namespaces/{desk.namespace}/{plural}/{mark.name}" for plural in ("secrets", "services")]
    assert all(desk.api.maybe(path) for path in paths)
    desk.backend.abandon(mark, [])
    assert not any(desk.api.maybe(path) for path in paths)
    desk.backend.abandon(mark, [])


def test_what_an_earlier_attempt_has_stays(desk: Desk) -> None:
    first = desk.submit(manifest("mine", CONFIG), named(desk, "mine"))
    desk.api.delete(f"{desk.jobs}/mine")
    desk.until(lambda: desk.api.maybe(f"{desk.jobs}/mine"), lambda found: found is None)
    mark = cut(desk, manifest("mine", CONFIG), named(desk, "mine", 2))
    desk.backend.abandon(mark, [Ref.of({"id": "of another type"}), first])
    assert config(desk)
    desk.backend.abandon(mark, [])
    assert not config(desk)


def test_what_is_not_ours_stays(desk: Desk) -> None:
    desk.api.create(f"/api/v1/namespaces/{desk.namespace}/configmaps", CONFIG)
    mark = replace(named(desk, "mine"), spec=manifest("mine", CONFIG))
    desk.backend.abandon(mark, [])
    assert config(desk)


def test_what_cannot_be_removed_is_told(desk: Desk) -> None:
    mark = cut(desk, manifest("mine", CONFIG), named(desk, "mine"))
    viewer = Desk(desk.cluster, desk.namespace, user="viewer")
    with closing(viewer), pytest.raises(BackendError, match=r"ConfigMap settings of attempt 1 .* could not be removed"):
        viewer.backend.abandon(mark, [])
    assert config(desk)


def refused(desk: Desk, spec: dict[str, object], mark: Mark) -> Mark:
    """A submission whose workload the server refuses; the mark as the engine gives it to `abandon`."""
    with pytest.raises(BackendError, match="could not be submitted") as caught:
        desk.backend.submit(Submission(mark.address, spec, spec), mark)
    assert "spec.parallelism" in caught.value.detail
    assert not caught.value.retryable
    return replace(mark, spec=spec)


def test_what_a_refused_workload_brought_goes(desk: Desk) -> None:
    mark = refused(desk, manifest("", CONFIG, parallelism=-1), desk.mark())
    assert config(desk)
    desk.backend.abandon(mark, [])
    assert not config(desk)


def test_what_was_there_before_survives_a_refusal(desk: Desk) -> None:
    first = desk.submit(manifest("", CONFIG), desk.mark())
    mark = refused(desk, manifest("", CONFIG, parallelism=-1), desk.mark(attempt=2))
    desk.backend.abandon(mark, [first])
    assert desk.api.get(f"/api/v1/namespaces/{desk.namespace}/configmaps/settings")["data"] == {"a": "1"}


def test_what_the_workload_of_that_name_has_stays(desk: Desk) -> None:
    """A state that went back does not know the run; and a submission may still arrive when nobody waits for it any more."""
    desk.submit(manifest("mine", CONFIG), named(desk, "mine", 3))
    mark = replace(named(desk, "mine", 2), spec=manifest("mine", CONFIG))
    desk.backend.abandon(mark, [])
    assert config(desk)


def test_what_is_older_than_the_attempt_stays(desk: Desk) -> None:
    """It may hold what earlier runs left, of which a state that was lost knows nothing."""
    mark = cut(desk, manifest("mine", CONFIG), named(desk, "mine"))
    later = datetime.now(UTC) + timedelta(minutes=10)
    desk.backend.abandon(replace(mark, begun_at=later.isoformat()), [])
    assert config(desk)
    desk.backend.abandon(replace(mark, begun_at=datetime.now(UTC).isoformat()), [])
    assert not config(desk)


def test_one_that_cannot_be_removed_keeps_no_other(desk: Desk) -> None:
    other = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "thing"}}
    mark = cut(desk, manifest("mine", CONFIG), named(desk, "mine"))
    desk.backend.abandon(replace(mark, spec=manifest("mine", other, CONFIG)), [])
    assert not config(desk)
