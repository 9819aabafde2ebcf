"""The API as tests use it to look and to interfere: small, and not the client under test."""

import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

from jobform.clients.tls import shareable

Object = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
PASSING = (404, 409, 429, 500, 503, 504)
"""What a played controller is answered in passing: the object has gone or changed, or the server is busy. The next round sees."""


class ApiFailure(Exception):
    """An answer of 400 and more."""

    def __init__(self, status: int, body: Object) -> None:
        super().__init__(f"{status} {body.get('reason', '')}: {body.get('message', body)}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a cluster: what a kubeconfig holds. A given cluster may use a client certificate, ours use tokens."""

    server: str
    authority: str
    token: str = ""
    certificate: str = ""
    key: str = ""

    @staticmethod
    def read(kubeconfig: Path) -> "Access":
        """The current context of a kubeconfig with a token or certificate: commands that fetch credentials are not run."""
        content = yaml.safe_load(kubeconfig.read_text())
        context = _named(content["contexts"], content["current-context"])["context"]
        cluster = _named(content["clusters"], context["cluster"])["cluster"]
        user = _named(content["users"], context["user"])["user"]

        def text(holder: Object, key: str) -> str:
            if f"{key}-data" in holder:
                return base64.b64decode(holder[f"{key}-data"]).decode()
            return (kubeconfig.parent / holder[key]).read_text() if key in holder else ""

        return Access(
            cluster["server"], text(cluster, "certificate-authority"), user.get("token", ""),
            text(user, "client-certificate"), text(user, "client-key"),
        )

    def write(self, path: Path, *, namespace: str = "default", context: str = "test") -> Path:
        """A kubeconfig with everything inside, readable by its owner alone."""
        cluster = {"server": self.server} | _encoded({"certificate-authority": self.authority})
        user = {"token": self.token} if self.token else _encoded({"client-certificate": self.certificate, "client-key": self.key})
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{"name": context, "cluster": cluster}], "users": [{"name": context, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": namespace}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path


def _encoded(texts: Mapping[str, str]) -> dict[str, str]:
    return {f"{key}-data": base64.b64encode(text.encode()).decode() for key, text in texts.items() if text}


def _named(items: list[Object], name: str) -> Object:
    return next(item for item in items if item["name"] == name)


def trust(access: Access, folder: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.authority or None)
    if access.certificate:
        import tempfile  # only clusters that are given need it, and ssl reads certificates from files alone

        with tempfile.TemporaryDirectory(dir=folder) as held:
            (Path(held) / "pair").write_text(access.certificate + "\n" + access.key)
            context.load_cert_chain(Path(held) / "pair")
    return shareable(context)


@dataclass(frozen=True, slots=True)
class Api:
    """Calls of one user. Paths are the server's own, such as /apis/batch/v1/namespaces/x/jobs/y."""

    access: Access
    _pool: urllib3.PoolManager = field(repr=False, compare=False)

    @staticmethod
    def open(access: Access) -> "Api":
        options: dict[str, Any] = {"ssl_context": trust(access)} if access.server.startswith("https:") else {}
        return Api(access, urllib3.PoolManager(maxsize=20, retries=False, timeout=60.0, **options))

    def raw(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, Any] | None = None,
        content_type: str = "application/json", accept: str = "",
    ) -> tuple[int, bytes]:
        """Status and bytes of one call, whatever the status is."""
        headers = {"Authorization": f"Bearer {self.access.token}"} if self.access.token else {}
        headers |= {"Accept": accept} if accept else {}
        url = self.access.server + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, url, body=content, headers=headers | {"Content-Type": content_type})
        return answer.status, answer.data

    def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """The object in the answer. Raises ApiFailure."""
        status, content = self.raw(method, path, body, query=query, content_type=content_type)
        try:
            decoded: Object = json.loads(content)
        except ValueError:
            decoded = {"message": content.decode(errors="replace")[:500]}
        if status >= 400:
            raise ApiFailure(status, decoded)
        return decoded

    def get(self, path: str, **query: Any) -> Object:
        return self.call("GET", path, query=query)

    def maybe(self, path: str) -> Object | None:
        """The object, or None if there is none."""
        try:
            return self.call("GET", path)
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def items(self, path: str, selector: str = "") -> list[Object]:
        return list(self.call("GET", path, query={"labelSelector": selector} if selector else None)["items"])

    def create(self, path: str, body: Object, **query: Any) -> Object:
        return self.call("POST", path, body, query=query)

    def apply(self, path: str, body: Object, manager: str = "test", force: bool = True) -> Object:
        query = {"fieldManager": manager, "force": str(force).lower()}
        return self.call("PATCH", path, body, query=query, content_type=APPLY)

    def merge(self, path: str, body: Object, manager: str = "test") -> Object:
        """A merge patch: None removes a field."""
        return self.call("PATCH", path, body, query={"fieldManager": manager}, content_type=MERGE)

    def delete(self, path: str, policy: str = "Background") -> Object:
        return self.call("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy})

    def remove(self, path: str) -> None:
        """The same, quiet if it is gone already: who else removes it may be first."""
        try:
            self.delete(path)
        except ApiFailure as failure:
            if failure.status != 404:
                raise

    def wait(self, path: str, until: Callable[[Object | None], bool], *, timeout: float = 120.0, what: str = "") -> Object:
        """Asks for the object at `path` until `until(object or None)` holds, and returns it ({} for None).

        A server that is busy (429, as one that prepares the storage of a new kind is, or 5xx) is asked again.
        """
        ends = time.monotonic() + timeout
        seen: Object | None = None
        while True:
            try:
                seen = self.maybe(path)
                if until(seen):
                    return seen or {}
            except ApiFailure as failure:
                if failure.status not in (429, 500, 503, 504):
                    raise
            assert time.monotonic() < ends, f"waited {timeout:g} s for {what or path}; last seen: {json.dumps(seen)[:3000]}"
            time.sleep(0.05)
