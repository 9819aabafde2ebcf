"""Requests and answers checked against an OpenAPI 3.1 document: what it does not describe is refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jsonschema_rs

from jobform.model.values import Json
from jobform.sandbox.wire import Call, Refused, Reply

_INTEGER, _NUMBER = re.compile(r"-?[0-9]{1,15}"), re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
"""How a number is written in a query."""

_PLACES = (Path(__file__).parent.parent / "schemas" / "openapi", Path(__file__).parent.parent.parent / "schemas" / "openapi")


def load(name: str) -> dict[str, Json]:
    """The document `NAME.json` as shipped. Raises FileNotFoundError when there is none."""
    for place in _PLACES:
        if (place / f"{name}.json").is_file():
            document: dict[str, Json] = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
            return document
    raise FileNotFoundError(f"there is no OpenAPI document named {name!r}")


@dataclass(frozen=True, slots=True)
class Matched:
    """The operation that a call is for. id: its operationId; path: the decoded parameters of its path."""

    id: str
    path: Mapping[str, str]
    operation: Mapping[str, Json]


class Contract:
    """One document, ready to check."""

    def __init__(self, document: dict[str, Json]) -> None:
        self.document = document

    @classmethod
    def of(cls, name: str) -> "Contract":
        return cls(load(name))

    def match(self, call: Call, invalid: int = 400) -> Matched:
        """The operation of a call, its query and JSON body checked.

        invalid: the status of a refusal. Raises Refused, also with 404 for a path and 405 for a method that is not described.
        """
        item, values = self._item(call)
        operation = item.get(call.method.lower())
        if not isinstance(operation, dict):
            raise Refused(405, f"{call.method} is not allowed here")
        parameters = [self._whole(given) for given in [*_list(item.get("parameters")), *_list(operation.get("parameters"))]]
        self._check_query(call, {str(p["name"]): p for p in parameters if p["in"] == "query"}, invalid)
        for parameter in parameters:
            if parameter["in"] == "path":
                self._check(values[str(parameter["name"])], parameter["schema"], f"path parameter {parameter['name']}", invalid)
        body = operation.get("requestBody")
        if isinstance(body, dict):
            self._check_body(call, self._whole(body), invalid)
        elif call.body and call.body != b"{}":
            raise Refused(invalid, "no body is wanted here")
        return Matched(str(operation["operationId"]), values, operation)

    def check_reply(self, matched: Matched, reply: Reply) -> None:
        """Raises AssertionError for an answer that the document does not describe: the sandbox would be wrong."""
        responses = matched.operation["responses"]
        assert isinstance(responses, dict)
        described = responses.get(str(reply.status), responses.get("default"))
        assert described is not None, f"{matched.id} does not answer {reply.status}"
        content = self._whole(described).get("content")
        if isinstance(content, dict) and "application/json" in content:
            media = content["application/json"]
            assert isinstance(media, dict)
            errors = list(self._validator(media.get("schema", True)).iter_errors(reply.body))
            assert not errors, f"{matched.id} answers with what is not described: {errors[0]}"

    def _item(self, call: Call) -> tuple[dict[str, Json], dict[str, str]]:
        for pattern, item in self._paths:
            found = pattern.fullmatch(call.path)
            if found:
                from urllib.parse import unquote

                return item, {name: unquote(value) for name, value in found.groupdict().items()}
        raise Refused(404, f"there is no path {call.path}")

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], dict[str, Json]]]:
        paths = self.document["paths"]
        assert isinstance(paths, dict)
        return [
            (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/:]+)", re.escape(template))), item)
            for template, item in paths.items() if isinstance(item, dict)
        ]

    def _check_query(self, call: Call, known: Mapping[str, Mapping[str, Json]], invalid: int) -> None:
        given: dict[str, list[str]] = {}
        for key, value in call.query:
            if key not in known:
                raise Refused(invalid, f"unknown parameter {key!r}")
            given.setdefault(key, []).append(value)
        for name, parameter in known.items():
            if name not in given:
                if parameter.get("required"):
                    raise Refused(invalid, f"the parameter {name!r} is missing")
                continue
            schema = self._whole(parameter["schema"])
            values: list[Json] = [_typed(text, schema) for text in given[name]]
            if schema.get("type") != "array" and len(values) > 1:
                raise Refused(invalid, f"the parameter {name!r} is given twice")
            self._check(values if schema.get("type") == "array" else values[0], schema, f"parameter {name!r}", invalid)

    def _check_body(self, call: Call, body: Mapping[str, Json], invalid: int) -> None:
        content = body["content"]
        assert isinstance(content, dict)
        if "application/json" not in content:
            return  # a multipart body is the service's own to read
        if not call.body:
            if body.get("required"):
                raise Refused(invalid, "a body is missing")
            return
        if call.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise Refused(415, "the body is not application/json")
        media = content["application/json"]
        assert isinstance(media, dict)
        self._check(call.json(), media.get("schema", True), "the body", invalid)

    def _check(self, value: Json, schema: Json, what: str, invalid: int) -> None:
        for error in self._validator(schema).iter_errors(value):
            where = ".".join(str(part) for part in error.instance_path)
            raise Refused(invalid, f"{what}{f': {where}' if where else ''}: {error.message}")

    def check_schema(self, value: Json, name: str, what: str, invalid: int = 400) -> None:
        """Check a value against one of the document's schemas. Raises Refused."""
        self._check(value, {"$ref": f"#/components/schemas/{name}"}, what, invalid)

    def _validator(self, schema: Json) -> jsonschema_rs.Draft202012Validator:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {"allOf": [schema], "components": self.document.get("components", {})}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[key]

    @cached_property
    def _validators(self) -> dict[str, jsonschema_rs.Draft202012Validator]:
        return {}

    def _whole(self, value: Json) -> dict[str, Json]:
        """An object, or the one that it refers to."""
        assert isinstance(value, dict)
        ref = value.get("$ref")
        if not isinstance(ref, str):
            return value
        found: Json = self.document
        for part in ref.removeprefix("#/").split("/"):
            assert isinstance(found, dict)
            found = found[part]
        return self._whole(found)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _typed(text: str, schema: Mapping[str, Json]) -> Json:
    """A parameter's text as its type; a text that is none stays one, and does not fit."""
    kind = schema.get("type")
    items = schema.get("items")
    if kind == "array" and isinstance(items, dict):
        kind = items.get("type")
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    return text
