"""Which GPUs local jobs are lent: what a real program called nvidia-smi in PATH prints, or what the settings list."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobform.backends.local import gpus
from jobform.backends.local.backend import TYPE, LocalBackend
from jobform.backends.local.gpus import Discovery
from jobform.model.errors import BackendError
from jobform.model.state import Phase
from jobform.model.values import Json
from jobform.protocols import Submission
from jobform.schema import SpecSchema
from jobform.testing.marks import make_mark
from tests.backends.local.world import World, now, reach, shell

H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"
LISTED = f"0, GPU-aaaa1111-0000, {H100}\n1, GPU-bbbb2222-0000, {A100}\n2, GPU-cccc3333-0000, {H100}\n"

Install = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take long to run a script of one line."""
    monkeypatch.setattr(gpus, "TIME_LIMIT", 200.0)


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a program called nvidia-smi in front of PATH; it notes every call. Gives the environment."""
    def install(text: str = LISTED, script: str = "") -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (tmp_path / "listed").write_text(text)
        tool = folder / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script or f"cat {tmp_path}/listed"}\n')
        tool.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return install


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "calls"
    return path.read_text().splitlines() if path.exists() else []


SHOW = 'echo "$CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"'


def gpu_job(count: int, type_: str = "", script: str = SHOW, address: str = "job") -> Submission:
    wanted: dict[str, Json] = {"count": count}
    return shell(script, resources={"gpu": wanted | ({"type": type_} if type_ else {})}, address=address)


def seen_by(world: World, backend: LocalBackend, count: int, type_: str = "", name: str = "job") -> str:
    mark = make_mark(name)
    ref = backend.submit(gpu_job(count, type_, address=name), mark)
    assert reach(backend, ref).phase is Phase.SUCCEEDED
    return (world.run_dir(mark) / "stdout.log").read_text().strip()


def test_what_the_machine_has_is_lent_by_default(world: World, install: Install, tmp_path: Path) -> None:
    backend = world.open(environ=install())
    assert calls(tmp_path) == [], "nobody asked for a GPU yet"
    assert seen_by(world, backend, 3) == "0,1,2 PCI_BUS_ID"
    assert seen_by(world, backend, 2, name="other") == "0,1 PCI_BUS_ID"
    assert calls(tmp_path) == ["--query-gpu=index,uuid,name --format=csv,noheader"], "asked once, and with these words"


def test_a_job_without_gpus_asks_for_none(world: World, install: Install, tmp_path: Path) -> None:
    backend = world.open(environ=install(), gpus="auto")
    reach(backend, backend.submit(shell("true"), make_mark("job")))
    reach(backend, backend.submit(gpu_job(0, address="zero"), make_mark("zero")))
    assert calls(tmp_path) == []


def test_a_list_is_taken_as_it_is(world: World, install: Install, tmp_path: Path) -> None:
    backend = world.open(environ=install(), gpus=[7])
    assert seen_by(world, backend, 1) == "7"
    with pytest.raises(BackendError, match="job needs 2 GPUs and this backend has 1"):
        backend.submit(gpu_job(2), make_mark("two"))
    assert calls(tmp_path) == []


@pytest.mark.parametrize("type_", [H100, "NVIDIA-H100-80GB-HBM3", "nvidia-h100-80gb-hbm3"])
def test_a_type_is_matched_as_the_machine_or_a_cluster_writes_it(world: World, install: Install, type_: str) -> None:
    backend = world.open(environ=install())
    assert seen_by(world, backend, 2, type_) == "0,2 PCI_BUS_ID"


def test_a_type_chooses_among_those_that_are_listed(world: World, install: Install) -> None:
    backend = world.open(environ=install(), gpus=[1, 2])
    assert seen_by(world, backend, 1, H100) == "2 PCI_BUS_ID"
    with pytest.raises(BackendError, match=r"job needs 2 GPUs of type .* and this backend has 1") as caught:
        backend.submit(gpu_job(2, H100), make_mark("two"))
    assert "0 is NVIDIA H100 80GB HBM3" in caught.value.detail


def test_a_type_that_is_not_there_is_refused(world: World, install: Install) -> None:
    backend, mark = world.open(environ=install()), make_mark("job")
    with pytest.raises(BackendError, match="job needs 1 GPU of type NVIDIA-L40S and this machine has 0") as caught:
        backend.submit(gpu_job(1, "NVIDIA-L40S"), mark)
    assert A100 in caught.value.detail
    assert not world.run_dir(mark).exists()


@pytest.mark.parametrize(("script", "words"), [
    ("echo 'NVIDIA-SMI has failed because it cannot reach the driver.'; exit 9",
     r"failed \(exit 9\): NVIDIA-SMI has failed because it cannot reach the driver\.$"),
    ("printf 'bad \\033[31m words'; exit 6", r"failed \(exit 6\): bad \\x1b\[31m words$"),
    ("true", "lists none$"),
    ("echo '<html>, log in, please'", "printed no list of GPUs: <html>, log in, please$"),
    ("echo 0", "printed no list of GPUs: 0$"),
    ("head -c 100000 /dev/zero", "printed no list of GPUs"),
    ("kill -9 $$", r"failed \(exit -9\)$"),
])
def test_a_tool_that_fails_means_no_gpus_and_says_why(world: World, install: Install, script: str, words: str) -> None:
    backend = world.open(environ=install(script=script))
    with pytest.raises(BackendError, match=f"job needs 1 GPU and no GPU was found: .*nvidia-smi {words}"):
        backend.submit(gpu_job(1), make_mark("job"))
    reach(backend, backend.submit(shell("true", address="plain"), make_mark("plain")))


def test_a_machine_without_the_tool(world: World, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("not executable")
    backend = world.open(environ={"PATH": str(tmp_path)})
    with pytest.raises(BackendError, match=r"no GPU was found: nvidia-smi is not in PATH$"):
        backend.submit(gpu_job(1), make_mark("job"))


def test_a_tool_in_a_relative_place_is_not_run(
    world: World, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pull request could have put it there."""
    install()
    monkeypatch.chdir(tmp_path / "bin")
    backend = world.open(environ={"PATH": ".::bin"})
    with pytest.raises(BackendError, match="nvidia-smi is not in PATH"):
        backend.submit(gpu_job(1), make_mark("job"))
    assert calls(tmp_path) == []


