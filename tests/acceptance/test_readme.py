"""What the documents show is what is printed: their marked blocks run in order, in one directory for each group.

`<!-- file: GROUP PATH -->` before a fenced block writes the block to PATH. `<!-- run: GROUP -->` before a `console` block runs
each line that starts with `$ ` and compares what follows it, with times, ids and digests ignored. A group that is called `here`
starts in a copy of the document's own directory, every other in an empty one. `--update` writes into the document what was really
printed.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from golden import difference, normalise, shell

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("examples/*/README.md"))]
BLOCK = re.compile(r"^<!-- (run|file): ([\w-]+)(?: (\S+))? -->\n```[\w-]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATOR = "\x1e"


@dataclass(frozen=True)
class Block:
    """One marked block: `start` and `end` are where its text lies in the document."""

    kind: str
    group: str
    path: str
    text: str
    start: int
    end: int


def blocks(document: str) -> Iterator[Block]:
    for match in BLOCK.finditer(document):
        yield Block(match[1], match[2], match[3] or "", match[4], *match.span(4))


def commands(text: str) -> list[tuple[str, str]]:
    """Every command of a console block with what it prints; a command goes on in lines that start with `> `."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line.startswith("> ") and not found[-1][1]:
            found[-1] = (found[-1][0] + line[2:], "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def run(block: Block, directory: Path, environ: dict[str, str]) -> str:
    """The block's text with what was really printed."""
    asked = [command for command, _ in commands(block.text)]
    steps = (f"printf '{SEPARATOR}'\n{command}\ncode=$?; [ $code = 0 ] || exit $code\n" for command in asked)
    code, text = shell("set +e\n" + "".join(steps), directory, environ)
    answers = text.split(SEPARATOR)[1:]
    assert code == 0, f"exit {code} after: {asked[len(answers) - 1]}{answers[-1]}"
    return "".join(
        "$ " + command.rstrip("\n").replace("\n", "\n> ") + "\n" + answer
        for command, answer in zip(asked, answers, strict=True)
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_printed_as_shown(path: Path, tmp_path: Path, home: Path, bin_directory: Path, request: pytest.FixtureRequest) -> None:
    document = path.read_text()
    environ = os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "USER": "you"}
    found = list(blocks(document))
    assert len(found) == len(re.findall(r"^<!-- (run|file):", document, re.MULTILINE)), "a marker without its block"
    changes: list[tuple[Block, str, str]] = []
    for block in found:
        directory = tmp_path / block.group
        if not directory.exists():
            _begin(directory, path)
        if block.kind == "file":
            (directory / block.path).parent.mkdir(parents=True, exist_ok=True)
            (directory / block.path).write_text(block.text)
            continue
        printed = run(block, directory, environ)
        paths = {"DIRECTORY": directory, "HOME": home}
        shown = block.text.replace(f"/home/you/{block.group}", str(directory))
        if changed := difference(normalise(shown, paths), normalise(printed, paths), f"{path.name} {block.group}"):
            changes.append((block, printed.replace(str(directory), f"/home/you/{block.group}"), changed))
    if request.config.getoption("--update"):
        for block, printed, _ in reversed(changes):
            document = document[: block.start] + printed + document[block.end :]
        path.write_text(document)
    else:
        assert not changes, "\n".join(changed for _, _, changed in changes)


def _begin(directory: Path, document: Path) -> None:
    if directory.name == "here":
        shutil.copytree(document.parent, directory, ignore=shutil.ignore_patterns("out", ".jobform", "jobform.state.*"))
    else:
        directory.mkdir()

