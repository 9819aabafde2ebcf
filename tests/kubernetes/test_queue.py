"""Jobs in a queue: held back, admitted, evicted, ended; and what a plan makes of each change meanwhile."""

from typing import Any

import pytest

from tests.backends.kubernetes.policies import refusing
from tests.cluster.api import Object
from tests.cluster.kueue import GPU, GROUP, LOCAL_QUEUE, MAX_TIME_LABEL, QUEUE_LABEL, Kueue, install
from tests.kubernetes.stage import Stage, document, image_job, inline

PRODUCT = "NVIDIA-H100-80GB-HBM3"
FLAVOR: dict[str, Any] = {
    "node_labels": {"nvidia.com/gpu.product": PRODUCT},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
}


def gpus(count: int, **more: Any) -> Object:
    """A job of the vocabulary in the queue."""
    return image_job(more.pop("end", "never"), resources={"gpu": {"count": count}}, queue=more.pop("queue", "q"), **more)


def whole(count: int, end: str = "never", **more: Any) -> Object:
    """The same as a manifest, with a selector and tolerations of its own, into which admission merges the flavour's."""
    made = document(end=end, labels={QUEUE_LABEL: "q", **more.pop("labels", {})}, **more)
    spec = made["spec"]["template"]["spec"]
    spec |= {"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "own", "operator": "Exists"}]}
    spec["containers"][0]["resources"] = {"limits": {GPU: str(count)}}
    return made


@pytest.fixture
def queued(play: Stage) -> Stage:
    install(play.api)
    return play


def install_queue(stage: Stage, kueue: Kueue, name: str) -> None:
    spec = {"clusterQueue": kueue.cluster_queue}
    body = {"apiVersion": LOCAL_QUEUE.api, "kind": "LocalQueue", "metadata": {"name": name}, "spec": spec}
    stage.api.apply(LOCAL_QUEUE.path(stage.namespace, name), body)


def held(stage: Stage, address: str) -> bool:
    return bool(stage.live(address)["spec"]["suspend"])


def stopped(statuses: list[Object]) -> bool:
    """The Job controller has done what the queue asked for: none of their pods is left."""
    return not any(status.get(key) for status in statuses for key in ("active", "ready", "terminating"))


def suspends_sent(stage: Stage) -> list[str]:
    """Who owns `suspend` of a Job of the namespace by an apply."""
    return [
        entry["manager"] for job in stage.api.items(stage.path) for entry in job["metadata"]["managedFields"]
        if "f:suspend" in entry["fieldsV1"].get("f:spec", {}) and entry["manager"] != "kueue"
    ]


def test_no_plan_shows_what_a_queue_does(queued: Stage) -> None:
    with Kueue(queued.cluster, queued.namespace, hold=True, **FLAVOR) as kueue:
        queued.declare({
            "own": gpus(1, node_selector={"nvidia.com/gpu.product": PRODUCT}), "whole": inline(whole(1)),
            "short": gpus(1, end=""),
        })
        queued.begin()
        queued.plan()
        seen = queued.until(lambda seen: all("queued" in each["detail"] for each in seen.values()))
        assert {each["phase"] for each in seen.values()} == {"pending"}
        queued.until(lambda seen: "1 more needed" in seen["own"]["detail"] and "queue q" in seen["own"]["detail"])
        kueue.hold = False
        queued.running("own", "whole")
        queued.reach({"short": "succeeded", "own": "running", "whole": "running"})
        queued.plan()
        template = queued.live("whole")["spec"]["template"]
        assert template["spec"]["nodeSelector"] == {"zone": "a", "nvidia.com/gpu.product": PRODUCT}, "the flavour was merged in"
        kueue.hold = True
        for address in ("own", "whole"):
            kueue.evict(queued.live(address)["metadata"]["name"])
        queued.wait(lambda: held(queued, "own") and held(queued, "whole"), bool)
        queued.wait(lambda: queued.live("own")["spec"]["template"]["metadata"], lambda found: f"{GROUP}/podset" not in str(found))
        queued.wait(lambda: [queued.live(name)["status"] for name in ("own", "whole")], stopped)
        queued.plan()
        queued.until(lambda seen: "evicted (Preempted" in seen["own"]["detail"])
        kueue.hold = False
        queued.running("own")
        queued.plan()
        queued.let_end("own")
        queued.reach({"own": "succeeded"})
        queued.begin()
        queued.plan()
        assert not suspends_sent(queued), "suspend is the queue's"


IMMUTABLE = f"metadata.labels[{QUEUE_LABEL}]: Invalid value: field is immutable"
LABEL = f"metadata.labels[?'{QUEUE_LABEL}'].orValue('')"
SAME_QUEUE = (
    "request.operation == 'CREATE' ? !('probe' in object.metadata.labels) : "
    f"oldObject.spec.suspend || object.{LABEL} == oldObject.{LABEL}"
)
"""What Kueue's webhook asks of an update."""


def test_changes_of_what_waits_in_a_queue(queued: Stage) -> None:
    with Kueue(queued.cluster, queued.namespace, hold=True), Kueue(queued.cluster, queued.namespace, queue="q2", hold=True):
        queued.declare({
            "queue": gpus(1), "drop": gpus(1), "count": gpus(1, indexed=True, completions=2, parallelism=2),
            "label": inline(whole(1)), "place": gpus(1, node_selector={"zone": "b"}), "untold": inline(whole(1)),
        })
        queued.begin()
        queued.until(lambda seen: all("queued" in each["detail"] for each in seen.values()))
        bare = whole(1)
        del bare["metadata"]["labels"]
        queued.declare({
            "queue": gpus(1, queue="q2"), "drop": image_job(resources={"gpu": {"count": 1}}),
            "count": gpus(1, indexed=True, completions=2, parallelism=1),
            "label": inline(whole(1, labels={QUEUE_LABEL: "q2"})), "place": gpus(1, node_selector={"zone": "a"}),
            "untold": inline(bare),
        })
        assert queued.judged() == {
            "queue": ("update", "spec_changed"), "drop": ("replace", "spec_changed"), "count": ("update", "spec_changed"),
            "label": ("update", "spec_changed"), "place": ("update", "spec_changed"), "untold": ("replace", "spec_changed"),
        }
        queued.begin()
        queued.plan()
        assert queued.live("queue")["metadata"]["labels"][QUEUE_LABEL] == "q2"
        assert queued.live("label")["metadata"]["labels"][QUEUE_LABEL] == "q2"
        assert queued.live("place")["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
        assert {held(queued, name) for name in ("queue", "label", "place", "count")} == {True}
        for name in ("drop", "untold"):
            queued.attempt(name, 2)
            assert not held(queued, name)
        assert not suspends_sent(queued)


def test_changes_of_what_a_queue_runs(queued: Stage) -> None:
    indexed: dict[str, Any] = {"indexed": True, "completions": 2}
    free: dict[str, Any] = {"completions": 3}
    with Kueue(queued.cluster, queued.namespace, quota=8) as kueue, \
            refusing(queued.api, queued.namespace, SAME_QUEUE, IMMUTABLE):
        queued.declare({
            "queue": gpus(1), "drop": gpus(1), "count": gpus(1, parallelism=2, **indexed), "label": inline(whole(1)),
            "free": image_job(parallelism=2, **free), "note": gpus(1, annotations={"a": "1"}),
        })
        queued.begin()
        queued.running("queue", "drop", "count", "label", "free", "note")
        queued.plan()
        queued.declare({
            "queue": gpus(1, queue="q2"), "drop": image_job(resources={"gpu": {"count": 1}}),
            "count": gpus(1, parallelism=1, **indexed), "label": inline(whole(1, labels={QUEUE_LABEL: "q2"})),
            "free": image_job(parallelism=1, **free), "note": gpus(1, annotations={"a": "2"}),
        })
        install_queue(queued, kueue, "q2")
        made = queued.changes()
        assert {name: (each["action"], each["reason"]) for name, each in made.items()} == {
            "queue": ("update", "next_attempt"), "drop": ("update", "next_attempt"), "label": ("update", "next_attempt"),
            "count": ("block", "live"), "free": ("update", "spec_changed"), "note": ("update", "spec_changed"),
        }
        assert "its queue stops all its pods" in made["count"]["detail"]
        uids = {name: queued.live(name)["metadata"]["uid"] for name in made}
        queued.begin(expect=7)
        assert {name: queued.live(name)["metadata"]["uid"] for name in uids} == uids, "nothing was stopped"
        done = ("no-op", "in_progress")
        assert queued.judged() == dict.fromkeys(made, done) | {"count": ("block", "live")}
        assert queued.judged("--allow-cancel", "count")["count"] == ("replace", "spec_changed")
        assert queued.live("label")["metadata"]["labels"][QUEUE_LABEL] == "q"
        assert queued.live("free")["spec"]["parallelism"] == 1
        assert queued.live("note")["metadata"]["annotations"]["a"] == "2"
        assert not suspends_sent(queued)


def test_what_a_queue_will_never_run_is_told_at_once(queued: Stage) -> None:
    with Kueue(queued.cluster, queued.namespace):
        queued.declare({
            "nowhere": gpus(1, queue="nosuch"), "unranked": gpus(1, queue_priority="nosuch"), "huge": gpus(64),
            "whole": inline(document(labels={QUEUE_LABEL: "missing"})),
        })
        made = queued.changes()
        assert {name: (each["action"], each["reason"]) for name, each in made.items()} == {
            "nowhere": ("block", "refused"), "unranked": ("block", "refused"), "whole": ("block", "refused"),
            "huge": ("create", "new"),
        }
        assert made["nowhere"]["detail"] == f"there is no LocalQueue nosuch in namespace {queued.namespace}"
        assert made["unranked"]["detail"] == "there is no WorkloadPriorityClass nosuch"
        for name, word in (("nowhere", "nosuch"), ("unranked", "nosuch"), ("whole", "missing")):
            where = made[name]["range"]
            assert word in (queued.directory / where["file"]).read_text().splitlines()[where["line"] - 1], made[name]
            assert made[name]["hint"].startswith("the job would wait for ever")
        queued.declare({"huge": gpus(64)})
        queued.begin()
        queued.until(lambda seen: "will never fit" in seen["huge"]["detail"])
        queued.plan()


def test_time_and_deactivation(queued: Stage) -> None:
    with Kueue(queued.cluster, queued.namespace) as kueue:
        queued.declare({"timed": inline(whole(1, labels={MAX_TIME_LABEL: "1"})), "off": gpus(1)})
        queued.begin()
        queued.running("off")
        kueue.activate(queued.live("off")["metadata"]["name"], False)
        queued.wait(lambda: held(queued, "off"), bool)
        queued.until(lambda seen: "deactivated" in seen["off"]["detail"])
        seen = queued.until(lambda seen: seen["timed"]["phase"] == "failed")
        assert seen["timed"]["class"] == "timeout"
        assert queued.judged(expect=0) == {"off": ("no-op", "in_progress"), "timed": ("hold", "failed")}
