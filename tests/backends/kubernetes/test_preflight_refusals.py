"""Answers that only clusters with other people's controllers give, as they were seen there, and what follows from each."""

from typing import Any

import pytest

from jobform.backends.kubernetes.compose import compose
from jobform.backends.kubernetes.effects import restarting
from jobform.backends.kubernetes.fields import concerned, readable, steps_of, value_at
from jobform.backends.kubernetes.kinds import Kinds
from jobform.backends.kubernetes.managed import shown
from jobform.backends.kubernetes.names import QUEUE_NAME
from jobform.backends.kubernetes.refusals import WORKLOAD, Asked, verdict
from jobform.clients.kube.errors import KubeError, refusal
from jobform.model.errors import BackendError
from jobform.model.state import Op
from jobform.model.values import Json, Path
from jobform.protocols import Forecast, Intended, Submission
from jobform.testing.marks import make_mark
from tests.backends.kubernetes.desk import job

KINDS = Kinds.builtin()
NAME = make_mark("train").name
QUEUE = "metadata.labels[kueue.x-k8s.io/queue-name]"


def asked(*fields: Path, spec: Any = None, partial: bool = False) -> Asked:
    """About an update of these fields; without any, about a submission."""
    wanted = spec or job(queue="team-b", parallelism=2)
    mark = make_mark("train")
    op = Op.UPDATE if fields else Op.SUBMIT
    intended = Intended(op, Submission("train", wanted, wanted), mark, None, fields, partial)
    return Asked(intended, compose(wanted, mark, "ns", KINDS))


def answer(status: int, message: str, reason: str = "", **details: Any) -> KubeError:
    return refusal(status, {"message": message, "reason": reason, "details": details or None}, changing=False)


def webhook(said: str) -> KubeError:
    return answer(403, f'admission webhook "vjob.kb.io" denied the request: {said}', "Forbidden")


def test_a_webhook_is_not_called_a_missing_right() -> None:
    forecast = verdict(webhook(f'{QUEUE}: Invalid value: "q2": field is immutable'), asked(("queue",), ("timeout",)))
    why = f"the admission webhook vjob.kb.io does not let {QUEUE} be changed now"
    assert forecast == Forecast("fixed", (("queue",),), detail=why)


def test_a_webhook_that_refuses_a_value_is_named() -> None:
    error = webhook(f'{QUEUE}: Invalid value: "Q!": a lowercase RFC 1123 subdomain must consist of lower case characters')
    assert verdict(error, asked()) == Forecast(
        "refused", path=("queue",), summary=f"the admission webhook vjob.kb.io refuses Job {NAME}",
        detail=f'{QUEUE}: Invalid value: "Q!": a lowercase RFC 1123 subdomain must consist of lower case characters',
    )
    assert verdict(webhook("no GPUs after six"), asked()) == Forecast(
        "refused", summary=f"the admission webhook vjob.kb.io refuses Job {NAME}", detail="no GPUs after six")


def test_a_webhook_that_refuses_a_placeholder_says_nothing() -> None:
    spec = job(queue="team-b", env={"A": "jobform-not-known-yet"})
    assert verdict(webhook("bad A"), asked(spec=spec, partial=True)).verdict == "unasked"
    assert verdict(webhook("bad A"), asked(partial=True)).verdict == "refused"


def test_another_object_comes_before_what_cannot_be_changed() -> None:
    causes = [{"field": field, "reason": "FieldValueInvalid", "message": "Invalid value: field is immutable"}
              for field in ("metadata.uid", "spec.selector", "spec.template", "metadata.uid")]
    forecast = verdict(answer(422, "Job.batch is invalid", "Invalid", causes=causes), asked(("env", "A")))
    assert (forecast.verdict, forecast.paths, forecast.hint) == ("refused", (), "run plan again; it looks at what is there now")


def test_an_object_that_vanished_meanwhile_is_refused() -> None:
    message = (f'Operation cannot be fulfilled on jobs.batch "{NAME}": uid mismatch: the provided object specified uid U, and no '
               "existing object was found")
    assert verdict(answer(409, message, "Conflict"), asked(("timeout",))).summary == f"Job {NAME} is gone or was replaced"


def test_a_dump_of_a_template_is_never_shown() -> None:
    dump = "Invalid value: core.PodTemplateSpec{" + "Env:[]core.EnvVar{TOKEN: hunter2}, " * 100 + "}: field is immutable"
    causes = [{"field": "spec.template", "reason": "FieldValueInvalid", "message": dump}]
    forecast = verdict(answer(422, f"spec.template: {dump}", "Invalid", causes=causes), asked(("env", "A")))
    assert forecast == Forecast("fixed", (("env", "A"),), detail=f"Job {NAME} does not let spec.template be changed in place")


def test_a_fixed_field_that_no_changed_one_makes_fixes_all_of_them() -> None:
    causes = [{"field": "spec.managedBy", "reason": "FieldValueInvalid", "message": "field is immutable"}]
    forecast = verdict(answer(422, "", "Invalid", causes=causes), asked(("timeout",), ("parallelism",)))
    assert (forecast.verdict, forecast.paths) == ("fixed", (("timeout",), ("parallelism",)))


