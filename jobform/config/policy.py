"""A job's entry outside `spec`, as a `Policy`; needs are resolved later, when all addresses are known."""

from collections.abc import Mapping

from jobform.config.problem import Problem, Report
from jobform.model.job import OnChange, Policy, Rerun
from jobform.model.units import parse_duration
from jobform.model.values import Json


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
        report(Problem(("rerun", "on", on.index("dependency")), "not_supported", "rerun.on: dependency is not supported yet",
                       hint="remove it; raise generation to run the job again"))
    attempts = _whole(raw.get("max_attempts"), Rerun().max_attempts)
    return Rerun(tuple(dict.fromkeys(on)), attempts, _backoff(raw.get("backoff"), report))


def _backoff(raw: Json, report: Report) -> tuple[float, float]:
    """Seconds of `LOW..HIGH`; a single duration is both."""
    if not isinstance(raw, str):
        return Rerun().backoff
    low, dots, high = raw.partition("..")
    try:
        seconds = parse_duration(low), parse_duration(high if dots else low)
        if seconds[0] > seconds[1]:
            raise ValueError("the first duration is longer than the second")
    except ValueError as error:
        summary = '"backoff" is not a duration or a range of two'
        report(Problem(("rerun", "backoff"), "bad_duration", summary, str(error), "for example 2m..30m"))
        return Rerun().backoff
    return seconds


def _texts(raw: Json) -> tuple[str, ...]:
    return tuple(item for item in raw if isinstance(item, str)) if isinstance(raw, list) else ()


def _whole(raw: Json, default: int) -> int:
    """Integers may be written 3.0."""
    return int(raw) if isinstance(raw, int | float) else default
