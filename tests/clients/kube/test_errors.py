"""What an API server's refusals mean, from answers that real servers gave."""

from typing import Any

import pytest

from jobform.clients.kube.errors import UNDECLARED, FieldConflict, KubeError, refusal
from jobform.clients.kube.paths import object_path
from jobform.clients.text import short

DUMP = (
    'core.PodTemplateSpec{ObjectMeta:v1.ObjectMeta{Name:"", Labels:map[string]string{"a":"}{"}}, '
    'Spec:core.PodSpec{Env:"hunter2"}}'
)
FULFIL = 'Operation cannot be fulfilled on jobs.batch "x": '


def of(code: int, reason: str | None, message: str, causes: list[tuple[str, str, str]] | None = None, **more: Any) -> KubeError:
    body: dict[str, Any] = {"kind": "Status", "code": code, "message": message, "reason": reason, **more}
    if causes is not None:
        body["details"] = {"causes": [{"reason": r, "field": f, "message": m} for r, f, m in causes]}
    return refusal(code, body, changing=True)


def test_a_field_conflict_names_the_field_and_its_manager() -> None:
    error = of(
        409, "Conflict", 'Apply failed with 1 conflict: conflict with "kueue" using batch/v1: .spec.suspend',
        [("FieldManagerConflict", ".spec.suspend", 'conflict with "kueue" using batch/v1')],
    )
    assert (error.conflict, error.conflicts) == ("fields", (FieldConflict(".spec.suspend", "kueue"),))
    assert not error.other_object
    assert not error.ambiguous
    assert not error.retryable


def test_a_conflict_with_a_subresource_and_a_time_names_the_manager_alone() -> None:
    message = 'conflict with "my \\"odd\\" one" with subresource "status" using batch/v1 at 2030-01-01T00:00:00Z'
    error = of(409, "Conflict", "Apply failed", [("FieldManagerConflict", '.spec.replicatedJobs[name="w"].template', message)])
    assert error.conflicts[0].manager == 'my \\"odd\\" one'
    assert error.conflicts[0].field == '.spec.replicatedJobs[name="w"].template'


def test_an_immutable_template_is_told_without_its_dump() -> None:
    message = f'Job.batch "x" is invalid: spec.template: Invalid value: {DUMP}: field is immutable'
    error = of(422, "Invalid", message, [("FieldValueInvalid", "spec.template", f"Invalid value: {DUMP}: field is immutable")])
    assert error.immutable == ("spec.template",)
    assert error.message == "spec.template: Invalid value: {...}: field is immutable"
    assert "hunter2" not in f"{error} {error.causes}"


def test_every_immutable_field_is_listed_once_and_others_are_not() -> None:
    error = of(422, "Invalid", "m", [
        ("FieldValueInvalid", "spec.completions", "Invalid value: 3: field is immutable"),
        ("FieldValueInvalid", "spec.replicatedJobs", 'Invalid value: "x": Value is immutable'),
        ("FieldValueInvalid", "spec.completions", "Invalid value: 3: field is immutable"),
        ("FieldValueInvalid", "spec.parallelism", "Invalid value: -1: must be greater than or equal to 0"),
    ])
    assert error.immutable == ("spec.completions", "spec.replicatedJobs")


def test_a_wrong_uid_is_another_object_and_nothing_immutable() -> None:
    error = of(422, "Invalid", "m", [
        ("FieldValueInvalid", "metadata.uid", 'Invalid value: "1": field is immutable'),
        ("FieldValueInvalid", "spec.template.metadata.labels[controller-uid]", "Invalid value: {}: must be '1'"),
        ("FieldValueInvalid", "spec.selector", "Invalid value: field is immutable"),
        ("FieldValueInvalid", "metadata.uid", 'Invalid value: "1": field is immutable'),
    ])
    assert error.other_object
    assert error.immutable == ()


@pytest.mark.parametrize(("reason", "message", "kind", "other"), [
    ("AlreadyExists", 'jobs.batch "x" already exists', "exists", False),
    ("AlreadyExists", 'object is being deleted: jobs.batch "x" already exists', "ending", False),
    ("Conflict", FULFIL + "uid mismatch: the provided object specified uid U, and no existing object was found", "gone", False),
    ("Conflict", FULFIL + "the UID in the precondition (U) does not match the UID in record (V). The object might", "uid", True),
    ("Conflict", 'Precondition failed: UID in precondition: U, UID in object meta: V', "uid", True),
    ("Conflict", FULFIL + "the object has been modified; please apply your changes to the latest version", "version", False),
    ("Conflict", FULFIL + "the ResourceVersion in the precondition (1) does not match the ResourceVersion in", "version", False),
    ("Conflict", "something new", "other", False),
])
def test_a_conflict_says_of_what_kind_it_is(reason: str, message: str, kind: str, other: bool) -> None:
    error = of(409, reason, message)
    assert (error.conflict, error.other_object) == (kind, other)


