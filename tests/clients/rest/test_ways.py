"""TLS and proxies: who must prove what, and what is told when a way leads nowhere."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobform.model.errors import BackendError
from tests.clients.kube.faulty import closed_port
from tests.clients.rest.kit import HANG, OK, PATIENT, SECRET, Raw, answering, connect, failure, raw

HOST = "service.example"


@dataclass(frozen=True)
class Papers:
    """Files: an authority, and a server's certificates with their key. good: of HOST and of localhost; old: expired."""

    authority: Path
    good: Path
    old: Path
    stranger: Path


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])

    def write(name: str, subject: str, days: tuple[int, int], *, authority: bool = False, names: tuple[str, ...] = ()) -> Path:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder().issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .subject_name(issuer if authority else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .not_valid_before(now + timedelta(days=days[0])).not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            certificate = certificate.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
        pem = certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
        )
        (folder / name).write_bytes(pem if authority else pem + private)
        return folder / name

    return Papers(
        write("authority.pem", "", (-1, 9), authority=True), write("good.pem", HOST, (-1, 9), names=(HOST, "localhost")),
        write("old.pem", HOST, (-9, -1), names=("localhost",)), write("stranger.pem", HOST, (-1, 9), names=("other.example",)),
    )


def secured(certificate: Path) -> Callable[[Raw, socket.socket, int], None]:
    """HTTP over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(server: Raw, connection: socket.socket, number: int) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as safe:
            answering(OK)(server, safe, number)

    return talk


def test_a_server_that_proves_itself(papers: Papers) -> None:
    with raw(secured(papers.good)) as server:
        url = f"https://localhost:{server.port}"
        assert connect(url, environ={"SSL_CERT_FILE": str(papers.authority)}).get("/x") == {}


@pytest.mark.parametrize(("certificate", "trusted", "word"), [
    ("good", False, "certificate verify failed"), ("old", True, "expired"), ("stranger", True, "ostname mismatch"),
])
@pytest.mark.parametrize("changing", [False, True])
def test_a_server_that_does_not(papers: Papers, certificate: str, trusted: bool, word: str, changing: bool) -> None:
    """F52: nothing is sent to it, and it is not asked again: who it is does not change."""
    with raw(secured(getattr(papers, certificate))) as server:
        client = connect(f"https://localhost:{server.port}", environ={"SSL_CERT_FILE": str(papers.authority)} if trusted else {})
        error = failure(lambda: client.change("POST", "/x") if changing else client.get("/x"))
        assert (error.retryable, error.ambiguous) == (False, False)
        assert word in error.detail
        assert (len(server.heard), server.requests) == (1, 0)


def test_no_tls_where_tls_was_asked_for() -> None:
    with raw(answering(OK)) as server:
        client = connect(f"https://localhost:{server.port}", limits=replace(PATIENT, connect=0.3))
        error = failure(lambda: client.change("POST", "/x"))
        assert error.ambiguous is False
        assert server.requests == 0


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        connect("https://localhost:1", environ={"SSL_CERT_FILE": str(tmp_path / "none.pem")}).change("POST", "/x")
    assert "SSL_CERT_FILE" in caught.value.detail
    assert not caught.value.ambiguous


# --- proxies ----------------------------------------------------------------------------------------------------------


def forwarding(port: int) -> Callable[[Raw, socket.socket, int], None]:
    """A proxy that takes every name for the server at this port: tunnels for CONNECT, plain forwarding for the rest."""
    def talk(proxy: Raw, connection: socket.socket, number: int) -> None:
        request = proxy.request(connection, number)
        with socket.create_connection(("127.0.0.1", port)) as onward:
            if request.startswith(b"CONNECT"):
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.sendall(request)
            back = threading.Thread(target=_pump, args=(onward, connection), daemon=True)
            back.start()
            _pump(connection, onward)
            back.join(HANG)

    return talk


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def tunnel(papers: Papers) -> Iterator[tuple[Raw, Raw]]:
    """The proxy, and the server behind it."""
    with raw(secured(papers.good)) as server, raw(forwarding(server.port)) as proxy:
        yield proxy, server


def test_through_a_proxy_to_a_name_that_only_it_knows(papers: Papers, tunnel: tuple[Raw, Raw]) -> None:
    proxy, server = tunnel
    environ = {"SSL_CERT_FILE": str(papers.authority), "HTTPS_PROXY": f"http://us%40er:pass@127.0.0.1:{proxy.port}"}
    client = connect(f"https://{HOST}", environ=environ)
    assert client.get("/x") == {}
    assert client.change("POST", "/x", {"a": 1}) == {}
    assert server.requests == 2
    told = b"".join(proxy.heard)
    assert b"CONNECT service.example:443 HTTP/1.1" in told
    assert b"Proxy-Authorization: Basic dXNAZXI6cGFzcw==" in told, "us@er:pass"
    assert SECRET.encode() not in told, "the proxy sees no credentials of ours"
    assert not any(b"Proxy-Authorization" in each for each in server.heard)


def test_plain_http_through_a_proxy() -> None:
    with raw(answering(OK)) as server, raw(forwarding(server.port)) as proxy:
        assert connect(f"http://{HOST}", environ={"http_proxy": f"127.0.0.1:{proxy.port}"}).get("/x") == {}
        assert b"GET http://service.example/x HTTP/1.1" in proxy.heard[0]


def test_loopback_is_never_asked_through_a_proxy() -> None:
    with raw(answering(OK)) as server, raw(answering(OK)) as proxy:
        environ = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), f"http://127.0.0.1:{proxy.port}")
        for host in ("127.0.0.1", "localhost"):
            assert connect(f"http://{host}:{server.port}", environ=environ).get("/x") == {}
        assert proxy.heard == []


def test_the_environment_of_the_process_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is an argument: what this process has is not looked at."""
    with raw(answering(OK)) as server, raw(answering(OK)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", "/dev/null")
        failure(lambda: connect("http://no-such-host.invalid").change("POST", "/x"))
        connect(server.url).get("/x")
        assert proxy.heard == []


@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("refusal", [
    b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", b"", None,
], ids=["407", "cut", "dead"])
def test_a_proxy_that_does_not_help(refusal: bytes | None, changing: bool) -> None:
    """F63: it is told which proxy, and who named it; nothing reached the service."""
    def talk(proxy: Raw, connection: socket.socket, number: int) -> None:
        proxy.request(connection, number)
        connection.sendall(refusal or b"")

    with raw(talk) as proxy:
        port = closed_port() if refusal is None else proxy.port
        client = connect(f"https://{HOST}", environ={"https_proxy": f"http://user:canary-pass@127.0.0.1:{port}"})
        error = failure(lambda: client.change("POST", "/x") if changing else client.get("/x"))
        assert error.ambiguous is False
        assert "https_proxy" in error.detail
        assert "canary-pass" not in f"{error.summary} {error.detail} {error.__cause__}"
        assert HOST in error.summary


def test_a_proxy_that_is_none() -> None:
    with pytest.raises(BackendError) as caught:
        connect(f"https://{HOST}", environ={"ALL_PROXY": "socks5://127.0.0.1:1"})
    assert "ALL_PROXY" in caught.value.summary
