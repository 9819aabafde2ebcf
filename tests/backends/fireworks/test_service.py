"""The calls, against the sandbox and against answers that no service should give."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.fireworks import TYPE
from jobform.backends.fireworks.wire import MARK
from jobform.backends.remote import RemoteBackend
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Actual, Found, Gone, Mark, ReadError, Ref, Submission, Unknown, timestamp
from jobform.sandbox.faults import Fault
from jobform.sandbox.host import Sandbox
from jobform.sandbox.world import Course, State
from jobform.schema import SpecSchema
from jobform.testing.backend_fixtures import read_one
from jobform.testing.marks import make_mark
from tests.backends.fireworks.conftest import FOREVER, JOBS, SPEC, Start
from tests.sandboxed import Answer, open_backend


def body_of(sandbox: Sandbox, ref: Ref) -> dict[str, Json]:
    value = ref.value
    assert isinstance(value, dict)
    return sandbox.world("fireworks").jobs[str(value["id"])].body


def made(backend: RemoteBackend, ref: Ref) -> Actual:
    actual = read_one(backend, ref)
    assert isinstance(actual, Actual)
    return actual


# --- being deleted ------------------------------------------------------------------------------------------------------


def test_a_live_run_that_is_being_deleted_is_live_until_it_is_gone(
    backend: RemoteBackend, start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, mark = start("job"), make_mark("job")
    world = sandbox.world("fireworks")
    clock = [world.now()]
    monkeypatch.setattr(world, "now", lambda: clock[0])  # time stands still
    backend._service.delete(ref.value["id"])  # type: ignore[attr-defined,call-overload,index]  # the one below the protocol
    actual = made(backend, ref)
    assert (actual.phase, actual.detail) == (Phase.RUNNING, "it is being deleted")
    assert backend.find([mark])[mark].ref == ref, "a run that still may run is no absence"  # type: ignore[union-attr]  # it is there, or the test fails
    backend.cancel(ref, only_if_waiting=False)
    clock[0] += 10
    assert read_one(backend, ref) == Gone()


def test_an_ended_run_that_is_being_deleted_is_gone_and_was_made(
    backend: RemoteBackend, start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch,
) -> None:
    refs = [start(f"job{index}", env={"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "0"}) for index in range(12)]
    world = sandbox.world("fireworks")
    with world.held():
        pass
    clock = [world.now() + 1]
    monkeypatch.setattr(world, "now", lambda: clock[0])
    with world.held():
        assert all(job.over for job in world.jobs.values())
    backend.delete(refs[0])
    assert read_one(backend, refs[0]) == Gone()
    assert backend.read(refs)[refs[0]] == Gone(), "in a list too"
    mark = make_mark("job0")
    assert backend.find([mark])[mark].ref == refs[0], "what ran once is not sent again"  # type: ignore[union-attr]  # it is there, or the test fails
    backend.delete(refs[0])


# --- cancel ---------------------------------------------------------------------------------------------------------------


def test_the_end_overtakes_a_cancel(backend: RemoteBackend, start: Start, sandbox: Sandbox) -> None:
    """The look before the cancel still saw it running."""
    ref = start()
    world = sandbox.world("fireworks")
    with world.held():
        (job,) = world.jobs.values()
        world.end(job)
    backend._service.cancel(ref.value["id"])  # type: ignore[attr-defined,call-overload,index]  # the one below the protocol
    assert [call.method for call in sandbox.servers["fireworks"].calls if call.path.endswith(":cancel")] == ["POST"]
    assert job.state is State.SUCCEEDED
    assert made(backend, ref).phase is Phase.SUCCEEDED


def test_a_cancel_that_is_refused_says_so(backend: RemoteBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start()
    sandbox.faults.add(Fault.parse("method=POST path=.*:cancel status=400"))
    with pytest.raises(BackendError, match="as asked"):
        backend.cancel(ref, only_if_waiting=False)


# --- update ---------------------------------------------------------------------------------------------------------------


def test_an_update_sends_one_patch_and_keeps_what_it_does_not_name(
    backend: RemoteBackend, start: Start, sandbox: Sandbox,
) -> None:
    ref = start(display_name="before")
    spec: dict[str, Json] = {**SPEC, "env": dict(FOREVER), "display_name": "before", "shared": True}
    after = backend.update(ref, Submission("job", spec, changes=(("shared",),)), made(backend, ref))
    assert (after.fields["shared"], after.fields["display_name"]) == (True, "before")
    patch = [call for call in sandbox.servers["fireworks"].calls if call.method == "PATCH"]
    assert [json.loads(call.body) for call in patch] == [{"nodePoolId": "pool", "displayName": "before", "shared": True}]


def test_an_update_of_what_has_gone_or_changed_is_refused(backend: RemoteBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start()
    before = made(backend, ref)
    submission = Submission("job", {**SPEC, "shared": True}, changes=(("shared",),))
    body_of(sandbox, ref)["displayName"] = "somebody's"
    with pytest.raises(BackendError, match="changed since"):
        backend.update(ref, submission, before)
    sandbox.world("fireworks").jobs.clear()
    with pytest.raises(BackendError, match="gone"):
        backend.update(ref, submission, before)
    assert not [call for call in sandbox.servers["fireworks"].calls if call.method == "PATCH"]


# --- failures of calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "retryable", "ambiguous"), [
    (400, False, False), (401, False, False), (403, False, False), (404, False, False), (409, False, False),
    (429, True, False), (500, True, True), (502, True, True), (503, True, True), (504, True, True),
])
def test_a_refused_create(
    backend: RemoteBackend, answer: Answer, status: int, retryable: bool, ambiguous: bool,
) -> None:
    answer("POST", JOBS, '{"code": 3, "message": "the service\'s own words", "details": []}', status)
    with pytest.raises(BackendError, match="the service's own words") as caught:
        backend.submit(Submission("job", dict(SPEC)), make_mark("job"))
    assert (caught.value.retryable, caught.value.ambiguous) == (retryable, ambiguous)


@pytest.mark.parametrize("body", [
    '{"error": {"code": 7, "message": "not yours"}}', '{"error": "not yours"}', '{"code": 7, "message": "not yours"}',
])
def test_each_form_of_an_error_is_read(backend: RemoteBackend, answer: Answer, body: str) -> None:
    answer("POST", JOBS, body, 403)
    with pytest.raises(BackendError, match="not yours"):
        backend.submit(Submission("job", dict(SPEC)), make_mark("job"))


@pytest.mark.parametrize("body", [
    "{}", "[]", "null", "1", '{"name": 1}', '{"name": "accounts/a/batchJobs/../../x"}', '{"error": 1}', "{",
])
def test_an_unreadable_answer_to_a_create_leaves_open_what_happened(backend: RemoteBackend, answer: Answer, body: str) -> None:
    answer("POST", JOBS, body)
    with pytest.raises(BackendError) as caught:
        backend.submit(Submission("job", dict(SPEC)), make_mark("job"))
    assert caught.value.ambiguous


# --- absence ------------------------------------------------------------------------------------------------------------------


def test_a_page_of_a_proxy_is_no_absence(backend: RemoteBackend, start: Start, answer: Answer) -> None:
    ref = start()
    answer("GET", f"{JOBS}/.*", "<h1>Not found</h1>", 404, "text/html")
    assert isinstance(read_one(backend, ref), ReadError)
    with pytest.raises(BackendError):
        backend.cancel(ref, only_if_waiting=False)


def test_a_job_of_nobody_is_gone(backend: RemoteBackend) -> None:
    assert read_one(backend, Ref.of({"id": "never"})) == Gone()


def test_absence_is_certain_after_ten_minutes(backend: RemoteBackend) -> None:
    now = backend._clock.now()  # type: ignore[attr-defined]  # the one below the protocol
    young = replace(make_mark("job"), begun_at=now.isoformat())
    answer = backend.find([young])[young]
    assert isinstance(answer, Unknown)
    assert "certain from" in answer.reason


# --- lists ----------------------------------------------------------------------------------------------------------------


def test_a_run_is_found_on_whatever_page_it_is(backend: RemoteBackend, sandbox: Sandbox, start: Start) -> None:
    ref, mark = start("wanted"), make_mark("wanted")
    _others(sandbox, 450)
    assert backend.find([mark])[mark].ref == ref  # type: ignore[union-attr]  # it is there, or the test fails
    pages = [call for call in sandbox.servers["fireworks"].calls if call.method == "GET"]
    assert [call.first("pageSize") for call in pages] == ["200", "200", "200"]
    assert {call.first("orderBy") for call in pages} == {"create_time desc"}


def test_a_list_ends_where_no_run_is_new_enough(backend: RemoteBackend, sandbox: Sandbox) -> None:
    """450 jobs of years ago are not paged through to learn that a mark of today is nowhere."""
    _others(sandbox, 450)
    for job in sandbox.world("fireworks").jobs.values():
        job.created -= 3e8
    mark = replace(make_mark("job"), begun_at=backend._clock.now().isoformat())  # type: ignore[attr-defined]  # the one below the protocol
    backend.find([mark])
    assert len(sandbox.servers["fireworks"].calls) == 1


def _others(sandbox: Sandbox, count: int) -> None:
    world = sandbox.world("fireworks")
    with world.held():
        for index in range(count):
            body: dict[str, Json] = {"nodePoolId": "pool", "shellExecutor": {"command": "x"}}
            world.add(f"other{index}", f"owner{index}", body, Course(queued=float("inf")))


@pytest.mark.parametrize("body", [
    "[]", "null", '{"batchJobs": null}', '{"batchJobs": {}}', '{"batchJobs": [1]}', '{"batchJobs": [{"name": ""}]}', "x", "",
    '{"batchJobs": [], "nextPageToken": "again"}',
])
def test_a_list_that_is_none_is_no_absence(backend: RemoteBackend, answer: Answer, start: Start, body: str) -> None:
    refs = [start(f"job{index}") for index in range(10)]
    mark = make_mark("job0")
    answer("GET", JOBS, body)
    for look in (lambda: backend.find([mark]), lambda: list(backend.list()), lambda: backend.read(refs)):
        try:
            found: Any = look()
        except BackendError:
            continue
        assert found == backend.read(refs), "each of them was read alone instead"
        assert all(isinstance(each, Actual) for each in found.values())


def test_an_answer_for_one_run_that_is_none_is_a_read_error(backend: RemoteBackend, answer: Answer, start: Start) -> None:
    ref = start()
    for body in ("[]", "null", "{}", '{"name": "accounts/a/batchJobs/b", "state": 7}', '{"state": "DELETING", "endTime": 1}'):
        answer("GET", f"{JOBS}/.*", body, times=1)
        assert isinstance(read_one(backend, ref), ReadError), body


def test_a_mark_says_enough_when_clocks_differ(backend: RemoteBackend, start: Start) -> None:
    """The submission was begun by a clock that was an hour ahead: the job was made long before."""
    ref = start("job")
    mark = make_mark("job", begun_at=timestamp(datetime.now(UTC) + timedelta(hours=1)))
    assert backend.find([mark]) == {mark: Found(ref, mark.body)}


# --- who asks, and where --------------------------------------------------------------------------------------------------


def opened(sandbox: Sandbox, project: Path, settings: dict[str, Json] | None = None, **environ: str | None) -> RemoteBackend:
    variables = {key: value for key, value in {**sandbox.variables, **environ}.items() if value is not None}
    fake: Any = type("Fake", (), {"variables": variables})
    backend = open_backend(TYPE, settings or {}, fake, project)
    assert isinstance(backend, RemoteBackend)
    return backend


def test_scope_is_the_account_and_says_where_it_comes_from(sandbox: Sandbox, tmp_path: Path) -> None:
    scope = opened(sandbox, tmp_path).scope()
    assert (scope.text, scope.source) == ("fireworks:sandbox", "FIREWORKS_ACCOUNT_ID")
    scope = opened(sandbox, tmp_path, {"account": "sandbox"}, FIREWORKS_ACCOUNT_ID="other").scope()
    assert (scope.text, scope.source) == ("fireworks:sandbox", "`account` of the backend")
    scope = opened(sandbox, tmp_path, FIREWORKS_ACCOUNT_ID=None).scope()
    assert (scope.text, scope.source) == ("fireworks:sandbox", "the only account of FIREWORKS_API_KEY")


@pytest.mark.parametrize(("accounts", "told"), [
    ('{"accounts": []}', "none"), ('{"accounts": [{"name": "accounts/a"}, {"name": "accounts/b"}]}', "a, b"), ("{}", "none"),
    ('{"accounts": [{"name": "accounts/.."}]}', "no id of a Fireworks account"), ('{"accounts": [{"name": ""}]}', "no id"),
    ("[]", "none"),
])
def test_no_account_or_several_is_no_guess(sandbox: Sandbox, tmp_path: Path, answer: Answer, accounts: str, told: str) -> None:
    answer("GET", "/v1/accounts", accounts)
    with pytest.raises(BackendError) as caught:
        opened(sandbox, tmp_path, FIREWORKS_ACCOUNT_ID=None).scope()
    assert told in f"{caught.value.summary} {caught.value.detail}"


def test_a_key_from_a_file_is_read_again_when_it_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old\n")
    backend = opened(sandbox, tmp_path, FIREWORKS_API_KEY=None, FIREWORKS_API_KEY_FILE=str(file))
    with pytest.raises(BackendError, match="does not accept the credentials") as caught:
        backend.scope()
    assert "the file of FIREWORKS_API_KEY_FILE" in caught.value.detail
    file.write_text(f"{sandbox.variables['FIREWORKS_API_KEY']}\n")
    assert backend.scope().text == "fireworks:sandbox"


@pytest.mark.parametrize(("environ", "told"), [
    ({"FIREWORKS_API_KEY": None}, "there is no key for Fireworks"),
    ({"FIREWORKS_API_KEY": "two words"}, "FIREWORKS_API_KEY holds no key"),
    ({"FIREWORKS_API_KEY": "fw\r\nX-Evil: 1"}, "FIREWORKS_API_KEY holds no key"),
    ({"FIREWORKS_API_KEY": None, "FIREWORKS_API_KEY_FILE": "/nonexistent/key"}, "FIREWORKS_API_KEY_FILE names cannot be read"),
    ({"FIREWORKS_API_KEY": None, "FIREWORKS_API_KEY_FILE": "/dev/null"}, "is empty"),
    ({"FIREWORKS_API_KEY": None, "FIREWORKS_API_KEY_FILE": "/dev/zero"}, "too large for a key"),
])
def test_no_key_is_told_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path, environ: dict[str, str | None], told: str,
) -> None:
    with pytest.raises(BackendError, match=told):
        opened(sandbox, tmp_path, **environ).scope()
    assert not list(sandbox.ledger.entries("request"))


def test_the_address_of_jobform_yaml_gets_no_key_of_another_service(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"credentials are not sent to evil\.example"):
        opened(sandbox, tmp_path, {"url": "https://evil.example"}, FIREWORKS_BASE_URL=None)


# --- the rest ---------------------------------------------------------------------------------------------------------------


def test_the_mark_is_in_the_annotations_of_the_job(backend: RemoteBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start("train")
    annotations = body_of(sandbox, ref)["annotations"]
    assert isinstance(annotations, dict)
    mark: Mark = make_mark("train")
    assert annotations == {MARK: mark.text, "jobform.dev/address": "train"}


def test_every_field_of_the_spec_is_reported(backend: RemoteBackend, start: Start) -> None:
    keys = set(SpecSchema(TYPE.spec_schema()).keys())
    assert keys == set(made(backend, start(num_ranks=2)).fields), "drift and import see all of them"
