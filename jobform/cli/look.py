"""Commands that only look: status, logs, output, history."""

import json
from typing import Any

import click

from jobform.cli.app import app
from jobform.cli.options import format_option, place_options, project_options, seconds, where
from jobform.model.errors import InputError
from jobform.model.state import State
from jobform.protocols import LogOptions
from jobform.run import editing, looking
from jobform.views.escape import ci_log, terminal


@click.command(epilog="""\b
Examples:
  jobform status
  jobform status train --format json
  jobform status --exit-code          # exits 2 while something is on its way
""")
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@project_options
@place_options
@click.option("--no-refresh", is_flag=True, help="Show what the state says; ask no backend.")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit 2 while something is in progress, 8 when a job has failed.")
@format_option("human", "json", "markdown")
@click.pass_context
def status(
    ctx: click.Context, /, selectors: tuple[str, ...], no_refresh: bool, exit_code: bool, format_: str, no_color: bool,
    **kwargs: Any,
) -> int:
    """Show what every job is doing now, without changing anything."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    state, warnings = looking.present(session, refresh=not no_refresh)
    if selectors:
        chosen = set(editing.select(state, selectors))
        state.jobs = {address: record for address, record in state.jobs.items() if address in chosen}
    target.tell(warnings)
    target.print(target.view.status(state, target.runtime.clock.now()))
    return looking.progress(session, state) if exit_code else 0


@click.command(epilog="""\b
Examples:
  jobform logs train
  jobform logs 'train[lr=0.1]' --follow
  jobform logs train --attempt 1 --tail 50
  jobform logs train --since 10m          # in a cluster: of all its pods
  jobform logs train --index 0 --container main --previous
""")
@click.argument("address")
@project_options
@place_options
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--index", type=click.IntRange(0), help="Only this one of the pods or processes that share the work.")
@click.option("--container", metavar="NAME", default="", help="Only the container of this name.")
@click.option("--previous", is_flag=True, help="What was printed before a container was last started again.")
@click.option("--since", metavar="DURATION", help="Only the last time, such as 10m.")
@click.option("--tail", type=click.IntRange(0), help="Only so many last lines, of each container.")
@click.option("--attempt", type=click.IntRange(1), help="Another attempt than the last.")
@click.pass_context
def logs(
    ctx: click.Context, /, address: str, follow: bool, index: int | None, container: str, previous: bool, since: str | None,
    tail: int | None, attempt: int | None, no_color: bool, **kwargs: Any,
) -> int:
    """Print the output of a job's run; what was kept of it when nothing else is left. Of several pods or containers, every line
    begins with [pod container]."""
    if follow and previous:
        raise click.UsageError("--previous shows what has ended: it cannot be followed")
    target = app(ctx, "human", no_color)
    session = target.session(where(kwargs))
    options = LogOptions(
        follow, tail, seconds(since, "--since"), index, container, previous,
        tell=lambda text: target.say(f"{ci_log(terminal(text))}\n"),
    )
    for line in looking.log_lines(session, _one(session.manager.state, address), attempt, options):
        target.print(line)
    return 0


@click.command(epilog="""\b
Examples:
  jobform output prep
  jobform output prep rows
""")
@click.argument("address")
@click.argument("key", required=False)
@project_options
@format_option("human", "json")
@click.pass_context
def output(ctx: click.Context, /, address: str, key: str | None, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Print the outputs of a job's last successful run, or one of them. Text is bare, with control characters shown as
    escapes; --format json has it exactly."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    outputs = looking.outputs(session.manager.state, _one(session.manager.state, address))
    if key is None:
        target.print(target.view.outputs(outputs))
        return 0
    if key not in outputs:
        given = f"it gave: {', '.join(sorted(outputs)) or 'none'}"
        raise InputError.of("unknown_output", f"{address} gave no output {key!r}", detail=given)
    value = outputs[key]
    if isinstance(value, str) and format_ == "human":
        target.print(ci_log(terminal(value, multiline=True)))
    else:
        target.print(json.dumps(value))
    return 0


@click.command(epilog="""\b
Examples:
  jobform history            # the last applies: who, when, what became of them
  jobform history train      # every attempt of one job
""")
@click.argument("address", required=False)
@project_options
@format_option("human", "json", "markdown")
@click.pass_context
def history(ctx: click.Context, /, address: str | None, format_: str, no_color: bool, **kwargs: Any) -> int:
    """List applies, or the attempts of one job, deleted ones included."""
    target = app(ctx, format_, no_color)
    state = target.session(where(kwargs)).manager.state
    if address is None:
        target.print(target.view.runs(state.runs.values()))
        return 0
    target.print(target.view.history(address, looking.attempts(state, address), target.runtime.clock.now()))
    return 0


def _one(state: State, text: str) -> str:
    """The one recorded address that a selector chooses. Raises InputError when it chooses none or several."""
    found = editing.select(state, [text])
    exact = [address for address in found if address == text]
    if len(found) > 1 and not exact:
        some = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "")
        raise InputError.of("several_jobs", f"{text!r} means {len(found)} jobs", detail=some, hint="name one of them")
    return (exact or found)[0]


