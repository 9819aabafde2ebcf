"""What is sent for each field, and what is made of an answer."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobform.backends.otoy.backend import TYPE, explain
from jobform.backends.otoy.wire import body_of, fields_of, mark_in, seen_of
from jobform.engine.compare import drift_changes
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Backend, ReadError, Ref
from jobform.schema import SpecSchema
from jobform.testing.marks import make_mark
from tests.backends.otoy.conftest import BATCH, SERVER
from tests.sandboxed import Answer
from tests.seeds.otoy import SPECS

MARK = make_mark("job")
UUID = "01234567-89ab-cdef-0123-456789abcdef"
JOB: dict[str, Any] = {
    "object": "job", "uuid": UUID, "status": "PENDING", "task": "BATCH", "title": "t", "created_at": "2026-04-02T10:00:00Z",
    "updated_at": "2026-04-02T10:00:00Z", "parameters": {"type": "docker", "parameters": {"image": "acme/batch", "tag": "1"}},
}
SCHEMA = SpecSchema(TYPE.spec_schema())


def wire(spec: dict[str, Any], base: Any = BATCH) -> dict[str, Any]:
    whole = {**base, **spec}
    assert SCHEMA.is_valid(whole), [found.summary for found in SCHEMA.problems(whole)]
    return body_of(whole, MARK)


def docker(spec: dict[str, Any]) -> dict[str, Any]:
    body = wire(spec)
    assert body["parameters"]["type"] == "docker"
    return body["parameters"]["parameters"]


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_the_least_batch_job() -> None:
    assert wire({}) == {
        "task": "BATCH", "title": MARK.name, "description": f"jobform:{MARK.text}", "max_timeout_run_ms": 360_000_000,
        "parameters": {"type": "docker", "parameters": {"image": "acme/batch", "tag": "1"}},
    }


def test_the_least_persistent_job() -> None:
    body = wire({}, SERVER)
    assert (body["task"], body["max_timeout_run_ms"]) == ("PERSISTENT", None)


@pytest.mark.parametrize(("spec", "name", "value"), [
    ({"title": "shot 42"}, "title", "shot 42"), ({"description": "a\n\nb"}, "description", f"jobform:{MARK.text}\na\n\nb"),
    ({"timeout": "60s"}, "max_timeout_run_ms", 60_000), ({"timeout": "1.5h"}, "max_timeout_run_ms", 5_400_000),
    ({"retries": 2}, "max_retry_count", 2), ({"assign_timeout": "10m"}, "max_timeout_assign_ms", 600_000),
    ({"start_timeout": "120000ms"}, "max_timeout_start_ms", 120_000), ({"resources": {"cpu": 4}}, "cpu_count", 4),
    ({"resources": {"cpu": "500m"}}, "cpu_count", 0.5), ({"resources": {"cpu": 0}}, "cpu_count", 0),
    ({"resources": {"memory": "32Gi"}}, "min_ram_gb", 32), ({"resources": {"memory": "512Mi"}}, "min_ram_gb", 0.5),
    ({"resources": {"gpu": {"count": 0}}}, "gpu_count", 0),
    ({"resources": {"gpu": {"count": 1, "type": "NVIDIA RTX 4090"}}}, "gpu_name", "NVIDIA RTX 4090"),
    ({"gpu_registry_uuid": UUID}, "gpu_registry_uuid", UUID), ({"min_storage_gb": 100}, "min_storage_gb", 100),
    ({"min_vram_gb": 24.5}, "min_vram_gb", 24.5), ({"max_node_count": 3}, "max_node_count", 3),
    ({"allowed_region_codes": ["us-west-2", "me-south-1"]}, "allowed_region_codes", ["us-west-2", "me-south-1"]),
])
def test_a_field_of_the_job(spec: dict[str, Any], name: str, value: Any) -> None:
    assert wire(spec)[name] == value


@pytest.mark.parametrize(("spec", "expected"), [
    ({"image": "python:3.12"}, {"image": "python", "tag": "3.12"}),
    ({"image": "acme/a/b:x"}, {"image": "acme/a/b", "tag": "x"}),
    ({"image": "registry.gitlab.com/acme/b:x"}, {"host": "registry.gitlab.com", "image": "acme/b", "tag": "x"}),
    ({"image": "localhost:5000/b:x"}, {"host": "localhost:5000", "image": "b", "tag": "x"}),
    ({"image": "localhost/b:x"}, {"host": "localhost", "image": "b", "tag": "x"}),
    ({"registry": {"user": "u", "secret": "s"}}, {"user": "u", "secret": "s"}), ({"registry": {"secret": "s"}}, {"secret": "s"}),
    ({"image_src": "x"}, {"imagesrc": "x"}), ({"env": {"A": "1"}}, {"env": {"A": "1"}}),
    ({"ports": [22, 80]}, {"ports": [22, 80]}),
    ({"ports": []}, {"ports": []}), ({"allowed_ips": ["0.0.0.0/0"]}, {"allowed_ips": ["0.0.0.0/0"]}),
    ({"ssh_key": "ssh-ed25519 AAAA me"}, {"sshkey": "ssh-ed25519 AAAA me"}),
    ({"volumes": [{"image": "ghcr.io/a/b:1", "mount": "/m"}]},
     {"volumes": [{"registry": "ghcr.io", "image": "a/b", "tag": "1", "mount": "/m"}]}),
    ({"volumes": [{"image": "b:1", "mount": "/m", "registry": {"user": "u", "secret": "s"}}]},
     {"volumes": [{"image": "b", "tag": "1", "mount": "/m", "user": "u", "secret": "s"}]}),
])
def test_a_field_of_the_container(spec: dict[str, Any], expected: dict[str, Any]) -> None:
    found = docker(spec)
    assert {name: found[name] for name in expected} == expected
    assert set(found) <= {"image", "tag", *expected}, "nothing else is sent"


# --- marks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    "", "Shot 42.", "two\nlines", "jobform:jf1-no", f"jobform:{make_mark('other').text}", ("grün " * 500).strip(),
])
def test_a_description_gives_back_the_mark_and_the_text(text: str) -> None:
    body = wire({"description": text} if text else {})
    assert mark_in(body["description"]) == (MARK.text, text)


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", " "), lambda text: f" {text}\n", lambda text: text[:120],
    lambda text: text.replace("\n", "\r\n"),
])
def test_a_mark_survives_what_services_do_to_texts(change: Any) -> None:
    body = wire({"description": "line one\n" + ("and more " * 100).strip()})
    assert mark_in(change(body["description"]))[0] == MARK.text


@pytest.mark.parametrize("text", [
    None, "", 5, "Shot 42", f"see jobform:{MARK.text}", f"jobform:{MARK.text}x", "jobform:jf1-a-b-1-c",
])
def test_what_is_no_mark(text: Json) -> None:
    assert mark_in(text)[0] == ""


# --- what is reported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "phase"), [
    ("PENDING", Phase.PENDING), ("ASSIGNED", Phase.PENDING), ("PREPARING", Phase.PENDING), ("RUNNING", Phase.RUNNING),
    ("CANCELLING", Phase.RUNNING), ("FAILING", Phase.RUNNING), ("COMPLETED", Phase.SUCCEEDED), ("FAILED", Phase.FAILED),
    ("CANCELLED", Phase.CANCELLED),
])
def test_every_status_is_a_phase(word: str, phase: Phase) -> None:
    seen = seen_of({**JOB, "status": word})
    assert (seen.actual.phase, seen.actual.warnings) == (phase, ())
    assert (seen.actual.ended_at is not None) == (phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED))
    assert (seen.actual.started_at is not None) == (word in ("RUNNING", "COMPLETED"))


def test_an_unknown_status_is_running_with_a_warning() -> None:
    seen = seen_of({**JOB, "status": "REBALANCING"})
    assert seen.actual.phase is Phase.RUNNING
    assert "REBALANCING" in seen.actual.warnings[0]


@pytest.mark.parametrize(("changes", "class_"), [
    ({"started_at": "2026-04-02T10:01:00Z", "completed_at": "2026-04-02T10:02:00Z"}, "user_error"),
    ({"started_at": "2026-04-02T10:01:00Z", "completed_at": "2026-04-02T10:02:00Z", "max_timeout_run_ms": 60_000}, "timeout"),
    ({"started_at": "2026-04-02T10:01:00Z", "completed_at": "2026-04-02T10:01:59Z", "max_timeout_run_ms": 60_000}, "user_error"),
    ({"completed_at": "2026-04-02T10:05:00Z", "timeout_assign_at_ms": 1775124300000}, "no_capacity"),
    ({"completed_at": "2026-04-02T10:04:00Z", "timeout_assign_at_ms": 1775124300000}, "user_error"),
    ({"started_at": "2026-04-02", "completed_at": "2026-04-02T10:01:59Z", "max_timeout_run_ms": 60_000}, "user_error"),
])
def test_why_a_job_failed_is_told_by_its_times(changes: dict[str, Any], class_: str) -> None:
    assert seen_of({**JOB, "status": "FAILED", **changes}).actual.class_ == class_


def test_a_status_reason_is_shown_on_one_line() -> None:
    assert seen_of({**JOB, "status_reason": "no\nnode \x1b[31m"}).actual.detail == "no node \\x1b[31m"
    assert seen_of({**JOB, "status": "ASSIGNED"}).actual.detail == "a node is chosen"


def test_times() -> None:
    seen = seen_of({**JOB, "created_at": "2026-04-02T12:00:00+02:00"})
    assert seen.created == datetime(2026, 4, 2, 10, tzinfo=UTC)
    day = seen_of({**JOB, "created_at": "2026-04-02", "status": "RUNNING"})
    assert day.created is None, "a day says too little: whoever looks for a run must not pass it by"
    assert day.actual.started_at == "2026-04-02T00:00:00.000000Z", "it runs, so it has started"
    ended = seen_of({**JOB, "status": "COMPLETED", "completed_at": "2026-04-02", "updated_at": "2026-04-02T11:00:00Z"})
    assert ended.actual.ended_at == "2026-04-02T11:00:00.000000Z"


@pytest.mark.parametrize("spec", [
    *SPECS, dict(BATCH), dict(SERVER),
    {**BATCH, "image": "localhost:5000/a:b", "timeout": "61500ms", "resources": {"cpu": "500m"}},
    {**BATCH, "resources": {"memory": "32G", "gpu": {"count": 1}}}, {**BATCH, "resources": {"memory": "700Mi", "cpu": 0.3}},
    {**BATCH, "resources": {"memory": "1.1Gi"}},
])
@pytest.mark.parametrize("floats", [False, True])
def test_what_was_sent_comes_back_as_what_was_written(spec: dict[str, Json], floats: bool) -> None:
    body = body_of(spec, MARK)
    if floats:
        body = {key: float(value) if isinstance(value, int) else value for key, value in body.items()}
    answer = {**JOB, "cpu_count": 0, "gpu_count": 0, "min_ram_gb": 0, **body}
    assert not drift_changes(SCHEMA, spec, fields_of(answer), ())


def test_a_set_that_comes_back_in_another_order_is_the_same() -> None:
    spec = {**SPECS[1], "allowed_region_codes": ["us-west-2", "us-east-1"]}
    body = body_of(spec, MARK)
    body["allowed_region_codes"] = ["us-east-1", "us-west-2"]
    body["parameters"]["parameters"]["ports"] = [8000, 22]  # type: ignore[index,call-overload]  # made above
    assert not drift_changes(SCHEMA, spec, fields_of(body), ())


def test_secrets_that_are_not_given_back_are_no_drift() -> None:
    body = body_of(SPECS[0], MARK)
    inner = body["parameters"]["parameters"]  # type: ignore[index,call-overload]  # made above
    del inner["secret"], inner["volumes"][0]["secret"]  # type: ignore[union-attr,index,arg-type,call-overload]  # JSON of a known shape
    assert not drift_changes(SCHEMA, SPECS[0], fields_of(body), ())


def test_a_gpu_that_the_service_chose_is_no_drift() -> None:
    spec: dict[str, Json] = {**BATCH, "resources": {"gpu": {"count": 1}}}
    chosen = {**body_of(spec, MARK), "gpu_name": "NVIDIA RTX 4090", "cpu_count": 8, "min_ram_gb": 1}
    assert not drift_changes(SCHEMA, spec, fields_of(chosen), ())


def test_another_value_is_drift() -> None:
    spec: dict[str, Json] = {**BATCH, "resources": {"gpu": {"count": 1}}}
    changes = drift_changes(SCHEMA, spec, fields_of({**body_of(spec, MARK), "gpu_count": 2, "max_timeout_run_ms": 60_000}), ())
    assert [change.path for change in changes] == ["spec.resources.gpu.count", "spec.timeout"]


# --- what services say wrong ------------------------------------------------------------------------------------------

ODD: list[Any] = [None, True, 5, -1.5, "", "x" * 5000, [], [None], {}, {"a": []}, "2026-99-99", "0001-01-01T00:00:00+14:00"]


@pytest.mark.parametrize("key", [
    "uuid", "status", "task", "title", "created_at", "updated_at", "started_at", "completed_at", "description", "parameters",
    "cpu_count", "gpu_count", "gpu_name", "min_ram_gb", "max_timeout_run_ms", "timeout_assign_at_ms", "status_reason",
    "allowed_region_codes",
])
@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
def test_wrong_types_are_no_other_exception(key: str, status: str) -> None:
    for value in ODD:
        job = {**JOB, "status": status, key: value}
        try:
            seen = seen_of(job)
        except (KeyError, TypeError, ValueError):
            continue
        assert isinstance(seen.id, str)
        assert seen.actual.phase is (Phase(status.lower()) if key != "status" else Phase.RUNNING)
        assert seen.actual.fields.keys() <= set(SCHEMA.keys())


@pytest.mark.parametrize("key", ["image", "tag", "host", "user", "env", "ports", "allowed_ips", "sshkey", "imagesrc", "volumes"])
def test_wrong_types_in_a_container_are_no_other_exception(key: str) -> None:
    for value in [*ODD, [{"image": 5}], [5]]:
        job = {**JOB, "parameters": {"type": "docker", "parameters": {"image": "a", key: value}}}
        try:
            fields = fields_of(job)
        except (TypeError, ValueError):
            continue
        assert fields.keys() <= set(SCHEMA.keys())


@pytest.mark.parametrize("body", [
    "null", "5", "[]", "{}", '"text"', '{"uuid": 5}', '{"uuid": "../x", "status": "RUNNING"}', '{"data": []}', "NaN", "{", "",
])
def test_an_answer_that_is_no_job_is_a_read_error(backend: Backend, answer: Answer, body: str) -> None:
    answer("GET", "/v1/jobs/.*", body)
    ref = Ref.of({"id": UUID})
    found = backend.read([ref])[ref]
    assert isinstance(found, ReadError), found


def test_another_job_than_the_one_asked_for_is_a_read_error(backend: Backend, answer: Answer) -> None:
    import json

    answer("GET", "/v1/jobs/.*", json.dumps(JOB))
    other, mine = Ref.of({"id": "99999999-89ab-cdef-0123-456789abcdef"}), Ref.of({"id": UUID})
    assert isinstance(backend.read([other])[other], ReadError)
    assert isinstance(backend.read([mine])[mine], Actual)


def test_a_404_of_a_proxy_is_no_absence(backend: Backend, answer: Answer) -> None:
    answer("GET", "/v1/jobs/.*", "<h1>404 Not Found</h1>", status=404, kind="text/html")
    ref = Ref.of({"id": UUID})
    assert isinstance(backend.read([ref])[ref], ReadError)


@pytest.mark.parametrize(("body", "expected"), [
    ({"error": {"code": "c", "message": "m"}}, ("c", "m")), ({"code": 5, "message": "m"}, ("5", "m")),
    ({"error": "m"}, ("", "m")),
    ({"error": {"message": None}}, ("", "")), ("m", ("", "m")), (None, ("", "")), ([1], ("", "")), ({"error": [1]}, ("", "")),
])
def test_an_error_is_explained(body: Any, expected: tuple[str, str]) -> None:
    assert explain(body) == expected


def test_an_update_is_refused(backend: Backend) -> None:
    with pytest.raises(BackendError, match="cannot be changed"):
        backend.update(Ref.of({"id": UUID}), None, None)  # type: ignore[arg-type]  # whatever it is
