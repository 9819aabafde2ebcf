"""The sandbox refuses what the service refuses, in its words, and gives what the service gives."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobform.sandbox.fireworks import KEY
from jobform.sandbox.host import Sandbox
from jobform.sandbox.process import Command
from jobform.sandbox.world import Course, State, World

JOBS = "/v1/accounts/sandbox/batchJobs"
BODY: dict[str, Any] = {"nodePoolId": "pool", "shellExecutor": {"command": "true"}}
FOREVER = {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf"}

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(speed=50.0, only=frozenset({"fireworks"})) as sandbox:
        yield sandbox
        assert not list(sandbox.ledger.entries("bug"))


@pytest.fixture(autouse=True)
def world(running: Sandbox) -> World:
    """Empty at the start of each test."""
    world = running.world("fireworks")
    with world.held():
        world.jobs.clear()
    return world


@pytest.fixture
def frozen(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still until its only item is changed."""
    clock = [world.now() + 1]
    monkeypatch.setattr(world, "now", lambda: clock[0])
    return clock


@pytest.fixture(scope="module")
def ask(running: Sandbox) -> Ask:
    """`ask(method, path, body, headers)`: status and JSON of a plain HTTP client."""

    def send(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        known = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"} if headers is None else headers
        request = urllib.request.Request(running.servers["fireworks"].url + path, data, known, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return send


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer other"}, {"X-Api-Key": "other"},
])
def test_a_key_is_needed(ask: Ask, headers: dict[str, str]) -> None:
    status, error = ask("GET", JOBS, headers=headers)
    assert (status, error["code"]) == (401, 16)


def test_both_ways_to_send_a_key(ask: Ask) -> None:
    assert ask("GET", JOBS, headers={"X-Api-Key": KEY})[0] == 200
    assert ask("GET", JOBS, headers={"Authorization": f"Bearer {KEY}"})[0] == 200


def test_another_account_is_forbidden(ask: Ask) -> None:
    status, error = ask("GET", "/v1/accounts/other/batchJobs")
    assert (status, error["code"]) == (403, 7)
    assert ask("GET", "/v1/accounts?pageSize=2")[1]["accounts"][0]["name"] == "accounts/sandbox"


@pytest.mark.parametrize(("change", "told"), [
    ({"nodePoolId": None}, "nodePoolId"), ({"nodePoolId": ""}, "nodePoolId"), ({"displayName": "x" * 64}, "displayName"),
    ({"numRanks": 0}, "numRanks"), ({"numRanks": "8"}, "numRanks"), ({"numRanks": 2**31}, "numRanks"),
    ({"shared": "yes"}, "shared"),
    ({"envVars": {"A": 1}}, "envVars"), ({"surprise": 1}, "surprise"), ({"state": "RUNNING"}, "state"), ({"name": "x"}, "name"),
    ({"shellExecutor": None}, "exactly one executor"), ({"notebookExecutor": {"notebookFilename": "n"}}, "exactly one executor"),
    ({"shellExecutor": {}}, "command"), ({"shellExecutor": {"command": ""}}, "command"),
    ({"shellExecutor": None, "pythonExecutor": {"targetType": "TARGET_TYPE_UNSPECIFIED", "target": "x"}}, "MODULE or FILENAME"),
    ({"shellExecutor": None, "pythonExecutor": {"targetType": "OTHER", "target": "x"}}, "targetType"),
    ({"shellExecutor": None, "pythonExecutor": {"targetType": "MODULE"}}, "target"),
    ({"imageRef": "i", "environmentId": "e"}, "imageRef cannot"), ({"imageRef": "i", "snapshotId": "e"}, "imageRef cannot"),
    ({"snapshotId": "s"}, "snapshotId needs"), ({"annotations": {"fireworks.ai/x": "1"}}, "reserved"),
    ({"annotations": {"a b": "1"}}, "annotation key"), ({"annotations": {"a": "x" * (256 << 10)}}, "larger than 256 KiB"),
])
def test_a_bad_body_is_refused(ask: Ask, world: World, change: dict[str, Any], told: str) -> None:
    body = {key: value for key, value in {**BODY, **change}.items() if value is not None}
    status, error = ask("POST", JOBS, body)
    assert (status, error["code"], error["details"]) == (400, 3, [])
    assert told in error["message"]
    assert world.jobs == {}