def test_a_tool_that_hangs_is_given_up(world: World, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is one whose child keeps its output open."""
    monkeypatch.setattr(gpus, "TIME_LIMIT", 0.3)
    backend = world.open(environ=install(script="sleep 100 & sleep 100"))
    begun = time.monotonic()
    with pytest.raises(BackendError, match=r"gave no answer within 0\.3 seconds"):
        backend.submit(gpu_job(1), make_mark("job"))
    assert time.monotonic() - begun < 90


def test_a_child_that_keeps_the_output_open_does_not_matter(install: Install) -> None:
    begun = time.monotonic()
    seen = gpus.discover(install(script="sleep 100 & echo '0, GPU-1, A'"))
    assert [gpu.name for gpu in seen.gpus] == ["A"]
    assert time.monotonic() - begun < 90


@pytest.mark.parametrize(("variable", "found"), [
    ("1", [1]), ("2,0", [2, 0]), ("GPU-bbbb", [1]), ("0,9,1", [0]), ("0,0", [0]), ("", []), ("-1", []), ("MIG-aaaa", []),
])
def test_what_cuda_does_not_see_is_not_lent(install: Install, variable: str, found: list[int]) -> None:
    """As inside an allocation of a cluster's scheduler."""
    seen = gpus.discover(install() | {"CUDA_VISIBLE_DEVICES": variable})
    assert [gpu.index for gpu in seen.gpus] == found
    assert bool(seen.why_none) is not bool(found)


def test_the_tool_gets_no_secret(install: Install, tmp_path: Path) -> None:
    gpus.discover(install(script=f"env > {tmp_path}/env; true") | {"JOBFORM_SECRET_TOKEN": "hush-hush", "HOME": "/"})
    text = (tmp_path / "env").read_text()
    assert "HOME=/" in text
    assert "hush-hush" not in text


def test_it_is_asked_again_only_for_another_environment(install: Install, tmp_path: Path) -> None:
    discovery, environ = Discovery(), install()
    assert len(discovery(environ).gpus) == 3
    assert len(discovery(dict(environ)).gpus) == 3
    assert len(calls(tmp_path)) == 1
    assert len(discovery(environ | {"CUDA_VISIBLE_DEVICES": "1"}).gpus) == 1
    assert len(calls(tmp_path)) == 2


def test_status_says_how_many_are_free(world: World, install: Install) -> None:
    backend = world.open(environ=install())
    first = backend.submit(gpu_job(2, script="exec sleep 600", address="first"), make_mark("first"))
    reach(backend, first, Phase.RUNNING)
    second = backend.submit(gpu_job(2, address="second"), make_mark("second"))
    assert now(backend, second).detail == "waiting for a slot: 7 of 8 free, and for 2 GPUs: 1 of 3 free"
    backend.cancel(first, only_if_waiting=False)
    assert reach(backend, second).phase is Phase.SUCCEEDED


def test_what_the_schema_says_of_it() -> None:
    settings, spec = SpecSchema(TYPE.settings_schema()), SpecSchema(TYPE.spec_schema())
    assert settings.is_valid({"gpus": "auto"})
    assert settings.is_valid({"gpus": []})
    assert spec.is_valid({"command": ["a"], "resources": {"gpu": {"count": 1, "type": "X"}}})
    [wrong] = settings.problems({"gpus": "all"})
    assert "auto, or a list of device numbers" in f"{wrong.summary} {wrong.detail} {wrong.hint}"
    assert spec.rule(("resources", "gpu", "type")).class_ == "placement"
