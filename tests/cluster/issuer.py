"""An issuer of OpenID Connect that the cluster's API server believes. It refreshes tokens, and takes each refresh token once.

It runs as a process beside the API server, from its start: `python -m tests.cluster.issuer FOLDER PORT`. What it knows lies in
the cluster's folder, so that a test can make tokens itself: they are signed with the key of the service accounts.
"""

import base64
import json
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.cluster.loopback import Answer, Loopback

CLIENT = "kubernetes"
PORT = "issuer.port"
PAIR = ("issuer.crt", "issuer.key")
KEY = "sa.key"
GRANTS = "grants"
"""A folder with a file for each refresh token: the user, and seconds that a token of it lasts. A spent one is renamed."""

SPENT = ".spent"


@dataclass(frozen=True, slots=True)
class Issuer:
    """folder: the cluster's."""

    folder: Path
    port: int

    @staticmethod
    def of(folder: Path) -> "Issuer":
        """That of a running cluster."""
        return Issuer(folder, int((folder / PORT).read_text()))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate that proves it."""
        return self.folder / PAIR[0]

    def arguments(self) -> list[str]:
        """What makes an API server believe it: a token's `sub` is the user's name."""
        return [
            f"--oidc-issuer-url={self.url}", f"--oidc-client-id={CLIENT}", f"--oidc-ca-file={self.authority}",
            "--oidc-username-claim=sub", "--oidc-username-prefix=-",
        ]

    def token(self, user: str, seconds: float) -> str:
        """An id token. seconds: until it ends, negative for one that has ended."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": user, "iat": now - 3600, "exp": int(now + seconds)}
        signed = f"{_encoded({'alg': 'RS256', 'kid': 'one', 'typ': 'JWT'})}.{_encoded(claims)}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.folder / KEY)]
        signature = subprocess.run(command, input=signed.encode(), check=True, capture_output=True).stdout
        return f"{signed}.{_plain(signature)}"

    def grant(self, user: str, lifetime: float) -> str:
        """A refresh token: once, it gives a token of `user` for so many seconds, and another one of these."""
        grants = self.folder / GRANTS
        grants.mkdir(exist_ok=True)
        name = secrets.token_hex(16)
        (grants / name).write_text(json.dumps([user, lifetime]))
        return name

    def is_spent(self, grant: str) -> bool:
        """Whether a refresh token was used."""
        return (self.folder / GRANTS / (grant + SPENT)).exists()

    def provider(self, user: str, seconds: float, lifetime: float = 60, **config: Any) -> dict[str, Any]:
        """The `user` of a kubeconfig whose id token ends in so many seconds; lifetime: of those that follow.

        config: what takes the place of its own keys; None for a key that is not there.
        """
        given = {
            "idp-issuer-url": self.url, "client-id": CLIENT, "client-secret": "issuer-secret",
            "id-token": self.token(user, seconds), "refresh-token": self.grant(user, lifetime),
            "idp-certificate-authority": str(self.authority), **config,
        }
        return {"auth-provider": {"name": "oidc", "config": {key: value for key, value in given.items() if value is not None}}}

    def serve(self) -> None:
        """Until the process ends."""
        with Loopback(self._answer, self.port, (self.folder / PAIR[0], self.folder / PAIR[1])) as server:
            server.thread.join()

    def _answer(self, method: str, path: str, body: bytes) -> Answer:
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.url, "jwks_uri": f"{self.url}/keys", "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        if path == "/keys":
            return 200, {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "e": "AQAB", "n": self._modulus()}]}
        if (method, path) != ("POST", "/token"):
            return 404, {"error": "not_found"}
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        given = self.folder / GRANTS / Path(form.get("refresh_token", "none")).name
        try:
            spent = given.rename(given.with_suffix(SPENT))  # whoever is first has it
        except FileNotFoundError:
            return 400, {"error": "invalid_grant", "error_description": "the refresh token is not known"}
        user, lifetime = json.loads(spent.read_text())
        return 200, {
            "token_type": "Bearer", "access_token": "none", "id_token": self.token(user, lifetime),
            "refresh_token": self.grant(user, lifetime), "expires_in": int(lifetime),
        }

    def _modulus(self) -> str:
        command = ["openssl", "rsa", "-in", str(self.folder / KEY), "-modulus", "-noout"]
        said = subprocess.run(command, check=True, capture_output=True).stdout
        return _plain(bytes.fromhex(said.decode().partition("=")[2].strip()))


def _encoded(part: object) -> str:
    return _plain(json.dumps(part).encode())


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


if __name__ == "__main__":
    Issuer(Path(sys.argv[1]), int(sys.argv[2])).serve()
