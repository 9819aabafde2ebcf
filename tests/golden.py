"""Golden text: what differs from run to run is replaced by placeholders, and `--update` writes what was really printed."""

import difflib
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

RULES: tuple[tuple[str, str, bool], ...] = (
    # pattern, placeholder, whether equal values share a number: it shows which of two digests is the same one
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", "TIME", False),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", True),
    (r"\b\d{8}T\d{6}-[0-9a-f]{8}\b", "RUN", True),
    (r"jf1-[0-9a-f]{16}-[0-9a-f]{16}-\d+-[0-9a-f]{16}", "MARK", True),
    (r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b", "HEX", True),
    (r"(?<=-)[0-9a-f]{8}(?=-\d)", "HASH", False),
    (r"(?<=pid )\d+", "PID", False),
    (r"(?<=\"pid\": )\d+", "PID", False),
    (r"(?<=  )(\d+m )?\d+(\.\d+)?s(?= |$)", "DURATION", False),  # a cell of a table: a timeout in a plan stands after one space
    (r"(?<=running for )(\d+m )?\d+(\.\d+)?s", "DURATION", False),
    (r"(?<=[a-z] after )(\d+m )?\d+(\.\d+)?s", "DURATION", False),
    (r"(?<=\S)   *", "  ", False),  # columns are as wide as what stands in them
)
EVENT = re.compile(
    r"(?!error\[|warning\[)(?P<address>[a-z][a-z0-9_-]*(\[[^\]]*\])?): "
    r"(?P<rest>running|pending|submitted as|found again|succeeded|failed|cancelled|held|no longer|moved to|forgotten|removed|"
    r"resolved|stop of|attempt|the outcome of|what was left|recorded|skipped|not started|its accepted).*\n"
)
"""A line of a running apply."""

PASSING = ("running", "pending")
"""Whether these are seen at all depends on when the run was looked at."""

ABBREVIATION = 12
"""Digests are shown whole or by their first characters: both get the same number."""


def normalise(text: str, paths: Mapping[str, Path]) -> str:
    """`text` with paths, times, ids and digests replaced; `paths` maps a placeholder to the directory that it stands for."""
    for name, path in sorted(paths.items(), key=lambda item: -len(str(item[1]))):
        text = text.replace(str(path), f"[{name}]")
    for pattern, name, numbered in RULES:
        text = re.sub(pattern, _placeholder(name, numbered) if name.strip() else name, text, flags=re.MULTILINE)
    return _in_order("".join(line.rstrip() + "\n" for line in text.splitlines()))


def _in_order(text: str) -> str:
    """Jobs that run at the same time report in any order: their lines are sorted by address, passing states are left out."""
    lines: list[str] = []
    block: list[tuple[str, str]] = []
    for line in [*text.splitlines(keepends=True), ""]:
        if event := EVENT.fullmatch(line):
            if event["rest"] not in PASSING:
                block.append((event["address"], line))
            continue
        lines += [line for _, line in sorted(block, key=lambda item: item[0])]
        lines.append(line)
        block = []
    return "".join(lines)


def _placeholder(name: str, numbered: bool) -> Callable[[re.Match[str]], str]:
    seen: dict[str, int] = {}

    def replace(match: re.Match[str]) -> str:
        if not numbered:
            return f"[{name}]"
        key = match[0][:ABBREVIATION] if name == "HEX" else match[0]
        return f"[{name}-{seen.setdefault(key, len(seen) + 1)}]"

    return replace


def difference(expected: str, printed: str, name: str) -> str:
    """A unified diff, empty when the texts are equal."""
    return "".join(
        difflib.unified_diff(expected.splitlines(keepends=True), printed.splitlines(keepends=True), f"{name} (golden)", "printed")
    )


def shell(script: str, directory: Path, environ: Mapping[str, str], timeout: float = 280) -> tuple[int, str]:
    """The exit code of a bash script and what it printed on both streams, in the order of printing.

    The text goes through a file: a pipe would stay open for as long as a job that the script left running.
    """
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script], cwd=directory, env=dict(environ), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, timeout=timeout,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        output.seek(0)
        text = output.read().decode("utf-8", "backslashreplace")
        assert code is not None, f"not over after {timeout:g} s:\n{text}"
        return code, text
