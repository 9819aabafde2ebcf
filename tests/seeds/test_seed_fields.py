"""Every field of a service's own page is sent, and every field of our schemas says what it is."""

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.sandbox.host import Sandbox
from jobform.sandbox.wire import Call
from jobform.schema import SpecSchema, bundle
from jobform.schema_rules import resolve_ref
from jobform.testing.marks import make_mark
from tests.sandboxed import assert_no_bugs, await_aws, open_backend
from tests.seeds import extract
from tests.seeds.paths import held, of_calls, shown

FIELDS: dict[str, dict[str, Any]] = json.loads(extract.FIELDS.read_text())

RULES = ("x-jobform-class", "x-jobform-mutable", "x-jobform-reason")


@pytest.fixture(scope="module", params=sorted(FIELDS))
def service(request: pytest.FixtureRequest) -> ModuleType:
    name = f"tests.seeds.{request.param}"
    if find_spec(name) is None:
        pytest.skip(f"{request.param} has no specs yet")
    return import_module(name)


@pytest.fixture(scope="module")
def sent(service: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The paths in what a backend sent for the service's specs."""
    project = tmp_path_factory.mktemp("project")
    with Sandbox(speed=100.0, only=frozenset({service.TYPE.name}), record=True) as sandbox:
        if service.TYPE.name == "braket":
            await_aws(sandbox)
        if hasattr(service, "prepare"):
            service.prepare(project, sandbox.variables)
        backend = open_backend(service.TYPE, service.SETTINGS, sandbox, project)
        make = getattr(service, "submission", submission_of)
        for number, spec in enumerate(service.SPECS):
            address = f"job{number}"
            backend.submit(make(address, spec, project), make_mark(address, body=spec))
        calls: list[Call] = list(sandbox.servers[service.TYPE.name].calls)
        assert_no_bugs(sandbox.ledger.entries())
    found: set[str] = getattr(service, "fields", of_calls)(calls)
    return found


def submission_of(address: str, spec: dict[str, Json], _project: Path) -> Submission:
    return Submission(address, dict(spec), dict(spec))


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def test_the_specs_are_valid(service: ModuleType) -> None:
    schema = SpecSchema(service.TYPE.spec_schema())
    found = [f"spec {number}: {each.summary}" for number, spec in enumerate(service.SPECS) for each in schema.problems(spec)]
    assert not found, found


def test_every_field_of_the_page_is_sent(service: ModuleType, sent: set[str]) -> None:
    missing = [field for field in FIELDS[name_of(service)]["fields"] if field not in sent]
    assert not missing, f"the page has them, and no request body does: {missing}"


def test_every_field_of_the_schema_says_what_it_is(service: ModuleType) -> None:
    bare = list(lacking(bundle(service.TYPE.spec_schema())))
    assert not bare, bare


def test_no_page_has_gone() -> None:
    assert sorted(FIELDS) == sorted(extract.SOURCES)
    for name, page in FIELDS.items():
        assert page["fields"], name
        assert len(page["sha256"].split()) == len(page["source"].split()), name


# --- the schema -------------------------------------------------------------------------------------------------------


def lacking(document: dict[str, Json]) -> Iterator[str]:
    """Every property that lacks a description or one of the rules, which a key shared by all backends has from its parent."""
    seen: set[tuple[int, frozenset[str]]] = set()

    def visit(schema: Json, at: str, known: frozenset[str], shared: bool) -> Iterator[str]:
        if not isinstance(schema, dict) or (id(schema), known) in seen:
            return
        seen.add((id(schema), known))
        layers = list(reached(document, schema))
        shared = shared or any("common.schema.json" in str(layer.get("$ref", "")) for layer in layers)
        for layer in layers:
            for name, below in properties(layer):
                own = list(reached(document, below))
                has = frozenset(rule for rule in (*RULES, "description") if any(rule in each for each in own))
                inherited = known - {"description"} if shared else frozenset()
                for rule in (*RULES, "description"):
                    if rule not in has | inherited and below is not False:
                        yield f"{at}{name} has no {rule}"
                yield from visit(below, f"{at}{name}.", has | inherited, shared)
            for keyword in ("items", "additionalProperties"):
                yield from visit(layer.get(keyword), f"{at.removesuffix('.')}{MARKS[keyword]}.", known, shared)

    yield from visit(document, "", frozenset(), False)


MARKS = {"items": "[]", "additionalProperties": "{}"}


def properties(layer: dict[str, Json]) -> Iterable[tuple[str, Json]]:
    """The properties that a schema introduces: a branch that only restricts one has no type or rule for it."""
    named = layer.get("properties")
    return named.items() if isinstance(named, dict) else ()


def reached(document: dict[str, Json], schema: Json) -> Iterator[dict[str, Json]]:
    """A schema, what it refers to, and the forms that it may take; not what only holds under a condition."""
    if not isinstance(schema, dict):
        return
    yield schema
    if isinstance(ref := schema.get("$ref"), str):
        yield from reached(document, resolve_ref(document, ref))
    for keyword in ("anyOf", "oneOf"):
        for branch in schema.get(keyword, []):  # type: ignore[union-attr]  # a list, or the schema is wrong
            if isinstance(branch, dict) and ("$ref" in branch or branch.get("type") == "object"):
                yield from reached(document, branch)


def test_a_bare_field_is_noticed() -> None:
    rules: dict[str, Json] = dict.fromkeys([*RULES, "description"], "some")
    deep: dict[str, Json] = {name: value for name, value in rules.items() if name != "x-jobform-reason"}
    inner: dict[str, Json] = {"type": "object", "properties": {"deep": deep}}
    document: dict[str, Json] = {"type": "object", "properties": {"list": {"type": "array", "items": inner, **rules}, "bare": {}}}
    assert list(lacking(document)) == [
        "list[].deep has no x-jobform-reason", "bare has no x-jobform-class", "bare has no x-jobform-mutable",
        "bare has no x-jobform-reason", "bare has no description",
    ]


# --- paths and pages --------------------------------------------------------------------------------------------------


def test_paths_of_a_page_are_found_in_a_body() -> None:
    page: dict[str, Any] = {"job": {"env": {"A_B": 1}, "ports": [{"container": 80}], "args": ["-e"], "name": "x", "free": {}}}
    fields = ["job.env{}", "job.ports[].container", "job.args[]", "job.name", "job.free{}"]
    assert list(shown(page)) == fields
    assert set(fields) <= set(held({"job": {**page["job"], "free": {"x": 1}}}))
    empty = set(held({"job": {"env": {}, "ports": [], "args": [], "free": {}}}))
    assert not empty & set(fields), "what is empty shows nothing of what is in it"


@pytest.mark.parametrize(("service_name", "text"), [
    ("fireworks", "curl\n--data '{\"a\": \"<string>\",\n\"b\": {}}'\n"),
    ("runai", "x\n## Request\n\n``` json\n{\"a\" : \"string\", \"b\": {\"X\": 1, },\n}\n```\n"),
])
def test_examples_of_bodies_are_read(service_name: str, text: str) -> None:
    (_, read), *_ = extract.SOURCES[service_name]
    assert read(text) == ["a", "b{}"]


def test_the_notation_of_aws_is_read() -> None:
    page = (
        "## Synopsis\n\n```\ncreate-job\n--job-name <value>\n[--my-config <value>]\n[--tags <value>]\n[--cli-input-json]\n```\n"
        "\n## Options\n\n`--job-name` (string)\n\nThe name.\n\n`--my-config` (list)\n\nJSON Syntax:\n\n```\n"
        '[\n  {\n    "type": "NONE"|"GZIP",\n    "sizeInGb": integer\n  }\n  ...\n]\n```\n\n'
        '`--tags` (map)\n\nJSON Syntax:\n\n```\n{"string": "string"\n  ...}\n```\n\n## Global Options\n'
    )
    assert extract.braket(page) == ["jobName", "myConfig[].type", "myConfig[].sizeInGb", "tags{}"]


def test_a_page_that_has_changed_is_no_shorter_list(tmp_path: Path) -> None:
    for names in extract.SOURCES.values():
        for name, _ in names:
            (tmp_path / name).write_text("Nothing to see here.")
    with pytest.raises(ValueError, match="the page has no"):
        extract.extract(tmp_path, tmp_path)
