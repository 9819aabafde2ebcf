"""What others do to objects of jobs: what is told, what is set back, and what is nobody's business."""

from typing import Any

from tests.cluster.cluster import Cluster
from tests.kubernetes.stage import Stage, document, image_job, inline
from tests.backends.kubernetes.policies import injecting


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
        "time": image_job(timeout="1h"), "ignored": image_job(labels={"team": "vision"}, timeout="1h", ignore_drift=["labels", "timeout"]),
        "gone": image_job(labels={"team": "vision"}),
    })
    play.begin()
    play.running("label", "count", "time", "ignored", "gone")

    def path(address: str) -> str:
        return f"{play.path}/{play.live(address)['metadata']['name']}"

    play.patch(path("label"), {"metadata": {"labels": {"team": "audio"}}}, "kubectl-label")
    play.patch(path("gone"), {"metadata": {"labels": {"team": None}}}, "kubectl-label")
    play.patch(path("count"), {"spec": {"parallelism": 2}}, "kubectl-patch")
    play.patch(path("time"), {"spec": {"activeDeadlineSeconds": 60}}, "kubectl-edit")
    play.patch(path("ignored"), {"spec": {"activeDeadlineSeconds": 60}, "metadata": {"labels": {"team": "audio"}}}, "kubectl-edit")
    made = play.changes()
    assert {name: (each["action"], each["reason"]) for name, each in made.items()} == {
        "label": ("update", "drifted"), "count": ("update", "drifted"), "time": ("update", "drifted"),
        "ignored": ("no-op", "in_progress"), "gone": ("update", "drifted"),
    }
    told = {
        name: {field["path"]: (field["before"], field["after"], field["by"]) for field in each["fields"]} for name, each in made.items()
    }
    assert told["label"] == {"spec.labels.team": ("vision", "audio", "kubectl-label")}
    assert told["count"] == {"spec.objects.Job.spec.parallelism": (1, 2, "kubectl-patch")}
    assert told["time"] == {"spec.timeout": ("1h", 60, "kubectl-edit")}
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
    assert play.live("ignored")["spec"]["activeDeadlineSeconds"] == 60


def test_a_server_that_was_started_again_changes_nothing(own_cluster: Cluster, tmp_path: Any, warm: Any) -> None:
    stage = Stage(tmp_path / "project", own_cluster, own_cluster.namespace(), warm=warm)
    stage.declare({"own": image_job(), "whole": inline(document())})
    stage.begin()
    own_cluster.restart_apiserver()
    stage.plan()
    assert {each["phase"] for each in stage.status().values()} == {"pending"}
