"""A kubelet's part played by a thread: it writes the status that the pods of one namespace would have.

Everything else is real: API server, Job controller, garbage collector. What a pod does stands in its first container's command:
`ends`, `fails`, `runs`, `waits`, or `says TEXT`, which ends with the text as its termination message.
"""

import threading
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from tests.cluster.api import MERGE, PASSING, Api, ApiFailure

Object = dict[str, Any]


def stamp(ago: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended(exit_code: int, reason: str = "", message: str = "", ago: float = 0.0) -> Object:
    """The state of a container that ran for a second."""
    return {"terminated": {
        "exitCode": exit_code, "reason": reason or ("Error" if exit_code else "Completed"), "message": message,
        "startedAt": stamp(ago + 1), "finishedAt": stamp(ago),
    }}


def status(phase: str, state: Object, **more: Any) -> Object:
    """A pod's status with one container `main` in this state."""
    ready = phase == "Running"
    container = {"name": more.pop("container", "main"), "image": "image", "imageID": "", "ready": ready, "restartCount": 0}
    return {
        "phase": phase, "startTime": stamp(2),
        "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": stamp()}, *more.pop("conditions", [])],
        "containerStatuses": [container | {"state": state}], **more,
    }


class Hand:
    """Plays every pod of a namespace as long as it is entered."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._done: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def put(self, pod: str, new: Object) -> None:
        """Write a pod's status."""
        self.api.call("PATCH", f"{self.pods}/{pod}/status", {"status": new}, content_type=MERGE)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            try:
                for pod in self.api.items(self.pods):
                    self._play(pod)
            except ApiFailure as failure:
                if failure.status not in PASSING:
                    raise

    def _play(self, pod: Object) -> None:
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        container = pod["spec"]["containers"][0]
        what, *rest = container.get("command") or ["waits"]
        done = self._done.get(uid)
        if what == "waits" or done == "over" or pod["metadata"].get("deletionTimestamp"):
            return
        if done is None:
            self.put(name, status("Running", {"running": {"startedAt": stamp(1)}}, container=container["name"]))
            self._done[uid] = "running"
        elif what != "runs":
            code = 3 if what == "fails" else 0
            state = ended(code, message=rest[0] if what == "says" else "")
            self.put(name, status("Failed" if code else "Succeeded", state, container=container["name"]))
            self._done[uid] = "over"
