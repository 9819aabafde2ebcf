"""What a real API server says that updates would do, and what they would do although it takes them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobform.backends.kubernetes.names import QUEUE_NAME
from jobform.model.state import Op
from jobform.model.values import Path
from jobform.protocols import Forecast, Intended, Ref
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.policies import queueing, refusing
from tests.backends.kubernetes.test_preflight_submit import KUEUE, NO_DRY_RUN, OK, container, one, submits
from tests.cluster.api import Object
from tests.cluster.kinds import declare

SPEC = ("objects", "Job", "spec")
POD = (*SPEC, "template", "spec")


class Run:
    """A submitted job and what an update of it would be told."""

    def __init__(self, desk: Desk, spec: Object, name: str = "") -> None:
        self.desk, self.name = desk, name
        self.mark = replace(desk.mark("train"), name=name) if name else desk.mark("train")
        self.ref: Ref = desk.submit(spec, self.mark, "train")
        self.path = f"{desk.jobs}/{self.mark.name}"

    def ask(self, spec: Object, *fields: Path, user: str = "", **more: Any) -> Forecast:
        """fields: those that differ from what was submitted."""
        desk = Desk(self.desk.cluster, self.desk.namespace, user=user) if user else self.desk
        intended = submits(desk, spec, name=self.name, ref=self.ref, fields=fields, **more)
        return one(desk, replace(intended, op=Op.UPDATE))

    def merge(self, patch: Object, manager: str = "kubectl-edit") -> None:
        self.desk.api.merge(self.path, patch, manager=manager)

    def started(self) -> "Run":
        self.desk.api.wait(self.path, lambda seen: bool(seen and seen["status"].get("startTime")), what="its start")
        return self


# --- in place, or not


@pytest.mark.parametrize(("change", "fields"), [
    ({"parallelism": 3}, [("parallelism",)]), ({"timeout": "2h"}, [("timeout",)]), ({"retries": 3}, [("retries",)]),
    ({"labels": {"team": "b"}, "annotations": {"a": "b"}}, [("labels", "team"), ("annotations", "a")]),
], ids=str)
def test_what_may_change_is_ok_and_nothing_is_changed(desk: Desk, change: Object, fields: Any) -> None:
    run = Run(desk, job(labels={"team": "a"}, parallelism=2, timeout="1h"))
    before = desk.job(run.ref)["metadata"]["generation"]
    assert run.ask(job(**{"labels": {"team": "a"}, "parallelism": 2, "timeout": "1h", **change}), *fields) == OK
    assert desk.job(run.ref)["metadata"]["generation"] == before


def test_what_may_not_change_is_fixed_with_the_fields_that_make_it(desk: Desk) -> None:
    """The server says no more than `spec.template`: the changed fields in it are the ones."""
    run = Run(desk, job(env={"A": "1"}, parallelism=2))
    changed = job(env={"A": "2"}, parallelism=3, resources={"memory": "2Gi"}, labels={"team": "a"})
    forecast = run.ask(changed, ("env", "A"), ("parallelism",), ("resources", "memory"), ("labels", "team"))
    assert (forecast.verdict, forecast.paths) == ("fixed", (("env", "A"), ("resources", "memory")))
    assert forecast.detail == f"Job {run.mark.name} does not let spec.template be changed in place"


def test_several_fixed_parts_are_told_together(desk: Desk) -> None:
    run = Run(desk, manifest("train", completions=4, parallelism=2), "train")
    changed = manifest("train", completions=5, parallelism=3, backoffLimit=2, template=container(image="other"))
    image = (*POD, "containers", "[name=main]", "image")
    forecast = run.ask(changed, (*SPEC, "backoffLimit"), (*SPEC, "completions"), (*SPEC, "parallelism"), image)
    assert (forecast.verdict, set(forecast.paths)) == ("fixed", {(*SPEC, "completions"), image})


def test_a_field_that_differs_as_a_whole_list_is_found_too(desk: Desk) -> None:
    """Where the schema tells items apart by nothing, the list is the field."""
    run = Run(desk, manifest("train"), "train")
    containers = (*POD, "containers")
    forecast = run.ask(manifest("train", template=container(image="other")), containers, ("labels", "a"))
    assert (forecast.verdict, forecast.paths) == ("fixed", (containers,))


def test_the_template_of_a_suspended_job_may_change_in_part(desk: Desk) -> None:
    """Its scheduling, labels and annotations, and not its image: version 1.27 to 1.35."""
    run = Run(desk, manifest("train", suspend=True), "train")
    directed = manifest("train")["objects"]["Job"]["spec"]["template"]
    directed["spec"]["nodeSelector"] = {"zone": "b"}
    directed["metadata"] = {"labels": {"app": "b"}}
    selector, label = (*POD, "nodeSelector"), (*SPEC, "template", "metadata", "labels", "app")
    directed["spec"]["containers"] = desk.job(run.ref)["spec"]["template"]["spec"]["containers"]
    assert run.ask(manifest("train", suspend=True, template=directed), selector, label) == OK
    run.merge({"spec": {"suspend": False}})
    run.started()
    after = run.ask(manifest("train", suspend=False, template=directed), selector, label)
    assert (after.verdict, after.paths) == ("fixed", (selector, label))


def test_values_that_the_server_refuses_are_refused_with_their_place(desk: Desk) -> None:
    run = Run(desk, job(parallelism=1))
    forecast = run.ask(job(parallelism=-1), ("parallelism",))
    assert (forecast.verdict, forecast.path) == ("refused", ("parallelism",))
    assert forecast.summary.endswith("spec.parallelism: Invalid value: -1: must be greater than or equal to 0")


def test_an_immutable_companion_is_fixed(desk: Desk) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "immutable": True, "data": {"a": "1", "b": "1"}}
    run = Run(desk, manifest("train", config), "train")
    changed = manifest("train", {**config, "data": {"a": "2", "b": "1"}}, backoffLimit=4)
    data = ("objects", "ConfigMap/c", "data", "a")
    forecast = run.ask(changed, data, (*SPEC, "backoffLimit"))
    assert (forecast.verdict, forecast.paths, forecast.detail) == (
        "fixed", (data,), "ConfigMap c does not let data be changed in place")
    assert run.ask(manifest("train", config, backoffLimit=4), (*SPEC, "backoffLimit")) == OK


# --- others


def test_what_others_hold_is_told_and_taken_back(desk: Desk) -> None:
    run = Run(desk, job(parallelism=2, labels={"example.com/team": "a"}))
    run.merge({"spec": {"parallelism": 5}}, "kubectl-scale")
    run.merge({"metadata": {"labels": {"example.com/team": "b"}}}, "kubectl-label")
    assert run.ask(job(parallelism=2, labels={"example.com/team": "a"}, timeout="1h"), ("timeout",)) == Forecast("ok", warnings=(
        f"Job {run.mark.name}: metadata.labels.example.com/team was set by kubectl-label; the update takes it back",
        f"Job {run.mark.name}: spec.parallelism was set by kubectl-scale; the update takes it back",
    ))


def test_a_conflict_does_not_hide_what_cannot_change(desk: Desk) -> None:
    run = Run(desk, job(parallelism=2))
    run.merge({"spec": {"parallelism": 5}}, "kubectl-scale")
    forecast = run.ask(job(parallelism=3, env={"A": "1"}), ("parallelism",), ("env", "A"))
    assert (forecast.verdict, forecast.paths) == ("fixed", (("env", "A"),))
    assert forecast.warnings == (f"Job {run.mark.name}: spec.parallelism was set by kubectl-scale; the update takes it back",)


def test_a_job_that_is_gone_is_refused(desk: Desk) -> None:
    run = Run(desk, manifest("train"), "train")
    desk.api.delete(run.path)
    desk.api.wait(run.path, lambda seen: seen is None)
    forecast = run.ask(manifest("train", backoffLimit=2), (*SPEC, "backoffLimit"))
    assert forecast == Forecast(
        "refused", summary=f"Job {desk.namespace}/train is not there any more: it was removed", hint="run plan again")


def test_another_object_of_the_name_is_refused_and_not_called_immutable(desk: Desk) -> None:
    run = Run(desk, manifest("train"), "train")
    desk.api.delete(run.path)
    desk.api.wait(run.path, lambda seen: seen is None)
    desk.api.create(desk.jobs, {"metadata": {"name": "train"}, "spec": {"template": container()}})
    forecast = run.ask(manifest("train", template=container(image="y")), POD)
    why = f"Job {desk.namespace}/train is not there any more: another object has its name"
    assert forecast == Forecast("refused", summary=why, hint="run plan again")


def test_a_policy_that_calls_a_field_immutable_fixes_it(desk: Desk) -> None:
    """Webhooks of queues answer so, without a word on which field but in their text."""
    run = Run(desk, job(labels={"tier": "a"}))
    same = "object.metadata.labels[?'tier'] == oldObject.metadata.labels[?'tier']"
    condition = f"request.operation == 'CREATE' ? !('probe' in object.metadata.labels) : ({same})"
    said = "metadata.labels[tier]: Invalid value: field is immutable"
    with refusing(desk.api, desk.namespace, condition, said) as policy:
        forecast = run.ask(job(labels={"tier": "b"}, timeout="1h"), ("labels", "tier"), ("timeout",))
        why = f"the admission policy {policy} does not let metadata.labels[tier] be changed now"
        assert forecast == Forecast("fixed", (("labels", "tier"),), detail=why)
        assert run.ask(job(labels={"tier": "a"}, timeout="1h"), ("timeout",)) == OK


# --- restarts


@pytest.fixture
def queued(desk: Desk) -> Iterator[Desk]:
    """A namespace in which labelled jobs wait for a queue."""
    declare(desk.api, *KUEUE)
    body = {"apiVersion": KUEUE[0].api, "kind": "LocalQueue", "metadata": {"name": "team-a"}, "spec": {"clusterQueue": "any"}}
    desk.api.apply(KUEUE[0].path(desk.namespace, "team-a"), body)
    with queueing(desk.api, desk.namespace):
        yield desk


def queue_job(**more: Any) -> Object:
    return job(queue="team-a", node_selector={"zone": "a"}, **more)


def admit(run: Run) -> Run:
    """As Kueue does it."""
    run.merge({"spec": {"suspend": False, "template": {
        "metadata": {"labels": {"kueue.x-k8s.io/podset": "main"}}, "spec": {"nodeSelector": {"zone": "a", "gpu": "h100"}},
    }}}, "kueue")
    return run.started()


NUMBER = "its queue stops all its pods and admits it anew when their number changes"


def test_more_pods_of_a_waiting_job_are_ok_and_of_an_admitted_one_restart_it(queued: Desk) -> None:
    run = Run(queued, queue_job(parallelism=2, completions=4))
    more = queue_job(parallelism=3, completions=4)
    assert run.ask(more, ("parallelism",)) == Forecast("ok")
    admit(run)
    assert run.ask(more, ("parallelism",)) == Forecast("restarts", (("parallelism",),), detail=NUMBER)


def test_a_change_that_leaves_the_number_of_pods_is_ok(queued: Desk) -> None:
    run = admit(Run(queued, queue_job(parallelism=5, completions=4)))
    assert run.ask(queue_job(parallelism=6, completions=4, timeout="1h"), ("parallelism",), ("timeout",)).verdict == "ok"


def test_an_indexed_job_changes_both(queued: Desk) -> None:
    run = admit(Run(queued, queue_job(parallelism=2, completions=2, indexed=True)))
    forecast = run.ask(queue_job(parallelism=3, completions=3, indexed=True), ("completions",), ("parallelism",))
    assert (forecast.verdict, set(forecast.paths)) == ("restarts", {("parallelism",), ("completions",)})


def test_what_a_queue_merged_in_is_no_conflict(queued: Desk) -> None:
    """nodeSelector is Kueue's by now, and sending ours again would be refused."""
    run = admit(Run(queued, queue_job()))
    assert run.ask(queue_job(timeout="1h"), ("timeout",)) == Forecast("ok")


