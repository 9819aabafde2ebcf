"""Whatever a service says, what follows is a value or a BackendError."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from jobform.backends.remote import shaped
from jobform.backends.unstructured.results import Shelf, fetch
from jobform.backends.unstructured.wire import details_of, explain, failed_of, input_ids, named, seen_of
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import timestamp

NOW = datetime(2030, 1, 1, tzinfo=UTC)

WORDS = st.sampled_from([
    "id", "status", "created_at", "runtime", "workflow_name", "input_file_ids", "processing_status", "node_stats", "message",
    "failed_files", "document", "error", "detail", "loc", "msg", "success", "failure", "node_name",
])
TEXTS = st.text(max_size=20) | st.sampled_from([
    "COMPLETED", "FAILED", "STOPPED", "5b4d6c1e-0f4a-4f0e-9d9c-3f1f4a0f7b11", "2030-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "PT999999999S", "P9999DT999999H", "../x", "a.txt",
])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(WORDS, below, max_size=8), max_leaves=20,
)


@settings(max_examples=400)
@given(ANY)
def test_any_answer(value: Json) -> None:
    with suppress(BackendError):
        seen = shaped(lambda job: seen_of(job, NOW), value, "job")
        assert seen.actual.ended_at is None or (seen.actual.started_at or "") <= seen.actual.ended_at
        assert seen.created is None or timestamp(seen.created)
    for read in (details_of, failed_of):
        with suppress(BackendError):
            read(value)
    assert all(isinstance(text, str) for text in explain(value))
    assert all(isinstance(run, str) for run in input_ids(value))


@settings(max_examples=100)
@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS.filter(bool), max_size=3, unique=True), st.binary(max_size=9))
def test_any_file(ids: list[str], paths: list[str], data: bytes) -> None:
    assert len(named(ids, paths)) == len(ids)
    with TemporaryDirectory() as directory:
        project = Path(directory)
        try:
            left = fetch(Shelf(ids, [], lambda _run: data), paths, "out", project)
        except BackendError as error:
            assert error.retryable
            return
        json.dumps(left.outputs)
        assert all(path.is_relative_to(project / "out") for path in project.rglob("*"))
