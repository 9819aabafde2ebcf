"""`init`: a starter project, the schemas that editors read, and the empty state that belongs to it."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from jobform.model.errors import FailedError, InputError, StateError
from jobform.run.session import Session, Where
from jobform.schema import authoring, document_names, load_document

PROJECT = """\
# yaml-language-server: $schema=.jobform/schemas/project.schema.json
jobform: 1
project: {name}
{lineage}backends:
  here: {{type: local}}
  # gpu: {{type: kubernetes, context: prod, namespace: ml}}
"""

JOBS = """\
# yaml-language-server: $schema=../.jobform/schemas/jobs.schema.json
jobs:
  hello:
    backend: here
    spec:
      command: [python3, -c, "print('hello from jobform')"]
      timeout: 1m
"""

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")

IGNORED = (".jobform/", "jobform.state.json.backup", "errored.jobform.json")


def initialise(session: Session, name: str | None, *, pin: bool) -> Iterator[str]:
    """Write what is missing, one line for each thing done. Raises JobformError; run again, it only adds what is missing."""
    if name and not NAME.fullmatch(name):
        raise InputError.of(
            "bad_name", f"{name!r} is no name of a project",
            detail="a name has lower-case letters, digits, _ and -, starts with a letter, and has at most 63 characters",
        )
    try:
        yield from _written(session, name, pin=pin)
    except OSError as error:
        what = error.filename or session.where.directory
        raise FailedError.of("not_written", f"{what} cannot be written: {error.strerror}") from error


def _written(session: Session, name: str | None, *, pin: bool) -> Iterator[str]:
    directory = session.where.directory
    lineage = str(uuid.uuid4())
    project = directory / "jobform.yaml"
    if not project.exists():
        chosen = name or _name(directory)
        project.write_text(PROJECT.format(name=chosen, lineage=f"lineage: {lineage}\n" if pin else ""), encoding="utf-8")
        jobs = directory / "jobs"
        jobs.mkdir(exist_ok=True)
        if not any(jobs.glob("*.yaml")):
            (jobs / "hello.yaml").write_text(JOBS, encoding="utf-8")
            yield "Wrote jobs/hello.yaml."
        yield "Wrote jobform.yaml."
    yield _write_schemas(directory)
    if _ignore(directory):
        yield "Added what jobform keeps for itself to .gitignore."
    yield _state(Session(session.runtime, session.where), lineage, pin=pin)


def _state(session: Session, lineage: str, *, pin: bool) -> str:
    """Create the empty state, or say that it is there; a lineage that jobform.yaml names is the state's."""
    settings = session.settings
    manager = session.unopened
    try:
        with manager.locked(session.lock_info("init"), 30.0):
            state = manager.init(settings.lineage or lineage)
    except StateError as error:
        if error.diagnostics[0].code != "state_exists":
            raise
        return f"The state is there already: {session.store.location}."
    if pin and settings.lineage is None:
        _pin(session.where, state.lineage, settings.target)
    return f"Created the empty state {session.store.location}."


def _pin(where: Where, lineage: str, target: str | None) -> None:
    """Write the lineage into jobform.yaml, comments kept."""
    from ruamel.yaml import YAML  # only to edit a file that a person wrote

    yaml = YAML()
    yaml.preserve_quotes = True
    path = where.directory / "jobform.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    if target is None:
        keys = list(document)
        document.insert(keys.index("project") + 1, "lineage", lineage)
    else:
        document["targets"][target]["lineage"] = lineage
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
        temporary.chmod(path.stat().st_mode)
        temporary.replace(path)  # the user's own file: whole, whatever happens meanwhile
    finally:
        temporary.unlink(missing_ok=True)


def _write_schemas(directory: Path) -> str:
    place = directory / ".jobform" / "schemas"
    place.mkdir(parents=True, exist_ok=True)
    for name in document_names():
        document = authoring(load_document(name)) if name in ("jobs", "project", "common") else load_document(name)
        (place / f"{name}.schema.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return "Wrote .jobform/schemas for editors."


def _ignore(directory: Path) -> bool:
    path = directory / ".gitignore"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in IGNORED if line not in text.splitlines()]
    if not missing:
        return False
    path.write_text(text + ("" if not text or text.endswith("\n") else "\n") + "\n".join(missing) + "\n", encoding="utf-8")
    return True


def _name(directory: Path) -> str:
    """The directory's name as a project's name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", directory.resolve().name.lower()).strip("-_")
    return (name if NAME.match(name) else f"project-{name}")[:63].rstrip("-")
