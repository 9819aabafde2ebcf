"""The calls: tags in place, lists by pages, one create whatever happens, the documented rates, and answers that are none."""

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jobform.backends.braket import service
from jobform.backends.braket.backend import TYPE, BraketBackend
from jobform.backends.braket.service import Braket
from jobform.backends.remote import FEW
from jobform.engine.compare import drift_changes
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Absent, Actual, Found, Gone, Place, ReadError, Ref, Unknown, no_effect, timestamp
from jobform.sandbox.faults import Fault, Then
from jobform.sandbox.host import Sandbox
from jobform.schema import SpecSchema
from jobform.testing.backend_fixtures import read_one
from tests.backends.braket.conftest import ROLE, RUNS, WAITS, Open, Start, mark, submission
from tests.sandboxed import QuickClock


def actual_of(backend: BraketBackend, ref: Ref) -> Actual:
    found = read_one(backend, ref)
    assert isinstance(found, Actual), found
    return found


def tags_of(sandbox: Sandbox, ref: Ref) -> dict[str, Json]:
    value: Any = ref.value
    tags = sandbox.world("braket").jobs[value["id"]].body["tags"]
    assert isinstance(tags, dict)
    return {key: value for key, value in tags.items() if not key.startswith("jobform:")}


def answer(sandbox: Sandbox, method: str, path: str, body: Any, *, status: int = 200, code: str = "", times: int = 1000) -> None:
    """Let the service answer a call so, from now on."""
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {"x-amzn-ErrorType": code} if code else {}
    sandbox.faults.set([Fault("braket", method, path, times=times, then=Then.ANSWER, status=status, headers=headers, body=text)])


# --- tags in place ---


@pytest.mark.parametrize(("before", "after", "changes", "left"), [
    ({"a": "1"}, {"a": "2", "b": "3"}, (("tags", "a"), ("tags", "b")), {"a": "2", "b": "3"}),
    ({"a": "1", "b": "2"}, {"b": "2"}, (("tags", "a"),), {"b": "2"}), ({"a": "1"}, {}, (("tags", "a"),), {}),
    ({"a": "1"}, None, (("tags", "a"),), {}), (None, {"a": "1"}, (("tags", "a"),), {"a": "1"}),
])
def test_tags_become_what_the_spec_says(
    backend: BraketBackend, start: Start, sandbox: Sandbox, before: Json, after: Json, changes: Any, left: Json,
) -> None:
    ref = start(tags=before, hyper_parameters=RUNS)
    made = backend.update(ref, replace(submission(tags=after, hyper_parameters=RUNS), changes=changes), actual_of(backend, ref))
    assert tags_of(sandbox, ref) == left
    assert made.fields["tags"] == left
    assert backend.find([mark()])[mark()] == Found(ref, mark().body), "our own tags stay"


