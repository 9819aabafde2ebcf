"""What is sent for each field of a spec, and what of a job comes back as fields."""

from typing import Any

import pytest

from jobform.backends.braket.body import fields_of, fields_of_row, job_name, set_source, tag_value, user_tags, wire_body
from jobform.engine.compare import drift_changes
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Mark
from jobform.schema import SpecSchema, load_document
from jobform.testing.marks import make_mark
from tests.backends.braket.conftest import ROLE, SPEC
from tests.seeds.braket import SPECS

SCHEMA = SpecSchema(load_document("braket"))


def body(mark: Mark | None = None, **spec: Json) -> dict[str, Any]:
    return wire_body({**SPEC, **spec}, mark or make_mark("job"), ROLE)


@pytest.mark.parametrize(("spec", "path", "wire"), [
    ({"job_name": "vqe"}, "jobName", "vqe"), ({"role_arn": "arn:x"}, "roleArn", "arn:x"), ({}, "roleArn", ROLE),
    ({"image": "1.dkr/x:1"}, "algorithmSpecification", {"containerImage": {"uri": "1.dkr/x:1"}}),
    ({"algorithm_specification": {"script_mode_config": {
        "entry_point": "a:b", "s3_uri": "s3://b/k", "compression_type": "NONE",
    }}}, "algorithmSpecification.scriptModeConfig", {"entryPoint": "a:b", "s3Uri": "s3://b/k", "compressionType": "NONE"}),
    ({"device_config": {"device": "d"}}, "deviceConfig", {"device": "d"}),
    ({"instance_config": {"instance_type": "t", "volume_size_in_gb": 3, "instance_count": 2}}, "instanceConfig",
     {"instanceType": "t", "volumeSizeInGb": 3, "instanceCount": 2}),
    ({"output_data_config": {"s3_path": "s3://a", "kms_key_id": "k"}}, "outputDataConfig", {"s3Path": "s3://a", "kmsKeyId": "k"}),
    ({"checkpoint_config": {"s3_uri": "s3://c", "local_path": "/c"}}, "checkpointConfig", {"s3Uri": "s3://c", "localPath": "/c"}),
    ({"input_data_config": [{"channel_name": "g", "content_type": "text/csv",
                             "data_source": {"s3_data_source": {"s3_uri": "s3://d"}}}]}, "inputDataConfig",
     [{"channelName": "g", "contentType": "text/csv", "dataSource": {"s3DataSource": {"s3Uri": "s3://d"}}}]),
    ({"hyper_parameters": {"a_b": 1000, "c": 0.1, "d": True, "e": "x", "f": 1.0, "g": 1e-7}}, "hyperParameters",
     {"a_b": "1000", "c": "0.1", "d": "true", "e": "x", "f": "1", "g": "1e-7"}),
    ({"timeout": "1h30m"}, "stoppingCondition", {"maxRuntimeInSeconds": 5400}),
    ({"associations": [{"arn": "arn:r", "type": "RESERVATION_TIME_WINDOW_ARN"}]}, "associations",
     [{"arn": "arn:r", "type": "RESERVATION_TIME_WINDOW_ARN"}]),
])
def test_each_field(spec: dict[str, Json], path: str, wire: Json) -> None:
    value: Any = body(**spec)
    for part in path.split("."):
        value = value[part]
    assert value == wire


def test_nothing_else_is_sent() -> None:
    mark = make_mark("train[lr=0.1]", 3)
    assert body(mark) == {
        "jobName": mark.name, "roleArn": ROLE, "algorithmSpecification": {"containerImage": {"uri": SPEC["image"]}},
        "deviceConfig": {"device": "local:pennylane/lightning"},
        "instanceConfig": {"instanceType": "ml.m5.large", "volumeSizeInGb": 30},
        "outputDataConfig": {"s3Path": "s3://acme-braket/jobs"}, "clientToken": mark.token,
        "tags": {"jobform:mark": mark.text, "jobform:address": "train_lr=0.1_"},
    }


def test_the_token_is_of_the_attempt_and_as_the_service_takes_it() -> None:
    first, again, second = (body(make_mark("job", number))["clientToken"] for number in (1, 1, 2))
    assert first == again != second
    assert 1 <= len(first) <= 64


def test_tags_of_the_user_go_along() -> None:
    assert body(tags={"team": "chem"})["tags"].keys() == {"team", "jobform:mark", "jobform:address"}


def test_a_job_without_a_role_is_refused() -> None:
    with pytest.raises(BackendError, match="no role") as caught:
        wire_body(SPEC, make_mark("job"), None)
    assert not caught.value.ambiguous
    assert "role_arn" in caught.value.detail


