"""What the content of files is called, and that nothing else is sent under that name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobform.model import inputs
from jobform.model.errors import BackendError
from jobform.model.files import FileError
from jobform.model.inputs import accepted_input, hash_input, read_input, short, size_text

HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "src" / "deep").mkdir(parents=True)
    (project / "src" / "main.py").write_text("main")
    (project / "src" / "deep" / "b.txt").write_text("b")
    (project / "doc.txt").write_text("hello")
    (tmp_path / "outside.txt").write_text("secret")
    return project


def refused(root: Path, path: str, **options: bool) -> FileError:
    with pytest.raises(FileError) as caught:
        hash_input(root, path, **options)
    return caught.value


def test_a_file_is_called_by_its_bytes_alone(root: Path) -> None:
    assert hash_input(root, "doc.txt") == hash_input(root, "./doc.txt") == HELLO
    (root / "doc.txt").chmod(0o755)
    os.utime(root / "doc.txt", (1, 1))
    assert hash_input(root, "doc.txt") == HELLO
    (root / "doc.txt").write_text("hello!")
    assert hash_input(root, "doc.txt") != HELLO


def test_a_known_tree_keeps_its_name_for_ever(root: Path) -> None:
    """A change here makes finished jobs of users run again."""
    assert hash_input(root, "src") == "tree:6103db2fa3c9b796fb91d69f50fb0592324d0d2ba04fa035d121c49b54da4d5e"


@pytest.mark.parametrize("change", [
    lambda src: (src / "main.py").write_text("mainly"), lambda src: (src / "new").write_text(""),
    lambda src: (src / "main.py").rename(src / "other.py"), lambda src: (src / "main.py").unlink(),
    lambda src: (src / "main.py").chmod(0o755), lambda src: (src / "deep").rename(src / "deeper"),
    lambda src: (src / ".env").write_text("hidden"),
])
def test_what_belongs_to_a_directory_changes_its_name(root: Path, change: Callable[[Path], object]) -> None:
    before = hash_input(root, "src")
    change(root / "src")
    assert hash_input(root, "src") != before


@pytest.mark.parametrize("change", [
    lambda src: os.utime(src / "main.py", (1, 1)), lambda src: (src / "empty").mkdir(),
    lambda src: (src / "main.py").chmod(0o600), lambda src: (src / ".DS_Store").write_text("x"),
])
def test_what_does_not_belong_to_a_directory_keeps_its_name(root: Path, change: Callable[[Path], object]) -> None:
    before = hash_input(root, "src")
    change(root / "src")
    (root / "src" / "deep" / "__pycache__").mkdir()
    (root / "src" / "deep" / "__pycache__" / "main.pyc").write_text("compiled")
    assert hash_input(root, "src") == hash_input(root, "src/") == before
    assert [file.name for file in read_input(root, "src", before)] == ["deep/b.txt", "main.py"]


@pytest.mark.parametrize(("path", "code"), [
    ("../outside.txt", "outside_project"), ("/etc/passwd", "outside_project"), ("~/x", "outside_project"),
    ("s3://bucket/x", "outside_project"), ("a\0b", "outside_project"), ("", "outside_project"), ("/", "outside_project"),
    ("..", "outside_project"), ("src/../doc.txt", "outside_project"), ("nowhere.txt", "no_such_file"),
    ("doc.txt/x", "no_such_file"), (".", "whole_project"), ("./", "whole_project"), ("./.", "whole_project"),
])
def test_paths_that_name_nothing_inside(root: Path, path: str, code: str) -> None:
    assert refused(root, path).code == code


@pytest.mark.parametrize(("make", "path", "code"), [
    (lambda root: (root / "link").symlink_to(root.parent / "outside.txt"), "link", "outside_project"),
    (lambda root: (root / "up").symlink_to(root.parent), "up/outside.txt", "outside_project"),
    (lambda root: (root / "self").symlink_to(root), "self", "whole_project"),
    (lambda root: (root / "loop").symlink_to("loop"), "loop", "not_a_file"),
    (lambda root: os.mkfifo(root / "pipe"), "pipe", "not_a_file"),
    (lambda root: (root / "src" / "link").symlink_to(root.parent / "outside.txt"), "src", "outside_project"),
    (lambda root: (root / "src" / "link").symlink_to("deep"), "src", "not_a_file"),
    (lambda root: (root / "src" / "link").symlink_to("nowhere"), "src", "no_such_file"),
    (lambda root: os.mkfifo(root / "src" / "pipe"), "src", "not_a_file"),
    (lambda root: (root / "none").mkdir(), "none", "no_files"),
    (lambda root: (root / "src" / os.fsdecode(b"\xff")).write_text("x"), "src", "bad_file_name"),
])
def test_what_is_no_plain_file_of_the_project_is_refused(
    root: Path, make: Callable[[Path], object], path: str, code: str,
) -> None:
    make(root)
    assert refused(root, path).code == code


def test_links_that_stay_inside_are_what_they_lead_to(root: Path) -> None:
    (root / "link.txt").symlink_to("doc.txt")
    assert hash_input(root, "link.txt") == HELLO
    (root / "src" / "linked").symlink_to("../doc.txt")
    before = hash_input(root, "src")
    (root / "doc.txt").write_text("changed")
    assert hash_input(root, "src") != before


def test_sizes_and_numbers_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(inputs.MAX_BYTES + 1)
    assert refused(root, "sparse").summary == "'sparse' is larger than 256 MiB"
    monkeypatch.setattr(inputs, "MAX_FILES", 1)
    assert refused(root, "src").code == "too_many_files"
    monkeypatch.setattr(inputs, "MAX_DEPTH", 1)
    assert refused(root, "src").code == "too_many_files"


def test_a_directory_where_only_a_file_will_do(root: Path) -> None:
    assert refused(root, "src", only_file=True).summary == "'src' is a directory, not a file"
    assert hash_input(root, "doc.txt", only_file=True) == HELLO


def test_what_was_accepted_is_read_and_nothing_else(root: Path) -> None:
    name = hash_input(root, "src")
    files = read_input(root, "src", name)
    found = [(file.name, file.data, file.executable) for file in files]
    assert found == [("deep/b.txt", b"b", False), ("main.py", b"main", False)]
    (root / "src" / "main.py").write_text("other")
    with pytest.raises(FileError, match="'src' has changed since it was accepted") as caught:
        read_input(root, "src", name)
    assert caught.value.code == "input_changed"


def test_a_backend_reads_only_what_its_submission_names(root: Path) -> None:
    (file,) = accepted_input(root, {"doc.txt": HELLO}, "doc.txt")
    assert (file.name, file.data) == ("", b"hello")
    for given in ({}, {"doc.txt": "sha256:00"}):
        with pytest.raises(BackendError) as caught:
            accepted_input(root, given, "doc.txt")
        assert not caught.value.retryable
        assert not caught.value.ambiguous
    with pytest.raises(BackendError, match="larger than 3 bytes"):
        accepted_input(root, {"doc.txt": HELLO}, "doc.txt", 3)


def test_names_for_people() -> None:
    assert short(HELLO) == "sha256:2cf24dba5fb0"
    assert [size_text(size) for size in (1 << 28, 10_000_000, 2048, 3)] == ["256 MiB", "10 MB", "2 KiB", "3 bytes"]
