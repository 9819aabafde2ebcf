"""The sandbox is as strict as the service is said to be."""

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

import pytest

from jobform.sandbox.host import Sandbox
from jobform.sandbox.otoy import KEY, SECRET
from jobform.testing.marks import make_mark

BODY: dict[str, Any] = {
    "task": "BATCH", "title": "t", "max_timeout_run_ms": 60_000,
    "parameters": {"type": "docker", "parameters": {"image": "acme/batch"}},
}
EMPTY = hashlib.sha256(b"").hexdigest()


class Client:
    """Requests as the service's own examples make them."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(
        self, method: str, path: str, body: Any = None, query: str = "", *, signed_query: str | None = None, secret: str = SECRET,
        **headers: str,
    ) -> tuple[int, Any]:
        """Status and JSON of an answer. headers: `time`, `nonce`, `api_key` in place of the right ones."""
        data = b"" if body is None else json.dumps(body).encode()
        canonical = b"" if body is None else json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        given = {"api_key": KEY, "time": str(int(time.time() * 1000)), "nonce": uuid.uuid4().hex, **headers}
        parts = [given["api_key"], given["time"], given["nonce"], method, path, query if signed_query is None else signed_query]
        text = "|".join([*parts, hashlib.sha256(canonical).hexdigest()])
        signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        request = urllib.request.Request(f"{self._url}{path}{f'?{query}' if query else ''}", data or None, method=method)
        for name, value in {**given, "signature": signature}.items():
            request.add_header(f"X-{name.replace('_', '-')}", value)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def create(self, **changes: Any) -> dict[str, Any]:
        status, job = self.ask("POST", "/v1/jobs", {**BODY, **changes})
        assert status == 201, job
        assert isinstance(job, dict)
        return job


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return Client(sandbox.servers["otoy"].url)


def docker(**parameters: Any) -> dict[str, Any]:
    return {"parameters": {"type": "docker", "parameters": {"image": "acme/batch", **parameters}}}


WAITS = docker(env={"SANDBOX_QUEUED": "inf"})
LONG = 360_000_000
"""Milliseconds of the sandbox's time, of which a fiftieth passes."""


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_signed_request_is_answered(client: Client) -> None:
    assert client.ask("GET", "/v1/jobs", query="limit=10&page=1") == (200, {"data": [], "page": 1, "limit": 10, "total": 0})


@pytest.mark.parametrize("wrong", [
    {"api_key": "pk_other"}, {"secret": "sk_other"}, {"time": "0"}, {"time": "now"}, {"time": "\xb2"},
    {"nonce": "short"}, {"nonce": "G" * 32},
    {"signed_query": "limit=11"}, {"time": "4102444800000"},
])
def test_what_is_not_signed_right_is_refused(client: Client, wrong: dict[str, str]) -> None:
    status, body = client.ask("GET", "/v1/jobs", query="limit=10", **wrong)  # type: ignore[arg-type]  # by name
    assert (status, body["error"]["code"]) == (401, "unauthorized")
    assert body["error"]["message"]


def test_a_nonce_is_good_once(client: Client) -> None:
    nonce = uuid.uuid4().hex
    assert client.ask("GET", "/v1/jobs", nonce=nonce)[0] == 200
    assert client.ask("GET", "/v1/jobs", nonce=nonce)[0] == 401


def test_the_order_of_parameters_and_keys_does_not_matter(client: Client) -> None:
    assert client.ask("GET", "/v1/jobs", query="page=1&limit=10", signed_query="limit=10&page=1")[0] == 200
    assert client.ask("POST", "/v1/jobs", dict(reversed(BODY.items())))[0] == 201


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [
    {"task": "ONCE"}, {"task": None}, {"max_timeout_run_ms": 59_999}, {"max_timeout_run_ms": None},
    {"max_timeout_run_ms": "900000"}, {"task": "PERSISTENT"}, {"max_timeout_assign_ms": 299_999},
    {"max_timeout_start_ms": 119_999}, {"max_retry_count": -1},
    {"cpu_count": -1}, {"gpu_count": -1}, {"min_ram_gb": -1}, {"min_storage_gb": -1}, {"min_vram_gb": -1},
    {"allowed_region_codes": ["us-west-9"]}, {"allowed_region_codes": ["us-west-2"] * 37}, {"gpu_registry_uuid": "4090"},
    {"gpu_name": "a", "gpu_registry_uuid": "01234567-89ab-cdef-0123-456789abcdef"}, {"command": ["x"]}, {"title": ""},
    {"parameters": {"type": "vm", "parameters": {}}}, docker(image=""), docker(command=["x"]), docker(ports=["22"]),
    docker(ports=[0]),
    docker(env={"A": 1}), docker(volumes=[{"path": "/m"}]), docker(allowed_ips="0.0.0.0/0"), {"max_node_count": 0},
])
def test_bad_bodies_are_refused(client: Client, changes: dict[str, Any]) -> None:
    body = {**BODY, **changes}
    status, answer = client.ask("POST", "/v1/jobs", {key: value for key, value in body.items() if key != "task" or value})
    assert (status, answer["error"]["code"]) == (400, "validation_error")
    assert client.ask("GET", "/v1/jobs")[1]["total"] == 0


