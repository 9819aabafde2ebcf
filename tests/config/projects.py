"""Small projects on disk, and what reading them says."""

from collections.abc import Collection, Mapping
from pathlib import Path

from jobform.config.read import ReadOptions, read_project, read_settings
from jobform.model.diagnostic import Diagnostic
from jobform.model.errors import InputError
from jobform.model.job import Project, Settings
from jobform.model.values import Json
from jobform.protocols import Arranging
from jobform.schema import SpecSchema, load_document

NO_OPTIONS = ReadOptions()

PROJECT = """\
jobform: 1
project: demo
backends:
  here: {type: local}
"""


class Types:
    """The local backend's schemas, without the backend."""

    def names(self) -> list[str]:
        return ["local"]

    def spec(self, type_name: str, blocks: Collection[Mapping[str, Json]] = ()) -> SpecSchema:
        return SpecSchema(load_document(type_name))

    def arranging(self, type_name: str) -> Arranging | None:
        return None

    def settings(self, type_name: str) -> SpecSchema:
        return SpecSchema({
            "type": "object", "additionalProperties": False, "properties": {"max_parallel": {"type": "integer", "minimum": 1}},
        })


def write(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """A project with these files; jobform.yaml is the smallest one unless it is among them."""
    for name, text in ({"jobform.yaml": PROJECT} | dict(files)).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return directory


def read(directory: Path, files: Mapping[str, str | bytes] | None = None, options: ReadOptions = NO_OPTIONS) -> Project:
    write(directory, files or {})
    return read_project(read_settings(directory, options), options, Types())


def settings(directory: Path, text: str, options: ReadOptions = NO_OPTIONS) -> Settings:
    return read_settings(write(directory, {"jobform.yaml": text}), options)


def errors(directory: Path, files: Mapping[str, str | bytes], options: ReadOptions = NO_OPTIONS) -> list[Diagnostic]:
    """Everything that reading says; it must fail."""
    try:
        project = read(directory, files, options)
    except InputError as error:
        assert error.exit_code == 3
        return list(error.diagnostics)
    raise AssertionError(f"no error; jobs: {list(project.jobs)}")


def told(diagnostic: Diagnostic) -> str:
    """`file:line:column code summary`."""
    return f"{diagnostic.range or '-'} {diagnostic.code}: {diagnostic.summary}"
