"""The journal's text: one JSON object per line, the first one its header, each under a checksum of its own.

    {"crc":"1c291ca3","journal":{"format_version":1,"lineage":"3f0c...","serial":7}}
    {"crc":"9ae0daaf","event":{"type":"begin","address":"train", ...}}

`crc` is the CRC-32 of the exact bytes of the object after `"journal":` or `"event":`, as eight hex digits. `serial` is that of
the snapshot which the events continue. A line counts once its line break is written: a tail without one is torn, was never acted
upon, and is ignored by readers and cut by the next writer. Anything else that does not fit is an error.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from jobform.codec import event_from_json, event_to_json
from jobform.codec.shape import Malformed, Shape, natural, text
from jobform.codec.strict import collector_paused, read_json, write_json
from jobform.model.errors import JobformError, StateError
from jobform.model.event import Event
from jobform.model.version import VERSION

FORMAT = 1
MAX_LINE = 1 << 26

_LEAD = len(b'{"crc":"00000000",')


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says."""

    format_version: int
    lineage: str
    serial: int


@dataclass(frozen=True, slots=True)
class Journal:
    """What was read. header: None while not even the first line is whole. size: bytes of whole lines; lines: how many."""

    header: Header | None
    events: tuple[Event, ...]
    size: int
    lines: int
    torn: bool


_HEADER = Shape(Header, format_version=natural, lineage=text, serial=natural)


def header_line(lineage: str, serial: int) -> bytes:
    """The first line of a journal that continues the snapshot with this serial."""
    return _line("journal", write_json(_HEADER.write(Header(FORMAT, lineage, serial))))


def event_lines(events: Iterable[Event]) -> bytes:
    """The lines of some events. Raises StateError when one holds what JSON cannot hold."""
    lines: list[bytes] = []
    for event in events:
        try:
            lines.append(_line("event", write_json(event_to_json(event))))
        except Malformed as problem:
            raise StateError.of(
                "event_not_json", "An event holds a value that JSON cannot hold", detail=str(problem),
                address=getattr(event, "address", None),
            ) from None
    return b"".join(lines)


def read_journal(data: bytes, where: str) -> Journal:
    """A whole journal. where: its name in messages. Raises StateError."""
    end = data.find(b"\n") + 1
    if end == 0:
        return Journal(None, (), 0, 0, bool(data))
    try:
        header = _HEADER.decode(read_json(_body(data[: end - 1], b'"journal":'), MAX_LINE))
    except Malformed as problem:
        raise _bad_line(where, 1, str(problem)) from None
    if header.format_version > FORMAT:
        raise StateError.of(
            "journal_newer", f"{where} is of format {header.format_version}, this jobform {VERSION} reads up to format {FORMAT}",
            hint="Use the version of jobform that wrote it, or a newer one.",
        )
    events, size = read_events(data[end:], where, 2)
    return Journal(header, events, end + size, 1 + len(events), end + size < len(data))


def read_events(data: bytes, where: str, first_line: int) -> tuple[tuple[Event, ...], int]:
    """The events of whole lines and the bytes that they take; a torn tail is left. first_line: its number, for messages."""
    size = data.rfind(b"\n") + 1
    events: list[Event] = []
    with collector_paused():
        for line in data[:size].split(b"\n")[:-1]:
            try:
                events.append(event_from_json(read_json(_body(line, b'"event":'), MAX_LINE)))
            except Malformed as problem:
                raise _bad_line(where, first_line + len(events), str(problem)) from None
            except StateError as error:
                raise _bad_line(where, first_line + len(events), error.diagnostics[0].detail) from None
    return tuple(events), size


def _line(key: str, body: str) -> bytes:
    content = body.encode("ascii")
    return b'{"crc":"%08x","%s":%s}\n' % (zlib.crc32(content), key.encode("ascii"), content)


def _body(line: bytes, key: bytes) -> bytes:
    start = _LEAD + len(key)
    body = line[start:-1]
    if line[:8] != b'{"crc":"' or line[16:18] != b'",' or line[_LEAD:start] != key or line[-1:] != b"}":
        raise Malformed("not a line of a journal")
    if line[8:16] != b"%08x" % zlib.crc32(body):
        raise Malformed("its checksum does not fit its content")
    return body


def _bad_line(where: str, number: int, detail: str) -> JobformError:
    return StateError.of(
        "journal_malformed", f"{where}:{number} cannot be read", detail=detail,
        hint="Nothing was changed. What it records may have happened: restore it, or use `jobform state pull` on another copy.",
    )
