"""import and orphans: runs that jobform did not record."""

from typing import Any

import click

from jobform.cli.app import app
from jobform.cli.options import format_option, lock_timeout_option, place_options, project_options, seconds, where
from jobform.model.diagnostic import Diagnostic, Severity


@click.command("import", epilog="""\b
Examples:
  jobform import train 8f2c41ab                        # an id as the service shows it
  jobform import 'train[lr=0.1]' 8f2c41ab --format json
  jobform import train 8f2c41ab --accept-differences   # the next plan says what follows
""")
@click.argument("address")
@click.argument("run_id", metavar="ID")
@project_options
@place_options
@lock_timeout_option()
@click.option("--accept-differences", is_flag=True, help="Record the run as it is where it is not as declared.")
@click.option("--take-over", is_flag=True, help="Also a run that another project made, and has given up.")
@format_option("human", "json", "markdown")
@click.pass_context
def import_(
    ctx: click.Context, /, address: str, run_id: str, lock_timeout: str, accept_differences: bool, take_over: bool, format_: str,
    no_color: bool, **kwargs: Any,
) -> int:
    """Take over a run that exists as the next attempt of a declared job. Every field that its service reports must be as the
    files declare it."""
    from jobform.run import claims

    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    options = claims.ImportOptions(accept_differences, take_over, seconds(lock_timeout, "--lock-timeout") or 0.0)
    taken, warnings = claims.take_over(session, address, run_id, options)
    target.print(target.view.takeover(taken))
    target.tell(warnings)
    if taken.recorded:
        return 0
    many = len(taken.differences)
    target.tell([Diagnostic(
        Severity.ERROR, "differs", f"the run was not imported: {many} field{'s' * (many > 1)} of it differ{'s' * (many == 1)} "
        "from what is declared", "nothing was recorded", "make the files say what runs, or give --accept-differences",
        address=taken.address,
    )])
    return 1


@click.command(epilog="""\b
Examples:
  jobform orphans
  jobform orphans --all --format json
  jobform orphans --backend here --exit-code     # exits 2 when there are any
""")
@project_options
@place_options
@click.option("--backend", "backend", metavar="NAME", help="Only this backend.")
@click.option("--all", "everything", is_flag=True, help="Also live runs that carry no mark of jobform's.")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit 2 when there are any.")
@format_option("human", "json", "markdown")
@click.pass_context
def orphans(
    ctx: click.Context, /, backend: str | None, everything: bool, exit_code: bool, format_: str, no_color: bool, **kwargs: Any,
) -> int:
    """List runs that the state does not account for, without changing anything: those that carry this project's mark and are
    not in its state, and those that removed jobs left behind."""
    from jobform.run import orphans as search

    target = app(ctx, format_, no_color)
    found = search.orphans(target.session(where(kwargs)), backend, everything=everything)
    target.print(target.view.orphans(found))
    target.tell([
        Diagnostic(
            Severity.ERROR if one.able else Severity.WARNING, "not_listed", one.summary, one.detail,
            "what runs there is not in the list above" if one.able else "",
        )
        for one in found.unlisted
    ])
    if not found.complete:
        return 1
    return 2 if exit_code and found.found else 0
