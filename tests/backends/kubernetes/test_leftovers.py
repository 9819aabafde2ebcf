"""Companions of a submission that never arrived: they go, and nothing else does."""

from contextlib import closing
from dataclasses import replace

import pytest

from jobform.model.errors import BackendError
from jobform.protocols import Absent, Mark, Submission
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
    desk.backend.abandon(mark, [first])
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
    with closing(viewer), pytest.raises(BackendError, match="never arrived, could not be removed"):
        viewer.backend.abandon(mark, [])
    assert config(desk)
