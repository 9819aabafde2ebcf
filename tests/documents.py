"""What the documents show is what is printed: their marked blocks run in order, in one directory for each group.

`<!-- file: GROUP PATH -->` before a fenced block writes the block to PATH. `<!-- run: GROUP -->` before a `console` block runs
each line that starts with `$ ` and compares what follows it, with times, ids and digests ignored; `<!-- cluster: GROUP -->` is
the same for a group that needs Kubernetes. A group whose name begins with `here` starts in a copy of the document's own
directory, every other in an empty one. `--update` writes into the document what was really printed.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.golden import difference, normalise, shell

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("examples/*/README.md"))]
MARKER = re.compile(r"^<!-- (run|file|cluster):", re.MULTILINE)
BLOCK = re.compile(
    r"^<!-- (run|file|cluster): ([\w-]+)(?: (\S+))? -->\n```[\w-]*\n(.*?)^```$", re.MULTILINE | re.DOTALL,
)
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


def groups(path: Path, *, cluster: bool) -> dict[str, list[Block]]:
    """The blocks of a document by group: of the groups that need a cluster, or of the others."""
    document = path.read_text()
    found: dict[str, list[Block]] = {}
    for block in blocks(document):
        found.setdefault(block.group, []).append(block)
    assert sum(map(len, found.values())) == len(MARKER.findall(document)), "a marker without its block"
    return {name: group for name, group in found.items() if cluster == any(block.kind == "cluster" for block in group)}


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


def run(block: Block, directory: Path, environ: Mapping[str, str], *, timeout: float = 280) -> str:
    """The block's text with what was really printed."""
    asked = [command for command, _ in commands(block.text)]
    steps = (f"printf '{SEPARATOR}'\n{command}\ncode=$?; [ $code = 0 ] || exit $code\n" for command in asked)
    code, text = shell("set +e\n" + "".join(steps), directory, environ, timeout)
    answers = text.split(SEPARATOR)[1:]
    assert code == 0, f"exit {code} after: {asked[len(answers) - 1]}{answers[-1]}"
    return "".join(
        "$ " + command.rstrip("\n").replace("\n", "\n> ") + "\n" + answer
        for command, answer in zip(asked, answers, strict=True)
    )


def begin(directory: Path, document: Path) -> None:
    """The directory of a group as its first block finds it."""
    if directory.name.startswith("here"):
        shutil.copytree(document.parent, directory, ignore=shutil.ignore_patterns("out", ".jobform", "jobform.state.*"))
    else:
        directory.mkdir()


@dataclass
class Play:
    """A run of groups of one document. home: the home of the commands, of which none may speak.

    plain: what is particular to this run in a printed text, made what the document says.
    """

    document: Path
    home: Path
    plain: Callable[[str], str] = str
    timeout: float = 280

    def group(self, found: list[Block], directory: Path, environ: Mapping[str, str]) -> list[tuple[Block, str, str]]:
        """Runs one group in its directory, which exists: each block that printed something else, that, and the diff."""
        changes: list[tuple[Block, str, str]] = []
        for block in found:
            if block.kind == "file":
                (directory / block.path).parent.mkdir(parents=True, exist_ok=True)
                (directory / block.path).write_text(block.text)
                continue
            printed = self.plain(run(block, directory, environ, timeout=self.timeout))
            paths = {"DIRECTORY": directory, "HOME": self.home}
            shown = block.text.replace(f"/home/you/{block.group}", str(directory))
            if changed := difference(normalise(shown, paths), normalise(printed, paths), f"{self.document.name} {block.group}"):
                changes.append((block, printed.replace(str(directory), f"/home/you/{block.group}"), changed))
        return changes

    def judge(self, changes: list[tuple[Block, str, str]], *, update: bool) -> None:
        """Fails on any change, or writes all of them into the document."""
        if not update:
            assert not changes, "\n".join(changed for _, _, changed in changes)
            return
        text = self.document.read_text()
        for block, printed, _ in sorted(changes, key=lambda change: -change[0].start):
            text = text[: block.start] + printed + text[block.end :]
        self.document.write_text(text)
