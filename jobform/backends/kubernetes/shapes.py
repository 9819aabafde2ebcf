"""Parts of what a cluster says, whatever shape it has: a wrong shape reads as nothing there, never as a traceback."""

from collections.abc import Iterator

from jobform.model.values import Json

LINE = 500
"""The most characters of one line of detail."""


def at(value: Json, *path: str) -> Json:
    """What lies below these keys, None when it is not there."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def mapping(value: Json, *path: str) -> dict[str, Json]:
    """The map below these keys, {} when there is none."""
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def maps(value: Json, *path: str) -> Iterator[dict[str, Json]]:
    """The maps in the list below these keys."""
    found = at(value, *path)
    yield from (item for item in (found if isinstance(found, list) else []) if isinstance(item, dict))


def text(value: Json, *path: str) -> str:
    """The text below these keys, "" when there is none."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def number(value: Json, *path: str) -> int | None:
    """The whole number below these keys, None when there is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def line(value: str) -> str:
    """A text of the cluster as one line of bounded length."""
    flat = " ".join(value[: 2 * LINE].split())
    return flat if len(flat) <= LINE else f"{flat[: LINE - 3]}..."


def condition(obj: Json, name: str) -> dict[str, Json]:
    """A condition of an object's status by its type, {} when it has none."""
    return next((item for item in maps(obj, "status", "conditions") if item.get("type") == name), {})
