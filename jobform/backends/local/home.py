"""The user's own place on this machine, outside every project: `$XDG_STATE_HOME/jobform` or `~/.local/state/jobform`.

What proves that a run exists lives here, so that cleaning a project's directory never loses an outcome or makes a second run.
"""

import hashlib
import os
import pwd
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from jobform.backends.local.facts import machine_id
from jobform.backends.local.proof import Proof, sync_directory, write_whole
from jobform.model.errors import BackendError
from jobform.protocols import Scope


class Home:
    """Making one touches nothing; `prepare` makes the directories. Everything that goes wrong is a BackendError."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.root, self._source = _locate(environ)
        self._prepared = False

    @property
    def slots(self) -> Path:
        return self.root / "slots"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def proof(self, run: str) -> Proof:
        """The proof directory of a run, which need not exist."""
        return Proof(self.runs / run)

    def prepare(self) -> None:
        """Make what is missing, and refuse a place that someone else could write to."""
        if self._prepared:
            return
        try:
            for path in (self.root, self.slots, self.runs):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.root.stat()
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise self._unusable("it is not yours alone: owner or mode would let others write to it")
        self._prepared = True

    def scope(self) -> Scope:
        """This machine as this user sees it: the system's name for it and a random text made here once."""
        self.prepare()
        path = self.root / "machine"
        try:
            text = _read(path)
            if text is None:
                draft = self.root / f"machine.{secrets.token_hex(8)}"
                write_whole(draft, secrets.token_hex(16).encode("ascii"), durable=True)
                try:
                    path.hardlink_to(draft)  # only one of several commands that begin at once gets the name
                except FileExistsError:
                    pass
                finally:
                    draft.unlink()
                sync_directory(self.root)
                text = _read(path)
        except OSError as error:
            raise self._unusable(f"{path.name}: {error.strerror}") from error
        if not text:
            raise self._unusable(f"{path.name} is empty; remove it, if no job of yours runs on this machine")
        identity = hashlib.sha256(f"{machine_id()}\n{text}".encode()).hexdigest()
        return Scope(f"local:{identity}", f"this machine, {socket.gethostname()}", f"{path} ({self._source})")

    def _unusable(self, why: str) -> BackendError:
        return BackendError(
            f"the local backend cannot use {self.root}",
            f"{why}. This place comes from {self._source}; set XDG_STATE_HOME to a directory of your own on a local disk.",
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""


def _locate(environ: Mapping[str, str]) -> tuple[Path, str]:
    state = environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):  # the XDG specification has relative paths ignored
        return Path(state) / "jobform", "XDG_STATE_HOME"
    home, source = environ.get("HOME", ""), "HOME"
    if not home.startswith("/"):
        source = "the user database, as HOME is not set"
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            home = ""
    if not home.startswith("/"):
        raise BackendError(
            "the local backend has no place for its records",
            f"Neither XDG_STATE_HOME nor HOME is set, and user {os.geteuid()} has no home directory. Set XDG_STATE_HOME.",
        )
    return Path(home) / ".local" / "state" / "jobform", source
