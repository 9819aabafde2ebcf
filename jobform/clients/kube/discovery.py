"""What a server offers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.wire import Answer
from jobform.model.values import Json

_AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
_CAP = 32 << 20


@dataclass(frozen=True, slots=True)
class Resource:
    """Where objects of a kind live. verbs: what the server can do with them, whoever asks."""

    api: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]


class _Ask(Protocol):
    def __call__(self, method: str, path: str, *, accept: str = ..., cap: int = ...) -> Answer: ...


def discover(ask: _Ask) -> dict[tuple[str, str], Resource]:
    """Every resource by (api, kind): two calls where the server answers aggregated (1.27 on), one per group version elsewhere.

    A group whose own server is down is left out.
    """
    found: dict[tuple[str, str], Resource] = {}
    for path in ("/api", "/apis"):
        body = ask("GET", path, accept=_AGGREGATED, cap=_CAP).body
        resources = _aggregated(body) if body.get("kind") == "APIGroupDiscoveryList" else _one_by_one(ask, path, body)
        for resource in resources:
            found.setdefault((resource.api, resource.kind), resource)
    return found


def _aggregated(body: dict[str, Json]) -> Iterator[Resource]:
    for group in _objects(body.get("items")):
        name = _text(_object(group.get("metadata")).get("name"))
        for version in _objects(group.get("versions")):
            api = f"{name}/{_text(version.get('version'))}" if name else _text(version.get("version"))
            for item in _objects(version.get("resources")):
                kind = _text(_object(item.get("responseKind")).get("kind"))
                yield _resource(api, kind, item.get("resource"), item.get("scope") == "Namespaced", item.get("verbs"))


def _one_by_one(ask: _Ask, path: str, body: dict[str, Json]) -> Iterator[Resource]:
    if path == "/api":
        versions = [_text(version) for version in _list(body.get("versions"))]
    else:
        versions = [
            _text(version.get("groupVersion"))
            for group in _objects(body.get("groups"))
            for version in _objects(group.get("versions"))
        ]
    for api in versions:
        try:
            listed = ask("GET", f"{path}/{api}").body
        except KubeError as error:
            if error.status in (404, 503):  # an extension whose server is away must not hide the rest
                continue
            raise
        for item in _objects(listed.get("resources")):
            if "/" not in _text(item.get("name")):
                yield _resource(api, _text(item.get("kind")), item.get("name"), item.get("namespaced") is True, item.get("verbs"))


def _resource(api: str, kind: str, plural: Json, namespaced: bool, verbs: Json) -> Resource:
    return Resource(api, kind, _text(plural), namespaced, frozenset(_text(verb) for verb in _list(verbs)))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""

