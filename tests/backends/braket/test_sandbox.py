"""The sandbox is driven by boto3's own client, and refuses what the service would refuse, in the service's form."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from jobform.sandbox.braket import Braket
from jobform.sandbox.host import Sandbox
from tests.sandboxed import await_aws
from tests.support import ROOT, Warm, project

CREATE: dict[str, Any] = {
    "jobName": "vqe", "roleArn": "arn:aws:iam::123456789012:role/braket-jobs", "deviceConfig": {"device": "local:x/y"},
    "algorithmSpecification": {"containerImage": {"uri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4"}},
    "instanceConfig": {"instanceType": "ml.m5.large", "volumeSizeInGb": 30}, "outputDataConfig": {"s3Path": "s3://acme-boto/jobs"},
}
NOBODY = "arn:aws:braket:us-east-1:123456789012:job/nobody"


def client_of(sandbox: Sandbox, service: str = "braket", **changes: Any) -> Any:
    url = sandbox.variables[f"AWS_ENDPOINT_URL_{service.upper()}"]
    given = {"aws_access_key_id": "sandbox", "aws_secret_access_key": "sandbox", "region_name": "us-east-1", **changes}
    return boto3.session.Session(**given).client(service, endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def braket(sandbox: Sandbox) -> Iterator[Any]:
    client = client_of(sandbox)
    yield client
    client.close()


def create(client: Any, **changes: Any) -> str:
    """The ARN of a new job."""
    arn: str = client.create_job(**{**CREATE, **changes})["jobArn"]
    return arn


def runs(**more: str) -> dict[str, str]:
    return {"SANDBOX_QUEUED": "0", "SANDBOX_SECONDS": "inf", **more}


def refused(call: Any, **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response: Any = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def reach(client: Any, arn: str, *states: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = client.get_job(jobArn=arn)
        if found["status"] in states:
            return found
        time.sleep(0.01)


def test_a_job_from_its_creation_to_its_results(braket: Any, sandbox: Sandbox) -> None:
    arn = create(braket, hyperParameters={"shots": "10"}, tags={"team": "chem"}, checkpointConfig={"s3Uri": "s3://acme/c"})
    found = reach(braket, arn, "COMPLETED")
    assert found["startedAt"] <= found["endedAt"]
    assert found["instanceConfig"] == {"instanceType": "ml.m5.large", "volumeSizeInGb": 30, "instanceCount": 1}
    assert found["checkpointConfig"]["localPath"] == "/opt/braket/checkpoints/"
    assert [event["eventType"] for event in found["events"]][-1] == "COMPLETED"
    assert "failureReason" not in found
    assert "clientToken" not in found
    assert client_of(sandbox, "s3").head_object(Bucket="acme-boto", Key="jobs/output/model.tar.gz")["ContentLength"] > 0
    logs = client_of(sandbox, "logs")
    group, prefix = "/aws/braket/jobs", f"vqe/{arn.rpartition('/')[2]}/"
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)["events"]
    assert [event["message"] for event in events] == ["hello from the sandbox"]


def test_a_failure(braket: Any) -> None:
    found = reach(braket, create(braket, hyperParameters={"SANDBOX_EXIT": "4"}), "FAILED")
    assert found["failureReason"].endswith("exit code: 4")


def test_a_job_that_runs_too_long(braket: Any) -> None:
    found = reach(braket, create(braket, hyperParameters=runs(), stoppingCondition={"maxRuntimeInSeconds": 1}), "FAILED")
    assert "MAX_RUNTIME_EXCEEDED" in [event["eventType"] for event in found["events"]]


def test_the_same_token_is_the_same_job(braket: Any) -> None:
    first = create(braket, clientToken="one-token-of-boto3", hyperParameters=runs())
    assert create(braket, clientToken="one-token-of-boto3", hyperParameters=runs()) == first
    status, code, _ = refused(braket.create_job, **CREATE, clientToken="one-token-of-boto3")
    assert (status, code) == (409, "ConflictException")
    assert create(braket, hyperParameters=runs()) != first, "boto3 makes a new token for each call"


def test_the_place_in_the_queue(braket: Any) -> None:
    arns = [create(braket, hyperParameters={"SANDBOX_QUEUED": "inf"}) for _ in range(17)]
    places = [braket.get_job(jobArn=arn, additionalAttributeNames=["QueueInfo"])["queueInfo"]["position"] for arn in arns]
    assert [places[0], places[1], places[16]] == ["1", "2", ">15"]
    assert "queueInfo" not in braket.get_job(jobArn=arns[0])
    braket.cancel_job(jobArn=arns[0])
    assert braket.get_job(jobArn=arns[0], additionalAttributeNames=["QueueInfo"])["queueInfo"]["position"] == "None"


def test_searching_by_filters_and_pages(braket: Any) -> None:
    arns = [create(braket, jobName=f"vqe-{number}", deviceConfig={"device": f"local:x/{number % 2}"}, hyperParameters=runs())
            for number in range(7)]

    def search(*filters: tuple[str, str, list[str]], size: int = 100) -> list[str]:
        wanted = [{"name": name, "operator": operator, "values": values} for name, operator, values in filters]
        pages = braket.get_paginator("search_jobs").paginate(filters=wanted, PaginationConfig={"PageSize": size})
        return [row["jobArn"] for page in pages for row in page["jobs"]]

    assert search() == arns[::-1]
    assert search(size=3) == arns[::-1]
    assert search(("jobArn", "EQUAL", [arns[3]])) == [arns[3]]
    assert search(("jobName", "EQUAL", ["vqe-2"])) == [arns[2]]
    assert search(("jobName", "CONTAINS", ["vqe"]), ("deviceArn", "EQUAL", ["local:x/1"])) == [arns[5], arns[3], arns[1]]
    assert search(("createdAt", "GT", ["2999-01-01T00:00:00Z"])) == []
    assert len(search(("createdAt", "BETWEEN", ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"]))) == 7
    first = braket.search_jobs(filters=[], maxResults=3)
    create(braket, hyperParameters=runs())
    second = braket.search_jobs(filters=[], maxResults=3, nextToken=first["nextToken"])
    assert [row["jobArn"] for row in second["jobs"]] == [arns[3], arns[2], arns[1]], "a new job moves no page"


@pytest.mark.parametrize(("filters", "words"), [
    ([{"name": "status", "operator": "EQUAL", "values": ["QUEUED"]}], "status EQUAL is not supported"),
    ([{"name": "jobArn", "operator": "CONTAINS", "values": ["x"]}], "jobArn CONTAINS"),
    ([{"name": "jobName", "operator": "EQUAL", "values": ["a", "b"]}], "takes 1 values"),
    ([{"name": "createdAt", "operator": "BETWEEN", "values": ["2020-01-01T00:00:00Z"]}], "takes 2 values"),
    ([{"name": "createdAt", "operator": "GT", "values": ["yesterday"]}], "is no time"),
    ([{"name": name, "operator": "EQUAL", "values": ["x"]} for name in ("jobArn", "jobName")], "combined"),
    ([{"name": "jobName", "operator": "LIKE", "values": ["x"]}], "enum value set"),
])
def test_filters_that_are_none(braket: Any, filters: Any, words: str) -> None:
    status, code, message = refused(braket.search_jobs, filters=filters)
    assert (status, code) == (400, "ValidationException")
    assert words in message


def test_a_page_that_is_forgotten(braket: Any) -> None:
    assert refused(braket.search_jobs, filters=[], nextToken="x")[:2] == (400, "ValidationException")


def test_stopping(braket: Any) -> None:
    waits, running = create(braket, hyperParameters={"SANDBOX_QUEUED": "inf"}), create(braket, hyperParameters=runs())
    assert braket.cancel_job(jobArn=waits)["cancellationStatus"] == "CANCELLED"
    reach(braket, running, "RUNNING")
    assert braket.cancel_job(jobArn=running)["cancellationStatus"] == "CANCELLING"
    reach(braket, running, "CANCELLED")
    assert refused(braket.cancel_job, jobArn=running)[:2] == (409, "ConflictException")


def test_tags(braket: Any) -> None:
    arn = create(braket, hyperParameters=runs(), tags={"a": "1", "b/c": "2"})
    braket.tag_resource(resourceArn=arn, tags={"a": "3", "d": ""})
    braket.untag_resource(resourceArn=arn, tagKeys=["b/c", "none"])
    assert braket.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "3", "d": ""}
    assert braket.get_job(jobArn=arn)["tags"] == {"a": "3", "d": ""}
    assert refused(braket.tag_resource, resourceArn=arn, tags={"aws:x": "1"})[:2] == (400, "ValidationException")
    assert refused(braket.tag_resource, resourceArn=arn, tags={str(number): "" for number in range(60)})[0] == 400


@pytest.mark.parametrize("call", ["get_job", "cancel_job"])
def test_a_job_that_is_not_there(braket: Any, call: str) -> None:
    assert refused(getattr(braket, call), jobArn=NOBODY)[:2] == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(("changes", "words"), [
    ({"jobName": "a_b"}, "'jobName' failed to satisfy constraint: Member must satisfy regular expression pattern"),
    ({"jobName": "a" * 51}, "length less than or equal to 50"), ({"roleArn": "x"}, "'roleArn'"),
    ({"clientToken": "x" * 65}, "'clientToken' failed to satisfy constraint: Member must have length less than or equal to 64"),
    ({"instanceConfig": {"instanceType": "ml.x.large", "volumeSizeInGb": 1}}, "Member must satisfy enum value set"),
    ({"stoppingCondition": {"maxRuntimeInSeconds": 432_001}}, "value less than or equal to 432000"),
    ({"hyperParameters": {"a": "x" * 2501}}, "'hyperParameters.a.member'"), ({"hyperParameters": {"a": "x\ny"}}, "pattern: .*"),
    ({"hyperParameters": {str(number): "1" for number in range(101)}}, "length less than or equal to 100"),
    ({"inputDataConfig": [{"channelName": "a b", "dataSource": {"s3DataSource": {"s3Uri": "s3://a/b"}}}]},
     "'inputDataConfig.1.member.channelName'"),
    ({"algorithmSpecification": {}}, "needs a script, a container image, or both"),
    ({"algorithmSpecification": {"containerImage": {"uri": "python:3"}}}, "containerImage.uri"),
    ({"tags": {"aws:x": "1"}}, "'aws:x' is not allowed"), ({"tags": {"a": "[x]"}}, "characters"),
    ({"associations": [{"arn": NOBODY, "type": "RESERVATION_TIME_WINDOW_ARN"}] * 2}, "length less than or equal to 1"),
])
def test_what_boto3_lets_through_and_the_service_does_not(braket: Any, changes: dict[str, Any], words: str) -> None:
    status, code, message = refused(braket.create_job, **{**CREATE, **changes})
    assert (status, code) == (400, "ValidationException")
    assert words in message


def test_what_not_even_boto3_sends(sandbox: Sandbox) -> None:
    client = boto3.session.Session("sandbox", "sandbox", region_name="us-east-1").client(
        "braket", endpoint_url=sandbox.variables["AWS_ENDPOINT_URL_BRAKET"], config=Config(parameter_validation=False),
    )
    without: dict[str, Any] = {key: value for key, value in CREATE.items() if key not in ("jobName", "roleArn")}
    _, code, message = refused(client.create_job, **without)
    assert code == "ValidationException"
    assert message.startswith("2 validation errors detected: Value null at 'jobName'")
    assert "Member must be of type integer" in refused(
        client.create_job, **{**CREATE, "instanceConfig": {"instanceType": "ml.m5.large", "volumeSizeInGb": "30"}},
    )[2]


def test_a_role_of_another_account(braket: Any) -> None:
    status, code, _ = refused(braket.create_job, **{**CREATE, "roleArn": "arn:aws:iam::999999999999:role/x"})
    assert (status, code) == (403, "AccessDeniedException")


@pytest.mark.parametrize(("changes", "code"), [
    ({"aws_access_key_id": "other"}, "UnrecognizedClientException"),
    ({"aws_secret_access_key": "x"}, "InvalidSignatureException"),
    ({"aws_session_token": "expired"}, "ExpiredTokenException"), ({"aws_session_token": "x"}, "UnrecognizedClientException"),
    ({"region_name": "eu-west-2"}, "InvalidSignatureException"),
])
def test_who_asks(sandbox: Sandbox, changes: dict[str, str], code: str) -> None:
    assert refused(client_of(sandbox, **changes).search_jobs, filters=[])[:2] == (403, code)


@pytest.mark.parametrize(("method", "path", "headers", "status", "code"), [
    ("POST", "/jobs", {}, 403, "MissingAuthenticationTokenException"),
    ("POST", "/jobs", {"Authorization": "Bearer x"}, 403, "IncompleteSignatureException"),
    ("POST", "/jobs", {"Authorization": "AWS4-HMAC-SHA256 Credential=sandbox/20260101/us-east-1/braket/aws4_request, "
                       "SignedHeaders=host, Signature=00", "X-Amz-Date": "20260101T000000Z"}, 403, "InvalidSignatureException"),
])
def test_unsigned_requests(sandbox: Sandbox, method: str, path: str, headers: dict[str, str], status: int, code: str) -> None:
    request = Request(sandbox.variables["AWS_ENDPOINT_URL_BRAKET"] + path, b"{}", headers, method=method)
    with pytest.raises(HTTPError) as caught:
        urlopen(request)
    with caught.value as answer:
        assert (answer.code, answer.headers["x-amzn-ErrorType"]) == (status, code)


def test_a_signature_is_for_what_is_sent(sandbox: Sandbox) -> None:
    """The body is signed: one that is changed on its way is refused."""
    client = client_of(sandbox)

    def change(request: Any, **_: Any) -> None:
        request.body = request.body.replace(b"vqe", b"xxx")

    client.meta.events.register("before-send.braket.CreateJob", change)
    assert refused(client.create_job, **CREATE)[:2] == (403, "InvalidSignatureException")


def test_operations_that_are_not_served(braket: Any) -> None:
    assert refused(braket.get_device, deviceArn="arn:aws:braket:::device/x/y/z")[:2] == (404, "UnknownOperationException")


@pytest.mark.slow
def test_programs_are_run_as_in_the_service_s_container(warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "vqe.py").write_text(
        "import json, os\ndef main():\n    shots = json.load(open(os.environ['AMZN_BRAKET_HP_FILE']))['shots']\n"
        "    print('shots', shots, os.environ['AMZN_BRAKET_DEVICE_ARN'])\n    raise SystemExit(int(shots))\n",
    )
    job = {"backend": "qpu", "spec": {
        "algorithm_specification": {"script_mode_config": {"entry_point": "vqe:main", "source": "programs/vqe.py"}},
        "device_config": {"device": "local:x/y"}, "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
        "output_data_config": {"s3_path": "s3://acme-local/x"}, "hyper_parameters": {"shots": 3},
    }}
    project(tmp_path, {"vqe": job}, {"qpu": {"type": "braket", "role_arn": CREATE["roleArn"]}})
    with Sandbox(speed=50.0, only=frozenset({"braket"}), run_locally=True) as sandbox:
        await_aws(sandbox)
        environ = {**sandbox.variables, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONPATH": str(ROOT)}
        assert warm.run("init", cwd=tmp_path, env=environ).exit == 0
        applied = warm.run("apply", "--auto-approve", cwd=tmp_path, env=environ)
        assert applied.exit == 8, applied
        assert warm.run("logs", "vqe", cwd=tmp_path, env=environ).stdout == "shots 3 local:x/y\n"
        (attempt,) = warm.run("history", "vqe", "--format", "json", cwd=tmp_path, env=environ).json["attempts"]
        assert attempt["exit"] == 3


def test_the_sandbox_has_nothing_from_the_users_own_proxy_and_profile(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    client_of(sandbox, "logs").describe_log_groups()  # so that moto has begun
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    service = Braket()
    service._services = {"logs": sandbox.variables["AWS_ENDPOINT_URL_LOGS"]}
    assert service._client("logs").describe_log_groups()["ResponseMetadata"]["HTTPStatusCode"] == 200
