"""Commands about the project's files and about jobform itself: init, validate, graph, schema, version, completion."""

import json
from pathlib import Path
from typing import Any

import click

from jobform.cli.app import app
from jobform.cli.options import format_option, project_options, where
from jobform.model.diagnostic import Diagnostic
from jobform.model.errors import InputError, JobformError
from jobform.model.suggest import suggest
from jobform.model.version import VERSION


@click.command(epilog="""\b
Examples:
  jobform init
  jobform init -C my-project --name vision
""")
@project_options
@click.option("--name", help="The project's name (default: the directory's).")
@click.option("--no-pin", is_flag=True, help="Do not write the state's lineage into jobform.yaml.")
@click.pass_context
def init(ctx: click.Context, /, name: str | None, no_pin: bool, no_color: bool, **kwargs: Any) -> int:
    """Write a starter project, its schemas for editors, and the empty state. What exists is kept."""
    from jobform.run.starting import initialise  # ruamel.yaml: only here

    target = app(ctx, "human", no_color)
    kwargs["chdir"] = _made(Path(kwargs["chdir"]))
    session = target.session(where(kwargs))
    for line in initialise(session, name, pin=not no_pin):
        target.print(line)
    return 0


@click.command(epilog="""\b
Examples:
  jobform validate
  jobform validate -C examples/errors
  jobform validate --format json      # for editors and CI annotations
""")
@project_options
@format_option("human", "json", "markdown")
@click.pass_context
def validate(ctx: click.Context, /, format_: str, no_color: bool, **kwargs: Any) -> int:
    """Check every file and report every mistake, with its place. Needs no state and no credentials."""
    target = app(ctx, format_, no_color)
    session = target.session(where(kwargs))
    found: tuple[Diagnostic, ...]
    code = 0
    try:
        found = session.project.warnings
    except JobformError as error:
        found, code = error.diagnostics, error.exit_code
    if format_ == "human":
        target.tell(found)
        if code == 0:
            count = len(session.project.jobs)
            target.print(f"Valid: {count} {'job' if count == 1 else 'jobs'} in project {session.settings.project}.")
        return code
    target.print(target.view.diagnostics(found))
    return code


@click.command(epilog="""\b
Examples:
  jobform graph
  jobform graph > jobs.mmd
""")
@project_options
@click.pass_context
def graph(ctx: click.Context, /, no_color: bool, **kwargs: Any) -> int:
    """Draw who needs whom as a Mermaid diagram."""
    from jobform.engine.plan import desired_of, edges_of
    from jobform.model.state import State
    from jobform.views.mermaid import mermaid

    target = app(ctx, "human", no_color)
    session = target.session(where(kwargs))
    edges = edges_of({address: desired_of(job) for address, job in session.project.jobs.items()}, State(lineage=""))
    target.print(mermaid(edges, {}))
    return 0


@click.command(epilog="""\b
Examples:
  jobform schema              # the names
  jobform schema jobs         # the schema of jobs/*.yaml
  jobform schema local        # the schema of `spec` on the local backend
  jobform schema kubernetes   # the same in a cluster, with what each key means
  jobform schema fireworks --format markdown    # its fields as a table
""")
@click.argument("name", required=False)
@click.option("--format", "format_", type=click.Choice(["json", "markdown"]), default="json", show_default=True,
              help="json: the schema. markdown: a table of its fields.")
@click.pass_context
def schema(ctx: click.Context, /, name: str | None, format_: str) -> int:
    """Print a JSON Schema, or list them."""
    from jobform.schema import document_names, load_document

    target = app(ctx)
    names = document_names()
    if name is None:
        target.print("\n".join(names))
        return 0
    if name not in names:
        near = suggest(name, names)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(names)}"
        raise InputError.of("unknown_schema", f"there is no schema {name!r}", hint=hint)
    if format_ == "markdown":
        from jobform.schema_table import markdown

        target.print(markdown(load_document(name)))
        return 0
    target.print(json.dumps(load_document(name), indent=2))
    return 0


@click.command(epilog="""\b
Examples:
  jobform version
  jobform version --format json
""")
@format_option("human", "json")
@click.pass_context
def version(ctx: click.Context, /, format_: str) -> int:
    """Print the version."""
    import platform

    target = app(ctx)
    document = {"format_version": 1, "jobform": VERSION, "python": platform.python_version(), "platform": platform.platform()}
    target.print(f"jobform {VERSION} (Python {document['python']})" if format_ == "human" else json.dumps(document))
    return 0


@click.command(epilog="""\b
Examples:
  jobform completion bash > ~/.local/share/bash-completion/completions/jobform
  jobform completion zsh > "${fpath[1]}/_jobform"
  jobform completion fish > ~/.config/fish/completions/jobform.fish
""")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> int:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "jobform", "_JOBFORM_COMPLETE")
    app(ctx).print(script.source_template % script.source_vars())
    return 0


def _made(directory: Path) -> str:
    """The directory of a new project, made if need be. Raises InputError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError.of("no_directory", f"{directory} cannot be made: {error.strerror}") from error
    return str(directory)
