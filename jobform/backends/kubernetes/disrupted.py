"""What is known of a pod that the cluster took away, when nothing of it is left but the words of its Job and of events."""

import re
from collections.abc import Sequence

from jobform.backends.kubernetes.kinds_status import Judged
from jobform.backends.kubernetes.pods import Pod
from jobform.backends.kubernetes.shapes import line, text
from jobform.backends.kubernetes.site import Site
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.model.state import Phase
from jobform.model.values import Json

_MATCHED = re.compile(r"Pod [^ /]+/(?P<name>[a-z0-9][a-z0-9.-]{0,252}) has condition DisruptionTarget matching ")
"""The message of a Job that its pod failure policy has failed. Source: the Job controller of 1.34."""


def disrupted_pod(site: Site, namespace: str, judged: Judged, pods: Sequence[Pod]) -> list[Pod]:
    """The pod for whose disruption a Job has failed, if it is not among `pods`: a preempted one is removed as soon as it ended.

    Whether the scheduler took it for another pod, its event tells; without one it was some disruption. Raises KubeError.
    """
    if judged.phase is not Phase.FAILED or judged.reason != "PodFailurePolicy":
        return []
    match = _MATCHED.search(judged.detail)
    if match is None or any(pod.name == match["name"] for pod in pods):
        return []
    said: list[str] = []

    def keep(event: dict[str, Json]) -> None:
        if text(event, "involvedObject", "kind") == "Pod" and text(event, "reason") == "Preempted":
            said.append(line(text(event, "message")))

    query = f"involvedObject.name={match['name']},reason=Preempted"
    try:
        site.client.list(object_path("v1", "events", namespace), {"fieldSelector": query}, keep)
    except KubeError as error:
        if error.status != 403:
            raise
    reason = "PreemptionByScheduler" if said else "DisruptionTarget"
    return [Pod(match["name"], phase="Failed", message=said[-1] if said else "", disruption=reason)]
