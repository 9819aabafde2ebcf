"""Damage, as hypothesis strategies: to bytes, and to JSON documents at any depth."""

import copy
import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**40, 0.5, -0.0, 1e308, "", " ", "x", "0", "-1", "..", "../out", "/dev/null",
    "\u202e", "\x00", "\ud800", "a" * 70_000, "{{", "{{ 1 }}", "{{ 1 // 0 }}", "{{ var.x }}", "{{ jobs.prep.outputs }}",
    "{{ secret('S') }}", "{% if %}", "10m", "0s", "99999d", "2026-11-23T02:53:08.000000Z", "2026-13-40T99:00:00Z", "running",
    "pending", "succeeded", "failed", "unknown", "submit", "delete", "create", "rerun", "replace", "moved", "train", "train[n=1]",
    "train[", "prep", "here", "local", "file", [], {}, [[]], {"": ""}, ["prep"], ["train", "train"], {"n": [1, 2]},
    {"job": "prep", "when": "failed"}, {"expr": "{{ 1 }}", "with": {}},
]
KEYS = ["", "x", "needs", "spec", "n", "attempts", "phase", "intent", "hold", "train", "train[n=3]", "on", "<<", "matrix"]
BYTES = [b"\n", b"\t", b"{", b"}", b"]", b": ", b"- ", b"&a ", b"*a", b"!!x ", b"\xff\xfe", b"\x00"]


def damaged_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes after a few random edits, or other bytes altogether."""
    place = st.integers(0, len(data))
    some = st.binary(max_size=12) | st.sampled_from(BYTES)
    edits = st.lists(st.tuples(place, place, some, st.booleans()), min_size=1, max_size=4)
    return edits.map(lambda made: _edited(data, made)) | st.binary(max_size=200)


def _edited(data: bytes, edits: list[tuple[int, int, bytes, bool]]) -> bytes:
    for first, second, new, near in edits:
        start = min(first, len(data))
        end = min(start + 1, len(data)) if near else max(start, min(second, len(data)))
        data = data[:start] + new + data[end:]
    return data


@st.composite
def damaged_json(draw: st.DrawFn, document: Any) -> Any:
    """The document after one to three changes: a value replaced by an odd or a foreign one, a key or an item gone or new."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(changed))
        parent, key = draw(st.sampled_from(places)) if places else (None, None)
        if parent is None:
            return draw(st.sampled_from(VALUES))
        value = copy.deepcopy(draw(st.sampled_from(VALUES) | st.sampled_from([holder[at] for holder, at in places])))
        match draw(st.sampled_from(["replace", "replace", "replace", "drop", "add"])):
            case "replace":
                parent[key] = value
            case "drop":
                del parent[key]
            case _ if isinstance(parent, list):
                parent.insert(key, value)
            case _:
                parent[draw(st.sampled_from(KEYS))] = value
    return changed


@st.composite
def twisted_json(draw: st.DrawFn, document: Any) -> Any:
    """The document with values that each stand somewhere else in it, or nearly so: well-formed, and a lie."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 4))):
        holder, key = draw(st.sampled_from(list(_places(changed))))
        value = holder[key]
        if isinstance(value, list) and value and draw(st.booleans()):
            item = copy.deepcopy(draw(st.sampled_from(value)))
            value.insert(draw(st.integers(0, len(value))), item)
        elif isinstance(value, list) and value:
            del value[draw(st.integers(0, len(value) - 1))]
        elif isinstance(value, int) and not isinstance(value, bool):
            holder[key] = draw(st.integers(0, 4))
        else:
            like = [there[at] for there, at in _places(changed) if at == key or type(there[at]) is type(value)]
            same = [there[at] for there, at in _places(changed) if at == key]
            holder[key] = copy.deepcopy(draw(st.sampled_from(same) | st.sampled_from(like)))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value below the top, as its holder and its key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in list(items):
        yield value, key
        yield from _places(below)


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode("ascii")


def sealed_state(document: Any) -> bytes:
    """A state whose checksum fits, whatever it says."""
    if not isinstance(document, dict) or not document:
        return as_json(document)
    body = json.dumps({key: value for key, value in document.items() if key != "checksum"})[:-1].encode("ascii")
    return body + b',\n"checksum":"' + hashlib.sha256(body).hexdigest().encode("ascii") + b'"}\n'


def sealed_journal(lines: Any) -> bytes:
    """A journal of which every line's checksum fits. lines: pairs of a key and what it holds."""
    written = []
    for line in lines if isinstance(lines, list) else [lines]:
        key, content = line if isinstance(line, list) and len(line) == 2 else ("event", line)
        body = json.dumps(content)
        written.append(f'{{"crc":"{zlib.crc32(body.encode("ascii")):08x}",{json.dumps(key)}:{body}}}\n')
    return "".join(written).encode("ascii")


def journal_lines(data: bytes) -> list[list[Any]]:
    """What `sealed_journal` takes."""
    lines = [json.loads(line) for line in data.splitlines()]
    return [[key, line[key]] for line in lines for key in line if key != "crc"]
