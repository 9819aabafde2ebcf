"""Who asks, how tokens are renewed, and what is said when address, credentials or project are wrong."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from jobform.backends.runai.tokens import Application, Token
from jobform.clients.keys import Key
from jobform.clients.rest.client import Outgoing, RestError
from jobform.model.clock import SystemClock
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Actual
from jobform.sandbox.faults import HTML, Fault, Then
from jobform.sandbox.runai import CLIENT, REALM, SECRET
from tests.backends.runai.conftest import JOBS, WORKLOADS, Desk, mark, submission

APP: dict[str, str | None] = {"RUNAI_TOKEN": None, "RUNAI_CLIENT_ID": CLIENT, "RUNAI_CLIENT_SECRET": SECRET}
REALM_TOKEN = f"/auth/realms/{REALM}/protocol/openid-connect/token"
TOKENS = {"jobs": REALM_TOKEN, "workloads": "/api/v1/token"}
REQUEST = Outgoing("GET", "/")


def refused(desk: Desk, settings: dict[str, Json] = JOBS, **variables: str | None) -> BackendError:
    """The error of a scope that cannot be proven; nothing was changed for it."""
    with pytest.raises(BackendError) as caught:
        desk.backend(settings, **variables).scope()
    paths = {call.path for call in desk.calls if call.method != "GET"}
    assert all(path == TOKENS["workloads"] or path.startswith("/auth/") for path in paths), "something was changed"
    assert SECRET not in f"{caught.value.summary} {caught.value.detail}"
    return caught.value


# --- the application's flow -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [JOBS, WORKLOADS], ids=["jobs", "workloads"])
def test_an_application_gets_a_token_and_keeps_it(desk: Desk, settings: dict[str, Json]) -> None:
    backend = desk.backend(settings, **APP)
    backend.scope()
    ref = backend.submit(submission(), mark())
    assert isinstance(backend.read([ref])[ref], Actual)
    path = TOKENS[str(settings.get("api", "jobs"))]
    [call] = [call for call in desk.calls if call.path == path]
    if path == REALM_TOKEN:
        assert call.headers["content-type"] == "application/x-www-form-urlencoded"
        assert dict(parse_qsl(call.body.decode())) == {
            "grant_type": "client_credentials", "scope": "openid", "response_type": "id_token", "client_id": CLIENT,
            "client_secret": SECRET,
        }
    else:
        assert json.loads(call.body) == {"grantType": "client_credentials", "clientID": CLIENT, "clientSecret": SECRET}


@pytest.mark.parametrize("settings", [JOBS, WORKLOADS], ids=["jobs", "workloads"])
def test_a_token_that_is_refused_is_renewed_once_and_the_call_made_again(desk: Desk, settings: dict[str, Json]) -> None:
    backend = desk.backend(settings, **APP)
    backend.scope()
    desk.service._issued.clear()
    ref = backend.submit(submission(), mark())
    assert isinstance(backend.read([ref])[ref], Actual)
    assert len(desk.jobs) == 1
    assert len(desk.requests("POST", TOKENS[str(settings.get("api", "jobs"))])) == 2


def test_a_token_that_is_refused_again_is_an_error(desk: Desk) -> None:
    backend = desk.backend(**APP)
    desk.answer("GET", "/api/v1/projects", {"status": 401, "message": "no"}, 401)
    with pytest.raises(BackendError) as caught:
        backend.scope()
    assert "status 401; the credentials come from RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET" in caught.value.detail
    assert len(desk.requests("POST", REALM_TOKEN)) == 2
    assert len(desk.requests("GET", "/api/v1/projects")) == 2


def test_many_threads_share_one_renewal(desk: Desk) -> None:
    backend = desk.backend(**APP)
    ref = backend.submit(submission(), mark())
    desk.service._issued.clear()
    gate = threading.Barrier(8)

    def read(_: int) -> Any:
        gate.wait()
        return backend.read([ref])[ref]

    with ThreadPoolExecutor(8) as pool:
        assert all(isinstance(answer, Actual) for answer in pool.map(read, range(8)))
    assert len(desk.requests("POST", REALM_TOKEN)) == 2


class Hand(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


ENVIRON = {"RUNAI_CLIENT_ID": "app", "RUNAI_CLIENT_SECRET": "hush"}


@pytest.mark.parametrize(("lasts", "after", "renewed"), [
    (600.0, 539.0, False), (600.0, 541.0, True), (20.0, 9.0, False), (20.0, 11.0, True), (None, 1e9, False),
])
def test_a_token_is_renewed_a_minute_before_its_end(lasts: float | None, after: float, renewed: bool) -> None:
    clock, given = Hand(), list[str]()

    def issue(client: Key, secret: Key) -> Token:
        assert (client.value, secret.value) == ("app", "hush")
        given.append(f"t{len(given)}")
        return Token(given[-1], lasts)

    application = Application(issue, ENVIRON, clock)
    assert application.headers(REQUEST) == {"Authorization": "Bearer t0"}
    clock.at += after
    assert application.headers(REQUEST) == {"Authorization": f"Bearer t{int(renewed)}"}


def test_an_unsteady_token_service_is_asked_again_and_its_failure_is_no_doubt_about_the_call() -> None:
    tries = list[int]()

    def issue(client: Key, secret: Key) -> Token:
        tries.append(1)
        raise RestError("the service failed", status=503, retryable=True, ambiguous=True)

    application = Application(issue, ENVIRON, Hand())
    with pytest.raises(BackendError, match="no token could be had for RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET") as caught:
        application.headers(REQUEST)
    assert len(tries) == 3
    assert caught.value.retryable
    assert not caught.value.ambiguous


def test_threads_that_waited_for_a_token_share_its_failure() -> None:
    """Those that come later ask again."""
    asked, clock = list[int](), Hand()

    def issue(client: Key, secret: Key) -> Token:
        asked.append(1)
        raise RestError("who are you", status=401)

    application = Application(issue, ENVIRON, clock)
    for _ in range(8):  # all came when the first had not failed yet
        with pytest.raises(BackendError, match=r"no token could be had .*: who are you") as caught:
            application.headers(REQUEST)
        assert not caught.value.retryable
    assert len(asked) == 1
    clock.at += 0.001
    with pytest.raises(BackendError):
        application.headers(REQUEST)
    assert len(asked) == 2


def test_a_lost_token_leaves_no_doubt_about_a_create(desk: Desk) -> None:
    backend = desk.backend(**APP)
    desk.fault(Fault(method="POST", path=REALM_TOKEN, times=10, then=Then.DROP, applied=True))
    with pytest.raises(BackendError) as caught:
        backend.submit(submission(), mark())
    assert not caught.value.ambiguous
    assert not desk.requests("POST", "/api/v1/jobs")


@pytest.mark.parametrize("body", [{}, [], None, "x", {"access_token": 7}, {"access_token": ""}, {"access_token": "a b"},
                                  {"access_token": "x\u00e9"}, {"access_token": "a\r\nX: y"}, HTML])
def test_hostile_answers_of_the_token_service(desk: Desk, body: Any) -> None:
    desk.answer("POST", REALM_TOKEN, body)
    error = refused(desk, **APP)
    assert not error.ambiguous


@pytest.mark.parametrize(("status", "body"), [
    (400, {"error": "invalid_client", "error_description": f"{CLIENT} with client_secret={SECRET} is not known"}),
    (500, f"<p>POST grant_type=client_credentials&client_secret={SECRET}</p>"), (200, SECRET),
])
def test_a_token_service_that_repeats_the_secret_does_not_get_it_shown(desk: Desk, status: int, body: Json) -> None:
    desk.answer("POST", REALM_TOKEN, body, status)
    error = refused(desk, **APP)
    assert "***" in error.summary + error.detail


@pytest.mark.parametrize("lasts", [None, "soon", -1, 0, True, {}])
def test_a_token_whose_end_is_unknown_is_used_until_it_is_refused(desk: Desk, lasts: Json) -> None:
    token = desk.sandbox.variables["RUNAI_TOKEN"]
    desk.answer("POST", REALM_TOKEN, {"access_token": token, "expires_in": lasts})
    backend = desk.backend(**APP)
    backend.scope()
    backend.scope()
    assert len(desk.requests("POST", REALM_TOKEN)) == 1


def test_which_token_is_sent(desk: Desk) -> None:
    token = desk.sandbox.variables["RUNAI_TOKEN"]
    desk.answer("POST", REALM_TOKEN, {"access_token": "other", "id_token": token, "expires_in": 60})
    desk.backend({**JOBS, "token_field": "id_token"}, **APP).scope()
    desk.answer("POST", REALM_TOKEN, {"access_token": token, "expires_in": 60})
    assert "`token_field`" in refused(desk, {**JOBS, "token_field": "id_token"}, **APP).detail


# --- a fixed token, and none ------------------------------------------------------------------------------------------


def test_a_token_of_the_environment_wins(desk: Desk) -> None:
    desk.backend(**{**APP, "RUNAI_TOKEN": desk.sandbox.variables["RUNAI_TOKEN"]}).scope()
    assert not desk.requests("POST", REALM_TOKEN)


def test_a_token_in_a_file_is_read_anew(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    backend = desk.backend(RUNAI_TOKEN=None, RUNAI_TOKEN_FILE=str(file))
    with pytest.raises(BackendError, match="does not accept the credentials"):
        backend.scope()
    file.write_text(desk.sandbox.variables["RUNAI_TOKEN"] + "\n")
    backend.scope()


def test_a_cluster_that_asks_for_nothing(desk: Desk) -> None:
    desk.service.authenticated = False
    desk.backend({**JOBS, "unauthenticated": True}, RUNAI_TOKEN="left-over").scope()
    assert all("authorization" not in call.headers for call in desk.calls)


def test_a_cluster_that_asks_for_credentials_after_all(desk: Desk) -> None:
    error = refused(desk, {**JOBS, "unauthenticated": True}, RUNAI_TOKEN=None)
    assert "`unauthenticated` of the backend" in error.detail


# --- diagnostics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "variables", "summary", "detail"), [
    (JOBS, {"RUNAI_TOKEN": None}, "there are no credentials for Run:ai",
     "set RUNAI_TOKEN, or RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET; a cluster that asks for none needs `unauthenticated: true`"),
    (WORKLOADS, {"RUNAI_TOKEN": None, "RUNAI_CLIENT_ID": "x"}, "there are no credentials for Run:ai",
     "set RUNAI_TOKEN, or RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET"),
    (JOBS, {"RUNAI_TOKEN": "wrong"}, "127.0.0.1 does not accept the credentials", "the credentials come from RUNAI_TOKEN"),
    (WORKLOADS, {"RUNAI_TOKEN": "wrong"}, "127.0.0.1 does not accept the credentials", "the credentials come from RUNAI_TOKEN"),
    (JOBS, {**APP, "RUNAI_CLIENT_ID": "wrong"}, "no token could be had for RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET",
     "the credentials come from RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET"),
    (WORKLOADS, {**APP, "RUNAI_CLIENT_ID": "wrong"}, "no token could be had for RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET",
     "status 400"),
    (JOBS, {**APP, "RUNAI_REALM": None}, "in which realm RUNAI_CLIENT_ID is known is not said",
     "set `realm` of the backend, or RUNAI_REALM"),
    (JOBS, {**APP, "RUNAI_REALM": "elsewhere"}, "no token could be had for RUNAI_CLIENT_ID", "status 404"),
    (JOBS, {**APP, "RUNAI_AUTH_URL": None}, "who gives tokens for RUNAI_CLIENT_ID is not known",
     "set `auth_url` of the backend, or RUNAI_AUTH_URL"),
    ({}, {"RUNAI_PROJECT": None}, "which Run:ai project is meant is not known",
     "set `project` of the backend, or RUNAI_PROJECT"),
    ({"project": "team-c"}, {}, "there is no project 'team-c' among those that 127.0.0.1 shows",
     "`project` of the backend names it; the credentials come from RUNAI_TOKEN; did you mean team-"),
    ({}, {"RUNAI_PROJECT": "zebra"}, "there is no project 'zebra' among those", "RUNAI_PROJECT names it"),
    ({"api": "workloads"}, {"RUNAI_PROJECT": "zebra"}, "there is no project 'zebra' among those", "RUNAI_PROJECT names it"),
    ({"api": "workloads", "project": "team-b"}, {}, "2 clusters have a project 'team-b'", "set `cluster` to one of 71f69d83"),
    ({"api": "workloads", "project": "team-a", "cluster": "sandbx"}, {}, "there is no cluster 'sandbx'", "did you mean sandbox?"),
    ({"api": "workloads", "project": "team-a", "cluster": "other"}, {}, "the project 'team-a' is not on the cluster 'other'",
     "`cluster` of the backend names it"),
    (JOBS, {"RUNAI_BASE_URL": None}, "there is no address to call", "set RUNAI_BASE_URL, or `url` of the backend"),
    ({**JOBS, "url": "https://evil.example.com"}, {"RUNAI_BASE_URL": None}, "credentials are not sent to evil.example.com",
     "`url` of the backend names it"),
    ({**JOBS, "auth_url": "https://evil.example.com"}, {**APP, "RUNAI_AUTH_URL": None},
     "credentials are not sent to evil.example.com", "`auth_url` of the backend names it"),
])
def test_one_error_names_the_setting_and_where_it_comes_from(
    desk: Desk, settings: dict[str, Json], variables: dict[str, str | None], summary: str, detail: str,
) -> None:
    error = refused(desk, settings, **variables)
    assert summary in error.summary
    assert detail in error.detail


TEAM: dict[str, Json] = {"id": "1", "name": "team-a", "clusterId": "71f69d83-ba66-4822-adf5-55ce55efd210"}
PLACE: dict[str, Json] = {**WORKLOADS, "cluster": "gpu"}


@pytest.mark.parametrize(("settings", "projects", "clusters", "summary", "detail"), [
    (WORKLOADS, [TEAM, {**TEAM, "id": "2"}], [], "has 2 projects 'team-a'", "their ids are 1, 2"),
    (WORKLOADS, [{**TEAM, "name": "TEAM-A"}, {"name": "team-a"}], [], "there is no project 'team-a'", "RUNAI_TOKEN"),
    (PLACE, [TEAM], [{"uuid": "x", "name": "gpu"}, {"uuid": "y", "name": "gpu"}], "2 clusters are named 'gpu'", "one of x, y"),
    (PLACE, [TEAM], {"clusters": []}, "the service's answer is no list of clusters", "clusters"),
    (PLACE, [TEAM], [{"uuid": 7, "name": "gpu"}, 3], "there is no cluster 'gpu'", "`cluster` of the backend"),
    (PLACE, [TEAM], [{"uuid": "x", "name": "gpu"}], "the project 'team-a' is not on the cluster 'gpu'", "`cluster` of"),
])
def test_names_that_do_not_lead_to_one_place(
    desk: Desk, settings: dict[str, Json], projects: Json, clusters: Json, summary: str, detail: str,
) -> None:
    desk.sandbox.faults.set([
        Fault(method="GET", path=path, times=1000, status=200, body=json.dumps(body))
        for path, body in (("/api/v1/org-unit/projects", {"projects": projects}), ("/api/v1/clusters", clusters))
    ])
    error = refused(desk, settings)
    assert summary in error.summary
    assert detail in error.detail


def test_an_address_with_a_prefix(desk: Desk) -> None:
    """Later clusters have the job API below a path; a wrong address is no list of projects."""
    url = desk.sandbox.variables["RUNAI_BASE_URL"]
    refused(desk, RUNAI_BASE_URL=f"{url}/researcher")
    assert desk.calls[-1].path == "/researcher/api/v1/projects"


def test_the_place_is_known_by_address_and_project_or_by_ids(desk: Desk) -> None:
    scope = desk.backend().scope()
    host = desk.sandbox.variables["RUNAI_BASE_URL"].removeprefix("http://")
    assert json.loads(scope.text) == {"service": {"address": host}, "project": {"name": "team-a"}}
    assert scope.source == "`project` of the backend and RUNAI_BASE_URL"
    scope = desk.backend({**WORKLOADS, "project": "team-b", "cluster": "other"}).scope()
    assert json.loads(scope.text) == {
        "project": {"uid": "94501156"}, "cluster": {"uid": "9f1a3c0e-1b7d-4c57-8d54-0c1f3a2b4d66"},
    }
    assert re.fullmatch(r"the Run:ai project team-b \(94501156\) on the cluster 9f1a3c0e-.*", scope.described)


def test_a_token_is_renewed_before_the_service_ends_it(desk: Desk) -> None:
    desk.service.lifetime = 100.0
    backend = desk.backend(**APP)
    for _ in range(3):
        backend.scope()
        backend._clock.sleep(51)
    assert len(desk.requests("POST", REALM_TOKEN)) == 3
    assert not [entry for entry in desk.entries if entry.get("status") == 401]


def test_a_token_of_the_sandbox_ends(desk: Desk) -> None:
    desk.service.lifetime = 0.0
    assert "does not accept the credentials" in refused(desk, **APP).summary
    assert len(desk.requests("POST", REALM_TOKEN)) == 2
