"""A plan for people: what destroys first, each change with its reason and differing fields, the counts last."""

from collections.abc import Callable, Iterable, Sequence

from jobform.model.change import Action, Change, FieldChange, Plan
from jobform.model.values import Json
from jobform.views.escape import terminal
from jobform.views.fields import field_lines, value_lines
from jobform.views.findings import findings
from jobform.views.grouping import Group, Sections, destructive, groups, sections
from jobform.views.screen import Paint
from jobform.views.words import LEGEND, STYLE_OF, SYMBOLS, because, count, duration, meaning, some, summary, will

LEFT_ALONE = "Drift that is left alone:"

_INDENT = "      "


def plan_text(plan: Plan, paint: Paint, width: int) -> str:
    """The whole plan. Ends with the summary line."""
    parts = sections(plan)
    blocks = [_opening(plan, parts, paint)]
    for title, listed in _titled(parts):
        if listed:
            blocks.append(paint(title, "bold"))
            blocks += [group_text(group, paint, width) for group in listed]
    left = drift(plan, paint, width - 2)
    blocks.append("\n".join([paint(LEFT_ALONE, "bold"), *(f"  {line}" for line in left)]) if left else "")
    blocks.append(_notes(plan, paint))
    blocks.append(findings(plan.diagnostics, paint, width, counted=False).rstrip("\n"))
    if plan.digest:
        blocks.append(f"Digest: {terminal(plan.digest)}")
    blocks.append(paint(summary(plan.summary), "bold"))
    return "\n\n".join(block for block in blocks if block) + "\n"


def group_text(group: Group, paint: Paint, width: int) -> str:
    """One change, or many that read alike, from its headline down."""
    change = group.first
    symbol = paint(f"{SYMBOLS[change.action]:>3}", STYLE_OF[change.action])
    lines = [f"{symbol} {paint(headline(group), 'bold')}", *(_INDENT + line for line in body(group, paint, width - len(_INDENT)))]
    return "\n".join(line.rstrip() for line in lines)


def headline(group: Group, quote: Callable[[str], str] = terminal) -> str:
    """`train (24 instances) will run again on gpu as attempt 2`. quote: escapes each name for where it will stand."""
    change = group.first
    if change.action is Action.MOVE and change.source:
        source = change.source if len(group.changes) == 1 else change.source.partition("[")[0]
        return f"{quote(source)} {will(change)} to {quote(group.label)}"
    text = f"{quote(group.label)} {will(change)}"
    if change.backend:
        text += f" {'to' if change.action is Action.MOVE else 'on'} {quote(change.backend)}"
    attempts = {member.attempt for member in group.changes}
    if change.action in (Action.RERUN, Action.REPLACE) and len(attempts) == 1 and change.attempt:
        text += f" as attempt {change.attempt}"
    return text


def body(group: Group, paint: Paint, width: int) -> list[str]:
    """Everything below the headline, not indented: reason, what was seen, differing fields, what it waits for, the hint."""
    change, many = group.first, len(group.changes) > 1
    lines = [f"because {because(change)}"]
    lines += _texts(change.detail, "", "  ", _differ(group, lambda member: member.detail))
    if many:
        lines += _instances(group)
    lines += _live(group)
    lines += _fields(group, paint, width)
    after = dict.fromkeys(address for member in group.changes for address in member.after)
    if after:
        lines.append(f"after: {terminal(some(after))}")
    if change.range is not None and not change.fields:
        lines.append(f"declared at {terminal(str(change.range))}")
    lines += _texts(change.hint, paint("hint: ", "cyan"), "      ", _differ(group, lambda member: member.hint))
    return lines


def drift(plan: Plan, paint: Paint, width: int) -> list[str]:
    """What somebody changed on a backend and no change of this plan touches, each with who did it; not indented."""
    lines: list[str] = []
    for group in groups(change for change in plan.changes if change.action is Action.NO_OP):
        fields = [field for field in group.first.fields if field.source == "actual"]
        kept = [field for field in fields if not field.ignored]
        lines += [f"{terminal(group.label)}:"] if kept else []
        for field in kept:
            first, *rest = field_lines(field, paint, width - 2)
            lines += [f"  {first}{changed_by(field)}", *(f"  {line}" for line in rest)]
        lines += [f"{terminal(group.label)}: {terminal(f.path)} is ignored{changed_by(f)}" for f in fields if f.ignored]
    return lines


