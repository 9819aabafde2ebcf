"""Calls through boto3: limits that no service can pass, certainty about what a broken call did, and whose credentials."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobform.clients import aws as module
from jobform.clients import aws_wire
from jobform.clients.aws import Aws, AwsSettings
from jobform.clients.aws_errors import AwsError
from jobform.clients.gate import Pace
from jobform.clients.rest import transport
from jobform.model.errors import BackendError
from jobform.testing.clock import ManualClock
from tests.clients.rest.kit import Raw, answering, raw

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "canary-secret"}
JOB = "arn:aws:braket:us-east-1:123456789012:job/x"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of these tests may get the processor late: what is to be too late is so by the clock that a test moves."""
    for name in ("_CONNECT", "_READ"):
        monkeypatch.setattr(aws_wire, name, 60.0)


def ok(value: object, status: str = "200 OK", kind: str = "") -> bytes:
    body = json.dumps(value).encode()
    more = f"x-amzn-ErrorType: {kind}\r\n" if kind else ""
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def opened(
    home: Path, url: str, environ: Mapping[str, str] = KEYS, *, clock: Any = None, attended: bool = False, **settings: str,
) -> Aws:
    about = {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}
    whole = {**about, "AWS_ENDPOINT_URL_BRAKET": url, **environ}
    return Aws(AwsSettings(service="braket", **settings), clock or ManualClock(), whole, attended=attended)  # type: ignore[arg-type]  # by name


def calls(aws: Aws, *, changing: bool) -> dict[str, Any]:
    if changing:
        return aws.once("braket", "cancel_job", jobArn=JOB)
    return aws.often("braket", "search_jobs", filters=[])


def failure(call: Callable[[], object]) -> AwsError:
    with pytest.raises(AwsError) as caught:
        call()
    assert "canary" not in f"{caught.value.summary} {caught.value.detail}"
    return caught.value


# --- threads ---------------------------------------------------------------------------------------------------------


