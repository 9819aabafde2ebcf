"""Faults on the wire, in credentials and in the cluster, met by whole commands: what was done once stays once, and it is told."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import audit
from tests.cluster.api import ApiFailure, Object
from tests.cluster.cluster import Cluster
from tests.cluster.kinds import CRDS, Declared, await_discovery, declare
from tests.cluster.proxy import (
    DROP_AFTER,
    DROP_BEFORE,
    HALF,
    RESET_AFTER,
    RESET_BEFORE,
    Fault,
    Proxy,
    delay,
    html,
    refuse,
)
from tests.cluster.quota import allow, forbid
from tests.kubernetes.stage import Stage, document, image_job, inline
from tests.support import Result, Warm


def status(code: int, reason: str, message: str) -> bytes:
    """A refusal as the API server words it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
    return json.dumps(body).encode()


GONE = refuse(410, status(410, "Expired", "The provided continue parameter is too old"))
ONCE: dict[str, Fault] = {
    "lost-request": DROP_BEFORE,
    "lost-answer": DROP_AFTER,
    "reset-before": RESET_BEFORE,
    "reset-after": RESET_AFTER,
    "half-answer": HALF,
    "page-after": html(forward=True),
    "gateway-after": html(502, forward=True),
    "error-before": refuse(500, status(500, "InternalError", "etcdserver: request timed out")),
    "error-after": refuse(500, status(500, "InternalError", "etcdserver: request timed out"), forward=True),
    "unavailable": refuse(503, status(503, "ServiceUnavailable", "apiserver is shutting down")),
    "throttled": refuse(429, status(429, "TooManyRequests", "slow down"), retry_after=1),
}
"""What may befall one request. By name, which is also that of the job whose request it befalls."""


@pytest.fixture
def wire(cluster: Cluster, namespace: str, tmp_path: Path, warm: Warm, proxy: Proxy) -> Iterator[Stage]:
    """A project whose pods stay pending and whose requests come by the proxy."""
    access = proxy.access
    path = cluster.kubeconfig_for("admin", namespace=namespace, server=access.server, authority=access.authority)
    stage = Stage(tmp_path / "project", cluster, namespace, environ={"KUBECONFIG": str(path)}, warm=warm)
    yield stage
    assert_once(stage)


def assert_once(stage: Stage) -> None:
    """The server saw at no time two live Jobs of one address, and made no attempt twice."""
    made = audit.creates(stage.cluster.folder, stage.namespace)
    if made:
        audit.never_two_live(stage.cluster.folder, stage.namespace)
    marks = Counter(each.object["metadata"]["labels"]["jobform.dev/mark"] for each in made)
    assert set(marks.values()) <= {1}, marks


def of(name: str) -> str:
    """The requests that change the Job of an address, and no dry-run of one."""
    return rf"/jobs/{name}-[0-9a-f]{{8}}-\d+(?!.*dryRun)"


def plain(result: Result, *words: str) -> None:
    """A failure that is told to people: no traceback, and these words."""
    said = result.stdout + result.stderr
    assert "Traceback" not in said, result
    for word in words:
        assert word in said, f"{word!r} is not in {result}"


# --- one request


def test_what_befalls_one_request_of_each_kind_is_made_good(wire: Stage, proxy: Proxy) -> None:
    jobs = {name: image_job(labels={"n": "1"}) for name in ONCE}
    wire.declare(jobs)
    rules = [proxy.rule(fault, "PATCH", of(name)) for name, fault in ONCE.items()]
    wire.begin("--parallelism", "4")
    wire.plan()
    assert set(wire.status()) == set(ONCE)
    assert len(wire.api.items(wire.path)) == len(ONCE)
    before = {it["metadata"]["name"]: it["metadata"]["uid"] for it in wire.api.items(wire.path)}
    assert [rule.hits for rule in rules] == [1] * len(ONCE)

    proxy.forget()
    wire.declare({name: image_job(labels={"n": "2"}) for name in ONCE})
    rules = [proxy.rule(fault, "PATCH", of(name)) for name, fault in ONCE.items()]
    wire.begin("--parallelism", "4")
    wire.plan()
    items = wire.api.items(wire.path)
    assert {it["metadata"]["name"]: it["metadata"]["uid"] for it in items} == before, "changed in place, none made again"
    assert {it["metadata"]["labels"]["n"] for it in items} == {"2"}
    assert [rule.hits for rule in rules] == [1] * len(ONCE)

    proxy.forget()
    rules = [proxy.rule(fault, "DELETE", of(name)) for name, fault in ONCE.items()]
    done = wire.run("destroy", "--auto-approve", "--parallelism", "4")
    assert done.exit == 0, done
    assert wire.api.items(wire.path) == []
    assert [rule.hits for rule in rules] == [1] * len(ONCE)


