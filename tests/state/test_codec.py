"""State, events and plans survive the way to bytes and back; what does not fit is one clear finding."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from jobform import codec
from jobform.engine.record import Recorder
from jobform.model.change import Action, Change, Plan, Reason
from jobform.model.errors import StaleError, StateError
from jobform.model.event import EVENT_TYPES, Event, Held
from jobform.model.state import State
from tests.state import samples

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "state.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def small() -> State:
    state = State(samples.LINEAGE, 3)
    for event in samples.first_apply():
        Recorder(state).fold(event)
    return state


def sealed(text: str) -> bytes:
    """A document as jobform would seal it. text: without its closing brace."""
    body = text.encode()
    return body + b',\n"checksum":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def edited(edit: Callable[[dict[str, Any]], object]) -> bytes:
    """The small state, changed, and sealed again."""
    document = json.loads(codec.state_to_bytes(small()))
    del document["checksum"]
    edit(document)
    return sealed(json.dumps(document)[:-1])


# --- round trips ---


@given(samples.states())
@settings(max_examples=60)
def test_state_round_trip(state: State) -> None:
    data = codec.state_to_bytes(state)
    assert codec.state_from_bytes(data) == state
    assert codec.state_to_bytes(codec.state_from_bytes(data)) == data
    VALIDATOR.validate(json.loads(data))


@given(samples.events)
@settings(max_examples=200)
def test_event_round_trip(event: Event) -> None:
    for full in (False, True):
        document = codec.event_to_json(event, full=full)
        assert codec.event_from_json(json.loads(json.dumps(document))) == event
    assert EVENT_TYPES[str(document["type"])] is type(event)


@given(samples.plans)
@settings(max_examples=60)
def test_plan_round_trip(plan: Plan) -> None:
    assert codec.plan_from_bytes(codec.plan_to_bytes(plan)) == plan


def test_lone_surrogates_survive() -> None:
    """A job may print them; what it printed must not make the state unsavable."""
    event = Held("a", samples.AT, "\ud800", "\x00\u202e")
    assert codec.event_from_json(json.loads(json.dumps(codec.event_to_json(event)))) == event
    state = State("\ud800", specs={"x": {"\udfff": "\ud800"}})
    assert codec.state_from_bytes(codec.state_to_bytes(state)) == state


def test_equal_states_have_equal_bytes() -> None:
    one, other = small(), small()
    other.jobs = dict(reversed(other.jobs.items()))
    assert codec.state_to_bytes(one) == codec.state_to_bytes(other)


def test_snapshot_is_readable_line_by_line() -> None:
    lines = codec.state_to_bytes(small()).decode().splitlines()
    assert [line for line in lines if line.startswith(('"jobs":{"prep":', '"train":'))] == [lines[5], lines[6]]


def test_plan_documents_have_every_key() -> None:
    plan = Plan("p", samples.LINEAGE, None, None, (Change("a", Action.CREATE, Reason.NEW),), samples.AT)
    document = codec.plan_to_json(plan)
    assert {"format_version", "jobform_version", "digest", "target", "summary", "notes"} <= document.keys()
    [change] = document["changes"]
    assert change.keys() == {name.rstrip("_") for name in Change.__dataclass_fields__}
    assert document["summary"]["create"] == 1


# --- the state that is refused ---


def refused(data: bytes, code: str, *words: str) -> None:
    with pytest.raises(StateError) as caught:
        codec.state_from_bytes(data, "state.json")
    [finding] = caught.value.diagnostics
    assert finding.code == code
    told = f"{finding.summary} {finding.detail} {finding.hint}"
    assert [word for word in ("state.json", *words) if word not in told] == []
    assert len(told) < 1000


def test_every_flipped_byte_is_noticed() -> None:
    data = codec.state_to_bytes(small())
    for place in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 1
        with pytest.raises(StateError):
            codec.state_from_bytes(bytes(flipped))


def test_every_truncation_is_noticed() -> None:
    data = codec.state_to_bytes(small())
    for end in range(0, len(data), 11):
        with pytest.raises(StateError):
            codec.state_from_bytes(data[:end])


def test_newer_format_names_both_versions() -> None:
    data = edited(lambda document: document.update(format_version=2, jobform_version="9.1", jobs="of another kind"))
    refused(data, "state_newer", "format 2", "format 1", "9.1")


def test_unknown_features_are_refused() -> None:
    refused(edited(lambda document: document.update(features=["encrypted"])), "state_features", "encrypted")


def test_wrong_checksum() -> None:
    refused(codec.state_to_bytes(small()).replace(b'"serial":3', b'"serial":4'), "state_checksum", "checksum")


def test_missing_checksum_is_for_push_only() -> None:
    document = json.loads(codec.state_to_bytes(small()))
    del document["checksum"]
    data = json.dumps(document).encode()
    refused(data, "state_checksum")
    assert codec.state_from_bytes(data, sealed=False) == small()


@pytest.mark.parametrize(("edit", "place"), [
    (lambda d: d.pop("lineage"), "missing key 'lineage'"),
    (lambda d: d.update(extra=1), "unknown key 'extra'"),
    (lambda d: d.update(lineage=""), "lineage"),
    (lambda d: d.update(serial=-1), "at serial"),
    (lambda d: d.update(serial=float("inf")), "Infinity"),
    (lambda d: d.update(serial=1.0), "at serial"),
    (lambda d: d.update(serial=True), "at serial"),
    (lambda d: d.update(serial=10**30), "too large"),
    (lambda d: d.update(format_version="1"), "expected an integer"),
    (lambda d: d.update(format_version=0), "unknown format 0"),
    (lambda d: d.update(jobs=[]), "at jobs: expected an object, not a list"),
    (lambda d: d.update(features=[1]), "expected a string, not 1"),
    (lambda d: d["jobs"].update(prep=None), "at jobs.prep: expected an object, not null"),
    (lambda d: d["jobs"]["prep"].update(odd=1), "at jobs.prep: unknown key 'odd'"),
    (lambda d: d["jobs"]["prep"]["attempts"][0].pop("token"), "at jobs.prep.attempts[0]: missing key 'token'"),
    (lambda d: d["jobs"]["prep"]["attempts"][0].update(phase="done"), "at jobs.prep.attempts[0].phase: expected one of pending"),
    (lambda d: d["jobs"]["prep"]["desired"]["policy"]["rerun"].update(backoff=[1]), "rerun.backoff: expected 2 numbers"),
    (lambda d: d["jobs"]["prep"]["desired"].update(inputs={"a": 1}), "desired.inputs.a: expected a string"),
    (lambda d: d["specs"].update(x=1), "at specs.x: expected an object"),
    (lambda d: d["specs"].update(x=json.loads('{"a":' * 300 + "1" + "}" * 300)), "nested too deeply"),
])
def test_malformed_states(edit: Callable[[dict[str, Any]], object], place: str) -> None:
    refused(edited(edit), "state_malformed", place)


@pytest.mark.parametrize(("data", "word"), [
    (b"", "not JSON"), (b"null", "expected an object"), (b"[]", "expected an object"), (b"{", "not JSON"), (b"\xff", "not UTF-8"),
    (b"\xef\xbb\xbf{}", "not JSON"), (b"[" * 200_000, "nested too deeply"), (b'{"a":' * 200_000, "nested too deeply"),
    (b'{"a":NaN}', "NaN"), (b'{"a":-Infinity}', "Infinity"), (b'{"a":1e999}', "too large"),
    (b'{"serial":1,"serial":2}', "duplicate key 'serial'"),
    (b'{"format_version":' + b"9" * 5000 + b"}", "too large"),
])
def test_hostile_text(data: bytes, word: str) -> None:
    refused(data, "state_malformed", word)


# --- plans and events that are refused ---


@pytest.mark.parametrize(("edit", "word"), [
    (lambda d: d.update(format_version=2), "format 2"), (lambda d: d.pop("digest"), "missing key 'digest'"),
    (lambda d: d["summary"].update(create=0), "summary"),
    (lambda d: d["changes"][0].update(action="explode"), "changes[0].action"),
    (lambda d: d.update(changes={}), "changes"),
    (lambda d: d["changes"][0].update(running_seconds="long"), "running_seconds"),
])
def test_malformed_plans_are_stale(edit: Callable[[dict[str, Any]], object], word: str) -> None:
    plan = Plan("p", samples.LINEAGE, None, "d", (Change("a", Action.CREATE, Reason.NEW),), samples.AT)
    document = json.loads(codec.plan_to_bytes(plan))
    edit(document)
    with pytest.raises(StaleError) as caught:
        codec.plan_from_json(document)
    [finding] = caught.value.diagnostics
    assert word in f"{finding.summary} {finding.detail}"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"a":1,"a":2}', b"[" * 100_000, b"\xff", b'{"format_version":1}'])
def test_hostile_plan_files(data: bytes) -> None:
    with pytest.raises(StaleError):
        codec.plan_from_bytes(data)


@pytest.mark.parametrize("value", [
    None, [], {}, {"type": 1}, {"type": "explode"}, {"type": "held"}, {"type": "held", "address": 1, "at": "", "reason": ""},
    {"type": "released", "address": "a", "at": "", "extra": 1},
])
def test_malformed_events(value: Any) -> None:
    with pytest.raises(StateError):
        codec.event_from_json(value)


def test_nan_is_not_written() -> None:
    state = State(samples.LINEAGE, specs={"x": {"a": float("nan")}})
    with pytest.raises(StateError):
        codec.state_to_bytes(state)
