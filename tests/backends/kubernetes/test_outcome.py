"""What pods and conditions mean: exit codes, classes, outputs, and the line that says why something waits."""

import json
from typing import Any

import pytest

from jobform.backends.kubernetes.kinds import Kinds
from jobform.backends.kubernetes.outcome import actual_of
from jobform.backends.kubernetes.pods import pod_of, slim
from jobform.model.state import Phase
from jobform.protocols import Actual
from tests.backends.kubernetes.hand import Object, ended, status

KIND = Kinds.builtin().by_key["Job"]
T = "2026-01-02T03:04:05Z"


def pod(state: Object, name: str = "p", phase: str = "Failed", *, index: str = "", at: str = T, **more: Any) -> Object:
    labels = {"batch.kubernetes.io/job-completion-index": index} if index else {}
    deleting = {"deletionTimestamp": T} if more.pop("killed", False) else {}
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": at, **deleting},
        "spec": {"containers": [{"name": "main"}, {"name": "side"}], "nodeName": more.pop("node", "")},
        "status": status(phase, state, **more),
    }


def condition(kind: str, reason: str = "", message: str = "") -> Object:
    return {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": T}]}


FAILED = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def actual(conditions: Object, *pods: Object, **spec: Any) -> Actual:
    obj: Object = {"metadata": {"name": "j"}, "spec": spec, "status": {"startTime": T, "completionTime": T, **conditions}}
    whole, small = ([pod_of(each) for each in found] for found in (pods, [slim(each) for each in pods]))
    assert whole == small, "a watch keeps all that is read of a pod"
    return actual_of(obj, KIND.judge(obj), whole)


@pytest.mark.parametrize(("pods", "class_", "code", "reason"), [
    ([pod(ended(3))], "user_error", 3, "BackoffLimitExceeded"),
    ([pod(ended(137, "OOMKilled"))], "oom", 137, "OOMKilled"),
    ([pod(ended(137))], "user_error", 137, "BackoffLimitExceeded"),
    ([pod(ended(143), conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}])],
     "preempted", 143, "PreemptionByScheduler"),
    ([pod(ended(143), conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}])],
     "infra", 143, "DeletionByTaintManager"),
    ([pod({}, reason="Evicted", message="The node was low on resource: memory.")], "infra", None, "Evicted"),
    ([pod({}, reason="UnexpectedAdmissionError", message="no GPU")], "infra", None, "UnexpectedAdmissionError"),
    ([pod({}, reason="OutOfnvidia.com/gpu")], "no_capacity", None, "OutOfnvidia.com/gpu"),
    ([pod(ended(143), reason="DeadlineExceeded")], "timeout", 143, "DeadlineExceeded"),
    ([pod(ended(128, "StartError"))], "user_error", 128, "StartError"),
    ([], "user_error", None, "BackoffLimitExceeded"),
    # the last of several attempts at one job
    ([pod(ended(3, ago=60), "a", at="2026-01-02T00:00:01Z"), pod(ended(137, "OOMKilled"), "b", at="2026-01-02T00:00:02Z")],
     "oom", 137, "OOMKilled"),
    # of several indexes the first that failed; its siblings were ended for it
    ([pod(ended(143), "a", index="0"), pod(ended(5, ago=60), "b", index="1")], "user_error", 5, "BackoffLimitExceeded"),
    ([pod(ended(5), "a", index="0"), pod(ended(143, ago=60), "b", index="1", killed=True)],
     "user_error", 5, "BackoffLimitExceeded"),
    # an index that was tried again counts by its last pod
    ([pod(ended(9, ago=90), "a", index="0", at="2026-01-02T00:00:01Z"), pod(ended(7), "b", index="1"),
      pod(ended(4, ago=30), "c", index="0", at="2026-01-02T00:00:02Z")], "user_error", 4, "BackoffLimitExceeded"),
])
def test_why_it_failed(pods: list[Object], class_: str, code: int | None, reason: str) -> None:
    told = actual(FAILED, *pods)
    assert (told.phase, told.class_, told.exit, told.native_reason) == (Phase.FAILED, class_, code, reason)
    assert told.outputs is None
    assert told.ended_at == T