@pytest.mark.parametrize(("status", "message", "by"), [
    (403, 'jobs.batch is forbidden: User "viewer" cannot create resource "jobs" in API group "batch" in the namespace', "rbac"),
    (403, 'forbidden: User "system:anonymous" cannot get path "/version"', "rbac"),
    (403, 'admission webhook "vjob.kb.io" denied the request: metadata.labels[kueue.x-k8s.io/queue-name]: Invalid value: "q2"',
     "webhook vjob.kb.io"),
    (422, 'admission webhook "vjobset.kb.io" denied the request: no', "webhook vjobset.kb.io"),
    (403, 'admission webhook "x.y" denied the request: User "a" cannot use that', "webhook x.y"),
    (422, "jobs.batch is forbidden: ValidatingAdmissionPolicy 'no-root' with binding 'all' denied request: no", "policy no-root"),
    (403, 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1', "quota"),
    (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged', "pod security"),
    (403, 'pods "x" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi]', "limit range"),
    (403, 'jobs.batch "x" is forbidden: unable to create new content in namespace y because it is being terminated',
     "namespace terminating"),
    (403, "no", "admission"),
    (404, 'jobs.batch "x" not found', ""),
])
def test_a_refusal_says_who_refused(status: int, message: str, by: str) -> None:
    assert of(status, "Forbidden", message).denied_by == by


def test_a_field_that_the_kind_does_not_have_is_final_although_the_server_says_500() -> None:
    error = of(500, None, "failed to create typed patch object (/j; batch/v1, Kind=Job): errors:\n"
                          '  .spec.nope: field not declared in schema\n  .spec.c[name="main"].foo: field not declared in schema')
    assert error.undeclared == (".spec.nope", '.spec.c[name="main"].foo')
    assert [cause.reason for cause in error.causes] == [UNDECLARED, UNDECLARED]
    assert not error.retryable
    assert not error.ambiguous


def test_a_webhook_that_is_down_may_be_asked_again_and_had_no_effect() -> None:
    error = of(500, "InternalError", 'Internal error occurred: failed calling webhook "mjob.kb.io": failed to call webhook')
    assert error.webhook_failed
    assert error.retryable
    assert not error.ambiguous


def test_another_500_of_a_change_is_ambiguous_and_of_a_read_is_not() -> None:
    assert of(500, "InternalError", "etcdserver: request timed out").ambiguous
    assert not refusal(500, {"message": "x"}, changing=False).ambiguous


def test_the_engine_is_told_everything() -> None:
    told = KubeError(0, "Cut", "it broke", sent=True, changing=True, hint="look").backend_error("cannot submit")
    assert (told.summary, told.detail) == ("cannot submit", "Cut: it broke; look")
    assert told.retryable
    assert told.ambiguous


@pytest.mark.parametrize("body", [
    {}, {"message": 3, "reason": [], "details": "x"}, {"details": {"causes": {"a": 1}}}, {"details": {"causes": [1, None, {}]}},
    {"details": {"causes": [{"reason": {"x": 1}, "field": 5, "message": None}] * 1000}},
    {"details": {"retryAfterSeconds": "soon"}},
])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 429, 500, 599])
def test_nonsense_is_an_error_all_the_same(status: int, body: dict[str, Any]) -> None:
    error = refusal(status, body, changing=True)
    assert error.status == status
    assert error.message
    assert len(error.causes) <= 100


@pytest.mark.parametrize("raw", [
    f"failed to create typed patch object (n/j; batch/v1, Kind=Job): {'.' * (1 << 20)}", "uid mismatch: " * (1 << 16),
    "failed to create typed patch object" + "].x" * (1 << 18),
])
def test_a_text_made_to_be_slow_is_read_quickly(raw: str) -> None:
    """Each of these would take hours if all of it were looked at again from each of its characters."""
    for status in (409, 500):
        assert refusal(status, {"message": raw}, changing=True).message


def test_short_removes_dumps_and_control_characters() -> None:
    assert short(f"spec: Invalid value: &{DUMP}: no") == "spec: Invalid value: {...}: no"
    assert short('x: Invalid value: {"metadata":{"name":"' + "y" * 80 + '"}}: no') == "x: Invalid value: {...}: no"
    assert short("a {small} thing") == "a {small} thing"
    assert short("a\x1b[31m\n\tb") == "a\\x1b[31m b"
    assert short("x{" + "y" * 100) == "{...}"
    assert len(short("x" * 1000)) == 400


@pytest.mark.parametrize(("parts", "path"), [
    (("v1", "pods", "ns", "p", "log"), "/api/v1/namespaces/ns/pods/p/log"),
    (("batch/v1", "jobs", "ns"), "/apis/batch/v1/namespaces/ns/jobs"),
    (("v1", "namespaces", None, "x"), "/api/v1/namespaces/x"),
    (("v1", "pods", "a/../b", "c?d#e"), "/api/v1/namespaces/a%2F..%2Fb/pods/c%3Fd%23e"),
])
def test_paths(parts: tuple[Any, ...], path: str) -> None:
    assert object_path(*parts) == path


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(KubeError) as caught:
        object_path("v1", "pods", "ns", name)
    assert caught.value.reason == "BadName"
