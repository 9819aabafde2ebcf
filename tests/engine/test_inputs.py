"""A changed document is a changed job: what is planned, accepted and sent when the files that a spec names change."""

from pathlib import Path
from typing import Any

import pytest

from jobform.codec import plan_from_bytes, plan_to_bytes
from jobform.model.change import Plan
from jobform.model.errors import InputError, StaleError
from jobform.model.inputs import hash_input
from jobform.run.approval import Approval

from .lab import Lab, acting, codes, reasons

A, B = "sha256:559aead08264", "sha256:df7e70e50215"  # of "A" and of "B"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.write({"read": {"spec": {"command": ["x"], "files": ["docs/a.txt"]}}})
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("A")
    return lab


def change_document(lab: Lab, text: str = "B") -> None:
    (lab.directory / "docs" / "a.txt").write_text(text)


def differences(plan: Plan) -> list[tuple[str, Any, Any]]:
    return [(field.path, field.before, field.after) for change in plan.changes for field in change.fields]


def test_what_is_accepted_and_recorded_is_the_content(lab: Lab) -> None:
    lab.apply()
    record = lab.state.jobs["read"]
    whole = {"docs/a.txt": hash_input(lab.directory, "docs/a.txt")}
    assert record.desired.inputs == record.last.inputs == whole
    assert acting(lab.plan()) == {}
    (lab.directory / "docs" / "a.txt").touch()
    assert acting(lab.plan()) == {}, "times do not count"


def test_a_changed_document_runs_a_succeeded_job_again(lab: Lab) -> None:
    lab.apply()
    change_document(lab)
    plan = lab.plan()
    assert acting(plan) == {"read": "rerun spec_changed"}
    assert differences(plan) == [("inputs[docs/a.txt]", A, B)]
    (field,) = plan.changes[0].fields
    assert (field.class_, field.mutable) == ("result", "never")
    assert str(field.range) == "jobs/jobs.yaml:1:75"
    lab.apply()
    assert acting(lab.plan()) == {}
    first, last = lab.state.jobs["read"].attempts
    assert first.inputs != last.inputs
    assert first.fingerprint != last.fingerprint
    assert first.body_hash != last.body_hash


@pytest.mark.parametrize(("job", "change", "expected"), [
    ({"spec": {"exit": 1}}, {}, "rerun spec_changed"),
    ({"spec": {"seconds": 1000}}, {"allow_cancel": ["read"]}, "replace spec_changed"),
    ({"spec": {"stay_pending": True}}, {}, "replace spec_changed"),
    ({"rerun": {"on": ["lost"]}}, {}, "update next_attempt"),
    ({"on_change_while_running": "finish", "spec": {"seconds": 1000}}, {}, "rerun spec_changed"),
])
def test_a_changed_document_is_like_any_other_result_field(lab: Lab, job: Any, change: Any, expected: str) -> None:
    lab.edit("read", **job)
    lab.apply(detach=True)
    lab.clock.advance(3)
    lab.advance()
    change_document(lab)
    plan = lab.plan(**change)
    assert acting(plan) == {"read": expected}
    assert ("inputs[docs/a.txt]", A, B) in differences(plan)


def test_a_live_run_is_never_stopped_for_it(lab: Lab) -> None:
    lab.edit("read", spec={"seconds": 1000})
    lab.apply(detach=True)
    lab.clock.advance(3)
    change_document(lab)
    plan = lab.plan()
    assert reasons(plan) == {"read": "block live"}
    assert differences(plan) == [("inputs[docs/a.txt]", A, B)]


def test_a_document_recorded_for_later_is_accepted_once(lab: Lab) -> None:
    lab.edit("read", rerun={"on": ["lost"]})
    lab.apply()
    change_document(lab)
    assert acting(lab.plan()) == {"read": "update next_attempt"}
    lab.apply()
    assert acting(lab.plan()) == {}
    assert len(lab.state.jobs["read"].attempts) == 1
    change_document(lab, "A")
    assert acting(lab.plan()) == {"read": "update next_attempt"}, "what was accepted is taken back"
    assert differences(lab.plan()) == [("inputs[docs/a.txt]", B, A)]


