"""What a plan puts first, folds, counts and never cuts."""

import io
import time
from dataclasses import replace

import pytest

from jobform.model.change import Action, Change, FieldChange, Plan, Reason
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.protocols import Screen
from jobform.views.grouping import groups, sections
from jobform.views.human import HumanView
from jobform.views.markdown import LIMIT, MarkdownView
from jobform.views.words import _BECAUSE, _WILL, LEGEND, STYLE_OF, SYMBOLS, between, duration, some, summary
from tests.views import samples

UTF8 = Screen(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def human(plan: Plan) -> str:
    return HumanView(UTF8).plan(plan)


def markdown(plan: Plan) -> str:
    return MarkdownView(UTF8).plan(plan)


def field(path: str = "spec.command", after: str = "b", **keys: object) -> FieldChange:
    return FieldChange(path, "a", after, **keys)  # type: ignore[arg-type]  # tests name real fields


def creates(number: int, name: str = "job{}") -> Plan:
    spec = {"command": ["python", "train.py", "--seed", "1"], "env": {"A": "b"}, "timeout": "1h"}
    return samples.plan(*(
        Change(
            name.format(n), Action.CREATE, Reason.NEW, "here", attempt=1, spec={**spec, "n": n}, after=("prep",),
            range=samples.place(3, 3),
        )
        for n in range(number)
    ))


def test_what_is_too_long_for_a_line_is_taken_apart_as_deep_as_needed() -> None:
    container = {"name": "main", "args": ["import json\nprint('\x1b[1m')\n" * 3], "env": [{"name": "A" * 60}, {"name": "B" * 60}]}
    job = {"kind": "Job", "spec": {"template": {"containers": [container, {"name": "side", "nested": [["x" * 70, "y" * 70]]}]}}}
    change = Change("job", Action.CREATE, Reason.NEW, "here", attempt=1, spec={"objects": {"Job": job}})
    shown = human(samples.plan(change)).split("spec.objects:\n")[1].split("\n\n")[0]
    assert [line.removeprefix("          + ") for line in shown.splitlines()] == [
        "Job:", '  kind: "Job"', "  spec:", "    template:", "      containers:", '        - name: "main"', "          args:",
        "            - |", *["              import json", "              print('\\x1b[1m')"] * 3, "          env:",
        f'            - {{"name": "{"A" * 60}"}}',
        f'            - {{"name": "{"B" * 60}"}}', '        - name: "side"', "          nested:", "            -",
        f'              - "{"x" * 70}"', f'              - "{"y" * 70}"',
    ]


def test_summary_is_the_last_line_and_exact() -> None:
    counts = {"create": 2, "update": 1, "rerun": 1, "hold": 1, "block": 1, "unchanged": 5}
    expected = "Plan: 2 to create, 1 to update, 0 to replace, 1 to rerun, 0 to delete, 1 held, 1 blocked, 5 unchanged."
    assert summary(counts) == expected
    assert human(samples.everything()).splitlines()[-1] == summary(samples.everything().summary)


def test_rarer_actions_stand_before_held_and_only_when_there_are_any() -> None:
    assert summary({"move": 1, "adopt": 1, "forget": 1, "accepted": 2}) == (
        "Plan: 0 to create, 0 to update, 0 to replace, 0 to rerun, 0 to delete, 1 to move, 1 to adopt, 1 to forget, "
        "2 accepted earlier, 0 held, 0 blocked, 0 unchanged."
    )


def test_nothing_to_do_is_said_first() -> None:
    assert human(samples.plan(Change("a", Action.NO_OP, Reason.UNCHANGED))).startswith("No changes. ")


def test_a_block_is_never_called_no_changes() -> None:
    assert "No changes" not in human(samples.plan(Change("a", Action.BLOCK, Reason.LIVE)))


def test_every_action_and_reason_has_words() -> None:
    assert set(_BECAUSE) == set(Reason)
    assert set(_WILL) == set(Action)
    assert set(SYMBOLS) == set(LEGEND) == set(STYLE_OF) == set(Action) - {Action.NO_OP}
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)


