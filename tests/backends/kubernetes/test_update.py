"""Changes in place and the release after the end, on a real API server: this object or none, nobody's change undone unseen."""

from typing import Any

import pytest

from jobform.backends.kubernetes.refs import JobRef
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.protocols import Actual, Gone, Ref, Submission
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.hand import Hand, ended, status
from tests.cluster.api import Object

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


def path(desk: Desk, ref: Ref) -> str:
    return f"{desk.jobs}/{JobRef.parse(ref).name}"


def change(desk: Desk, ref: Ref, spec: Object, expected: Actual | None = None, *, field: str = "labels") -> Actual:
    return desk.backend.update(ref, Submission("job", spec, changes=((field,),)), expected or desk.actual(ref))


def finish(desk: Desk, ref: Ref) -> None:
    Hand(desk.api, desk.namespace).put(desk.pod(ref)["metadata"]["name"], status("Succeeded", ended(0)))
    desk.reach(ref, Phase.SUCCEEDED)


def test_fields_change_and_what_was_dropped_goes(desk: Desk) -> None:
    ref = desk.submit(job(labels={"a": "1", "b": "2"}))
    after = change(desk, ref, job(labels={"a": "9"}, timeout="1h"))
    live = desk.job(ref)
    assert (live["metadata"]["labels"]["a"], live["metadata"]["labels"].get("b")) == ("9", None)
    assert live["spec"]["activeDeadlineSeconds"] == 3600
    assert live["metadata"]["uid"] == JobRef.parse(ref).uid
    assert after.phase is Phase.PENDING
    assert desk.backend.find([desk.mark()])[desk.mark()].ref == ref  # type: ignore[union-attr]  # it is Found


def test_what_others_added_stays_and_what_they_took_is_taken_back(desk: Desk) -> None:
    ref = desk.submit(job(labels={"a": "1"}))
    theirs = {"metadata": {"labels": {"a": "theirs", "c": "theirs"}, "annotations": {"note": "theirs"}}}
    desk.api.merge(path(desk, ref), theirs, manager="kubectl-edit")
    change(desk, ref, job(labels={"a": "1"}))
    metadata = desk.job(ref)["metadata"]
    assert (metadata["labels"]["a"], metadata["labels"]["c"], metadata["annotations"]["note"]) == ("1", "theirs", "theirs")


@pytest.mark.parametrize("body", [
    {"metadata": {"labels": {"c": "x"}}}, {"metadata": {"annotations": {"c": "x"}}}, {"spec": {"parallelism": 3}},
])
def test_a_change_since_the_look_is_refused(desk: Desk, body: Object) -> None:
    ref = desk.submit(job())
    seen = desk.actual(ref)
    desk.api.merge(path(desk, ref), body, manager="kubectl-edit")
    with pytest.raises(BackendError, match="could not be changed in place") as caught:
        change(desk, ref, job(labels={"a": "1"}), seen)
    assert "changed since it was looked at" in caught.value.detail
    assert "a" not in desk.job(ref)["metadata"]["labels"]


def test_a_status_that_moved_is_no_change(desk: Desk) -> None:
    ref = desk.submit(job())
    seen = desk.actual(ref)
    pod = desk.pod(ref)["metadata"]["name"]
    Hand(desk.api, desk.namespace).put(pod, status("Running", {"running": {"startedAt": "2026-01-02T03:04:05Z"}}))
    desk.reach(ref, Phase.RUNNING)
    assert change(desk, ref, job(labels={"a": "1"}), seen).phase is Phase.RUNNING


def test_what_cannot_change_names_the_field_and_no_dump(desk: Desk) -> None:
    ref = desk.submit(job())
    with pytest.raises(BackendError) as caught:
        change(desk, ref, {**job(), "image": "other:1"}, field="image")
    assert "spec.template" in caught.value.detail
    assert "TypeMeta" not in caught.value.detail
    assert len(caught.value.detail) < 1000
    assert not caught.value.retryable


