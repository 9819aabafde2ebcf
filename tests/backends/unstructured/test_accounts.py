"""Another key. It may be of another account, which shows nothing of the first one: what it does not show may be there."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobform.clients.keys import Key
from jobform.model.errors import BackendError
from jobform.protocols import Absent, Submission, Unknown
from jobform.sandbox.host import Sandbox
from jobform.sandbox.unstructured import KEY, SECOND_KEY, STRANGERS_KEY
from jobform.testing.backend_fixtures import read_one
from jobform.testing.marks import make_mark
from tests.backends.unstructured.conftest import FOREVER, JOBS, nodes, opened
from tests.sandboxed import Answer, Desk

APPLY = ("apply", "--auto-approve", "--detach")
LATER = timedelta(minutes=11)
"""After it, absence is certain."""

PARSE: dict[str, Any] = {"template_id": "hi_res_partition"}


def crashed(desk: Desk, moment: str) -> None:
    """Killed around the create: whether there is a job, nobody knows."""
    desk.write({"first": PARSE, "parse": PARSE} if desk.jobs else {"parse": PARSE})
    desk.killed(*APPLY, effect=f"remote.create.{moment}")


def test_what_another_account_does_not_show_is_not_made_again(desk: Desk) -> None:
    crashed(desk, "after")
    desk.environ["UNSTRUCTURED_API_KEY"] = STRANGERS_KEY
    for _ in range(2):
        told = desk.later(*APPLY, passed=LATER, exits=7)
        assert "unknown_submission" in told
        assert "the account of UNSTRUCTURED_API_KEY at " in told
        assert "is asked by another key than before" in told
        assert "jobform state resolve 'parse' --found ID | --not-submitted" in told
        assert desk.posts() == 1
    desk.environ["UNSTRUCTURED_API_KEY"] = KEY
    desk.later(*APPLY, passed=LATER, exits=7)
    (job,) = desk.jobs
    desk.run("state", "resolve", "parse", "--found", job.id)
    assert desk.posts() == 1


def test_by_the_same_key_absence_is_believed(desk: Desk) -> None:
    crashed(desk, "before")
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 1


def test_a_key_is_exchanged_within_an_account(desk: Desk) -> None:
    """An earlier job that both keys show proves that they are of one account."""
    desk.write({"first": PARSE})
    desk.run("apply", "--auto-approve")
    (job,) = desk.jobs
    job.created -= 3600
    crashed(desk, "before")
    desk.environ["UNSTRUCTURED_API_KEY"] = SECOND_KEY
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 2


def test_without_a_witness_a_person_says_that_nothing_was_made(desk: Desk) -> None:
    crashed(desk, "before")
    desk.environ["UNSTRUCTURED_API_KEY"] = SECOND_KEY
    desk.later(*APPLY, passed=LATER, exits=7)
    desk.run("state", "resolve", "parse", "--not-submitted")
    desk.run("apply", "--auto-approve")
    assert desk.posts() == 1


def test_a_live_job_goes_on_under_a_new_key_and_is_not_lost_under_a_strangers(desk: Desk) -> None:
    desk.write({"parse": {"job_nodes": nodes(**FOREVER)}})
    desk.run(*APPLY)
    desk.environ["UNSTRUCTURED_API_KEY"] = STRANGERS_KEY
    for command, code in (
        (("plan", "--detailed-exitcode"), 0), (APPLY, 7), (("advance",), 7), (("apply", "--auto-approve", "--recreate-lost"), 7),
        (("cancel", "parse"), 1),
    ):
        done = desk.run(*command, exits=code)
        assert "the key of UNSTRUCTURED_API_KEY is probably one of another account" in done.stdout + done.stderr
    desk.environ["UNSTRUCTURED_API_KEY"] = SECOND_KEY
    desk.run("plan", "--detailed-exitcode")
    desk.run("cancel", "parse")
    assert desk.jobs[0].over
    assert desk.posts() == 1


def test_a_state_has_no_key(desk: Desk) -> None:
    desk.write({"parse": PARSE})
    desk.run("apply", "--auto-approve")
    texts = [path.read_text() for path in desk.directory.rglob("*") if path.is_file()]
    assert any(Key(KEY, "").fingerprint in text for text in texts)
    assert not any(KEY in text for text in texts)


# --- a key that is exchanged while a command runs ---------------------------------------------------------------------


@pytest.fixture
def file(sandbox: Sandbox, tmp_path: Path) -> Path:
    """What UNSTRUCTURED_API_KEY_FILE names."""
    sandbox.variables.pop("UNSTRUCTURED_API_KEY")
    sandbox.variables["UNSTRUCTURED_API_KEY_FILE"] = str(tmp_path / "key")
    (tmp_path / "key").write_text(KEY)
    return tmp_path / "key"


@pytest.mark.parametrize(("method", "path"), [("GET", f"{JOBS}.+"), ("POST", JOBS)])
def test_what_was_begun_by_one_key_is_not_sent_by_another(
    file: Path, sandbox: Sandbox, submission: Callable[..., Submission], answer: Answer, tmp_path: Path, method: str, path: str,
) -> None:
    """method, path: the call that finds out."""
    backend, jobs = opened(sandbox, tmp_path), sandbox.world("unstructured").jobs
    backend.scope()
    file.write_text(SECOND_KEY)
    ref = backend.submit(submission("one"), make_mark("one"))  # by the key that is known, as long as it is good
    answer(method, path, '{"detail": "revoked"}', status=401, times=1)
    read_one(backend, ref)
    with pytest.raises(BackendError, match="the key was exchanged while this command ran") as caught:
        backend.submit(submission("two"), make_mark("two"))
    assert not caught.value.ambiguous
    assert "the file of UNSTRUCTURED_API_KEY_FILE" in caught.value.detail
    assert len(jobs) == 1
    backend.scope()
    backend.submit(submission("two"), make_mark("two"))
    assert len(jobs) == 2


def test_what_another_key_does_not_list_is_not_absent(
    file: Path, sandbox: Sandbox, answer: Answer, tmp_path: Path,
) -> None:
    backend, mark = opened(sandbox, tmp_path), make_mark("job")
    backend.scope()
    assert backend.find([mark]) == {mark: Absent()}
    file.write_text(STRANGERS_KEY)
    answer("GET", JOBS, '{"detail": "revoked"}', status=401, times=1)
    assert isinstance(backend.find([mark])[mark], Unknown)
