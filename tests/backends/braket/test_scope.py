"""Whom a backend reaches, and one diagnostic for everything that is wrong with that."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobform.backends.braket.backend import TYPE
from jobform.model.errors import BackendError
from jobform.model.job import BackendBlock
from jobform.protocols import Place, no_effect
from jobform.sandbox.host import Sandbox
from tests.backends.braket.conftest import RUNS, Open, mark, submission
from tests.sandboxed import QuickClock
from tests.support import Result, project

PLACE = "braket:123456789012:us-east-1"


def refused(open_backend: Open, environ: dict[str, str] | None = None, **settings: str) -> str:
    """Summary and detail of why the place is not proven."""
    with pytest.raises(BackendError) as caught:
        open_backend(environ, **settings).scope()
    assert not caught.value.ambiguous
    return f"{caught.value.summary} | {caught.value.detail}"


def test_the_account_is_that_of_the_jobs_and_else_what_sts_says(open_backend: Open, sandbox: Sandbox) -> None:
    assert open_backend().scope().text == PLACE
    without = {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
    assert refused(open_backend, without).startswith("which AWS account is meant is not known")
    open_backend().submit(submission(hyper_parameters=RUNS), mark())
    assert open_backend(without).scope().text == PLACE


@pytest.mark.parametrize(("environ", "settings", "source"), [
    ({}, {"region": "us-east-1"}, "`region` of the backend"),
    ({"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "eu-west-2"}, {}, "AWS_REGION"),
    ({}, {}, "AWS_DEFAULT_REGION"),
])
def test_where_the_region_comes_from(open_backend: Open, environ: dict[str, str], settings: dict[str, str], source: str) -> None:
    scope = open_backend(environ, **settings).scope()
    assert scope.source.startswith(source)
    assert scope.described == "the AWS account 123456789012 in us-east-1"


def write_profiles(home: Path) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(
        "[default]\nregion = us-east-1\n[profile quantum]\nregion = us-east-1\naws_access_key_id = sandbox\n"
        "aws_secret_access_key = sandbox\n[profile poor]\nregion = us-east-1\n[profile far]\nregion = eu-west-2\n"
        "aws_access_key_id = sandbox\naws_secret_access_key = sandbox\n",
    )


NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_DEFAULT_REGION": ""}


@pytest.mark.parametrize(("environ", "settings", "source"), [
    ({**NO_KEYS, "AWS_PROFILE": "quantum"}, {}, "AWS_PROFILE"), (NO_KEYS, {"profile": "quantum"}, "`profile` of the backend"),
    ({"AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"}, {"profile": "quantum"}, "`profile` of the backend"),
    ({"AWS_PROFILE": "far", "AWS_DEFAULT_REGION": ""}, {"profile": "quantum"}, "`profile` of the backend"),
    ({"AWS_PROFILE": "poor"}, {}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
])
def test_profiles(open_backend: Open, tmp_path: Path, environ: dict[str, str], settings: dict[str, str], source: str) -> None:
    write_profiles(tmp_path)
    scope = open_backend(environ, **settings).scope()
    assert scope.text == PLACE
    assert source in scope.source


def test_another_configuration_file(open_backend: Open, tmp_path: Path) -> None:
    write_profiles(tmp_path)
    (tmp_path / ".aws" / "config").rename(tmp_path / "elsewhere")
    environ = {**NO_KEYS, "AWS_CONFIG_FILE": str(tmp_path / "elsewhere"), "AWS_PROFILE": "quantum"}
    assert open_backend(environ).scope().text == PLACE


@pytest.mark.parametrize(("environ", "settings", "words"), [
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, {},
     ["there are no credentials for AWS", "AWS_ACCESS_KEY_ID", "`profile`"]),
    ({"AWS_ACCESS_KEY_ID": "AKIDWRONG"}, {}, ["does not accept the credentials", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"]),
    ({"AWS_SECRET_ACCESS_KEY": "canary-secret"}, {}, ["does not accept the credentials", "AWS_SECRET_ACCESS_KEY"]),
    ({"AWS_SESSION_TOKEN": "expired"}, {}, ["the AWS credentials have expired", "AWS_ACCESS_KEY_ID", "renew"]),
    ({"AWS_DEFAULT_REGION": ""}, {}, ["which AWS region is meant is not known", "`region` of the backend", "AWS_REGION"]),
    ({"AWS_DEFAULT_REGION": "eu-west-2"}, {}, ["does not accept the region eu-west-2", "AWS_DEFAULT_REGION"]),
    ({}, {"region": "us-west-1"}, ["does not accept the region us-west-1", "`region` of the backend"]),
    ({}, {"profile": "nobody"}, ["there is no AWS profile 'nobody'", "`profile` of the backend"]),
    ({**NO_KEYS, "AWS_PROFILE": "nobody"}, {"region": "us-east-1"}, ["there is no AWS profile 'nobody'", "AWS_PROFILE"]),
    ({**NO_KEYS, "AWS_PROFILE": "poor"}, {}, ["there are no credentials for AWS", "'poor'", "AWS_PROFILE"]),
    ({"AWS_ENDPOINT_URL_BRAKET": "http://127.0.0.1:1"}, {}, ["cannot connect to braket", "AWS_ENDPOINT_URL_BRAKET"]),
    ({"AWS_ENDPOINT_URL_BRAKET": "not an address"}, {}, ["AWS_ENDPOINT_URL_BRAKET is no address"]),
    ({"AWS_ENDPOINT_URL_BRAKET": "", "AWS_REGION": "us east/1"}, {}, ["no AWS region", "AWS_REGION"]),
])
def test_what_is_wrong_is_named_with_where_it_comes_from(
    open_backend: Open, tmp_path: Path, environ: dict[str, str], settings: dict[str, str], words: list[str],
) -> None:
    write_profiles(tmp_path)
    if environ.get("AWS_DEFAULT_REGION") == "" and "AWS_PROFILE" not in environ:
        (tmp_path / ".aws" / "config").unlink()
    told = refused(open_backend, environ, **settings)
    assert [word for word in words if word not in told] == [], told
    assert "canary" not in told


def test_no_rights(open_backend: Open, sandbox: Sandbox) -> None:
    from jobform.sandbox.faults import Fault

    headers = {"x-amzn-ErrorType": "AccessDeniedException"}
    body = '{"message": "no braket:SearchJobs"}'
    sandbox.faults.set([Fault("braket", "POST", "/jobs", times=9, status=403, headers=headers, body=body)])
    told = refused(open_backend)
    assert "these credentials may not do that: no braket:SearchJobs" in told
    assert "AWS_ACCESS_KEY_ID" in told


def test_a_role_that_a_profile_assumes(cli: Callable[..., Result], tmp_path: Path) -> None:
    """STS is asked for the role's credentials; the sandbox knows only its own, so the error tells whose were sent."""
    config = tmp_path / "config"
    config.write_text("[profile base]\naws_access_key_id = sandbox\naws_secret_access_key = sandbox\n[profile deployer]\n"
                      "region = us-east-1\nrole_arn = arn:aws:iam::123456789012:role/deployer\nsource_profile = base\n")
    project(tmp_path, {"vqe": JOB}, {"qpu": {**BLOCK, "profile": "deployer"}})
    assert cli("init").exit == 0
    result = cli("plan", env={"AWS_CONFIG_FILE": str(config)})
    assert result.exit == 1, result
    assert "the credentials come from the profile 'deployer' (`profile` of the backend), assume-role" in result.stderr


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_wrong_clock_is_told(open_backend: Open, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    moment = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(tzinfo=None)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: moment)
    assert "does not accept the time of this machine" in refused(open_backend)