@pytest.mark.parametrize("admitted", [False, True])
def test_leaving_its_queue_strands_a_job(queued: Desk, admitted: bool) -> None:
    run = Run(queued, job(queue="team-a"))
    if admitted:
        admit(run)
    forecast = run.ask(job(timeout="1h"), ("queue",), ("timeout",))
    assert (forecast.verdict, forecast.paths) == ("restarts", (("queue",),))
    assert forecast.detail == "without its label it would leave queue team-a, wait for ever and still hold its quota there"


def test_a_queue_that_a_webhook_gave_is_not_left(desk: Desk) -> None:
    run = Run(desk, job())
    run.merge({"metadata": {"labels": {QUEUE_NAME: "default"}}}, "kueue")
    assert run.ask(job(timeout="1h"), ("timeout",)) == OK


def test_suspending_a_running_job_restarts_it(desk: Desk) -> None:
    run = Run(desk, manifest("train"), "train").started()
    suspend = (*SPEC, "suspend")
    assert run.ask(manifest("train", suspend=True, backoffLimit=2), suspend, (*SPEC, "backoffLimit")) == Forecast(
        "restarts", (suspend,), detail="suspending it stops its pods; it starts from the beginning when it is resumed")


def test_resuming_a_suspended_job_starts_it(desk: Desk) -> None:
    run = Run(desk, manifest("train", suspend=True), "train")
    assert run.ask(manifest("train", suspend=False), (*SPEC, "suspend")) == OK


