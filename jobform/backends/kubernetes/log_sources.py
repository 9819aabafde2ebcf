"""Whose output there is: the containers of a run's pods, as a listing of the pods shows them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from jobform.backends.kubernetes.pods import pod_of
from jobform.backends.kubernetes.refs import is_name
from jobform.backends.kubernetes.shapes import line, mapping, maps, number, text
from jobform.model.values import Json

Key: TypeAlias = tuple[str, str]

_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Source:
    """One container of one pod. index: what tells the pod from its siblings, "" if nothing does.

    started: there is output to read. running: output is being added. over: none will be added any more.
    waits: why it has not started, "" once it has. restarts: how often it was started again.
    """

    pod: str
    uid: str
    container: str
    index: str = ""
    created_at: str = ""
    place: int = 0
    started: bool = False
    running: bool = False
    over: bool = False
    waits: str = ""
    restarts: int = 0

    @property
    def key(self) -> Key:
        """Tells it from every other container, also from one of a later pod of the same name."""
        return self.uid, self.container

    @property
    def order(self) -> tuple[int, str, str, str, int]:
        """By index, then age of the pod, then as the pod declares its containers."""
        return (int(self.index) if self.index.isdecimal() else 1 << 31, self.index, self.created_at, self.pod, self.place)


def sources_of(pods: Iterable[Json], index_label: str) -> list[Source]:
    """The containers of pods, in the order in which they are shown. A pod or container without a proper name is none."""
    return sorted((source for pod in pods for source in _of_pod(pod, index_label)), key=lambda source: source.order)


def labels_of(sources: Iterable[Source], run: str) -> dict[Key, str]:
    """What stands before each container's lines: `train-0 main`; the pod's own name where the index does not tell it apart."""
    listed = list(sources)
    pods: dict[str, set[str]] = {}
    for source in listed:
        pods.setdefault(source.index, set()).add(source.uid)

    def pod(source: Source) -> str:
        return f"{run}-{source.index}" if source.index and len(pods[source.index]) == 1 else source.pod

    return {source.key: f"{pod(source)} {source.container}" for source in listed}


def prefixed(label: str, lines: Iterable[bytes]) -> bytes:
    """Lines as they are shown where there are several containers."""
    head = f"[{label}] ".encode()
    return b"".join(head + text for text in lines)


def _of_pod(pod: Json, index_label: str) -> Iterator[Source]:
    seen = pod_of(pod, index_label)
    uid, policy = text(pod, "metadata", "uid"), text(pod, "spec", "restartPolicy")
    if not is_name(seen.name) or not uid:
        return
    ended = seen.phase in ("Succeeded", "Failed")
    statuses = {
        text(status, "name"): status
        for key in ("initContainerStatuses", "containerStatuses") for status in maps(pod, "status", key)
    }
    declared = [(True, item) for item in maps(pod, "spec", "initContainers")]
    declared += [(False, item) for item in maps(pod, "spec", "containers")]
    for place, (init, item) in enumerate(declared):
        name = text(item, "name")
        if not _CONTAINER.fullmatch(name):
            continue
        status = statuses.get(name, {})
        state, last = mapping(status, "state"), mapping(status, "lastState", "terminated")
        done, waiting = mapping(state, "terminated"), mapping(state, "waiting")
        running = "running" in state
        again = text(item, "restartPolicy") == "Always" if init and "restartPolicy" in item else _again(policy, init, done)
        yield Source(
            seen.name, uid, name, seen.index, seen.created_at, place,
            started=running or bool(done) or bool(last), running=running, over=ended or (bool(done) and not again),
            waits="" if running or done or last else _waits(waiting, seen.unscheduled, seen.message),
            restarts=max(0, number(status, "restartCount") or 0),
        )


def _again(policy: str, init: bool, done: dict[str, Json]) -> bool:
    """Whether the kubelet starts a container again that has ended so."""
    failed = number(done, "exitCode") != 0
    return policy != "Never" and (failed or (policy == "Always" and not init))


def _waits(waiting: dict[str, Json], unscheduled: str, message: str) -> str:
    reason, detail = text(waiting, "reason"), text(waiting, "message")
    said = ": ".join(part for part in (reason, detail) if part)
    return line(said or (f"no node for its pod: {unscheduled}" if unscheduled else message) or "its pod is not running yet")