READS = (("lost-request", "reset-after", "half-answer"), ("error-before", "unavailable", "throttled"))


@pytest.mark.parametrize("names", READS, ids=["cut", "refused"])
def test_what_befalls_a_read_is_made_good(wire: Stage, proxy: Proxy, names: tuple[str, ...]) -> None:
    """Each read of a plan meets one fault after the other, and the list is too old once."""
    wire.declare({name: image_job() for name in ("a", "b", "c", "d")})
    wire.begin()
    proxy.forget()
    paths = (r"^/api/v1/namespaces/[^/?]+$", r"/jobs(\?|$)", r"/pods(\?|$)")
    rules = [proxy.rule(ONCE[names[-1]], "GET", paths[0])]  # one: a server that has never answered gets less patience
    rules += [proxy.rule(ONCE[name], "GET", path) for path in paths[1:] for name in names]
    rules += [proxy.rule(GONE, "GET", path) for path in paths[1:]]
    wire.plan()
    assert [rule.hits for rule in rules] == [1] * len(rules)


# --- nobody who answers as a cluster does


NOT_FOUND = refuse(404, status(404, "NotFound", "the server could not find the requested resource"))
ELSEWHERE = Fault(forward=False, answer="made", status=302, headers=(("Location", "https://login.example.com/?next=1"),))
STRANGE: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "page": (html(), ("200", "text/html", "login page or a proxy")),
    "redirect": (ELSEWHERE, ("redirects to login.example.com",)),
    "denied": (refuse(401, status(401, "Unauthorized", "Unauthorized")), ("does not accept", "log in again")),
    "lost": (NOT_FOUND, ("does not answer like a Kubernetes API server",)),
    "down": (refuse(503, status(503, "ServiceUnavailable", "down")), ("503",)),
    "silent": (delay(30.0), ("no answer in time",)),
}


def test_who_does_not_answer_as_a_cluster_does_changes_no_plan(wire: Stage, proxy: Proxy) -> None:
    """One diagnostic that says where and what; neither a plan to make everything nor a state that has moved."""
    wire.settings["timeout"] = "4s"
    wire.declare({name: image_job() for name in ("a", "b", "c")})
    wire.begin()
    before = (wire.directory / "jobform.state.json").read_bytes()
    for name, (fault, words) in STRANGE.items():
        proxy.forget()
        proxy.rule(fault, count=-1)
        for command in (("plan",), ("apply", "--auto-approve", "--detach")):
            said = wire.run(*command)
            assert said.exit == 1, f"{name}: {said}"
            plain(said, *words)
            assert said.stderr.count("error[") == 1, f"{name}: {said}"
            assert "to create" not in said.stdout
        assert (wire.directory / "jobform.state.json").read_bytes() == before, name
    proxy.forget()
    wire.plan()


def test_a_closed_port_is_told_with_its_host_and_without_a_secret(stage: Stage, cluster: Cluster) -> None:
    stage.declare({"a": image_job()})
    stage.begin()
    closed = cluster.kubeconfig_for("admin", namespace=stage.namespace, server="https://127.0.0.1:9")
    for command in (("plan",), ("apply", "--auto-approve")):
        said = stage.run(*command, KUBECONFIG=str(closed))
        assert said.exit == 1, said
        plain(said, "127.0.0.1:9", str(closed))
        assert cluster.access.token not in said.stdout + said.stderr
    stage.plan()


def test_a_certificate_of_somebody_else_is_refused(stage: Stage, cluster: Cluster, proxy: Proxy) -> None:
    """Although nothing has ever run there: a plan that would call a place proves it first."""
    stage.declare({"a": image_job()})
    other = cluster.kubeconfig_for("admin", namespace=stage.namespace, authority=proxy.access.authority)
    for command in (("plan",), ("apply", "--auto-approve")):
        said = stage.run(*command, KUBECONFIG=str(other))
        assert said.exit == 1, said
        plain(said, "no trusted connection", "certificate verify failed")
    assert not (stage.directory / "jobform.state.json").exists() or not stage.state()["jobs"]