def test_as_many_tags_as_there_may_be_are_exchanged(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    before, after = ({f"{word}{number}": "x" for number in range(48)} for word in ("old", "new"))
    ref = start(tags=before, hyper_parameters=RUNS)
    changes = tuple(("tags", key) for key in (*before, *after))
    changed = replace(submission(tags=dict(after), hyper_parameters=RUNS), changes=changes)
    assert backend.update(ref, changed, actual_of(backend, ref)).fields["tags"] == after
    assert tags_of(sandbox, ref) == after


def test_a_tag_that_looks_like_ours_is_the_users(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    """AWS tells capitals from small letters, and the schema takes it."""
    ref = start(tags={"Jobform:team": "chem"}, hyper_parameters=RUNS)
    assert tags_of(sandbox, ref) == {"Jobform:team": "chem"} == actual_of(backend, ref).fields["tags"]


def test_a_tag_of_somebody_else_goes_only_where_the_spec_has_tags(
    backend: BraketBackend, start: Start, sandbox: Sandbox,
) -> None:
    ref = start(tags={"a": "1"}, hyper_parameters=RUNS)
    value: Any = ref.value
    body: Any = sandbox.world("braket").jobs[value["id"]].body
    body["tags"]["cost"] = "42"
    (drifted,) = drift_changes(SpecSchema(TYPE.spec_schema()), {"tags": {"a": "1"}}, actual_of(backend, ref).fields, ())
    assert drifted.path == "spec.tags.cost"
    backend.update(ref, replace(submission(hyper_parameters=RUNS), changes=(("tags", "a"),)), actual_of(backend, ref))
    assert tags_of(sandbox, ref) == {"cost": "42"}
    backend.update(ref, submission(tags={"a": "1"}, hyper_parameters=RUNS), actual_of(backend, ref))
    assert tags_of(sandbox, ref) == {"a": "1"}


def test_tags_of_an_ended_job_change_too(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters={"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": 0})
    while actual_of(backend, ref).phase is not Phase.SUCCEEDED:
        pass
    backend.update(ref, replace(submission(tags={"a": "1"}), changes=(("tags", "a"),)), actual_of(backend, ref))
    assert tags_of(sandbox, ref) == {"a": "1"}


# --- lists ---


def test_live_runs_are_read_by_pages(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    refs = [start(f"job{number}", hyper_parameters=WAITS) for number in range(250)]
    sandbox.servers["braket"].calls.clear()
    read = backend.read(refs)
    assert all(isinstance(read[ref], Actual) for ref in refs)
    assert [call.path for call in sandbox.servers["braket"].calls] == ["/jobs"] * 3


def test_ended_runs_of_a_list_are_asked_for_why(backend: BraketBackend, start: Start) -> None:
    fails = {"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": 0, "SANDBOX_EXIT": 3}
    refs = [start(f"job{number}", hyper_parameters=fails) for number in range(FEW + 2)]
    while True:
        read = backend.read(refs)
        found = [each for each in read.values() if isinstance(each, Actual) and each.phase is Phase.FAILED]
        if len(found) == len(refs):
            break
    assert {(each.exit, each.class_) for each in found} == {(3, "user_error")}


def test_a_list_goes_back_to_the_begin_and_no_further(backend: BraketBackend, sandbox: Sandbox) -> None:
    begun = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    backend.find([replace(mark(), begun_at=timestamp(begun))])
    (call,) = sandbox.servers["braket"].calls
    asked = json.loads(call.body)["filters"]
    assert asked == [{"name": "createdAt", "operator": "GTE", "values": ["2026-03-01T11:45:00Z"]}]


def test_a_run_that_may_still_appear_is_no_absence(backend: BraketBackend) -> None:
    now = datetime.now(UTC)
    just, long = (replace(mark(), begun_at=timestamp(now - timedelta(minutes=minutes))) for minutes in (1, 6))
    assert isinstance(backend.find([just])[just], Unknown)
    assert backend.find([long])[long] == Absent()


def test_the_list_shows_every_run_for_import(backend: BraketBackend, start: Start) -> None:
    refs = {start(f"job{number}", hyper_parameters=WAITS) for number in range(3)}
    assert {each.ref for each in backend.list()} == refs
    whole = backend.lookup(next(iter(refs)).value["id"])  # type: ignore[index,call-overload,arg-type]  # a reference of ours
    assert whole is not None
    assert {"image", "device_config", "instance_config", "output_data_config", "hyper_parameters", "role_arn", "job_name"} <= set(
        whole.actual.fields,
    )


def test_a_list_that_never_ends_is_left(backend: BraketBackend, sandbox: Sandbox) -> None:
    answer(sandbox, "POST", "/jobs", {"jobs": [], "nextToken": "again"})
    for ask in (lambda: backend.find([mark()]), lambda: list(backend.list())):
        with pytest.raises(BackendError, match="the list of jobs has no end"):
            ask()


@pytest.mark.parametrize(("id_", "words"), [
    ("vqe", "is no ARN of a job"), ("arn:aws:braket:us-west-2:123456789012:job/x", "is a job of another region"),
])
def test_ids_that_are_none_say_so(backend: BraketBackend, id_: str, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        backend.lookup(id_)


# --- a job that is not readable yet ---


def test_a_new_job_that_cannot_be_read_yet_is_not_gone(
    backend: BraketBackend, start: Start, sandbox: Sandbox, open_backend: Open, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_FRESH", math.inf)
    ref = start(hyper_parameters=RUNS)
    answer(sandbox, "GET", "/job/.*", {"message": "no such job"}, status=404, code="ResourceNotFoundException")
    for each in (backend, open_backend()):  # whoever made it, and whoever sees it in a list
        found = read_one(each, ref)
        assert isinstance(found, ReadError)
        assert found.retryable
    sandbox.faults.set([])
    sandbox.world("braket").jobs.clear()
    assert isinstance(read_one(backend, ref), ReadError), "made a moment ago"
    assert isinstance(read_one(open_backend(), ref), Gone)


# --- creating once ---


@pytest.mark.parametrize(("fault", "ambiguous", "retryable"), [
    (Fault("braket", "POST", "/job", then=Then.DROP), True, True),
    (Fault("braket", "POST", "/job", then=Then.DROP, applied=True), True, True),
    (Fault("braket", "POST", "/job", status=500), True, True), (Fault("braket", "POST", "/job", status=503), True, True),
    (Fault("braket", "POST", "/job", then=Then.HALF, applied=True), True, True),
    (Fault("braket", "POST", "/job", status=429), False, True), (Fault("braket", "POST", "/job", status=403), False, False),
    (Fault("braket", "POST", "/job", status=400), False, False), (Fault("braket", "POST", "/job", status=402), False, False),
    (Fault("braket", "POST", "/job", status=424), False, False), (Fault("braket", "POST", "/job", status=410), False, False),
    (Fault("braket", "POST", "/job", status=302), False, False),
])
def test_a_create_is_sent_once(
    backend: BraketBackend, start: Start, sandbox: Sandbox, fault: Fault, ambiguous: bool, retryable: bool,
) -> None:
    sandbox.faults.set([fault])
    with pytest.raises(BackendError) as caught:
        start(hyper_parameters=RUNS)
    entries = [entry for entry in sandbox.ledger.entries("request") if entry["path"] == "/job"]
    assert entries[-1]["fault"] is not None, "boto3 did not try again, or the last entry would be a success"
    assert (caught.value.ambiguous, caught.value.retryable) == (ambiguous, retryable), caught.value.detail
    assert isinstance(backend.find([mark()])[mark()], Found if fault.applied else Absent)


def test_the_same_token_with_another_body_is_looked_up(backend: BraketBackend, start: Start) -> None:
    ref = start(hyper_parameters=RUNS)
    with pytest.raises(BackendError, match="another content") as caught:
        start(hyper_parameters=WAITS)
    assert caught.value.ambiguous
    assert backend.find([mark()])[mark()] == Found(ref, mark().body)


def test_a_quota_is_told_in_the_words_of_the_service(start: Start, sandbox: Sandbox) -> None:
    answer(sandbox, "POST", "/job", {"message": "5 jobs at most"}, status=402, code="ServiceQuotaExceededException")
    with pytest.raises(BackendError, match="5 jobs at most") as caught:
        start()
    assert "ServiceQuotaExceededException" in caught.value.detail


@pytest.mark.parametrize("body", [
    "<html>Log in</html>", "", "null", "[]", "{}", '{"jobArn": 5}', '{"jobArn": null}', '{"jobArn": "x"}', '{"jobArn": ["x"]}',
    "{", "[" * 100_000,
])
def test_an_answer_that_names_no_job_leaves_open_what_happened(start: Start, sandbox: Sandbox, body: str) -> None:
    answer(sandbox, "POST", "/job", body, status=201, times=1)
    with pytest.raises(BackendError) as caught:
        start()
    assert caught.value.ambiguous


def test_a_login_page_is_told_as_what_it_is(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters=RUNS)
    answer(sandbox, "GET", ".*", "<title>Log in\x1b[31m</title>")
    found = read_one(backend, ref)
    assert isinstance(found, ReadError)
    assert found.summary == "the answer of braket is not what the service gives"
    assert "status 200, application/json: <title>Log in\\x1b[31m</title>" in found.detail


# --- stopping ---


def test_a_second_stop_is_quiet(
    backend: BraketBackend, start: Start, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked while the first stop still goes on: the service refuses it, and that is what was wanted."""
    monkeypatch.setattr(sandbox.world("braket"), "stopping", math.inf)
    ref = start(hyper_parameters=RUNS)
    while actual_of(backend, ref).phase is not Phase.RUNNING:
        pass
    backend.cancel(ref, only_if_waiting=False)
    answer(sandbox, "PUT", ".*", {"message": "it is being cancelled"}, status=409, code="ConflictException")
    backend.cancel(ref, only_if_waiting=False)
    assert [call.method for call in sandbox.servers["braket"].calls].count("PUT") == 2
    actual = actual_of(backend, ref)
    assert (actual.phase, actual.detail) == (Phase.RUNNING, "it is being cancelled")


def test_a_stop_that_is_refused_is_an_error(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters=RUNS)
    answer(sandbox, "PUT", ".*", {"message": "not now"}, status=409, code="ConflictException")
    with pytest.raises(BackendError, match="not now"):
        backend.cancel(ref, only_if_waiting=False)


def test_deleting_calls_nothing(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters={"SANDBOX_QUEUED": 0, "SANDBOX_SECONDS": 0})
    while actual_of(backend, ref).phase is not Phase.SUCCEEDED:
        pass
    sandbox.servers["braket"].calls.clear()
    backend.delete(ref)
    assert {call.method for call in sandbox.servers["braket"].calls} == {"GET"}
    assert isinstance(read_one(backend, ref), Actual)


# --- reads ---


def test_a_throttled_read_is_repeated(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters=RUNS)
    sandbox.faults.set([Fault("braket", "GET", times=6, status=429)])
    assert isinstance(read_one(backend, ref), Actual)


def test_a_failing_read_is_repeated_a_few_times(backend: BraketBackend, start: Start, sandbox: Sandbox) -> None:
    ref = start(hyper_parameters=RUNS)
    sandbox.faults.set([Fault("braket", "GET", times=3, status=500)])
    assert isinstance(read_one(backend, ref), Actual)
    sandbox.faults.set([Fault("braket", "GET", times=1000, status=500)])
    sandbox.servers["braket"].calls.clear()
    before = sum(1 for _ in sandbox.ledger.entries("request"))
    assert isinstance(read_one(backend, ref), ReadError)
    assert sum(1 for _ in sandbox.ledger.entries("request")) - before == 4


@pytest.mark.parametrize("seed", range(6))
def test_odd_answers_never_raise_anything_else(backend: BraketBackend, start: Start, sandbox: Sandbox, seed: int) -> None:
    """Whatever comes instead of an answer, a read is a ReadError or a BackendError, or what the answer says."""
    ref, rng = start(hyper_parameters=RUNS), random.Random(seed)
    value: Any = ref.value
    good = sandbox.world("braket").jobs[value["id"]].body
    odd: list[Any] = [None, 0, -1, True, "x", [], [1], {}, {"a": 1}, "2026-13-45T00:00:00Z", 1e308, "\ud800"]
    for _ in range(25):
        job = {**good, "jobArn": value["id"], "status": "RUNNING", "createdAt": "2026-01-01T00:00:00Z"}
        for key in rng.sample(sorted(job), rng.randint(1, 3)):
            job[key] = rng.choice(odd)
        whole = rng.choice([job, [job], {"jobs": job}, {"jobs": [job]}, "<html>", rng.choice(odd)])
        answer(sandbox, "(GET|POST)", ".*", whole)
        assert isinstance(read_one(backend, ref), Actual | ReadError)
        for ask in (lambda: backend.find([mark()]), lambda: list(backend.list()), backend.scope):
            try:
                ask()
            except BackendError as error:
                assert not error.ambiguous


# --- rates ---


class Slow(QuickClock):
    """Time that stands still; it counts how long it would have slept."""

    slept: ClassVar[list[float]] = []

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize(("operation", "rate", "burst"), [
    ("create_job", 1, 5), ("get_job", 5, 25), ("search_jobs", 5, 50), ("cancel_job", 2, 5),
])
@pytest.mark.parametrize("factor", [1, 2])
def test_calls_keep_to_the_documented_rates(tmp_path: Path, operation: str, rate: int, burst: int, factor: int) -> None:
    clock = Slow()
    clock.slept.clear()
    place = Place(tmp_path, clock, no_effect, {})
    pace = Braket({"rate_factor": factor}, place).aws._paces[operation]
    for _ in range(burst + 3):
        pace.wait()
    waited = [seconds for seconds in clock.slept if seconds > 1e-9]  # a sum of fractions is not quite nothing
    assert waited == pytest.approx([number / (rate * factor) for number in (1, 2, 3)])


def test_a_job_without_a_role_is_refused_by_the_plan(open_backend: Open) -> None:
    from jobform.model.state import Op
    from jobform.protocols import Intended

    without, with_role = open_backend(role_arn=None), open_backend(role_arn=ROLE)
    intended = Intended(Op.SUBMIT, submission("job"), mark())
    (forecast,) = without.preflight([intended], 1).values()
    assert (forecast.verdict, forecast.summary) == ("refused", "no role is named for the job")
    assert with_role.preflight([intended], 1) == {}
    assert without.preflight([Intended(Op.SUBMIT, submission("job", role_arn=ROLE), mark())], 1) == {}


def test_opening_makes_no_calls(tmp_path: Path, sandbox: Sandbox) -> None:
    TYPE.open(BackendBlock("qpu", "braket", {}), Place(tmp_path, QuickClock(), no_effect, {}))
    assert not sandbox.servers["braket"].calls
