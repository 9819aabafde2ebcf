"""What people see, kept as data: `pytest --update` rewrites the files, and a diff of them is what a reviewer reads."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from jobform.model.change import Action, Change, Reason
from jobform.model.claims import Orphans
from jobform.protocols import Screen
from jobform.views.human import HumanView
from jobform.views.markdown import MarkdownView
from jobform.views.mermaid import mermaid
from tests.views import samples

GOLDEN = Path(__file__).parent / "golden"


def human(*, colour: bool = False, width: int = 100) -> HumanView:
    return HumanView(Screen(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), colour, width))


def markdown() -> MarkdownView:
    return MarkdownView(Screen(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")))


def apply_lines() -> str:
    view = human()
    lines = [view.event(event) for event in samples.events()]
    return "".join(f"{line}\n" for line in lines if line) + view.summary_line({"succeeded": 2, "failed": 1, "held": 0}, 8)


def claims(view: HumanView | MarkdownView) -> str:
    return "\n".join([
        view.orphans(samples.ORPHANS), view.orphans(Orphans(())), view.takeover(samples.TAKEN), view.takeover(samples.DIFFERING),
    ])


def reports() -> str:
    view, state = human(), samples.state()
    return "\n".join([
        view.history("train[lr=0.1]", state.jobs["train[lr=0.1]"].attempts, samples.NOW), view.runs(samples.runs()),
        view.outputs({"count": 3, "files": ["a", "b"]}), view.state_list(state), view.show_record(state, "prep"),
        view.show_record(state, "report"), view.show_record(state, "tune"), view.show_record(state, "eval"),
        view.show_record(state, "legacy"), view.show_record(state, "old"), view.lock(samples.LOCK), view.lock(None),
    ])


def waiting() -> str:
    """Nothing to approve, and yet something to know."""
    return human().plan(samples.plan(
        Change("nightly", Action.RERUN, Reason.RETRY, "gpu", accepted=True, attempt=3, phase="failed"),
        Change("tune", Action.HOLD, Reason.FAILED, "gpu", attempt=2, phase="failed"),
        Change("prep", Action.NO_OP, Reason.UNCHANGED, "here"),
    ))


CASES: dict[str, Callable[[], str]] = {
    "plan.txt": lambda: human().plan(samples.everything()),
    "plan-colour.txt": lambda: human(colour=True).plan(samples.everything()),
    "plan-narrow.txt": lambda: human(width=50).plan(samples.everything()),
    "plan-nothing.txt": lambda: human().plan(samples.plan(Change("prep", Action.NO_OP, Reason.UNCHANGED, "here"), target=None)),
    "plan-waiting.txt": waiting,
    "plan-long-values.txt": lambda: human().plan(samples.long_values()),
    "plan-drift.txt": lambda: human().plan(samples.drifted()),
    "plan-drift.md": lambda: markdown().plan(samples.drifted()),
    "plan.md": lambda: markdown().plan(samples.everything()),
    "findings.txt": lambda: human().diagnostics(samples.findings()),
    "findings-colour.txt": lambda: human(colour=True).diagnostics(samples.findings()),
    "findings.md": lambda: markdown().diagnostics(samples.findings()),
    "status.txt": lambda: human().status(samples.state(), samples.NOW),
    "status.md": lambda: markdown().status(samples.state(), samples.NOW),
    "apply.txt": apply_lines,
    "reports.txt": reports,
    "claims.txt": lambda: claims(human()),
    "claims.md": lambda: claims(markdown()),
    "graph.mmd": lambda: mermaid(
        {"train[lr=0.1]": ["prep"], "report": ["train[lr=0.1]", "prep"]}, {"prep": "succeeded", "report": "held"}),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    printed = CASES[name]()
    path = GOLDEN / name
    if request.config.getoption("--update"):
        path.write_text(printed, encoding="utf-8")
    assert printed == path.read_text(encoding="utf-8")