def test_another_place_is_never_a_plan_to_make_everything(stage: Stage) -> None:
    """A namespace that does not exist, and one that does: the jobs of the state are not in it, and that is one mistake."""
    jobs = {name: image_job() for name in ("a", "b", "c")}
    stage.declare(jobs)
    stage.begin()
    other = stage.cluster.namespace()
    for namespace, words in (("nosuch-here", "does not exist"), (other, "runs somewhere else")):
        stage.settings["namespace"] = namespace
        stage.declare(jobs)
        for command in (("plan",), ("apply", "--auto-approve", "--detach")):
            said = stage.run(*command)
            assert said.exit == 1, said
            plain(said, namespace, words)
            assert said.stderr.count("error[") == 1, said
    assert stage.api.items(f"/apis/batch/v1/namespaces/{other}/jobs") == []
    stage.cluster.drop(other)


# --- in the middle of an apply


def test_silence_after_a_submission_took_effect_is_adopted(wire: Stage, proxy: Proxy) -> None:
    wire.settings["timeout"] = "2s"
    wire.declare({"slow": image_job(), "other": image_job()})
    proxy.rule(delay(20.0), "PATCH", of("slow"))
    wire.begin()
    assert len(wire.api.items(wire.path)) == 2
    wire.plan()


def test_a_token_that_ends_in_the_middle_is_renewed_once(wire: Stage, proxy: Proxy, tmp_path: Path) -> None:
    """By the credential plug-in, which is asked again; a second refusal is an error of those who could not be submitted."""
    kubeconfig = with_plugin(Path(wire.environ["KUBECONFIG"]), tmp_path)
    wire.environ["KUBECONFIG"] = str(kubeconfig)
    expired = refuse(401, status(401, "Unauthorized", "Unauthorized"))
    wire.declare({name: image_job() for name in ("a", "b", "c")})
    proxy.rule(expired, "PATCH", of("b"))
    wire.begin("--parallelism", "1")
    assert (tmp_path / "asked").read_text().count("x") == 2
    proxy.forget()
    wire.declare({name: image_job() for name in ("a", "b", "c", "d", "e")})
    proxy.rule(expired, "PATCH", of("e"), count=-1)
    said = wire.begin("--parallelism", "1", expect=7)
    plain(said, "in e", "does not accept", "log in again")
    assert len(wire.api.items(wire.path)) == 4
    proxy.forget()
    wire.begin()
    wire.plan()


def with_plugin(kubeconfig: Path, folder: Path) -> Path:
    """The same kubeconfig, whose token comes from a command that notes in `asked` that it was called."""
    content = yaml.safe_load(kubeconfig.read_text())
    token = content["users"][0]["user"].pop("token")
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    (folder / "credential.json").write_text(json.dumps(answer))
    script = folder / "plugin"
    script.write_text(f"#!/bin/sh\nprintf x >> {folder}/asked\ncat {folder}/credential.json\n")
    script.chmod(0o755)
    content["users"][0]["user"]["exec"] = {
        "apiVersion": "client.authentication.k8s.io/v1", "command": str(script), "interactiveMode": "Never",
    }
    made = folder / "plugin.kubeconfig"
    made.touch(0o600)
    made.write_text(yaml.safe_dump(content))
    return made


DENIED = refuse(403, status(403, "Forbidden", 'jobs.batch "b" is forbidden: User "ci" cannot patch resource "jobs"'))


def test_a_right_that_is_taken_in_the_middle_stops_that_job_alone(wire: Stage, proxy: Proxy) -> None:
    wire.declare({name: image_job() for name in ("a", "b", "c")})
    proxy.rule(DENIED, "PATCH", of("b"), count=-1)
    said = wire.begin("--parallelism", "1", expect=7)
    plain(said, "in b", 'User "ci" cannot patch')
    assert len(wire.api.items(wire.path)) == 2
    proxy.forget()
    wire.begin()
    wire.plan()


def test_a_server_that_stays_broken_leaves_nothing_unknown(wire: Stage, proxy: Proxy) -> None:
    """After every answer that may hide an effect the name is looked up: it is known that nothing was made."""
    wire.settings["timeout"] = "4s"
    wire.declare({"a": image_job(), "b": image_job()})
    proxy.rule(ONCE["error-before"], "PATCH", of("b"), count=-1)
    said = wire.run("apply", "--auto-approve", "--detach", "--timeout", "3s")
    assert said.exit in (7, 9), said
    plain(said, "b")
    assert len(wire.api.items(wire.path)) == 1
    proxy.forget()
    wire.begin()
    wire.plan()


BROUGHT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}