def test_more_pods_of_a_job_without_a_queue_are_started_beside_the_others(desk: Desk) -> None:
    run = Run(desk, job(parallelism=2)).started()
    assert run.ask(job(parallelism=5), ("parallelism",)) == OK


# --- an account that may only read


def test_a_reader_is_told_what_the_servers_version_fixes(desk: Desk) -> None:
    run = Run(desk, job(parallelism=2)).started()
    changed = job(parallelism=3, env={"A": "1"}, labels={"a": "b"})
    forecast = run.ask(changed, ("parallelism",), ("env", "A"), ("labels", "a"), user="viewer")
    assert (forecast.verdict, forecast.paths, forecast.summary) == ("fixed", (("env", "A"),), NO_DRY_RUN)
    assert run.ask(job(parallelism=3), ("parallelism",), user="viewer").verdict == "unasked"


def test_a_reader_is_told_what_would_restart(queued: Desk) -> None:
    run = admit(Run(queued, queue_job(parallelism=2)))
    forecast = run.ask(queue_job(parallelism=3), ("parallelism",), user="viewer")
    assert (forecast.verdict, forecast.paths, forecast.detail) == ("restarts", (("parallelism",),), NUMBER)


def test_who_may_not_even_read_is_told_that(desk: Desk) -> None:
    run = Run(desk, job())
    assert run.ask(job(timeout="1h"), ("timeout",), user="nobody") == Forecast(
        "unasked", summary=NO_DRY_RUN, detail=f"it needs get on jobs.batch in namespace {desk.namespace}",
        hint="grant it, or rely on the field rules and on what the cluster records of its objects",
    )


# --- many


@pytest.mark.slow
def test_500_new_jobs_are_500_dry_runs_in_seconds(desk: Desk) -> None:
    backend: Any = desk.open()
    intended: list[Intended] = [submits(desk, job(env={"N": str(number)}), f"job-{number}") for number in range(500)]
    start = time.monotonic()
    answers = backend.preflight(intended, 10)
    assert set(answers.values()) == {OK}
    assert len(answers) == 500
    assert time.monotonic() - start < 60, "two where nobody else is at work"
