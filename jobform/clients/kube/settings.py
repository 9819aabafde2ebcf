"""Which API server, as whom, and how patiently."""

from dataclasses import dataclass
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where every pod finds the credentials of its service account: `token`, `ca.crt` and `namespace`."""


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """What a project may say of its cluster; what is None comes from the kubeconfig, or from inside the cluster.

    kubeconfig: one path, `~` allowed, instead of KUBECONFIG and `~/.kube/config`. server: a URL instead of the context's.
    parallelism: requests that may be in flight. Times in seconds: `connect` and `read` for one attempt (an API server cuts its
    own work at 60, a webhook at 30), `total` for a request with all its retries, `plugin` for a credential plug-in that
    nobody can answer. attended: a person can, at a terminal that the plug-in may use.
    """

    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    server: str | None = None
    parallelism: int = 16
    connect: float = 10.0
    read: float = 65.0
    total: float = 120.0
    plugin: float = 60.0
    attended: bool = False
    service_account: Path = SERVICE_ACCOUNT
