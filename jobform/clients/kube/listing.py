"""Lists in pages."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.wire import Query
from jobform.model.values import Json

PAGE = 500
_MOST_PAGES = 2_000
_RESTARTS = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A whole list. resource_version: of which moment, to watch from."""

    items: Sequence[T]
    resource_version: str

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def whole(item: dict[str, Json]) -> dict[str, Json]:
    """Keep the whole object."""
    return item


def read_pages(page: Callable[[Query], dict[str, Json]], query: Query, keep: Callable[[dict[str, Json]], T]) -> Listing[T]:
    """All pages of a list, begun again when the server has forgotten where the last page ended (410)."""
    for _ in range(_RESTARTS):
        try:
            return _read(page, query, keep)
        except KubeError as error:
            if error.status != 410:
                raise
            last = error
    raise last


def _read(page: Callable[[Query], dict[str, Json]], query: Query, keep: Callable[[dict[str, Json]], T]) -> Listing[T]:
    kept: list[T] = []
    token: str | None = None
    for _ in range(_MOST_PAGES):
        body = page({"limit": PAGE, **query, "continue": token})
        metadata, items = body.get("metadata"), body.get("items")
        if not isinstance(metadata, dict) or not isinstance(items, list | None):
            raise KubeError(200, "BadAnswer", "a list without metadata or items")
        api, kind = body.get("apiVersion"), str(body.get("kind", "")).removesuffix("List")
        for item in items or ():
            if not isinstance(item, dict):
                raise KubeError(200, "BadAnswer", "a list of something else than objects")
            item.setdefault("apiVersion", api)  # built-in kinds say it once for the whole list
            item.setdefault("kind", kind)
            kept.append(keep(item))
        following = metadata.get("continue")
        if not following:
            return Listing(kept, str(metadata.get("resourceVersion") or ""))
        if following == token or not isinstance(following, str):
            raise KubeError(200, "BadAnswer", "a list that does not go on")
        token = following
    raise KubeError(200, "BadAnswer", f"a list of more than {_MOST_PAGES} pages")
