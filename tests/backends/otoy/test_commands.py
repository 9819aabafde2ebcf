"""The commands, from the first apply to the end, against the sandbox."""

from collections.abc import Mapping
from typing import Any

import pytest

from jobform.backends.otoy.backend import Otoy
from jobform.backends.otoy.wire import body_of
from jobform.sandbox.faults import Fault
from jobform.sandbox.world import Job, State
from jobform.testing.marks import make_mark
from tests.backends.otoy.conftest import FOREVER, JOBS, SERVER
from tests.sandboxed import Desk
from tests.seeds.otoy import SPECS

RENDER: Mapping[str, Any] = {
    "image": "acme/octane:2026.1", "timeout": "100h", "resources": {"gpu": {"count": 1}, "memory": "32Gi"},
}
QUICK_SERVER: Mapping[str, Any] = {**SERVER, "env": {"SANDBOX_QUEUED": "0"}}


def only(desk: Desk) -> Job:
    [job] = desk.jobs
    return job


def end(desk: Desk, job: Job, exit_code: int = 0) -> None:
    world = desk.sandbox.world("otoy")
    with world.held():
        world.end(job, exit_code)


# --- batch ------------------------------------------------------------------------------------------------------------


def test_from_the_first_plan_to_the_last(desk: Desk) -> None:
    desk.write({"render": RENDER})
    desk.run("validate")
    desk.run("plan", "--detailed-exitcode", exits=2)
    assert "succeeded" in desk.run("apply", "--auto-approve").stdout
    desk.run("plan", "--detailed-exitcode")
    assert "succeeded" in desk.run("status").stdout
    assert desk.run("logs", "render").stdout == "hello from the sandbox\n"
    assert (desk.posts(), only(desk).body["min_ram_gb"]) == (1, 32)
    desk.run("destroy", "--auto-approve")
    assert only(desk).state is State.SUCCEEDED, "the service keeps its jobs"


def test_a_failed_job_is_exit_8_and_says_what_the_service_said(desk: Desk) -> None:
    desk.write({"render": {**RENDER, "env": {"SANDBOX_EXIT": "3"}}})
    desk.run("apply", "--auto-approve", exits=8)
    assert "the container ended with exit code 3" in desk.run("status").stdout
    assert "hello from the sandbox" in desk.run("logs", "render").stdout


@pytest.mark.slow
def test_a_job_that_finds_no_node_has_failed_for_want_of_capacity(desk: Desk) -> None:
    desk.write({"render": {**RENDER, "env": {"SANDBOX_QUEUED": "inf"}}})
    desk.run("apply", "--auto-approve", exits=8)
    assert "no_capacity" in desk.run("history", "render", "--format", "json").stdout


