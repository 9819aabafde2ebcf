"""The sandboxed service itself: what it refuses, how it names jobs, and the vendor's own example as curl sends it."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from jobform.model.values import Json
from jobform.sandbox.host import Sandbox
from jobform.sandbox.runai import TOKEN
from tests.backends.runai.conftest import Desk, until

JOB: dict[str, Json] = {"project": "team-a", "image": "python:3.12"}
CLUSTER = "71f69d83-ba66-4822-adf5-55ce55efd210"
TRAINING: dict[str, Json] = {"name": "fit", "projectId": "4501155", "clusterId": CLUSTER, "spec": {"image": "python:3.12"}}


def call(desk: Desk, method: str, path: str, body: Json = None, token: str = TOKEN) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(desk.sandbox.variables["RUNAI_BASE_URL"] + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def submit(desk: Desk, **job: Json) -> tuple[int, Any]:
    return call(desk, "POST", "/api/v1/jobs", {"job": {**JOB, **job}})


def test_the_example_of_the_vendors_page_as_curl_sends_it(desk: Desk) -> None:
    """Word for word but for host, token and the line continuation that the page lacks."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl here")
    script = f"""curl -X POST '{desk.sandbox.variables["RUNAI_BASE_URL"]}/api/v1/jobs' \\
    --header 'Accept: application/json' \\
    --header 'Content-Type: application/json' \\
    --header 'Authorization: Bearer {TOKEN}' \\
--data-raw '    {{
      "job": {{
        "project": "team-a",
        "image": "gcr.io/run-ai-demo/quickstart",
        "gpu": 1
      }}
    }}'
"""
    for name in ("job-0", "job-1"):
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == {"name": name}


def test_names_take_the_smallest_free_index(desk: Desk) -> None:
    names = [submit(desk, jobNamePrefix="fit", environment={"SANDBOX_SECONDS": "inf"})[1]["name"] for _ in range(3)]
    assert names == ["fit-0", "fit-1", "fit-2"]
    wanted: Json = [{"name": "fit-1", "project": "team-a"}, {"name": "ghost", "project": "team-a"}]
    status, answer = call(desk, "DELETE", "/api/v1/jobs", wanted)
    assert status == 200
    assert answer["data"][0] == {"name": "fit-1", "ok": True}
    assert (answer["data"][1]["ok"], answer["data"][1]["error"]["status"]) == (False, 404)
    until(lambda: call(desk, "GET", "/api/v1/jobs/team-a/fit-1")[0] == 404)
    assert submit(desk, jobNamePrefix="fit")[1] == {"name": "fit-1"}


def test_a_command_that_no_shell_can_divide_is_a_job_all_the_same(desk: Desk) -> None:
    assert submit(desk, command="it's")[0] == 200
    spec: dict[str, Json] = {"image": "a", "command": "a\\", "args": "it's"}
    assert call(desk, "POST", "/api/v1/workloads/trainings", {**TRAINING, "spec": spec})[0] == 202


def test_a_kind_that_nobody_has_made_is_an_empty_list(desk: Desk) -> None:
    submit(desk)
    assert call(desk, "GET", "/api/v1/jobs/team-a?jobTypeFilter=inference") == (200, {"data": []})


@pytest.mark.parametrize("item", [
    {"key": "x", "operator": "Equal", "effect": "Any"}, {"key": "x", "operator": "Exists", "effect": "Any", "value": "y"},
    {"operator": "Exists", "effect": "Any"}, {"key": "x", "operator": "Exists"},
    {"key": "x", "operator": "Exists", "effect": "NoSchedule", "seconds": 5},
])
def test_a_toleration_that_the_vendors_document_does_not_allow(desk: Desk, item: dict[str, Json]) -> None:
    spec: dict[str, Json] = {"image": "a", "tolerations": [item]}
    status, answer = call(desk, "POST", "/api/v1/workloads/trainings", {**TRAINING, "spec": spec})
    assert (status, "tolerations" in answer["message"]) == (400, True)


