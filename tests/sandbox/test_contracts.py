"""The documents by which sandboxed services judge requests: valid OpenAPI 3.1, each operation told once, and shipped."""

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from jobform.sandbox.host import services
from jobform.sandbox.openapi import Contract, load
from jobform.sandbox.wire import Call, Refused, Reply
from tests.support import ROOT

DOCUMENTS = sorted((ROOT / "schemas" / "openapi").glob("*.json"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_document_is_valid(path: Path) -> None:
    from openapi_spec_validator import validate

    document = json.loads(path.read_text())
    assert document["openapi"].startswith("3.1.")
    validate(document)
    operations = [
        operation["operationId"] for item in document["paths"].values() for method, operation in item.items()
        if method in ("get", "put", "post", "patch", "delete", "head")
    ]
    assert len(operations) == len(set(operations)) > 0
    assert load(path.stem) == document


def test_every_service_is_registered_under_its_name() -> None:
    names = [service.name for service in services()]
    assert names == sorted(point.name for point in entry_points(group="jobform.sandbox"))
    assert set(names) <= {point.name for point in entry_points(group="jobform.backends")}
    assert [service.name for service in services({"fireworks"})] == ["fireworks"]


def test_there_is_no_document_of_this_name() -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        load("nothing")


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0", "info": {"title": "t", "version": "1"},
    "paths": {
        "/v1/{kind}/jobs": {
            "parameters": [{"name": "kind", "in": "path", "required": True, "schema": {"enum": ["a b", "c"]}}],
            "get": {
                "operationId": "List",
                "parameters": [
                    {"$ref": "#/components/parameters/size"},
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string", "maxLength": 3}}},
                    {"name": "deep", "in": "query", "required": True, "schema": {"type": "boolean"}},
                ],
                "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"type": "array"}}}}},
            },
            "post": {
                "operationId": "Create",
                "requestBody": {"$ref": "#/components/requestBodies/job"},
                "responses": {"201": {"description": "ok"}, "default": {"description": "error"}},
            },
        },
        "/v1/{kind}/jobs/{id}:stop": {
            "parameters": [
                {"name": "kind", "in": "path", "required": True, "schema": {"type": "string"}},
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
            ],
            "post": {"operationId": "Stop", "responses": {"200": {"description": "ok"}}},
        },
    },
    "components": {
        "parameters": {"size": {"name": "size", "in": "query", "schema": {"type": "integer", "maximum": 9}}},
        "requestBodies": {
            "job": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}}},
        },
        "schemas": {"Job": {
            "type": "object", "required": ["name"], "additionalProperties": False,
            "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "at": {"type": "string", "format": "date-time"}},
        }},
    },
}
JSON = {"content-type": "application/json; charset=utf-8"}


def asked(method: str, path: str, *query: tuple[str, str], body: bytes = b"", headers: dict[str, str] | None = None) -> Call:
    return Call(method, path, query, headers if headers is not None else JSON if body else {}, body)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(DOCUMENT)


@pytest.mark.parametrize(("call", "operation", "path"), [
    (asked("GET", "/v1/a%20b/jobs", ("deep", "true"), ("size", "9"), ("tag", "x"), ("tag", "y")), "List", {"kind": "a b"}),
    (asked("GET", "/v1/c/jobs", ("deep", "false")), "List", {"kind": "c"}),
    (asked("POST", "/v1/c/jobs", body=b'{"name": "n", "at": "2030-01-01T00:00:00Z"}'), "Create", {"kind": "c"}),
    (asked("POST", "/v1/c/jobs/x:stop"), "Stop", {"kind": "c", "id": "x"}),
    (asked("POST", "/v1/c/jobs/x%2Fy:stop", body=b"{}"), "Stop", {"kind": "c", "id": "x/y"}),
])
def test_calls_that_fit(contract: Contract, call: Call, operation: str, path: dict[str, str]) -> None:
    matched = contract.match(call)
    assert (matched.id, matched.path) == (operation, path)


@pytest.mark.parametrize(("call", "status", "word"), [
    (asked("GET", "/v2/c/jobs"), 404, "no path"), (asked("GET", "/v1/c/d/jobs"), 404, "no path"),
    (asked("DELETE", "/v1/c/jobs"), 405, "DELETE"), (asked("GET", "/v1/x/jobs", ("deep", "true")), 422, "kind"),
    (asked("GET", "/v1/c/jobs"), 422, "'deep' is missing"), (asked("GET", "/v1/c/jobs", ("deep", "yes")), 422, "deep"),
    (asked("GET", "/v1/c/jobs", ("deep", "true"), ("size", "10")), 422, "size"),
    (asked("GET", "/v1/c/jobs", ("deep", "true"), ("size", "many")), 422, "size"),
    (asked("GET", "/v1/c/jobs", ("deep", "true"), ("size", "1"), ("size", "2")), 422, "twice"),
    (asked("GET", "/v1/c/jobs", ("deep", "true"), ("tag", "long")), 422, "tag"),
    (asked("GET", "/v1/c/jobs", ("deep", "true"), ("other", "1")), 422, "unknown parameter 'other'"),
    (asked("GET", "/v1/c/jobs", ("deep", "true"), body=b'{"a": 1}'), 422, "no body"),
    (asked("POST", "/v1/c/jobs"), 422, "body is missing"), (asked("POST", "/v1/c/jobs", body=b"{"), 400, "not JSON"),
    (asked("POST", "/v1/c/jobs", body=b'{"name": "n"}', headers={}), 415, "application/json"),
    (asked("POST", "/v1/c/jobs", body=b"{}"), 422, "name"),
    (asked("POST", "/v1/c/jobs", body=b'{"name": "N"}'), 422, "body: name"),
    (asked("POST", "/v1/c/jobs", body=b'{"name": "n", "x": 1}'), 422, "x"),
    (asked("POST", "/v1/c/jobs", body=b'{"name": "n", "at": "soon"}'), 422, "at"),
])
def test_calls_that_do_not(contract: Contract, call: Call, status: int, word: str) -> None:
    with pytest.raises(Refused) as caught:
        contract.match(call, invalid=422)
    assert caught.value.status == status
    assert word in caught.value.message


def test_answers_are_checked_too(contract: Contract) -> None:
    listing = contract.match(asked("GET", "/v1/c/jobs", ("deep", "true")))
    contract.check_reply(listing, Reply(200, []))
    with pytest.raises(AssertionError, match="does not answer 404"):
        contract.check_reply(listing, Reply(404, {}))
    with pytest.raises(AssertionError, match="not described"):
        contract.check_reply(listing, Reply(200, {}))
    contract.check_reply(contract.match(asked("POST", "/v1/c/jobs", body=b'{"name": "n"}')), Reply(500, {}))


def test_schemas_by_name(contract: Contract) -> None:
    contract.check_schema({"name": "n"}, "Job", "a job")
    with pytest.raises(Refused, match="a job"):
        contract.check_schema({}, "Job", "a job")
