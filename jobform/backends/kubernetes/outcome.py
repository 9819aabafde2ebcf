"""From what a workload's own status says, and its pods: the present of an attempt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobform.backends.kubernetes.kinds import Judged
from jobform.backends.kubernetes.pods import Container, Pod, first_index, latest
from jobform.backends.kubernetes.shapes import line, mapping, number, text
from jobform.model.state import ENDED, Phase
from jobform.model.values import Json
from jobform.protocols import Actual

_OUTPUTS = 4096
"""The most bytes of a termination message. Source: the kubelet's own limit for one container."""

_NEVER_RAN = {"ContainerCannotRun", "StartError", "CreateContainerError", "CreateContainerConfigError", "InvalidImageName"}
_NO_ROOM = "OutOf"
_NODE = {
    "Evicted", "NodeLost", "NodeAffinity", "Shutdown", "NodeShutdown", "Terminated", "Preempting", "UnexpectedAdmissionError",
}
"""Reasons of a failed pod that speak of its node and not of the program."""

_BY_PODS = {"BackoffLimitExceeded", "FailedIndexes", "MaxFailedIndexesExceeded"}
"""Reasons of a Job whose failed pods stay, unless somebody or a node's end removed them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. reason: as the service calls it; exit: None when no container of it has an exit code."""

    class_: str
    reason: str
    exit: int | None
    detail: str


def actual_of(obj: Mapping[str, Json], judged: Judged, pods: Sequence[Pod], waits: str = "", native: bytes = b"") -> Actual:
    """The whole answer. waits: why it waits, by what is known besides its pods; native: for `Comparing`."""
    started = min((pod.started_at for pod in pods if pod.started_at), default=None)
    if judged.phase is Phase.SUCCEEDED:
        outputs, warnings = outputs_of(pods)
        return Actual(
            Phase.SUCCEEDED, _join(indexes(obj), judged.detail if judged.reason == "SuccessPolicy" else ""),
            native_reason=judged.reason, exit=_zero(pods), outputs=outputs, started_at=started or judged.started_at,
            ended_at=judged.ended_at, warnings=warnings, native=native,
        )
    if judged.phase is Phase.FAILED:
        failure = failure_of(judged, pods)
        return Actual(
            Phase.FAILED, _join(indexes(obj, pods), failure.detail), failure.class_, failure.reason, failure.exit,
            started_at=started or judged.started_at, ended_at=judged.ended_at, native=native,
        )
    if judged.phase in ENDED or judged.phase is Phase.UNKNOWN:
        return Actual(
            judged.phase, judged.detail, native_reason=judged.reason, started_at=started or judged.started_at,
            ended_at=judged.ended_at, native=native,
        )
    return _unfinished(obj, judged, pods, started, waits, native)


