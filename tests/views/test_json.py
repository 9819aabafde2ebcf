"""Documents for machines: each follows its published schema, whatever there is to say, and is ASCII."""

import io
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jobform.model.change import Action, Change, FieldChange, Reason
from jobform.model.claims import Orphans, Why
from jobform.model.event import EVENT_TYPES
from jobform.model.state import Attempt, State
from jobform.protocols import Screen, View
from jobform.views.human import HumanView
from jobform.views.json import JsonView, plain
from jobform.views.markdown import MarkdownView
from tests.views import samples

SCHEMAS = Path(__file__).parents[2] / "schemas"
VIEW = JsonView(Screen(io.StringIO()))

DOCUMENTS: dict[str, tuple[str, Callable[[], str]]] = {
    "plan": ("plan", lambda: VIEW.plan(samples.everything())),
    "plan without anything": ("plan", lambda: VIEW.plan(samples.plan(target=None, digest=None))),
    "plan of every reason": ("plan", lambda: VIEW.plan(samples.plan(*(
        Change("train", Action.UPDATE, reason, fields=(FieldChange("spec.x", None, {"a": [1, 2.5, True]}, has_before=False),))
        for reason in Reason
    )))),
    "plan of every action": ("plan", lambda: VIEW.plan(samples.plan(*(
        Change("train", action, Reason.NEW) for action in Action
    )))),
    "diagnostics": ("diagnostics", lambda: VIEW.diagnostics(samples.findings())),
    "no diagnostics": ("diagnostics", lambda: VIEW.diagnostics(())),
    "status": ("status", lambda: VIEW.status(samples.state(), samples.NOW)),
    "status of nothing": ("status", lambda: VIEW.status(State("l"), samples.NOW)),
    "history of an address": ("history", lambda: VIEW.history(
        "train", samples.state().jobs["train[lr=0.1]"].attempts, samples.NOW)),
    "orphans": ("orphans", lambda: VIEW.orphans(samples.ORPHANS)),
    "no orphans": ("orphans", lambda: VIEW.orphans(Orphans(()))),
    "a run that was taken over": ("import", lambda: VIEW.takeover(samples.TAKEN)),
    "a run that differs": ("import", lambda: VIEW.takeover(samples.DIFFERING)),
    "history of runs": ("history", lambda: VIEW.runs(samples.runs())),
}


