"""Credentials that end in the middle of an apply: what was made stays ours, what was not is made once, and one line says why."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobform.sandbox.faults import Fault, Then
from jobform.sandbox.host import Sandbox
from tests.support import Warm
from tests.sweep.five import SERVICES, Five

AWS = {"x-amzn-ErrorType": "ExpiredTokenException"}
"""How AWS says it; the others answer 401."""

SOURCES = {
    "braket": "AWS_ACCESS_KEY_ID", "fireworks": "FIREWORKS_API_KEY", "otoy": "OTOY_API_KEY", "runai": "RUNAI_TOKEN",
    "unstructured": "UNSTRUCTURED_API_KEY",
}

CREATES = {
    "braket": "/job", "fireworks": "/v1/accounts/[^/]+/batchJobs", "otoy": "/v1/jobs", "runai": "/api/v1/jobs",
    "unstructured": "/api/v1/jobs/",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=20.0) as running:
        yield running


def expired(service: str, **where: str) -> Fault:
    if service == "braket":
        body = '{"message": "The security token included in the request is expired"}'
        return Fault(service, times=1000, then=Then.ANSWER, status=403, headers=AWS, body=body, **where)  # type: ignore[arg-type]  # method and path
    return Fault(service, times=1000, then=Then.ANSWER, status=401, body='{"message": "expired"}', **where)  # type: ignore[arg-type]  # as above


def test_credentials_that_end_before_the_creates(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """Nothing was made and that is certain, so nobody is asked anything: the next apply makes each job, once."""
    scene = Five(tmp_path / "p", warm, sandbox)
    sandbox.faults.set([expired(name, method="POST", path=path) for name, path in CREATES.items()])
    refused = scene.run("apply", "--auto-approve", "--detach", "--format", "json")
    assert refused.exit == 7, refused
    events = [event for event in map(json.loads, refused.stdout.splitlines()) if event["type"] == "diagnostic"]
    told = {event["address"]: f"{event['summary']} {event['detail']}" for event in events}
    assert sorted(told) == sorted(event["address"] for event in events) == sorted(SERVICES), "one diagnostic for each job"
    for name, source in SOURCES.items():
        assert source in told[name], told[name]
    assert not any(scene.made(name) for name in SERVICES)
    sandbox.faults.set([])
    assert scene.until_done() == set()
    scene.end()
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 1)


def test_credentials_that_end_while_jobs_run(tmp_path: Path, warm: Warm, sandbox: Sandbox) -> None:
    """What cannot be read is not gone: nothing is made anew, and each end is recorded when it can be read again."""
    scene = Five(tmp_path / "p", warm, sandbox, seconds=10.0)
    assert scene.run("apply", "--auto-approve", "--detach").exit == 0
    sandbox.faults.set([expired(name) for name in SERVICES])
    planned = scene.run("plan")
    assert planned.exit == 1, planned
    assert "credentials" in planned.stderr
    scene.run("apply", "--auto-approve", "--timeout", "1s")
    scene.run("advance")
    sandbox.faults.set([])
    scene.end()
    assert {name: len(scene.made(name)) for name in SERVICES} == dict.fromkeys(SERVICES, 1)