def outputs_of(pods: Sequence[Pod]) -> tuple[dict[str, Json] | None, tuple[str, ...]]:
    """The termination message of the main container of index 0, or of the only pod, if it is a JSON object; and warnings."""
    pod = first_index(pods)
    message = pod.main.message if pod is not None and pod.main is not None else ""
    if not message.lstrip().startswith("{"):
        return None, ()
    if len(message.encode("utf-8", "replace")) > _OUTPUTS:
        return None, (f"the termination message is over {_OUTPUTS} bytes: it gives no outputs",)
    try:
        value = json.loads(message, object_pairs_hook=_once, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        return None, (f"the termination message looks like outputs and is no JSON object: {line(str(error))}",)
    return value, ()


def failure_of(judged: Judged, pods: Sequence[Pod]) -> Failure:
    """The class of a failure: by the object's own reason where that tells it, else by the pod that decided it."""
    pod = _decisive(pods)
    failed = pod.failed if pod is not None else None
    code = None if failed is None else exit_of(failed)
    where = f"pod {pod.name}: " if pod is not None and len(pods) > 1 else ""
    if judged.class_ is not None:
        return Failure(judged.class_, judged.reason, code, _join(judged.detail, judged.reason if not judged.detail else ""))
    if pod is not None:
        class_, reason, why = _pod_failure(pod, failed)
        if class_:
            return Failure(class_, reason or judged.reason, code, _join(where + why if why else "", judged.detail))
    left = "" if pod is not None or judged.reason not in _BY_PODS else "no pod is left that says how its program ended"
    return Failure("user_error", judged.reason, code, _join(judged.detail, left))


def exit_of(container: Container) -> int | None:
    """Its exit code; negative for a signal that the runtime reports as one."""
    return -container.signal if container.signal and container.exit is None else container.exit


def indexes(obj: Mapping[str, Json], pods: Sequence[Pod] = ()) -> str:
    """Of an Indexed job: which of its indexes have failed, or how many are done. "" for any other."""
    whole: Json = dict(obj)
    if text(whole, "spec", "completionMode") != "Indexed":
        return ""
    total = number(whole, "spec", "completions") or 0
    failed = line(text(whole, "status", "failedIndexes"))
    if not failed:
        numbers = sorted({int(pod.index) for pod in latest(pods) if pod.phase == "Failed" and pod.index.isdecimal()})
        failed = line(",".join(str(each) for each in numbers))
    if failed:
        return f"index{'' if failed.isdecimal() else 'es'} {failed} failed"
    done = line(text(whole, "status", "completedIndexes"))
    return f"{number(whole, 'status', 'succeeded') or 0} of {total} indexes done" if done and total > 1 else ""


def pending_reason(pods: Sequence[Pod]) -> str:
    """The most telling reason why pods have not started, "" when they say none."""
    reasons: dict[str, int] = {}
    for pod in pods:
        if not pod.running and (why := _pod_waits(pod)):
            reasons[why] = reasons.get(why, 0) + 1
    if not reasons:
        return ""
    why, count = max(reasons.items(), key=lambda item: item[1])
    return f"{count} of {len(pods)} pods: {why}" if len(pods) > 1 else why


def _unfinished(
    obj: Mapping[str, Json], judged: Judged, pods: Sequence[Pod], started: str | None, waits: str, native: bytes,
) -> Actual:
    """Pending or running: running once a container of it has started, unless it is held back since."""
    if judged.phase is Phase.RUNNING:
        started = started or (None if pods else judged.started_at)
    runs = started is not None and not judged.suspended
    phase = Phase.RUNNING if runs or (judged.phase is Phase.RUNNING and not pods) else Phase.PENDING
    parts = []
    if judged.deleting:
        parts.append(removal(obj))
    if judged.suspended:
        parts.append(waits or "suspended")
    elif judged.decided is not None:
        parts.append(f"ending as {judged.decided}" + (f": {judged.reason}" if judged.reason else ""))
    elif phase is Phase.PENDING or not any(pod.running for pod in pods):
        parts.append(pending_reason(pods) or waits)
    else:
        parts.append(pending_reason([pod for pod in pods if not pod.running and pod.phase == "Pending"]))
    parts.append(indexes(obj, [pod for pod in pods if not pod.killed]) if phase is Phase.RUNNING else "")
    if any(pod.disruption for pod in pods) and not any(pod.running for pod in pods):
        parts.append("disrupted: " + ", ".join(sorted({pod.disruption for pod in pods if pod.disruption})))
    return Actual(phase, _join(*parts), native_reason=judged.reason, started_at=started, native=native)


def removal(obj: Mapping[str, Json]) -> str:
    """That an object is being removed, and what holds it."""
    listed = mapping(dict(obj), "metadata").get("finalizers")
    held = [item for item in (listed if isinstance(listed, list) else []) if isinstance(item, str)]
    since = text(dict(obj), "metadata", "deletionTimestamp")
    return line(f"being removed since {since}" + (f", held by finalizer {', '.join(held)}" if held else ""))


def _decisive(pods: Sequence[Pod]) -> Pod | None:
    """The pod that decided a failure: of several indexes the first that failed, since its siblings are then ended by the
    controller; of the attempts at one the last. Pods that are being deleted were ended, so they decide only when alone."""
    failed = [pod for pod in latest(pods) if pod.phase == "Failed" or pod.failed is not None]
    own = [pod for pod in failed if not pod.killed] or failed
    if not own:
        return None
    by_end = sorted(own, key=lambda pod: (pod.ended_at or pod.created_at, pod.name))
    return by_end[0] if by_end[0].index else by_end[-1]


def _pod_failure(pod: Pod, failed: Container | None) -> tuple[str, str, str]:
    """Class, reason and detail of a failed pod; no class when it does not tell."""
    message = f": {pod.message}" if pod.message else ""
    if pod.reason == "DeadlineExceeded":
        return "timeout", pod.reason, f"{pod.reason}{message}"
    if failed is not None and failed.reason == "OOMKilled":
        return "oom", failed.reason, f"container {failed.name} was killed for memory (OOMKilled)"
    if pod.disruption:
        class_ = "preempted" if pod.disruption == "PreemptionByScheduler" else "infra"
        return class_, pod.disruption, f"{pod.disruption}{message}"
    if pod.reason.startswith(_NO_ROOM):
        return "no_capacity", pod.reason, f"{pod.reason}{message}"
    if pod.reason in _NODE:
        return "infra", pod.reason, f"{pod.reason}{message}"
    if failed is None:
        return ("infra", pod.reason, f"{pod.reason}{message}") if pod.reason else ("", "", "")
    if failed.reason in _NEVER_RAN:
        return "user_error", failed.reason, f"container {failed.name} could not run ({failed.reason})"
    text_ = f"container {failed.name} ended with exit code {exit_of(failed)}"
    return "user_error", "", text_ if not failed.main else ""


def _pod_waits(pod: Pod) -> str:
    if pod.gated:
        return "held by a scheduling gate"
    if pod.unscheduled:
        return f"unschedulable: {pod.unscheduled}"
    for each in pod.containers:
        if each.waits in ("", "PodInitializing") or each.running:
            continue
        if each.waits == "ContainerCreating":
            return f"{each.waits} on {pod.node}" if pod.node else each.waits
        image = f" {each.image}" if "Image" in each.waits else ""
        return line(f"{each.waits}{image}" + (f": {each.waits_detail}" if each.waits_detail else ""))
    return ""


def _zero(pods: Sequence[Pod]) -> int | None:
    """0 when a container has ended so, None when nobody can say."""
    return 0 if any(pod.main is not None and pod.main.exit == 0 for pod in pods) else None


def _join(*parts: str) -> str:
    return line("; ".join(part for part in parts if part))


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} is there twice")
        found[key] = value
    return found


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")