def test_reading_order() -> None:
    titles = [
        "Destructive changes:", "Changes:", "Accepted earlier, goes on without asking:", "Blocked:", "Held:", "Notes:", "Digest:",
        "Plan:",
    ]
    text = human(samples.everything())
    positions = [text.index(f"\n{title}") for title in titles]
    assert positions == sorted(positions)


def test_a_change_that_may_stop_something_is_destructive_whatever_its_action() -> None:
    plan = samples.plan(Change("a", Action.RERUN, Reason.GENERATION, stop=1), Change("b", Action.RERUN, Reason.GENERATION))
    parts = sections(plan)
    assert [group.label for group in parts.destructive] == ["a"]
    assert [group.label for group in parts.ordinary] == ["b"]


@pytest.mark.parametrize("other", [
    Change("train[a=2]", Action.CREATE, Reason.SPEC_CHANGED, "gpu", fields=(field(),)),
    Change("train[a=2]", Action.RERUN, Reason.GENERATION, "gpu", fields=(field(),)),
    Change("train[a=2]", Action.RERUN, Reason.SPEC_CHANGED, "cpu", fields=(field(),)),
    Change("train[a=2]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", accepted=True, fields=(field(),)),
    Change("train[a=2]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", phase="failed", fields=(field(),)),
    Change("train[a=2]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", fields=(field("spec.args"),)),
    Change("train[a=2]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", stop=1, fields=(field(),)),
    Change("other[a=1]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", fields=(field(),)),
])
def test_only_what_reads_alike_is_one_line(other: Change) -> None:
    first = Change("train[a=1]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", fields=(field(),))
    alike = Change("train[a=3]", Action.RERUN, Reason.SPEC_CHANGED, "gpu", fields=(field(after="c"),))
    assert [group.label for group in groups([first, alike])] == ["train (2 instances)"]
    assert len(groups([first, other])) == 2


def test_values_that_differ_between_instances_are_said_to() -> None:
    same = [Change(f"t[a={n}]", Action.RERUN, Reason.SPEC_CHANGED, fields=(field(),)) for n in range(3)]
    other = [Change(f"t[a={n}]", Action.RERUN, Reason.SPEC_CHANGED, fields=(field(after=str(n)),)) for n in range(3)]
    assert "differ between" not in human(samples.plan(*same))
    assert "values of t[a=0], which differ between the instances:" in human(samples.plan(*other))


def test_a_replacement_whose_stop_is_done_stops_nothing_more() -> None:
    change = Change(
        "a", Action.REPLACE, Reason.INTERRUPTED_REPLACE, "here", attempt=2, phase="cancelled", fields=(field(class_="result"),),
    )
    text = human(samples.plan(change))
    assert "a will run again after its stop on here as attempt 2" in text
    assert "the run that was stopped is made again" in text
    assert "will be stopped" not in text


def test_what_is_gone_already_is_not_called_as_declared() -> None:
    assert "There is nothing to destroy." in human(replace(samples.plan(), destroy=True))


def test_every_destroyed_instance_is_named() -> None:
    text = human(samples.plan(*(Change(f"t[a={n}]", Action.DELETE, Reason.REMOVED) for n in range(200))))
    assert all(f"t[a={n}]" in text for n in range(200))


@pytest.mark.parametrize("plan", [
    creates(10_000), creates(10_000, "job[n={}]"), samples.everything(), samples.plan(), samples.long_values(),
    samples.plan(*(Change(f"job{n}", Action.DELETE, Reason.REMOVED) for n in range(10_000))),
    samples.plan(*(Change(f"train[n={n}]", Action.DELETE, Reason.REMOVED) for n in range(10_000))),
    samples.plan(*(Change(f"j{n}", Action.BLOCK, Reason.LIVE, detail="日" * 500) for n in range(300))),
    samples.plan(Change("big", Action.UPDATE, Reason.SPEC_CHANGED, fields=(field(after="x" * 200_000),))),
    samples.plan(diagnostics=tuple(Diagnostic(Severity.WARNING, "w", "`" * 300) for _ in range(500)), notes={"n": "x" * 70_000}),
], ids=range(10))
def test_a_comment_is_never_too_long(plan: Plan) -> None:
    text = markdown(plan)
    assert len(text.encode()) < LIMIT
    assert summary(plan.summary) in text
    assert text.startswith("<!-- jobform:plan vision/prod -->\n") or plan.target is None
    assert text.count("<details>") == text.count("</details>")


