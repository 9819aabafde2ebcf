"""What the operating system knows: which boot this is, which machine, and which process a number stands for.

Sources. Linux: `/proc/sys/kernel/random/boot_id` (random(4)); `/proc/<pid>/stat`, field 3 state, field 5 process group,
field 22 start time in clock ticks since boot (proc_pid_stat(5)); `/etc/machine-id` (machine-id(5)), else dbus's copy of it.
The launcher uses this module too, so it needs the standard library only.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Protocol

if sys.platform == "darwin":  # launchers are forks of a small process: on Linux, what macOS needs is not even loaded
    from jobform.backends.local import darwin

END_OF_FILES = 1 << 20 if sys.platform == "linux" else min(os.sysconf("SC_OPEN_MAX"), 1 << 16)
"""An upper bound of descriptor numbers; Linux closes a whole range in one call, elsewhere each number costs one."""


class Facts(Protocol):
    """Injectable, so that another boot and a reused process number can be tried without either."""

    def boot_id(self) -> str:
        """Text that is another one after a restart of the machine."""

    def start_time(self, pid: int) -> str | None:
        """When this process began, comparable as text within one boot; None when it does not exist or is a zombie."""

    def group_lives(self, group: int) -> bool:
        """Whether a process group has a process that is not a zombie."""


class LinuxFacts:
    """Read from /proc: no process is started."""

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()

    def start_time(self, pid: int) -> str | None:
        fields = _stat(str(pid))
        return fields[19].decode("ascii") if fields else None

    def group_lives(self, group: int) -> bool:
        if not signal_group(group, 0):
            return False
        wanted = str(group).encode("ascii")  # zombies are signalled too, and not every first process of a container reaps them
        processes = (path.name for path in Path("/proc").iterdir() if path.name.isdigit())
        return any(fields[2] == wanted for pid in processes if (fields := _stat(pid)))


def _stat(pid: str) -> list[bytes]:
    """The fields from the third on, none for a zombie or for no process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold spaces and brackets
    return [] if fields[0] in (b"Z", b"X") else fields


def system_facts() -> Facts:
    """The facts of the system that this runs on."""
    if sys.platform == "darwin":
        return darwin.DarwinFacts()
    return LinuxFacts()


def machine_id() -> str:
    """What the system calls this machine, "" when it has no name for it (containers often do not)."""
    if sys.platform == "darwin":
        return darwin.machine_id()
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            return path.read_text("ascii").strip()
        except (OSError, ValueError):
            continue
    return ""


def signal_process(facts: Facts, pid: int, started: str, number: int) -> bool:
    """Signal exactly that process; False when it is not there any more, whoever has its number now."""
    handle = -1
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:  # a kernel or a sandbox without pidfd: the check below is all there is
            handle = -1
    try:
        if facts.start_time(pid) != started:
            return False
        if sys.platform == "linux" and handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True


def signal_group(group: int, number: int) -> bool:
    """Signal every process of a group; False when none is left that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True