def test_deadline_of_the_job_is_a_timeout_whatever_its_pods_say() -> None:
    told = actual(condition("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"), pod(ended(137)))
    assert (told.class_, told.exit, told.native_reason) == ("timeout", 137, "DeadlineExceeded")
    assert "deadline" in told.detail


def test_the_main_container_speaks_and_else_the_first_that_failed() -> None:
    both = pod(ended(3))
    both["status"]["containerStatuses"].append({"name": "side", "state": ended(9, ago=100)})
    assert actual(FAILED, both).exit == 3
    both["status"]["containerStatuses"][0]["state"] = ended(0)
    told = actual(FAILED, both)
    assert told.exit == 9
    assert "side" in told.detail
    both["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "side"}
    assert actual(FAILED, both).exit == 9


def test_start_and_end() -> None:
    state = ended(0)
    told = actual(condition("Complete", "CompletionsReached"), pod(state, phase="Succeeded"))
    assert (told.phase, told.exit, told.class_) == (Phase.SUCCEEDED, 0, None)
    assert told.started_at == state["terminated"]["startedAt"]
    assert told.ended_at == T
    assert actual(condition("Complete")).started_at == T, "its pods are gone: the job's own start"


def test_failed_indexes_are_named() -> None:
    by_status = actual({**FAILED, "failedIndexes": "3,7"}, completionMode="Indexed", completions=8)
    assert by_status.detail.startswith("indexes 3,7 failed")
    pods = [pod(ended(1), "a", index="2"), pod(ended(0), "b", phase="Succeeded", index="0")]
    assert actual(FAILED, *pods, completionMode="Indexed", completions=3).detail.startswith("index 2 failed")
    running = pod({"running": {"startedAt": T}}, "c", phase="Running", index="5")
    told = actual({"ready": 1, "succeeded": 5, "completedIndexes": "0-4"}, running, completionMode="Indexed", completions=8)
    assert (told.phase, told.detail) == (Phase.RUNNING, "5 of 8 indexes done")


def test_an_index_that_is_no_index_is_no_traceback() -> None:
    made = pod(ended(1))
    made["metadata"].setdefault("annotations", {})["batch.kubernetes.io/job-completion-index"] = "9" * 5000
    assert actual(condition("Failed", "BackoffLimitExceeded"), made, completionMode="Indexed").phase is Phase.FAILED


COMPLETE = condition("Complete")


def says(message: str, **more: Any) -> Object:
    return pod(ended(0, message=message), phase="Succeeded", **more)


@pytest.mark.parametrize(("pods", "outputs", "warned"), [
    ([says('{"a": [1, null]}')], {"a": [1, None]}, False),
    ([says("done")], None, False),
    ([says('["a"]')], None, False),
    ([says('{"a": 1')], None, True),
    ([says('{"a": 1, "a": 2}')], None, True),
    ([says('{"a": {"b": 1, "b": 2}}')], None, True),
    ([says('{"a": NaN}')], None, True),
    ([says('{"a": "\\ud800"}')], None, True),
    ([says(json.dumps({"a": "x" * 5000}))], None, True),
    ([says("{" * 2000)], None, True),
    ([says('{"i": 1}', name="b", index="1"), says('{"i": 0}', name="a", index="0")], {"i": 0}, False),
    ([says('{"i": 1}', name="b"), says('{"i": 0}', name="a")], None, False),
    ([], None, False),
])
def test_outputs(pods: list[Object], outputs: object, warned: bool) -> None:
    told = actual(COMPLETE, *pods)
    assert told.outputs == outputs
    assert bool(told.warnings) is warned


NO_GPU = "0/3 nodes: 3 Insufficient nvidia.com/gpu."
UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_GPU}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(("made", "said"), [
    (pod({}, phase="Pending", conditions=[UNSCHEDULED]), f"unschedulable: {NO_GPU}"),
    (pod({}, phase="Pending", conditions=[GATED]), "held by a scheduling gate"),
    (pod(waiting("ImagePullBackOff", "Back-off pulling"), phase="Pending"), "ImagePullBackOff image: Back-off pulling"),
    (pod(waiting("CreateContainerConfigError", 'secret "x" not found'), phase="Pending"),
     'CreateContainerConfigError: secret "x" not found'),
    (pod(waiting("ContainerCreating"), phase="Pending", node="n1"), "ContainerCreating on n1"),
])
def test_why_it_waits(made: Object, said: str) -> None:
    told = actual({"active": 1}, made)
    assert (told.phase, told.started_at, told.detail) == (Phase.PENDING, None, said)


