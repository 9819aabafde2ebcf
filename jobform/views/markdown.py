"""The view for pull requests: one comment that a host accepts, in which data cannot mention, link, close or command anything.

A plan's comment starts with a hidden marker, so that the next plan can replace it, and stays under 60,000 bytes: it is cut
between changes and says what was left out. Destructive changes are listed in front of everything else and never cut.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from shlex import quote

from jobform.model.change import Plan
from jobform.model.claims import Orphans, Takeover
from jobform.model.diagnostic import Diagnostic
from jobform.model.event import Event
from jobform.model.state import Attempt, Run, State
from jobform.model.values import Json
from jobform.protocols import LockInfo, Screen
from jobform.views.escape import code, comment, fenced, html_code
from jobform.views.findings import findings, tally, together
from jobform.views.grouping import Group, Sections, sections
from jobform.views.human import HumanView
from jobform.views.plans import LEFT_ALONE, body, drift, headline
from jobform.views.screen import painter
from jobform.views.words import SYMBOLS, because, count, summary, will

LIMIT = 60_000
"""Bytes of UTF-8; GitHub refuses comments above 65,536 characters."""

_RESERVE = 600
"""Kept free for the list of what was left out."""

_WIDTH = 100
_SHORT = 10_000
"""Bytes that warnings may take at most."""

_COLUMNS = (
    ("create", "create"), ("update", "update"), ("replace", "replace"), ("rerun", "rerun"), ("delete", "delete"),
    ("move", "move"), ("adopt", "adopt"), ("forget", "forget"), ("accepted", "accepted earlier"), ("hold", "held"),
    ("block", "blocked"), ("unchanged", "unchanged"),
)
_RARE = {"move", "adopt", "forget", "accepted"}


class MarkdownView:
    """See `protocols.View`. Everything but plans is the human view's text inside a code block."""

    def __init__(self, screen: Screen) -> None:
        self._human = HumanView(Screen(screen.out, colour=False, width=_WIDTH))

    def plan(self, plan: Plan) -> str:
        return _plan(plan)

    def diagnostics(self, diagnostics: Iterable[Diagnostic]) -> str:
        shown = together(diagnostics)
        if not shown:
            return "The configuration is valid.\n"
        return f"### jobform: {tally(shown)}\n\n{_capped(shown, LIMIT - _RESERVE)}"

    def status(self, state: State, now: datetime) -> str:
        return f"### jobform status\n\n{fenced(self._human.status(state, now))}"

    def event(self, event: Event) -> str:
        return self._human.event(event)

    def history(self, address: str, attempts: Iterable[Attempt], now: datetime) -> str:
        return f"### Attempts of {code(address)}\n\n{fenced(self._human.history(address, attempts, now))}"

    def runs(self, runs: Iterable[Run]) -> str:
        return fenced(self._human.runs(runs))

    def outputs(self, outputs: Mapping[str, Json]) -> str:
        return fenced(self._human.outputs(outputs))

    def state_list(self, state: State) -> str:
        return fenced(self._human.state_list(state))

    def show_record(self, state: State, address: str) -> str:
        return fenced(self._human.show_record(state, address))

    def lock(self, info: LockInfo | None) -> str:
        return fenced(self._human.lock(info))

    def takeover(self, taken: Takeover) -> str:
        return fenced(self._human.takeover(taken), "diff")

    def orphans(self, orphans: Orphans) -> str:
        return f"### jobform orphans\n\n{fenced(self._human.orphans(orphans))}"

    def version_line(self) -> str:
        return ""

    def plan_line(self, plan: Plan) -> str:
        return self.plan(plan)

    def diagnostic_line(self, diagnostic: Diagnostic) -> str:
        return self.diagnostics([diagnostic])

    def summary_line(self, counts: Mapping[str, int], exit_code: int) -> str:
        return self._human.summary_line(counts, exit_code)


def _plan(plan: Plan) -> str:
    parts = sections(plan)
    head = _head(plan)
    warnings = _drift(plan) + _notes(plan) + (_capped(together(plan.diagnostics), _SHORT) if plan.diagnostics else "")
    tail = _tail(plan)
    room = LIMIT - _RESERVE - _size(head, warnings, tail)
    listed = _destructive(parts.destructive, room)
    details, left_out = _details(parts, room - _size(listed))
    return "\n".join(part for part in (head, listed, *details, _left_out(left_out), warnings, tail) if part)


def _head(plan: Plan) -> str:
    place = comment(plan.project) + (f"/{comment(plan.target)}" if plan.target else "")
    title = f"### jobform {'destroy' if plan.destroy else 'plan'}: {code(plan.project)}"
    title += f", target {code(plan.target)}" if plan.target else ""
    counts = plan.summary
    columns = [(words, counts[key]) for key, words in _COLUMNS if key not in _RARE or counts[key]]
    rows = [
        "| " + " | ".join(words for words, _ in columns) + " |", "|" + " --: |" * len(columns),
        "| " + " | ".join(f"**{number:,}**" if number else "0" for _, number in columns) + " |",
    ]
    nothing = "" if any(change.acting for change in plan.changes) else "\nNo changes: nothing needs approval.\n"
    return f"<!-- jobform:plan {place} -->\n{title}\n\n" + "\n".join(rows) + "\n" + nothing