@pytest.mark.parametrize(("fault", "then"), [("denied", "destroy"), ("error-before", "removed")])
def test_a_submission_that_failed_leaves_no_companion(wire: Stage, proxy: Proxy, fault: str, then: str) -> None:
    """Also when it cannot be removed at once: the next command does it, even if that only removes the job."""
    wire.settings["timeout"] = "4s"
    wire.environ["JOBFORM_SECRET_KEY"] = "hunter2-and-then-some"
    keeps = image_job(nodes=2, env={"KEY": "{{ secret('KEY') }}"})
    wire.declare({"whole": inline(BROUGHT, document("whole")), "keeps": keeps, "other": image_job()})
    proxy.rule(DENIED if fault == "denied" else ONCE[fault], "PATCH", r"/jobs/(whole|keeps)(?!.*dryRun)", count=-1)
    proxy.rule(ONCE["error-before"], "DELETE", "/configmaps/settings", count=-1)
    said = wire.run("apply", "--auto-approve", "--detach", "--timeout", "2s")
    assert said.exit == 7, said
    assert wire.objects("secrets", "services") == []
    assert [each["metadata"]["name"] for each in wire.objects("configmaps")] == ["settings"]
    assert wire.judged(expect=0)["whole"] == ("create", "new"), "accepted, and nothing was submitted"
    proxy.forget()
    wire.declare({"other": image_job()})
    done = wire.run(*(("destroy",) if then == "destroy" else ("apply", "--detach")), "--auto-approve")
    assert done.exit == 0, done
    assert wire.objects("secrets", "services", "configmaps") == []
    assert len(wire.api.items(wire.path)) == (0 if then == "destroy" else 1)


@pytest.mark.slow
def test_an_api_server_that_restarts_while_an_apply_waits(own_cluster: Cluster, tmp_path: Path, warm: Warm) -> None:
    simulated = own_cluster.with_simulated(1)
    stage = Stage(tmp_path / "project", simulated, simulated.namespace(), warm=warm)
    stage.declare({"a": image_job(), "b": image_job()})
    waiting = stage.start("apply", "--auto-approve", "--timeout", "100s")
    try:
        stage.wait(lambda: stage.api.items(stage.path), lambda found: len(found) == 2)
        stage.running("a", "b")
        own_cluster.restart_apiserver()
        for address in ("a", "b"):
            stage.let_end(address)
        said, errors = waiting.communicate(timeout=110)
    finally:
        waiting.kill()
    assert waiting.returncode == 0, said + errors
    assert "Traceback" not in errors
    assert {each["phase"] for each in stage.status().values()} == {"succeeded"}
    assert_once(stage)
    stage.plan()


# --- what a cluster refuses


def test_a_webhook_that_cannot_be_asked_is_named(stage: Stage) -> None:
    hook = {
        "name": "gate.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "clientConfig": {"url": "https://127.0.0.1:9/gate"}, "timeoutSeconds": 2,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}],
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": stage.namespace}, "webhooks": [hook],
    }
    stage.declare({"a": image_job()})
    stage.api.create(path, body)
    try:
        stage.wait(lambda: refused(stage), lambda said: "gate.example.com" in said)
        said = stage.run("apply", "--auto-approve", "--detach", "--timeout", "20s")
        assert said.exit == 7, said
        plain(said, "gate.example.com")
        assert stage.api.items(stage.path) == []
    finally:
        stage.api.call("DELETE", f"{path}/{stage.namespace}")
    stage.wait(lambda: refused(stage), lambda said: not said)
    stage.begin()
    stage.plan()


