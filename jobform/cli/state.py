"""state and lock: looking at the record, and repairing it."""

from pathlib import Path
from typing import Any

import click

from jobform.cli.app import app
from jobform.cli.observer import LineObserver
from jobform.cli.options import format_option, lock_timeout_option, project_options, seconds, where
from jobform.model.errors import InputError
from jobform.run import editing

_TIMEOUT = lock_timeout_option()


@click.group()
def state() -> None:
    """Look at the state and repair it."""


@state.command("list", epilog="\b\nExamples:\n  jobform state list\n")
@project_options
@format_option("human", "json")
@click.pass_context
def list_(ctx: click.Context, /, format_: str, no_color: bool, **kwargs: Any) -> int:
    """List every address that the state knows."""
    target = app(ctx, format_, no_color)
    target.print(target.view.state_list(target.session(where(kwargs)).manager.state))
    return 0


@state.command("show", epilog="\b\nExamples:\n  jobform state show train\n  jobform state show 'train[seed=1]' --format json\n")
@click.argument("selector")
@project_options
@format_option("human", "json")
@click.pass_context
def show_(ctx: click.Context, /, selector: str, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Show all that is known of a job."""
    target = app(ctx, format_, no_color)
    known = target.session(where(kwargs)).manager.state
    for address in editing.select(known, [selector]):
        target.print(target.view.show_record(known, address))
    return 0


@state.command("rm", epilog="\b\nExamples:\n  jobform state rm old\n")
@click.argument("selectors", metavar="SELECTOR...", nargs=-1, required=True)
@project_options
@_TIMEOUT
@click.pass_context
def rm(ctx: click.Context, /, selectors: tuple[str, ...], lock_timeout: str, no_color: bool, **kwargs: Any) -> int:
    """Forget jobs and call nothing. A run that may still be live is remembered, so that none is started beside it."""
    target = app(ctx, "human", no_color)
    session = target.session(where(kwargs))
    chosen = editing.forget(session, selectors, LineObserver(target, session), seconds(lock_timeout, "--lock-timeout") or 0.0)
    for address in chosen:
        tombstone = session.manager.state.tombstones.get(address)
        if tombstone and tombstone.live:
            target.print(f"A run of {address} may still be live: `jobform cancel '{address}'` stops it.")
    return 0


@state.command("pull", epilog="\b\nExamples:\n  jobform state pull > backup.json\n")
@project_options
@click.pass_context
def pull(ctx: click.Context, /, no_color: bool, **kwargs: Any) -> int:
    """Print the whole state as one document."""
    target = app(ctx, "human", no_color)
    target.print(target.session(where(kwargs)).manager.pull().decode("utf-8"))
    return 0


@state.command("push", epilog="""\b
Examples:
  jobform state push errored.jobform.json
  cat backup.json | jobform state push -
""")
@click.argument("file")
@project_options
@_TIMEOUT
@click.option("--force", is_flag=True, help="Replace a state of another lineage or a higher serial.")
@click.pass_context
def push(ctx: click.Context, /, file: str, lock_timeout: str, force: bool, no_color: bool, **kwargs: Any) -> int:
    """Replace the state by a document, such as the one that a failed save left behind."""
    target = app(ctx, "human", no_color)
    session = target.session(where(kwargs))
    try:
        data = target.runtime.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError.of("unreadable", f"{file} cannot be read: {error.strerror}") from error
    pushed = editing.push(session, data, force=force, lock_timeout=seconds(lock_timeout, "--lock-timeout") or 0.0)
    target.print(f"The state has serial {pushed.serial} and {len(pushed.jobs)} jobs now.")
    return 0


@state.command("resolve", epilog="""\b
Examples:
  jobform state resolve train --not-submitted     # nothing arrived: submit it again
  jobform state resolve train --found ID          # this run is it: adopt it
  jobform state resolve train --ended             # the run of a removed job is over
""")
@click.argument("address")
@project_options
@_TIMEOUT
@click.option("--found", metavar="ID", help="The run with this id, as the backend writes it, is the one.")
@click.option("--not-submitted", is_flag=True, help="No run was made.")
@click.option("--ended", is_flag=True, help="The run that a removed job left behind has ended.")
@click.pass_context
def resolve(
    ctx: click.Context, /, address: str, found: str | None, not_submitted: bool, ended: bool, lock_timeout: str,
    no_color: bool, **kwargs: Any,
) -> int:
    """Say what no machine can know: what became of a call whose answer was lost."""
    if sum((found is not None, not_submitted, ended)) != 1:
        raise click.UsageError("give exactly one of --found ID, --not-submitted and --ended")
    target = app(ctx, "human", no_color)
    how = "found" if found is not None else "not_submitted" if not_submitted else "ended"
    session = target.session(where(kwargs))
    observer = LineObserver(target, session)
    target.tell(editing.resolve(session, address, how, found, observer, seconds(lock_timeout, "--lock-timeout") or 0.0))
    target.print(f"{address} is resolved: {how.replace('_', ' ')}.")
    return 0


@click.group()
def lock() -> None:
    """Look at the state's lock."""


@lock.command("show", epilog="\b\nExamples:\n  jobform lock show\n")
@project_options
@format_option("human", "json")
@click.pass_context
def lock_show(ctx: click.Context, /, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Show who holds the lock, if anybody."""
    target = app(ctx, format_, no_color)
    target.print(target.view.lock(target.session(where(kwargs)).store.holder()))
    return 0