def schema(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return document


def stream() -> list[str]:
    lines = [VIEW.version_line(), *(VIEW.event(event) for event in samples.events()), VIEW.summary_line({"succeeded": 1}, 8)]
    return [line for line in lines if line]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_follow_their_schema(name: str) -> None:
    which, make = DOCUMENTS[name]
    text = make()
    assert text.isascii()
    assert text.endswith("}\n")
    document = json.loads(text)
    assert next(iter(document.items())) == ("format_version", 1)
    jsonschema.Draft202012Validator(schema(which)).validate(document)


@pytest.mark.parametrize("name", ["plan", "status", "diagnostics", "events", "history", "orphans", "import"])
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_event_stream_follows_its_schema() -> None:
    validator = jsonschema.Draft202012Validator(schema("events"))
    seen = []
    for line in stream():
        assert line.isascii()
        assert "\n" not in line
        document = json.loads(line)
        validator.validate(document)
        seen.append(document["type"])
    assert seen[0] == "version"
    assert seen[-1] == "summary"
    assert set(seen) == {"version", "summary", *EVENT_TYPES} - {"spec"}


def test_event_stream_starts_and_ends_as_promised() -> None:
    first, last = json.loads(stream()[0]), json.loads(stream()[-1])
    assert first["type"] == "version"
    assert first["format_version"] == 1
    assert first["jobform"]
    assert last == {"type": "summary", "counts": {"succeeded": 1}, "exit": 8}


def test_documents_say_what_the_values_say() -> None:
    plan = json.loads(VIEW.plan(samples.everything()))
    by_address = {change["address"]: change for change in plan["changes"]}
    assert plan["digest"] == samples.DIGEST
    assert plan["summary"]["rerun"] == 4
    assert by_address["eval"]["action"] == "block"
    assert by_address["eval"]["running_seconds"] == 200_000
    assert by_address["prep"]["fields"][0]["class"] == "operational"
    assert by_address["prep"]["fields"][0]["range"] == {
        "file": "jobs/train.yaml", "line": 14, "column": 7, "end_line": 14, "end_column": 15,
    }
    found = json.loads(VIEW.diagnostics(samples.findings()))
    assert (found["valid"], found["error_count"], found["warning_count"]) == (False, 5, 1)
    assert found["diagnostics"][0]["count"] == 24
    assert found["diagnostics"][1]["related"][0]["line"] == 2
    status = json.loads(VIEW.status(samples.state(), samples.NOW))
    assert [job["address"] for job in status["jobs"]] == ["eval", "prep", "report", "train[lr=0.01]", "train[lr=0.1]", "tune"]
    assert status["jobs"][1]["running_seconds"] == 740.5


def test_sensitive_values_are_never_printed() -> None:
    field = FieldChange("spec.env.KEY", "canary-old", {"deep": "canary-new"}, sensitive=True)
    plan = samples.plan(Change("train", Action.UPDATE, Reason.SPEC_CHANGED, fields=(field,), spec={"env": {"KEY": "canary-new"}}))
    for view in (VIEW, HumanView(Screen(io.StringIO())), MarkdownView(Screen(io.StringIO()))):
        assert "canary" not in view.plan(plan)


def test_claims_say_what_the_values_say() -> None:
    found = json.loads(VIEW.orphans(samples.ORPHANS))
    assert (found["complete"], [one["why"] for one in found["orphans"]]) == (False, [why.value for why in Why])
    assert (found["orphans"][0]["attempt"], found["orphans"][3]["attempt"], found["unlisted"][0]["able"]) == (3, None, True)
    differing, taken = json.loads(VIEW.takeover(samples.DIFFERING)), json.loads(VIEW.takeover(samples.TAKEN))
    assert (differing["recorded"], differing["attempt"], taken["recorded"], taken["attempt"]) == (False, None, True, 2)
    assert [field["path"] for field in differing["differences"]] == ["spec.image", "spec.env.KEY", "spec.labels.team"]
    for view in (VIEW, HumanView(Screen(io.StringIO())), MarkdownView(Screen(io.StringIO()))):
        assert "canary" not in view.takeover(samples.DIFFERING)


def test_tokens_stay_out_of_the_event_stream() -> None:
    begin = next(json.loads(line) for line in stream() if '"begin"' in line)
    assert sorted(begin) == ["address", "at", "attempt", "backend", "name", "op", "run", "type"]


def test_keys_are_the_names_of_fields() -> None:
    attempt = samples.state().jobs["tune"].attempts[0]
    shown = plain(attempt)
    assert isinstance(shown, dict)
    assert list(shown) == [field.name.rstrip("_") for field in fields(Attempt)]
    assert shown["class"] == "user_error"


def test_a_record_comes_with_its_specs() -> None:
    shown = json.loads(VIEW.show_record(samples.state(), "prep"))
    assert shown["record"]["attempts"][0]["outputs"] == {"count": 3}
    assert shown["specs"]["s1"]["command"] == ["python", "train.py"]
    assert json.loads(VIEW.show_record(samples.state(), "legacy"))["tombstone"]["last_attempt"] == 4
    assert json.loads(VIEW.state_list(samples.state()))["orphans"] == ["legacy"]
    assert json.loads(VIEW.lock(samples.LOCK))["lock"]["pid"] == 4711
    assert json.loads(VIEW.lock(None)) == {"format_version": 1, "locked": False, "lock": None}
    assert json.loads(VIEW.outputs({"a": [1]})) == {"format_version": 1, "outputs": {"a": [1]}}


@pytest.mark.parametrize("make", [HumanView, JsonView, MarkdownView])
def test_every_view_offers_every_report(make: Callable[[Screen], View]) -> None:
    view = make(Screen(io.StringIO()))
    assert isinstance(view, View)
    with pytest.raises(KeyError):
        view.show_record(samples.state(), "nobody")
