"""Finds the programs of the control plane, or builds them from the Go modules that this directory pins."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster.processes import die_with_parent

HERE = Path(__file__).parent
VERSION = "1.34.4"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
KUBELET = "kubelet"
KWOK = "kwok"

PACKAGES = {
    "etcd": ("binaries", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": ("binaries", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": ("binaries", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": ("binaries", "k8s.io/kubernetes/cmd/kube-scheduler"),
    KUBELET: ("binaries", "k8s.io/kubernetes/cmd/kubelet"),
    KWOK: ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
}
"""Program to the folder of the module that pins it and the package that it is built from."""

DOWNLOAD = re.compile(r"https?://")
"""Stands in what go says when a module did not come; it does not ask again by itself, and keeps those that came."""

PAUSES = (5.0, 30.0, 120.0)
"""Seconds before a download that broke off is tried again."""


class Unavailable(Exception):
    """Something that a test cluster needs is not on this machine; the text says what, and how to get it."""


class StartFailed(Exception):
    """A part of the cluster did not come up; the text has the end of its log."""


def find(environ: Mapping[str, str], programs: tuple[str, ...] = CONTROL_PLANE) -> Path:
    """The folder that holds `programs`: KUBEBUILDER_ASSETS if that is set, else the cache. Builds nothing; raises Unavailable."""
    given = environ.get("KUBEBUILDER_ASSETS")
    folder = Path(given) if given else cache(environ)
    missing = [program for program in programs if not os.access(folder / program, os.X_OK)]
    if not missing:
        return folder
    if given:
        raise Unavailable(f"KUBEBUILDER_ASSETS={given} lacks {', '.join(missing)}")
    hint = "build them once with: python -m tests.cluster build"
    if not shutil.which("go", path=environ.get("PATH")):
        hint = "and there is no go to build them with: install Go, or set KUBEBUILDER_ASSETS"
    raise Unavailable(f"the control plane is not built ({', '.join(missing)} not in {folder}); {hint}")


def cache(environ: Mapping[str, str]) -> Path:
    """Where built programs are kept: outside the source tree, one folder for each set of pinned versions."""
    pins = b"".join((HERE / module / "go.sum").read_bytes() for module in ("binaries", "kwok"))
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".cache")
    return Path(base) / "jobform-test-cluster" / hashlib.sha256(pins).hexdigest()[:16]


def ensure(environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """The folder with every program, built where missing: minutes the first time, nothing after. One builder at a time."""
    try:
        return find(environ, tuple(PACKAGES))
    except Unavailable:
        if environ.get("KUBEBUILDER_ASSETS") or not shutil.which("go", path=environ.get("PATH")):
            raise
    folder = cache(environ)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for program in PACKAGES:
            if not (folder / program).exists():
                say(f"building {program}")
                _build(program, folder, environ)
    return folder


def _build(program: str, folder: Path, environ: Mapping[str, str]) -> None:
    """Builds under another name and renames: a build that was cut off leaves nothing that looks finished."""
    module, package = PACKAGES[program]
    major, minor, _ = VERSION.split(".")
    stamp = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor} if module == "binaries" else {}
    flags = " ".join(["-s", "-w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())])
    partial = folder / f"{program}.partial"
    command = ["go", "build", "-buildvcs=false", "-trimpath", "-ldflags", flags, "-o", str(partial), package]
    for pause in (*PAUSES, None):
        done = subprocess.run(
            command, cwd=HERE / module, env=dict(environ) | {"CGO_ENABLED": "0"}, capture_output=True, text=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        if done.returncode == 0 or pause is None or not DOWNLOAD.search(done.stderr):
            break
        time.sleep(pause)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-20:])
        raise Unavailable(f"{program} could not be built with {shutil.which('go')}:\n{said}")
    partial.rename(folder / program)
