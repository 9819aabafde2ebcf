"""What a real API server says that submissions would do, without anything being made."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobform.backends.kubernetes.names import QUEUE_NAME
from jobform.backends.kubernetes.queue_check import QueueCheck
from jobform.backends.kubernetes.refusals import Asked
from jobform.backends.kubernetes.site import Site
from jobform.model.errors import BackendError
from jobform.model.state import Op
from jobform.protocols import UNKNOWN_TEXT, Forecast, Intended, Mark, Preflight, Ref, Submission
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.policies import refusing
from tests.cluster.api import Object
from tests.cluster.kinds import Declared, declare
from tests.cluster.quota import forbid
from tests.cluster.roles import await_right

OK = Forecast("ok")
NO_DRY_RUN = "this account may not ask the server for a dry run"
KUEUE = tuple(
    Declared("kueue.x-k8s.io", "v1beta2", kind, plural, namespaced)
    for kind, plural, namespaced in (
        ("LocalQueue", "localqueues", True), ("WorkloadPriorityClass", "workloadpriorityclasses", False),
    )
)


def submits(desk: Desk, spec: Object, address: str = "train", name: str = "", **more: Any) -> Intended:
    """The first attempt of a job. name: its manifest's own."""
    mark: Mark = desk.mark(address)
    return Intended(Op.SUBMIT, Submission(address, spec, spec), replace(mark, name=name) if name else mark, **more)


def ask(desk: Desk, *intended: Intended, parallelism: int = 4) -> dict[str, Forecast]:
    """What a plan that starts now is told."""
    backend = desk.open()
    assert isinstance(backend, Preflight)
    return dict(backend.preflight(intended, parallelism))


def one(desk: Desk, intended: Intended) -> Forecast:
    return ask(desk, intended)[intended.mark.address]


def of_job(desk: Desk, **spec: Any) -> Forecast:
    """What is said of a manifest named `train` whose Job has these fields more."""
    return one(desk, submits(desk, manifest("train", **spec), name="train"))


