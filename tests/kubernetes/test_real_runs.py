"""Whole runs on a real kubelet: what a program prints, how it ends, and that nothing of it is left behind."""

import json
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import audit
from tests.cluster.node import NAME
from tests.kubernetes.project import TIMEOUT, Project, shell
from tests.support import Result, assert_no_secret

SECRET = "hunter2-and-then-some"

ENDS: Mapping[str, Any] = {
    "prints": shell("""echo one; echo two; echo three; echo '{"n": 4711, "best": "m.pt"}' > "$JOBFORM_OUTPUT" """, ttl="2s"),
    "reads": shell(
        'echo "given $N and $BEST"', env={"N": "{{ jobs.prints.outputs.n }}", "BEST": "{{ jobs.prints.outputs.best }}"},
    ),
    "exits": shell("echo before; exit 3"),
    "greedy": shell("echo filling; exec tail /dev/zero", resources={"memory": "32Mi"}),
    "slow": shell("sleep 60", timeout="3s"),
    "keeps": shell('echo "the key is $KEY, $PLAIN"', env={"KEY": "{{ secret('KEY') }}", "PLAIN": "the rest is shown"}),
    "four": shell('echo "rank $NODE_RANK of $NNODES at $MASTER_ADDR"', nodes=4),
    "third": shell(
        'echo "part $JOB_COMPLETION_INDEX"; [ "$JOB_COMPLETION_INDEX" != 2 ] || exit 5',
        indexed=True, completions=4, parallelism=4, retries_per_index=0,
    ),
    "single": shell("echo alone", resources={"gpu": {"count": 1, "type": "NVIDIA-H100-80GB-HBM3"}}, timeout="10m"),
}

OUTCOMES = {
    "prints": ("succeeded", None, 0), "reads": ("succeeded", None, 0), "exits": ("failed", "user_error", 3),
    "greedy": ("failed", "oom", 137), "slow": ("failed", "timeout", None),
    "keeps": ("succeeded", None, 0), "four": ("succeeded", None, 0), "third": ("failed", "user_error", 5),
    "single": ("succeeded", None, 0),
}
"""Phase, class and exit code. A pod whose deadline is over is removed, so nobody can say how it ended."""


@pytest.fixture
def gate() -> Iterator[Path]:
    """A folder of this machine, where the node is, that a pod may look into: what the test puts there ends it."""
    with tempfile.TemporaryDirectory(prefix="jobform-gate-") as folder:
        yield Path(folder)


def test_every_way_to_end_is_told_recorded_and_left_clean(real: Project) -> None:
    real.environ["JOBFORM_SECRET_KEY"] = SECRET
    real.write(ENDS)
    said = [real.run("apply", "--auto-approve", "--parallelism", "10")]
    assert said[0].exit == 8, said[0]

    status = real.status()
    status["slow"]["exit"] = None
    assert {name: (row["phase"], row["class"], row["exit"]) for name, row in status.items()} == OUTCOMES
    assert "index 2 failed" in status["third"]["detail"]
    assert "OOMKilled" in status["greedy"]["detail"]
    table = real.ok("status")
    assert re.search(r"^exits +cluster +failed +1 .* 3 +user_error", table, re.MULTILINE), table
    said.append(real.run("plan", "--detailed-exitcode"))
    assert said[-1].exit == 0, said[-1]
    assert "attempt 1 failed (user_error, exit code 3)" in said[-1].stdout
    assert "attempt 1 failed (oom, exit code 137)" in said[-1].stdout

    said += logs_are_printed(real)
    nothing_shows_the_secret(real, said)
    logs_are_printed_without_the_objects(real)
    real.ok("destroy", "--auto-approve")
    real.gone()
    assert real.ok("plan", "--destroy", "--detailed-exitcode")


def logs_are_printed(real: Project) -> list[Result]:
    """Plain, of the end, of several pods and of one."""
    assert real.ok("logs", "reads") == "given 4711 and m.pt\n"
    assert real.ok("logs", "greedy") == "filling\n"
    assert real.ok("logs", "exits", "--tail", "1") == "before\n"
    name = real.state()["jobs"]["four"]["attempts"][0]["name"]
    ranks = [f"rank {rank} of 4 at {name}-0.{name}" for rank in range(4)]
    assert real.ok("logs", "four") == "".join(f"[{name}-{rank} main] {text}\n" for rank, text in enumerate(ranks))
    assert real.ok("logs", "four", "--index", "3") == f"{ranks[3]}\n"
    masked = real.run("logs", "keeps")
    assert masked.stdout == "the key is ***, the rest is shown\n", masked
    return [masked]