@pytest.mark.parametrize("key", ["title", "max_timeout_run_ms", "parameters", "task"])
def test_what_is_required_is_required(client: Client, key: str) -> None:
    status, answer = client.ask("POST", "/v1/jobs", {name: value for name, value in BODY.items() if name != key})
    assert status == 400
    assert key in answer["error"]["message"]


def test_defaults_are_filled_in(client: Client) -> None:
    job = client.create()
    assert (job["object"], job["status"], job["max_retry_count"], job["max_timeout_assign_ms"]) == ("job", "PENDING", 0, 300_000)
    assert job["parameters"]["parameters"] == {"image": "acme/batch", "tag": "latest", "env": {}, "ports": [22], "volumes": []}
    assert job["started_at"] is None


def test_secrets_do_not_come_back(client: Client) -> None:
    job = client.create(**docker(user="u", secret="hush", volumes=[{"image": "a", "mount": "/m", "secret": "hush"}]))
    assert "hush" not in json.dumps(job)
    assert "hush" not in json.dumps(client.ask("GET", "/v1/jobs")[1])


def test_a_persistent_job_has_addresses_while_it_runs(client: Client) -> None:
    job = client.create(task="PERSISTENT", max_timeout_run_ms=None, **docker(ports=[22, 8000], env={"SANDBOX_QUEUED": "0"}))
    [run] = client.ask("GET", "/v1/job-runs", query=f"filter%5Bjob_uuid%5D={job['uuid']}")[1]["data"]
    assert [(url["description"], url["protocol"]) for url in run["node_urls"]] == [("ssh", "tcp"), ("8000", "http")]
    assert "logs" not in run
    assert client.ask("GET", f"/v1/job-runs/{run['uuid']}")[1]["logs"] == "hello from the sandbox\n"
    status, stopped = client.ask("PUT", f"/v1/jobs/{job['uuid']}/cancel", {"reason": "enough"})
    assert (status, stopped["status_reason"]) == (200, "enough")


# --- lists ------------------------------------------------------------------------------------------------------------


def test_lists_have_pages_an_order_and_filters(client: Client) -> None:
    waits, marks = {**WAITS, "max_timeout_assign_ms": LONG}, [f"jobform:{make_mark(str(n)).text}" for n in range(25)]
    made = [client.create(title=str(n), description=mark, **waits)["uuid"] for n, mark in enumerate(marks)]
    first = client.ask("GET", "/v1/jobs", query="sort=-created_at")[1]
    assert (first["limit"], first["total"], len(first["data"])) == (20, 25, 20)
    second = client.ask("GET", "/v1/jobs", query="page=2&sort=-created_at")[1]
    assert [job["uuid"] for job in first["data"] + second["data"]] == made[::-1]
    assert client.ask("GET", "/v1/jobs", query="page=9")[1]["data"] == []
    assert client.ask("GET", "/v1/jobs", query="filter%5Bstatus%5D=RUNNING%2CFAILED")[1]["total"] == 0
    assert client.ask("GET", "/v1/jobs", query="filter%5Bstatus%5D=PENDING")[1]["total"] == 25
    assert client.ask("GET", "/v1/jobs", query="filter%5Btask%5D=PERSISTENT")[1]["total"] == 0
    assert client.ask("GET", "/v1/jobs", query=f"filter%5Buuid%5D={made[3]}")[1]["data"][0]["title"] == "3"


@pytest.mark.parametrize("query", [
    "limit=51", "limit=0", "page=0", "page=x", "sort=title", "colour=red", "filter%5Bmin_ram_gb%5D=8", "filter%5Btask%5D=ONCE",
])
def test_bad_queries_are_refused(client: Client, query: str) -> None:
    status, answer = client.ask("GET", "/v1/jobs", query=query)
    assert (status, answer["error"]["code"]) == (400, "validation_error")


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/jobs/01234567-89ab-cdef-0123-456789abcdef", 404), ("GET", "/v1/jobs/none", 400),
    ("GET", "/v1/job-runs/01234567-89ab-cdef-0123-456789abcdef", 404), ("GET", "/v1/nothing", 404),
    ("DELETE", "/v1/jobs/01234567-89ab-cdef-0123-456789abcdef", 405),
    ("PATCH", "/v1/jobs/01234567-89ab-cdef-0123-456789abcdef", 405),
])
def test_what_is_not_there(client: Client, method: str, path: str, status: int) -> None:
    assert client.ask(method, path)[0] == status


def test_an_ended_job_cannot_be_cancelled(client: Client) -> None:
    job = client.create(**WAITS, max_timeout_assign_ms=LONG)
    path = f"/v1/jobs/{job['uuid']}/cancel"
    assert client.ask("PUT", path, {})[1]["status"] == "CANCELLED"
    status, answer = client.ask("PUT", path, {})
    assert (status, answer["error"]["code"]) == (409, "conflict")


def test_whole_numbers_with_a_point_are_numbers(client: Client) -> None:
    job = client.create(max_timeout_run_ms=60_000.0, max_node_count=1.0, max_retry_count=0.0, max_timeout_assign_ms=300_000.0)
    assert client.ask("GET", f"/v1/jobs/{job['uuid']}")[0] == 200
    assert client.ask("GET", "/v1/jobs", query="page=1.0")[0] == 400
