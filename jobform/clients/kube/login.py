"""From settings and an environment to a server and proof of who we are, by the loaders of the `kubernetes` package.

Where the package decides otherwise than kubectl, kubectl's rule holds here: of several files the first that names a
`current-context` decides; `proxy-url` and impersonation count; a credential plug-in that fails is an error, not an anonymous
request; a loopback server is never asked through a proxy.
"""

import base64
import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.plugin import Plugin, PluginError
from jobform.clients.kube.settings import KubeSettings
from jobform.clients.kube.text import short

if TYPE_CHECKING:
    from kubernetes.client import Configuration  # type: ignore[import-untyped]  # the package has no types
    from kubernetes.config.kube_config import ConfigNode, KubeConfigMerger  # type: ignore[import-untyped]  # the package has no types


@dataclass(frozen=True, slots=True)
class Login:
    """A server and the credentials for it.

    configuration: the package's, with TLS files, proxy and token; its host is not to be used, the loader's hook sets it back to
    the context's. context, user: names, "" inside a cluster. source: where the server came from, for people. namespace: the one
    that applies. expires: when the credentials end, None when nobody says. headers: sent with every request (impersonation).
    verified: whether the server's certificate is checked.
    """

    server: str
    context: str
    user: str
    source: str
    namespace: str
    namespace_source: str
    configuration: "Configuration" = field(repr=False)
    expires: datetime | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def base(self) -> str:
        """What every path is appended to."""
        return self.server.rstrip("/")

    @property
    def verified(self) -> bool:
        return bool(self.configuration.verify_ssl)

    def authorization(self) -> str:
        """The present value of the header, "" for none; the loader may read a rotated token file. Raises KubeError."""
        with _told(self.source):
            value = self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        text = str(value or "").strip()
        if not text.isprintable() or not text.isascii():
            raise _refused(f"the token for {self.source} is not one line of plain characters")
        return text


def log_in(settings: KubeSettings, environ: Mapping[str, str]) -> Login:
    """Find the server and load the credentials. May run a credential plug-in. Raises KubeError with reason `Credentials`."""
    paths = _kubeconfigs(settings, environ)
    if paths:
        return _from_kubeconfig(paths, settings, environ)
    if settings.context:
        raise _refused(f"context {settings.context} is asked for, but there is no kubeconfig", "set `kubeconfig` or KUBECONFIG")
    if settings.server:
        configuration = _configuration(environ, settings.server, None)
        return Login(
            settings.server, "", "", "the setting `server`", settings.namespace or "default",
            "the setting `namespace`" if settings.namespace else "the default", configuration,
        )
    if "KUBERNETES_SERVICE_HOST" in environ:
        return _in_cluster(settings, environ)
    raise _refused(
        "there is no kubeconfig and this is not inside a cluster", "set `kubeconfig` or KUBECONFIG, or make ~/.kube/config",
    )


def _kubeconfigs(settings: KubeSettings, environ: Mapping[str, str]) -> list[Path]:
    """The files that exist, in order. A file that is named alone must exist."""
    home = environ.get("HOME", "")
    if settings.kubeconfig:
        path = _expanded(settings.kubeconfig, home)
        if not path.is_file():
            raise _refused(f"the kubeconfig {path} does not exist", "it comes from the setting `kubeconfig`")
        return [path]
    if listed := environ.get("KUBECONFIG", ""):
        paths = [_expanded(text, home) for text in listed.split(os.pathsep) if text]
        existing = [path for path in paths if path.is_file()]
        if paths and not existing:
            raise _refused(f"no file of KUBECONFIG={short(listed)} exists", "unset it to use ~/.kube/config")
        return existing
    usual = Path(home) / ".kube" / "config"
    return [usual] if home and usual.is_file() else []


def _expanded(text: str, home: str) -> Path:
    return Path(home + text[1:]) if home and (text == "~" or text.startswith("~/")) else Path(text)


