"""Container images out of this machine's own files, so that no registry is needed."""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.cluster.binaries import Unavailable

BUSYBOX = "docker.io/library/busybox:1"
PYTHON = "docker.io/library/python:3"
"""The public names, so that a test runs on a given cluster as well."""
PAUSE = "docker.io/local/pause:1"

LEFT_OUT = {"test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3", "ensurepip", "site-packages", "dist-packages"}
ACCOUNTS: "Files" = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": "root:x:0:\nnobody:x:65534:\n",
}


def write_archives(folder: Path) -> list[Path]:
    """Archives for `ctr images import`: what holds a sandbox, a shell with the usual tools, and the same with this Python."""
    shell = folder / "busybox.tar"
    _image(shell, BUSYBOX, _shell(), ["sh"])
    pause = folder / "pause.tar"
    _image(pause, PAUSE, _shell(), ["sleep", "2147483647"])
    python = folder / "python.tar"
    _image(python, PYTHON, _shell() | _python(), ["python3"])
    return [pause, shell, python]


Files = dict[str, Path | str]
"""Path in the image to a file of this machine, or to the text `-> target` of a link, or to the content of a small file."""


def _shell() -> Files:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Unavailable("busybox is not installed (Debian: busybox-static): the test images are made of it")
    if "not a dynamic" not in _output("ldd", busybox):
        raise Unavailable("busybox needs shared libraries here: install the static one (Debian: busybox-static)")
    links: Files = {f"bin/{name}": "-> busybox" for name in _output(busybox, "--list").split() if name != "busybox"}
    return links | {"bin/busybox": Path(busybox)} | ACCOUNTS


def _python() -> Files:
    """The interpreter that runs this, where it is here, with its library and what they link to."""
    program = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("platstdlib", vars={"platbase": sys.base_prefix}))
    files: Files = {str(path).lstrip("/"): path for path in _library(library)}
    modules = [str(path) for path in (library / "lib-dynload").glob("*.so")]
    for line in _output("ldd", str(program), *modules).splitlines():
        for word in line.split():
            if word.startswith("/") and not word.endswith(":"):
                files[word.lstrip("/")] = Path(word)
    links = {f"usr/local/bin/{name}": f"-> {program}" for name in ("python", "python3")}
    return files | {str(program).lstrip("/"): program} | links


def _library(folder: Path) -> Iterator[Path]:
    compiled = f".{sys.implementation.cache_tag}.pyc"
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        for name in names:
            if Path(place).name != "__pycache__" or name.endswith(compiled):
                yield Path(place) / name


def _image(archive: Path, tag: str, files: Mapping[str, Path | str], command: list[str]) -> None:
    """One layer, in the form that `docker save` writes."""
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as content:
        for name, mode in (("tmp", 0o1777), ("root", 0o755), ("etc", 0o755), ("var", 0o755), ("bin", 0o755)):
            _add(content, name, b"", mode, tarfile.DIRTYPE)
        for name, source in sorted(files.items()):
            if isinstance(source, Path):
                _add(content, name, source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644)
            elif source.startswith("-> "):
                _add(content, name, b"", 0o777, tarfile.SYMTYPE, source.removeprefix("-> "))
            else:
                _add(content, name, source.encode(), 0o644)
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = json.dumps({
        "architecture": machine, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": command},
    }).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as outer:
        _add(outer, "config.json", config, 0o644)
        outer.add(layer, "layer.tar")
        _add(outer, "manifest.json", manifest, 0o644)
    layer.unlink()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type, entry.linkname = len(content), mode, kind, link
    archive.addfile(entry, io.BytesIO(content))


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout + done.stderr