def test_what_is_no_json_is_refused(ask: Ask) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "text/plain"}
    assert ask("POST", JOBS, BODY, headers)[0] == 415
    assert ask("POST", JOBS, ["no object"])[0] == 400
    assert ask("POST", JOBS)[0] == 400


@pytest.mark.parametrize("query", [
    "pageSize=-1", "pageSize=x", "pageToken=x", "filter=state%3DRUNNING", "orderBy=display_name", "readMask=name", "surprise=1",
    "pageSize=1&pageSize=2",
])
def test_a_query_that_is_not_understood_is_refused_and_not_ignored(ask: Ask, query: str) -> None:
    status, error = ask("GET", f"{JOBS}?{query}")
    assert (status, error["code"]) == (400, 3)


def test_a_new_job_as_the_service_shows_it(ask: Ask) -> None:
    body = {**BODY, "environmentId": "e", "shared": False, "displayName": ""}
    status, job = ask("POST", JOBS, body)
    assert status == 200
    times = {key: job.pop(key) for key in ("createTime", "updateTime")}
    assert all(time.endswith("Z") for time in times.values())
    run = job.pop("name").removeprefix("accounts/sandbox/batchJobs/")
    assert job == {
        **BODY, "environmentId": "e", "snapshotId": "e-latest", "numRanks": 1, "state": "QUEUED", "status": "",
        "createdBy": "sandbox@example.com",
    }
    assert ask("GET", f"{JOBS}/{run}?readMask=*")[1]["state"] in ("QUEUED", "RUNNING", "COMPLETED")


