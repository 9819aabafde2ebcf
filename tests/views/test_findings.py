"""What is said alike of many jobs is one finding for people; machines get one for each job (`test_wrong_place.py`)."""

import io
from dataclasses import replace

from jobform.model.diagnostic import Diagnostic, Severity
from jobform.protocols import Screen
from jobform.views.human import HumanView
from jobform.views.markdown import MarkdownView

ONE = Diagnostic(Severity.ERROR, "submit_failed", "no room", "status 429", "jobform logs 'a[i=1]'", address="a[i=1]")
ALIKE = [replace(ONE, hint=f"jobform logs 'a[i={number}]'", address=f"a[i={number}]") for number in range(1, 501)]


def human(*diagnostics: Diagnostic) -> str:
    return HumanView(Screen(io.StringIO())).diagnostics(diagnostics)


def test_many_jobs_with_one_reason_are_one_finding() -> None:
    named = ", ".join(f"a[i={number}]" for number in range(1, 11))
    assert human(*ALIKE) == (
        f"error[submit_failed]: no room\n  in {named} and 490 more\n  status 429\n  hint: jobform logs 'a[i=1]'\n"
    )


def test_what_differs_stays_apart_and_in_order() -> None:
    others = [
        replace(ONE, summary="no key", address="b"), replace(ONE, severity=Severity.WARNING, address="c"),
        replace(ONE, hint="jobform logs 'd'", address="d"), replace(ONE, address=None), replace(ONE, address=None, summary="x"),
    ]
    shown = human(*others[:2], ONE, *others[2:])
    assert [line for line in shown.splitlines() if line.startswith("  in ")] == ["  in b", "  in c", "  in a[i=1], d"]
    assert shown.endswith("Found 4 errors and 1 warning.\n")


def test_markdown_has_room_for_the_reasons() -> None:
    shown = MarkdownView(Screen(io.StringIO())).diagnostics([*ALIKE, replace(ONE, summary="no key")])
    assert shown.startswith("### jobform: 2 errors\n")
    assert "490 more" in shown
    assert "no key" in shown
