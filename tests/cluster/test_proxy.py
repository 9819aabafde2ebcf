"""The fault proxy: each rule does what it says, to the client and to the server."""

import json

import pytest
import urllib3

from tests.cluster.api import Api, ApiFailure
from tests.cluster.cluster import Cluster
from tests.cluster.proxy import DROP_AFTER, DROP_BEFORE, HALF, RESET_AFTER, Fault, Proxy, delay, html, refuse
from tests.cluster.test_cluster import job


def test_without_rules_it_only_counts(cluster: Cluster, proxy: Proxy, namespace: str) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    through = Api.open(proxy.access)
    through.create(jobs, job("a", suspend=True))
    assert [it["metadata"]["name"] for it in through.items(jobs)] == ["a"]
    assert (proxy.count("POST", "/jobs"), proxy.count("GET"), proxy.count()) == (1, 1, 2)
    request = f"{proxy.access.server}{jobs}?watch=true&timeoutSeconds=60"
    headers = {"Authorization": f"Bearer {proxy.access.token}"}
    stream = through._pool.request("GET", request, headers=headers, preload_content=False)
    assert json.loads(stream.readline())["type"] == "ADDED", "as it comes, long before the end"
    stream.close()


@pytest.mark.parametrize(("fault", "done"), [(DROP_BEFORE, False), (DROP_AFTER, True), (RESET_AFTER, True), (HALF, True)])
def test_a_lost_answer_tells_nothing_of_what_was_done(
    cluster: Cluster, proxy: Proxy, namespace: str, fault: Fault, done: bool,
) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    rule = proxy.rule(fault, "POST", "/jobs$")
    with pytest.raises(urllib3.exceptions.HTTPError):
        Api.open(proxy.access).create(jobs, job("a", suspend=True))
    assert (rule.hits, bool(cluster.api.maybe(f"{jobs}/a"))) == (1, done)


def test_answers_of_its_own(proxy: Proxy) -> None:
    proxy.rule(refuse(429, b'{"message": "slow down"}', retry_after=7), "GET", "/version", skip=1, count=2)
    proxy.rule(html(502), "GET", "/healthz")
    proxy.rule(delay(0.0), "GET", "/healthz")
    through = Api.open(proxy.access)
    assert through.get("/version")["major"] == "1"
    for _ in range(2):
        with pytest.raises(ApiFailure, match="slow down"):
            through.get("/version")
    assert through.get("/version")["major"] == "1"
    assert through.raw("GET", "/healthz")[1].startswith(b"<html>")
    assert through.raw("GET", "/healthz") == (200, b"ok")


def test_something_can_happen_between_the_deed_and_the_answer(cluster: Cluster, proxy: Proxy, namespace: str) -> None:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    seen: list[bool] = []
    proxy.rule(DROP_AFTER, "POST", then=lambda: seen.append(cluster.api.maybe(f"{jobs}/a") is not None))
    with pytest.raises(urllib3.exceptions.HTTPError):
        Api.open(proxy.access).create(jobs, job("a", suspend=True))
    assert seen == [True]
