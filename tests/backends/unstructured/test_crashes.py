"""jobform killed in the middle of what it asks the service: what the next command makes of it."""

from pathlib import Path

import pytest

from tests.sandboxed import Desk


@pytest.fixture
def parse(desk: Desk) -> Desk:
    for name in ("a", "b", "c"):
        desk.file(f"docs/{name}.txt", f"{name}\n")
    desk.write({"parse": {
        "template_id": "hi_res_partition", "input_files": ["docs/a.txt", "docs/b.txt", "docs/c.txt"], "download_to": "out",
    }})
    return desk


def written(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in (directory / "out").rglob("*"))


def test_killed_between_two_downloads_fetches_all_of_it(parse: Desk) -> None:
    parse.killed("apply", "--auto-approve", effect="remote.download.before", at=2)
    assert written(parse.directory) == ["out/a.txt.json"]
    assert '"phase":"succeeded"' not in parse.run("state", "pull").stdout, "its success counts when all of it is there"
    parse.run("apply", "--auto-approve")
    assert written(parse.directory) == ["out/a.txt.json", "out/b.txt.json", "out/c.txt.json"]
    parse.run("plan", "--detailed-exitcode")
    assert parse.posts() == 1


@pytest.mark.parametrize(("effect", "made"), [
    ("backend.submit.before", 0), ("remote.create.before", 0), ("remote.create.after", 1), ("backend.submit.after", 1),
])
def test_killed_while_it_submits_makes_no_second_job(parse: Desk, effect: str, made: int) -> None:
    parse.killed("apply", "--auto-approve", effect=effect)
    assert "unknown_submission" in parse.run("apply", "--auto-approve", exits=7).stdout
    assert parse.posts() == made
    assert not (parse.directory / "out").exists()
    if made:
        (run,) = parse.sandbox.world("unstructured").jobs
        parse.run("state", "resolve", "parse", "--found", run)
    else:
        parse.run("state", "resolve", "parse", "--not-submitted")
    parse.run("apply", "--auto-approve")
    assert parse.posts() == 1
    assert len(written(parse.directory)) == 3
