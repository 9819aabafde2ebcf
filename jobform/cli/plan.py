"""plan and show."""

import os
import shlex
from pathlib import Path
from typing import Any

import click

from jobform.cli.app import App, app
from jobform.cli.options import choice_options, format_option, place_options, project_options, where
from jobform.codec import plan_from_bytes, plan_to_bytes
from jobform.engine.plan import Options
from jobform.model.address import Selector
from jobform.model.change import Action, Plan
from jobform.model.diagnostic import Diagnostic, Severity
from jobform.model.errors import InputError, StateError
from jobform.run import planning
from jobform.run.editing import select as select_addresses


def selectors(texts: tuple[str, ...], option: str) -> tuple[Selector, ...]:
    """Selectors of the command line. Raises click.UsageError."""
    found = []
    for text in texts:
        try:
            found.append(Selector.parse(text))
        except ValueError as error:
            raise click.UsageError(f"{option} {text}: {error}") from error
    return tuple(found)


def plan_options(kwargs: dict[str, Any]) -> planning.PlanOptions:
    """Takes everything that shapes a plan out of a command's arguments."""
    return planning.PlanOptions(
        Options(
            selectors(kwargs.pop("select"), "--select"), selectors(kwargs.pop("exclude"), "--exclude"),
            kwargs.pop("destroy", False), selectors(kwargs.pop("allow_cancel", ()), "--allow-cancel"),
            kwargs.pop("recreate_lost", False), selectors(kwargs.pop("rerun", ()), "--rerun"),
        ),
        refresh=not kwargs.pop("no_refresh", False), offline=kwargs.pop("offline", False),
        allow_empty=kwargs.pop("dangerous_allow_empty", False),
    )


def shaping_options(command: Any) -> Any:
    """Options that shape a plan, for `plan` and `apply`."""
    for option in reversed([
        click.option("--allow-cancel", metavar="SELECTOR", multiple=True, help="These jobs may be stopped while they run."),
        click.option("--recreate-lost", is_flag=True, help="Run lost jobs again."),
        click.option("--rerun", metavar="SELECTOR", multiple=True, help="Run these ended jobs again."),
        click.option("--no-refresh", is_flag=True, help="Trust the state; read no backend before planning."),
        click.option("--dangerous-allow-empty", is_flag=True, help="Let an empty project delete every job."),
    ]):
        command = option(command)
    return command


@click.command(epilog="""\b
Examples:
  jobform plan
  jobform plan --select train --exclude 'train[seed=2]'
  jobform plan --out plan.json && jobform apply plan.json
  jobform plan --context staging --namespace ml         # another cluster, for this once
  jobform plan --detailed-exitcode --format markdown   # for a pull request
""")
@project_options
@place_options
@choice_options
@shaping_options
@click.option("--destroy", is_flag=True, help="Plan to delete every job.")
@click.option("--offline", is_flag=True, help="Open no backend; such a plan cannot be applied.")
@click.option("--refresh-only", is_flag=True, help="Not supported yet.")
@click.option("--untrusted", is_flag=True, help="Not supported yet.")
@click.option("--out", metavar="FILE", help="Save the plan for `jobform apply FILE`.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when something would change or is blocked.")
@format_option("human", "json", "markdown")
@click.pass_context
def plan(ctx: click.Context, /, out: str | None, detailed_exitcode: bool, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Show what apply would do, and change nothing."""
    if kwargs.pop("refresh_only"):
        raise click.UsageError("--refresh-only is not supported yet: `jobform status` shows what the backends say")
    if kwargs.pop("untrusted"):
        raise click.UsageError("--untrusted is not supported yet; `validate` and `plan --offline` run nothing of the project")
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    if out is not None:
        _writable(Path(out))
    made = planning.plan(session, plan_options(kwargs))
    if out is not None:
        save(Path(out), plan_to_bytes(made))
    target.print(target.view.plan(made))
    summarise(target, made)
    if out is not None and format_ == "human":
        how = f"to do exactly this: jobform apply {shlex.quote(out)}" if made.digest else "made offline, it cannot be applied"
        target.print(f"\nSaved to {out}; {how}")
    changed = made.needs_approval or any(change.action is Action.BLOCK for change in made.changes)
    return 2 if detailed_exitcode and changed else 0


@click.command(epilog="""\b
Examples:
  jobform show plan.json          # a saved plan, as it was shown
  jobform show                    # every job that the state knows
  jobform show 'train[lr=0.1]'    # one of them, with its attempts
""")
@click.argument("what", required=False)
@project_options
@format_option("human", "json", "markdown")
@click.pass_context
def show(ctx: click.Context, /, what: str | None, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Show a saved plan, or what the state knows."""
    target = app(ctx, format_, no_color)
    if what is not None and Path(what).is_file():
        target.print(target.view.plan(load(what)))
        return 0
    session = target.session(where(kwargs))
    state = session.manager.state
    if what is None:
        target.print(target.view.state_list(state))
        return 0
    for address in select_addresses(state, [what]):
        target.print(target.view.show_record(state, address))
    return 0


def load(name: str) -> Plan:
    """A saved plan. Raises InputError when it cannot be read and StaleError when it is not one."""
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        hint = "jobform plan --out FILE writes one; to choose jobs: --select " + shlex.quote(name)
        raise InputError.of("plan_unreadable", f"the plan {name} cannot be read: {error.strerror}", hint=hint) from error
    return plan_from_bytes(data)


def save(path: Path, data: bytes) -> None:
    """Write a plan file of mode 0600: whole or not at all. Raises StateError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StateError.of("plan_not_saved", f"the plan could not be saved to {path}: {error.strerror}") from error


def summarise(target: App, made: Plan) -> None:
    """Put the Markdown form where GitHub shows it, when it says where. A summary that cannot be written fails nothing."""
    place = target.runtime.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    text = target.mask(target.runtime.registry.view("markdown", target.screen).plan(made))
    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        target.tell([Diagnostic(Severity.WARNING, "no_summary", f"GITHUB_STEP_SUMMARY cannot be written: {error.strerror}")])


def _writable(path: Path) -> None:
    """Refuse before planning what could not be saved afterwards. Raises click.UsageError."""
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise click.UsageError(f"--out {path}: not a regular file")
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise click.UsageError(f"--out {path}: its directory does not exist or is not writable")
