"""Signed requests. The vectors are computed from the published rules: they show that both sides of this repository agree with
them, not that the service does."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobform.backends.otoy.backend import Otoy
from jobform.backends.otoy.signing import Signer, signature, signed_text
from jobform.clients.rest.client import Outgoing
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Clock, Place, Submission, no_effect, timestamp
from jobform.sandbox.faults import Fault, Then
from jobform.sandbox.host import Sandbox
from jobform.testing.marks import make_mark
from tests.backends.otoy.conftest import BATCH, JOBS

TIME, NONCE = "1706918400000", "000102030405060708090a0b0c0d0e0f"
CANCEL = "/v1/jobs/01234567-89ab-cdef-0123-456789abcdef/cancel"
LIST = Outgoing("GET", JOBS, "limit=10&page=1")
STOP = Outgoing("PUT", CANCEL, "", b'{"reason":"x"}', "application/json")
BOTH = {"OTOY_API_KEY": "pk_test", "OTOY_API_SECRET": "sk_test"}


class Fixed(SystemClock):
    def now(self) -> datetime:
        return datetime.fromtimestamp(int(TIME) / 1000, UTC)


def signer(environ: dict[str, str], clock: Clock | None = None) -> Signer:
    return Signer(environ, clock or Fixed(), lambda: NONCE)


def test_the_signed_text_of_a_list() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert signed_text("pk_test", TIME, NONCE, LIST) == f"pk_test|{TIME}|{NONCE}|GET|/v1/jobs|limit=10&page=1|{empty}"


@pytest.mark.parametrize(("request_", "expected"), [
    (LIST, "ba344683b764337e8887a13ea5b599e301c266732bf81eae139a165ac7f514ec"),
    (STOP, "7450d32de3f137efab37c71957eb84971df72c4a8c095dcc15e359cd324a9c1f"),
])
def test_the_vectors(request_: Outgoing, expected: str) -> None:
    assert signature("sk_test", signed_text("pk_test", TIME, NONCE, request_)) == expected
    assert signer(BOTH).headers(request_) == {
        "X-API-Key": "pk_test", "X-Time": TIME, "X-Nonce": NONCE, "X-Signature": expected,
    }


def test_the_body_that_is_sent_is_canonical(service: Otoy, sandbox: Sandbox) -> None:
    spec: dict[str, Json] = {**BATCH, "env": {"Z": "grün", "A": "1"}, "title": "日本"}
    service.create(Submission("job", spec), make_mark("job"))
    body = sandbox.servers["otoy"].calls[-1].body
    assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    assert b"gr\\u00fcn" in body


def test_the_query_that_is_sent_is_the_one_that_is_signed(service: Otoy, sandbox: Sandbox) -> None:
    list(service.pages(None))
    service.runs("01234567-89ab-cdef-0123-456789abcdef")
    assert [call.query for call in sandbox.servers["otoy"].calls] == [
        [("limit", "50"), ("page", "1"), ("sort", "-created_at")],
        [("filter[job_uuid]", "01234567-89ab-cdef-0123-456789abcdef"), ("limit", "50"), ("page", "1")],
    ]


def test_brackets_are_encoded_and_parameters_are_in_order() -> None:
    text = signed_text("k", TIME, NONCE, Outgoing("GET", JOBS, "page=1&filter%5Btask%5D=BATCH&limit=5"))
    assert text.split("|")[5] == "filter%5Btask%5D=BATCH&limit=5&page=1"


def test_every_attempt_is_signed_anew(service: Otoy, sandbox: Sandbox) -> None:
    sandbox.faults.set([Fault("otoy", "GET", JOBS, times=2, then=Then.ANSWER, status=503, applied=True)])
    list(service.pages(None))
    calls = list(sandbox.servers["otoy"].calls)
    assert len(calls) == 3
    assert len({call.headers["x-nonce"] for call in calls}) == 3
    assert len({call.headers["x-signature"] for call in calls}) == 3
    assert all(len(call.headers["x-nonce"]) == 32 for call in calls)


@pytest.mark.parametrize(("environ", "source"), [
    (BOTH, "OTOY_API_KEY and OTOY_API_SECRET"),
    ({"DISPERSED_PUBLIC_KEY": "pk_test", "DISPERSED_SECRET_KEY": "sk_test"}, "DISPERSED_PUBLIC_KEY and DISPERSED_SECRET_KEY"),
    ({"ZER_PUBLIC_KEY": "pk_test", "ZER_SECRET_KEY": "sk_test"}, "ZER_PUBLIC_KEY and ZER_SECRET_KEY"),
    ({**BOTH, "ZER_PUBLIC_KEY": "a", "ZER_SECRET_KEY": "b", "DISPERSED_SECRET_KEY": "c"}, "OTOY_API_KEY and OTOY_API_SECRET"),
])
def test_the_keys_are_found_as_a_pair(environ: dict[str, str], source: str) -> None:
    found = signer(environ)
    assert found.headers(LIST)["X-Signature"].startswith("ba344683")
    assert found.source == source


def test_keys_in_files_are_read_at_every_attempt(tmp_path: Path) -> None:
    for name in ("key", "secret"):
        (tmp_path / name).write_text("first\n")
    environ = {"OTOY_API_KEY_FILE": str(tmp_path / "key"), "OTOY_API_SECRET_FILE": str(tmp_path / "secret")}
    found = signer(environ)
    assert found.headers(LIST)["X-API-Key"] == "first"
    (tmp_path / "key").write_text("pk_test")
    (tmp_path / "secret").write_text("sk_test")
    assert found.headers(LIST)["X-Signature"].startswith("ba344683")


@pytest.mark.parametrize(("environ", "word"), [
    ({}, "OTOY_API_KEY"), ({"OTOY_API_KEY": "pk"}, "OTOY_API_SECRET"),
    ({"OTOY_API_KEY": "pk", "ZER_SECRET_KEY": "sk"}, "OTOY_API_SECRET"), ({"ZER_PUBLIC_KEY": "pk"}, "ZER_SECRET_KEY"),
    ({"OTOY_API_SECRET": "sk"}, "OTOY_API_KEY"), ({"OTOY_API_KEY_FILE": "/nowhere/key"}, "OTOY_API_KEY_FILE"),
])
def test_half_a_pair_names_what_is_missing(environ: dict[str, str], word: str) -> None:
    with pytest.raises(BackendError) as caught:
        signer(environ).headers(LIST)
    assert word in f"{caught.value.summary} {caught.value.detail}"


def test_a_clock_that_is_off_is_said(place: Place) -> None:
    at = SystemClock().now() - timedelta(minutes=6)

    class Late(SystemClock):
        def now(self) -> datetime:
            return at

    with pytest.raises(BackendError) as caught:
        Otoy({}, replace(place, clock=Late())).scope()
    assert "a clock that is more than five minutes off is refused too" in caught.value.detail
    assert timestamp(at) in caught.value.detail


def test_a_prefix_of_the_address_is_part_of_the_signed_path(tmp_path: Path) -> None:
    sent: list[Outgoing] = []

    class Noted(Signer):
        def headers(self, request: Outgoing) -> dict[str, str]:
            sent.append(request)
            return dict(super().headers(request))

    environ = {"OTOY_BASE_URL": "http://127.0.0.1:9/prefix", **BOTH}
    service = Otoy({}, Place(tmp_path, SystemClock(), no_effect, environ))
    service._rest.credentials = Noted(environ, SystemClock())
    with pytest.raises(BackendError):
        service.cancel("one")
    assert [request.path for request in sent if request.method == "PUT"] == ["/prefix/v1/jobs/one/cancel"]
