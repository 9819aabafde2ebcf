"""From settings and an environment to a server and proof of who we are, with kubectl's rules.

A credential plug-in that fails is an error, not an anonymous request; a loopback server is never asked through a proxy.
"""

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jobform.clients.hosts import is_loopback
from jobform.clients.kube.kubeconfig import Entry, read_kubeconfig, refused
from jobform.clients.kube.plugin import Plugin, PluginError
from jobform.clients.kube.settings import KubeSettings
from jobform.clients.kube.trust import Trust
from jobform.clients.text import short

_HEADER_SIGNS = "!#$&'*+-.^_`|~"
"""What may stand in the name of a header besides letters and digits; anything else is escaped, as in a URL."""


@dataclass(frozen=True, slots=True)
class Login:
    """A server and the credentials for it.

    context, user: names, "" inside a cluster. source: where the server came from, for people. namespace: the one that applies.
    proof: the present value of the authorization header, "" for none. expires: when the credentials end, None when nobody says.
    headers: sent with every request (impersonation).
    """

    server: str
    context: str
    user: str
    source: str
    namespace: str
    namespace_source: str
    trust: Trust
    proof: Callable[[], str] = field(default=lambda: "", repr=False)
    expires: datetime | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def base(self) -> str:
        """What every path is appended to."""
        return self.server.rstrip("/")

    @property
    def verified(self) -> bool:
        """Whether the server's certificate is checked."""
        return self.trust.verified

    def authorization(self) -> str:
        """The present value of the header, "" for none; a token file is read again. Raises KubeError."""
        text = self.proof().strip()
        if not text.isprintable() or not text.isascii():
            raise refused(f"the token for {self.source} is not one line of plain characters")
        return text


def log_in(settings: KubeSettings, environ: Mapping[str, str]) -> Login:
    """Find the server and load the credentials. May run a credential plug-in. Raises KubeError with reason `Credentials`."""
    paths = _kubeconfigs(settings, environ)
    if paths:
        return _from_kubeconfig(paths, settings, environ)
    if settings.context:
        raise refused(f"context {settings.context} is asked for, but there is no kubeconfig", "set `kubeconfig` or KUBECONFIG")
    if settings.server:
        namespace = settings.namespace or "default"
        told_by = "the setting `namespace`" if settings.namespace else "the default"
        trust = _trust(settings.server, environ)
        return Login(settings.server, "", "", "the setting `server`", namespace, told_by, trust)
    if "KUBERNETES_SERVICE_HOST" in environ:
        return _in_cluster(settings, environ)
    raise refused(
        "there is no kubeconfig and this is not inside a cluster", "set `kubeconfig` or KUBECONFIG, or make ~/.kube/config",
    )


def _kubeconfigs(settings: KubeSettings, environ: Mapping[str, str]) -> list[Path]:
    """The files that exist, in order. A file that is named alone must exist."""
    home = environ.get("HOME", "")
    if settings.kubeconfig:
        path = _expanded(settings.kubeconfig, home)
        if not path.is_file():
            raise refused(f"the kubeconfig {path} does not exist", "it comes from the setting `kubeconfig`")
        return [path]
    if listed := environ.get("KUBECONFIG", ""):
        paths = [_expanded(text, home) for text in listed.split(os.pathsep) if text]
        existing = [path for path in paths if path.is_file()]
        if paths and not existing:
            raise refused(f"no file of KUBECONFIG={short(listed)} exists", "unset it to use ~/.kube/config")
        return existing
    usual = Path(home) / ".kube" / "config"
    return [usual] if home and usual.is_file() else []


def _expanded(text: str, home: str) -> Path:
    return Path(home + text[1:]) if home and (text == "~" or text.startswith("~/")) else Path(text)


def _from_kubeconfig(paths: list[Path], settings: KubeSettings, environ: Mapping[str, str]) -> Login:
    shown = os.pathsep.join(str(path) for path in paths)
    config = read_kubeconfig(paths, shown)
    name = settings.context or config.current
    if not name:
        raise refused(f"{shown} has no current-context", "set `context`, or run kubectl config use-context")
    context = config.context(name)
    cluster, user = config.cluster(context.text("cluster")), config.user(context.text("user"))
    source = f"context {short(name)} of {shown}"
    server = settings.server or cluster.text("server")
    if not server:
        raise refused(f"{source} has no server")
    user, expires = _with_plugin(user, cluster, settings, environ, source)
    proof = _proof(user, paths, name, environ, source, settings.plugin)
    trust = _trust(server, environ, cluster, user, source)
    namespace = settings.namespace or context.text("namespace") or "default"
    told_by = "the setting `namespace`" if settings.namespace else source if context.text("namespace") else "the default"
    if settings.server:
        source = f"the setting `server`, {source}"
    headers = tuple(_impersonation(user.content, source))
    return Login(server, name, context.text("user"), source, namespace, told_by, trust, proof, expires, headers)


def _with_plugin(
    user: Entry, cluster: Entry, settings: KubeSettings, environ: Mapping[str, str], source: str,
) -> tuple[Entry, datetime | None]:
    """The user with a plug-in's answer in the plug-in's place, and when that ends."""
    spec = user.content.get("exec")
    if spec is None or {"auth-provider", "token", "tokenFile"} & user.content.keys():
        return user, None
    plugin = Plugin(spec if isinstance(spec, dict) else {}, user.folder, cluster.content)
    try:
        status = plugin.run(environ, settings.plugin, attended=settings.attended)
    except PluginError as error:
        raise refused(f"the credential plug-in {short(plugin.command, 200)} of {source} failed: {error}", error.hint) from error
    content = {key: value for key, value in user.content.items() if key != "exec"} | _as_user(status)
    return Entry(user.name, content, user.folder), _moment(status.get("expirationTimestamp"))


