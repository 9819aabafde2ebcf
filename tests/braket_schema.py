"""Writes `schemas/braket.schema.json`: the shape of a spec from botocore's service model, and our words and rules for each field.

    python -m tests.braket_schema [FILE]

What the service's model says of a member (type, pattern, enum, lengths, minimum, maximum, required) is taken over as it is; the
tables below add what no model says. A member of CreateJob that no table knows stops the script.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader

FILE = Path(__file__).parent.parent / "schemas" / "braket.schema.json"

Schema = dict[str, Any]

MODEL: Schema = Loader().load_service_model("braket", "service-2")

OURS = {
    "clientToken": "the attempt's own token",
    "algorithmSpecification.containerImage": "`image`, as on other backends",
    "stoppingCondition": "`timeout`, as on other backends",
}
"""Members that stand under no key of their name, and where they come from."""

RESULT, PLACEMENT, OPERATIONAL = "result", "placement", "operational"

_CREATED = "the service has no call that changes a job"

FIELDS: Mapping[str, tuple[str, str, str]] = {
    "job_name": (OPERATIONAL, "it names the job and does not change what it computes; names need not be unique",
                 "The job's name on the service; jobform makes one otherwise."),
    "role_arn": (OPERATIONAL, "it says what the job may touch, not what it computes",
                 "The IAM role that the job runs as; `role_arn` of the backend otherwise."),
    "algorithm_specification": (
        RESULT, "the program makes the result", "The program: a script, run in the service's image or in `image`."),
    "algorithm_specification.script_mode_config": (RESULT, "the program makes the result", "A Python program and where it is."),
    "algorithm_specification.script_mode_config.entry_point": (
        RESULT, "it says which part of the program runs", "What is run: `package.module`, or `package.module:function`."),
    "algorithm_specification.script_mode_config.s3_uri": (
        RESULT, "the program makes the result", "Where the program is in S3, when it is not `source` of this project."),
    "algorithm_specification.script_mode_config.compression_type": (
        RESULT, "it says how the program is read", "How what `s3_uri` names is packed."),
    "device_config": (RESULT, "another device gives other measurements", "The quantum device or simulator."),
    "device_config.device": (
        RESULT, "another device gives other measurements",
        "The device's ARN, or `local:PROVIDER/SIMULATOR` for a simulator inside the job's container."),
    "instance_config": (
        PLACEMENT, "instances decide where and how fast the classical part runs", "The machines of the classical part."),
    "instance_config.instance_type": (
        PLACEMENT, "it decides where and how fast the program runs, not what it computes",
        "The type of the machines. New types appear, so any name of their form is taken; the examples are those that are known."),
    "instance_config.volume_size_in_gb": (
        PLACEMENT, "it decides whether the program has room, not what it computes", "The size of each machine's disk, in GB."),
    "instance_config.instance_count": (
        RESULT, "the number of workers changes how the work is divided, and with it the result",
        "How many machines; the service takes 1 otherwise, and an account may have no more at first."),
    "output_data_config": (OPERATIONAL, "it says where the result is put, not what it is", "Where the results go."),
    "output_data_config.s3_path": (
        OPERATIONAL, "it says where the result is put, not what it is",
        "Where the results go in S3; the archive is `output/model.tar.gz` below it."),
    "output_data_config.kms_key_id": (
        OPERATIONAL, "it says how the result is encrypted, not what it is", "The KMS key that encrypts the results."),
    "checkpoint_config": (
        OPERATIONAL, "it says where checkpoints are kept", "Where checkpoints go; a job that finds some goes on from them."),
    "checkpoint_config.s3_uri": (OPERATIONAL, "it says where checkpoints are kept", "Where checkpoints are kept in S3."),
    "checkpoint_config.local_path": (
        OPERATIONAL, "it says where the program finds its checkpoints",
        "Where the program finds them; the service takes /opt/braket/checkpoints/ otherwise."),
    "input_data_config": (
        RESULT, "the data that is read decides the result", "Data that is copied into the job's container, by channel."),
    "input_data_config[].channel_name": (RESULT, "programs find their data by it", "The channel's name."),
    "input_data_config[].content_type": (RESULT, "programs may read it", "The MIME type of the data."),
    "input_data_config[].data_source": (RESULT, "the data that is read decides the result", "Where the data is."),
    "input_data_config[].data_source.s3_data_source": (
        RESULT, "the data that is read decides the result", "Where the data is in S3."),
    "input_data_config[].data_source.s3_data_source.s3_uri": (
        RESULT, "the data that is read decides the result", "The prefix or the manifest of the data in S3."),
    "hyper_parameters": (
        RESULT, "they are the program's parameters",
        "The program's parameters. Numbers and truths are sent as texts. Everybody who may read the job sees them."),
    "tags": (OPERATIONAL, "the service changes them at any time, and the program does not see them", "Tags of the job."),
    "associations": (PLACEMENT, "a reservation decides when the device is had", "A reserved time on a device."),
    "associations[].arn": (PLACEMENT, "a reservation decides when the device is had", "The ARN of the reservation."),
    "associations[].type": (PLACEMENT, "a reservation decides when the device is had", "What kind of thing it is."),
}
"""Class, reason and description by the dotted key of a spec."""

EXPECTED: Mapping[str, str] = {
    "job_name": "up to 50 letters, digits and -, with a letter or digit at both ends",
    "role_arn": "the ARN of an IAM role such as arn:aws:iam::123456789012:role/braket-jobs",
    "algorithm_specification.script_mode_config.s3_uri": "an address such as s3://bucket/key",
    "device_config.device": "the ARN of a device, or local:PROVIDER/SIMULATOR",
    "instance_config.instance_type": "an instance type such as ml.m5.large",
    "output_data_config.s3_path": "an address such as s3://bucket/prefix",
    "checkpoint_config.s3_uri": "an address such as s3://bucket/prefix",
    "input_data_config[].channel_name": "up to 64 letters, digits and . - _",
    "input_data_config[].data_source.s3_data_source.s3_uri": "an address such as s3://bucket/prefix",
    "associations[].arn": "the ARN of something of Braket such as arn:aws:braket:us-east-1:123456789012:reservation/ID",
}
"""What a pattern means, in words."""

EXAMPLES: Mapping[str, list[Any]] = {
    "role_arn": ["arn:aws:iam::123456789012:role/service-role/AmazonBraketJobsExecutionRole"],
    "algorithm_specification.script_mode_config.entry_point": ["vqe.run:main"],
    "algorithm_specification.script_mode_config.s3_uri": ["s3://acme-braket/code/vqe.tar.gz"],
    "device_config": [{"device": "arn:aws:braket:::device/quantum-simulator/amazon/sv1"}],
    "device_config.device": ["arn:aws:braket:::device/quantum-simulator/amazon/sv1", "local:pennylane/lightning.gpu"],
    "instance_config": [{"instance_type": "ml.m5.large", "volume_size_in_gb": 30}],
    "instance_config.volume_size_in_gb": [30],
    "output_data_config": [{"s3_path": "s3://acme-braket/jobs/vqe"}],
    "output_data_config.s3_path": ["s3://acme-braket/jobs/vqe"],
    "hyper_parameters": [{"shots": 1000, "layers": 3}],
    "tags": [{"team": "chem"}],
}

FILLED_IN = frozenset({
    "role_arn", "algorithm_specification.script_mode_config.s3_uri", "instance_config.instance_count",
    "algorithm_specification.script_mode_config.compression_type", "checkpoint_config.local_path",
    "output_data_config.kms_key_id",
})
"""What a job has although its spec does not say so: the service's, the backend's, or of a packaged source."""

NO_SECRETS = "AWS warns not to put secrets there: everybody who may read the job sees them"

TAG_TEXT = r"^[^\x00-\x1f\x7f!\"#$%&'()*,;<>?\[\\\]^`{|}~]*$"
"""Letters, digits, blanks and _ . : / = + - @, and what is no ASCII. AWS knows which of that are letters."""

DAY, HOUR, MINUTE = r"[0-4](?:\.[0-9]{1,2})?d|5d", r"(?:[0-9]|[1-9][0-9]|1[01][0-9])(?:\.[0-9]{1,2})?h|120h", \
    r"(?:[0-9]|[1-9][0-9]{1,2}|[1-6][0-9]{3}|7[01][0-9]{2})(?:\.[0-9][05]?)?m|7200m"
SECOND = r"(?:[0-9]|[1-9][0-9]{1,4}|[1-3][0-9]{5}|4[0-2][0-9]{4}|43[01][0-9]{3})s|432000s"
BELOW_24, BELOW_60 = r"(?:[0-9]|1[0-9]|2[0-3])", r"[1-5]?[0-9]"
COMPOUND = (
    rf"[0-4]d{BELOW_24}h(?:{BELOW_60}m)?(?:{BELOW_60}s)?|[0-4]d{BELOW_60}m(?:{BELOW_60}s)?|[0-4]d{BELOW_60}s|"
    rf"(?:[0-9]|[1-9][0-9]|1[01][0-9])h(?:{BELOW_60}m)?(?:{BELOW_60}s)|(?:[0-9]|[1-9][0-9]|1[01][0-9])h{BELOW_60}m|"
    rf"(?:[0-9]|[1-9][0-9]{{1,2}}|[1-6][0-9]{{3}}|7[01][0-9]{{2}})m{BELOW_60}s"
)
TIMEOUT = rf"^(?!(?:0+(?:\.0+)?[dhms])+$)(?:{DAY}|{HOUR}|{MINUTE}|{SECOND}|{COMPOUND})$"
"""Durations of whole seconds from 1 s to 5 d. JSON Schema cannot add up units, so later units stay below the next larger one."""


def document() -> Schema:
    """The whole schema."""
    shape = MODEL["shapes"][MODEL["operations"]["CreateJob"]["input"]["shape"]]
    spec = _structure(shape, "", "")
    unused = set(FIELDS) - _made(spec, "")
    assert not unused, f"the tables know what the model does not: {sorted(unused)}"
    properties = spec["properties"]
    properties["image"] = _image()
    properties["timeout"] = _timeout()
    _script(properties["algorithm_specification"])
    _names(properties)
    required = [key for key in spec["required"] if key not in ("job_name", "role_arn", "algorithm_specification")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "braket.schema.json",
        "$comment": f"made by tests/braket_schema.py from botocore's service model {MODEL['metadata']['uid']}",
        "title": "The spec of a job on Amazon Braket",
        "description": "A hybrid job: a Python program in a container, with first access to one quantum device or simulator.",
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "x-jobform-mutable": "never",
        "anyOf": [{"required": ["algorithm_specification"]}, {"required": ["image"]}],
        "properties": dict(sorted(properties.items(), key=lambda item: _order(item[0]))),
        "$defs": {"settings": SETTINGS},
    }


_ORDER = (
    "job_name", "role_arn", "image", "algorithm_specification", "device_config", "instance_config", "hyper_parameters",
    "input_data_config", "output_data_config", "checkpoint_config", "timeout", "tags", "associations",
)


def _order(key: str) -> int:
    return _ORDER.index(key)


def _structure(shape: Mapping[str, Any], path: str, wire: str) -> Schema:
    properties = {}
    for member, below in shape["members"].items():
        whole = f"{wire}.{member}" if wire else member
        if whole not in OURS:
            key = f"{path}.{xform_name(member)}" if path else xform_name(member)
            properties[xform_name(member)] = _field(below["shape"], key, whole)
    required = [xform_name(name) for name in shape.get("required", ()) if (f"{wire}.{name}" if wire else name) not in OURS]
    needed = {"required": required} if required else {}
    return {"type": "object", **needed, "additionalProperties": False, "properties": properties}


def _field(name: str, key: str, wire: str) -> Schema:
    """A member as a property with its rules."""
    class_, reason, description = FIELDS[key]
    schema = {"description": description, **_shape(name, key, wire)}
    if key in EXPECTED:
        schema["x-jobform-expected"] = EXPECTED[key]
    if key in EXAMPLES:
        schema["examples"] = EXAMPLES[key]
    rules: Schema = {
        "x-jobform-class": class_, "x-jobform-mutable": "always" if key == "tags" else "never",
        "x-jobform-reason": reason if key == "tags" else f"{reason}; {_CREATED}",
    }
    if key in FILLED_IN:
        rules["x-jobform-backend-default"] = True
    return schema | rules


def _shape(name: str, key: str, wire: str) -> Schema:
    """What the model says of a shape, in words of JSON Schema."""
    shape = MODEL["shapes"][name]
    kind = shape["type"]
    if kind == "structure":
        return _structure(shape, key, wire)
    if kind == "list":
        item = MODEL["shapes"][shape["member"]["shape"]]
        assert item["type"] == "structure", f"{key} is a list of something new"
        return {"type": "array", **_sizes(shape, "Items"), "items": _structure(item, f"{key}[]", wire)}
    if kind == "map":
        keys, values = _shape(shape["key"]["shape"], key, wire), _shape(shape["value"]["shape"], key, wire)
        keys.pop("type")
        names = {"propertyNames": keys} if keys else {}
        return {"type": "object", **_sizes(shape, "Properties"), **names, "additionalProperties": values}
    if kind == "integer":
        bounds = (("minimum", "min"), ("maximum", "max"))
        return {"type": "integer", **{word: shape[short] for word, short in bounds if short in shape}}
    assert kind == "string", f"{key} is of a type that this script does not know: {kind}"
    if key == "instance_config.instance_type":
        return {"type": "string", "maxLength": 100, "pattern": r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$", "examples": shape["enum"]}
    if "enum" in shape:
        return {"type": "string", "enum": shape["enum"]}
    pattern = {"pattern": f"^(?:{shape['pattern']})$"} if "pattern" in shape else {}
    return {"type": "string", **_sizes(shape, "Length"), **pattern}


def _sizes(shape: Mapping[str, Any], what: str) -> Schema:
    least = {f"min{what}": shape["min"]} if shape.get("min") else {}
    return least | ({f"max{what}": shape["max"]} if "max" in shape else {})


def _made(schema: Mapping[str, Any], path: str) -> set[str]:
    """The dotted keys of all properties of a schema."""
    found = set()
    for key, below in schema.get("properties", {}).items():
        whole = f"{path}.{key}" if path else key
        found |= {whole} | _made(below, whole) | _made(below.get("items", {}), f"{whole}[]")
    return found


# --- what no model says -----------------------------------------------------------------------------------------------


def _image() -> Schema:
    image = _shape("Uri", "image", "")
    return {
        "description": "The container image, in a registry of Amazon ECR; the service's own otherwise.", **image,
        "x-jobform-expected": "an image of Amazon ECR such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4",
        "examples": ["123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4"],
        "x-jobform-class": RESULT, "x-jobform-mutable": "never",
        "x-jobform-reason": f"the image holds the program that makes the result; {_CREATED}",
    }


def _timeout() -> Schema:
    limits = MODEL["shapes"]["JobStoppingConditionMaxRuntimeInSecondsInteger"]
    assert (limits["min"], limits["max"]) == (1, 432_000), "the pattern of timeouts is out of date"
    return {
        "$ref": "common.schema.json#/$defs/timeout",
        "description": "How long the job may run, from 1s to 5d. What the service takes otherwise is not documented.",
        "if": {"x-jobform-type": "duration"},
        "then": {
            "pattern": TIMEOUT,
            "x-jobform-expected": "whole seconds from 1s to 5d such as 90s, 6h or 1h30m, hours below 24 after days, minutes and "
                                  "seconds below 60 after a larger unit",
        },
        "x-jobform-class": OPERATIONAL, "x-jobform-mutable": "never", "x-jobform-backend-default": True,
        "x-jobform-reason": f"a limit stops a run and does not change what it computes; {_CREATED}",
    }


def _script(algorithm: Schema) -> None:
    """A program of this project instead of one in S3."""
    algorithm["required"] = ["script_mode_config"]  # nothing else is left in it, and without it the service has nothing to run
    script = algorithm["properties"]["script_mode_config"]
    script["properties"]["source"] = {
        "description": "A file or directory of this project instead of `s3_uri`, packed and uploaded once for each content.",
        "type": "string", "minLength": 1, "maxLength": 1000, "examples": ["programs/vqe"],
        "x-jobform-input": True, "x-jobform-class": RESULT, "x-jobform-mutable": "never", "x-jobform-write-only": True,
        "x-jobform-secret": "never", "x-jobform-reason": f"the program makes the result; {_CREATED}",
    }
    script["required"] = ["entry_point"]
    script["oneOf"] = [{"required": ["source"]}, {"required": ["s3_uri"]}]
    script["not"] = {"required": ["source", "compression_type"]}
    script["properties"]["entry_point"]["minLength"] = 1


def _names(properties: Schema) -> None:
    properties["job_name"]["x-jobform-name"] = True
    properties["input_data_config"]["x-jobform-list-key"] = "channel_name"
    parameters = properties["hyper_parameters"]
    parameters["x-jobform-secret"] = "never"
    parameters["x-jobform-reason"] = f"{parameters['x-jobform-reason']}. {NO_SECRETS}"
    parameters["additionalProperties"] = {
        "type": ["string", "number", "boolean"], "x-jobform-type": "text",
        **{key: value for key, value in parameters["additionalProperties"].items() if key != "type"},
        "x-jobform-expected": "a text without line breaks",
    }
    properties["tags"] |= {
        "maxProperties": 48,
        "propertyNames": {
            "minLength": 1, "maxLength": 128, "pattern": r"^(?![aA][wW][sS]:)(?!jobform:)" + TAG_TEXT.removeprefix("^"),
            "x-jobform-expected": "up to 128 letters, digits, blanks and _ . : / = + - @, not beginning with aws: or jobform:",
        },
        "additionalProperties": {
            "type": "string", "maxLength": 256, "pattern": TAG_TEXT,
            "x-jobform-expected": "up to 256 letters, digits, blanks and _ . : / = + - @",
        },
    }


SETTINGS: Schema = {
    "title": "The settings of a braket backend",
    "description": "A block under `backends:` in jobform.yaml with `type: braket`. Credentials are found as boto3 finds them.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "region": {
            "type": "string", "pattern": "^[a-z]{2}(?:-[a-z]+)+-[0-9]+$", "examples": ["us-east-1"],
            "x-jobform-expected": "an AWS region such as us-east-1",
            "description": "The region; AWS_REGION, AWS_DEFAULT_REGION or the profile's region otherwise.",
        },
        "profile": {
            "type": "string", "minLength": 1, "maxLength": 200, "examples": ["quantum"],
            "description": "A profile of ~/.aws/config; AWS_PROFILE, or credentials from the environment, otherwise.",
        },
        "role_arn": {
            **_shape("RoleArn", "role_arn", ""), "x-jobform-expected": EXPECTED["role_arn"], "examples": EXAMPLES["role_arn"],
            "description": "The IAM role of jobs that name none.",
        },
        "endpoint_url": {
            "type": "string", "minLength": 1, "maxLength": 500,
            "description": "Another address of Braket, such as a private endpoint. AWS_ENDPOINT_URL_BRAKET goes before it.",
        },
        "source_bucket": {
            "type": "string", "pattern": r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "examples": ["acme-braket"],
            "x-jobform-expected": "the name of an S3 bucket",
            "description": "Where packed sources go; amazon-braket-REGION-ACCOUNT otherwise, as in Amazon's SDK.",
        },
        "source_prefix": {
            "type": "string", "maxLength": 500, "pattern": "^(?!(?:.*/)?\\.{1,2}(?:/|$))[A-Za-z0-9!_.*'()/-]*$",
            "x-jobform-expected": "a prefix of keys in a bucket",
            "description": "What stands before the keys of packed sources; jobform otherwise.",
        },
        "rate_factor": {
            "type": "number", "exclusiveMinimum": 0, "maximum": 2,
            "description": "How much faster than the service's first quotas calls are made, where AWS has raised them: up to 2.",
        },
    },
}


def text() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else FILE).write_text(text(), encoding="utf-8")
