"""Which GPUs this machine has, asked of `nvidia-smi` once for each process, and only when a job wants one."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from jobform.model.errors import BackendError

TIME_LIMIT = 20.0
"""Seconds that nvidia-smi may take: without its persistence daemon, a driver takes some seconds to wake all devices."""

_TOOL = "nvidia-smi"
_ASKED = ("--query-gpu=index,uuid,name", "--format=csv,noheader")
_LONGEST = 1 << 20
_HIDDEN = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device: its number in the order of the bus, as `CUDA_DEVICE_ORDER=PCI_BUS_ID` counts; its uuid; its product name."""

    index: int
    uuid: str
    name: str

    def is_a(self, type_: str) -> bool:
        """Whether it is of a type, which a cluster writes with dashes: `NVIDIA-H100-80GB-HBM3`."""
        return _plain(self.name) == _plain(type_)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found. why_none: said to people when nothing was."""

    gpus: tuple[Gpu, ...] = ()
    why_none: str = ""


class Discovery:
    """Asks once and remembers. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: dict[tuple[str, str | None], Seen] = {}

    def __call__(self, environ: Mapping[str, str]) -> Seen:
        """The GPUs that a process with this environment can use."""
        key = environ.get("PATH", os.defpath), environ.get(_HIDDEN)
        with self._lock:
            if key not in self._seen:
                self._seen[key] = discover(environ)
            return self._seen[key]


class Lending:
    """The GPUs that one backend block lends to its jobs. listed: their numbers; None lends every one that is found."""

    def __init__(self, listed: tuple[int, ...] | None, environ: Mapping[str, str], discovery: Discovery) -> None:
        self.listed = listed
        self._environ = environ
        self._discovery = discovery

    def numbers(self, type_: str = "") -> tuple[int, ...]:
        """Those of a type, or all. Asks the machine unless the list says enough."""
        if self.listed is not None and not type_:
            return self.listed
        found = {gpu.index for gpu in self._discovery(self._environ).gpus if not type_ or gpu.is_a(type_)}
        return tuple(sorted(found)) if self.listed is None else tuple(number for number in self.listed if number in found)

    def shortage(self, address: str, count: int, type_: str) -> BackendError:
        """Why a job can never get its GPUs here."""
        wanted = f"{address} needs {count} GPU{'s' * (count > 1)}" + (f" of type {type_[:100]}" if type_ else "")
        if self.listed is not None and not type_:
            return BackendError(
                f"{wanted} and this backend has {len(self.listed)}",
                "The GPUs that local jobs may use are listed under `gpus:` in the backend's block in jobform.yaml.",
            )
        seen = self._discovery(self._environ)
        if not seen.gpus:
            return BackendError(
                f"{wanted} and no GPU was found: {seen.why_none}",
                "Local jobs may use what nvidia-smi lists, or the numbers under `gpus:` in the backend's block in jobform.yaml.",
            )
        has = f"this {'machine' if self.listed is None else 'backend'} has {len(self.numbers(type_))}"
        found = ", ".join(f"{gpu.index} is {gpu.name[:100]}" for gpu in seen.gpus)
        return BackendError(f"{wanted} and {has}", f"Found: {found}.")


def discover(environ: Mapping[str, str]) -> Seen:
    """Run nvidia-smi as the environment's PATH finds it, and leave out what CUDA_VISIBLE_DEVICES hides."""
    places = environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(place for place in places if Path(place).is_absolute())  # others could lie in a project
    tool = shutil.which(_TOOL, path=path)
    if tool is None:
        return Seen(why_none=f"{_TOOL} is not in PATH")
    try:
        code, text = _run(tool, environ)
    except subprocess.TimeoutExpired:
        return Seen(why_none=f"{tool} gave no answer within {TIME_LIMIT:g} seconds")
    except OSError as error:
        return Seen(why_none=f"{tool} cannot be run: {error.strerror or error}")
    if code != 0:
        return Seen(why_none=f"{tool} failed (exit {code}){_first_line(text)}")
    try:
        found = [_gpu(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return Seen(why_none=f"{tool} printed no list of GPUs{_first_line(text)}")
    return _visible(found, environ.get(_HIDDEN)) if found else Seen(why_none=f"{tool} lists none")


def _run(tool: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """Its exit code and what it printed. A file and not a pipe: a child that it leaves behind could hold that open for ever."""
    secret = ("JOBFORM_SECRET_", "JOBFORM_VAR_")
    env = {key: value for key, value in environ.items() if not key.startswith(secret)} | {"LC_ALL": "C"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603  # the driver's own tool, found in the user's PATH
            [tool, *_ASKED], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd="/",
        )
        try:
            code = process.wait(TIME_LIMIT)
        except BaseException:
            process.kill()
            process.wait()
            raise
        output.seek(0)
        return code, output.read(_LONGEST).decode("utf-8", "replace")


def _gpu(line: str) -> Gpu:
    """`0, GPU-5c3f..., NVIDIA H100 80GB HBM3`. Raises ValueError."""
    index, uuid, name = (part.strip() for part in line.split(",", 2))
    if not uuid.startswith("GPU-") or not index.isascii():
        raise ValueError("no GPU")
    return Gpu(int(index), uuid, name)


def _visible(found: list[Gpu], hidden: str | None) -> Seen:
    """Those that CUDA would see: it takes the variable's entries, numbers or starts of uuids, up to the first that is none."""
    if hidden is None:
        return Seen(tuple(found))
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in hidden.split(",")):
        known = [gpu for gpu in found if str(gpu.index) == entry or (entry.startswith("GPU-") and gpu.uuid.startswith(entry))]
        if len(known) != 1 or known[0] in chosen:
            break
        chosen += known
    return Seen(tuple(chosen)) if chosen else Seen(why_none=f"{_HIDDEN} hides all {len(found)} of this machine")


def _first_line(text: str) -> str:
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f": {ascii(first[:200])[1:-1]}" if first else ""


def _plain(name: str) -> str:
    return "-".join(name.replace("-", " ").split()).casefold()
