"""What of a manifest is sent again as it was written, and what as it is now."""

from typing import Any

from jobform.backends.kubernetes.resend import resent
from jobform.model.values import Path
from tests.backends.kubernetes.desk import manifest
from tests.backends.kubernetes.specs import composed
from tests.cluster.api import Object

POD: Path = ("objects", "Job", "spec", "template", "spec")


def sent(spec: Object, live: Object, *changes: Path, owned: Object | None = None) -> Any:
    """The pod's spec in an update. live: what differs from the manifest in it now; owned: what of the Job is still ours."""
    made = composed(spec)
    now: Any = {**made.workload, "spec": {**made.workload["spec"], **live.pop("job", {})}}  # type: ignore[dict-item]  # a Job has a spec
    template = now["spec"]["template"]
    now["spec"]["template"] = {**template, "spec": {**template["spec"], **live}}
    now["metadata"] = {**now["metadata"], "uid": "u", "managedFields": [{
        "manager": "jobform", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {"f:spec": owned or {}}}},
    }]}
    body: Any = resent(made, now, changes)
    assert body["metadata"]["uid"] == "u"
    return body["spec"]["template"]["spec"]


def with_pod(**pod: Any) -> Object:
    spec = manifest("train")
    spec["objects"]["Job"]["spec"]["template"]["spec"] |= pod
    return spec


OWN = [{"key": "own"}]
BOTH = [{"key": "own"}, {"key": "injected"}]


def test_what_a_webhook_changed_stays_when_something_else_changes() -> None:
    spec = with_pod(tolerations=OWN, nodeSelector={"zone": "a"})
    container = spec["objects"]["Job"]["spec"]["template"]["spec"]["containers"][0]
    pulled = {**container, "imagePullPolicy": "Always", "image": "mirror/x"}
    live = {"tolerations": BOTH, "nodeSelector": {"zone": "a", "arch": "amd64"}, "containers": [{"name": "sidecar"}, pulled]}
    found = sent(spec, live, ("objects", "Job", "metadata", "labels", "team"))
    assert found["tolerations"] == BOTH
    assert found["nodeSelector"] == {"zone": "a", "arch": "amd64"}
    assert found["containers"] == [{**container, "image": "mirror/x"}], "nothing is taken over that was not applied"


def test_what_is_to_change_is_sent_as_it_is_written() -> None:
    spec = with_pod(tolerations=OWN, nodeSelector={"zone": "b"})
    found = sent(spec, {"tolerations": BOTH, "nodeSelector": {"zone": "a"}}, (*POD, "nodeSelector", "zone"))
    assert (found["tolerations"], found["nodeSelector"]) == (BOTH, {"zone": "b"})
    image = sent(spec, {}, (*POD, "containers", "[name=main]", "image"))
    assert image["containers"] == spec["objects"]["Job"]["spec"]["template"]["spec"]["containers"]


def test_what_somebody_took_while_it_is_suspended_is_taken_back() -> None:
    spec = with_pod(tolerations=OWN, nodeSelector={"zone": "a"})
    live = {"job": {"suspend": True}, "tolerations": BOTH, "nodeSelector": {"zone": "x"}}
    found = sent(spec, live, owned={"f:tolerations": {}})
    assert (found["tolerations"], found["nodeSelector"]) == (BOTH, {"zone": "a"})
