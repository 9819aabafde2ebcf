"""Connections of several threads are made of one TLS context, which none of them changes."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from jobform.clients.kube.trust import Trust
from jobform.clients.rest.transport import Wire
from tests.cluster.loopback import Loopback

Get = Callable[[], int]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(lambda *_: (200, {})) as found:
        yield found


def of_kube(server: Loopback, folder: Path) -> Get:
    del folder
    pool = Trust(authority=server.authority).pool(server.url, 4)
    return lambda: pool.request("GET", server.url, headers={"Connection": "close"}).status


def of_rest(server: Loopback, folder: Path) -> Get:
    authority = folder / "authority.pem"
    authority.write_text(server.authority)
    wire = Wire(server.url, None, {"SSL_CERT_FILE": str(authority)})

    def get() -> int:
        headers = {"Connection": "close"}
        with wire.stream("GET", server.url, headers, b"", connect=60, read=60, total=60, changing=False) as answer:
            answer.read()
            return answer.status_code

    return get


@pytest.mark.parametrize("client", [of_kube, of_rest])
def test_a_context_in_use_is_not_changed(
    client: Callable[[Loopback, Path], Get], server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The libraries set the protocols again for every connection, while another thread makes one of the same context."""
    get = client(server, tmp_path)
    changed: list[Iterable[str]] = []
    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", lambda _, protocols: changed.append(protocols))
    assert [get() for _ in range(3)] == [200, 200, 200]
    assert changed == []


def test_http_1_1_is_what_a_server_is_offered() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = Trust().context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    greeting = outgoing.read()
    assert b"\x00\x09\x08http/1.1" in greeting
    assert b"\x02h2" not in greeting
