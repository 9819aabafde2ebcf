"""The schema is what botocore's model says, and what the service would refuse is refused by it, in one sentence each."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import xform_name

from jobform.model.units import parse_duration
from jobform.model.values import Json
from jobform.schema import SpecSchema, check, load_document
from tests import braket_schema
from tests.backends.braket.conftest import SPEC

SCHEMA = SpecSchema(load_document("braket"))
SHAPES = braket_schema.MODEL["shapes"]

KEYS = {
    "clientToken": None, "algorithmSpecification.containerImage": None, "algorithmSpecification.containerImage.uri": "image",
    "stoppingCondition": None, "stoppingCondition.maxRuntimeInSeconds": "timeout",
}
"""Members that stand under no key of their own name."""


def members(name: str, path: str = "") -> Iterator[tuple[str, str]]:
    """Every member below a shape, by its path on the wire, with the name of its shape."""
    shape = SHAPES[name]
    if shape["type"] == "list":
        yield from members(shape["member"]["shape"], f"{path}[]")
    if shape["type"] == "structure":
        for member, below in shape["members"].items():
            whole = f"{path}.{member}" if path else member
            yield whole, below["shape"]
            yield from members(below["shape"], whole)


MEMBERS = dict(members("CreateJobRequest"))


def key_of(path: str) -> str | None:
    if path in KEYS:
        return KEYS[path]
    return ".".join(xform_name(part.removesuffix("[]")) + ("[]" if part.endswith("[]") else "") for part in path.split("."))


def property_of(key: str) -> dict[str, Any]:
    schema: dict[str, Any] = load_document("braket")
    for part in key.split("."):
        schema = schema["properties"][part.removesuffix("[]")]
        schema = schema["items"] if part.endswith("[]") else schema
    return schema


def test_the_committed_schema_is_the_generated_one() -> None:
    assert braket_schema.FILE.read_text(encoding="utf-8") == braket_schema.text(), "run: python -m tests.braket_schema"


def test_the_schema_is_sound() -> None:
    check(load_document("braket"))


@pytest.mark.parametrize("path", MEMBERS)
def test_every_member_is_a_key_with_its_constraints(path: str) -> None:
    key = key_of(path)
    if key is None:
        return
    shape, schema = SHAPES[MEMBERS[path]], property_of(key)
    assert schema["description"]
    for annotation in ("x-jobform-class", "x-jobform-mutable", "x-jobform-reason"):
        assert schema[annotation], annotation
    kind = {"string": "string", "structure": "object", "map": "object", "list": "array", "integer": "integer"}[shape["type"]]
    if key == "timeout":
        assert (shape["min"], shape["max"]) == (1, 432_000)
        return
    assert schema["type"] == kind
    if key == "instance_config.instance_type":
        assert set(schema["examples"]) == set(shape["enum"])
        assert all(re.search(schema["pattern"], name) for name in shape["enum"])
        return
    what = {"string": "Length", "array": "Items", "object": "Properties"}
    least, most = ("minimum", "maximum") if kind == "integer" else (f"min{what[kind]}", f"max{what[kind]}")
    if shape.get("min"):
        assert schema[least] == shape["min"]
    if "max" in shape:
        assert schema[most] == shape["max"]
    if "pattern" in shape:
        assert schema["pattern"] == f"^(?:{shape['pattern']})$"
    if "enum" in shape:
        assert schema["enum"] == shape["enum"]
    if shape["type"] == "structure":
        ours = {"entry_point", "s3_uri"} if path.endswith("scriptModeConfig") else set()  # s3_uri, or source
        needed = {xform_name(name) for name in shape.get("required", ())} - ours
        assert needed <= set(schema.get("required", ()))
        assert schema["additionalProperties"] is False


def test_the_keys_of_maps_are_bounded_too() -> None:
    below = property_of("hyper_parameters")
    key, value = SHAPES["HyperParameters"]["key"]["shape"], SHAPES["HyperParameters"]["value"]["shape"]
    assert below["propertyNames"] == {"minLength": SHAPES[key]["min"], "maxLength": SHAPES[key]["max"]}
    found = below["additionalProperties"]
    assert (found["minLength"], found["maxLength"], found["pattern"]) == (
        SHAPES[value]["min"], SHAPES[value]["max"], f"^(?:{SHAPES[value]['pattern']})$",
    )


def told(spec: dict[str, Json]) -> list[tuple[str, str, str]]:
    return [(".".join(map(str, found.path)), found.summary, found.detail) for found in SCHEMA.problems(spec)]


def with_(**keys: Json) -> dict[str, Json]:
    return {key: value for key, value in {**SPEC, **keys}.items() if value is not None}


def script(**keys: Json) -> dict[str, Json]:
    return {"algorithm_specification": {"script_mode_config": {"entry_point": "a:b", **keys}}}


@pytest.mark.parametrize("spec", [
    with_(), with_(image=None, **script(source="programs")), with_(**script(s3_uri="s3://b/k", compression_type="NONE")),
    with_(hyper_parameters={"a": 1, "b": 0.5, "c": True, "d": "x"}), with_(tags={}), with_(tags={"grün/x": "ä b"}),
    with_(input_data_config=[]), with_(instance_config={"instance_type": "ml.p9x.99xlarge", "volume_size_in_gb": 1}),
    with_(associations=[]), with_(job_name="a" * 50), with_(job_name="a-b--c"),
])
def test_what_the_service_takes(spec: dict[str, Json]) -> None:
    assert told(spec) == []


@pytest.mark.parametrize(("spec", "path", "words"), [
    (with_(device_config=None), "", 'the key "device_config" is missing'),
    (with_(image=None), "", 'one of the keys "algorithm_specification" or "image" is needed'),
    (with_(algorithm_specification={}), "algorithm_specification", '"script_mode_config" is missing'),
    (with_(**script()), "algorithm_specification.script_mode_config", 'one of the keys "source" or "s3_uri" is needed'),
    (with_(**script(source="a", s3_uri="s3://a/b")), "algorithm_specification.script_mode_config.s3_uri", "exclude each other"),
    (with_(**script(source="a", compression_type="GZIP")), "algorithm_specification.script_mode_config.compression_type",
     "exclude each other"),
    (with_(**script(s3_uri="b/k")), "algorithm_specification.script_mode_config.s3_uri", "an address such as s3://"),
    (with_(**script(s3_uri="s3://b/k", compression_type="ZIP")), "algorithm_specification.script_mode_config.compression_type",
     "NONE, GZIP"),
    (with_(image="python:3.12"), "image", "an image of Amazon ECR"),
    (with_(role_arn="braket-jobs"), "role_arn", "the ARN of an IAM role"),
    (with_(job_name="a_b"), "job_name", "letters, digits and -"),
    (with_(job_name="a" * 51), "job_name", "50 "),
    (with_(instance_config={"instance_type": "m5.large", "volume_size_in_gb": 30}), "instance_config.instance_type",
     "ml.m5.large"),
    (with_(instance_config={"instance_type": "ml.m5.large", "volume_size_in_gb": 0}), "instance_config.volume_size_in_gb",
     "at least 1"),
    (with_(instance_config={"instance_type": "ml.m5.large"}), "instance_config", "volume_size_in_gb"),
    (with_(hyper_parameters={"a": None}), "hyper_parameters.a", "has no value"),
    (with_(hyper_parameters={"a": ["x"]}), "hyper_parameters.a", "not a list"),
    (with_(hyper_parameters={"a": "x\ny"}), "hyper_parameters.a", "without line breaks"),
    (with_(hyper_parameters={"a": ""}), "hyper_parameters.a", "at least 1 character"),
    (with_(hyper_parameters={str(n): 1 for n in range(101)}), "hyper_parameters", "at most 100 keys"),
    (with_(hyper_parameters={"k" * 257: 1}), f"hyper_parameters.{'k' * 257}", "is not allowed here"),
    (with_(input_data_config=[{"channel_name": "a b", "data_source": {"s3_data_source": {"s3_uri": "s3://a/b"}}}]),
     "input_data_config.0.channel_name", "up to 64"),
    (with_(input_data_config=[{"channel_name": "a", "data_source": {}}]), "input_data_config.0.data_source", "s3_data_source"),
    (with_(associations=[{"arn": "x", "type": "RESERVATION_TIME_WINDOW_ARN"}]), "associations.0.arn", "ARN"),
    (with_(tags={"aws:x": "1"}), "tags.aws:x", "not beginning with aws:"),
    (with_(tags={"jobform:mark": "1"}), "tags.jobform:mark", "jobform:"),
    (with_(tags={"a": "[x]"}), "tags.a", "up to 256"),
    (with_(timeout="6d"), "timeout", "5d"), (with_(timeout="0s"), "timeout", "1s"),
    (with_(timeout="soon"), "timeout", "duration"),
    (with_(timeout=30), "timeout", "30s"), (with_(client_token="x"), "client_token", "unknown key"),
])
def test_what_the_service_would_refuse_is_one_sentence(spec: dict[str, Json], path: str, words: str) -> None:
    found = list(SCHEMA.problems(spec))
    assert [".".join(map(str, each.path)) for each in found] == [path], found
    assert words in f"{found[0].summary} {found[0].detail} {found[0].hint}"


@pytest.mark.parametrize("text", [
    "1s", "90s", "432000s", "10m", "7200m", "1.5h", "120h", "5d", "0.5d", "1h30m", "1h30m15s", "2d3h", "4d23h59m59s", "1d0h0m5s",
    "1d5s", "0.1m", "90m30s",
])
def test_timeouts_that_fit_are_whole_seconds_in_range(text: str) -> None:
    assert told(with_(timeout=text)) == []
    seconds = parse_duration(text)
    assert seconds.is_integer()
    assert 1 <= seconds <= 432_000


@pytest.mark.parametrize("text", [
    "0s", "0d0s", "0.0h", "0.5s", "1ms", "432001s", "7201m", "121h", "5.1d", "5d1s", "1w", "120h1s", "0.01m",
])
def test_timeouts_that_do_not_fit(text: str) -> None:
    seconds = parse_duration(text)
    assert not seconds.is_integer() or not 1 <= seconds <= 432_000
    assert [path for path, _, _ in told(with_(timeout=text))] == ["timeout"]


def test_a_number_and_its_text_are_one_parameter() -> None:
    numbers, texts = with_(hyper_parameters={"a": 1000, "b": 0.1}), with_(hyper_parameters={"a": "1000", "b": "0.1"})
    assert SCHEMA.fingerprint(numbers, {}) == SCHEMA.fingerprint(texts, {})


@pytest.mark.parametrize(("path", "class_", "mutable"), [
    (("tags", "x"), "operational", "always"), (("hyper_parameters", "x"), "result", "never"),
    (("instance_config", "instance_type"), "placement", "never"), (("instance_config", "instance_count"), "result", "never"),
    (("timeout",), "operational", "never"), (("image",), "result", "never"), (("role_arn",), "operational", "never"),
])
def test_rules(path: tuple[str, ...], class_: str, mutable: str) -> None:
    rule = SCHEMA.rule(path)
    assert (rule.class_, rule.mutable) == (class_, mutable)


def test_settings() -> None:
    settings = SpecSchema(json.loads(json.dumps(braket_schema.SETTINGS)))
    assert settings.is_valid({"region": "eu-north-1", "profile": "q", "role_arn": "arn:aws:iam::123456789012:role/x",
                              "source_bucket": "acme-x", "source_prefix": "a/b", "rate_factor": 2, "endpoint_url": "https://x"})
    for wrong in ({"region": "mars"}, {"rate_factor": 3}, {"role_arn": "x"}, {"source_bucket": "A_b"}, {"bucket": "x"}):
        assert len(list(settings.problems(wrong))) == 1, wrong
