"""What a kubernetes backend's block in jobform.yaml says, with its defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from jobform.backends.kubernetes.kinds import Kinds
from jobform.model.errors import BackendError
from jobform.model.units import parse_duration
from jobform.model.values import Json

_TIMEOUT = "2m"
_LOGIN_TIMEOUT = "1m"
_NAME_A_KUBECONFIG = frozenset({"KUBECONFIG", "HOME"})


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """context: of the kubeconfig, "" for its current one. kubeconfig: a path, "" for $KUBECONFIG or ~/.kube/config.

    namespace: "" for that of the context, and where it names none `default`. in_cluster: the pod's own service account instead of
    a kubeconfig; None: it is used where no kubeconfig is. timeout: seconds for one call, all its repetitions included.
    login_timeout: seconds for a credential plug-in that nobody can answer, or an issuer that refreshes a token.
    kinds: those that ship and the project's own.
    """

    context: str
    kubeconfig: str
    namespace: str
    in_cluster: bool | None
    timeout: float
    login_timeout: float
    kinds: Kinds

    @classmethod
    def of(cls, settings: Mapping[str, Json]) -> "KubernetesSettings":
        """From a block that the settings schema accepted. Raises BackendError for one that it would not have."""
        try:
            context, kubeconfig = _text(settings, "context"), _text(settings, "kubeconfig")
            in_cluster = settings.get("in_cluster")
            if in_cluster is not None and not isinstance(in_cluster, bool):
                raise ValueError("in_cluster is true or false")
            if in_cluster and (context or kubeconfig):
                raise ValueError("in_cluster takes the pod's own credentials: there is no context and no kubeconfig then")
            timeout = _seconds(settings, "timeout", _TIMEOUT)
            login_timeout = _seconds(settings, "login_timeout", _LOGIN_TIMEOUT)
            namespace = _text(settings, "namespace")
        except ValueError as error:
            raise BackendError("the settings of the kubernetes backend are not usable", str(error)) from error
        kinds = Kinds.builtin().with_project(settings.get("kinds"))
        return cls(context, kubeconfig, namespace, in_cluster, timeout, login_timeout, kinds)

    def kubeconfig_in(self, project: FilePath) -> str | None:
        """The kubeconfig that is named, from wherever jobform was called; None where none is."""
        named = self.kubeconfig
        if not named:
            return None
        return named if named.startswith("~") else str(project / named)

    def environ(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """The surroundings in which a client looks for credentials: with `in_cluster` no kubeconfig can be found in them."""
        return {key: value for key, value in environ.items() if key not in _NAME_A_KUBECONFIG} if self.in_cluster else environ


def _seconds(settings: Mapping[str, Json], key: str, default: str) -> float:
    seconds = parse_duration(_text(settings, key) or default)
    if seconds <= 0:
        raise ValueError(f"{key} is longer than nothing")
    return seconds


def _text(settings: Mapping[str, Json], key: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} is a text")
    return value