# --- addresses ---


@pytest.mark.parametrize(("endpoint", "taken"), [
    ("https://braket.us-east-1.amazonaws.com", True), ("https://braket-fips.us-east-1.api.aws", True),
    ("https://vpce-1.braket.us-east-1.vpce.amazonaws.com", True), ("http://127.0.0.1:1", True),
    ("https://evil.execute-api.us-east-1.amazonaws.com", False), ("https://braket.eu-west-2.amazonaws.com", False),
    ("http://braket.us-east-1.amazonaws.com", False), ("https://braket.us-east-1.amazonaws.com.evil.example", False),
])
def test_where_jobform_yaml_may_send_signatures(tmp_path: Path, endpoint: str, taken: bool) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "HTTPS_PROXY": "http://127.0.0.1:1", "HOME": str(tmp_path)}
    block = BackendBlock("qpu", "braket", {"region": "us-east-1", "endpoint_url": endpoint})
    with pytest.raises(BackendError) as caught:
        TYPE.open(block, Place(tmp_path, QuickClock(), no_effect, environ)).scope()
    assert caught.value.summary.startswith("cannot connect" if taken else "credentials are not sent to"), caught.value.summary
    assert taken or endpoint.startswith("http:") or "`endpoint_url` of the backend" in caught.value.detail


