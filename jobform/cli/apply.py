"""The commands that change things: apply, advance, wait, destroy, cancel, rerun."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from jobform.cli.app import App, Interrupted, app
from jobform.cli.observer import LineObserver, StreamObserver
from jobform.cli.options import (
    choice_options,
    format_option,
    lock_timeout_option,
    parallelism_option,
    place_options,
    project_options,
    seconds,
    wait_options,
    where,
)
from jobform.cli.plan import load, plan_options, shaping_options
from jobform.cli.signals import stopping
from jobform.model.change import Plan
from jobform.model.errors import JobformError, LockHeldError
from jobform.run import applying, editing
from jobform.run.applying import ApplyOptions
from jobform.run.approval import Approval
from jobform.run.outcome import Outcome
from jobform.run.planning import PlanOptions
from jobform.run.session import Session

Observer = LineObserver | StreamObserver

_SHAPING = ("select", "exclude", "allow_cancel", "recreate_lost", "rerun", "no_refresh", "dangerous_allow_empty")
"""What decides the content of a plan: to ask for it beside a saved plan is a misunderstanding that could run the wrong jobs."""


@click.command(epilog="""\b
Examples:
  jobform apply                              # shows the plan and asks
  jobform apply --auto-approve               # for CI on a trusted branch
  jobform apply plan.json                    # exactly what was saved and reviewed
  jobform apply --approved DIGEST            # only if the plan has this digest
  jobform apply --auto-approve --detach      # submit, do not wait
  jobform apply --auto-approve --format json  # one JSON event a line
""")
@click.argument("plan_file", metavar="[PLAN]", required=False)
@project_options
@place_options
@choice_options
@shaping_options
@wait_options
@click.option("--auto-approve", is_flag=True, help="Apply whatever the plan says.")
@click.option("--approved", metavar="DIGEST", help="Apply only if the plan has this digest; resumes an unfinished run of it.")
@click.option("--no-input", is_flag=True, help="Never ask; without an approval that is a usage error.")
@format_option("human", "json")
@click.pass_context
def apply(
    ctx: click.Context, /, plan_file: str | None, auto_approve: bool, approved: str | None, no_input: bool, format_: str,
    no_color: bool, **kwargs: Any,
) -> int:
    """Create, update, rerun, replace and cancel jobs until they match the files, and wait for their ends."""
    if sum((plan_file is not None, auto_approve, approved is not None)) > 1:
        raise click.UsageError("PLAN, --auto-approve and --approved exclude each other")
    shaping = [name for name in _SHAPING if kwargs[name]] if plan_file is not None else []
    if shaping:
        raise click.UsageError(f"--{shaping[0].replace('_', '-')} shapes a new plan, and PLAN is applied as it was saved")
    target = app(ctx, format_, no_color)
    approval = Approval(auto_approve, approved, load(plan_file) if plan_file else None)
    _may_ask(target, approval, no_input)
    return _apply(target, kwargs | {"no_input": no_input}, approval, "apply")


@click.command(epilog="""\b
Examples:
  jobform destroy                        # shows what would go, and asks for the project's name
  jobform destroy --auto-approve         # what is live stays, and is exit 7
  jobform destroy --auto-approve --allow-cancel '*'
""")
@project_options
@place_options
@choice_options
@wait_options
@click.option("--allow-cancel", metavar="SELECTOR", multiple=True, help="These jobs may be stopped while they run.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--approved", metavar="DIGEST", help="Destroy only if the plan has this digest.")
@click.option("--no-input", is_flag=True, help="Never ask.")
@format_option("human", "json")
@click.pass_context
def destroy(
    ctx: click.Context, /, auto_approve: bool, approved: str | None, no_input: bool, format_: str, no_color: bool, **kwargs: Any,
) -> int:
    """Delete every job of the project; history and outputs stay in the state."""
    if auto_approve and approved is not None:
        raise click.UsageError("--auto-approve and --approved exclude each other")
    target = app(ctx, format_, no_color)
    approval = Approval(auto_approve, approved)
    _may_ask(target, approval, no_input)
    if approval.interactive:
        kwargs["allow_cancel"] = ("*",)  # the plan that is shown stops live jobs, and the typed name approves just that
    return _apply(target, kwargs | {"destroy": True, "dangerous_allow_empty": True, "no_input": no_input}, approval, "destroy")


@click.command(epilog="""\b
Examples:
  jobform apply --auto-approve --detach; while jobform advance; [ $? = 2 ]; do sleep 60; done
  jobform advance          # from cron: exits 2 while something is still on its way
""")
@project_options
@place_options
@parallelism_option
@lock_timeout_option("0")
@format_option("human", "json")
@click.pass_context
def advance(ctx: click.Context, /, parallelism: int, lock_timeout: str, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Do one step of what was accepted, from the state alone: record ends, start what is due, return."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    patience = seconds(lock_timeout, "--lock-timeout") or 0.0
    options = ApplyOptions(parallelism=parallelism, lock_timeout=patience, detach=True, command="advance")
    with _observing(target, session) as observer:
        try:
            with stopping(target) as stop:
                outcome = applying.advance(session, options, observer, stop)
        except LockHeldError as held:
            outcome = Outcome(2, diagnostics=held.diagnostics)
    code = _end(observer, outcome)
    return 2 if code in (0, 8) and outcome.progress else code


@click.command(epilog="""\b
Examples:
  jobform wait                   # until everything that was accepted has ended
  jobform wait train --timeout 2h