def changed_by(field: FieldChange) -> str:
    """` (changed by kubectl-edit)`, "" when nobody knows."""
    return f" (changed by {terminal(field.by)})" if field.by else ""


def _opening(plan: Plan, parts: Sections, paint: Paint) -> str:
    name = terminal(plan.project) + (f" (target {terminal(plan.target)})" if plan.target else "")
    approval = any(change.acting for change in plan.changes)
    if not approval and not parts.blocked:
        rest = [word for groups, word in ((parts.accepted, "already accepted"), (parts.held, "held")) if groups]
        nothing = "There is nothing to destroy." if plan.destroy else "Every job is as declared."
        said = f"What is {' or '.join(rest)} is listed below." if rest else nothing
        return f"{paint('No changes.', 'bold')} Nothing in {name} needs approval. {said}"
    title = "Destruction" if plan.destroy else "Plan"
    used = [action for action in SYMBOLS if any(change.action is action for change in plan.changes)]
    legend = "\n".join(f"  {paint(f'{SYMBOLS[action]:>3}', STYLE_OF[action])} {LEGEND[action]}" for action in used)
    return f"{paint(f'{title} for {name}', 'bold')}\n\n{legend}"


def _titled(parts: Sections) -> Iterable[tuple[str, Sequence[Group]]]:
    yield "Destructive changes:", parts.destructive
    yield "Changes:", parts.ordinary
    yield "Accepted earlier, goes on without asking:", parts.accepted
    yield "Blocked:", parts.blocked
    yield "Held:", parts.held


def _notes(plan: Plan, paint: Paint) -> str:
    if not plan.notes:
        return ""
    lines = [f"  {terminal(key)}: {terminal(text)}" for key, text in plan.notes.items()]
    return "\n".join([paint("Notes:", "bold"), *lines])


def _texts(text: str, first: str, further: str, differs: bool) -> list[str]:
    """A text from elsewhere; its further lines stand deeper, so that they cannot pass for lines of the plan."""
    if not text:
        return []
    shown = terminal(text, multiline=True).rstrip("\n").split("\n")
    shown[-1] += " (and alike for the other instances)" if differs else ""
    return [first + shown[0], *(further + line for line in shown[1:])]


def _instances(group: Group) -> list[str]:
    """Which ones. What is destroyed is named in full, whatever its number."""
    addresses = [member.address for member in group.changes]
    limit = len(addresses) if any(destructive(member) for member in group.changes) else 3
    return [f"instances: {terminal(some(addresses, limit))}"]


def _live(group: Group) -> list[str]:
    """How much running time is at stake."""
    hours = [member.running_seconds for member in group.changes if member.running_seconds is not None]
    if not hours:
        return []
    if len(group.changes) == 1:
        return [f"running for {duration(hours[0])}"]
    return [f"{count(len(hours), 'instance')} running, {duration(sum(hours))} in all, the longest for {duration(max(hours))}"]


def _fields(group: Group, paint: Paint, width: int) -> list[str]:
    change = group.first
    lines: list[str] = []
    varied = False
    if not change.fields and change.spec and change.action is Action.CREATE:
        varied = any(member.spec != change.spec for member in group.changes)
        for key, value in change.spec.items():
            lines += value_lines(f"spec.{key}", value, paint, width)
    for index, field in enumerate(change.fields):
        lines += field_lines(field, paint, width)
        lines.append(f"    {paint(_remark(change, field), 'dim')}")
        varied = varied or any(_sides(member.fields[index]) != _sides(field) for member in group.changes)
    if varied:
        lines.insert(0, f"values of {terminal(change.address)}, which differ between the instances:")
    return lines


def _sides(field: FieldChange) -> tuple[Json, Json]:
    return field.before, field.after


def _remark(change: Change, field: FieldChange) -> str:
    """What the field is, why, and where it was written."""
    text = meaning(change, field) + changed_by(field)
    if field.reason:
        text += f" ({terminal(field.reason)})"
    return f"{text}, {terminal(str(field.range))}" if field.range else text


def _differ(group: Group, read: Callable[[Change], str]) -> bool:
    return any(read(member) != read(group.first) for member in group.changes)
