"""Another key. It may be of another account, which shows nothing of the first one: what it does not show has not gone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.otoy.backend import TYPE, Otoy
from jobform.clients.keys import Key
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.model.values import Json
from jobform.protocols import Absent, Actual, Place, ReadError, Submission, no_effect, timestamp
from jobform.sandbox.host import Sandbox
from jobform.sandbox.otoy import KEY, SECOND_KEY, SECRET, STRANGERS_KEY
from jobform.sandbox.world import State
from jobform.testing.marks import make_mark
from tests.backends.otoy.conftest import FOREVER
from tests.backends.otoy.test_commands import RENDER, only
from tests.entry import LaterClock
from tests.sandboxed import Desk

LIVE = {**RENDER, "env": FOREVER, "timeout": "1000h"}
APPLY = ("apply", "--auto-approve", "--detach")
LATER = timedelta(minutes=11)
"""After it, absence is certain."""


def crashed(desk: Desk, moment: str) -> None:
    """Killed around the create: whether there is a run, only the service knows."""
    desk.write({"render": LIVE})
    desk.killed(*APPLY, effect=f"remote.create.{moment}")


def test_what_another_account_does_not_show_is_not_made_again(desk: Desk) -> None:
    crashed(desk, "after")
    desk.environ["OTOY_API_KEY"] = STRANGERS_KEY
    for _ in range(2):
        told = desk.later(*APPLY, passed=LATER, exits=7)
        assert desk.posts() == 1
        assert "unknown_submission" in told
        assert "OTOY_API_KEY and OTOY_API_SECRET" in told
        assert "another key" in told
    desk.environ["OTOY_API_KEY"] = KEY
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 1


def test_by_the_same_key_absence_is_believed(desk: Desk) -> None:
    crashed(desk, "before")
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 1


def test_a_key_is_exchanged_within_an_account(desk: Desk) -> None:
    """An earlier run that both keys show proves that they are of one account."""
    desk.write({"first": RENDER})
    desk.run("apply", "--auto-approve")
    crashed(desk, "before")
    desk.environ["OTOY_API_KEY"] = SECOND_KEY
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 2


def test_a_new_key_adopts_what_the_old_one_made(desk: Desk) -> None:
    crashed(desk, "after")
    desk.environ["OTOY_API_KEY"] = SECOND_KEY
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 1


def test_without_a_witness_a_person_says_that_nothing_was_made(desk: Desk) -> None:
    crashed(desk, "before")
    desk.environ["OTOY_API_KEY"] = SECOND_KEY
    desk.later(*APPLY, passed=LATER, exits=7)
    desk.run("state", "resolve", "render", "--not-submitted")
    desk.later(*APPLY, passed=LATER)
    assert desk.posts() == 1


@pytest.mark.parametrize("policy", [{"rerun": {"on": ["changed", "lost"]}}, {"on_change_while_running": "cancel"}])
def test_a_live_run_that_another_account_does_not_show_is_not_lost(desk: Desk, policy: dict[str, Any]) -> None:
    desk.write({"render": {"spec": LIVE}})
    desk.run(*APPLY)
    desk.write({"render": {"spec": {**LIVE, "image": "acme/octane:2027"}, **policy}})
    desk.environ["OTOY_API_KEY"] = STRANGERS_KEY
    before = (desk.directory / "jobform.state.json").read_bytes()
    for command in (("plan",), APPLY, ("advance",), ("apply", "--auto-approve", "--recreate-lost")):
        told = desk.run(*command, exits=1).stderr
        assert told.count("error[") == 1, told
        assert "error[other_scope]: backend 'otoy' does not show render, and asks with another key" in told
        assert "OTOY_API_KEY and OTOY_API_SECRET" in told
    assert desk.posts() == 1
    assert only(desk).state is State.RUNNING
    assert (desk.directory / "jobform.state.json").read_bytes() == before


def test_a_new_key_shows_what_the_old_one_made(desk: Desk) -> None:
    """Also that one of two runs has gone."""
    desk.write({"one": LIVE, "two": LIVE})
    desk.run(*APPLY)
    desk.environ["OTOY_API_KEY"] = SECOND_KEY
    desk.run("plan", "--detailed-exitcode")
    world = desk.sandbox.world("otoy")
    with world.held():
        world.remove(desk.jobs[0])
    assert "1 held, 0 blocked, 1 unchanged" in desk.run("plan").stdout
    assert "lost" in desk.run("status").stdout
    desk.run("cancel", "*", exits=8)
    assert only(desk).over


def test_what_a_removed_job_left_is_over_only_where_its_account_says_so(desk: Desk) -> None:
    desk.write({"render": LIVE})
    desk.run(*APPLY)
    desk.run("state", "rm", "render")
    desk.environ["OTOY_API_KEY"] = STRANGERS_KEY
    assert "live_orphan" in desk.run("plan", "--format", "json").stdout
    desk.run(*APPLY, exits=7)
    assert desk.posts() == 1
    desk.run("state", "resolve", "render", "--ended")
    desk.environ["OTOY_API_KEY"] = KEY
    desk.run("destroy", "--auto-approve")
    with desk.sandbox.world("otoy").held():
        desk.sandbox.world("otoy").cancel(only(desk))


def test_a_state_has_no_key(desk: Desk) -> None:
    desk.write({"render": RENDER})
    desk.run("apply", "--auto-approve")
    texts = [path.read_text() for path in desk.directory.rglob("*") if path.is_file()]
    assert any(Key(KEY, "").fingerprint in text for text in texts)
    assert not any(KEY in text or SECRET in text for text in texts)


def test_a_key_that_is_exchanged_while_a_command_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    """The command recorded the key that it began with: by another one it makes nothing, and believes no absence."""
    file = tmp_path / "key"
    file.write_text(KEY)
    environ = {"OTOY_API_KEY_FILE": str(file), **{k: v for k, v in sandbox.variables.items() if k != "OTOY_API_KEY"}}
    clock = LaterClock(LATER)
    backend = TYPE.open(BackendBlock("otoy", "otoy", {}), Place(tmp_path, clock, no_effect, environ))
    sandbox.world("otoy").now = lambda: clock.now().timestamp()
    backend.scope()
    ref = backend.submit(Submission("job", LIVE, LIVE), make_mark("job"))
    never = replace(make_mark("never"), begun_at=timestamp(SystemClock().now()))
    assert backend.find([never]) == {never: Absent()}
    file.write_text(STRANGERS_KEY)
    assert isinstance(backend.read([ref])[ref], ReadError)
    with pytest.raises(BackendError, match="the key was exchanged"):
        backend.find([never])
    with pytest.raises(BackendError, match="the key was exchanged") as caught:
        backend.submit(Submission("other", LIVE, LIVE), make_mark("other"))
    assert not caught.value.ambiguous
    file.write_text(SECOND_KEY)
    assert isinstance(backend.read([ref])[ref], Actual)


def test_a_key_that_is_exchanged_at_the_last_moment_makes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """After all that is looked at before, and before the request is signed."""
    file = tmp_path / "key"
    file.write_text(KEY)
    environ = {"OTOY_API_KEY_FILE": str(file), **{k: v for k, v in sandbox.variables.items() if k != "OTOY_API_KEY"}}
    service = Otoy({}, Place(tmp_path, SystemClock(), no_effect, environ))
    service.scope()
    change = service._rest.change

    def exchanged(method: str, path: str, body: Json = None) -> Json:
        file.write_text(STRANGERS_KEY)
        return change(method, path, body)

    service._rest.change = exchanged  # type: ignore[method-assign,assignment]  # the moment is the point
    with pytest.raises(BackendError, match="the key was exchanged") as caught:
        service.create(Submission("job", LIVE, LIVE), make_mark("job"))
    assert not caught.value.ambiguous
    assert not sandbox.world("otoy").jobs
