"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from jobform.run.session import Where

F = TypeVar("F", bound=Callable[..., Any])


def project_options(command: F) -> F:
    """-C, --target, --var, --var-file, --no-color: which project, and with which values."""
    for option in reversed([
        click.option("-C", "--chdir", metavar="DIR", default=".", help="The project's directory (default: here)."),
        click.option("--target", metavar="NAME", help="The target (environment) of jobform.yaml."),
        click.option("--var", "variables", metavar="NAME=VALUE", multiple=True, help="Set a variable; may be repeated."),
        click.option("--var-file", "var_files", metavar="FILE", multiple=True, help="Read variables from a YAML or JSON file."),
        click.option("--accept-older-state", is_flag=True, help="Go on with a state that was replaced by an older one."),
        click.option("--no-color", is_flag=True, help="Never use colour (NO_COLOR does the same)."),
    ]):
        command = option(command)
    return command


OVERRIDES = ("context", "namespace")
"""Settings of backends that have an option of their own."""


def place_options(command: F) -> F:
    """--context and --namespace: another place than jobform.yaml names, for commands that ask a backend anything."""
    for option in reversed([
        click.option("--context", metavar="NAME", help="Use this context in every backend that has the setting."),
        click.option("--namespace", metavar="NAME", help="Use this namespace in every backend that has the setting."),
    ]):
        command = option(command)
    return command


def format_option(*formats: str) -> Callable[[F], F]:
    """--format with these choices, the first being the default."""
    return click.option(
        "--format", "format_", type=click.Choice(formats), default=formats[0], show_default=True, help="How to write the result.",
    )


def parallelism_option(command: F) -> F:
    """--parallelism."""
    return click.option(
        "--parallelism", type=click.IntRange(1, 1000), default=10, show_default=True, help="Calls in flight at a time.",
    )(command)


def lock_timeout_option(default: str = "30s") -> Callable[[F], F]:
    """--lock-timeout, a duration."""
    return click.option(
        "--lock-timeout", metavar="DURATION", default=default, show_default=True, help="How long to wait for the state's lock.",
    )


def choice_options(command: F) -> F:
    """--select and --exclude."""
    for option in reversed([
        click.option(
            "--select", metavar="SELECTOR", multiple=True,
            help="Only these jobs, with what they need: NAME, NAME[k=v], or * in NAME.",
        ),
        click.option("--exclude", metavar="SELECTOR", multiple=True, help="Leave these jobs out."),
    ]):
        command = option(command)
    return command


def wait_options(command: F) -> F:
    """How a command that changes things goes on."""
    for option in reversed([
        parallelism_option,
        lock_timeout_option(),
        click.option("--detach", is_flag=True, help="Return when all that can start was submitted."),
        click.option("--timeout", metavar="DURATION", help="Stop waiting after this time (exit 9); the jobs go on."),
        click.option("--fail-fast", is_flag=True, help="Start nothing more once something failed."),
    ]):
        command = option(command)
    return command


def where(kwargs: dict[str, Any]) -> "Where":
    """Takes the project options out of a command's arguments. Raises click.UsageError."""
    from jobform.run.session import Where

    pairs = []
    for text in kwargs.pop("variables"):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--var {text}: expected NAME=VALUE")
        pairs.append((name, value))
    overrides = tuple((key, value) for key in OVERRIDES if (value := kwargs.pop(key, None)) is not None)
    return Where(
        Path(kwargs.pop("chdir")), kwargs.pop("target"), tuple(pairs), tuple(Path(name) for name in kwargs.pop("var_files")),
        kwargs.pop("accept_older_state"), bool(kwargs.get("dangerous_allow_empty")), overrides, kwargs.pop("no_input", False),
    )


def seconds(text: str | None, option: str) -> float | None:
    """A duration of the command line. Raises click.UsageError."""
    from jobform.model.units import parse_duration

    if text is None:
        return None
    if text == "0":
        return 0.0
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"{option} {text}: {error}") from error