""")
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@project_options
@place_options
@click.option("--timeout", metavar="DURATION", help="Stop waiting after this time (exit 9); the jobs go on.")
@parallelism_option
@lock_timeout_option()
@format_option("human", "json")
@click.pass_context
def wait(ctx: click.Context, /, selectors: tuple[str, ...], format_: str, no_color: bool, **kwargs: Any) -> int:
    """Wait until jobs have ended, starting what was accepted and is due."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    chosen = editing.with_needs(session.manager.state, editing.select(session.manager.state, selectors)) if selectors else None
    with _observing(target, session) as observer, stopping(target) as stop:
        outcome = applying.follow(
            session, _wait_options(kwargs, "wait"), observer, stop, lambda address: chosen is None or address in chosen,
        )
    return _end(observer, outcome)


@click.command(epilog="""\b
Examples:
  jobform cancel train
  jobform cancel 'train[lr=0.1]' report --detach
""")
@click.argument("selectors", metavar="SELECTOR...", nargs=-1, required=True)
@project_options
@place_options
@wait_options
@format_option("human", "json")
@click.pass_context
def cancel(ctx: click.Context, /, selectors: tuple[str, ...], format_: str, no_color: bool, **kwargs: Any) -> int:
    """Stop jobs that run, wait or are still to start. The command is the explicit yes."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    with _observing(target, session) as observer, stopping(target) as stop:
        outcome = editing.cancel(session, selectors, _wait_options(kwargs, "cancel"), observer, stop)
    return _end(observer, outcome)


@click.command(epilog="""\b
Examples:
  jobform rerun train
  jobform rerun 'train[seed=1]' --detach
""")
@click.argument("selectors", metavar="SELECTOR...", nargs=-1, required=True)
@project_options
@place_options
@wait_options
@format_option("human", "json")
@click.pass_context
def rerun(ctx: click.Context, /, selectors: tuple[str, ...], format_: str, no_color: bool, **kwargs: Any) -> int:
    """Run jobs again as they were last accepted, whatever the files say now."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    with _observing(target, session) as observer, stopping(target) as stop:
        outcome = editing.rerun(session, selectors, _wait_options(kwargs, "rerun"), observer, stop)
    return _end(observer, outcome)


def _apply(target: App, kwargs: dict[str, Any], approval: Approval, command: str) -> int:
    session = target.session(where(kwargs))
    options = _apply_options(kwargs, approval, command)

    def confirm(made: Plan) -> bool:
        return _confirm(target, made)

    with _observing(target, session) as observer, stopping(target) as stop:
        outcome = applying.apply(session, options, observer, confirm, stop)
    return _end(observer, outcome)


def _apply_options(kwargs: dict[str, Any], approval: Approval, command: str) -> ApplyOptions:
    plan: PlanOptions = plan_options(kwargs)
    waiting = _wait_options(kwargs, command)
    return ApplyOptions(
        plan, approval, waiting.parallelism, waiting.lock_timeout, waiting.detach, waiting.timeout, waiting.fail_fast, command,
    )


def _wait_options(kwargs: dict[str, Any], command: str) -> ApplyOptions:
    return ApplyOptions(
        parallelism=kwargs.pop("parallelism"), lock_timeout=seconds(kwargs.pop("lock_timeout"), "--lock-timeout") or 0.0,
        detach=kwargs.pop("detach", False), timeout=seconds(kwargs.pop("timeout"), "--timeout"),
        fail_fast=kwargs.pop("fail_fast", False), command=command,
    )


def _may_ask(target: App, approval: Approval, no_input: bool) -> None:
    if approval.interactive and (no_input or target.format == "json" or not target.runtime.stdin.isatty()):
        raise click.UsageError("nobody can be asked here: give a saved plan, --approved DIGEST, or --auto-approve")


def _confirm(target: App, made: Plan) -> bool:
    """Ask on the terminal: for the word yes, or to destroy for the project's name, which is the yes to stop live jobs as well."""
    word = made.project if made.destroy else "yes"
    what = "destroy all this, running jobs included" if made.destroy else "apply this"
    target.say(f"\nType {word!r} to {what}; anything else leaves all as it is: ")
    line = target.runtime.stdin.readline()
    if line.strip() == word:
        return True
    target.say(("" if line.endswith("\n") else "\n") + "Cancelled; nothing was changed.\n")
    return False


@contextmanager
def _observing(target: App, session: Session) -> Iterator[Observer]:
    """The observer of this command: JSON Lines, or lines for people with a live part on a terminal."""
    if target.format == "json":
        stream = StreamObserver(target)
        try:
            yield stream
        except JobformError as error:
            stream.ended(Outcome(error.exit_code, diagnostics=error.diagnostics))
            raise
        except Interrupted as interrupted:
            stream.ended(Outcome(interrupted.exit_code))
            raise
        return
    with LineObserver(target, session) as observer:
        yield observer


def _end(observer: Observer, outcome: Outcome) -> int:
    observer.ended(outcome)
    return outcome.exit
