"""Field by field: what a spec becomes on the wire, and what an answer of the service becomes."""

import shlex
from typing import Any

import pytest

from jobform.backends.fireworks.wire import MARK, body_of, is_absent, seen_of, update_of
from jobform.backends.remote import shaped
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.testing.marks import make_mark

MARKED = make_mark("train")

JOB: dict[str, Any] = {
    "name": "accounts/acme/batchJobs/k3q9x2m1", "createTime": "2026-04-02T10:00:00Z", "createdBy": "ci@acme.io",
    "state": "QUEUED", "status": "", "updateTime": "2026-04-02T10:00:00Z", "nodePoolId": "pool",
    "shellExecutor": {"command": "true"}, "annotations": {MARK: MARKED.text},
}


def job(**values: Any) -> dict[str, Any]:
    """An answer of the service; None takes a field away."""
    return {key: value for key, value in {**JOB, **values}.items() if value is not None}


@pytest.mark.parametrize(("spec", "wire"), [
    ({"node_pool_id": "pool"}, {"nodePoolId": "pool"}),
    ({"display_name": "n"}, {"displayName": "n"}),
    ({"environment_id": "e"}, {"environmentId": "e"}),
    ({"snapshot_id": "s"}, {"snapshotId": "s"}),
    ({"image": "i:1"}, {"imageRef": "i:1"}),
    ({"num_ranks": 8}, {"numRanks": 8}),
    ({"env": {"A": "1"}}, {"envVars": {"A": "1"}}),
    ({"role": "arn"}, {"role": "arn"}),
    ({"shared": False}, {"shared": False}),
    ({"command": ["echo", "a b", "$HOME", "it's", ""]}, {"shellExecutor": {"command": "echo 'a b' '$HOME' 'it'\"'\"'s' ''"}}),
    ({"shell_executor": {"command": "a | b"}}, {"shellExecutor": {"command": "a | b"}}),
    ({"python_executor": {"target_type": "MODULE", "target": "t", "args": ["-x"]}},
     {"pythonExecutor": {"targetType": "MODULE", "target": "t", "args": ["-x"]}}),
    ({"python_executor": {"target_type": "FILENAME", "target": "t.py"}},
     {"pythonExecutor": {"targetType": "FILENAME", "target": "t.py"}}),
    ({"notebook_executor": {"notebook_filename": "n.ipynb"}}, {"notebookExecutor": {"notebookFilename": "n.ipynb"}}),
])
def test_a_field_is_sent_and_reported(spec: dict[str, Json], wire: dict[str, Json]) -> None:
    body = body_of(spec, MARKED)
    assert body == {**wire, "annotations": {"jobform.dev/mark": MARKED.text, "jobform.dev/address": "train"}}
    reported = seen_of({**JOB, "shellExecutor": None, **body}).actual.fields
    assert {key: reported[key] for key in spec} == spec


def test_annotations_are_sent_with_the_mark_and_reported_without() -> None:
    body = body_of({"node_pool_id": "pool", "annotations": {"team": "vision"}}, MARKED)
    assert body["annotations"] == {"team": "vision", "jobform.dev/mark": MARKED.text, "jobform.dev/address": "train"}
    seen = seen_of(job(annotations={**body["annotations"], "fireworks.ai/origin": "api"}))  # type: ignore[dict-item]  # JSON of a known shape
    assert seen.mark == MARKED.text
    assert seen.actual.fields["annotations"] == {"team": "vision"}


def test_annotations_that_are_too_large_are_refused_before_the_call() -> None:
    with pytest.raises(BackendError, match="too large"):
        body_of({"node_pool_id": "pool", "annotations": {"note": "ü" * (128 << 10)}}, MARKED)


def test_what_the_wire_leaves_out_is_reported_as_empty() -> None:
    assert seen_of(job()).actual.fields == {
        "node_pool_id": "pool", "display_name": "", "environment_id": "", "snapshot_id": "", "image": "", "env": {}, "role": "",
        "shared": False, "annotations": {}, "command": ["true"], "shell_executor": {"command": "true"}, "python_executor": {},
        "notebook_executor": {},
    }


def test_a_number_of_ranks_that_is_not_told_is_not_made_up() -> None:
    assert "num_ranks" not in seen_of(job()).actual.fields
    assert seen_of(job(numRanks=4)).actual.fields["num_ranks"] == 4


@pytest.mark.parametrize("text", ["a | b", "echo $HOME", "echo  two", "echo 'open", "a\nb", 'echo "x"'])
def test_a_text_that_no_list_of_words_was_is_reported_as_no_command(text: str) -> None:
    fields = seen_of(job(shellExecutor={"command": text})).actual.fields
    assert (fields["command"], fields["shell_executor"]) == ([], {"command": text})


@pytest.mark.parametrize(("spec", "changed", "present", "body"), [
    ({"display_name": "n"}, {"display_name"}, {}, {"displayName": "n"}),
    ({"display_name": "n"}, {"shared"}, {"display_name": "n", "shared": True}, {"displayName": "n", "shared": False}),
    ({}, {"display_name"}, {"display_name": "old"}, {"displayName": ""}),
    ({"shared": True}, {"node_pool_id", "shared"}, {}, {"shared": True}),
    ({"display_name": "n", "shared": True}, {"display_name"}, {"display_name": "old", "shared": False}, {"displayName": "n"}),
    ({"display_name": "n"}, {"display_name"}, {"shared": True}, {"displayName": "n", "shared": True}),
])
def test_an_update_sends_what_is_to_change_and_keeps_the_rest_as_it_is(
    spec: dict[str, Json], changed: set[str], present: dict[str, Json], body: dict[str, Json],
) -> None:
    whole: dict[str, Json] = {"node_pool_id": "pool", "command": ["x"], "env": {"A": "1"}, **spec}
    assert update_of(whole, changed, present) == {"nodePoolId": "pool", **body}


