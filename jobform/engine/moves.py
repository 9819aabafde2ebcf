"""`moved:` entries made concrete: which recorded addresses get which new name."""

from collections.abc import Mapping

from jobform.model.address import format_address, parse_address
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import InputError
from jobform.model.job import Move, MoveRule, Project
from jobform.model.state import State
from jobform.model.values import Json


def concrete_moves(project: Project, state: State) -> dict[str, Move]:
    """The moves by their new address; an entry whose old address is not in the state is spent, and silent.

    Raises InputError, with one diagnostic each, when an old address is still declared, or a new one is recorded, taken twice, or
    that of a run which was left behind and may be live.
    """
    moves: dict[str, Move] = {}
    problems: list[Diagnostic] = []
    for rule in project.moved:
        for source in [address for address in state.jobs if _matches(rule, address)]:
            to = _target(rule, source)
            if source == to:  # it has the keys already that the entry would give it
                continue
            refused = _refused(project, state, moves, source, to)
            if refused:
                problems.append(
                    Diagnostic(Severity.ERROR, "bad_move", refused[0], hint=refused[1], range=rule.range, address=source)
                )
            else:
                moves[to] = Move(source, to, rule.range)
    if problems:
        raise InputError(problems)
    return moves


def _refused(project: Project, state: State, moves: Mapping[str, Move], source: str, to: str) -> tuple[str, str] | None:
    if source in project.jobs:
        return f"{source} is moved away, but still declared", "rename the job where it is declared, or drop the `moved:` entry"
    if to in state.jobs:
        return f"{source} cannot become {to}: the state already has {to}", f"delete or forget {to} first, or move it elsewhere"
    if to in state.tombstones and state.tombstones[to].live:
        return (
            f"{source} cannot become {to}: a run that an earlier {to} left behind is not known to have ended",
            f"wait for it, stop it with `jobform cancel '{to}'`, or say that it is over: jobform state resolve '{to}' --ended",
        )
    if to in moves:
        return f"{source} and {moves[to].source} would both become {to}", "give one of them another name"
    if to not in project.jobs:
        return f"{source} would become {to}, which is not declared", "declare it, or correct the entry"
    return None


def _matches(rule: MoveRule, address: str) -> bool:
    """Whether an entry means this address; one that has the axis already that the entry adds is not what it speaks of."""
    name, keys = parse_address(rule.source)
    own, axes = parse_address(address)
    _, added = parse_address(rule.to)
    return (
        name == own
        and all(axes.get(key) == value for key, value in keys.items())
        and not (added.keys() - keys.keys()) & axes.keys()
    )


def _target(rule: MoveRule, source: str) -> str:
    """The new address: keys that the entry does not name are kept, those that only its old side names are dropped."""
    _, dropped = parse_address(rule.source)
    name, added = parse_address(rule.to)
    _, axes = parse_address(source)
    kept: dict[str, Json] = {key: value for key, value in axes.items() if key not in dropped}
    return format_address(name, kept | added)