@pytest.mark.parametrize(("job", "status", "message"), [
    ({"project": "ghost"}, 404, "project ghost was not found"), ({"image": ""}, 400, "image"), ({"gpus": 1}, 400, "gpus"),
    ({"gpu": 1.5}, 400, "whole number"), ({"gpu": 1, "gpuMemory": "4G"}, 400, "mutually exclusive"), ({"gpu": "1"}, 400, "gpu"),
    ({"parallelism": 2}, 400, "completions"), ({"parallelism": 2, "completions": 2, "elastic": True}, 400, "elastic"),
    ({"parallelism": 2, "completions": 2, "interactive": True}, 400, "interactive"), ({"tty": True}, 400, "stdin"),
    ({"serviceType": "nodeport"}, 400, "ports"), ({"name": "Fit"}, 400, "not a name"), ({"name": "x" * 64}, 400, "not a name"),
    ({"imagePullPolicy": "always"}, 400, "imagePullPolicy"), ({"command": ["a"]}, 400, "command"),
    ({"pvc": [{"size": "1G"}]}, 400, "path"), ({"ports": [{"external": 1}]}, 400, "container"),
    ({"volume": {"a": "/b"}}, 400, "volume"), ({"ttlAfterFinish": "1h30m"}, 400, "ttlAfterFinish"),
])
def test_what_a_cluster_would_not_run_is_refused(desk: Desk, job: dict[str, Json], status: int, message: str) -> None:
    found, answer = submit(desk, **job)
    assert (found, answer["status"]) == (status, status)
    assert message in answer["message"]
    assert answer.keys() == {"status", "message", "details"}
    assert not desk.jobs


def test_a_name_is_taken_once(desk: Desk) -> None:
    assert submit(desk, name="fit")[0] == 200
    status, answer = submit(desk, name="fit")
    assert status == 409
    assert answer["message"] == "job fit already exists, please delete it first"
    assert submit(desk, name="fit", project="team-b")[0] == 200, "a name belongs to a project"


def test_lists_have_both_forms_and_show_nothing_that_was_submitted(desk: Desk) -> None:
    submit(desk, name="a", environment={"SECRET": "hush"}, gpu=1, command="train")
    submit(desk, name="b", project="team-b", interactive=True, environment={"SANDBOX_SECONDS": "inf"})
    for path, names in (("", ["b", "a"]), ("/team-a", ["a"]), ("?project=team-b", ["b"]), ("/team-a/a", ["a"]),
                        ("?jobTypeFilter=interactive", ["b"])):
        status, answer = call(desk, "GET", f"/api/v1/jobs{path}")
        assert status == 200
        assert sorted(item["name"] for item in answer["data"]) == sorted(names), path
    [shown] = call(desk, "GET", "/api/v1/jobs/team-a/a")[1]["data"]
    assert shown.keys() == {
        "id", "project", "name", "status", "type", "nodes", "createdAt", "images", "user", "currentAllocatedGPUs",
    }
    assert abs(shown["createdAt"] / 1000 - time.time()) < 3600, "milliseconds"


@pytest.mark.parametrize(("method", "path", "status"), [
    ("PUT", "/api/v1/jobs", 405), ("PATCH", "/api/v1/jobs/team-a/a", 405), ("POST", "/api/v1/jobs/team-a/a/suspend", 404),
    ("GET", "/api/v1/jobs/ghost", 404), ("GET", "/api/v1/jobs/team-a/ghost", 404), ("GET", "/api/v1/job", 404),
    ("GET", "/api/v1/jobs?limit=3", 400),
])
def test_there_is_no_call_that_changes_a_job(desk: Desk, method: str, path: str, status: int) -> None:
    assert call(desk, method, path)[0] == status


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/projects", "/api/v1/workloads", "/api/v1/clusters"])
def test_a_token_is_asked_for(desk: Desk, path: str) -> None:
    status, answer = call(desk, "GET", path, token="wrong")
    assert status == 401
    assert answer.get("status", answer.get("code")) == 401
    desk.service.authenticated = False
    assert call(desk, "GET", path, token="wrong")[0] == (200 if path in ("/api/v1/jobs", "/api/v1/projects") else 401)


def test_a_version_is_told(desk: Desk) -> None:
    assert call(desk, "GET", "/api/v1/version")[1]["data"].keys() == {"version", "major", "minor", "subver"}


