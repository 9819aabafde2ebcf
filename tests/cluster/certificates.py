"""Certificates of the tests, made by openssl: of small servers on loopback, and of users who are known by theirs."""

import subprocess
import tempfile
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def self_signed(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key: `name`.crt and `name`.key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    extensions = ("subjectAltName=IP:127.0.0.1,DNS:localhost", "keyUsage=critical,digitalSignature,keyCertSign")
    added = [word for extension in extensions for word in ("-addext", extension)]
    _openssl("req", "-x509", *CURVE, "-days", "2", "-subj", "/CN=127.0.0.1", *added, "-keyout", key, "-out", certificate)
    return certificate, key


def make_authority(authority: Path) -> None:
    """Who vouches for users: `authority`.crt and `authority`.key."""
    files = ("-keyout", f"{authority}.key", "-out", f"{authority}.crt")
    _openssl("req", "-x509", *CURVE, "-days", "2", "-subj", "/CN=jobform tests", *files)


def of_user(authority: Path, user: str, days: int = 1) -> tuple[str, str]:
    """A certificate of `user`, who is in no group, and its key, as PEM. days: that it is valid for; -1 for one that has ended."""
    with tempfile.TemporaryDirectory() as held:
        key, request, certificate = (Path(held) / name for name in ("key", "request", "certificate"))
        _openssl("req", *CURVE, "-subj", f"/CN={user}", "-keyout", key, "-out", request)
        _openssl(
            "x509", "-req", "-in", request, "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-days", days,
            "-out", certificate,
        )
        return certificate.read_text(), key.read_text()


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *(str(word) for word in words)], check=True, capture_output=True)
