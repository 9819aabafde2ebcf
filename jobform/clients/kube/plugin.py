"""Credential plug-ins of a kubeconfig (`exec`): programs that print a token or a certificate.

The protocol is client.authentication.k8s.io as kubectl speaks it. Beyond it a plug-in has limited time and may say only so much,
and where nobody can answer a question it gets neither a standard input nor a terminal: it fails instead of waiting.
"""

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jobform.clients.text import short

ATTENDED = 300.0
"""Seconds that a plug-in has where a person may have to do something, such as to log in with a browser."""

_CAP = 1 << 20
_PIECE = 1 << 16
_TOKEN = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*){1,4}|(?i:\bbearer\s+)[\w.~+/=-]{8,}")
_CLUSTER_KEYS = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
_INFO_OF_PLUGIN = "client.authentication.k8s.io/exec"


class PluginError(Exception):
    """Why a plug-in gave no credentials, in one line. hint: what to do, "" when nothing is known."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Plugin:
    """One `exec` block. directory: of its kubeconfig, where a command with a slash is looked for. cluster: its cluster's."""

    spec: Mapping[str, Any]
    directory: Path
    cluster: Mapping[str, Any]

    @property
    def command(self) -> str:
        return str(self.spec.get("command") or "")

    def run(self, environ: Mapping[str, str], limit: float, *, attended: bool) -> Mapping[str, Any]:
        """The `status` that it prints. limit: seconds it has; attended: whether a person can answer it. Raises PluginError."""
        api, mode = self.spec.get("apiVersion"), self.spec.get("interactiveMode") or "IfAvailable"
        if not self.command or not isinstance(api, str):
            raise PluginError("its block in the kubeconfig needs `command` and `apiVersion`")
        if mode == "Always" and not attended:
            raise PluginError("it wants to ask something, and there is no terminal to answer", "log in on a terminal first")
        ask = attended and mode != "Never"
        info = {"apiVersion": api, "kind": "ExecCredential", "spec": {"interactive": ask, **self._about_cluster()}}
        install = short(self.spec.get("installHint") or "", 200)
        try:
            surroundings = {**environ, **self._variables(), "KUBERNETES_EXEC_INFO": json.dumps(info, default=str)}
            code, output, said = _run(self._arguments(), surroundings, max(limit, ATTENDED) if ask else limit, ask=ask)
        except (OSError, ValueError) as error:
            raise PluginError(getattr(error, "strerror", None) or short(error, 200), install) from error
        if code != 0:
            how = f"it was ended by signal {-code}" if code < 0 else f"it exited with {code}"
            raise PluginError(f"{how}: {said}" if said else how, install)
        return _status(output, api)

    def _arguments(self) -> list[str]:
        """A name alone is looked for in PATH."""
        command = str(self.directory / self.command) if "/" in self.command else self.command
        given = self.spec.get("args") or []
        if not isinstance(given, list):
            raise PluginError("`args` of its block in the kubeconfig is no list")
        return [command, *(str(argument) for argument in given)]

    def _variables(self) -> dict[str, str]:
        try:
            return {str(item["name"]): str(item["value"]) for item in self.spec.get("env") or ()}
        except (TypeError, KeyError) as error:
            raise PluginError("`env` of its block in the kubeconfig is no list of name and value") from error

    def _about_cluster(self) -> dict[str, Any]:
        if not self.spec.get("provideClusterInfo"):
            return {}
        told = {key: self.cluster[key] for key in _CLUSTER_KEYS if key in self.cluster}
        if authority := self.cluster.get("certificate-authority"):
            try:
                told["certificate-authority-data"] = b64encode((self.directory / str(authority)).read_bytes()).decode()
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "it is no path"
                raise PluginError(f"it is to be told {short(authority, 200)}, which cannot be read: {why}") from error
        extensions = self.cluster.get("extensions")
        for extension in extensions if isinstance(extensions, list) else ():
            if isinstance(extension, dict) and extension.get("name") == _INFO_OF_PLUGIN:
                told["config"] = extension.get("extension")
        return {"cluster": told}


def _run(arguments: list[str], environ: Mapping[str, str], limit: float, *, ask: bool) -> tuple[int, bytes, str]:
    """Exit code, standard output, and in one line what it said on the other stream; that one is the terminal's where it may ask.

    Whatever happens, it does not outlive this call. Raises PluginError; OSError or ValueError when it cannot be started.
    """
    deadline = time.monotonic() + limit
    process = subprocess.Popen(  # noqa: S603  # the program that the user's kubeconfig names, as kubectl runs it
        arguments, env=dict(environ), stdin=None if ask else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=None if ask else subprocess.PIPE, start_new_session=not ask,
    )
    try:
        assert process.stdout is not None
        output, errors = _read(process.stdout, process.stderr, deadline)
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        hint = "does it wait for a login? run it by hand on a terminal"
        raise PluginError(f"it gave no answer in {limit:g} s", hint) from error
    finally:
        _end(process, group=not ask)
    return code, output, short(_TOKEN.sub("***", errors.decode("utf-8", "replace")).strip(), 300)


def _read(output: IO[bytes], errors: IO[bytes] | None, deadline: float) -> tuple[bytes, bytes]:
    """Both streams to their ends. Raises TimeoutError, and PluginError for too much output."""
    said = {output: bytearray()} | ({errors: bytearray()} if errors else {})
    with selectors.DefaultSelector() as selector:
        for stream, held in said.items():
            selector.register(stream, selectors.EVENT_READ, held)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError
            for key, _ in ready:
                piece, held = os.read(key.fd, _PIECE), key.data
                if not piece:
                    selector.unregister(key.fileobj)
                elif len(held) + len(piece) <= _CAP:
                    held += piece
                elif key.fileobj is output:
                    raise PluginError(f"it printed more than {_CAP >> 20} MiB")
    return bytes(said[output]), bytes(said[errors]) if errors else b""


def _end(process: "subprocess.Popen[bytes]", *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(process.pid, signal.SIGKILL)  # also what it started and left behind
        elif process.poll() is None:
            process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _status(output: bytes, api: str) -> Mapping[str, Any]:
    """What it prints may hold credentials, so nothing of it is quoted. Raises PluginError."""
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError) as error:
        what = "nothing" if not output.strip() else "something that is no JSON"
        raise PluginError(f"it printed {what} instead of an ExecCredential") from error
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(status, dict):
        raise PluginError("it printed no ExecCredential with a `status`")
    if answer.get("apiVersion") != api:
        given = answer.get("apiVersion")
        version = short(given, 60) if isinstance(given, str) else "no version"
        raise PluginError(f"it answered in {version}, but the kubeconfig says {short(api, 60)}")
    if not status.get("token") and not status.get("clientCertificateData"):
        raise PluginError("it gave neither a token nor a certificate")
    if status.get("clientCertificateData") and not status.get("clientKeyData"):
        raise PluginError("it gave a certificate without its key")
    return status
