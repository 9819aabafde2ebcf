"""A job's entry outside `spec`, as a `Policy`; needs are resolved later, when all addresses are known."""

from collections.abc import Callable, Mapping

from jobform.config.problem import Problem, Report
from jobform.model.job import OnChange, Policy, Rerun
from jobform.model.units import parse_duration
from jobform.model.values import Json

_NOT_YET = "not supported yet"


def read_policy(raw: Mapping[str, Json], report: Report) -> Policy:
    """raw: an entry of the right shape. Paths in problems start at the entry."""
    return Policy(
        rerun=_rerun(raw.get("rerun"), report),
        on_change_while_running=OnChange(str(raw.get("on_change_while_running", OnChange.REFUSE))),
        protect=raw.get("protect") is True,
        ignore_drift=_texts(raw.get("ignore_drift")),
        keep_objects=_whole(raw.get("keep_objects"), 0),
        optional_keys=_texts(raw.get("optional_keys")),
        allow_plain=_texts(raw.get("allow_plain")),
    )


def _rerun(raw: Json, report: Report) -> Rerun:
    if not isinstance(raw, dict):
        return Rerun()
    on = _texts(raw["on"]) if "on" in raw else Rerun().on
    if "dependency" in on:
        report(Problem(("rerun", "on", on.index("dependency")), "not_supported", f"rerun.on: dependency is {_NOT_YET}",
                       hint="remove it; raise generation to run the job again"))
    return Rerun(tuple(dict.fromkeys(on)), _whole(raw.get("max_attempts"), Rerun().max_attempts), _backoff(raw.get("backoff"), report))


def _backoff(raw: Json, report: Report) -> tuple[float, float]:
    """Seconds of `LOW..HIGH`; a single duration is both."""
    if not isinstance(raw, str):
        return Rerun().backoff
    low, dots, high = raw.partition("..")
    problem: Callable[[str], None] = lambda detail: report(  # noqa: E731  # one sentence, three uses
        Problem(("rerun", "backoff"), "bad_duration", "\"backoff\" is not a duration or a range of two", detail, "for example 2m..30m"))
    try:
        seconds = parse_duration(low), parse_duration(high if dots else low)
    except ValueError as error:
        problem(str(error))
        return Rerun().backoff
    if seconds[0] > seconds[1]:
        problem("the first duration is longer than the second")
        return Rerun().backoff
    return seconds


def _texts(raw: Json) -> tuple[str, ...]:
    return tuple(item for item in raw if isinstance(item, str)) if isinstance(raw, list) else ()


def _whole(raw: Json, default: int) -> int:
    """Integers may be written 3.0."""
    return int(raw) if isinstance(raw, int | float) else default