def _drift(plan: Plan) -> str:
    """What somebody changed on a backend and nothing here sets back, folded."""
    lines = drift(plan, painter(False), _WIDTH)
    if not lines:
        return ""
    text = _fitting(lines, _SHORT, "lines")
    return f"<details><summary>{LEFT_ALONE.removesuffix(':')}</summary>\n\n{fenced(text, 'diff')}\n</details>\n\n"


def _notes(plan: Plan) -> str:
    lines = [f"- {code(key)}: {code(text)}" for key, text in plan.notes.items()]
    return f"**Notes**\n\n{_fitting(lines, _SHORT, 'notes')}\n" if lines else ""


def _destructive(groups: Sequence[Group], room: int) -> str:
    """Every address that would be stopped, deleted or forgotten; if the names cannot fit, numbers by job and a warning."""
    if not groups:
        return ""
    total = sum(len(group.changes) for group in groups)
    title = f"**Destructive: {count(total, 'change')}**\n\n"
    every = [
        f"- {code(change.address)} {will(change)}: {because(change)}" for group in groups for change in group.changes
    ]
    names = [f"- {will(group.first)}: " + ", ".join(code(change.address) for change in group.changes) for group in groups]
    for lines in (every, names):
        text = title + "\n".join(lines) + "\n"
        if _size(text) <= room:
            return text
    jobs = Counter((change.address.partition("[")[0], will(change)) for group in groups for change in group.changes)
    lines = [f"- {code(name)}: {number:,} {verb}" for (name, verb), number in jobs.items()]
    text = _fitting(lines, room - _size(title) - 200, "jobs")
    return f"{title}{text}\n**There are too many to name them here. Read the whole plan before you approve it.**\n"


def _details(parts: Sections, room: int) -> tuple[list[str], Counter[str]]:
    """Folded details of every change that fits, with its section's title, and how many do not by action."""
    shown: list[str] = []
    left_out: Counter[str] = Counter()
    for title, groups in (
        ("Destructive changes in detail", parts.destructive), ("Changes", parts.ordinary), ("Blocked", parts.blocked),
        ("Held", parts.held), ("Accepted earlier, goes on without asking", parts.accepted),
    ):
        heading = f"**{title}**\n"
        for group in groups:
            text = _folded(group) if room > _RESERVE else ""
            cost = _size(heading, text)
            if not text or cost > room:
                left_out[group.first.action.value] += len(group.changes)
                continue
            shown += [part for part in (heading, text) if part]
            heading, room = "", room - cost
    return shown, left_out


def _folded(group: Group) -> str:
    change = group.first
    lines = body(group, painter(False), _WIDTH)
    title = f"{escape(SYMBOLS[change.action])} {headline(group, html_code)}"
    return f"<details><summary>{title}</summary>\n\n{fenced(chr(10).join(lines), 'diff')}\n</details>\n"


def _left_out(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    parts = ", ".join(f"{number:,} {action}" for action, number in left_out.items())
    return f"_Left out here: details of {count(left_out.total(), 'change')} ({parts}). The counts above are complete._\n"


def _tail(plan: Plan) -> str:
    if not plan.digest:
        return f"{summary(plan.summary)}\n"
    lines = [f"Digest: {code(plan.digest)}"]
    if any(change.acting for change in plan.changes):
        target = f" --target {quote(plan.target)}" if plan.target else ""
        destroy = "destroy" if plan.destroy else "apply"
        lines.append(f"Apply exactly this with {code(f'jobform {destroy}{target} --approved {plan.digest}')}.")
    return "\n\n".join([*lines, summary(plan.summary)]) + "\n"


def _capped(shown: Sequence[Sequence[Diagnostic]], room: int) -> str:
    """As many findings as fit, in code blocks, errors and warnings in their order; and how many do not."""
    blocks = [fenced(findings(alike, painter(False), _WIDTH)) for alike in shown]
    kept: list[str] = []
    for block in blocks:
        if _size(*kept, block) > room:
            break
        kept.append(block)
    rest = shown[len(kept):]
    return "\n".join([*kept, *([f"_{tally(rest)} more._\n"] if rest else [])])


def _fitting(lines: Sequence[str], room: int, noun: str) -> str:
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            kept.append(f"- and {len(lines) - len(kept):,} more {noun}")
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _size(*texts: str) -> int:
    """Bytes, with the line break that joins each text to the next."""
    return sum(len(text.encode("utf-8", "replace")) + 1 for text in texts if text)