def test_another_object_of_the_name_is_not_changed(desk: Desk) -> None:
    ref = desk.submit(job())
    seen = desk.actual(ref)
    desk.api.delete(path(desk, ref))
    desk.until(lambda: desk.api.maybe(path(desk, ref)), lambda found: found is None)
    with pytest.raises(BackendError, match="could not be changed in place"):
        change(desk, ref, job(labels={"a": "1"}), seen)
    assert desk.api.items(desk.jobs) == []
    desk.submit(job())
    with pytest.raises(BackendError, match="could not be changed in place"):
        change(desk, ref, job(labels={"a": "1"}), seen)
    assert "a" not in desk.job(ref)["metadata"]["labels"]


@pytest.mark.parametrize("again", [False, True])
def test_an_object_that_goes_while_it_is_changed_is_not_made_again(desk: Desk, *, again: bool) -> None:
    ref = desk.submit(job())
    seen = desk.actual(ref)

    def meanwhile(point: str, address: str) -> None:
        if point == "kubernetes.patch.before":
            desk.api.delete(path(desk, ref))
            desk.until(lambda: desk.api.maybe(path(desk, ref)), lambda found: found is None)
            if again:
                desk.submit(job())

    with pytest.raises(BackendError, match="could not be changed in place") as caught:
        desk.open(meanwhile).update(ref, Submission("job", job(labels={"a": "1"})), seen)
    assert "not there any more" in caught.value.detail
    left = desk.api.items(desk.jobs)
    assert ["a" in found["metadata"]["labels"] for found in left] == [False] * again


def test_shared_companions_change_with_it(desk: Desk) -> None:
    ref = desk.submit(manifest("", CONFIG))
    labelled = {**CONFIG, "metadata": {"name": "settings", "labels": {"team": "a"}}}
    change(desk, ref, manifest("", labelled))
    found = desk.api.get(f"/api/v1/namespaces/{desk.namespace}/configmaps/settings")
    assert found["metadata"]["labels"]["team"] == "a"
    assert found["metadata"]["uid"] == JobRef.parse(ref).companions[0].uid
    assert desk.backend.find([desk.mark()])[desk.mark()].ref == ref  # type: ignore[union-attr]  # it is Found


@pytest.mark.parametrize("made", ["vocabulary", "manifest"])
def test_the_time_to_live_is_sent_after_the_end(desk: Desk, made: str) -> None:
    def spec(**more: Any) -> Object:
        return job(ttl="1h", **more) if made == "vocabulary" else manifest("", ttlSecondsAfterFinished=3600, **more)

    ref = desk.submit(spec())
    assert "ttlSecondsAfterFinished" not in desk.job(ref)["spec"]
    finish(desk, ref)
    desk.backend.release(ref, Submission("job", spec()))
    assert desk.job(ref)["spec"]["ttlSecondsAfterFinished"] == 3600
    generation = desk.job(ref)["metadata"]["generation"]
    desk.backend.release(ref, Submission("job", spec()))
    assert desk.job(ref)["metadata"]["generation"] == generation
    writers = {entry["manager"] for entry in desk.job(ref)["metadata"]["managedFields"] if "subresource" not in entry}
    assert writers == {"jobform", "jobform-release"}


def test_what_was_released_goes_by_itself_and_leaves_nothing(desk: Desk) -> None:
    ref = desk.submit(job(ttl="1s"))
    finish(desk, ref)
    desk.backend.release(ref, Submission("job", job(ttl="1s")))
    desk.until(lambda: desk.read(ref), lambda answer: isinstance(answer, Gone))
    desk.until(lambda: desk.pods_of(ref), lambda pods: pods == [])
    desk.backend.release(ref, Submission("job", job(ttl="1s")))
    assert desk.api.items(desk.jobs) == []


def test_nothing_is_released_of_a_job_that_holds_nothing_back(desk: Desk) -> None:
    ref = desk.submit(job())
    before = desk.job(ref)["metadata"]["generation"]
    desk.backend.release(ref, Submission("job", job()))
    assert desk.job(ref)["metadata"]["generation"] == before