@pytest.mark.parametrize(("change", "status", "message"), [
    ({"projectId": "7"}, 403, "no project 7"), ({"clusterId": "x"}, 400, "clusterId"), ({"name": ""}, 400, "name"),
    ({"spec": {}}, 400, "image"), ({"spec": {"image": "a", "numWorkers": 2}}, 400, "numWorkers"),
    ({"spec": {"image": "a", "args": ["x"]}}, 400, "args"),
    ({"spec": {"image": "a", "imagePullPolicy": "x"}}, 400, "imagePullPolicy"),
    ({"spec": {"image": "a", "compute": {"cpuMemoryRequest": "8GB"}}}, 400, "cpuMemoryRequest"),
    ({"suspended": True}, 400, "suspended"),
])
def test_a_training_that_is_refused(desk: Desk, change: dict[str, Json], status: int, message: str) -> None:
    found, answer = call(desk, "POST", "/api/v1/workloads/trainings", {**TRAINING, **change})
    assert (found, answer["code"]) == (status, status)
    assert message in answer["message"]


def test_a_training_is_made_shown_suspended_and_deleted(desk: Desk) -> None:
    root = "/api/v1/workloads"
    spec: dict[str, Json] = {"image": "a", "environmentVariables": [{"name": "SANDBOX_SECONDS", "value": "inf"}]}
    status, made = call(desk, "POST", f"{root}/trainings", {**TRAINING, "spec": spec})
    assert (status, made["desiredPhase"], made["spec"]) == (202, "Running", spec)
    assert call(desk, "POST", f"{root}/trainings", TRAINING)[0] == 400, "the name is taken"
    path = f"{root}/trainings/{made['workloadId']}"
    assert call(desk, "POST", f"{path}/suspend", {})[0] == 202
    assert call(desk, "GET", path)[1]["desiredPhase"] == "Stopped"
    assert call(desk, "POST", f"{path}/resume", {})[0] == 202
    assert call(desk, "GET", path)[1]["desiredPhase"] == "Running"
    assert call(desk, "GET", path.replace("trainings", "distributed"))[0] == 404, "it is of another kind"
    listed = call(desk, "GET", f"{root}?filterBy=name==fit,projectId==4501155&limit=1")[1]
    assert ([item["id"] for item in listed["workloads"]], "next" in listed) == ([made["workloadId"]], False)
    assert call(desk, "GET", f"{root}?filterBy=name=@f")[0] == 400
    assert call(desk, "DELETE", path)[0] == 202
    until(lambda: call(desk, "GET", path)[0] == 404)


def test_lists_of_workloads_have_pages(desk: Desk) -> None:
    for number in range(5):
        call(desk, "POST", "/api/v1/workloads/trainings", {**TRAINING, "name": f"fit-{number}"})
    names, offset = list[str](), 0
    while offset is not None:
        page = call(desk, "GET", f"/api/v1/workloads?limit=2&sortBy=createdAt&sortOrder=desc&offset={offset}")[1]
        assert len(page["workloads"]) <= 2
        names += [item["name"] for item in page["workloads"]]
        offset = page.get("next")
    assert names == [f"fit-{number}" for number in (4, 3, 2, 1, 0)]


def test_a_name_may_be_a_prefix(desk: Desk) -> None:
    made = call(desk, "POST", "/api/v1/workloads/trainings", {**TRAINING, "useGivenNameAsPrefix": True})[1]
    assert made["name"].startswith("fit-")
    assert made["requestedName"] == made["name"]


@pytest.mark.parametrize("api", ["jobs", "workloads"])
def test_commands_can_run_here(api: str) -> None:
    """`--jobs-run local`: the program runs on this machine, and its exit code is the job's."""
    with Sandbox(speed=50.0, only=frozenset({"runai"}), run_locally=True) as sandbox:
        desk = Desk(sandbox, None)  # type: ignore[arg-type]  # only its calls are used
        script = "import os, sys; sys.exit(int(os.environ['CODE']) + len(sys.argv) - 1)"
        if api == "jobs":
            submit(desk, name="fit", command=sys.executable, arguments=["-c", script, "one more"], environment={"CODE": 40})
        else:
            spec: dict[str, Json] = {
                "image": "a", "command": sys.executable, "args": f'-c "{script}" \'one more\'',
                "environmentVariables": [{"name": "CODE", "value": "40"}],
            }
            call(desk, "POST", "/api/v1/workloads/trainings", {**TRAINING, "spec": spec})
        until(lambda: desk.jobs["fit"].over)
        assert desk.jobs["fit"].exit == 41