def test_the_environment_goes_before_jobform_yaml(open_backend: Open) -> None:
    assert open_backend(endpoint_url="http://127.0.0.1:1").scope().text == PLACE


def test_endpoints_can_be_switched_off(open_backend: Open) -> None:
    told = refused(open_backend, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "HTTPS_PROXY": "http://127.0.0.1:1"})
    assert told.startswith("cannot connect to braket")


def test_a_proxy_that_is_dead(open_backend: Open) -> None:
    environ = {"AWS_ENDPOINT_URL_BRAKET": "", "HTTPS_PROXY": "http://user:canary@127.0.0.1:1"}
    told = refused(open_backend, environ)
    assert told.startswith("cannot connect to braket")
    assert "canary" not in told


# --- in a command ---


JOB = {"backend": "qpu", "spec": {
    "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vqe:2.4", "device_config": {"device": "local:x/y"},
    "instance_config": {"instance_type": "ml.m5.large", "volume_size_in_gb": 30},
    "output_data_config": {"s3_path": "s3://a-b-c/d"}, "hyper_parameters": {"SANDBOX_SECONDS": "inf"},
}}
BLOCK = {"type": "braket", "role_arn": "arn:aws:iam::123456789012:role/x"}


@pytest.mark.parametrize(("command", "environ", "block", "words"), [
    (["plan"], {"AWS_SECRET_ACCESS_KEY": "wrong"}, {}, "AWS_SECRET_ACCESS_KEY"),
    (["apply", "--auto-approve"], {"AWS_ACCESS_KEY_ID": "wrong"}, {}, "AWS_ACCESS_KEY_ID"),
    (["plan"], {}, {"region": "eu-west-2"}, "`region` of the backend"),
    (["apply", "--auto-approve"], {}, {"profile": "nobody"}, "`profile` of the backend"),
])
def test_one_diagnostic_and_nothing_changes(
    cli: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, command: list[str], environ: dict[str, str],
    block: dict[str, str], words: str,
) -> None:
    project(tmp_path, {"vqe": JOB}, {"qpu": BLOCK})
    assert cli("init").exit == 0
    assert cli("apply", "--auto-approve", "--detach").exit == 0
    state = (tmp_path / "jobform.state.json").read_bytes()
    jobs = {**JOB, "spec": {**JOB["spec"], "tags": {"a": "1"}}}  # type: ignore[dict-item]  # it is one
    project(tmp_path, {"vqe": jobs}, {"qpu": {**BLOCK, **block}})
    result = cli(*command, env=environ)
    assert result.exit == 1, result
    assert (result.stdout + result.stderr).count("error[") == 1, result
    assert words in result.stderr
    assert (tmp_path / "jobform.state.json").read_bytes() == state
    assert not [call for call in sandbox.servers["braket"].calls if call.path.startswith("/tags")]


def test_a_wrong_credential_is_told_by_the_first_plan_of_all(cli: Callable[..., Result], tmp_path: Path) -> None:
    project(tmp_path, {"vqe": JOB}, {"qpu": BLOCK})
    assert cli("init").exit == 0
    result = cli("plan", env={"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert result.exit == 1, result
    assert result.stderr.count("error[") == 1
    assert "AWS_SECRET_ACCESS_KEY" in result.stderr
