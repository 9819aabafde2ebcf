"""What a job that has succeeded leaves, written into the project: whole, once more where that is needed, and nowhere else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobform.backends.unstructured.backend import UnstructuredBackend
from jobform.backends.unstructured.results import Shelf, fetch
from jobform.backends.unstructured.wire import FailedFile
from jobform.model import outputs
from jobform.model.errors import BackendError
from jobform.model.files import FileError
from jobform.model.outputs import check_directory, safe_name, write_result
from jobform.model.state import Op, Phase
from jobform.protocols import Actual, Intended, Ref, Submission
from jobform.testing.backend_fixtures import read_one
from jobform.testing.marks import make_mark
from tests.backends.unstructured.conftest import Start, nodes
from tests.sandboxed import Answer

Make = Callable[..., Submission]
Ended = Callable[[Ref], Actual]

TWO = {"docs/a.txt": "one\ntwo\n", "docs/b.txt": "three\n"}


def shelf(*ids: str, failed: tuple[str, ...] = (), download: Callable[[str], bytes] = lambda _run: b"[]") -> Shelf:
    return Shelf(ids, [FailedFile(name, "torn") for name in failed], download)


# --- with the service -------------------------------------------------------------------------------------------------


def test_the_elements_of_each_file_are_written(
    start: Start, ended: Ended, backend: UnstructuredBackend, tmp_path: Path,
) -> None:
    ref = start(files=TWO, job_nodes=nodes(), download_to="out/elements/")
    spec = {"input_files": list(TWO), "download_to": "out/elements/"}
    actual = backend.collect(ref, spec, ended(ref))
    assert actual.outputs == {
        "files": [
            {"file_id": "a.txt", "input": "docs/a.txt", "path": "out/elements/a.txt.json"},
            {"file_id": "b.txt", "input": "docs/b.txt", "path": "out/elements/b.txt.json"},
        ],
        "failed_files": [], "directory": "out/elements",
    }
    assert actual.warnings == ()
    written = json.loads((tmp_path / "out/elements/a.txt.json").read_text())
    assert [element["text"] for element in written] == ["one", "two"]
    assert sorted(path.name for path in (tmp_path / "out/elements").iterdir()) == ["a.txt.json", "b.txt.json"]


def test_without_a_directory_nothing_is_written(
    start: Start, ended: Ended, backend: UnstructuredBackend, tmp_path: Path,
) -> None:
    ref = start(files=TWO, job_nodes=nodes())
    before = sorted(tmp_path.rglob("*"))
    actual = backend.collect(ref, {"input_files": list(TWO)}, ended(ref))
    assert actual.outputs == {
        "files": [{"file_id": "a.txt", "input": "docs/a.txt"}, {"file_id": "b.txt", "input": "docs/b.txt"}], "failed_files": [],
    }
    assert sorted(tmp_path.rglob("*")) == before


def test_a_job_that_succeeded_with_failed_files_says_which(
    start: Start, ended: Ended, backend: UnstructuredBackend, tmp_path: Path,
) -> None:
    ref = start(files=TWO, job_nodes=nodes(SANDBOX_FAILED_FILES="b.txt"))
    actual = backend.collect(ref, {"input_files": list(TWO), "download_to": "out"}, ended(ref))
    assert actual.phase is Phase.SUCCEEDED
    assert actual.outputs is not None
    assert actual.outputs["failed_files"] == [{"document": "b.txt", "error": "as asked"}]
    assert actual.warnings == ("it succeeded with 1 failed file: b.txt: as asked",)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt.json"]


def test_a_job_without_files_leaves_none(start: Start, ended: Ended, backend: UnstructuredBackend) -> None:
    actual = backend.collect(ref := start(job_nodes=nodes()), {"download_to": "out"}, ended(ref))
    assert (actual.outputs, actual.warnings) == ({"files": [], "failed_files": [], "directory": "out"}, ())


def test_fetching_again_gives_the_same(start: Start, ended: Ended, backend: UnstructuredBackend, tmp_path: Path) -> None:
    ref = start(files=TWO, job_nodes=nodes())
    spec = {"input_files": list(TWO), "download_to": "out"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt.json").write_text("half of it")
    (tmp_path / "out" / "keep.md").write_text("mine")
    first = backend.collect(ref, spec, ended(ref))
    whole = (tmp_path / "out" / "a.txt.json").read_bytes()
    assert backend.collect(ref, spec, ended(ref)) == first
    assert (tmp_path / "out" / "a.txt.json").read_bytes() == whole
    assert (tmp_path / "out" / "keep.md").read_text() == "mine"


@pytest.mark.parametrize(("status", "body", "kind", "retryable"), [
    (503, "{}", "application/json", True), (200, "<html>", "text/html", True), (200, "[1, 2", "application/json", True),
    (200, "[" * 100_000, "application/json", True),
])
def test_an_output_that_may_come_later_is_waited_for(
    start: Start, ended: Ended, backend: UnstructuredBackend, answer: Answer, tmp_path: Path, status: int, body: str, kind: str,
    retryable: bool,
) -> None:
    ref = start(files=TWO, job_nodes=nodes())
    actual = ended(ref)
    answer("GET", ".*/download", body, status=status, kind=kind)
    with pytest.raises(BackendError) as caught:
        backend.collect(ref, {"input_files": list(TWO), "download_to": "out"}, actual)
    assert caught.value.retryable is retryable
    assert not (tmp_path / "out" / "a.txt.json").exists()


def test_an_output_that_cannot_be_had_is_told_and_the_others_are_written(
    start: Start, ended: Ended, backend: UnstructuredBackend, answer: Answer, tmp_path: Path,
) -> None:
    ref = start(files=TWO, job_nodes=nodes())
    actual = ended(ref)
    answer("GET", ".*/download", '{"detail": "expired"}', status=404, times=1)
    found = backend.collect(ref, {"input_files": list(TWO), "download_to": "out"}, actual)
    assert found.warnings == ("the elements of docs/a.txt cannot be had: expired",)
    assert found.outputs is not None
    assert found.outputs["files"] == [
        {"file_id": "a.txt", "input": "docs/a.txt"}, {"file_id": "b.txt", "input": "docs/b.txt", "path": "out/b.txt.json"},
    ]


@pytest.mark.parametrize("path", [".*/details", ".*/failed-files", ".*/download"])
def test_what_a_key_that_ended_cannot_fetch_is_there_for_the_next_one(
    start: Start, ended: Ended, backend: UnstructuredBackend, answer: Answer, tmp_path: Path, path: str,
) -> None:
    ref = start(files=TWO, job_nodes=nodes(SANDBOX_FAILED_FILES="b.txt"))
    actual, spec = ended(ref), {"input_files": list(TWO), "download_to": "out"}
    answer("GET", path, '{"detail": "revoked"}', status=401, times=1)
    with pytest.raises(BackendError, match="does not accept the credentials") as caught:
        backend.collect(ref, spec, actual)
    assert caught.value.retryable, "its success does not count yet"
    assert backend.collect(ref, spec, actual).outputs is not None
    assert (tmp_path / "out" / "a.txt.json").exists()


def test_a_directory_set_later_is_filled_in_place(
    start: Start, ended: Ended, backend: UnstructuredBackend, submission: Make, answer: Answer, tmp_path: Path,
) -> None:
    ref = start(files=TWO, job_nodes=nodes())
    actual = ended(ref)
    backend.update(ref, submission(files=TWO, job_nodes=nodes(), download_to="later"), actual)
    assert (tmp_path / "later" / "b.txt.json").exists()
    answer("GET", ".*/download", '{"detail": "expired"}', status=404)
    with pytest.raises(BackendError, match="not all of the results could be had and written") as caught:
        backend.update(ref, submission(files=TWO, job_nodes=nodes(), download_to="more"), actual)
    assert "expired" in caught.value.detail


def test_a_run_that_goes_on_takes_the_new_directory_without_a_call(
    start: Start, backend: UnstructuredBackend, submission: Make, tmp_path: Path,
) -> None:
    ref = start(files=TWO)
    actual = read_one(backend, ref)
    assert isinstance(actual, Actual)
    backend.update(ref, submission(files=TWO, download_to="later"), actual)
    assert not (tmp_path / "later").exists()


# --- what is there already --------------------------------------------------------------------------------------------


def test_no_result_takes_the_place_of_an_input(
    start: Start, ended: Ended, backend: UnstructuredBackend, submission: Make, tmp_path: Path,
) -> None:
    """Of a run that was submitted before it had a directory, too."""
    files = {"docs/a.txt": "one", "docs/a.txt.json": "mine"}
    wanted = submission(files=files, job_nodes=nodes(), download_to="./docs//")
    forecast = backend.preflight([Intended(Op.SUBMIT, wanted, make_mark("job"))], 1)["job"]
    assert (forecast.verdict, forecast.summary) == ("refused", "a result would take the place of an input file")
    assert "docs/a.txt is read, and its elements would be written to docs/a.txt.json" in forecast.detail
    ref = start(files=files, job_nodes=nodes())
    actual = backend.collect(ref, {"input_files": list(files), "download_to": "docs/./"}, ended(ref))
    assert actual.warnings == ("the elements of docs/a.txt were not written: 'a.txt.json' is an input of the job",)
    assert (tmp_path / "docs" / "a.txt.json").read_text() == "mine"
    assert (tmp_path / "docs" / "a.txt.json.json").exists()


def test_two_jobs_that_write_to_one_file_are_told(backend: UnstructuredBackend, submission: Make) -> None:
    def planned(*directories: str) -> dict[str, tuple[str, ...]]:
        intended = [
            Intended(Op.SUBMIT, submission(name, TWO, download_to=where), make_mark(name))
            for name, where in zip("abcd", directories, strict=False)
        ]
        return {name: forecast.warnings for name, forecast in backend.preflight(intended, 1).items()}

    assert planned("out/a", "out/b") == {"a": (), "b": ()}
    said = "out/a.txt.json is written by {} too, and what is written last stays"
    assert planned("out", "./out/", "other") == {"a": (said.format("b"),), "b": (said.format("a"),), "c": ()}
    assert planned("out", "out", "out", "out")["c"] == (said.format("a and 2 more"),)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hostile", [
    "../../evil", "/etc/passwd", "..", ".", "", ".bashrc", "a\0b", "a/../../b", "x" * 5000, "a\nb", "con\x1b[2J", "\udcff",
    "jobform.yaml/../../..", "~root",
])
def test_no_name_of_the_service_leads_out_of_the_directory(tmp_path: Path, hostile: str) -> None:
    left = fetch(shelf(hostile, "good"), [], "out", tmp_path)
    assert left.missing == ()
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 2
    assert all(path.startswith("out/") and not path.startswith("out/.") and len(path) < 255 for path in written)


def test_names_that_are_cleaned_stay_different() -> None:
    names = [safe_name(text, ".json") for text in ("a:b", "a;b", "a_b", "x/a_b", "A" * 300, "A" * 301)]
    assert len(set(names)) == len(names)
    assert safe_name("größe (1).pdf", ".json") == "größe (1).pdf.json"


# --- the directory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "code"), [
    ("../out", "outside_project"), ("/tmp/out", "outside_project"), ("~/out", "outside_project"), ("", "outside_project"),
    ("out/../..", "outside_project"), (".", "whole_project"), ("./", "whole_project"), ("link", "no_directory"),
    ("link/deep", "no_directory"), ("file", "no_directory"), ("file/deep", "no_directory"),
])
def test_directories_that_are_none_of_the_project(tmp_path: Path, path: str, code: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (project / "link").symlink_to(tmp_path / "elsewhere")
    (project / "file").write_text("")
    for use in (lambda: check_directory(project, path), lambda: write_result(project, path, "x.json", b"[]")):
        with pytest.raises(FileError) as caught:
            use()
        assert caught.value.code == code
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_directory_may_be_made_later(tmp_path: Path) -> None:
    check_directory(tmp_path, "deep/er/")
    assert list(tmp_path.iterdir()) == []
    write_result(tmp_path, "deep/er/", "x.json", b"[]")
    check_directory(tmp_path, "deep/er/")
    assert (tmp_path / "deep/er/x.json").read_bytes() == b"[]"


def test_a_link_with_the_name_of_a_result_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out" / "x.json").symlink_to(tmp_path / "precious")
    write_result(tmp_path, "out", "x.json", b"[]")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "out" / "x.json").read_text() == "[]"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_fails_midway_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    write_result(tmp_path, "out", "x.json", b"old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(outputs.os, call, full)
        left = fetch(shelf("x"), [], "out", tmp_path)
    assert left.missing == ("the elements of x were not written: 'out/x.json' cannot be written: No space left on device",)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir()] == [("x.json", b"old")]


def test_ids_that_the_service_does_not_tell_are_missed(tmp_path: Path) -> None:
    left = fetch(shelf(), ["a.txt"], "out", tmp_path)
    assert left.missing == ("the service does not tell which files the job had, so nothing of them can be had",)
    assert fetch(shelf(), ["a.txt"], "", tmp_path).missing == ()


def test_many_failures_are_told_in_few_words(tmp_path: Path) -> None:
    (told,) = fetch(shelf(failed=tuple(f"f{number}" for number in range(9))), [], "", tmp_path).told
    assert told.startswith("it succeeded with 9 failed files: f0: torn; ")
    assert told.endswith("; and 4 more")


