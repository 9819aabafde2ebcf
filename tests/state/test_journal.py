"""The journal's text: what was written is read, a torn tail is left out, anything else is refused."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobform.engine.journal import event_lines, header_line, read_events, read_journal
from jobform.model.errors import StateError
from jobform.model.event import Event, Held, Observed
from jobform.model.state import Phase
from tests.state import samples

HEADER = header_line(samples.LINEAGE, 7)


def held(number: int) -> Held:
    return Held("a", samples.AT, f"r{number}", "")


@given(st.lists(samples.events, max_size=8), st.lists(samples.events, max_size=3))
@settings(max_examples=60)
def test_round_trip(first: list[Event], then: list[Event]) -> None:
    start = HEADER + event_lines(first)
    journal = read_journal(start + event_lines(then), "journal")
    assert journal.events == (*first, *then)
    assert journal.header is not None
    assert (journal.header.lineage, journal.header.serial, journal.torn) == (samples.LINEAGE, 7, False)
    assert journal.lines == 1 + len(first) + len(then)
    assert read_events(event_lines(then), "journal", 2) == (tuple(then), journal.size - len(start))


@given(st.lists(samples.events, min_size=1, max_size=3), st.data())
@settings(max_examples=60)
def test_truncated_anywhere_it_is_a_prefix(events: list[Event], data: st.DataObject) -> None:
    whole = HEADER + event_lines(events)
    end = data.draw(st.integers(0, len(whole)))
    journal = read_journal(whole[:end], "journal")
    assert journal.events == tuple(events[: len(journal.events)])
    assert journal.torn == (journal.size < end)
    assert len(journal.events) == max(0, whole[:end].count(b"\n") - 1)
    assert (journal.header is None) == (end < len(HEADER))


def test_truncated_at_every_byte() -> None:
    whole = HEADER + event_lines([held(1), held(2)])
    assert {len(read_journal(whole[:end], "j").events) for end in range(len(whole) + 1)} == {0, 1, 2}


def test_every_flipped_byte_in_a_whole_line_is_refused() -> None:
    whole = HEADER + event_lines([held(1), held(2)])
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        if whole[place : place + 1] == b"\n" and place == len(whole) - 1:
            continue  # without its line break the last line is torn
        with pytest.raises(StateError) as caught:
            read_journal(bytes(flipped), "state.journal")
        assert "state.journal:" in caught.value.diagnostics[0].summary


@pytest.mark.parametrize("broken", [
    b"\n", b"{}\n", b'{"crc":"00000000","event":{}}\n', b"\x00" * 50 + b"\n", b"\xff\n", b"[" * 5000 + b"\n",
])
def test_bad_lines_name_their_number(broken: bytes) -> None:
    with pytest.raises(StateError) as caught:
        read_journal(HEADER + event_lines([held(1)]) + broken + event_lines([held(2)]), "state.journal")
    [finding] = caught.value.diagnostics
    assert (finding.code, finding.summary.split()[0]) == ("journal_malformed", "state.journal:3")
    with pytest.raises(StateError):
        read_journal(broken + HEADER, "state.journal")


def test_newer_format_is_refused() -> None:
    body = b'{"format_version":2,"lineage":"x","serial":1}'
    with pytest.raises(StateError) as caught:
        read_journal(b'{"crc":"%08x","journal":%s}\n' % (zlib.crc32(body), body), "state.journal")
    assert caught.value.diagnostics[0].code == "journal_newer"


def test_what_json_cannot_hold_is_not_written() -> None:
    with pytest.raises(StateError) as caught:
        event_lines([Observed("train", 1, samples.AT, Phase.SUCCEEDED, outputs={"loss": float("nan")})])
    assert caught.value.diagnostics[0].address == "train"
