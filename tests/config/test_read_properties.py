"""Whatever stands in the files, reading them gives a project or errors at places that exist, never a traceback."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jobform.config.read import ReadOptions, read_project, read_settings
from jobform.model.errors import InputError
from jobform.model.values import Json

from .projects import PROJECT, Types, write

WORDS = st.sampled_from([
    "here", "local", "a", "b", "my-a", "A", "*", "a[n=1]", "a[", "{{ matrix.n }}", "{{ var.x }}",
    "{{ jobs.a.outputs.k }}", "{{", "{% if %}",
    "{{ secret('S') }}", "{{ file('jobform.yaml') }}", "10m", "2m..1m", "changed", "dependency", "cancel", "..",
    "jobs/*.yaml", "\u202e", "",
])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | WORDS
KEYS = st.sampled_from([
    "backend", "spec", "needs", "matrix", "rerun", "generation", "protect", "ignore_drift", "optional_keys", "command",
    "env", "timeout",
    "resources", "include", "exclude", "n", "on", "backoff", "job", "when", "from", "to", "cancel", "expr", "with",
    "type", "defaults", "state",
    "default", "sensitive", "variables", "lineage", "path", "a", "b",
])
VALUES = st.recursive(SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=4), max_leaves=8)
JOBS = st.fixed_dictionaries(
    {"backend": st.just("here") | VALUES,
     "spec": st.fixed_dictionaries({"command": st.just(["x"]) | VALUES}, optional={"env": VALUES, "timeout": VALUES})},
    optional={
        "needs": st.lists(VALUES, max_size=3) | VALUES, "matrix": st.dictionaries(KEYS,
                                                                   st.lists(VALUES, max_size=3), max_size=3) | VALUES,
        "rerun": VALUES, "generation": VALUES, "protect": VALUES, "ignore_drift": st.lists(WORDS, max_size=2) | VALUES,
        "optional_keys": VALUES,
    },
)
FILES = st.fixed_dictionaries({"jobs": st.dictionaries(WORDS, JOBS | VALUES, max_size=3)}, optional={"moved": VALUES,
                                                                                                     "removed": VALUES}) | VALUES
PROJECTS = st.just(None) | st.fixed_dictionaries(
    {"jobform": st.just(1), "project": st.just("p")},
    optional={
        "backends": st.dictionaries(WORDS, VALUES, max_size=2) | VALUES, "variables": st.dictionaries(KEYS,
                                                                                       VALUES, max_size=2) | VALUES,
        "targets": st.dictionaries(WORDS, VALUES, max_size=2), "default_target": VALUES, "state": VALUES, "jobs": VALUES,
        "lineage": VALUES,
    },
)


@settings(max_examples=200)
@given(PROJECTS, FILES)
def test_errors_are_errors_and_have_places(project: Json, jobs: Json) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = write(Path(name), {
            "jobform.yaml": json.dumps(project) if project else PROJECT + "variables: {x: {default: v}}\n",
            "jobs/a.yaml": json.dumps(jobs),
        })
        try:
            found = read_project(read_settings(directory, ReadOptions()), ReadOptions(), Types())
        except InputError as error:
            assert error.diagnostics
            for diagnostic in error.diagnostics:
                if diagnostic.range:
                    lines = (directory / diagnostic.range.file).read_text().split("\n")
                    assert 1 <= diagnostic.range.column <= len(lines[diagnostic.range.line - 1]) + 1
        else:
            for address, job in found.jobs.items():
                assert job.address == address
                assert job.locate(("spec", "command"))
