"""TLS and the way to a server: what proves the server to us, what proves us to it, and through which proxy."""

import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # it is there, typeshed leaves it out

from jobform.clients.tls import shareable

if TYPE_CHECKING:
    from urllib3 import PoolManager


@dataclass(frozen=True, slots=True)
class Trust:
    """authority: PEM of who may vouch for the server, None for the system's. verified: whether the server must prove itself.

    server_name: the name in its certificate, "" for the URL's. certificate, key: PEM of ours, both or none. proxy: its URL, ""
    for none; no_proxy: the hosts that are asked without it.
    """

    authority: str | None = None
    verified: bool = True
    server_name: str = ""
    certificate: str | None = None
    key: str | None = field(default=None, repr=False)
    proxy: str = ""
    no_proxy: str = ""

    def context(self) -> ssl.SSLContext:
        """Raises ssl.SSLError, OSError or ValueError for certificates that cannot be used."""
        context = ssl.create_default_context(cadata=self.authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # clusters make their own authorities, which lack what it asks for
        if not self.verified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.certificate:
            with tempfile.TemporaryDirectory() as folder:  # the module takes files only; they are gone right after
                pair = (Path(folder) / "certificate", Path(folder) / "key")
                for path, text in zip(pair, (self.certificate, self.key or ""), strict=True):
                    path.touch(0o600)
                    path.write_text(text, "utf-8")
                context.load_cert_chain(*pair, password=_locked)
        return shareable(context)

    def proxy_for(self, server: str) -> str:
        """The proxy through which a server is asked, "" for none."""
        parts = urlsplit(server)
        if not self.proxy or not self.no_proxy:
            return self.proxy
        return "" if proxy_bypass_environment(parts.netloc.rpartition("@")[2], {"no": self.no_proxy}) else self.proxy

    def pool(self, server: str, connections: int) -> "PoolManager":
        """Kept connections, with dead peers found out. Raises as `context`, and ValueError for a proxy that is no URL."""
        import urllib3

        given = {
            "num_pools": 4, "maxsize": connections, "block": False, "socket_options": _socket_options(),
            "ssl_context": self.context() if server.startswith("https:") else None,
        }
        if self.server_name:
            given |= {"server_hostname": self.server_name, "assert_hostname": self.server_name}
        if not self.verified:
            given |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # told once, by whoever proves the scope
        proxy = self.proxy_for(server)
        if not proxy:
            return urllib3.PoolManager(**given)  # type: ignore[arg-type]  # each by its own type
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(bare, proxy_headers=headers, **given)  # type: ignore[arg-type]  # each by its own type


def _locked() -> str:
    """In place of OpenSSL's question at the terminal, which nobody may be there to answer. kubectl takes no such key either."""
    raise ValueError("its client key is locked with a pass phrase: give the key without one")


def _socket_options() -> list[tuple[int, int, int]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
