"""What a job hands on: the JSON object that it wrote to `$JOBFORM_OUTPUT`.

The launcher uses this module, so it needs the standard library only.
"""

import json
import math
import os
import stat
from pathlib import Path

from jobform.backends.local.proof import KEPT, Value

DEPTH = 64
"""How deep lists and objects may stand in each other."""


def read_outputs(path: Path) -> tuple[dict[str, Value] | None, str]:
    """The object and "", None and "" when the job wrote none, or None and what is wrong with it."""
    try:
        data = _read(path)
        if data is None:
            return None, ""
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite,
        )
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
        _check(value, 1)
    except UnicodeError:
        return None, "the outputs are ignored: they are not UTF-8 text"
    except RecursionError:
        return None, f"the outputs are ignored: they are nested deeper than {DEPTH} levels"
    except OSError as error:
        return None, f"the outputs are ignored: {error.strerror}"
    except ValueError as error:
        return None, f"the outputs are ignored: {error}"
    return value, ""


def _read(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("$JOBFORM_OUTPUT is not a regular file")
        data = file.read(KEPT + 1)
    if len(data) > KEPT:
        raise ValueError(f"they are larger than {KEPT // 1024} KiB")
    return data


def _unique(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return value


def _refuse(text: str) -> Value:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _check(value: Value, depth: int) -> None:
    """Depth, and text that can be written as UTF-8 (a lone surrogate cannot)."""
    if depth > DEPTH:
        raise RecursionError
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _check(item, depth + 1)