def nothing_shows_the_secret(real: Project, said: list[Result]) -> None:
    """The pod has seen it, its Secret holds it, and nothing else does."""
    assert_no_secret(SECRET, real.directory, *said)
    assert SECRET not in json.dumps(real.objects("jobs", "pods"))
    [secret] = real.objects("secrets")
    job = next(job for job in real.objects("jobs") if job["metadata"]["name"] == secret["metadata"]["name"])
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]


def logs_are_printed_without_the_objects(real: Project) -> None:
    """One object went by its time to live, some by hand; what succeeded is not run again, what failed stays held."""
    api, folder = real.cluster.api, f"/apis/batch/v1/namespaces/{real.namespace}/jobs"
    attempts = {name: job["attempts"][0] for name, job in real.state()["jobs"].items()}
    for name in ("exits", "keeps", "third"):
        api.delete(f"{folder}/{attempts[name]['name']}")
    for name in ("prints", "exits", "keeps", "third"):
        api.wait(f"{folder}/{attempts[name]['name']}", lambda job: job is None, what=f"{name} to be gone")
    api.wait(f"/api/v1/namespaces/{real.namespace}/secrets/{attempts['keeps']['name']}", lambda secret: secret is None)
    assert "4 held, 0 blocked, 5 unchanged" in real.settled()
    assert real.ok("logs", "prints") == "one\ntwo\nthree\n"
    assert real.ok("logs", "prints", "--tail", "1") == "three\n"
    assert real.ok("logs", "exits") == "before\n"
    assert real.ok("logs", "keeps") == "the key is ***, the rest is shown\n"
    assert [line for line in real.ok("logs", "third").splitlines() if line.startswith("part")] == [f"part {n}" for n in range(4)]


def test_what_a_run_printed_before_its_deadline_is_kept_though_its_pod_is_removed(real: Project, gate: Path) -> None:
    """The pod, which has been told to go, goes on until its log has been read; it is kept when the run has ended."""
    waits = "echo at work; until [ -e /gate/open ]; do sleep 0.2; done"
    real.write({"late": shell(waits, timeout="10m", grace_period="100s", volumes={"/gate": {"host_path": str(gate)}})})
    apply = real.start("apply", "--auto-approve")
    real.until(lambda rows: bool(rows) and rows["late"]["phase"] == "running")
    real.printed("late", "at work")
    path = f"/apis/batch/v1/namespaces/{real.namespace}/jobs/{real.job('late')['metadata']['name']}"
    real.cluster.api.merge(path, {"spec": {"activeDeadlineSeconds": 1}})  # it is over: how long a start takes is not known before
    ends = time.monotonic() + TIMEOUT
    while not logs_read(real):
        assert time.monotonic() < ends, "nobody has read what it printed"
        time.sleep(0.1)
    (gate / "open").touch()
    said = apply.communicate(timeout=TIMEOUT)
    assert apply.returncode == 8, said
    late = real.status()["late"]
    assert late["class"] == "timeout"
    assert real.objects("pods") == []
    assert real.ok("logs", "late") == "at work\n", late


def logs_read(real: Project) -> int:
    """How often jobform has been given the log of a pod, by the server's own word."""
    asked = [event for event in audit.read(real.cluster.folder, real.namespace, "pods") if event.subresource == "log"]
    return sum(event.status == 200 and event.agent.startswith("jobform/") for event in asked)


