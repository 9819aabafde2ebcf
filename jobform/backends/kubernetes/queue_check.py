"""Whether the queue and the priority that a job names exist. Kueue takes any name, and the job then waits for ever."""

from threading import Lock

from jobform.backends.kubernetes.names import QUEUE_NAME, QUEUE_PRIORITY
from jobform.backends.kubernetes.queue import APIS
from jobform.backends.kubernetes.refusals import Asked
from jobform.backends.kubernetes.shapes import mapping, text
from jobform.backends.kubernetes.site import Site, is_absent
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.paths import object_path
from jobform.protocols import UNKNOWN_TEXT, Forecast

_LABELS = ((QUEUE_NAME, "LocalQueue", "localqueues"), (QUEUE_PRIORITY, "WorkloadPriorityClass", "workloadpriorityclasses"))


class QueueCheck:
    """Looks each name up once, whoever asks; safe to use from several threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = Lock()
        self._known: dict[tuple[str, str], str] = {}
        self._served: str | None = None

    def __call__(self, asked: Asked) -> Forecast:
        """`refused` for a name that does not exist, else `ok`. What may not be read is believed. Raises KubeError."""
        labels = mapping(asked.composed.workload, "metadata", "labels")
        for label, kind, plural in _LABELS:
            name = text(labels, label)
            if not name or UNKNOWN_TEXT in name:
                continue
            if not self._api():
                return Forecast("ok", warnings=("the cluster has no Kueue: the queue that the jobs name has no effect",))
            if missing := self._missing(kind, plural, name):
                path = asked.composed.spec_path(("metadata", "labels", label))
                hint = "the job would wait for ever; correct the name, or ask who runs the cluster to make it"
                return Forecast("refused", path=path, summary=missing, hint=hint)
        return Forecast("ok")

    def _api(self) -> str:
        """The version of Kueue's API that the cluster serves, "" for none."""
        with self._lock:
            if self._served is None:
                served = self._site.client.served()
                self._served = next((api for api in APIS if (api, "LocalQueue") in served), "")
            return self._served

    def _missing(self, kind: str, plural: str, name: str) -> str:
        """Why a name cannot be used, "" when it can."""
        api = self._api()
        with self._lock:
            if (kind, name) not in self._known:
                namespace = self._site.namespace if kind == "LocalQueue" else None
                where = f" in namespace {namespace}" if namespace else ""
                try:
                    self._site.client.get(object_path(api, plural, namespace, name))
                except KubeError as error:
                    if error.status != 403 and not is_absent(error):
                        raise
                    absent = error.status != 403
                    self._known[kind, name] = f"there is no {kind} {name}{where}" if absent else ""
                else:
                    self._known[kind, name] = ""
            return self._known[kind, name]