def test_a_live_job_is_stopped_only_by_a_yes(desk: Desk) -> None:
    desk.write({"render": {**RENDER, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    assert "running" in desk.run("status").stdout
    desk.run("destroy", "--auto-approve", exits=7)
    assert only(desk).state is State.RUNNING
    desk.run("cancel", "render")
    assert only(desk).state in (State.CANCELLING, State.CANCELLED)
    assert "Cancelled by jobform" in only(desk).reason
    desk.run("destroy", "--auto-approve")


def test_nothing_is_changed_in_place(desk: Desk) -> None:
    desk.write({"render": {**RENDER, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    desk.write({"render": {**RENDER, "env": FOREVER, "title": "another"}})
    assert "1 to update" in desk.run("plan").stdout, "recorded for the next attempt"
    desk.run("apply", "--auto-approve", "--detach")
    desk.write({"render": {**RENDER, "env": FOREVER, "image": "acme/octane:2026.2"}})
    desk.run("plan", "--detailed-exitcode", exits=2)
    desk.run("apply", "--auto-approve", "--detach", exits=7)
    assert desk.posts() == 1


def test_somebody_elses_stop_is_held(desk: Desk) -> None:
    desk.write({"render": {**RENDER, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    world = desk.sandbox.world("otoy")
    with world.held():
        world.cancel(only(desk))
    desk.run("advance", exits=8)
    assert "cancelled" in desk.run("plan").stdout
    assert desk.posts() == 1


def test_the_output_that_was_kept_is_shown_when_the_service_has_gone(desk: Desk) -> None:
    desk.write({"render": RENDER})
    desk.run("apply", "--auto-approve")
    world = desk.sandbox.world("otoy")
    with world.held():
        world.jobs.clear()
    assert "hello from the sandbox" in desk.run("logs", "render").stdout
    desk.run("plan", "--detailed-exitcode")


def test_a_secret_is_neither_drift_nor_shown(desk: Desk) -> None:
    spec = {
        **RENDER, "env": {**FOREVER, "TOKEN": "{{ secret('TOKEN') }}"},
        "registry": {"user": "__token__", "secret": "{{ secret('REGISTRY') }}"},
    }
    desk.write({"render": spec})
    desk.environ |= {"JOBFORM_SECRET_TOKEN": "hush-hush-hush", "JOBFORM_SECRET_REGISTRY": "quiet-please"}
    assert "visible in otoy" in desk.run("plan").stdout
    desk.run("apply", "--auto-approve", "--detach")
    sent = str(only(desk).body)
    assert "hush-hush-hush" in sent
    assert "quiet-please" in sent
    del desk.environ["JOBFORM_SECRET_TOKEN"], desk.environ["JOBFORM_SECRET_REGISTRY"]  # whoever plans need not know them
    again = desk.run("plan", "--detailed-exitcode", "--format", "json")
    shown = again.stdout + again.stderr + "".join(p.read_text() for p in desk.directory.rglob("*") if p.is_file())
    assert "hush-hush-hush" not in shown
    assert "quiet-please" not in shown


# --- persistent -------------------------------------------------------------------------------------------------------


def test_a_persistent_job_is_converged_while_it_runs(desk: Desk) -> None:
    desk.write({"web": QUICK_SERVER})
    assert "web: goes on, and is paid for, until somebody cancels it" in desk.run("plan").stdout
    desk.run("apply", "--auto-approve")
    assert only(desk).state is State.RUNNING
    assert "paid for" not in desk.run("plan", "--detailed-exitcode").stdout
    desk.run("status", "--exit-code")
    desk.run("wait")
    desk.run("advance")
    assert desk.posts() == 1


def test_what_needs_a_persistent_job_begins_when_it_runs(desk: Desk) -> None:
    desk.write({"web": QUICK_SERVER, "test": {"needs": ["web"], "spec": RENDER}})
    desk.run("apply", "--auto-approve")
    assert [job.body["task"] for job in desk.jobs] == ["PERSISTENT", "BATCH"]
    assert "succeeded" in desk.run("status", "test").stdout
    desk.run("plan", "--detailed-exitcode")


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_persistent_job_that_ends_has_failed(desk: Desk, exit_code: int) -> None:
    desk.write({"web": QUICK_SERVER})
    desk.run("apply", "--auto-approve")
    end(desk, only(desk), exit_code)
    assert "1 held" in desk.run("plan").stdout
    desk.run("advance", exits=8)
    desk.run("apply", "--auto-approve")
    assert desk.posts() == 1, "nobody said that it may begin again"
    desk.write({"web": {"spec": QUICK_SERVER, "rerun": {"on": ["infra", "user_error"]}}})
    desk.run("apply", "--auto-approve")
    assert desk.posts() == 2
    assert desk.jobs[-1].state is State.RUNNING
    desk.run("plan", "--detailed-exitcode")


def test_a_persistent_job_is_stopped_only_by_a_yes(desk: Desk) -> None:
    desk.write({"web": QUICK_SERVER})
    desk.run("apply", "--auto-approve")
    desk.run("destroy", "--auto-approve", exits=7)
    assert only(desk).state is State.RUNNING
    desk.run("destroy", "--auto-approve", "--allow-cancel", "web")
    assert only(desk).state is State.CANCELLED


def test_a_persistent_job_is_replaced_by_a_yes_and_never_twice(desk: Desk) -> None:
    desk.write({"web": QUICK_SERVER})
    desk.run("apply", "--auto-approve")
    desk.write({"web": {"spec": {**QUICK_SERVER, "image": "acme/server:2"}, "on_change_while_running": "cancel"}})
    desk.run("apply", "--auto-approve")
    assert [job.state for job in desk.jobs] == [State.CANCELLED, State.RUNNING]
    desk.run("plan", "--detailed-exitcode")


def test_a_task_that_is_known_only_later_is_refused(desk: Desk) -> None:
    desk.write({"a": RENDER, "web": {**SERVER, "task": "{{ jobs.a.outputs.task }}"}})
    assert "task must be known when the job is planned" in desk.run("validate", exits=3).stderr


# --- runs of others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "others"), [(SPECS[0], 0), (SPECS[1], 0), ({**SPECS[0], "min_vram_gb": 16}, 1)])
def test_a_run_that_jobform_did_not_make_is_taken_over(
    desk: Desk, service: Otoy, spec: Mapping[str, Any], others: int,
) -> None:
    """A run of another project's, so that it carries no mark of this one; a field that differs is named."""
    made = SPECS[1] if spec is SPECS[1] else SPECS[0]
    body = {key: value for key, value in body_of(made, make_mark("job")).items() if key != "description"}
    if "description" in made:
        body["description"] = made["description"]
    value = service._rest.change("POST", JOBS, body)
    assert isinstance(value, dict)
    desk.write({"job": dict(spec)})
    found = desk.run("import", "job", str(value["uuid"]), exits=1 if others else 0)
    if others:
        assert "spec.min_vram_gb" in found.stdout + found.stderr
        return
    desk.run("plan", "--detailed-exitcode")
    assert desk.posts() == 1


# --- answers that never come ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [RENDER, QUICK_SERVER])
def test_a_lost_answer_before_any_effect_holds_the_job(desk: Desk, spec: Mapping[str, Any]) -> None:
    """The list shows no mark, and one may still appear: the job waits for ten minutes, and nothing is sent twice."""
    desk.write({"job": spec})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} drop=before times=1")])
    desk.run("apply", "--auto-approve", exits=7)
    assert (desk.posts(), desk.jobs) == (1, [])
    assert "its absence is certain from" in desk.run("plan").stdout
    assert "unknown_submission" in desk.run("apply", "--auto-approve", exits=7).stderr
    assert desk.posts() == 1
    desk.run("state", "resolve", "job", "--not-submitted")
    desk.run("apply", "--auto-approve")
    assert (desk.posts(), len(desk.jobs)) == (2, 1)


@pytest.mark.parametrize("fault", ["drop=after", "status=502 applied=yes", "half=yes"])
def test_a_lost_answer_after_the_effect_is_adopted(desk: Desk, fault: str) -> None:
    desk.write({"render": RENDER})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} times=1 {fault}")])
    desk.run("apply", "--auto-approve", "--detach")
    assert (desk.posts(), len(desk.jobs)) == (1, 1)
    assert only(desk).id in desk.run("history", "render", "--format", "json").stdout, "it was adopted"
    desk.run("plan", "--detailed-exitcode")


def test_a_refused_create_is_told_and_sent_once(desk: Desk) -> None:
    desk.write({"render": RENDER})
    desk.sandbox.faults.set([Fault.parse(f"method=POST path={JOBS} status=402 times=9")])
    done = desk.run("apply", "--auto-approve", exits=7)
    assert "status 402" in done.stderr
    assert desk.posts() == 1


# --- where and who ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "words"), [
    ({"OTOY_API_KEY": "pk_other"}, ["does not accept the credentials", "OTOY_API_KEY and OTOY_API_SECRET", "five minutes"]),
    ({"OTOY_API_SECRET": "sk_other"}, ["does not accept the credentials", "OTOY_API_KEY and OTOY_API_SECRET", "X-Signature"]),
    ({"OTOY_API_KEY": ""}, ["OTOY_API_KEY or DISPERSED_PUBLIC_KEY or ZER_PUBLIC_KEY"]),
    ({"OTOY_API_SECRET": ""}, ["OTOY_API_SECRET"]),
    pytest.param({"OTOY_BASE_URL": "http://127.0.0.1:9"}, ["cannot connect", "OTOY_BASE_URL"], marks=pytest.mark.slow),
])
def test_a_wrong_credential_or_address_is_one_diagnostic(desk: Desk, change: dict[str, str], words: list[str]) -> None:
    desk.write({"render": {**RENDER, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    before = {p.name: p.read_bytes() for p in desk.directory.glob("jobform.state*")}
    desk.environ |= change
    shown = desk.run("plan", exits=1).stderr
    assert shown.count("error[") == 1, shown
    assert all(word in shown for word in words), shown
    assert {p.name: p.read_bytes() for p in desk.directory.glob("jobform.state*")} == before
    desk.run("apply", "--auto-approve", "--detach", exits=1)
    assert desk.posts() == 1


def test_keys_go_to_no_other_host(desk: Desk) -> None:
    desk.write({"render": RENDER}, {"url": "https://example.com"})
    del desk.environ["OTOY_BASE_URL"]
    shown = desk.run("apply", "--auto-approve", exits=3).stderr
    assert "backend 'otoy' cannot be used: credentials are not sent to example.com" in shown
    assert desk.posts() == 0


def test_another_place_is_told(desk: Desk) -> None:
    desk.write({"render": {**RENDER, "env": FOREVER}})
    desk.run("apply", "--auto-approve", "--detach")
    desk.environ["OTOY_BASE_URL"] = desk.environ["OTOY_BASE_URL"].replace("127.0.0.1", "localhost")
    shown = desk.run("plan", exits=1).stderr
    assert "now reaches the account" in shown
    assert "OTOY_BASE_URL" in shown
