"""Where credentials may go, and through which proxy.

A job file or jobform.yaml comes with a pull request, so an address that it names gets credentials only where that is harmless:
a service's own hosts, this machine, and hosts that the runner allows. An address from the runner's own environment is its choice.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # documented by use, not in the stubs

from jobform.model.errors import BackendError

ALLOW_HOSTS = "JOBFORM_ALLOW_HOSTS"
"""The variable with further hosts, separated by commas or blanks; `*.example.com` is every host below that name."""


_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?|[0-9a-f:.]+", re.ASCII)
"""A host as everybody reads it: what one reader takes for a host and the next for something else is none."""

_PLAIN = re.compile(r"[^\W_]+://[\w.:\[\]-]+(/[\w/.:%~+,=-]*)?", re.ASCII)
"""An address without user, query and fragment, and without what readers disagree about."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Through whom a service is reached. url: with the user that it wants, never shown. source: the variable that names it."""

    url: str = field(repr=False)
    source: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class Base:
    """The address of a service. url: without a slash at its end. source: the setting or variable that it comes from."""

    url: str
    source: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def path(self) -> str:
        """What stands before every path of the service, "" or `/prefix`."""
        return urlsplit(self.url).path


def base_url(
    setting: str | None, variables: Collection[str], default: str | None, own: Collection[str], environ: Mapping[str, str],
    key: str = "url",
) -> Base:
    """The address from the first variable that is set, else from the backend's `url`, else the default.

    own: the hosts of the service itself. key: what the backend calls its setting. Raises BackendError for what is no address, for
    a host that may not have credentials, and where there is none at all.
    """
    name = next((name for name in variables if environ.get(name)), None)
    if name is not None:
        return Base(_checked(environ[name], name), name)
    if setting is None and default is None:
        raise BackendError("there is no address to call", f"set {' or '.join(variables)}, or `{key}` of the backend")
    if setting is None:
        return Base(default or "", "the service's own address")
    url = _checked(setting, key)
    parts = urlsplit(url)
    host = parts.hostname or ""
    allowed = environ.get(ALLOW_HOSTS, "").lower().replace(",", " ").split()
    if not is_loopback(host):
        if not _is_one_of(host, [*own, *allowed]):
            raise BackendError(
                f"credentials are not sent to {host}", f"`{key}` of the backend names it; {ALLOW_HOSTS}={host} allows it",
            )
        if parts.scheme != "https" and not _is_one_of(host, allowed):
            raise BackendError(
                f"credentials are not sent to {host} unencrypted", f"write https://, or allow it with {ALLOW_HOSTS}={host}",
            )
    return Base(url, f"`{key}` of the backend")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its text says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names for an address, None for none. Raises BackendError for one that cannot be used."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    named = {key.lower(): (value, key) for key, value in sorted(environ.items()) if key.lower().endswith("_proxy") and value}
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], {"no": named.get("no_proxy", ("", ""))[0]}):
        return None
    text, source = named.get(f"{parts.scheme}_proxy") or named.get("all_proxy") or ("", "")
    if not text:
        return None
    whole = text if "://" in text else f"http://{text}"
    try:
        proxy = urlsplit(whole)
        usable = proxy.scheme in ("http", "https") and bool(_HOST.fullmatch(proxy.hostname or "")) and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BackendError(f"the proxy that {source} names cannot be used", "it is like http://proxy.example.com:3128")
    return Proxy(whole, source)


def _checked(text: str, source: str) -> str:
    url = text.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(_HOST.fullmatch(parts.hostname or "")) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not _PLAIN.fullmatch(url):
        raise BackendError(
            f"{source} is no address of a service", "it is like https://api.example.com, without user, query and fragment",
        )
    return url.rstrip("/")


def _is_one_of(host: str, names: Collection[str]) -> bool:
    return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in names)
