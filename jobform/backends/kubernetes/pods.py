"""What the pods of a workload say: what has started, what it waits for, how each container ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobform.backends.kubernetes.kinds import Kind
from jobform.backends.kubernetes.names import ATTEMPT, JOB, LINEAGE
from jobform.backends.kubernetes.shapes import at, condition, line, mapping, maps, number, text
from jobform.model.values import Json

INDEX = "batch.kubernetes.io/job-completion-index"
"""A label since 1.28, an annotation before. Source: API type comments of batch/v1."""

_LABEL = 63
"""Characters of the longest value of a label; an annotation may hold a quarter of a million."""

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_MAIN = "main"


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod, as its status shows it.

    started_at: its first start, also when it was started again since. exit: None while it has not ended; signal: None unless it
    was ended by one. reason: why it ended, waits why it has not started. message: of its end, which the kubelet cuts at 4 KiB.
    """

    name: str
    init: bool = False
    main: bool = False
    image: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    running: bool = False
    exit: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    waits: str = ""
    waits_detail: str = ""
    restarts: int = 0

    @property
    def failed(self) -> bool:
        return self.exit not in (None, 0)


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod. index: what tells it from its siblings, "" if nothing does. disruption: reason of its DisruptionTarget condition.

    unscheduled: why the scheduler has no node for it. killed: it is being deleted.
    """

    name: str
    index: str = ""
    created_at: str = ""
    phase: str = ""
    reason: str = ""
    message: str = ""
    node: str = ""
    containers: tuple[Container, ...] = ()
    disruption: str = ""
    unscheduled: str = ""
    gated: bool = False
    killed: bool = False

    @property
    def started_at(self) -> str | None:
        """The first start of any of its containers."""
        return min((each.started_at for each in self.containers if each.started_at), default=None)

    @property
    def ended_at(self) -> str:
        """The last end of any of its containers, "" when none has ended."""
        return max((each.ended_at for each in self.containers if each.ended_at), default="")

    @property
    def running(self) -> bool:
        return any(each.running for each in self.containers)

    @property
    def main(self) -> Container | None:
        return next((each for each in self.containers if each.main), None)

    @property
    def failed(self) -> Container | None:
        """The container whose failure is the pod's: the main one, or the first that failed."""
        if self.main is not None and self.main.failed:
            return self.main
        return min((each for each in self.containers if each.failed), key=lambda each: each.ended_at or "", default=None)


def pod_of(obj: Json, index_label: str = "") -> Pod:
    """What one pod object says. Nothing in it is trusted to have any shape."""
    labels, annotations = mapping(obj, "metadata", "labels"), mapping(obj, "metadata", "annotations")
    index = (text(labels, index_label) or text(labels, INDEX) or text(annotations, INDEX))[:_LABEL]
    scheduled = condition(obj, "PodScheduled")
    waits = scheduled.get("status") == "False"
    disrupted = condition(obj, "DisruptionTarget")
    return Pod(
        name=text(obj, "metadata", "name"), index=index, created_at=text(obj, "metadata", "creationTimestamp"),
        phase=text(obj, "status", "phase"), reason=text(obj, "status", "reason"), message=line(text(obj, "status", "message")),
        node=text(obj, "spec", "nodeName"), containers=tuple(_containers(obj, text(annotations, _DEFAULT_CONTAINER))),
        disruption=text(disrupted, "reason") if disrupted.get("status") == "True" else "",
        unscheduled=line(text(scheduled, "message") or text(scheduled, "reason")) if waits else "",
        gated=waits and scheduled.get("reason") == "SchedulingGated",
        killed=bool(at(obj, "metadata", "deletionTimestamp")),
    )


def slim(obj: Mapping[str, Json]) -> dict[str, Json]:
    """A pod object with no more than what is read of it here."""
    whole: Json = dict(obj)
    metadata = {key: value for key, value in mapping(whole, "metadata").items() if key != "managedFields"}
    names: list[Json] = [{"name": text(item, "name")} for item in maps(whole, "spec", "containers")]
    spec: dict[str, Json] = {"nodeName": text(whole, "spec", "nodeName"), "containers": names}
    return {"metadata": metadata, "spec": spec, "status": mapping(whole, "status")}


def key_of(obj: Json) -> tuple[str, str, str]:
    """Which attempt of which job a labelled object belongs to: lineage, job, attempt."""
    labels = mapping(obj, "metadata", "labels")
    return text(labels, LINEAGE), text(labels, JOB), text(labels, ATTEMPT)


def is_of(kind: Kind, workload: Mapping[str, Json], pod: Json) -> bool:
    """Whether a pod with an attempt's labels may be this very object's: no label of its controller says otherwise."""
    labels = mapping(pod, "metadata", "labels")
    for known in kind.pods:
        wanted, has = text(dict(workload), *(str(part) for part in known.value)), text(labels, known.label)
        if wanted and has and wanted != has:
            return False
    return True


def latest(pods: Iterable[Pod]) -> list[Pod]:
    """Of each index the newest pod; pods without one are all told apart."""
    by_index: dict[str, Pod] = {}
    others = []
    for pod in sorted(pods, key=lambda pod: (pod.created_at, pod.name)):
        if pod.index:
            by_index[pod.index] = pod
        else:
            others.append(pod)
    return [*by_index.values(), *others]


def first_index(pods: Iterable[Pod]) -> Pod | None:
    """The pod that speaks for all of them: the succeeded one of index 0, or the only one that succeeded."""
    done = [pod for pod in latest(pods) if pod.phase == "Succeeded"]
    indexed = [pod for pod in done if pod.index == "0"]
    return indexed[0] if indexed else done[0] if len(done) == 1 and not done[0].index else None


def _containers(obj: Json, default: str) -> Iterable[Container]:
    declared = [text(item, "name") for item in maps(obj, "spec", "containers")]
    main = next((name for name in (default, _MAIN) if name and name in declared), declared[0] if declared else "")
    for init, key in ((True, "initContainerStatuses"), (False, "containerStatuses")):
        for status in maps(obj, "status", key):
            yield _container(status, init=init, main=not init and text(status, "name") == main)


def _container(status: dict[str, Json], *, init: bool, main: bool) -> Container:
    state, last = mapping(status, "state"), mapping(status, "lastState", "terminated")
    ended, running, waiting = mapping(state, "terminated"), mapping(state, "running"), mapping(state, "waiting")
    shown = ended or last  # one that is started again has ended before
    starts = [text(each, "startedAt") for each in (last, ended, running)]
    return Container(
        name=text(status, "name"), init=init, main=main, image=text(status, "image"),
        started_at=min((start for start in starts if start), default=None), ended_at=text(shown, "finishedAt") or None,
        running="running" in state, exit=number(shown, "exitCode"), signal=number(shown, "signal") or None,
        reason=text(shown, "reason"), message=text(shown, "message"),
        waits=text(waiting, "reason"), waits_detail=line(text(waiting, "message")), restarts=number(status, "restartCount") or 0,
    )