@pytest.mark.parametrize(("word", "phase", "detail"), [
    ("STATE_UNSPECIFIED", Phase.PENDING, ""), ("CREATING", Phase.PENDING, "it is being made"),
    ("QUEUED", Phase.PENDING, "queued"), ("PENDING", Phase.PENDING, ""), ("RUNNING", Phase.RUNNING, ""),
    ("CANCELLING", Phase.RUNNING, "it is being cancelled"),
    ("COMPLETED", Phase.SUCCEEDED, ""), ("FAILED", Phase.FAILED, ""), ("CANCELLED", Phase.CANCELLED, ""),
    ("DELETING", Phase.RUNNING, "it is being deleted"),
])
def test_a_state_is_a_phase(word: str, phase: Phase, detail: str) -> None:
    actual = seen_of(job(state=word)).actual
    assert (actual.phase, actual.detail, actual.warnings) == (phase, detail, ())
    assert actual.class_ == ("user_error" if phase is Phase.FAILED else None)
    assert (actual.started_at is not None) == (phase in (Phase.RUNNING, Phase.SUCCEEDED))


def test_a_state_of_tomorrow_is_taken_for_running_and_told() -> None:
    actual = seen_of(job(state="HIBERNATING")).actual
    assert actual.phase is Phase.RUNNING
    assert "HIBERNATING" in actual.warnings[0]


def test_no_state_is_the_first_one() -> None:
    assert seen_of(job(state=None)).actual.phase is Phase.PENDING


def test_times() -> None:
    times = {"startTime": "2026-04-02T12:00:01.123456789+02:00", "endTime": "2026-04-02T10:00:09Z"}
    actual = seen_of(job(state="COMPLETED", **times)).actual
    assert actual.started_at == "2026-04-02T10:00:01.123456Z"
    assert actual.ended_at == "2026-04-02T10:00:09.000000Z"


def test_a_run_that_does_not_say_when_it_started_started_when_it_was_made() -> None:
    assert seen_of(job(state="RUNNING")).actual.started_at == "2026-04-02T10:00:00.000000Z"
    assert seen_of(job(state="RUNNING", startTime="0001-01-01T00:00:00Z")).actual.started_at == "2026-04-02T10:00:00.000000Z"
    assert seen_of(job(state="CANCELLED")).actual.started_at is None, "it may never have started"


def test_the_end_of_a_run_that_goes_on_is_not_believed() -> None:
    assert seen_of(job(state="RUNNING", endTime="2026-04-02T10:00:09Z")).actual.ended_at is None


@pytest.mark.parametrize("status", ["out of capacity", {"code": 8, "message": "out of capacity"}])
def test_the_words_of_the_service_are_shown(status: Json) -> None:
    assert seen_of(job(state="PENDING", status=status)).actual.detail == "out of capacity"


def test_words_that_do_not_end_are_cut() -> None:
    assert len(seen_of(job(status="x" * 1_000_000)).actual.detail) < 1000


def test_a_job_that_is_being_deleted_is_gone_only_when_it_had_ended() -> None:
    assert is_absent(job(state="DELETING", endTime="2026-04-02T10:00:09Z"))
    assert not is_absent(job(state="DELETING"))
    seen = seen_of(job(state="DELETING", endTime="2026-04-02T10:00:09Z"))
    assert (seen.actual.phase, seen.actual.class_, seen.whole) == (Phase.FAILED, "lost", False)
    assert seen.mark == MARKED.text, "it was made all the same"


STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, "", "x", "x" * 100_000, "\x00\u202e", [], {}, [None], {"a": {"b": []}}, {"a": 1}, [[]],
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-13-45T99:99:99Z",
    "accounts/a/batchJobs/", "accounts/a/batchJobs/..", "batchJobs/a/b",
    "accounts/a/batchJobs/a b", "' open",
)


@pytest.mark.parametrize("key", [
    *JOB, "startTime", "endTime", "displayName", "environmentId", "snapshotId", "imageRef", "numRanks", "envVars", "role",
    "shared", "pythonExecutor", "notebookExecutor",
])
def test_no_answer_is_anything_but_a_run_or_an_error(key: str) -> None:
    for state in ("RUNNING", "COMPLETED", "DELETING"):
        for value in STRANGE:
            try:
                seen = shaped(seen_of, {**JOB, "state": state, key: value}, "batch job")
            except BackendError as error:
                assert error.summary
                assert len(error.detail) < 1000
            else:
                assert seen.id == "k3q9x2m1" or key == "name"
                assert isinstance(seen.actual.fields["env"], dict)
    for value in STRANGE:
        for name in ("shellExecutor", "pythonExecutor"):
            with_one = {**JOB, name: {"command": value, "target": value, "args": value, "targetType": value}}
            try:
                fields = shaped(seen_of, with_one, "batch job").actual.fields
            except BackendError:
                continue
            words, text = fields["command"], with_one["shellExecutor"]["command"]
            assert isinstance(words, list)
            assert not words or shlex.join(str(word) for word in words) == text


@pytest.mark.parametrize("answer", [
    None, [], "text", 1, {}, {"name": 5}, {"name": "accounts/a/models/x"}, {"name": "x/batchJobs/.."},
])
def test_what_is_no_job_is_an_error(answer: Json) -> None:
    with pytest.raises(BackendError, match="no batch job"):
        shaped(seen_of, answer, "batch job")
