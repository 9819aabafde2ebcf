"""What others do to objects of jobs: what is told, what is set back, and what is nobody's business."""

from typing import Any

from tests.backends.kubernetes.policies import injecting, patching
from tests.cluster.cluster import Cluster
from tests.kubernetes.stage import Stage, document, image_job, inline

PATCHES = """[
    JSONPatch{op: "replace", path: "/metadata/labels/patched", value: "yes"},
    JSONPatch{op: "add", path: "/spec/template/spec/tolerations/-",
              value: Object.spec.template.spec.tolerations{key: "injected", operator: "Exists"}},
    JSONPatch{op: "add", path: "/spec/template/spec/nodeSelector/kubernetes.io~1arch", value: "amd64"},
    JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/imagePullPolicy", value: "IfNotPresent"}
]"""


def test_what_webhooks_put_in_is_no_drift(play: Stage) -> None:
    """Labels, environment, tolerations, selectors, pull policies that nobody wrote: no plan ever shows them."""
    with injecting(play.api, play.namespace):
        play.declare({
            "own": image_job(env={"A": "1"}), "whole": inline(document()), "short": image_job("", env={"B": "2"}),
            "bad": inline(document(end="exit", code=3)),
        })
        play.begin()
        play.plan()
        play.running("own", "whole")
        job = play.live("own")
        assert job["metadata"]["labels"]["team"] == "injected", "the policy acts"
        assert job["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"]
        play.plan()
        play.reach({"short": "succeeded", "bad": "failed"})
        play.begin(expect=8)
        play.plan()