def container(**more: Any) -> Object:
    """A pod template of one container with these fields more."""
    return {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x", **more}]}}


def in_template(*path: str) -> tuple[str, ...]:
    return ("objects", "Job", "spec", "template", "spec", *path)


MAIN = in_template("containers", "[name=main]")
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


def test_what_is_fine_is_ok_and_nothing_is_made(desk: Desk) -> None:
    spec = manifest("adopted", CONFIG)
    answers = ask(desk, submits(desk, job(nodes=2, secrets={})), submits(desk, spec, "adopted", "adopted"))
    assert answers == {"train": OK, "adopted": OK}
    assert desk.api.items(desk.jobs) == []
    configs = {each["metadata"]["name"] for each in desk.api.items(f"/api/v1/namespaces/{desk.namespace}/configmaps")}
    assert configs <= {"kube-root-ca.crt"}, "which a controller makes in each namespace"


def test_nothing_asked_is_no_call(desk: Desk) -> None:
    desk.settings["kubeconfig"] = "/nonexistent"
    assert ask(desk) == {}


@pytest.mark.parametrize(("template", "path", "said"), [
    (container(comand=["x"]), (*MAIN, "comand"), "Job has no field spec.template.spec.containers[name=main].comand"),
    (container(image=None), (*MAIN, "image"), "spec.template.spec.containers[name=main].image: Required value"),
    (container(imagePullPolicy="Sometimes"), (*MAIN, "imagePullPolicy"), 'Unsupported value: "Sometimes"'),
    (container(env=[{"name": "A", "value": 1}]), (*MAIN, "env", "[name=A]", "value"), "expected string, got 1"),
    (container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), (*MAIN, "env"), "duplicate entries for key"),
    (container(resources={"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "2"}}),
     (*MAIN, "resources", "requests"), 'Invalid value: "2": must be equal to nvidia.com/gpu limit of 1'),
    (container(resources={"limits": {"memory": "1Gb"}}), (*MAIN, "resources", "limits", "memory"), "'1Gb' is no quantity"),
    ({"spec": {**container()["spec"], "restartPolicy": "Always"}}, in_template("restartPolicy"), 'valid values: "OnFailure"'),
], ids=lambda value: value[-1] if isinstance(value, tuple) else "")
def test_a_field_that_the_server_refuses_is_told_with_its_place(desk: Desk, template: Any, path: Any, said: str) -> None:
    forecast = of_job(desk, template=template)
    assert (forecast.verdict, forecast.path) == ("refused", path)
    assert said in forecast.summary
    assert len(forecast.summary) < 400


def test_several_wrong_fields_are_told_together(desk: Desk) -> None:
    forecast = of_job(desk, parallelism=-1, backoffLimit=-2)
    assert forecast == Forecast(
        "refused", path=("objects", "Job", "spec", "parallelism"),
        summary="Job train would be refused: spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
        detail="spec.backoffLimit: Invalid value: -2: must be greater than or equal to 0",
    )
    assert of_job(desk, foo=1) == Forecast(
        "refused", path=("objects", "Job", "spec", "foo"), summary="Job has no field spec.foo",
        hint="correct or remove it; the server would not keep it",
    )


def test_a_field_of_the_vocabulary_has_its_own_name(desk: Desk) -> None:
    forecast = one(desk, submits(desk, job(env={"ok": "1", "a=b": "2"})))
    assert (forecast.verdict, forecast.path) == ("refused", ("env", "a=b"))


def test_a_label_with_dots_is_told_whole(desk: Desk) -> None:
    forecast = one(desk, submits(desk, job(labels={"example.com/team": "not ok!"})))
    assert (forecast.verdict, forecast.path) == ("refused", ("labels", "example.com/team"))
    assert 'metadata.labels: Invalid value: "not ok!"' in forecast.summary


def test_a_foreign_object_of_the_name_is_taken(desk: Desk) -> None:
    desk.api.apply(f"{desk.jobs}/train", {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"},
        "spec": {"suspend": True, "template": container()},
    }, manager="kubectl-create")
    desk.api.wait(f"{desk.jobs}/train", lambda seen: bool(seen and seen["status"].get("conditions")))
    assert of_job(desk) == Forecast(
        "taken", path=("objects", "Job", "metadata", "name"), summary="Job train exists already and is not this job's",
        detail="it was not made by jobform; its fields are managed by kubectl-create, kube-controller-manager",
        hint="give it another metadata.name, or remove that object if nobody needs it",
    )


def test_a_foreign_companion_is_taken_and_an_own_one_is_brought_up_to_date(desk: Desk) -> None:
    configs = f"/api/v1/namespaces/{desk.namespace}/configmaps"
    desk.api.create(configs, CONFIG, fieldManager="helm")
    forecast = one(desk, submits(desk, manifest("train", CONFIG), name="train"))
    assert (forecast.verdict, forecast.summary) == ("taken", "ConfigMap settings exists already and is not this job's")
    assert forecast.path == ("objects", "ConfigMap/settings", "metadata", "name")
    desk.api.delete(f"{configs}/settings")
    desk.submit(manifest("train", CONFIG), replace(desk.mark("train"), name="train"), "train")
    changed = {**CONFIG, "data": {"a": "2"}}
    again = submits(desk, manifest("next", changed), name="next")
    assert one(desk, again) == OK
    assert desk.api.get(f"{configs}/settings")["data"] == {"a": "1"}


def test_a_secret_in_plain_words_is_taken_without_a_warning(desk: Desk) -> None:
    """`stringData` is only written: that the server shows none is no field that it drops."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"a": "one"}}
    assert one(desk, submits(desk, manifest("train", secret), name="train")) == Forecast("ok")


def test_an_immutable_companion_is_refused(desk: Desk) -> None:
    fixed = {**CONFIG, "immutable": True}
    desk.submit(manifest("train", fixed), replace(desk.mark("train"), name="train"), "train")
    forecast = one(desk, submits(desk, manifest("next", {**fixed, "data": {"a": "2"}}), name="next"))
    assert forecast == Forecast(
        "refused", path=("objects", "ConfigMap/settings", "data"),
        summary="ConfigMap settings exists, and data of it cannot be changed", hint="remove it, or give it another name",
    )


def replaced(desk: Desk, **spec: Any) -> Intended:
    """A second attempt under the manifest's own name, whose first one is there."""
    ref: Ref = desk.submit(manifest("train"), replace(desk.mark("train"), name="train"), "train")
    body = manifest("train", **spec)
    return Intended(Op.SUBMIT, Submission("train", body, body), replace(desk.mark("train", 2), name="train"), ref, ends=True)


def test_a_job_that_keeps_its_name_is_asked_as_a_new_one(desk: Desk) -> None:
    """Its image could not be changed in place, and its ended object is gone by then."""
    intended = replaced(desk, template=container(image="other"))
    assert one(desk, intended) == OK
    assert one(desk, replace(intended, ref=None, ends=False)) == OK
    assert [each["metadata"]["name"] for each in desk.api.items(desk.jobs)] == ["train"]


def test_what_is_wrong_with_such_a_job_is_told_all_the_same(desk: Desk) -> None:
    forecast = one(desk, replaced(desk, template=container(image="")))
    assert (forecast.verdict, forecast.path) == ("refused", (*MAIN, "image"))


def test_an_attempt_that_was_submitted_already_is_ok(desk: Desk) -> None:
    desk.submit(job(), desk.mark("train"), "train")
    assert one(desk, submits(desk, job())) == OK


def test_a_quota_that_is_used_up_refuses(desk: Desk) -> None:
    forbid(desk.api, desk.namespace, "few", "count/jobs.batch")
    forecast = one(desk, submits(desk, job()))
    name = desk.mark("train").name
    assert forecast == Forecast(
        "refused", summary=f"a quota of the namespace does not let Job {name} be created",
        detail="exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0",
        hint="remove what has ended, or ask for a greater quota",
    )
    assert one(desk, submits(desk, job(env={"A": UNKNOWN_TEXT}), partial=True)).verdict == "refused"


def test_a_policy_of_the_cluster_is_named(desk: Desk) -> None:
    condition = "has(object.metadata.labels) && 'team' in object.metadata.labels"
    with refusing(desk.api, desk.namespace, condition, "every job names its team") as policy:
        assert one(desk, submits(desk, job())) == Forecast(
            "refused", summary=f"the admission policy {policy} refuses Job {desk.mark('train').name}",
            detail="every job names its team",
        )
        assert one(desk, submits(desk, job(labels={"team": "a"}))) == OK


def test_a_webhook_that_cannot_be_reached_refuses_everything(desk: Desk) -> None:
    name = f"absent.{desk.namespace}.example.com"
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    desk.api.create(hooks, {"metadata": {"name": name}, "webhooks": [{
        "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 1,
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": desk.namespace}},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["jobs"]}],
    }]})
    try:
        forecast = desk.until(lambda: one(desk, submits(desk, job())), lambda seen: seen.verdict != "ok")
    finally:
        desk.api.delete(f"{hooks}/{name}")
    assert (forecast.verdict, forecast.path) == ("refused", None)
    assert forecast.summary == f"an admission webhook cannot be reached, so Job {desk.mark('train').name} would be refused"
    assert f'failed calling webhook "{name}"' in forecast.detail


def test_a_namespace_that_is_not_there(desk: Desk) -> None:
    desk.settings["namespace"] = "nosuch"
    assert one(desk, submits(desk, job())) == Forecast(
        "refused", summary="there is no namespace nosuch in this cluster",
        hint="create it (kubectl create namespace nosuch), or correct `namespace` of the backend",
    )


def test_a_kind_that_the_cluster_does_not_have(desk: Desk) -> None:
    kinds = {"Nobody": {"api": "nobody.example.com/v1", "kind": "Nobody", "plural": "nobodies", "status": [
        {"condition": "Done", "phase": "succeeded"}]}}
    desk.settings["kinds"] = kinds
    nobody = {"apiVersion": "nobody.example.com/v1", "kind": "Nobody", "metadata": {"name": "x"}, "spec": {}}
    assert one(desk, submits(desk, {"objects": {"Nobody": nobody}}, name="x")) == Forecast(
        "refused", path=("objects", "Nobody", "kind"), summary="the cluster has no kind Nobody in nobody.example.com/v1",
        hint="install the operator that brings CustomResourceDefinition nobodies.nobody.example.com, or correct apiVersion",
    )


def test_a_companion_of_a_kind_that_the_cluster_does_not_have(desk: Desk) -> None:
    companion = {"apiVersion": "nobody.example.com/v1", "kind": "Thing", "metadata": {"name": "t"}}
    assert one(desk, submits(desk, manifest("train", companion), name="train")) == Forecast(
        "refused", path=("objects", "Thing/t", "kind"), summary="the cluster has no kind Thing in nobody.example.com/v1",
        hint="install what serves nobody.example.com, or correct apiVersion",
    )


def test_a_manifest_that_cannot_be_composed_is_refused_alone(desk: Desk) -> None:
    spec = manifest("train")
    spec["objects"]["Job"]["metadata"]["namespace"] = "elsewhere"
    answers = ask(desk, submits(desk, spec, name="train"), submits(desk, job(), "other"))
    assert (answers["train"].verdict, answers["other"]) == ("refused", OK)
    assert "elsewhere" in answers["train"].summary


# --- values that are not known yet


def test_a_refusal_of_a_placeholder_says_nothing(desk: Desk) -> None:
    spec = manifest("train", template=container(imagePullPolicy=UNKNOWN_TEXT))
    unknown = Forecast(
        "unasked", summary="they rest on values that are not known yet",
        detail="the cluster refuses the placeholders that stand for them", hint="the submission asks with the values themselves",
    )
    assert one(desk, submits(desk, spec, name="train", partial=True)) == unknown


def test_a_refusal_of_what_is_known_beside_it_counts(desk: Desk) -> None:
    spec = manifest("train", template=container(imagePullPolicy="Sometimes", args=[UNKNOWN_TEXT]))
    forecast = one(desk, submits(desk, spec, name="train", partial=True))
    assert (forecast.verdict, forecast.path) == ("refused", (*MAIN, "imagePullPolicy"))


# --- rights


def allow(desk: Desk, user: str, *rules: Object) -> None:
    """Rights of a user in the namespace, in force when it returns."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{desk.namespace}"
    desk.api.create(f"{rbac}/roles", {"metadata": {"name": user}, "rules": list(rules)})
    desk.api.create(f"{rbac}/rolebindings", {
        "metadata": {"name": user}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    })
    await_right(desk.api, user, rules[-1], desk.namespace)


def test_who_may_only_read_is_told_once_what_is_missing(desk: Desk) -> None:
    reader = Desk(desk.cluster, desk.namespace, user="viewer")
    intended = [submits(desk, job(), f"job-{number}") for number in range(20)]
    answers = ask(reader, *intended)
    assert len(answers) == 20
    assert set(answers.values()) == {Forecast(
        "unasked", summary=NO_DRY_RUN, detail=f"it needs patch and create on jobs.batch in namespace {desk.namespace}",
        hint="grant it, or rely on the field rules and on what the cluster records of its objects",
    )}


def test_one_kind_without_rights_does_not_hide_another(desk: Desk) -> None:
    """Of an account that may apply Jobs, and no PodDisruptionBudget."""
    allow(desk, "nobody", {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "patch", "create"]})
    applier = Desk(desk.cluster, desk.namespace, user="nobody")
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": {"maxUnavailable": 1}}
    with_budget = submits(desk, manifest("train", budget), name="train")
    answers = ask(applier, with_budget, submits(desk, job(), "other"), submits(desk, job(labels={"a": "not ok!"}), "third"))
    assert (answers["train"].verdict, answers["train"].detail) == (
        "unasked", f"it needs patch and create on poddisruptionbudgets.policy in namespace {desk.namespace}")
    assert (answers["other"], answers["third"].verdict) == (OK, "refused")


def test_a_server_that_nobody_reaches_is_an_error(desk: Desk) -> None:
    nowhere = desk.cluster.kubeconfig_for("admin", namespace=desk.namespace, server="https://127.0.0.1:9")
    desk.settings["kubeconfig"] = str(nowhere)
    with pytest.raises(BackendError, match="could not be asked"):
        ask(desk, submits(desk, job()))


def test_no_cluster_at_all_is_an_error(desk: Desk) -> None:
    desk.settings["kubeconfig"] = "/nonexistent"
    with pytest.raises(BackendError, match="/nonexistent does not exist"):
        ask(desk, submits(desk, job()))


# --- queues


@pytest.fixture
def kueue(desk: Desk) -> Desk:
    """A cluster that serves Kueue's kinds, now and later, with queue `team-a` and a priority of this namespace's name."""
    declare(desk.api, *KUEUE)
    queue, priority = KUEUE
    desk.api.create(queue.path(desk.namespace), {"apiVersion": queue.api, "kind": queue.kind, "metadata": {"name": "team-a"}})
    desk.api.create(priority.path(""), {"apiVersion": priority.api, "kind": priority.kind, "metadata": {"name": desk.namespace}})
    return desk


def test_queues_and_priorities_that_do_not_exist_are_refused(kueue: Desk) -> None:
    hint = "the job would wait for ever; correct the name, or ask who runs the cluster to make it"
    labelled = manifest("labelled")
    labelled["objects"]["Job"]["metadata"]["labels"] = {QUEUE_NAME: "team-x"}
    answers = ask(
        kueue, submits(kueue, job(queue="team-a", queue_priority=kueue.namespace), "good"),
        submits(kueue, job(queue="team-x"), "bad"), submits(kueue, labelled, "labelled", "labelled"),
        submits(kueue, job(queue="team-a", queue_priority="urgent"), "urgent"),
        submits(kueue, job(queue=UNKNOWN_TEXT), "open", partial=True),
    )
    missing = f"there is no LocalQueue team-x in namespace {kueue.namespace}"
    assert answers["good"] == OK
    assert answers["bad"] == Forecast("refused", path=("queue",), summary=missing, hint=hint)
    labels = ("objects", "Job", "metadata", "labels")
    assert answers["labelled"] == Forecast("refused", path=(*labels, QUEUE_NAME), summary=missing, hint=hint)
    assert answers["urgent"] == Forecast(
        "refused", path=("queue_priority",), summary="there is no WorkloadPriorityClass urgent", hint=hint)
    assert answers["open"] == OK


def test_a_queue_means_nothing_where_there_is_no_kueue() -> None:
    composed = SimpleNamespace(workload={"metadata": {"labels": {QUEUE_NAME: "team-a"}}})
    check = QueueCheck(cast("Site", SimpleNamespace(client=SimpleNamespace(served=dict))))
    asked = cast("Asked", SimpleNamespace(composed=composed))
    assert check(asked) == Forecast("ok", warnings=("the cluster has no Kueue: the queue that the jobs name has no effect",))


def test_a_queue_that_may_not_be_read_is_believed(kueue: Desk) -> None:
    nobody = Desk(kueue.cluster, kueue.namespace, user="nobody")
    assert one(nobody, submits(kueue, job(queue="team-x"))).summary == NO_DRY_RUN


# --- what the server says beside it


def test_warnings_of_the_server_are_passed_on(desk: Desk) -> None:
    spec = manifest("train", template={"spec": {**container()["spec"], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}})
    assert one(desk, submits(desk, spec, name="train")) == Forecast("ok", warnings=(
        'spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
    ))


def test_a_field_that_the_server_drops_without_a_word_is_told(desk: Desk) -> None:
    """The pod's own host name rests on a feature gate that is off."""
    spec = manifest("train", template={"spec": {**container()["spec"], "hostnameOverride": "a"}})
    forecast = one(desk, submits(desk, spec, name="train"))
    assert forecast == Forecast("ok", warnings=("the cluster drops spec.template.spec.hostnameOverride of Job train",))
