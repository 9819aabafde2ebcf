"""What macOS knows of boots, machines and processes; the counterpart of /proc.

Sources: `sysctl -n kern.boottime` (sysctl(3)); `ps -o stat=,lstart= -p PID` (ps(1), whole seconds); the `IOPlatformUUID` of
`ioreg -rd1 -c IOPlatformExpertDevice` (ioreg(8)).
"""

import os
import subprocess


class DarwinFacts:
    """Asked of sysctl and ps; the boot is asked once."""

    def __init__(self) -> None:
        self._boot = ""

    def boot_id(self) -> str:
        self._boot = self._boot or _output("/usr/sbin/sysctl", "-n", "kern.boottime").strip()
        return self._boot

    def start_time(self, pid: int) -> str | None:
        state, _, started = _output("/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)).strip().partition(" ")
        return None if not state or state.startswith("Z") else " ".join(started.split())

    def group_lives(self, group: int) -> bool:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):  # EPERM: nothing but zombies
            return False
        return True


def machine_id() -> str:
    """The hardware's UUID, "" when the system does not tell."""
    lines = _output("/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice").splitlines()
    return next((line.split('"')[-2] for line in lines if "IOPlatformUUID" in line), "")


def _output(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - absolute paths of system tools and a number; nothing comes from outside
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env={"LC_ALL": "C", "TZ": "UTC"}
    )
    return done.stdout.decode("utf-8", "replace")
