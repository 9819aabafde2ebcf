"""A spec as the body of CreateJob, and what GetJob and SearchJobs say of a job as the fields of a spec.

Names are the service's own in snake_case: `s3_uri` is `s3Uri`. Wire facts: botocore's service model `braket/2019-09-01`.
"""

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

from jobform.model.errors import BackendError
from jobform.model.units import parse_duration
from jobform.model.values import Json
from jobform.protocols import Mark
from jobform.schema_rules import scalar_as_text

MARK = "jobform:mark"
ADDRESS = "jobform:address"
_NAME, _TAG_VALUE = 50, 256

Tree: TypeAlias = Mapping[str, "Tree | None"]

SHAPE: Tree = {
    "job_name": None, "role_arn": None,
    "algorithm_specification": {"script_mode_config": {"entry_point": None, "s3_uri": None, "compression_type": None}},
    "device_config": {"device": None},
    "instance_config": {"instance_type": None, "volume_size_in_gb": None, "instance_count": None},
    "output_data_config": {"s3_path": None, "kms_key_id": None},
    "checkpoint_config": {"s3_uri": None, "local_path": None},
    "input_data_config": {"channel_name": None, "content_type": None, "data_source": {"s3_data_source": {"s3_uri": None}}},
    "hyper_parameters": None, "tags": None, "associations": {"arn": None, "type": None},
}
"""The keys of a spec that have the service's name and shape; a list has the shape of its items."""


def wire_body(spec: Mapping[str, Json], mark: Mark, role: str | None) -> dict[str, Json]:
    """The parameters of CreateJob, without the address of a source that is yet to be uploaded. role: for a job that names none.

    Raises BackendError for a job without a role.
    """
    body = {camel(key): _to_wire(spec[key], below) for key, below in SHAPE.items() if key in spec}
    algorithm = body.setdefault("algorithmSpecification", {})
    assert isinstance(algorithm, dict)
    if (image := spec.get("image")) is not None:
        algorithm["containerImage"] = {"uri": image}
    if isinstance(timeout := spec.get("timeout"), str):
        body["stoppingCondition"] = {"maxRuntimeInSeconds": math.ceil(parse_duration(timeout))}
    if isinstance(given := spec.get("hyper_parameters"), dict):
        body["hyperParameters"] = {
            key: scalar_as_text(value) if isinstance(value, int | float) else value for key, value in given.items()
        }
    if "roleArn" not in body:
        if role is None:
            raise BackendError(NO_ROLE, NO_ROLE_HINT)
        body["roleArn"] = role
    body.setdefault("jobName", job_name(mark.name))
    body["tags"] = user_tags(spec.get("tags")) | {MARK: mark.text, ADDRESS: tag_value(mark.address)}
    return body | {"clientToken": mark.token}


def set_source(body: dict[str, Json], uri: str) -> None:
    """Name the place of a job's packed source."""
    algorithm = body["algorithmSpecification"]
    assert isinstance(algorithm, dict)
    algorithm["scriptModeConfig"] = {**_object(algorithm["scriptModeConfig"]), "s3Uri": uri, "compressionType": "GZIP"}


NO_ROLE = "no role is named for the job"
NO_ROLE_HINT = "set `role_arn` of the job, or of the backend for all of its jobs"


def fields_of(job: Mapping[str, Json]) -> dict[str, Json]:
    """What GetJob reports, in the vocabulary of a spec; what it leaves out is left out. Raises TypeError for odd shapes."""
    fields: dict[str, Json] = {}
    for key, below in SHAPE.items():
        value = job.get(camel(key))
        if value is not None and key != "tags":
            fields[key] = _from_wire(value, below)
    algorithm, stopping = _object(job.get("algorithmSpecification")), _object(job.get("stoppingCondition"))
    if uri := _object(algorithm.get("containerImage")).get("uri"):
        fields["image"] = uri
    if not fields.get("algorithm_specification"):
        fields.pop("algorithm_specification", None)
    if isinstance(seconds := stopping.get("maxRuntimeInSeconds"), int):
        fields["timeout"] = f"{seconds}s"
    fields["tags"] = dict(user_tags(job.get("tags")))
    return fields


def fields_of_row(row: Mapping[str, Json]) -> dict[str, Json]:
    """What a row of SearchJobs reports."""
    fields: dict[str, Json] = {"job_name": row.get("jobName"), "device_config": {"device": row.get("device")}}
    if row.get("tags") is not None:
        fields["tags"] = dict(user_tags(row["tags"]))
    return fields


def user_tags(tags: Json) -> dict[str, Json]:
    """Tags without ours and those of AWS itself. Raises TypeError for what is no map of texts."""
    found = _object(tags)
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("tags are texts")
    return {key: value for key, value in found.items() if not key.startswith("jobform:") and not key.lower().startswith("aws:")}


def job_name(name: str) -> str:
    """A name as the service takes it."""
    return re.sub(r"[^A-Za-z0-9-]", "-", name)[:_NAME].strip("-")


def tag_value(value: str) -> str:
    """A text as tags may hold it: other characters become `_`."""
    return "".join(char if char.isalnum() or char in " _.:/=+-@" else "_" for char in value)[:_TAG_VALUE]


def camel(name: str) -> str:
    """`s3_data_source` as the service writes it, `s3DataSource`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _to_wire(value: Json, below: Tree | None) -> Json:
    if below is None:
        return value
    if isinstance(value, list):
        return [_to_wire(item, below) for item in value]
    given = _object(value)
    return {camel(key): _to_wire(given[key], inner) for key, inner in below.items() if key in given}


def _from_wire(value: Json, below: Tree | None) -> Json:
    """Only what a spec has: members that a newer service adds are nobody's drift."""
    if below is None:
        return value
    if isinstance(value, list):
        return [_from_wire(item, below) for item in value]
    found = _object(value)
    named = {key: (found.get(camel(key)), inner) for key, inner in below.items()}
    return {key: _from_wire(item, inner) for key, (item, inner) in named.items() if item is not None}


def _object(value: Json) -> dict[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value