def test_what_a_comment_leaves_out_is_counted() -> None:
    text = markdown(creates(10_000))
    shown = text.count("<details>")
    assert 0 < shown < 10_000
    rest = f"{10_000 - shown:,}"
    assert f"_Left out here: details of {rest} changes ({rest} create). The counts above are complete._" in text


def test_destructive_changes_are_never_cut_from_a_comment() -> None:
    deletes = [Change(f"old-{n}", Action.DELETE, Reason.REMOVED) for n in range(400)]
    text = markdown(samples.plan(*creates(5_000).changes, *deletes))
    assert all(f"- `old-{n}` will be deleted" in text for n in range(400))
    assert len(text.encode()) < LIMIT


def test_more_deletes_than_fit_are_counted_with_a_warning() -> None:
    text = markdown(samples.plan(*(Change(f"old[n={n},x={'y' * 50}]", Action.DELETE, Reason.REMOVED) for n in range(5_000))))
    assert "`old`: 5,000 will be deleted" in text
    assert "Read the whole plan before you approve it." in text


def test_one_huge_change_hides_no_other() -> None:
    big = Change("big", Action.UPDATE, Reason.SPEC_CHANGED, fields=(field(after="x" * 200_000),))
    text = markdown(samples.plan(big, Change("small", Action.CREATE, Reason.NEW)))
    assert "<code>small</code>" in text
    assert "Left out here: details of 1 change (1 update)" in text


def test_every_instance_of_a_group_that_is_left_out_is_counted() -> None:
    big = [Change(f"big[n={n}]", Action.UPDATE, Reason.SPEC_CHANGED, fields=(field(after="x" * 70_000),)) for n in range(7)]
    assert "Left out here: details of 7 changes (7 update)" in markdown(samples.plan(*big))


def test_the_command_to_apply_names_the_digest() -> None:
    assert f"`jobform apply --target prod --approved {samples.DIGEST}`" in markdown(samples.everything())
    assert "--approved" not in markdown(samples.plan(Change("a", Action.HOLD, Reason.FAILED)))
    assert "--approved" not in markdown(samples.plan(Change("a", Action.CREATE, Reason.NEW), digest=None))


def test_large_plans_are_quick() -> None:
    """As much for each of many creates as for each of few, however quick the machine is; nearly nothing for what stays."""
    def taken(plan: Plan, times: int) -> float:
        begun = time.process_time()
        for _ in range(times):
            human(plan)
        return time.process_time() - begun

    few, many = taken(creates(1000), 10), taken(creates(10_000), 1)
    assert many < 3 * few
    same = samples.plan(*(Change(f"j{n}", Action.NO_OP, Reason.UNCHANGED) for n in range(10_000)))
    assert min(taken(same, 1) for _ in range(3)) < few / 2


@pytest.mark.parametrize(("seconds", "text"), [
    (-5, "0s"), (0, "0s"), (0.04, "0s"), (0.4, "0.4s"), (0.96, "1s"), (12, "12s"), (59.7, "1m 0s"), (200, "3m 20s"),
    (3599.9, "1h 0m"), (22_320, "6h 12m"), (172_799, "47h 59m"), (187_200, "2d 4h"),
])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_between_and_some() -> None:
    assert between(samples.STARTED, samples.ENDED) == 740.5
    assert between(None, samples.ENDED) is between(samples.STARTED, None) is None
    assert some("abcdefg", 5) == "a, b, c, d, e and 2 more"
    assert some([]) == ""
