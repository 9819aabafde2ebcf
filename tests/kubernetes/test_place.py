"""The place of a job in its queue, by Kueue's visibility API behind the real API server's aggregation."""

import threading
from pathlib import Path

import pytest

from tests.cluster.kueue import Kueue, install
from tests.cluster.loopback import Answer
from tests.cluster.visibility import visible
from tests.kubernetes.rights import account, shipped, without
from tests.kubernetes.stage import Stage, image_job

REST = ("localqueues/pendingworkloads", "get")


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
def test_who_waits_is_told_the_place_in_the_queue(play: Stage, tmp_path: Path, version: str) -> None:
    install(play.api)
    gpu = {"resources": {"gpu": {"count": 1}}, "queue": "q"}
    play.declare({"first": image_job(**gpu), "second": image_job(**gpu), "alone": image_job()})
    with Kueue(play.cluster, play.namespace, hold=True) as kueue, visible(play.cluster, play.namespace, version) as visibility:
        with account(play.cluster, play.namespace, shipped(), tmp_path) as kubeconfig:
            play.environ["KUBECONFIG"] = str(kubeconfig)
            play.begin()
            seen = play.until(lambda seen: all(f"at place {n}" in str(seen) for n in (1, 2)))
            assert {seen[name]["detail"].partition(" in queue q: WaitingForQuota")[0] for name in ("first", "second")} == {
                "queued at place 1", "queued at place 2",
            }
            assert set(visibility.asked) == {"q"}
            assert "at place 1 in queue q" in play.run("status").stdout
        with account(play.cluster, play.namespace, without(REST), tmp_path) as kubeconfig:
            play.environ["KUBECONFIG"] = str(kubeconfig)
            assert play.status()["first"]["detail"].startswith("queued in queue q: WaitingForQuota")
        play.environ["KUBECONFIG"] = str(play.cluster.kubeconfig_for("admin", namespace=play.namespace))
        kueue.hold = False
        assert "place" not in str(play.until(lambda seen: {each["phase"] for each in seen.values()} == {"running"}))


def test_an_api_of_places_that_is_away_costs_one_short_wait(play: Stage) -> None:
    install(play.api)
    names = ("q", "q2", "q3")
    play.declare({f"in-{name}": image_job(resources={"gpu": {"count": 1}}, queue=name) for name in names})
    queues = [Kueue(play.cluster, play.namespace, queue=name, hold=True) for name in names]
    with queues[0], queues[1], queues[2], visible(play.cluster, play.namespace) as visibility:
        play.begin()
        play.until(lambda seen: all("at place 1" in each["detail"] for each in seen.values()))
        visibility.away = lambda: (503, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503})
        visibility.asked.clear()
        assert "at place" not in str(play.status())
        assert visibility.asked == ["q"], "once, and nothing of the other queues"
        over, given_up = threading.Event(), threading.Event()

        def silent() -> Answer:
            if not over.wait(60):
                given_up.set()
            return 500, {}

        visibility.away = silent
        visibility.asked.clear()
        details = [each["detail"] for each in play.status().values()]
        over.set()
        assert all("in queue" in detail and "WaitingForQuota" in detail for detail in details), details
        assert visibility.asked == ["q"]
        assert not given_up.is_set(), "an API server waits 60 seconds"
