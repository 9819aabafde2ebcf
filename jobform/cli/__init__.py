"""The command line: flags in, exit code out. Commands are loaded when they are called, so help and version cost nothing."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING

import click

from jobform.model.version import VERSION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from jobform.run.runtime import Runtime

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("jobform.cli.project", "Write a starter project and its empty state."),
    "validate": ("jobform.cli.project", "Check every file and report every mistake."),
    "plan": ("jobform.cli.plan", "Show what apply would do."),
    "apply": ("jobform.cli.apply", "Create, update, rerun, replace and cancel jobs until they match the files."),
    "advance": ("jobform.cli.apply", "Do one step of what was accepted, from the state alone."),
    "wait": ("jobform.cli.apply", "Wait until jobs have ended, starting what they wait for."),
    "destroy": ("jobform.cli.apply", "Delete every job of the project."),
    "cancel": ("jobform.cli.apply", "Stop jobs that run, wait or are still to start."),
    "rerun": ("jobform.cli.apply", "Run jobs again as they were last accepted."),
    "import": ("jobform.cli.claims", "Take over a run that exists as the next attempt of a declared job."),
    "orphans": ("jobform.cli.claims", "List runs that the state does not account for."),
    "show": ("jobform.cli.plan", "Show a saved plan, or what the state knows."),
    "status": ("jobform.cli.look", "Show what every job is doing."),
    "logs": ("jobform.cli.look", "Print the output of a job's run."),
    "output": ("jobform.cli.look", "Print what a job gave as outputs."),
    "history": ("jobform.cli.look", "List applies, or the attempts of one job."),
    "graph": ("jobform.cli.project", "Draw the dependencies as a Mermaid diagram."),
    "schema": ("jobform.cli.project", "Print a JSON Schema, or list them."),
    "state": ("jobform.cli.state", "Look at the state and repair it."),
    "lock": ("jobform.cli.state", "Look at the state's lock."),
    "sandbox": ("jobform.cli.sandbox", "Start servers of the remote services on this machine, to try jobs without an account."),
    "version": ("jobform.cli.project", "Print the version."),
    "completion": ("jobform.cli.project", "Print the completion script of a shell."),
}
"""Where each command is, and its one-line help."""

NOT_YET: Mapping[str, str] = {
    "fmt": "formatting job files is not supported yet",
}


class LazyGroup(click.Group):
    """Knows its commands by name and loads a module when one of its commands is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        attribute = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in NOT_YET:
            ctx.fail(NOT_YET[name])
        if name not in COMMANDS and not name.startswith("-"):
            from jobform.model.suggest import suggest  # only for a mistake

            near = suggest(name, COMMANDS)
            ctx.fail(f"there is no command {name!r}." + (f" Did you mean {near!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Names and help from the table above: a shell asks at every key, and no command need be loaded."""
        from click.shell_completion import CompletionItem  # only a shell that completes asks for it

        names = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


EPILOG = """\b
Examples:
  jobform init                        # start a project in this directory
  jobform plan                        # what would happen
  jobform plan --out plan.json        # the same, saved for review
  jobform apply plan.json             # exactly that plan, without a question
  jobform apply --auto-approve        # plan and apply in one go
  jobform status                      # what every job is doing

\b
Exit codes: 0 success, 1 error, 2 changes (plan --detailed-exitcode) or still in
progress, 3 invalid input, 4 lock held, 5 state, 6 plan is stale, 7 incomplete,
8 a job failed, 9 timeout, 64 usage, 130/143 stopped by a signal.
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, "-V", "--version", prog_name="jobform", message="%(prog)s %(version)s")
@click.option("-C", "--chdir", "chdir", metavar="DIR", default=None, help="The project's directory (default: here).")
@click.pass_context
def cli(ctx: click.Context, chdir: str | None) -> None:
    """Terraform for jobs: plan, review and apply YAML job files, exactly once."""
    if chdir is not None:
        ctx.default_map = {name: {"chdir": chdir} for name in COMMANDS} | {
            "state": {name: {"chdir": chdir} for name in ("list", "show", "rm", "pull", "push", "resolve")},
            "lock": {"show": {"chdir": chdir}},
        }


def main(argv: Sequence[str] | None = None, runtime: "Runtime | None" = None) -> int:
    """Run one command and return its exit code. runtime: for tests; the real surroundings otherwise."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        print(f"jobform {VERSION}")  # noqa: T201  # the one output that must not load anything
        return 0
    try:
        from jobform.cli.app import run  # after the cheapest answer, before the rest

        return run(cli, arguments, runtime)
    except KeyboardInterrupt:  # while modules were loaded, or while the last words were said
        return 130