def _as_user(status: Mapping[str, Any]) -> dict[str, str]:
    given: dict[str, str] = {}
    if token := status.get("token"):
        given["token"] = str(token)
    if certificate := status.get("clientCertificateData"):
        given["client-certificate-data"] = base64.b64encode(str(certificate).encode()).decode()
        given["client-key-data"] = base64.b64encode(str(status["clientKeyData"]).encode()).decode()
    return given


def _proof(
    user: Entry, paths: list[Path], context: str, environ: Mapping[str, str], source: str, limit: float,
) -> Callable[[], str]:
    """How the authorization header is made. A file of a token goes before a token beside it, as long as it can be read."""
    if user.content.get("auth-provider") is not None:
        from jobform.clients.kube.provider import provided

        return provided(user, paths, context, environ, source, limit)
    token, file = user.text("token"), user.file("tokenFile")
    if file is not None:
        return lambda: f"Bearer {_token_in(file, token, source)}"
    if token:
        return lambda: f"Bearer {token}"
    if user.text("username"):
        basic = base64.b64encode(f"{user.text('username')}:{user.text('password')}".encode()).decode()
        return lambda: f"Basic {basic}"
    return lambda: ""


def _token_in(file: Path, otherwise: str, source: str) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        if otherwise:
            return otherwise
        raise refused(f"{source} cannot be used: its token file {file} cannot be read") from error


def _impersonation(user: Mapping[str, Any], source: str) -> Iterator[tuple[str, str]]:
    """Headers as client-go writes them. Raises KubeError for a block of another shape: half of it would be somebody else."""
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    given = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    try:
        if not isinstance(groups, list):
            raise TypeError
        given += [("Impersonate-Group", group) for group in groups]
        for key, values in extra.items():
            if not isinstance(values, list):
                raise TypeError
            given += [(f"Impersonate-Extra-{quote(key, safe=_HEADER_SIGNS)}", value) for value in values]
    except (AttributeError, TypeError) as error:
        raise refused(f"{source} cannot be used: its as-groups are no list, or its as-user-extra is no map of lists") from error
    for header, value in given:
        text = "" if value is None else str(value)
        if not text.isprintable():
            raise refused(f"{source} cannot be used: whom it is to act as ({header}) is not one line of text")
        if text:
            yield header, text.encode("utf-8").decode("latin-1")  # which is how a header's characters become bytes


def _trust(
    server: str, environ: Mapping[str, str], cluster: Entry | None = None, user: Entry | None = None, source: str = "",
) -> Trust:
    _check_url(server)
    own = cluster.text("proxy-url") if cluster else ""
    no_proxy = "" if own else environ.get("no_proxy", environ.get("NO_PROXY", ""))
    proxy = own or _proxy(server, environ)
    if cluster is None or user is None:
        return Trust(proxy=proxy, no_proxy=no_proxy)
    certificate = _material(user, "client-certificate", source)
    return Trust(
        _material(cluster, "certificate-authority", source), cluster.content.get("insecure-skip-tls-verify") is not True,
        cluster.text("tls-server-name"), certificate, _material(user, "client-key", source) if certificate else None, proxy,
        no_proxy,
    )


def _check_url(server: str) -> None:
    """Raises KubeError, which quotes no credentials, for what is not the URL of a server."""
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError as error:  # brackets without an end, a port that is none
        raise refused(f"the server's URL cannot be used: {short(error)}") from error
    if not usable:
        raise refused(f"{short(parts._replace(netloc=parts.hostname or '').geturl())} is not the URL of an API server")


def _material(entry: Entry, key: str, source: str) -> str | None:
    """What is given as data, else what is in the file that is named."""
    try:
        if data := entry.text(f"{key}-data"):
            return base64.b64decode(data, validate=False).decode("utf-8")
        file = entry.file(key)
        return file.read_text("utf-8") if file else None
    except ValueError as error:  # no base64, no text, no path
        raise refused(f"{source} cannot be used: its {key} cannot be read") from error
    except OSError as error:
        raise refused(f"{source} cannot be used: {short(error.filename, 200)}: {error.strerror}") from error


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _in_cluster(settings: KubeSettings, environ: Mapping[str, str]) -> Login:
    """Kubernetes gives every pod the address of the API server and the files of its service account."""
    directory = settings.service_account
    source = f"the service account in {directory}"
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    token = directory / "token"
    try:
        authority = (directory / "ca.crt").read_text("utf-8")
    except (OSError, ValueError) as error:
        raise refused(f"{source} cannot be used: ca.crt cannot be read") from error
    if not authority.strip() or not _token_in(token, "", source):
        raise refused(f"{source} cannot be used: its token or ca.crt is empty")
    try:
        own = (directory / "namespace").read_text("utf-8").strip()
    except (OSError, ValueError):
        own = ""  # the file is a convenience of the kubelet; without it the namespace is the usual one
    told_by = "the setting `namespace`" if settings.namespace else source if own else "the default"
    plain = _trust(server, environ)
    return Login(
        server, "", "", source, settings.namespace or own or "default", told_by,
        Trust(authority, proxy=plain.proxy, no_proxy=plain.no_proxy), lambda: f"Bearer {_token_in(token, '', source)}",
    )


def _proxy(server: str, environ: Mapping[str, str]) -> str:
    parts = urlsplit(server)
    if is_loopback(parts.hostname or ""):
        return ""
    name = f"{parts.scheme}_proxy"
    return environ.get(name) or environ.get(name.upper()) or ""
