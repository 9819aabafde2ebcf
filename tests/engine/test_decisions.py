"""Every row of the decision table, as data: `decisions/*.yaml`; `table.py` says what a case is made of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.engine.table import change_of, plan_of, words


def _cases() -> Iterator[Any]:
    for path in sorted((Path(__file__).parent / "decisions").glob("*.yaml")):
        for case in YAML(typ="safe", pure=True).load(path):
            yield pytest.param(case, id=f"{path.stem}: {case['case']}")


CASES = list(_cases())


@pytest.mark.parametrize("case", CASES)
def test_decision(case: dict[str, Any]) -> None:
    plan = plan_of(case)
    if "lists" in case:
        assert [change.address for change in plan.changes] == case["lists"]
    for address, expected in case.get("plans", {}).items():
        assert words(change_of(plan, address)) == expected, address
    if "plan" not in case:
        return
    change = change_of(plan)
    assert words(change) == case["plan"], change
    if "fields" in case:
        assert [field.path for field in change.fields] == case["fields"]
    if "after" in case:
        assert list(change.after) == case["after"]
    for key in ("stop", "attempt"):
        if key in case:
            assert getattr(change, key) == case[key], key
    if "detail" in case:
        assert case["detail"] in change.detail
    if "hint" in case:
        assert case["hint"] in change.hint


@pytest.mark.parametrize("case", CASES)
def test_only_changes_that_nobody_accepted_bind_an_approval(case: dict[str, Any]) -> None:
    for change in plan_of(case).changes:
        assert bool(change.precondition) == change.acting
        assert bool(change.desired_hash) == change.acting
        if change.action in ("hold", "no-op", "block"):
            assert change.desired is None, "what does not act accepts nothing"
