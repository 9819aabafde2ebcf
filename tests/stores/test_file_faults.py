"""What the disk can do to a command that records: errors injected into real system calls, full disks, read-only places."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobform import codec
from jobform.engine.manager import Manager
from jobform.model.errors import StateError
from jobform.model.state import State
from jobform.protocols import no_effect
from jobform.stores.file import TYPE
from jobform.testing.clock import ManualClock
from tests.state import samples, worker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that another user can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(not can_trace(), reason="strace is missing or may not trace here")


def command(directory: Path, *limit: str) -> list[str]:
    return [sys.executable, "-m", "tests.state.worker", "once", str(directory), *limit]


def run(arguments: list[str]) -> dict[str, Any]:
    """How the scenario ended: exit, code, text."""
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def injected(directory: Path, fault: str, *options: str) -> dict[str, Any]:
    call = fault.split(":")[0]
    return run([
        "strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={fault}", *options, *command(directory),
    ])


def read(directory: Path) -> State:
    clock = ManualClock()
    return Manager(TYPE.open({}, directory, clock, no_effect), clock, no_effect, directory / ".jobform" / "seen.json").open()


def rescued(directory: Path) -> State | None:
    path = directory / "errored.jobform.json"
    return codec.state_from_bytes(path.read_bytes()) if path.exists() else None


def nothing_lost(directory: Path) -> None:
    """What was confirmed is in the state; what the failed call held is in the rescued file; the next command finishes."""
    noted = directory / "acknowledged"
    acknowledged = int(noted.read_text(encoding="ascii")) if noted.exists() else 0
    state = read(directory) if (directory / "jobform.state.json").exists() else None
    assert acknowledged <= (worker.position(state) if state else 0)
    saved = rescued(directory)
    if saved is not None:
        assert worker.position(saved) >= acknowledged
    assert run(command(directory))["exit"] == 0
    assert worker.position(read(directory)) == len(worker.BATCHES)


def fsync_faults(directory: Path, when: int) -> dict[str, Any]:
    result = injected(directory, f"fsync:error=EIO:when={when}")
    if result["exit"]:
        assert result["exit"] == 5
        assert str(directory / "jobform.state.json") in result["text"]
        if rescued(directory):
            assert str(directory / "errored.jobform.json") in result["text"]
    nothing_lost(directory)
    return result


@needs_strace
def test_probe_fails_before_anything_is_recorded(tmp_path: Path) -> None:
    result = fsync_faults(tmp_path, 1)
    assert (result["exit"], result["code"]) == (5, "state_io")
    assert not (tmp_path / "errored.jobform.json").exists()


@needs_strace
def test_failed_fsync_is_not_written_and_rescued(tmp_path: Path) -> None:
    """The fourth one is that of the first append."""
    result = fsync_faults(tmp_path, 4)
    assert result["code"] == "state_not_saved"
    assert "counts as not written" in result["text"]
    saved = rescued(tmp_path)
    assert saved is not None
    assert worker.position(saved) == 1


@needs_strace
def test_failed_fsync_of_the_directory_says_that_durability_is_unknown(tmp_path: Path) -> None:
    result = fsync_faults(tmp_path, 3)
    assert "whether that survives a power cut is unknown" in result["text"]


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("when", range(1, 18))
def test_every_fsync_may_fail(tmp_path: Path, when: int) -> None:
    fsync_faults(tmp_path, when)


@needs_strace
@pytest.mark.parametrize(("fault", "words"), [
    ("rename:error=EXDEV:when=1+", "mount its directory"),
    ("rename:error=EBUSY:when=1+", "mount its directory"),
])
def test_state_that_is_mounted_by_itself(tmp_path: Path, fault: str, words: str) -> None:
    result = injected(tmp_path, fault)
    assert (result["exit"], words in result["text"]) == (5, True), result
    nothing_lost(tmp_path)


@needs_strace
def test_no_overwrite_without_a_backup(tmp_path: Path) -> None:
    run(command(tmp_path))
    (tmp_path / "acknowledged").unlink()
    before = (tmp_path / "jobform.state.json").read_bytes()
    path = tmp_path / "jobform.state.json"
    state = codec.state_from_bytes(before)
    del state.runs["run-1"], state.jobs["prep"], state.jobs["train"]
    state.tombstones.clear()
    path.write_bytes(codec.state_to_bytes(state))
    before = path.read_bytes()
    result = injected(tmp_path, "rename:error=EIO:when=1")
    assert result["exit"] == 5
    assert path.read_bytes() == before
    assert rescued(tmp_path) is not None


@needs_strace
def test_file_system_without_hard_links(tmp_path: Path) -> None:
    assert injected(tmp_path, "link:error=EPERM")["exit"] == 0
    assert (tmp_path / "jobform.state.json.backup").stat().st_mode & 0o777 == 0o600
    assert worker.position(codec.state_from_bytes((tmp_path / "jobform.state.json.backup").read_bytes())) >= 1
    nothing_lost(tmp_path)


@pytest.mark.parametrize("limit", [100, 1200, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (600, 2000, 5000))])
def test_file_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """A short write, then an error: as a disk that fills up."""
    result = run(command(tmp_path, str(limit)))
    assert result["exit"] == 5
    assert "larger than" in result["text"]
    nothing_lost(tmp_path)


def mounted(script: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-e", "-c", script]


def can_mount(tmp: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    script = mounted(f"mount -t tmpfs -o size=64k none {tmp}")
    return subprocess.run(script, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("options", "fill"), [
    ("size=64k", "dd if=/dev/zero of=filler bs=4096 count=14 2>/dev/null"), ("size=64k,nr_inodes=3", "true"),
])
def test_full_file_system(tmp_path: Path, options: str, fill: str) -> None:
    """The recovery file finds no room beside the state either: it goes to a private temporary directory."""
    inside, copy = tmp_path / "state", tmp_path / "copy"
    inside.mkdir()
    (tmp_path / "tmp").mkdir()
    if not can_mount(inside):
        pytest.skip("this user may not mount a tmpfs")
    work = " ".join(command(inside))
    result = run(mounted(
        f"mount -t tmpfs -o {options},mode=0700 none {inside}; (cd {inside}; {fill}); TMPDIR={tmp_path / 'tmp'} {work};"
        f" cp -a {inside} {copy}",
    ))
    assert result["exit"] == 5
    assert "full" in result["text"]
    (copy / "filler").unlink(missing_ok=True)
    nothing_lost(copy)


def test_read_only_file_system(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a tmpfs")
    work = " ".join(command(tmp_path))
    result = run(mounted(f"mount -t tmpfs -o size=64k,ro,mode=0700 none {tmp_path}; {work}"))
    assert (result["exit"], result["code"]) == (5, "state_io")
    assert "read-only" in result["text"]


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_directory_that_becomes_read_only(public: Path) -> None:
    """Between two appends: the journal still takes what is recorded, the snapshot fails, nothing is lost."""
    place = public / "state"
    place.mkdir(mode=0o700)
    os.chown(place, 65534, 65534)
    clock = ManualClock()

    def effect(name: str, address: str) -> None:
        if name == "store.append.after":
            place.chmod(0o500)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            manager = Manager(
                TYPE.open({}, place, clock, effect), clock, effect, place / ".jobform" / "seen.json",
                recovery=(), new_lineage=lambda: samples.LINEAGE,
            )
            manager.open()
            try:
                with manager.locked(worker.INFO):
                    for batch in worker.BATCHES:
                        manager.record(batch)
                    manager.compact()
            except StateError as error:
                [finding] = error.diagnostics
                status = 0 if finding.code == "state_not_saved" and "jobform-" in finding.detail else 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    place.chmod(0o700)
    assert worker.position(read(place)) == len(worker.BATCHES)