def test_what_was_accepted_and_not_begun_is_shown_when_it_changes(lab: Lab) -> None:
    lab.write({**lab.jobs, "first": {"spec": {"seconds": 1000}}})
    lab.edit("read", needs=["first"])
    lab.apply(detach=True)
    change_document(lab)
    assert acting(lab.plan()) == {"read": "create new"}
    assert differences(lab.plan()) == [("inputs[docs/a.txt]", A, B)]


def test_another_path_is_a_change_of_the_spec(lab: Lab) -> None:
    lab.apply()
    (lab.directory / "docs" / "b.txt").write_text("A")
    lab.edit("read", spec={"files": ["docs/b.txt"]})
    assert [path for path, _, _ in differences(lab.plan())] == ["spec.files"]


def test_nothing_is_sent_but_what_was_accepted(lab: Lab) -> None:
    plan = lab.plan()
    change_document(lab)
    outcome = lab.apply(Approval(file=plan_from_bytes(plan_to_bytes(plan))))
    (found,) = outcome.diagnostics
    assert (outcome.exit, found.code) == (7, "submit_failed")
    assert found.summary == "the submit call failed: 'docs/a.txt' has changed since it was accepted"
    assert lab.made() == []
    assert acting(lab.plan()) == {"read": "create new"}, "what the files say now is another thing to accept"
    lab.apply()
    assert lab.made() == ["read"]


def test_a_saved_plan_carries_what_the_files_held(lab: Lab) -> None:
    plan = lab.plan()
    loaded = plan_from_bytes(plan_to_bytes(plan))
    assert loaded.changes[0].desired.inputs == {"docs/a.txt": hash_input(lab.directory, "docs/a.txt")}
    assert not codes(lab.apply(Approval(file=loaded)))


def test_an_approval_is_for_these_documents(lab: Lab) -> None:
    digest = lab.plan().digest
    change_document(lab)
    with pytest.raises(StaleError):
        lab.apply(Approval(digest=digest))
    assert lab.made() == []


def test_a_directory_is_one_input(lab: Lab) -> None:
    lab.edit("read", spec={"files": ["docs/"]})
    lab.apply()
    assert acting(lab.plan()) == {}
    (lab.directory / "docs" / "new.txt").write_text("")
    assert [path for path, _, _ in differences(lab.plan())] == ["inputs[docs/]"]


@pytest.mark.parametrize(("files", "code", "column"), [
    (["docs/none.txt"], "no_such_file", 75), (["../x"], "outside_project", 75),
    (["docs/a.txt", "{{ secret('WHICH') }}"], "not_known_yet", 89), (["{{ jobs.other.outputs.path }}"], "not_known_yet", 75),
])
def test_what_cannot_be_read_is_an_error_of_the_files(lab: Lab, files: Any, code: str, column: int) -> None:
    lab.write({**lab.jobs, "other": {}})
    lab.edit("read", spec={"files": files})
    with pytest.raises(InputError) as caught:
        lab.plan()
    (found,) = caught.value.diagnostics
    assert (found.code, found.address) == (code, "read")
    assert str(found.range) == f"jobs/jobs.yaml:1:{column}"


def test_what_an_older_version_did_not_read_makes_nothing_run_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("jobform.schema.SpecSchema.inputs", lambda self, spec: iter(()))
        lab.apply()
    assert lab.state.jobs["read"].last.inputs == {}
    assert acting(lab.plan()) == {}


def test_a_submission_that_was_cut_is_found_with_its_own_documents(lab: Lab) -> None:
    def cut(operation: str, subject: str, moment: str) -> None:
        if (operation, moment) == ("submit", "after"):
            raise KeyboardInterrupt

    lab.calls.on = cut
    with pytest.raises(KeyboardInterrupt):
        lab.apply()
    lab.calls.on = lambda operation, subject, moment: None
    change_document(lab)
    assert acting(lab.plan()) in ({"read": "rerun spec_changed"}, {"read": "replace spec_changed"})
    lab.check()


