"""Companions on a real API server: what somebody else changed in them is told like a change of the workload, and set back."""

import base64
from contextlib import closing
from typing import Any

import pytest

from jobform.backends.kubernetes.refs import JobRef
from jobform.protocols import Difference, Ref, Submission
from tests.backends.kubernetes.desk import Desk, job, manifest
from tests.backends.kubernetes.test_differences import told
from tests.backends.kubernetes.test_submit import CONFIG, named
from tests.cluster.api import Object

SETTINGS = ("objects", "ConfigMap/settings")
TOKEN = {"expr": "{{ secret('T') }}", "with": {}}
SECRET: Object = {
    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"a": "one"},
    "data": {"b": base64.b64encode(b"two").decode()},
}
CLAIM: Object = {
    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
}
SERVICE: Object = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"},
    "spec": {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]},
}
ACCOUNT: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner"}}


def path(desk: Desk, plural: str, name: str) -> str:
    return f"/api/v1/namespaces/{desk.namespace}/{plural}/{name}"


def edit(desk: Desk, body: Object, plural: str = "configmaps", name: str = "settings") -> None:
    desk.api.merge(path(desk, plural, name), body, manager="kubectl-edit")


def test_what_the_server_fills_in_is_no_drift(desk: Desk) -> None:
    spec = manifest("", CONFIG, SECRET, CLAIM, SERVICE, ACCOUNT)
    ref = desk.submit(spec)
    assert told(desk, spec, ref) == []
    own = job(nodes=2, env={"TOKEN": "s3cret"})
    mark = desk.mark("own")
    made = desk.backend.submit(Submission("own", own, {**own, "env": {"TOKEN": TOKEN}}), mark)
    assert len(JobRef.parse(made).companions) == 2
    assert told(desk, {**own, "env": {"TOKEN": TOKEN}}, made) == []


@pytest.mark.parametrize(("patch", "expected"), [
    ({"data": {"a": "2"}}, Difference((*SETTINGS, "data", "a"), "2", by="kubectl-edit", settable=True)),
    ({"data": {"a": None}}, Difference((*SETTINGS, "data", "a"), None, False, settable=True)),
    ({"metadata": {"labels": {"jobform.dev/lineage": None}}},
     Difference((*SETTINGS, "metadata", "labels", "jobform.dev/lineage"), None, False, settable=True)),
], ids=str)
def test_a_change_by_somebody_else_is_told_and_set_back(desk: Desk, patch: Object, expected: Difference) -> None:
    spec = manifest("", CONFIG)
    ref = desk.submit(spec)
    before = desk.api.get(path(desk, "configmaps", "settings"))
    edit(desk, patch)
    assert told(desk, spec, ref) == [expected]
    desk.backend.update(ref, Submission("job", spec), desk.actual(ref))
    assert told(desk, spec, ref) == []
    after = desk.api.get(path(desk, "configmaps", "settings"))
    assert (after["data"], after["metadata"]["labels"]) == (before["data"], before["metadata"]["labels"])


def test_what_others_add_and_what_they_set_to_what_it_was_is_no_drift(desk: Desk) -> None:
    spec = manifest("", CONFIG)
    ref = desk.submit(spec)
    edit(desk, {"data": {"more": "x"}, "metadata": {"labels": {"theirs": "y"}}})
    edit(desk, {"data": {"a": "2"}})
    edit(desk, {"data": {"a": "1"}})
    assert told(desk, spec, ref) == []


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made-again"])
def test_one_that_was_removed_is_told_and_not_made_again(desk: Desk, again: bool) -> None:
    spec = manifest("", CONFIG)
    ref = desk.submit(spec)
    desk.api.delete(path(desk, "configmaps", "settings"))
    if again:
        desk.api.create(path(desk, "configmaps", "settings").rsplit("/", 1)[0], CONFIG)
    assert told(desk, spec, ref) == [Difference(SETTINGS, None, False)]


def test_the_values_of_a_secret_are_never_told(desk: Desk) -> None:
    spec = manifest("", SECRET)
    ref = desk.submit(spec)
    edit(desk, {"stringData": {"a": "s3cret"}, "data": {"b": None}}, "secrets", "keys")
    found = told(desk, spec, ref)
    assert all(each.value is None for each in found)
    assert {(each.path[2:], each.present) for each in found} == {(("stringData", "a"), True), (("data", "b"), False)}


def test_a_secret_of_a_manifest_whose_values_are_not_kept(desk: Desk) -> None:
    """What was applied is not known any more: whose it is now is what tells."""
    spec, described = manifest("", SECRET), manifest("", {**SECRET, "stringData": {"a": TOKEN}})
    ref = desk.backend.submit(Submission("job", spec, described), desk.mark())
    assert told(desk, described, ref) == []
    edit(desk, {"stringData": {"a": "other"}}, "secrets", "keys")
    assert [(each.path[2:], each.by) for each in told(desk, described, ref)] == [(("stringData", "a"), "kubectl-edit")]
    desk.backend.update(ref, Submission("job", spec, described), desk.actual(ref))
    assert told(desk, described, ref) == []
    assert desk.api.get(path(desk, "secrets", "keys"))["data"]["a"] == base64.b64encode(b"one").decode()