def test_what_webhooks_put_into_fields_of_ours_is_no_drift(stage: Stage) -> None:
    """Lists and maps that are one field each, such as tolerations: the webhook adds to what was applied, and owns it then."""
    whole = document(labels={"patched": "no"})
    pod = whole["spec"]["template"]["spec"]
    pod |= {"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "own", "operator": "Exists"}]}
    pod["containers"][0]["imagePullPolicy"] = "Never"
    own = image_job(
        node_selector={"zone": "a"}, tolerations=[{"key": "own", "operator": "Exists"}], image_pull_policy="Never",
        labels={"patched": "no"},
    )
    with patching(stage.api, stage.namespace, PATCHES, whole):
        stage.declare({"whole": inline(whole), "own": own})
        stage.begin()
        for address in ("whole", "own"):
            job = stage.live(address)
            assert len(job["spec"]["template"]["spec"]["tolerations"]) == 2, "the policy acts"
        stage.plan()
        whole["metadata"]["labels"]["team"] = own["spec"]["labels"]["team"] = "vision"
        stage.declare({"whole": inline(whole), "own": own})
        assert stage.judged() == dict.fromkeys(("whole", "own"), ("update", "spec_changed"))
        stage.begin()
        assert {stage.live(name)["metadata"]["labels"]["team"] for name in ("whole", "own")} == {"vision"}
        assert len(stage.live("own")["spec"]["template"]["spec"]["tolerations"]) == 2, "nobody can change it now"
        stage.plan()


def test_annotations_and_labels_of_others_are_no_drift(play: Stage) -> None:
    play.declare({"own": image_job(labels={"team": "vision"}), "whole": inline(document(labels={"team": "vision"}))})
    play.begin()
    play.running("own", "whole")
    for address in ("own", "whole"):
        path = f"{play.path}/{play.live(address)['metadata']['name']}"
        play.patch(path, {"metadata": {"annotations": {"note": "mine"}, "labels": {"cost": "42"}}}, "kubectl-annotate")
    play.plan()


def test_a_changed_field_of_ours_is_told_with_its_manager_and_set_back(play: Stage) -> None:
    play.declare({
        "label": image_job(labels={"team": "vision"}), "count": inline(document(parallelism=1, completions=2)),
        "time": image_job(timeout="1h"),
        "ignored": image_job(labels={"team": "vision"}, timeout="1h", ignore_drift=["labels", "timeout"]),
        "gone": image_job(labels={"team": "vision"}),
    })
    play.begin()
    play.running("label", "count", "time", "ignored", "gone")

    def path(address: str) -> str:
        return f"{play.path}/{play.live(address)['metadata']['name']}"

    play.patch(path("label"), {"metadata": {"labels": {"team": "audio"}}}, "kubectl-label")
    play.patch(path("gone"), {"metadata": {"labels": {"team": None}}}, "kubectl-label")
    play.patch(path("count"), {"spec": {"parallelism": 2}}, "kubectl-patch")
    play.patch(path("time"), {"spec": {"activeDeadlineSeconds": 1800}}, "kubectl-edit")
    both = {"spec": {"activeDeadlineSeconds": 1800}, "metadata": {"labels": {"team": "audio"}}}
    play.patch(path("ignored"), both, "kubectl-edit")
    made = play.changes()
    assert {name: (each["action"], each["reason"]) for name, each in made.items()} == {
        "label": ("update", "drifted"), "count": ("update", "drifted"), "time": ("update", "drifted"),
        "ignored": ("no-op", "in_progress"), "gone": ("update", "drifted"),
    }
    told = {
        name: {field["path"]: (field["before"], field["after"], field["by"]) for field in each["fields"]}
        for name, each in made.items()
    }
    assert told["label"] == {"spec.labels.team": ("vision", "audio", "kubectl-label")}
    assert told["count"] == {"spec.objects.Job.spec.parallelism": (1, 2, "kubectl-patch")}
    assert told["time"] == {"spec.timeout": ("1h", 1800, "kubectl-edit")}
    human = play.run("plan").stdout
    markdown = play.run("plan", "--format", "markdown").stdout
    for text in (human, markdown):
        assert all(who in text for who in ("kubectl-label", "kubectl-patch", "kubectl-edit")), text
    play.begin()
    play.plan()
    assert play.live("label")["metadata"]["labels"]["team"] == "vision"
    assert play.live("gone")["metadata"]["labels"]["team"] == "vision"
    assert play.live("count")["spec"]["parallelism"] == 1
    assert play.live("time")["spec"]["activeDeadlineSeconds"] == 3600
    assert play.live("ignored")["spec"]["activeDeadlineSeconds"] == 1800


def test_a_companion_that_somebody_changes_is_set_back_while_its_job_has_not_ended(play: Stage) -> None:
    """It is part of what the job runs with. What has succeeded has succeeded with what it had."""
    configs = f"/api/v1/namespaces/{play.namespace}/configmaps"

    def brought(name: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"lr": "0.1"}}

    def waiting(name: str) -> dict[str, Any]:
        made = document(name)
        made["spec"]["template"]["spec"]["schedulerName"] = "nobody"
        return made

    jobs = {
        "runs": inline(brought("of-runs"), document("runs")), "waits": inline(brought("of-waits"), waiting("waits")),
        "over": inline(brought("of-over"), document("over", end="")),
        "left": inline(brought("of-left"), document("left"), ignore_drift=["objects.ConfigMap/of-left.data"]),
        "gone": inline(brought("of-gone"), document("gone")),
    }
    play.declare(jobs)
    play.begin()
    play.running("runs", "left", "gone")
    play.reach({"over": "succeeded", "waits": "pending"})
    play.begin()
    for name in ("runs", "waits", "over", "left"):
        play.patch(f"{configs}/of-{name}", {"data": {"lr": "0.2"}}, "kubectl-edit")
    play.api.delete(f"{configs}/of-gone")
    made = play.changes()
    assert {name: (each["action"], each["reason"]) for name, each in made.items()} == {
        "runs": ("update", "drifted"), "waits": ("update", "drifted"), "over": ("no-op", "unchanged"),
        "left": ("no-op", "in_progress"), "gone": ("no-op", "drifted"),
    }
    (field,) = made["runs"]["fields"]
    assert field["path"] == "spec.objects.ConfigMap/of-runs.data.lr"
    assert (field["before"], field["after"], field["by"]) == ("0.1", "0.2", "kubectl-edit")
    play.begin()
    assert play.judged(expect=0)["runs"] == ("no-op", "in_progress")
    values = {name: play.api.get(f"{configs}/of-{name}")["data"]["lr"] for name in ("runs", "waits", "over", "left")}
    assert values == {"runs": "0.1", "waits": "0.1", "over": "0.2", "left": "0.2"}
    jobs["runs"] = inline(brought("of-runs") | {"data": {"lr": "0.3"}}, document("runs"))
    play.declare(jobs)
    assert play.judged()["runs"] == ("block", "live"), "what is declared anew needs another attempt"


def test_a_server_that_was_started_again_changes_nothing(own_cluster: Cluster, tmp_path: Any, warm: Any) -> None:
    stage = Stage(tmp_path / "project", own_cluster, own_cluster.namespace(), warm=warm)
    stage.declare({"own": image_job(), "whole": inline(document())})
    stage.begin()
    own_cluster.restart_apiserver()
    stage.plan()
    assert {each["phase"] for each in stage.status().values()} == {"pending"}
