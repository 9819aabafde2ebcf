"""The job-like kinds: where each keeps its pods, how it is stopped, and what its status means. All of it is data.

What ships is `kinds.json`; a project adds its own under `kinds:` of a backend's block, in the same form.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path as FilePath

from jobform.backends.kubernetes.kinds_status import STANDARD, Judged, StatusRules
from jobform.model.values import Json, Path

__all__ = ["Judged", "Kind", "Kinds"]

EVERY = "*"
"""In a pattern of a path: every item of the list or map that stands there."""

Pattern = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PodLabel:
    """A label by which the pods of an object are found. value: path in the object to what the label holds."""

    label: str
    value: Path


@dataclass(frozen=True, slots=True)
class Kind:
    """One job-like kind.

    key: its name in `objects`, unique over all kinds. api: the apiVersion; apis: all that are known, the preferred one first.
    plural: of the REST path, "" where discovery must say. template_paths: where pod templates lie, `*` for every item.
    suspend_path, ttl_path: None where the kind has none.
    pods: how the pods of an object are found, any of them. index_label: of the pods, which tells them apart, "" if none does.
    queue: whether Kueue manages the kind. made: what its controller puts into an object, unless the flag at `made_unless` is
    true. status: what its status means.
    """

    key: str
    api: str
    kind: str
    plural: str = ""
    apis: tuple[str, ...] = ()
    template_paths: tuple[Pattern, ...] = ()
    suspend_path: Path | None = None
    ttl_path: Path | None = None
    pods: tuple[PodLabel, ...] = ()
    index_label: str = ""
    queue: bool = False
    made: tuple[Path, ...] = ()
    made_unless: Path = ()
    status: StatusRules = STANDARD

    def judge(self, obj: Mapping[str, Json]) -> Judged:
        """What an object says of its run. obj: as the server gave it; nothing in it is trusted to have any shape."""
        return self.status.judge(obj)

    def templates(self, obj: Mapping[str, Json]) -> Iterator[Path]:
        """Where pod templates lie in one object, as concrete paths; list items by position."""
        for pattern in self.template_paths:
            yield from _matching(dict(obj), pattern, ())

    def generated(self, obj: Mapping[str, Json]) -> tuple[Path, ...]:
        """The paths that the kind's controller fills in, in an object with this content."""
        return () if self.made_unless and _at(dict(obj), self.made_unless) is True else self.made

    def pod_selectors(self, obj: Mapping[str, Json]) -> tuple[str, ...]:
        """Label selectors whose pods are the object's; a label whose value is not known yet is left out."""
        found = []
        for pod in self.pods:
            value = _at(dict(obj), pod.value)
            if isinstance(value, str) and value:
                found.append(f"{pod.label}={value}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Every kind that one project may use, by key."""

    by_key: Mapping[str, Kind]

    @classmethod
    def builtin(cls) -> "Kinds":
        """Those that ship with jobform."""
        return _builtin()

    def with_project(self, blocks: Json) -> "Kinds":
        """These and a project's own, which win. blocks: the `kinds` of a backend's block, valid by its schema, or None."""
        if not isinstance(blocks, dict) or not blocks:
            return self
        return Kinds({**self.by_key, **{key: kind_from(key, block) for key, block in blocks.items() if isinstance(block, dict)}})

    def of(self, api: str, kind: str) -> Kind | None:
        """The kind of an object by its apiVersion and kind, with that apiVersion as its `api`. Project's own kinds come first."""
        for known in reversed(tuple(self.by_key.values())):
            if known.kind == kind and api in known.apis:
                return known if known.api == api else replace(known, api=api)
        return None

    def all(self) -> tuple[Kind, ...]:
        """All of them, in the order of the table."""
        return tuple(self.by_key.values())


def data() -> Mapping[str, Json]:
    """What `kinds.json` holds."""
    return _data()


@cache
def _data() -> dict[str, Json]:
    loaded: dict[str, Json] = json.loads((FilePath(__file__).parent / "kinds.json").read_text(encoding="utf-8"))
    return loaded


@cache
def _builtin() -> Kinds:
    listed = _data()["kinds"]
    assert isinstance(listed, dict), "kinds.json ships with jobform"
    return Kinds({key: kind_from(key, block) for key, block in listed.items() if isinstance(block, dict)})


def kind_from(key: str, block: Mapping[str, Json]) -> Kind:
    """A kind as `kinds.json` and a project's `kinds:` write it."""
    listed = block.get("api")
    apis = tuple(str(api) for api in listed) if isinstance(listed, list) else (str(listed),)
    pods = block.get("pods")
    return Kind(
        key=key, api=apis[0], kind=str(block.get("kind", key)), plural=str(block.get("plural", "")), apis=apis,
        template_paths=tuple(path(item) for item in _texts(block.get("templates"))),
        suspend_path=_optional(block.get("suspend")), ttl_path=_optional(block.get("ttl")),
        pods=tuple(PodLabel(label, path(str(value))) for label, value in (pods if isinstance(pods, dict) else {}).items()),
        index_label=str(block.get("index_label", "")), queue=block.get("queue") is True,
        made=tuple(tuple(map(str, item)) for item in _lists(block.get("generated"))),
        made_unless=_optional(block.get("generated_unless")) or (), status=StatusRules.of(block),
    )


def path(text: str) -> Pattern:
    """`spec.template` as a path."""
    return tuple(text.split("."))


def _optional(text: Json) -> Path | None:
    return path(text) if isinstance(text, str) else None


def _texts(listed: Json) -> Iterable[str]:
    return [item for item in listed if isinstance(item, str)] if isinstance(listed, list) else []


def _lists(listed: Json) -> Iterable[list[Json]]:
    return [item for item in listed if isinstance(item, list)] if isinstance(listed, list) else []


def _at(value: Json, where: Path) -> Json:
    for part in where:
        value = value.get(str(part)) if isinstance(value, dict) else None
    return value


def _matching(value: Json, pattern: Pattern, done: Path) -> Iterator[Path]:
    if not pattern:
        if isinstance(value, dict):
            yield done
        return
    part, rest = pattern[0], pattern[1:]
    if part != EVERY:
        if isinstance(value, dict) and part in value:
            yield from _matching(value[part], rest, (*done, part))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _matching(item, rest, (*done, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _matching(item, rest, (*done, index))