def test_a_packed_source() -> None:
    made = body(algorithm_specification={"script_mode_config": {"entry_point": "a:b", "source": "programs"}})
    set_source(made, "s3://b/k")
    script = made["algorithmSpecification"]["scriptModeConfig"]
    assert script == {"entryPoint": "a:b", "s3Uri": "s3://b/k", "compressionType": "GZIP"}


@pytest.mark.parametrize("spec", SPECS)
def test_what_comes_back_is_no_drift(spec: dict[str, Json]) -> None:
    """The service shows a job as it was sent, with its own defaults."""
    sent: dict[str, Any] = wire_body(spec, make_mark("job"), ROLE)
    shown = {
        "hyperParameters": {}, "inputDataConfig": [], "stoppingCondition": {"maxRuntimeInSeconds": 432_000}, **sent,
        "instanceConfig": {"instanceCount": 1, **sent["instanceConfig"]}, "tags": {**sent["tags"], "aws:billing": "x"},
    }
    if "checkpointConfig" in sent:
        shown["checkpointConfig"] = {"localPath": "/opt/braket/checkpoints/", **sent["checkpointConfig"]}
    assert drift_changes(SCHEMA, spec, fields_of(shown), ()) == ()


@pytest.mark.parametrize(("change", "paths"), [
    ({"tags": {"team": "other"}}, ["spec.tags.team"]), ({"tags": {}}, ["spec.tags", "spec.tags.team"]),
    ({"tags": {"team": "chem", "cost": "1"}}, ["spec.tags.cost"]),
    ({"hyperParameters": {"shots": "2000"}}, ["spec.hyper_parameters.shots"]),
    ({"instanceConfig": {"instanceType": "ml.c5.large", "volumeSizeInGb": 30}}, ["spec.instance_config.instance_type"]),
    ({"instanceConfig": {"instanceType": "ml.m5.large", "volumeSizeInGb": 30, "newer": {"a": 1}}}, []),
    ({"stoppingCondition": {"maxRuntimeInSeconds": 60}}, ["spec.timeout"]),
    ({"algorithmSpecification": {"containerImage": {"uri": "1.dkr/x:2"}}}, ["spec.image"]),
    ({"tags": {"team": "chem", "aws:x": "1", "AWS:y": "2", "jobform:mark": "jf1"}}, []),
])
def test_what_somebody_changed_is_drift(change: dict[str, Json], paths: list[str]) -> None:
    spec = {**SPEC, "tags": {"team": "chem"}, "hyper_parameters": {"shots": 1000}, "timeout": "1h"}
    shown = {**wire_body(spec, make_mark("job"), ROLE), **change}
    assert [found.path for found in drift_changes(SCHEMA, spec, fields_of(shown), ())] == paths


def test_a_source_is_never_reported_and_its_address_is_no_drift() -> None:
    spec = {**SPEC, "algorithm_specification": {"script_mode_config": {"entry_point": "a:b", "source": "programs"}}}
    shown = wire_body(spec, make_mark("job"), ROLE)
    set_source(shown, "s3://b/k")
    assert drift_changes(SCHEMA, spec, fields_of(shown), ()) == ()


def test_a_row_of_a_list() -> None:
    row: dict[str, Json] = {"jobName": "vqe", "device": "d", "tags": {"team": "chem", "jobform:mark": "x"}}
    assert fields_of_row(row) == {"job_name": "vqe", "device_config": {"device": "d"}, "tags": {"team": "chem"}}
    assert "tags" not in fields_of_row({"jobName": "vqe", "device": "d"})


@pytest.mark.parametrize("tags", [[], "x", {"a": 1}, {"a": None}, {"a": {}}])
def test_odd_tags_are_no_tags(tags: Json) -> None:
    with pytest.raises(TypeError):
        user_tags(tags)


@pytest.mark.parametrize(("name", "sent"), [
    ("train-lr-0-1-1a2b3c4d-1", "train-lr-0-1-1a2b3c4d-1"), ("a" * 60, "a" * 50), ("a_b.c", "a-b-c"),
    ("a" * 49 + "--x", "a" * 49),
])
def test_names_as_the_service_takes_them(name: str, sent: str) -> None:
    assert job_name(name) == sent


def test_an_address_as_tags_take_it() -> None:
    assert tag_value('train[lr=0.1,opt="a b"]') == "train_lr=0.1_opt=_a b__"
    assert len(tag_value("x" * 300)) == 256
