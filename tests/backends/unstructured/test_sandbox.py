"""The sandbox of the service: strict about what it is asked, and good enough for the service's own client."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from jobform.sandbox.host import Sandbox
from jobform.sandbox.unstructured import KEY, Unstructured
from tests.backends.unstructured.conftest import FOREVER, JOBS, nodes

Ask = Callable[..., httpx.Response]

TEMPLATE = {"request_data": json.dumps({"template_id": "hi_res_partition"})}


@pytest.fixture
def ask(sandbox: Sandbox) -> Ask:
    """`ask(method, path, ...)`, with the key."""

    def send(method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"unstructured-api-key": KEY} | options.pop("headers", {})
        url = sandbox.servers["unstructured"].url + path
        return httpx.request(method, url, headers=headers, trust_env=False, timeout=60.0, **options)

    return send


def create(ask: Ask, data: Any = None, **options: Any) -> httpx.Response:
    fields = {"request_data": json.dumps(data)} if data is not None else {}
    return ask("POST", JOBS, files={**{key: (None, text) for key, text in fields.items()}, **options.pop("files", {})}, **options)


@pytest.mark.parametrize("key", ["", "wrong"])
def test_the_key_is_checked(ask: Ask, key: str) -> None:
    answer = ask("GET", JOBS, headers={"unstructured-api-key": key})
    assert (answer.status_code, answer.json()) == (401, {"detail": "API key is missing or invalid"})


@pytest.mark.parametrize(("data", "loc", "part"), [
    ("{", ["body", "request_data"], "not valid JSON"), ("[" * 100_000, ["body", "request_data"], "not valid JSON"),
    ("[]", ["body", "request_data"], "not of type"), ("{}", ["body", "request_data"], "oneOf"),
    ('{"template_id": "hi_res_partition", "job_nodes": [{"name": "a", "type": "b", "subtype": "c"}]}', ["body", "request_data"],
     "oneOf"),
    ('{"job_nodes": []}', ["body", "request_data"], "job_nodes"), ('{"template_id": 7}', ["body", "request_data"], "template_id"),
    ('{"job_nodes": [{"name": "a", "type": "b"}]}', ["body", "request_data"], "subtype"),
    ('{"job_nodes": [{"name": "a", "type": "b", "subtype": "c", "id": "7"}]}', ["body", "request_data"], "id: \"7\""),
    ('{"template_id": "hi_res_partition", "name": "x"}', ["body", "request_data"], "name"),
])
def test_what_is_asked_for_is_checked(ask: Ask, data: str, loc: list[str], part: str) -> None:
    answer = ask("POST", JOBS, files={"request_data": (None, data)})
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert detail["loc"] == loc
    assert part in detail["msg"]
    assert ask("GET", JOBS).json() == []


@pytest.mark.parametrize(("options", "loc"), [
    ({"json": {"template_id": "x"}}, ["body", "request_data"]), ({}, ["body", "request_data"]),
    ({"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}}, ["body"]),
    ({"files": [("input_files", ("a.txt", b"a"))]}, ["body", "request_data"]),
    ({"files": [("request_data", (None, "{}")), ("request_data", (None, "{}"))]}, ["body", "request_data"]),
    ({"files": [("request_data", (None, TEMPLATE["request_data"])), ("files", ("a.txt", b"a"))]}, ["body"]),
    ({"files": [("request_data", (None, TEMPLATE["request_data"])),
                *(("input_files", (f"{n}.txt", b"a")) for n in range(11))]}, ["body", "input_files"]),
    ({"files": [("request_data", (None, TEMPLATE["request_data"])),
                ("input_files", ("a/b.txt", b"a"))]}, ["body", "input_files"]),
])
def test_the_body_is_checked(ask: Ask, options: dict[str, Any], loc: list[str]) -> None:
    answer = ask("POST", JOBS, **options)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, loc)


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", f"{JOBS}5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11", 404), ("GET", f"{JOBS}x", 422), ("GET", f"{JOBS}?page=2", 422),
    ("GET", f"{JOBS}?workflow_id=x", 422), ("DELETE", JOBS, 405), ("PUT", f"{JOBS}5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11", 405),
    ("GET", "/api/v1/jobs", 404), ("GET", "/api/v1/templates/none", 404), ("POST", f"{JOBS}x/cancel", 422),
])
def test_paths_are_checked(ask: Ask, method: str, path: str, status: int) -> None:
    answer = ask(method, path)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], list if status == 422 else str)


def test_a_template_that_is_not_there(ask: Ask) -> None:
    assert create(ask, {"template_id": "none"}).status_code == 404
    assert [item["id"] for item in ask("GET", "/api/v1/templates/").json()] == ["hi_res_partition", "hi_res_and_enrichment"]
    assert [node["type"] for node in ask("GET", "/api/v1/templates/hi_res_and_enrichment").json()["nodes"]] == [
        "partition", "prompter",
    ]


def test_creates_that_come_too_fast_are_refused_where_that_is_wanted(ask: Ask, sandbox: Sandbox) -> None:
    service = sandbox.servers["unstructured"].service
    assert isinstance(service, Unstructured)
    service.interval = 60.0
    assert create(ask, {"template_id": "hi_res_partition"}).status_code == 200
    assert create(ask, {"template_id": "hi_res_and_enrichment"}).status_code == 429
    assert len(ask("GET", JOBS).json()) == 1


def test_a_job_as_the_service_shows_it(ask: Ask, sandbox: Sandbox) -> None:
    job = create(ask, {"job_nodes": nodes(**FOREVER)}, files={"input_files[]": ("a.txt", b"x")}).json()
    assert job["workflow_name"] == f"job-{job['id'][:8]}"
    assert (job["runtime"], job["input_file_ids"], job["output_node_files"], job["job_type"]) == (
        None, ["a.txt"], None, "ephemeral",
    )
    assert ask("GET", f"{JOBS}?status=COMPLETED").json() == []
    assert [item["id"] for item in ask("GET", f"{JOBS}?workflow_id={job['workflow_id']}").json()] == [job["id"]]
    path = f"{JOBS}{job['id']}"
    assert ask("GET", f"{path}/download").status_code == 422
    assert ask("GET", f"{path}/download?file_id=a.txt").status_code == 404, "it has not ended"
    assert ask("GET", f"{path}/failed-files").json() == {"failed_files": []}
    with sandbox.world("unstructured").held():
        sandbox.world("unstructured").end(sandbox.world("unstructured").jobs[job["id"]])
    done = ask("GET", path).json()
    assert done["status"] == "COMPLETED"
    (output,) = done["output_node_files"]
    assert ask("GET", f"{path}/download?file_id=a.txt&node_id={output['node_id']}").json()[0]["text"] == "x"
    assert ask("GET", f"{path}/download?file_id=a.txt&node_id={job['id']}").status_code == 404
    assert ask("POST", f"{path}/cancel").status_code == 200
    assert ask("GET", path).json()["status"] == "COMPLETED"


def test_the_official_client_finds_its_service(sandbox: Sandbox) -> None:
    """unstructured-client makes, lists, looks at, stops and reads jobs here."""
    from unstructured_client import UnstructuredClient
    from unstructured_client.models import errors, operations, shared

    url = sandbox.servers["unstructured"].url
    with httpx.HTTPTransport() as transport:  # the client puts another one around it, which it never closes
        own = httpx.Client(transport=transport, timeout=60.0)
        client = UnstructuredClient(api_key_auth=KEY, server_url=url, client=own)
        data = json.dumps({"job_nodes": nodes(**FOREVER)})
        files = [shared.InputFiles(content=b"hello\n", file_name=name, content_type="text/plain") for name in ("a.txt", "b.txt")]
        made = client.jobs.create_job(request=operations.CreateJobRequest(
            body_create_job=shared.BodyCreateJob(request_data=data, input_files=files),
        )).job_information
        assert made is not None
        assert made.input_file_ids == ["a.txt", "b.txt"]
        listed = client.jobs.list_jobs(request=operations.ListJobsRequest()).response_list_jobs
        assert [job.id for job in listed or []] == [made.id]
        found = client.jobs.get_job(request=operations.GetJobRequest(job_id=made.id)).job_information
        assert found is not None
        assert found.status in (shared.JobStatus.SCHEDULED, shared.JobStatus.IN_PROGRESS)
        details = client.jobs.get_job_details(request=operations.GetJobDetailsRequest(job_id=made.id)).job_details
        assert details is not None
        assert [node.node_name for node in details.node_stats] == ["Partitioner"]
        client.jobs.cancel_job(request=operations.CancelJobRequest(job_id=made.id))
        with pytest.raises(errors.SDKError) as caught:
            client.jobs.get_job(request=operations.GetJobRequest(job_id="5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11"))
        assert caught.value.status_code == 404
        client = UnstructuredClient(api_key_auth="wrong", server_url=url, client=own)
        with pytest.raises(errors.SDKError) as caught:
            client.jobs.list_jobs(request=operations.ListJobsRequest())
        assert caught.value.status_code == 401