@pytest.mark.parametrize("error", [KubeError(0, "Unreachable", "no route"), KubeError(401, "Unauthorized", "who?")], ids=str)
def test_who_cannot_be_asked_at_all_is_an_error(error: KubeError) -> None:
    with pytest.raises(BackendError, match="could not be asked"):
        verdict(error, asked())


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 418])
def test_an_answer_that_means_nothing_says_nothing(status: int) -> None:
    assert verdict(answer(status, "try later"), asked()).verdict == "unasked"


def test_strict_decoding_names_the_field_too() -> None:
    message = 'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field "spec.template.spec.foo"'
    assert verdict(answer(400, message, "BadRequest"), asked()).summary == "Job has no field spec.template.spec.foo"


def test_a_namespace_that_is_removed() -> None:
    message = 'jobs.batch "x" is forbidden: unable to create new content in namespace ns because it is being terminated'
    causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace", "message": "m"}]
    error = answer(403, message, "Forbidden", causes=causes)
    assert verdict(error, asked()).summary == "the namespace is being removed"


# --- names of fields

OBJECT: Json = {
    "metadata": {"labels": {"example.com/team": "a", "a": "b", "example.com": "c"}},
    "spec": {
        "containers": [{"name": "main", "ports": [{"containerPort": 80}], "command": ["a", "b"]}, {"name": "x"}],
        "replicatedJobs": [{"name": "w", "template": {}}],
    },
}


@pytest.mark.parametrize(("field", "expected"), [
    ("spec.containers[0].command", "spec.containers[name=main].command"),
    ("spec.containers[1]", "spec.containers[name=x]"), ("spec.containers[7].image", "spec.containers[7].image"),
    ("spec.containers[0].command[1]", "spec.containers[name=main].command[1]"),
    ("spec.containers[0].ports[0].hostPort", "spec.containers[name=main].ports[containerPort=80,protocol=TCP].hostPort"),
    ('.spec.replicatedJobs[name="w"].template.spec', "spec.replicatedJobs[name=w].template.spec"),
    ('.spec.containers[name="main"].ports[containerPort=80,protocol="TCP"]',
     "spec.containers[name=main].ports[containerPort=80,protocol=TCP]"),
    (".metadata.labels.example.com/team", "metadata.labels.example.com/team"),
    ("metadata.labels[example.com/team]", "metadata.labels.example.com/team"), ("", ""), (".", ""), ("]][[", "]][["),
])
def test_fields_of_the_server_are_read(field: str, expected: str) -> None:
    assert readable(shown(steps_of(field, OBJECT))) == expected


def test_a_field_of_any_length_is_read_in_time() -> None:
    assert len(steps_of("a." * 10_000, {})) == 64
    assert len(steps_of("[" * 10_000, {})) == 1
    assert len(steps_of('[a="' + "\\" * 10_000, {})) == 1


def test_a_label_with_dots_is_one_step() -> None:
    assert steps_of(".metadata.labels.example.com/team", OBJECT) == ("metadata", "labels", "example.com/team")
    assert value_at(OBJECT, steps_of("metadata.labels[example.com/team]", OBJECT)) == "a"


@pytest.mark.parametrize(("place", "expected"), [
    (("spec", "template"), (("env", "A"), ("resources", "memory"))),
    (("spec",), (("env", "A"), ("parallelism",), ("resources", "memory"))),
    (("spec", "parallelism"), (("parallelism",),)), (("spec", "completions"), ()), (("metadata", "labels", QUEUE_NAME), ()),
], ids=str)
def test_the_changed_fields_of_a_part_are_found(place: Any, expected: Any) -> None:
    target = compose(job(env={"A": "1"}, resources={"memory": "1Gi"}, parallelism=2), make_mark("train"), "ns", KINDS)
    fields = (("env", "A"), ("parallelism",), ("resources", "memory"), ("labels", "a"))
    assert concerned(target, WORKLOAD, fields, place) == expected


# --- other kinds


def torch(replicas: int, suspend: bool | None = None, queue: str = "q") -> dict[str, Any]:
    policy = {} if suspend is None else {"runPolicy": {"suspend": suspend}}
    labels = {QUEUE_NAME: queue} if queue else {}
    return {
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "t", "labels": labels},
        "spec": {**policy, "pytorchReplicaSpecs": {"Worker": {"replicas": replicas, "template": {"spec": {"containers": [
            {"name": "pytorch", "image": "x"}]}}}}},
    }


@pytest.mark.parametrize(("before", "after", "expected"), [
    (torch(2), torch(3), (("spec", "pytorchReplicaSpecs", "Worker", "replicas"),)), (torch(2), torch(2), ()),
    (torch(2, suspend=True), torch(3, suspend=True), ()), (torch(2, queue=""), torch(3, queue=""), ()),
    (torch(2), torch(2, suspend=True), (("spec", "runPolicy", "suspend"),)),
    (torch(2, suspend=True), torch(2, suspend=False), (("spec", "runPolicy", "suspend"),)),
    (torch(2, suspend=True, queue=""), torch(2, suspend=False, queue=""), ()),
    (torch(2), torch(2, queue=""), (("metadata", "labels", QUEUE_NAME),)),
    ({**torch(2), "status": {"conditions": [{"type": "Succeeded", "status": "True"}]}}, torch(3), ()),
])
def test_what_restarts_another_kind(before: Any, after: Any, expected: Any) -> None:
    composed = compose({"objects": {"PyTorchJob": after}}, make_mark("train"), "ns", KINDS)
    assert restarting(composed, before, after)[0] == expected