def _from_kubeconfig(paths: list[Path], settings: KubeSettings, environ: Mapping[str, str]) -> Login:
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

    shown = os.pathsep.join(str(path) for path in paths)
    with _told(shown):
        merger = KubeConfigMerger(shown)
        if merger.config is None:
            raise _refused(f"{shown} is empty")
        name = settings.context or _current_context(merger)
        if not name:
            raise _refused(f"{shown} has no current-context", "set `context`, or run kubectl config use-context")
        context = _named(merger, "contexts", name, shown)["context"]
        cluster = _named(merger, "clusters", context["cluster"], shown)["cluster"]
        user_name = str(context.safe_get("user") or "")
        source = f"context {short(name)} of {shown}"
        expires, headers, save = _prepare_user(merger, user_name, cluster, settings, environ, source)
        server = settings.server or str(cluster.safe_get("server") or "")
        if not server:
            raise _refused(f"{source} has no server")
        configuration = _configuration(environ, server, cluster.safe_get("proxy-url"))
        KubeConfigLoader(
            config_dict=merger.config, active_context=name, config_base_path=None, config_persister=save,
        ).load_and_set(configuration)
        _check_auth_provider(merger, user_name, configuration, source)
        from_context = str(context.safe_get("namespace") or "")
    namespace = settings.namespace or from_context or "default"
    told_by = "the setting `namespace`" if settings.namespace else source if from_context else "the default"
    if settings.server:
        source = f"the setting `server`, {source}"
    return Login(server, name, user_name, source, namespace, told_by, configuration, expires, headers)


def _current_context(merger: "KubeConfigMerger") -> str:
    """kubectl takes the first file that names one; the package's merger takes the last."""
    for content in merger.config_files.values():
        if isinstance(content, dict) and content.get("current-context"):
            return str(content["current-context"])
    return ""


def _named(merger: "KubeConfigMerger", item: str, name: object, shown: str) -> "ConfigNode":
    node = merger.config[item].get_with_name(name, safe=True)
    if node is None:
        known = ", ".join(sorted(short(entry["name"], 80) for entry in merger.config[item].value)[:20])
        raise _refused(f"{shown} has no {item[:-1]} {short(name)}", f"it has: {known or 'none'}")
    return node


def _prepare_user(
    merger: "KubeConfigMerger", name: str, cluster: "ConfigNode", settings: KubeSettings, environ: Mapping[str, str], source: str,
) -> tuple[datetime | None, tuple[tuple[str, str], ...], Callable[[], None]]:
    """Put a plug-in's answer in the plug-in's place. Returns when it expires, impersonation headers and how to save changes."""
    node = merger.config["users"].get_with_name(name, safe=True) if name else None
    user = node["user"] if node is not None and isinstance(node.value.get("user"), dict) else None
    if node is None or user is None:
        return None, (), merger.save_changes
    headers = tuple(_impersonation(user.value))
    if "exec" in user and not ({"auth-provider", "token", "tokenFile"} & user.value.keys()):
        status = _run_plugin(user, cluster, settings, environ, source)
        node.value["user"] = {key: value for key, value in user.value.items() if key != "exec"} | _as_user(status)
        return _moment(status.get("expirationTimestamp")), headers, lambda: None
    return None, headers, _trusting_save(merger, user, environ)