WAITS: Mapping[str, tuple[Any, str]] = {
    "unpulled": (
        {"backend": "cluster", "spec": {"image": "docker.io/library/nothing-here:1"}},
        "(ErrImagePull|ImagePullBackOff) docker.io/library/nothing-here:1",
    ),
    "never": (shell("exit 0", image="docker.io/local/nothing-here:1"), "ErrImageNeverPull docker.io/local/nothing-here:1"),
    "huge": (shell("exit 0", resources={"gpu": {"count": 4096}}), r"unschedulable: .*Insufficient nvidia\.com/gpu"),
    "unset": (shell("exit 0", env_from=[{"config_map": "absent"}]), 'CreateContainerConfigError: configmap "absent" not found'),
    "untold": (
        shell("exit 0", secrets={"TOKEN": {"name": "hidden", "key": "token"}}), 'CreateContainerConfigError: secret "hidden" not',
    ),
    "unknown": (shell("exit 0", service_account="nobody"), "FailedCreate: .*serviceaccount"),
    "unmounted": (shell("exit 0", volumes={"/data": {"pvc": "absent"}}), 'unschedulable: .*persistentvolumeclaim "absent" not'),
}


def test_what_keeps_pods_from_starting_is_shown_and_waiting_jobs_stop_without_a_yes(real: Project) -> None:
    real.write({name: job for name, (job, _) in WAITS.items()})
    real.ok("apply", "--auto-approve", "--detach")
    status = real.until(lambda rows: all(re.search(said, rows[name]["detail"]) for name, (_, said) in WAITS.items()))
    assert {row["phase"] for row in status.values()} == {"pending"}
    assert {row["started_at"] for row in status.values()} == {None}
    real.settled()
    real.write({}, removed=[{"job": "unset", "cancel": True}])
    done = real.ok("apply", "--auto-approve", "--dangerous-allow-empty")
    assert "unset" in done
    real.gone()


def test_running_jobs_stop_only_by_a_yes_and_their_output_is_kept(real: Project, gate: Path) -> None:
    loops = shell("echo at work; trap 'echo told to stop; exit 0' TERM; while :; do sleep 0.2; done", grace_period="5s")
    waits = "echo begun; until [ -e /gate/open ]; do sleep 0.2; done; echo over"
    ends = shell(waits, volumes={"/gate": {"host_path": str(gate)}})
    real.write({"stopped": loops, "removed": loops, "destroyed": loops, "ends": ends})
    apply = real.start("apply", "--auto-approve")
    real.until(lambda rows: len(rows) == 4 and all(row["phase"] == "running" for row in rows.values()))
    recorded(real, "ends", "running")
    follow = real.start("logs", "ends", "--follow")
    apply.send_signal(signal.SIGINT)
    printed, error = apply.communicate(timeout=TIMEOUT)
    assert apply.returncode == 130, printed + error
    assert len(real.objects("jobs")) == 4

    (gate / "open").touch()
    assert follow.communicate(timeout=TIMEOUT)[0] == "begun\nover\n"
    real.until(lambda rows: rows["ends"]["phase"] == "succeeded")
    assert real.state()["jobs"]["ends"]["attempts"][0]["phase"] == "running"
    real.ok("advance", code=2)
    assert real.state()["jobs"]["ends"]["attempts"][0]["phase"] == "succeeded"

    real.ok("cancel", "stopped")
    assert real.status()["stopped"]["phase"] == "cancelled"
    assert real.ok("logs", "stopped").startswith("at work\n")

    real.write({"stopped": loops, "destroyed": loops, "ends": ends}, removed=[{"job": "removed", "cancel": True}])
    real.apply("--select", "removed")
    assert [job["metadata"]["annotations"]["jobform.dev/address"] for job in real.objects("jobs")] == ["destroyed", "ends"]
    assert real.ok("logs", "ends") == "begun\nover\n"

    assert real.run("destroy", "--auto-approve").exit == 7
    real.ok("destroy", "--auto-approve", "--allow-cancel", "*")
    real.gone()


def recorded(real: Project, address: str, phase: str) -> None:
    """Waits until the command that is at work has recorded it."""
    ends = time.monotonic() + TIMEOUT
    while (seen := json.loads(real.ok("state", "pull"))["jobs"][address]["attempts"][0])["phase"] != phase:
        assert time.monotonic() < ends, seen
        time.sleep(0.1)


def test_a_sweep_over_more_gpus_than_there_are_runs_to_its_end(real: Project) -> None:
    gpu = own_gpus(real, 4)
    job = shell("date +%s; sleep 1; date +%s", resources={"gpu": {"count": 1, "resource": gpu}})
    real.write({"sweep": {**job, "matrix": {"seed": list(range(8))}}})
    real.apply()
    spans = [tuple(map(int, real.ok("logs", f"sweep[seed={seed}]").split())) for seed in range(8)]
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) <= 4, spans


