"""The fault catalogue names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
IDS = re.compile(r"^\| ((?:[A-Z]\d+)(?:, [A-Z]\d+)*) \|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`([\w/.-]+?)(?:::(\w+))?`")


def test_every_fault_that_can_be_met_names_tests_that_exist() -> None:
    met, _, waiting = (TESTS / "faults.md").read_text().partition("## Waits for a feature")
    rows = IDS.findall(met)
    assert len(rows) > 100
    problems = []
    for ids, rest in rows:
        named = TEST.findall(rest.rpartition("|")[2])
        problems += [f"{ids}: no test"] if not named else []
        problems += [f"{ids}: there is no {path} {name}" for path, name in named if not exists(path, name)]
    assert not problems, "\n".join(problems)
    listed = [one for ids, _ in rows + IDS.findall(waiting) for one in ids.split(", ")]
    assert len(listed) == len(set(listed)), "an id is listed twice"


def exists(path: str, name: str) -> bool:
    """Whether there is such a test function, or such an acceptance case."""
    place = TESTS / path
    return f"def {name}(" in place.read_text() if name and place.exists() else (place / "script").exists()
