"""Only regular files inside the project, found in one order everywhere."""

import os
import socket
from pathlib import Path

import pytest

from jobform.config.files import ProjectFiles, read_given
from jobform.model.files import FileError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "jobs" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "root-evil").mkdir()
    (tmp_path / "root-evil" / "secret.txt").write_text("secret")
    (tmp_path / "root" / "jobs" / "a.yaml").write_text("a")
    return tmp_path / "root"


@pytest.mark.parametrize("path", [
    "../root-evil/secret.txt", "jobs/../../x", "/etc/passwd", "~/x", "~root", "C:\\x", "C:/x", "\\\\host\\x", "file:///etc/passwd",
    "http://example.org/x", "a\0b", "a\nb", "", "..",
])
def test_paths_that_lead_out_are_refused_as_written(root: Path, path: str) -> None:
    with pytest.raises(FileError) as caught:
        ProjectFiles(root).read(path)
    assert caught.value.code == "outside_project"


@pytest.mark.parametrize("link", ["jobs/link", "jobs/dir/secret.txt"])
def test_links_that_lead_out_are_refused(root: Path, link: str) -> None:
    (root / "jobs" / "link").symlink_to(root.parent / "root-evil" / "secret.txt")
    (root / "jobs" / "dir").symlink_to(root.parent / "root-evil")
    with pytest.raises(FileError) as caught:
        ProjectFiles(root).read(link)
    assert caught.value.code == "outside_project"


def test_links_that_stay_inside_are_read(root: Path) -> None:
    (root / "link").symlink_to("jobs")
    (root / "link2").symlink_to("link")
    assert ProjectFiles(root).read("link2/a.yaml") == b"a"


def test_a_link_that_appears_meanwhile_leads_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ProjectFiles(root)
    real = os.path.realpath

    def late(path: str) -> str:
        found = real(path)
        (root / "jobs" / "a.yaml").unlink()
        (root / "jobs" / "a.yaml").symlink_to(root.parent / "root-evil" / "secret.txt")
        return found

    monkeypatch.setattr(os.path, "realpath", late)
    with pytest.raises(FileError) as caught:
        files.read("jobs/a.yaml")
    assert caught.value.code == "not_a_file"


def test_only_regular_files_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")  # the name of a socket is short, and where temporary files are is not
    files = ProjectFiles(root)
    for path in ("fifo", "sock", "jobs", "."):
        with pytest.raises(FileError) as caught:
            files.read(path)
        assert caught.value.code == "not_a_file", path
    with pytest.raises(FileError) as caught:
        read_given(Path("/dev/zero"))
    assert caught.value.code == "not_a_file"


def test_large_files_are_refused_without_reading_them(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(FileError) as caught:
        ProjectFiles(root).read("sparse")
    assert caught.value.code == "file_too_large"


def test_a_missing_file_is_named_and_nothing_is_expanded(root: Path) -> None:
    with pytest.raises(FileError, match="there is no file") as caught:
        ProjectFiles(root).read("$HOME/x")
    assert caught.value.hint == "nothing in a path is expanded"


def test_patterns_match_in_byte_order_without_hidden_files_and_backups(root: Path) -> None:
    for name in ("B.yaml", "b.yaml", "é.yaml", ".hidden.yaml", "x.yaml~", ".#x.yaml", "#x.yaml#", "c.yml", "deep/d.yaml",
                 "deep/er/e.yaml"):
        (root / "jobs" / name).write_text("")
    files = ProjectFiles(root)

    def match(*patterns: str) -> list[str]:
        return list(files.matching(patterns, False, lambda index, error: pytest.fail(str(error))))

    assert match("jobs/*.yaml") == ["jobs/B.yaml", "jobs/a.yaml", "jobs/b.yaml", "jobs/é.yaml"]
    assert match("jobs/*.yaml", "jobs/[ab].yaml") == match("jobs/*.yaml")
    assert match("jobs/**/*.yaml")[-2:] == ["jobs/deep/er/e.yaml", "jobs/é.yaml"]
    assert match("./jobs//a.yaml") == ["jobs/a.yaml"]
    assert match("jobs/?.yml") == ["jobs/c.yml"]


def test_a_pattern_without_files_is_an_error(root: Path) -> None:
    (root / "jobs" / "b.yml").write_text("")
    files = ProjectFiles(root)
    told: list[tuple[int, str, str]] = []
    found = files.matching(["jobs/*.yaml", "more/*.yaml", "jobs/b*.yaml"], False,
             lambda index, error: told.append((index, error.code, error.hint)))
    assert found == ("jobs/a.yaml",)
    assert told == [
        (1, "no_match", "correct the pattern, or remove it"), (2, "no_match",
                                                               "there are files that end with .yml: add jobs/b*.yml"),
    ]


def test_no_files_at_all_is_for_the_caller_to_judge(root: Path) -> None:
    told: list[int] = []
    files = ProjectFiles(root)
    assert files.matching(["none/*.yaml"], True, lambda index, error: told.append(index)) == ()
    assert told == []
    assert files.matching(["none/*.yaml"], False, lambda index, error: told.append(index)) == ()
    assert told == [0]


def test_links_are_not_followed_by_double_stars(root: Path) -> None:
    (root / "jobs" / "loop").symlink_to(root)
    found = ProjectFiles(root).matching(["**/*.yaml"], False, lambda index, error: pytest.fail(str(error)))
    assert found == ("jobs/a.yaml",)