def _impersonation(user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if user.get(key):
            yield header, str(user[key])
    for group in user.get("as-groups") or ():
        yield "Impersonate-Group", str(group)
    for key, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{key}", str(value)


def _run_plugin(
    user: "ConfigNode", cluster: "ConfigNode", settings: KubeSettings, environ: Mapping[str, str], source: str,
) -> Mapping[str, Any]:
    spec = user["exec"].value
    directory = Path(user.path).absolute().parent if user.path else Path.cwd()
    plugin = Plugin(spec if isinstance(spec, dict) else {}, directory, cluster.value)
    try:
        return plugin.run(environ, settings.plugin, attended=settings.attended)
    except PluginError as error:
        raise _refused(f"the credential plug-in {short(plugin.command, 200)} of {source} failed: {error}", error.hint) from error


def _as_user(status: Mapping[str, Any]) -> dict[str, str]:
    given: dict[str, str] = {}
    if token := status.get("token"):
        given["token"] = str(token)
    if certificate := status.get("clientCertificateData"):
        given["client-certificate-data"] = base64.b64encode(str(certificate).encode()).decode()
        given["client-key-data"] = base64.b64encode(str(status["clientKeyData"]).encode()).decode()
    return given


def _trusting_save(merger: "KubeConfigMerger", user: "ConfigNode", environ: Mapping[str, str]) -> Callable[[], None]:
    """Let an OIDC refresh check the issuer's certificate: without an authority of its own the package would check nothing.

    The authority is for this process only; saving a refreshed token leaves it out of the file.
    """
    provider = user.value.get("auth-provider")
    config = provider.get("config") if isinstance(provider, dict) else None
    save_changes: Callable[[], None] = merger.save_changes
    if not isinstance(config, dict) or {"idp-certificate-authority", "idp-certificate-authority-data"} & config.keys():
        return save_changes
    bundle = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if not bundle:
        from certifi import where

        bundle = where()
    config["idp-certificate-authority"] = bundle

    def save() -> None:
        del config["idp-certificate-authority"]
        try:
            save_changes()
        finally:
            config["idp-certificate-authority"] = bundle

    return save


def _check_auth_provider(merger: "KubeConfigMerger", user: str, configuration: "Configuration", source: str) -> None:
    """A provider that the package does not know, or a token it could not read, leaves the request anonymous."""
    node = merger.config["users"].get_with_name(user, safe=True) if user else None
    provider = (node.value.get("user") or {}).get("auth-provider") if node is not None else None
    if provider and not configuration.api_key:
        name = short(provider.get("name") if isinstance(provider, dict) else provider, 60)
        raise _refused(f"the auth-provider {name} of {source} gave no token", "use a credential plug-in (`exec`) instead")


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _in_cluster(settings: KubeSettings, environ: Mapping[str, str]) -> Login:
    from kubernetes.config.incluster_config import InClusterConfigLoader  # type: ignore[import-untyped]  # the package has no types

    directory = settings.service_account
    source = f"the service account in {directory}"
    configuration = _configuration(environ, "", None)
    with _told(source):
        InClusterConfigLoader(
            token_filename=str(directory / "token"), cert_filename=str(directory / "ca.crt"), environ=environ,
        ).load_and_set(configuration)
    server = str(configuration.host)
    configuration.proxy = _proxy(server, environ)
    try:
        own = (directory / "namespace").read_text("utf-8").strip()
    except (OSError, ValueError):
        own = ""  # the file is a convenience of the kubelet; without it the namespace is the usual one
    told_by = "the setting `namespace`" if settings.namespace else source if own else "the default"
    return Login(server, "", "", source, settings.namespace or own or "default", told_by, configuration)


def _configuration(environ: Mapping[str, str], server: str, proxy_url: object) -> "Configuration":
    """The package's settings with proxies from this environment instead of the process's."""
    from kubernetes.client import Configuration

    parts = urlsplit(server) if server else None
    if parts is not None and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
        raise _refused(f"{short(parts._replace(netloc=parts.hostname or '').geturl())} is not the URL of an API server")
    configuration = Configuration()
    configuration.host = server.rstrip("/")
    configuration.proxy = str(proxy_url) if proxy_url else _proxy(server, environ)
    configuration.no_proxy = "" if proxy_url else environ.get("no_proxy", environ.get("NO_PROXY", ""))
    return configuration


def _proxy(server: str, environ: Mapping[str, str]) -> str | None:
    parts = urlsplit(server)
    if is_loopback(parts.hostname or ""):
        return None
    name = f"{parts.scheme}_proxy"
    return environ.get(name) or environ.get(name.upper()) or None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its text says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Whatever the package raises becomes one line. Its texts can quote whole users: what follows a brace is left out."""
    try:
        yield
    except KubeError:
        raise
    except Exception as error:  # the loaders parse foreign files and run foreign refreshes: any type may come out
        mark = getattr(error, "problem_mark", None)
        said = short(str(error).partition("{")[0], 300) or type(error).__name__
        why = f"not YAML, line {mark.line + 1}" if mark is not None else said
        raise _refused(f"{source} cannot be used: {why}") from error


def _refused(message: str, hint: str = "") -> KubeError:
    return KubeError(0, "Credentials", message, hint=hint)
