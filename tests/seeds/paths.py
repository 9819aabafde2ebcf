"""The fields of a JSON value as paths: what a page shows and what a request holds are compared as these."""

import json
import re
from collections.abc import Iterable, Iterator

from jobform.model.values import Json
from jobform.sandbox.wire import Call

_NAME = re.compile(r"[a-z][A-Za-z0-9_]*\Z")
"""How services name a field. Other keys are somebody's own: the object is a map."""


def shown(value: Json, at: str = "") -> Iterator[str]:
    """The fields of an example body. An object that is empty, or whose keys are no names of fields, is a map."""
    if isinstance(value, dict):
        if at and not (value and all(_NAME.match(key) for key in value)):
            yield f"{at}{{}}"
            return
        for key, item in value.items():
            yield from shown(item, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for item in value:
            yield from shown(item, f"{at}[]")
    else:
        yield at


def held(value: Json, at: str = "") -> Iterator[str]:
    """Every path that a body has, an object read both ways: as fields, and as a map."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{at}{{}}"  # whatever its keys are
            yield from held(item, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for item in value:
            yield from held(item, f"{at}[]")


def of_calls(calls: Iterable[Call]) -> set[str]:
    """Every path in the JSON bodies of calls."""
    bodies = [call for call in calls if call.headers.get("content-type", "").split(";")[0].strip() == "application/json"]
    return {path for call in bodies for path in held(json.loads(call.body))}