def test_many_pods_that_wait_are_counted() -> None:
    pods = [pod({}, str(number), "Pending", conditions=[UNSCHEDULED]) for number in range(3)]
    told = actual({"active": 4}, *pods, pod(waiting("ContainerCreating"), "x", "Pending"))
    assert told.detail == f"3 of 4 pods: unschedulable: {NO_GPU}"


def test_started_means_that_a_container_has_started() -> None:
    assert actual({"active": 1, "startTime": T}, pod(waiting("PodInitializing"), phase="Pending")).started_at is None
    init = pod(waiting("PodInitializing"), phase="Pending")
    init["status"]["initContainerStatuses"] = [{"name": "fetch", "state": {"running": {"startedAt": T}}}]
    told = actual({"active": 1}, init)
    assert (told.phase, told.started_at) == (Phase.RUNNING, T)
    again = pod(waiting("CrashLoopBackOff", "back-off 10s"), phase="Running")
    again["status"]["containerStatuses"][0]["lastState"] = ended(1)
    told = actual({"active": 1}, again)
    assert told.phase is Phase.RUNNING
    assert "CrashLoopBackOff" in told.detail


def test_what_is_decided_but_not_over_runs() -> None:
    for kind, word in (("FailureTarget", "failed"), ("SuccessCriteriaMet", "succeeded")):
        told = actual({**condition(kind, "Why"), "active": 1}, pod({"running": {"startedAt": T}}, phase="Running"))
        assert (told.phase, told.ended_at, told.detail) == (Phase.RUNNING, None, f"ending as {word}: Why")


def test_a_removal_of_what_goes_on_is_told_and_names_what_holds_it() -> None:
    obj: Object = {
        "metadata": {"deletionTimestamp": T, "finalizers": ["foregroundDeletion"]}, "spec": {},
        "status": {"active": 1, "ready": 1},
    }
    told = actual_of(obj, KIND.judge(obj), [pod_of(pod({"running": {"startedAt": T}}, phase="Running"))])
    assert told.phase is Phase.RUNNING
    assert "being removed" in told.detail
    assert "foregroundDeletion" in told.detail
    obj["status"] |= condition("Complete")
    assert actual_of(obj, KIND.judge(obj), []).phase is Phase.SUCCEEDED


HOSTILE: list[Any] = [
    None, [], "x", 7, {"metadata": []}, {"metadata": {"labels": [1]}, "spec": "x", "status": [2]},
    {"status": {"containerStatuses": [1, {"state": "x"}, {"state": {"terminated": {"exitCode": "3", "startedAt": 4}}}]}},
    {"status": {"conditions": {"type": "x"}}, "spec": {"containers": [{"name": 3}]}},
]


@pytest.mark.parametrize("made", HOSTILE)
def test_pods_of_any_shape_are_read(made: Any) -> None:
    seen = pod_of(made)
    for conditions in (FAILED, COMPLETE, {"active": 1}):
        obj: Object = {"metadata": {}, "spec": {}, "status": conditions}
        assert actual_of(obj, KIND.judge(obj), [seen, seen]).phase in Phase
