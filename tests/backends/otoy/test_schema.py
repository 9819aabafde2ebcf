"""What `validate` refuses, as the service would: one clear sentence at the right key."""

import json
from typing import Any

import pytest

from jobform.backends.otoy.backend import TYPE
from jobform.sandbox.openapi import load
from jobform.schema import SpecSchema, check
from tests.backends.otoy.conftest import BATCH, SERVER
from tests.seeds.otoy import SPECS

SCHEMA = SpecSchema(TYPE.spec_schema())
UUID = "01234567-89ab-cdef-0123-456789abcdef"

REGIONS = [
    "ca-central-1", "ca-west-1", "mx-central-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
    "eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3",
    "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
    "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6",
    "ap-southeast-7", "cn-north-1", "cn-northwest-1", "af-south-1", "il-central-1", "me-central-1", "me-south-1",
]


def findings(spec: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (".".join(map(str, found.path)), " ".join(part for part in (found.summary, found.detail, found.hint) if part))
        for found in SCHEMA.problems(spec)
    ]


def test_the_schema_says_what_it_means() -> None:
    check(TYPE.spec_schema())
    check(TYPE.settings_schema())


@pytest.mark.parametrize("spec", [*SPECS, dict(BATCH), dict(SERVER)])
def test_what_is_right(spec: dict[str, Any]) -> None:
    assert not findings(spec)


@pytest.mark.parametrize(("more", "path", "words"), [
    ({"task": "batch"}, "task", "did you mean BATCH"), ({"timeout": "59s"}, "timeout", "a duration of 60s or more"),
    ({"timeout": "59999ms"}, "timeout", "60s or more"), ({"timeout": 900}, "timeout", "write 900s or 900m"),
    ({"timeout": "900"}, "timeout", "needs a unit"), ({"assign_timeout": "4m59s"}, "assign_timeout", "a duration of 5m or more"),
    ({"assign_timeout": "299s"}, "assign_timeout", "5m or more"), ({"start_timeout": "119s"}, "start_timeout", "2m or more"),
    ({"start_timeout": "1m"}, "start_timeout", "2m or more"), ({"retries": -1}, "retries", "at least 0"),
    ({"resources": {"cpu": -1}}, "resources.cpu", "at least 0"),
    ({"resources": {"cpu": "-1"}}, "resources.cpu", "a number of cores"),
    ({"resources": {"memory": "-1Gi"}}, "resources.memory", "an amount of memory"),
    ({"resources": {"memory": "32GB"}}, "resources.memory", "write 32G"),
    ({"resources": {"gpu": {"count": -1}}}, "resources.gpu.count", "at least 0"),
    ({"resources": {"gpu": {"type": "x"}}}, "resources.gpu", 'the key "count" is missing'),
    ({"min_storage_gb": -1}, "min_storage_gb", "at least 0"), ({"min_vram_gb": -0.5}, "min_vram_gb", "at least 0"),
    ({"max_node_count": 0}, "max_node_count", "at least 1"),
    ({"allowed_region_codes": ["us-west-9"]}, "allowed_region_codes.0", "us-west-2"),
    ({"allowed_region_codes": ["us-west-2", "us-west-2"]}, "allowed_region_codes.1", "stands twice"),
    ({"ports": [0]}, "ports.0", "at least 1"), ({"ports": [65536]}, "ports.0", "at most 65535"),
    ({"allowed_ips": ["1.2.3.4/33"]}, "allowed_ips.0", "an address or a network"),
    ({"allowed_ips": ["everybody"]}, "allowed_ips.0", "an address or a network"),
    ({"ssh_key": "~/.ssh/id"}, "ssh_key", "a public key"),
    ({"image": "acme/batch"}, "image", "an image with its tag"),
    ({"image": "localhost:5000/a"}, "image", "an image with its tag"),
    ({"image": f"a/b@sha256:{'0' * 64}"}, "image", "takes no digest"),
    ({"volumes": [{"mount": "/m"}]}, "volumes.0", '"image" is missing'),
    ({"volumes": [{"image": "a:1", "mount": "m"}]}, "volumes.0.mount", "an absolute path"),
    ({"registry": {}}, "registry", "at least 1 key"),
    ({"gpu_registry_uuid": "1234"}, "gpu_registry_uuid", "a uuid"), ({"description": "a\n"}, "description", "|-"),
    ({"gpu_registry_uuid": UUID, "resources": {"gpu": {"count": 1, "type": "x"}}}, "resources.gpu.type", "says which GPU"),
    ({"command": ["x"]}, "command", 'unknown key "command"'), ({"env": {"A": 1}}, "env.A", "must be a string"),
    ({"env": {"a b": "1"}}, "env.a b", "a variable name"), ({"title": ""}, "title", "at least 1 character"),
])
def test_what_the_service_would_refuse(more: dict[str, Any], path: str, words: str) -> None:
    found = findings({**BATCH, **more})
    assert len(found) == 1, found
    assert found[0][0] == path
    assert words in found[0][1]


def test_a_batch_job_needs_a_timeout() -> None:
    assert findings({"image": "a:1"}) == [("", 'the key "timeout" is missing for example timeout: "15m"')]


def test_a_persistent_job_has_none() -> None:
    [(path, text)] = findings({**SERVER, "timeout": "1h"})
    assert path == "timeout"
    assert "runs until it is cancelled" in text


@pytest.mark.parametrize("text", ["60s", "1m", "0.5h", "60000ms", "90m", "1h1s", "2w", "100000ms", "1.5m", "61.5s"])
def test_what_is_a_minute_or_more(text: str) -> None:
    assert not findings({**BATCH, "timeout": text})


@pytest.mark.parametrize(("key", "text"), [
    ("assign_timeout", "5m"), ("assign_timeout", "300s"), ("assign_timeout", "300000ms"), ("start_timeout", "2m"),
    ("start_timeout", "120s"), ("start_timeout", "120000ms"), ("start_timeout", "1h"), ("assign_timeout", "0.5h"),
])
def test_the_least_times(key: str, text: str) -> None:
    assert not findings({**BATCH, key: text})


def test_every_region_of_the_page() -> None:
    assert len(REGIONS) == 36
    assert not findings({**BATCH, "allowed_region_codes": REGIONS})
    document = TYPE.spec_schema()
    assert document["properties"]["allowed_region_codes"]["items"]["enum"] == REGIONS  # type: ignore[index,call-overload]  # as shipped
    assert load("otoy")["components"]["schemas"]["RegionCode"]["enum"] == REGIONS  # type: ignore[index,call-overload]  # as shipped


def test_only_the_end_of_a_persistent_job_is_not_waited_for() -> None:
    assert SCHEMA.completes(BATCH)
    assert SCHEMA.completes({**BATCH, "task": "BATCH"})
    assert not SCHEMA.completes(SERVER)


def test_secrets_are_never_read_back_and_never_shown() -> None:
    for path in (("registry", "secret"), ("volumes", 0, "registry", "secret")):
        rule = SCHEMA.rule(path)
        assert (rule.write_only, rule.sensitive) == (True, True)


def test_nothing_can_be_changed() -> None:
    def rules(schema: Any) -> set[str]:
        if isinstance(schema, dict):
            found = {schema["x-jobform-mutable"]} if "x-jobform-mutable" in schema else set()
            return found.union(*(rules(item) for item in schema.values()))
        return set().union(*map(rules, schema)) if isinstance(schema, list) else set()

    assert rules(TYPE.spec_schema()) == {"never"}, json.dumps(sorted(rules(TYPE.spec_schema())))
