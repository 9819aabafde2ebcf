"""Who is who when jobs are deleted, forgotten, moved, and come again under the same name.

Every command below is followed by `Life.check`: no address has two live runs, and no number, token or name is used twice.
"""

import json
import time
from collections.abc import Callable

import pytest

from tests.identity.life import Life
from tests.support import TIMEOUT


def until(condition: Callable[[], bool]) -> None:
    """Real processes start and end in their own time."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def start(life: Life, address: str) -> str:
    """Apply what is declared and wait until the run of `address` is seen running; the run."""
    life.apply("--detach")
    until(lambda: bool(life.running().get(address)))
    life.run("advance", exits=2)
    return life.running()[address][0]


def finish(life: Life, run: str) -> None:
    life.end(run)
    until(lambda: run not in life.live())


def test_a_job_that_was_deleted_and_comes_again_goes_on_counting(life: Life) -> None:
    life.declare(train=life.job("a"), other=life.job("o"))
    life.apply()
    for number in (2, 3):
        life.declare(other=life.job("o"))
        assert life.planned()["train"] == ("delete", "removed")
        life.apply()
        assert "train" not in life.state.jobs
        assert life.history("train") == [(n, "succeeded") for n in range(1, number)]
        life.declare(train=life.job("a"), other=life.job("o"))
        change = life.plan()["train"]
        assert (change["action"], change["reason"], change["attempt"]) == ("create", "new", number)
        life.apply()
        assert life.history("train") == [(n, "succeeded") for n in range(1, number + 1)]
    assert life.planned() == {"train": ("no-op", "unchanged"), "other": ("no-op", "unchanged")}
    assert len(life.created()) == 4


@pytest.mark.parametrize("how", ["its own end", "cancel", "resolve", "an apply that sees the end"])
def test_a_live_run_that_was_forgotten_blocks_its_name(how: str, life: Life) -> None:
    life.declare(train=life.job("a", long=True))
    run = start(life, "train")
    life.run("state", "rm", "train")
    assert life.running() == {"train": [run]}
    change = life.plan()["train"]
    assert (change["action"], change["reason"]) == ("block", "live_orphan")
    life.apply("--detach", exits=7)
    assert life.created() == [run]
    assert life.history("train") == [(1, "running")]
    if how == "cancel":
        life.run("cancel", "train")
        until(lambda: run not in life.live())
    else:
        finish(life, run)
    if how == "resolve":
        life.run("state", "resolve", "train", "--ended")
    elif how == "an apply that sees the end":
        life.apply("--detach", "--exclude", "train")
    change = life.plan()["train"]
    assert (change["action"], change["reason"], change["attempt"]) == ("create", "new", 2)
    second = start(life, "train")
    assert second != run
    finish(life, second)
    life.run("wait")
    assert [number for number, _ in life.history("train")] == [1, 2]
    assert life.history("train")[-1] == (2, "succeeded")


def test_a_live_run_that_was_let_go_in_the_files_blocks_its_name_too(life: Life) -> None:
    life.declare(train=life.job("a", long=True), other=life.job("o"))
    run = start(life, "train")
    life.declare(other=life.job("o"))
    assert life.planned()["train"] == ("block", "live")
    life.declare(other=life.job("o"), removed=[{"job": "train"}])
    assert life.planned()["train"] == ("forget", "removed")
    life.apply()
    life.declare(train=life.job("a", long=True), other=life.job("o"))
    assert life.planned()["train"] == ("block", "live_orphan")
    life.apply("--detach", exits=7)
    finish(life, run)
    change = life.plan()["train"]
    assert (change["action"], change["attempt"]) == ("create", 2)


def test_a_forgotten_job_that_is_over_is_only_a_number(life: Life) -> None:
    life.declare(train=life.job("a"))
    life.apply()
    life.run("state", "rm", "train")
    change = life.plan()["train"]
    assert (change["action"], change["reason"], change["attempt"]) == ("create", "new", 2)
    life.apply()
    assert life.history("train") == [(1, "succeeded"), (2, "succeeded")]


def test_a_moved_job_keeps_its_run_and_its_old_name_starts_anew(life: Life) -> None:
    life.declare(fit=life.job("a"))
    life.apply()
    life.declare(train=life.job("a"), moved={"fit": "train"})
    assert life.planned() == {"train": ("move", "renamed")}
    life.apply()
    assert life.planned() == {"train": ("no-op", "unchanged")}
    assert len(life.created()) == 1
    life.declare(train=life.job("b"), fit=life.job("c"))
    changes = life.plan()
    assert {address: (change["action"], change["attempt"]) for address, change in changes.items()} == {
        "train": ("rerun", 2), "fit": ("create", 2),
    }
    life.apply()
    assert life.history("train") == [(1, "succeeded"), (2, "succeeded")]
    assert life.history("fit") == [(2, "succeeded")]
    assert len(life.created()) == 3


def test_a_move_to_a_name_with_a_past_shows_both_pasts(life: Life) -> None:
    life.declare(train=life.job("old"))
    life.apply()
    life.declare(fit=life.job("a"))
    life.apply()
    life.declare(train=life.job("a"), moved={"fit": "train"})
    assert life.planned() == {"train": ("move", "renamed")}
    life.apply()
    life.declare(train=life.job("b"))
    assert life.plan()["train"]["attempt"] == 2
    life.apply()
    assert life.history("train") == [(1, "succeeded"), (1, "succeeded"), (2, "succeeded")]
    life.declare(other=life.job("o"))
    life.apply()
    assert life.history("train") == [(1, "succeeded"), (1, "succeeded"), (2, "succeeded")]


def test_a_move_and_back_goes_on_counting(life: Life) -> None:
    life.declare(train=life.job("a"))
    life.apply()
    life.declare(fit=life.job("b"), moved={"train": "fit"})
    assert life.plan()["fit"]["action"] == "rerun"
    life.apply()
    life.declare(train=life.job("b"), moved={"fit": "train"})
    life.apply()
    life.declare(train=life.job("c"))
    assert life.plan()["train"]["attempt"] == 3
    life.apply()
    assert life.history("train") == [(number, "succeeded") for number in (1, 2, 3)]


def test_a_live_job_is_moved_without_a_call_and_stays_the_only_one(life: Life) -> None:
    life.declare(fit=life.job("a", long=True))
    run = start(life, "fit")
    life.declare(train=life.job("a", long=True), moved={"fit": "train"})
    assert life.planned() == {"train": ("move", "renamed")}
    life.apply("--detach")
    assert life.running() == {"train": [run]}
    life.declare(train=life.job("b", long=True), fit=life.job("f", long=True))
    assert life.planned() == {"train": ("block", "live"), "fit": ("create", "new")}
    life.apply("--detach", exits=7)
    until(lambda: len(life.live()) == 2)
    life.check()
    assert life.running()["train"] == [run]
    assert life.state.last_attempt("fit") == 2
    for one in life.live():
        finish(life, one)
    life.run("wait", exits=0)
    assert life.planned() == {"train": ("rerun", "spec_changed"), "fit": ("no-op", "unchanged")}


def test_no_job_moves_to_a_name_whose_forgotten_run_may_be_live(life: Life) -> None:
    """The run that is left behind belongs to that name: what comes there could start a second one beside it."""
    life.declare(train=life.job("a", long=True))
    run = start(life, "train")
    life.run("state", "rm", "train")
    life.declare(fit=life.job("f"))
    life.apply()
    life.declare(train=life.job("g"), moved={"fit": "train"})
    refused = life.run("plan", exits=3)
    assert "train" in refused.stderr
    assert "jobform cancel 'train'" in refused.stderr
    life.apply(exits=3)
    finish(life, run)
    assert life.planned() == {"train": ("rerun", "spec_changed")}
    life.apply()
    assert life.running() == {}


def test_a_move_to_a_name_that_is_taken_is_refused(life: Life) -> None:
    life.declare(train=life.job("a"), fit=life.job("b"))
    life.apply()
    life.declare(train=life.job("a"), moved={"fit": "train"})
    assert "the state already has train" in life.run("plan", exits=3).stderr
    life.declare(train=life.job("b"), fit=life.job("a"), moved={"fit": "train", "train": "fit"})
    life.run("plan", exits=3)


def test_instances_keep_their_runs_when_their_axis_is_renamed(life: Life) -> None:
    life.declare(train=life.job("a", matrix={"lr": [0.1, 0.2]}))
    life.apply()
    renamed = {f"train[lr={rate}]": f"train[rate={rate}]" for rate in (0.1, 0.2)}
    life.declare(train=life.job("a", matrix={"rate": [0.1, 0.2]}), moved=renamed)
    assert life.planned() == dict.fromkeys(renamed.values(), ("move", "renamed"))
    life.apply()
    assert len(life.created()) == 2
    life.declare(train=life.job("a", matrix={"rate": [0.1, 0.2]}), fit=life.job("b", matrix={"lr": [0.1]}))
    life.apply()
    life.declare(train=life.job("c", matrix={"rate": [0.1, 0.2]}))
    life.apply()
    for address in renamed.values():
        assert life.history(address) == [(1, "succeeded"), (2, "succeeded")]
    life.declare(train=life.job("c", matrix={"lr": [0.1, 0.2]}))
    changes = life.plan()
    assert {change["attempt"] for address, change in changes.items() if change["action"] == "create"} == {2}
    life.apply()
    assert set(life.state.jobs) == set(renamed)


def test_a_new_axis_renames_every_instance_and_keeps_its_keys(life: Life) -> None:
    life.declare(train=life.job("a", matrix={"lr": [0.1, 0.2]}))
    life.apply()
    life.declare(train=life.job("a", matrix={"lr": [0.1, 0.2], "opt": ["adam"]}), moved={"train": "train[opt=adam]"})
    assert life.planned() == dict.fromkeys(["train[lr=0.1,opt=adam]", "train[lr=0.2,opt=adam]"], ("move", "renamed"))
    life.apply()
    assert len(life.created()) == 2


def test_what_was_destroyed_and_comes_again_goes_on_counting(life: Life) -> None:
    jobs = {"prep": life.job("p"), "train": life.job("t", needs=["prep"], matrix={"n": [1, 2]})}
    for number in (1, 2, 3):
        life.declare(**jobs)
        assert {change["attempt"] for change in life.plan().values()} == {number}
        life.apply()
        life.run("destroy", "--auto-approve")
        assert life.state.jobs == {}
        assert life.history("train[n=2]") == [(n, "succeeded") for n in range(1, number + 1)]


def test_a_live_job_survives_a_destroy_until_somebody_says_yes(life: Life) -> None:
    life.declare(train=life.job("a", long=True))
    run = start(life, "train")
    life.run("destroy", "--auto-approve", exits=7)
    assert life.running() == {"train": [run]}
    life.run("destroy", "--auto-approve", "--allow-cancel", "train")
    until(lambda: not life.live())
    change = life.plan()["train"]
    assert (change["action"], change["attempt"]) == ("create", 2)
    assert life.history("train") == [(1, "cancelled")]


def test_what_was_cancelled_and_run_again_is_another_attempt(life: Life) -> None:
    life.declare(train=life.job("a", long=True))
    run = start(life, "train")
    life.run("rerun", "train", "--detach", exits=1)
    life.run("cancel", "train")
    assert life.planned() == {"train": ("hold", "cancelled")}
    life.run("rerun", "train", "--detach")
    until(lambda: bool(life.live()))
    second = life.running()["train"][0]
    assert second != run
    finish(life, second)
    life.run("wait")
    assert life.history("train") == [(1, "cancelled"), (2, "succeeded")]


def test_what_was_accepted_and_forgotten_is_not_done(life: Life) -> None:
    """A run that lists a change as done has done it."""
    life.declare(prep=life.job("p", long=True), train=life.job("t", needs=["prep"]))
    run = start(life, "prep")
    life.run("state", "rm", "train")
    listed = {change.address: change.settled for record in life.state.runs.values() for change in record.changes}
    assert listed["prep"] == "done"
    assert listed["train"] not in (None, "done")
    finish(life, run)
    life.run("wait")
    change = life.plan()["train"]
    assert (change["action"], change["attempt"]) == ("create", 1)


def test_a_state_that_is_pulled_and_pushed_keeps_every_past(life: Life) -> None:
    life.declare(train=life.job("a"), fit=life.job("f"))
    life.apply()
    life.declare(fit=life.job("f"))
    life.apply()
    pulled = life.run("state", "pull").stdout
    (life.directory / "pulled.json").write_text(pulled)
    life.run("state", "push", "pulled.json")
    assert json.loads(pulled)["tombstones"].keys() == {"train"}
    life.declare(train=life.job("a"), fit=life.job("f"))
    assert life.plan()["train"]["attempt"] == 2
    life.apply()
    assert life.history("train") == [(1, "succeeded"), (2, "succeeded")]