def test_a_value_that_is_dropped_from_a_secret_goes(desk: Desk) -> None:
    desk.submit(manifest("", {**SECRET, "stringData": {"a": "one", "old": "s3cret"}}), desk.mark())
    desk.submit(manifest("", SECRET), desk.mark(attempt=2))
    assert set(desk.api.get(path(desk, "secrets", "keys"))["data"]) == {"a", "b"}


def test_what_jobform_makes_itself_is_told_at_the_field_that_it_is_for(desk: Desk) -> None:
    spec, described = job(nodes=2, env={"TOKEN": "s3cret"}), job(nodes=2, env={"TOKEN": TOKEN})
    ref = desk.backend.submit(Submission("job", spec, described), desk.mark())
    name = JobRef.parse(ref).name
    edit(desk, {"stringData": {"TOKEN": "other"}}, "secrets", name)
    desk.api.delete(path(desk, "services", name))
    assert told(desk, described, ref) == [
        Difference(("env", "TOKEN"), f"Secret {name}: data.TOKEN is another", by="kubectl-edit"),
        Difference(("nodes",), f"Service {name} is gone"),
    ]


def test_nothing_is_told_of_what_goes_with_a_run_that_is_being_stopped(desk: Desk) -> None:
    spec, described = job(nodes=2, env={"TOKEN": "s3cret"}), job(nodes=2, env={"TOKEN": TOKEN})
    ref = desk.backend.submit(Submission("job", spec, described), desk.mark())
    name = JobRef.parse(ref).name
    desk.api.merge(f"{desk.jobs}/{name}", {"metadata": {"finalizers": ["example.com/hold"]}})
    desk.backend.cancel(ref, only_if_waiting=True)
    desk.until(lambda: desk.api.maybe(path(desk, "secrets", name)), lambda found: found is None)
    assert told(desk, described, ref) == []
    desk.api.merge(f"{desk.jobs}/{name}", {"metadata": {"finalizers": None}})


class Asked(list[str]):
    """The paths of what a backend asks."""

    def __init__(self, backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        client = backend._site.client
        request = client.request

        def noted(method: str, asked: str, **more: Any) -> Any:
            self.append(asked)
            return request(method, asked, **more)

        monkeypatch.setattr(client, "request", noted)


def many(desk: Desk, count: int) -> list[tuple[Ref, Object]]:
    found = []
    for number in range(count):
        config = {**CONFIG, "metadata": {"name": f"settings-{number}"}}
        spec = manifest("", config)
        found.append((desk.submit(spec, desk.mark(f"job-{number}"), f"job-{number}"), spec))
    return found


def test_many_are_read_in_one_list_and_again_for_the_next_look(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = many(desk, 4)
    edit(desk, {"data": {"a": "2"}}, name="settings-1")
    edit(desk, {"metadata": {"labels": {"jobform.dev/lineage": None}}}, name="settings-2")
    desk.api.delete(path(desk, "configmaps", "settings-3"))
    backend = desk.open()
    asked = Asked(backend, monkeypatch)

    def look() -> list[int]:
        answers = backend.read([ref for ref, _ in runs])
        assert not any("configmaps" in each for each in asked), "whoever does not compare does not ask"
        return [len(list(backend.differences(spec, answers[ref]))) for ref, spec in runs]

    assert look() == [0, 1, 1, 1]
    configs = [each.rpartition("/")[2] for each in asked if "configmaps" in each]
    assert configs == ["configmaps", "settings-2", "settings-3"], "what a list lacks is asked for before it counts as gone"
    asked.clear()
    edit(desk, {"data": {"a": "2"}}, name="settings-0")
    assert look() == [1, 1, 1, 1]


def test_a_run_without_companions_asks_for_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = desk.submit(job())
    backend = desk.open()
    actual = backend.read([ref])[ref]
    asked = Asked(backend, monkeypatch)
    assert list(backend.differences(job(), actual)) == []
    assert asked == []


def test_what_may_not_be_read_is_not_compared(desk: Desk) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "jobs-only"}, "rules": [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list"]},
    ]}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "jobs-only"},
        "subjects": [{"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "jobs-only"},
    }
    for plural, body in (("roles", role), ("rolebindings", binding)):
        desk.api.create(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{desk.namespace}/{plural}", body)
    spec = manifest("", CONFIG)
    ref = desk.submit(spec)
    edit(desk, {"data": {"a": "2"}})
    with closing(Desk(desk.cluster, desk.namespace, user="nobody")) as other:
        other.until(lambda: other.read(ref), lambda answer: hasattr(answer, "phase"))
        assert told(other, spec, ref) == []


def test_a_run_that_is_taken_over_is_compared_with_what_it_has(desk: Desk) -> None:
    desk.submit(manifest("mine", CONFIG, SECRET), named(desk, "mine"))
    sighting = desk.backend.lookup("mine")
    assert sighting is not None
    same = manifest("mine", CONFIG, {**SECRET, "stringData": {"a": TOKEN}})
    assert list(desk.backend.differences(same, sighting.actual)) == [], "what is not known is nothing to compare with"
    other = manifest("mine", {**CONFIG, "data": {"a": "3"}}, SECRET)
    found = list(desk.backend.differences(other, sighting.actual))
    assert [(each.path, each.value) for each in found] == [((*SETTINGS, "data", "a"), "1")]