def refused(stage: Stage) -> str:
    """What the server says now of a Job like ours; "" when it would take it."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"}, "spec": {"template": template}}
    try:
        stage.api.create(stage.path, body, dryRun="All")
    except ApiFailure as failure:
        return str(failure)
    return ""


def test_a_policy_that_refuses_is_told_in_the_plan(stage: Stage) -> None:
    group = "/apis/admissionregistration.k8s.io/v1"
    api, name = "admissionregistration.k8s.io/v1", stage.namespace
    labelled = {"expression": "'team' in object.metadata.?labels.orValue({})", "message": "say whose it is"}
    policy = {
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "validations": [labelled],
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]},
            ]},
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    binding = {
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": selector}},
    }
    stage.api.create(f"{group}/validatingadmissionpolicies", policy)
    stage.api.create(f"{group}/validatingadmissionpolicybindings", binding)
    try:
        stage.wait(lambda: refused(stage), lambda said: "whose" in said)
        stage.declare({"a": image_job(), "b": image_job(labels={"team": "vision"})})
        for command in (("plan",), ("apply", "--auto-approve", "--detach")):
            said = stage.run(*command)
            plain(said, "say whose it is", "a")
        assert said.exit == 7, said
        stage.declare({name: image_job(labels={"team": "vision"}) for name in ("a", "b")})
        stage.begin()
        stage.plan()
    finally:
        stage.api.call("DELETE", f"{group}/validatingadmissionpolicybindings/{name}")
        stage.api.call("DELETE", f"{group}/validatingadmissionpolicies/{name}")


def test_a_quota_of_jobs_is_told_and_the_rest_goes_on(stage: Stage) -> None:
    forbid(stage.api, stage.namespace, "few", "count/jobs.batch")
    allow(stage.api, stage.namespace, "few", "count/jobs.batch", 1)
    stage.declare({"a": image_job(), "b": image_job()})
    said = stage.begin("--parallelism", "1", expect=7)
    plain(said, "exceeded quota: few", "count/jobs.batch")
    assert len(stage.api.items(stage.path)) == 1
    allow(stage.api, stage.namespace, "few", "count/jobs.batch", 5)
    stage.begin()
    stage.plan()


def test_a_namespace_that_goes_takes_no_job_and_loses_none(stage: Stage) -> None:
    """Held open by an object with a finalizer, as a real one is for as long as its contents go."""
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    path = f"/api/v1/namespaces/{stage.namespace}/configmaps"
    stage.declare({"a": image_job()})
    stage.begin()
    job = f"{stage.path}/{stage.live('a')['metadata']['name']}"
    stage.api.create(path, held)
    stage.api.call("DELETE", f"/api/v1/namespaces/{stage.namespace}")
    try:
        stage.api.remove(job)  # what the controller does, at once or some seconds later
        stage.wait(lambda: stage.api.items(stage.path), lambda found: not found)
        for command in (("plan",), ("apply", "--auto-approve", "--detach")):
            said = stage.run(*command)
            plain(said, "0 to create", f"the namespace {stage.namespace} is being removed")
        assert stage.status()["a"]["phase"] == "pending", "nothing is concluded from what is not there any more"
        fresh = Stage(stage.directory.parent / "fresh", stage.cluster, stage.namespace, warm=stage.warm)
        fresh.declare({"b": image_job()})
        said = fresh.run("apply", "--auto-approve", "--detach")
        assert said.exit in (1, 7), said
        plain(said, "being terminated")
    finally:
        stage.api.merge(f"{path}/held", {"metadata": {"finalizers": None}})


def test_a_finalizer_that_holds_a_job_is_named_at_the_deadline(stage: Stage) -> None:
    stage.declare({"a": image_job()})
    stage.begin()
    path = f"{stage.path}/{stage.live('a')['metadata']['name']}"
    stage.api.merge(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    said = stage.run("destroy", "--auto-approve", "--allow-cancel", "*", "--timeout", "8s")  # time enough for a second look
    assert said.exit == 9, said
    plain(said, "example.com/hold")
    assert "example.com/hold" in stage.run("status").stdout
    stage.api.merge(path, {"metadata": {"finalizers": None}})
    said = stage.run("destroy", "--auto-approve", "--allow-cancel", "*")
    assert said.exit == 0, said
    assert stage.api.items(stage.path) == []


PASSING = Declared("faults.example.com", "v1", "Passing", "passings")
PASSING_KIND = {
    "api": PASSING.api, "plural": PASSING.plural, "status": [{"path": "status.state", "equals": ["Done"], "phase": "succeeded"}],
}


def test_a_kind_that_is_not_served_any_more_is_no_lost_job(stage: Stage) -> None:
    declare(stage.api, PASSING)
    stage.settings["kinds"] = {PASSING.kind: PASSING_KIND}
    body: Object = {"apiVersion": PASSING.api, "kind": PASSING.kind, "metadata": {}, "spec": {"x": 1}}
    stage.declare({"a": inline(body), "b": inline(body), "c": image_job()})
    stage.begin()
    stage.api.call("DELETE", f"{CRDS}/{PASSING.plural}.{PASSING.group}")
    stage.wait(lambda: served(stage), lambda it: not it)
    await_discovery(stage.api, PASSING, served=False)
    for command in (("plan",), ("apply", "--auto-approve", "--detach")):
        said = stage.run(*command)
        plain(said, "0 to create", f"does not serve {PASSING.kind} of {PASSING.api}")
        assert said.stdout.count("warning[not_read]") == 1, said
    assert stage.status()["a"]["phase"] == "pending"


def served(stage: Stage) -> Any:
    try:
        return stage.api.get(PASSING.path(stage.namespace))
    except ApiFailure as failure:
        return failure.status != 404