def test_a_region_that_two_threads_ask_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for itself, the other for a client that it makes: neither waits for ever for what the other holds."""
    (tmp_path / "config").write_text("[default]\nregion = us-east-1\n")
    environ = {**KEYS, "AWS_REGION": "", "AWS_CONFIG_FILE": str(tmp_path / "config")}
    asked, found = threading.Event(), []
    chosen, endpoint = Aws._chosen_region, Aws._endpoint

    def slowly(aws: Aws) -> Any:
        if threading.current_thread() is first:
            asked.set()
            holds.wait(1)  # the other may not get so far before this one is done: then there is no harm either
        return chosen(aws)

    def holding(aws: Aws, service: str) -> Any:
        holds.set()
        return endpoint(aws, service)

    with raw(answering(ok({"jobs": []}))) as server:
        aws, holds = opened(tmp_path, server.url, environ), threading.Event()
        monkeypatch.setattr(Aws, "_chosen_region", slowly)
        monkeypatch.setattr(Aws, "_endpoint", holding)
        first = threading.Thread(target=lambda: found.append(aws.region.value), daemon=True)
        first.start()
        asked.wait()
        second = threading.Thread(target=lambda: found.append(calls(aws, changing=False)), daemon=True)
        second.start()
        for thread in (first, second):
            thread.join(60)
            assert not thread.is_alive()
    assert sorted(found, key=str) == ["us-east-1", {"jobs": []}]


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("text", [
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100_000,
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + b" " * 100_000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 100_000,
], ids=["head", "body", "chunks"])
def test_a_dripping_service_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, changing: bool) -> None:
    """Every piece comes in time, the whole never does: half an hour, if nobody looked at the time."""
    passed, heard = [0.0], [0]

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        heard[0] += 1
        passed[0] += 61  # a minute is over as soon as the request is there
        with suppress(OSError):
            for byte in text:
                connection.sendall(bytes([byte]))
                if server.closing.wait(0.02):
                    return

    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0]))
    with raw(talk) as server:
        error = failure(lambda: calls(opened(tmp_path, server.url), changing=changing))
    assert error.summary == "no whole answer from braket of AWS"
    assert "took too long" in error.detail
    assert (error.ambiguous, error.retryable) == (changing, True)
    assert heard[0] == (1 if changing else 4)


def test_waiting_for_ones_turn_is_no_part_of_a_calls_time(tmp_path: Path) -> None:
    """CreateJob is sent once a second: of a hundred at once the last one waits longer than a call may take."""
    clock = ManualClock()
    with raw(answering(ok({"jobs": []}))) as server:
        aws = opened(tmp_path, server.url, clock=clock)
        aws._paces = {"search_jobs": Pace(clock, 0.005), "cancel_job": Pace(clock, 0.005)}
        before = clock.monotonic()
        for changing in (False, True, False, True):
            calls(aws, changing=changing)
        assert clock.monotonic() - before >= 200


@pytest.mark.parametrize("changing", [False, True])
def test_an_answer_without_end_fills_no_memory(tmp_path: Path, changing: bool) -> None:
    sent = [0]

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            while sent[0] < 256 << 20:
                sent[0] += connection.send(b" " * (1 << 20))

    with raw(talk) as server:
        error = failure(lambda: calls(opened(tmp_path, server.url), changing=changing))
    assert "more than 33554432 bytes" in error.detail
    assert (error.ambiguous, error.retryable) == (changing, False)
    assert sent[0] < 128 << 20, "it was left soon after"


def test_a_refusal_without_end_is_still_a_refusal(tmp_path: Path) -> None:
    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        server.request(connection, number)
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            for _ in range(64):
                connection.sendall(b" " * (1 << 20))

    with raw(talk) as server:
        error = failure(lambda: calls(opened(tmp_path, server.url), changing=True))
    assert (error.status, error.ambiguous) == (403, False)


def test_what_is_sent_has_time_of_its_own(tmp_path: Path) -> None:
    """256 MiB over a slow line need more than the minute that an answer may take."""
    assert module._time_for({}) == module._time_for({"Body": "x"}) == 60.0
    assert module._time_for({"Body": b"x" * (64 << 20)}) == 60.0 + 1024.0


# --- was it heard? ----------------------------------------------------------------------------------------------------


def papers(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of localhost that is its own authority, and a server's context with it."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().issuer_name(name).subject_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )
    bundle = folder / "authority.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(bundle.read_bytes() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return bundle, context


def test_tls_that_breaks_after_the_request_leaves_open_what_happened(tmp_path: Path) -> None:
    """It was heard: to take it for never sent would make a second job."""
    bundle, context = papers(tmp_path)

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        safe = context.wrap_socket(connection.dup(), server_side=True)
        server.request(safe, number)
        with socket.socket(fileno=safe.detach()) as plain:
            plain.sendall(b"HTTP/1.1 500 this is not TLS\r\n\r\n")

    with raw(talk) as server:
        aws = opened(tmp_path, f"https://localhost:{server.port}", {**KEYS, "AWS_CA_BUNDLE": str(bundle)})
        error = failure(lambda: calls(aws, changing=True))
        assert server.heard[0].startswith(b"PUT /job/")
    assert (error.ambiguous, error.retryable) == (True, True)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", ""])
def test_whose_word_is_believed(tmp_path: Path, variable: str) -> None:
    bundle, context = papers(tmp_path)

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as safe:
            if server.request(safe, number):
                safe.sendall(ok({"jobs": []}))

    with raw(talk) as server:
        aws = opened(tmp_path, f"https://localhost:{server.port}", {**KEYS, **({variable: str(bundle)} if variable else {})})
        if variable:
            assert calls(aws, changing=False) == {"jobs": []}
            return
        error = failure(lambda: calls(aws, changing=True))
        assert error.summary == "no trusted connection to braket of AWS"
        assert (error.ambiguous, error.retryable, server.requests) == (False, False, 0)


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    aws = opened(tmp_path, "https://localhost:1", {**KEYS, "AWS_CA_BUNDLE": str(tmp_path / "none.pem")})
    with pytest.raises(BackendError, match="authorities cannot be read") as caught:
        calls(aws, changing=True)
    assert "AWS_CA_BUNDLE" in caught.value.detail
    assert not caught.value.ambiguous


def test_a_credential_that_no_header_can_hold_is_not_shown(tmp_path: Path) -> None:
    with raw(answering(ok({}))) as server:
        error = failure(lambda: calls(opened(tmp_path, server.url, {**KEYS, "AWS_SESSION_TOKEN": "canary\nX: y"}), changing=True))
        assert "X-Amz-Security-Token" in error.detail
        assert (error.ambiguous, server.requests) == (False, 0)


# --- whose credentials ------------------------------------------------------------------------------------------------


def keys_sent(server: Raw) -> list[str]:
    """The access keys of the requests, in their order."""
    return [
        part.split(b"Credential=")[1].split(b"/")[0].decode()
        for heard in server.heard for part in heard.split(b" HTTP/1.1\r\n")[1:] if b"Credential=" in part
    ]


def test_credentials_of_a_container_come_from_the_environment_that_was_given(tmp_path: Path) -> None:
    given = ok({"AccessKeyId": "AKIDBOX", "SecretAccessKey": "canary", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"})
    with raw(answering(given)) as container, raw(answering(ok({"jobs": []}))) as server:
        aws = opened(tmp_path, server.url, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/me"})
        assert calls(aws, changing=False) == {"jobs": []}
        assert keys_sent(server) == ["AKIDBOX"]
        assert aws.credentials == "the default AWS profile, container-role"


def test_a_web_identity_comes_from_the_environment_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("canary-token")
    body = (b"<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><AssumeRoleWithWebIdentityResult>"
            b"<Credentials><AccessKeyId>AKIDWEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
            b"<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
            b"</AssumeRoleWithWebIdentityResponse>")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with raw(answering(head + body)) as sts, raw(answering(ok({"jobs": []}))) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        named = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/ci"}
        assert calls(opened(tmp_path, server.url, named), changing=False) == {"jobs": []}
        assert keys_sent(server) == ["AKIDWEB"]
        assert b"canary-token" in sts.heard[0]
        (tmp_path / "config").write_text("[profile plain]\naws_access_key_id = AKIDPLAIN\naws_secret_access_key = s\n")
        chosen = opened(tmp_path, server.url, {**named, "AWS_CONFIG_FILE": str(tmp_path / "config")}, profile="plain")
        assert calls(chosen, changing=False) == {"jobs": []}
        assert keys_sent(server)[1:] == ["AKIDPLAIN"], "a profile that the backend names goes before what the environment says"


def test_expired_credentials_are_looked_for_again_once(tmp_path: Path) -> None:
    """F48: who renews the file while jobs run need not start again; what never changes is asked once."""
    file = tmp_path / "credentials"

    def write(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        while request := server.request(connection, number):
            old = b"Credential=AKIDOLD" in request
            expired = ok({"message": "it has expired"}, "403 Forbidden", "ExpiredTokenException")
            connection.sendall(expired if old else ok({"jobs": []}))

    with raw(talk) as server:
        write("AKIDOLD")
        aws = opened(tmp_path, server.url, {"AWS_SHARED_CREDENTIALS_FILE": str(file)})
        error = failure(lambda: calls(aws, changing=False))
        assert error.summary.startswith("the AWS credentials have expired")
        assert keys_sent(server) == ["AKIDOLD"]
        write("AKIDNEW")
        threads = [threading.Thread(target=calls, args=(aws,), kwargs={"changing": False}) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert keys_sent(server).count("AKIDNEW") == 4


def test_a_variable_that_is_empty_is_not_set(tmp_path: Path) -> None:
    """As CI systems leave them."""
    with raw(answering(ok({"jobs": []}))) as server:
        empty = dict.fromkeys(["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_ROLE_ARN"], "")
        assert calls(opened(tmp_path, server.url, {**KEYS, **empty}), changing=False) == {"jobs": []}


MFA = """[default]
source_profile = base
role_arn = arn:aws:iam::123456789012:role/x
mfa_serial = arn:aws:iam::123456789012:mfa/me
[profile base]
aws_access_key_id = AKIDBASE
aws_secret_access_key = canary
"""


def test_nobody_is_asked_for_a_second_factor_where_nobody_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(MFA)
    monkeypatch.setattr("jobform.clients.aws_session.getpass", lambda prompt: pytest.fail(prompt))
    aws = opened(tmp_path, "http://127.0.0.1:1", {"AWS_CONFIG_FILE": str(tmp_path / "config")})
    with pytest.raises(BackendError, match="nobody is there to give it") as caught:
        calls(aws, changing=True)
    assert not caught.value.ambiguous


def test_somebody_is_asked_for_a_second_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(MFA)
    asked: list[str] = []
    monkeypatch.setattr("jobform.clients.aws_session.getpass", lambda prompt: asked.append(prompt) or "123456")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    aws = opened(tmp_path, "http://127.0.0.1:1", {"AWS_CONFIG_FILE": str(tmp_path / "config")}, attended=True)
    assert failure(lambda: calls(aws, changing=True)).summary == "no AWS credentials could be had"
    assert asked == ["Enter MFA code for arn:aws:iam::123456789012:mfa/me: "]


SSO = """[profile quantum]
sso_session = acme
sso_account_id = 123456789012
sso_role_name = jobs
region = us-east-1
[sso-session acme]
sso_region = us-east-1
sso_start_url = https://acme.awsapps.com/start
"""


@pytest.mark.parametrize(("config", "environ", "words"), [
    (SSO, {"AWS_PROFILE": "quantum"}, ["`aws sso login --profile quantum`", "AWS_PROFILE"]),
    ("[default]\ncredential_process = /no/such/program\n", {}, ["no AWS credentials could be had", "/no/such/program"]),
    ("[default]\ncredential_process = /bin/echo nothing\n", {}, ["no AWS credentials could be had", "JSONDecodeError"]),
    ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token"}, ["the AWS configuration cannot be used", "AWS_ROLE_ARN"]),
    ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"},
     ["no AWS credentials could be had", "/no/token"]),
    ("[default\n", {}, ["the AWS configuration cannot be used", "config"]),
])
def test_why_there_are_no_credentials(tmp_path: Path, config: str, environ: dict[str, str], words: list[str]) -> None:
    """Never that the service was not reached, or that it answered something odd: it was not asked."""
    (tmp_path / "config").write_text(config)
    aws = opened(tmp_path, "http://127.0.0.1:1", {**environ, "AWS_CONFIG_FILE": str(tmp_path / "config")})
    error = failure(lambda: calls(aws, changing=True))
    told = f"{error.summary} | {error.detail}"
    assert [word for word in words if word not in told] == [], told
    assert "braket" not in told
    assert (error.ambiguous, error.retryable) == (False, False)


def test_a_role_that_cannot_be_assumed_now_has_changed_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(MFA.replace("mfa_serial = arn:aws:iam::123456789012:mfa/me\n", ""))
    environ = {"AWS_CONFIG_FILE": str(tmp_path / "config")}
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no sts:AssumeRole</Message></Error></ErrorResponse>"
    with raw(answering(f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        error = failure(lambda: calls(opened(tmp_path, "http://127.0.0.1:1", environ, region="eu-west-2"), changing=True))
        assert b"/eu-west-2/sts/" in sts.heard[0], "the role is assumed in the backend's region"
    assert error.summary == "no AWS credentials could be had: these credentials may not do that: no sts:AssumeRole"
    assert "AssumeRole: status 403, AccessDenied" in error.detail
    assert not error.ambiguous
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    away = failure(lambda: calls(opened(tmp_path, "http://127.0.0.1:1", environ), changing=True))
    assert (away.ambiguous, away.retryable) == (False, True), "nothing was sent to Braket"
