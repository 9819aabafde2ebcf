"""What `import` and `orphans` show to people."""

from jobform.model.claims import Orphan, Orphans, Takeover, Why
from jobform.model.state import Phase
from jobform.views.escape import terminal
from jobform.views.fields import field_lines
from jobform.views.reports import PHASE_STYLES, second
from jobform.views.screen import Paint
from jobform.views.table import table
from jobform.views.words import count, some

_MEANING = {
    Why.UNRECORDED: "it carries this project's mark, and the state does not know it",
    Why.DUPLICATE: "the state has another run for the same attempt",
    Why.LEFT_BEHIND: "its job was removed, and it is not known to have ended",
    Why.UNOWNED: "it carries no mark of jobform's",
}


def takeover_text(taken: Takeover, paint: Paint, width: int) -> str:
    """The differences, what nobody could compare, and what came of it."""
    address, run = terminal(taken.address), terminal(taken.id)
    lines = []
    if taken.differences:
        lines.append(paint(f"{run} differs from what is declared (declared -> the run):", "bold"))
        for field in taken.differences:
            lines += [f"  {line}" for line in field_lines(field, paint, width - 2)]
            why = f"{field.class_} field" + (f" ({terminal(field.reason)})" if field.reason else "")
            lines.append(f"      {paint(why + (f', {terminal(str(field.range))}' if field.range else ''), 'dim')}")
    if taken.asserted:
        lines.append(f"Nobody could compare: {terminal(some(taken.asserted, 20))}.")
    if taken.recorded:
        lines.append(f"{address} is {run} on {terminal(taken.backend)} now, as attempt {taken.attempt}: {taken.phase}.")
    return "".join(f"{line}\n" for line in lines)


def orphans_text(orphans: Orphans, paint: Paint) -> str:
    """One row per run, then what the words mean and what to do about each."""
    if not orphans.found:
        return "No orphans: the state accounts for every run that was found.\n" if orphans.complete else ""
    rows = [
        [
            one.backend, one.id or "-", one.name or "-", one.phase, second(one.created_at) if one.created_at else "-",
            _whose(one.address, one.attempt), one.why,
        ]
        for one in orphans.found
    ]
    headers = ["BACKEND", "ID", "NAME", "PHASE", "CREATED", "ATTEMPT", "WHY"]
    text = table(headers, rows, paint, [PHASE_STYLES[one.phase] for one in orphans.found])
    whys = [why for why in Why if any(one.why is why for one in orphans.found)]
    meaning = "".join(f"  {why}: {_MEANING[why]}\n" for why in whys)
    todo = "".join(f"  {terminal(one.id or one.mark)}: {terminal(said)}\n" for one in orphans.found if (said := _said(one)))
    return f"{text}\n{count(len(rows), 'orphan')}.\n{meaning}" + (f"{paint('What to do:', 'bold')}\n{todo}" if todo else "")


def _said(one: Orphan) -> str:
    """What to do about it, after why its phase is not known."""
    return "; ".join(part for part in (one.detail if one.phase is Phase.UNKNOWN else "", one.hint) if part)


def _whose(address: str, attempt: int | None) -> str:
    return "-" if attempt is None else f"{address or '?'} {attempt}"