def test_a_preempted_run_goes_on_or_fails_as_its_policy_says(real: Project) -> None:
    gpu = own_gpus(real, 2)
    low, high = (priority(real, name, value) for name, value in (("low", 1), ("high", 1000)))
    takes = {"resources": {"gpu": {"count": 1, "resource": gpu}}, "priority_class": low}
    strict = [{"action": "FailJob", "on_pod_conditions": [{"type": "DisruptionTarget"}]}]
    jobs = {"goes-on": shell("sleep 600", **takes), "fails": shell("sleep 600", **takes, pod_failure_policy=strict)}
    real.write(jobs)
    real.ok("apply", "--auto-approve", "--detach")
    real.until(lambda rows: all(row["phase"] == "running" for row in rows.values()))
    wins = shell("sleep 600", resources={"gpu": {"count": 2, "resource": gpu}}, priority_class=high)
    real.write({**jobs, "wins": wins})
    real.ok("apply", "--auto-approve", "--detach")

    status = real.until(lambda rows: [rows[name]["phase"] for name in sorted(rows)] == ["failed", "pending", "running"])
    assert (status["fails"]["class"], status["fails"]["exit"]) == ("preempted", None)
    assert "Preempted by pod" in status["fails"]["detail"]
    real.until(lambda rows: re.search(f"unschedulable: .*Insufficient {gpu}", rows["goes-on"]["detail"]) is not None)
    assert "attempt 1 failed (preempted)" in real.settled()
    real.ok("cancel", "wins")
    real.until(lambda rows: rows["goes-on"]["phase"] == "running")
    assert real.status()["goes-on"]["attempt"] == 1
    real.settled()


def test_pods_that_are_taken_away_are_replaced_or_tell_why(real: Project) -> None:
    strict = [{"action": "FailJob", "on_pod_conditions": [{"type": "DisruptionTarget"}]}]
    real.write({
        "drained": shell("sleep 600"), "strict": shell("sleep 600", pod_failure_policy=strict), "deleted": shell("sleep 600"),
    })
    real.ok("apply", "--auto-approve", "--detach")
    real.until(lambda rows: all(row["phase"] == "running" for row in rows.values()))
    pods = {pod["metadata"]["labels"]["job-name"].rsplit("-", 2)[0]: pod["metadata"]["name"] for pod in real.objects("pods")}
    folder = f"/api/v1/namespaces/{real.namespace}/pods"
    for name in ("drained", "strict"):
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pods[name]}}
        real.cluster.api.create(f"{folder}/{pods[name]}/eviction", eviction)
    real.cluster.api.delete(f"{folder}/{pods['deleted']}")
    real.cluster.api.wait(f"{folder}/{pods['drained']}", lambda pod: pod is None, what="the pod to be gone")
    status = real.until(lambda rows: [rows[name]["phase"] for name in sorted(rows)] == ["failed", "running", "failed"])
    assert [status[name]["class"] for name in ("deleted", "drained", "strict")] == ["user_error", None, "infra"]
    assert "no pod is left that says how its program ended" in status["deleted"]["detail"]
    assert "has condition DisruptionTarget" in status["strict"]["detail"]
    assert status["drained"]["attempt"] == 1
    real.settled()


def own_gpus(real: Project, count: int) -> str:
    """A resource that only this test's pods ask for: what else runs on the node does not take it."""
    name = f"{real.namespace}.example/gpu"
    figure = {name: str(count)}
    names = [node["metadata"]["name"] for node in real.cluster.api.items("/api/v1/nodes")]
    node = NAME if NAME in names else names[0]  # beside ours others may be played; of a given cluster any will do
    real.cluster.api.merge(f"/api/v1/nodes/{node}/status", {"status": {"capacity": figure, "allocatable": figure}})
    return name


def priority(real: Project, name: str, value: int) -> str:
    """A PriorityClass of this test alone."""
    name = f"{real.namespace}-{name}"
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value}
    real.cluster.api.create("/apis/scheduling.k8s.io/v1/priorityclasses", body)
    return name