def test_pages_of_a_list(ask: Ask) -> None:
    made = [ask("POST", JOBS, {**BODY, "envVars": {**FOREVER}})[1]["name"] for _ in range(7)]
    names: list[str] = []
    token = ""
    while True:
        _, page = ask("GET", f"{JOBS}?pageSize=3{f'&pageToken={token}' if token else ''}")
        assert page["totalSize"] >= 7
        names += [job["name"] for job in page["batchJobs"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
        ask("POST", JOBS, BODY)  # newer ones push the others on: none of those may be lost or come twice
    assert names == made[::-1]
    first = ask("GET", f"{JOBS}?pageSize=1")[1]["nextPageToken"]
    assert ask("GET", f"{JOBS}?pageSize=1&orderBy=create_time&pageToken={first}")[0] == 400, "the parameters have changed"


def test_what_can_be_changed(ask: Ask) -> None:
    run = ask("POST", JOBS, {**BODY, "displayName": "a", "envVars": FOREVER})[1]["name"].rpartition("/")[2]
    assert ask("PATCH", f"{JOBS}/{run}", {"displayName": "b"})[0] == 400, "the pool is wanted"
    job = ask("PATCH", f"{JOBS}/{run}", {"nodePoolId": "pool", "shared": True})[1]
    assert (job["displayName"], job["shared"]) == ("a", True)
    for change in ({"nodePoolId": "other"}, {"numRanks": 2}, {"annotations": {"a": "1"}}, {"shellExecutor": {"command": "x"}}):
        status, error = ask("PATCH", f"{JOBS}/{run}", {"nodePoolId": "pool", **change})
        assert (status, error["code"]) == (400, 3)
        assert "cannot be changed" in error["message"]


def test_cancel(ask: Ask) -> None:
    run = ask("POST", JOBS, {**BODY, "envVars": {"SANDBOX_QUEUED": "inf"}})[1]["name"].rpartition("/")[2]
    assert ask("POST", f"{JOBS}/{run}:cancel", {}) == (200, {})
    assert ask("GET", f"{JOBS}/{run}")[1]["state"] == "CANCELLED"
    status, error = ask("POST", f"{JOBS}/{run}:cancel", {})
    assert (status, error["code"]) == (400, 9)
    assert ask("POST", f"{JOBS}/nobody:cancel", {})[1]["code"] == 5


def test_a_cancelled_run_stops_after_a_moment(ask: Ask, frozen: list[float]) -> None:
    run = ask("POST", JOBS, {**BODY, "envVars": FOREVER})[1]["name"].rpartition("/")[2]
    assert ask("GET", f"{JOBS}/{run}")[1]["state"] == "RUNNING"
    ask("POST", f"{JOBS}/{run}:cancel", {})
    assert ask("GET", f"{JOBS}/{run}")[1]["state"] == "CANCELLING"
    frozen[0] += 1
    shown = ask("GET", f"{JOBS}/{run}")[1]
    assert (shown["state"], "endTime" in shown) == ("CANCELLED", True)


def test_a_deleted_job_is_shown_for_a_moment(ask: Ask, frozen: list[float]) -> None:
    run = ask("POST", JOBS, {**BODY, "envVars": FOREVER})[1]["name"].rpartition("/")[2]
    assert ask("DELETE", f"{JOBS}/{run}") == (200, {})
    assert ask("GET", f"{JOBS}/{run}")[1]["state"] == "DELETING"
    assert [job["state"] for job in ask("GET", JOBS)[1]["batchJobs"]] == ["DELETING"]
    assert ask("DELETE", f"{JOBS}/{run}")[1]["code"] == 9
    frozen[0] += 1
    assert ask("GET", f"{JOBS}/{run}")[1]["code"] == 5
    assert ask("DELETE", f"{JOBS}/{run}")[0] == 404


def test_output(ask: Ask, world: World) -> None:
    with world.held():
        job = world.add("one", "", {**BODY, "numRanks": 2}, Course(queued=0, running=float("inf")))
        world.advance()
        job.output[:] = [(1000.0 + at, f"line {at}\n") for at in range(5)]

    def get(query: str) -> tuple[list[tuple[int, str]], str]:
        status, page = ask("GET", f"{JOBS}/one:getLogs{query}")
        assert status == 200, page
        return [(entry["rank"], entry["message"]) for entry in page["entries"]], page.get("nextPageToken", "")

    forwards, token = get("?startFromHead=true&pageSize=4")
    assert forwards == [(0, "line 0"), (1, "line 0"), (0, "line 1"), (1, "line 1")]
    assert get(f"?startFromHead=true&pageSize=4&pageToken={token}")[0][0] == (0, "line 2")
    assert get("?pageSize=2")[0] == [(0, "line 4"), (1, "line 4")]
    assert get("?ranks=1&pageSize=1")[0] == [(1, "line 4")]
    assert get("?ranks=0&ranks=1")[0] == get("")[0]
    assert get("?filter=line%203&ranks=0")[0] == [(0, "line 3")]
    assert get("?startTime=1970-01-01T00:16:43Z&ranks=0&startFromHead=true")[0] == [(0, "line 3"), (0, "line 4")]
    for query in ("?startTime=soon", "?ranks=x", "?pageToken=x", f"?pageToken={token}", "?readMask=entries"):
        assert ask("GET", f"{JOBS}/one:getLogs{query}")[0] == 400
    assert ask("GET", f"{JOBS}/none:getLogs")[0] == 404


@pytest.mark.parametrize(("executor", "argv"), [
    ({"shellExecutor": {"command": "a | b"}}, ("/bin/sh", "-c", "a | b")),
    ({"pythonExecutor": {"targetType": "MODULE", "target": "t.m", "args": ["-x"]}}, ("python3", "-m", "t.m", "-x")),
    ({"pythonExecutor": {"targetType": "FILENAME", "target": "t.py"}}, ("python3", "t.py")),
])
def test_the_command_of_a_job(executor: dict[str, Any], argv: tuple[str, ...]) -> None:
    from jobform.sandbox.fireworks import _command

    assert _command(executor) == argv


def test_a_job_runs_here_when_that_is_wanted() -> None:
    with Sandbox(speed=50.0, only=frozenset({"fireworks"}), run_locally=True) as sandbox:
        world = sandbox.world("fireworks")
        with world.held():
            command = Command(("/bin/sh", "-c", "echo $WORD; exit 3"), {"WORD": "really"})
            job = world.add("one", "", {**BODY, "numRanks": 4}, Course(queued=0), command)
        end = time.monotonic() + 60
        while not job.over and time.monotonic() < end:
            time.sleep(0.01)
        assert (job.state, job.exit) == (State.FAILED, 3)
        assert "".join(text for _, text in job.output) == "really\n"
