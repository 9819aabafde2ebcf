"""One process that owns a cluster, takes requests on a socket, and stops everything when nobody needs it any more.

A request is a line of JSON, `{"do": "compact"}`, and so is its answer: `{"ok": true, ...}` or
`{"error": text, "unavailable": bool}`. An open connection holds the cluster: the kernel closes it however its process ends, so a
killed test run leaves nothing behind.
"""

import contextlib
import json
import selectors
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import kwok
from tests.cluster.api import Api
from tests.cluster.binaries import KUBELET, KWOK, StartFailed, Unavailable, find
from tests.cluster.control import ControlPlane
from tests.cluster.node import Node
from tests.cluster.processes import Child
from tests.cluster.roles import let_view

SOCKET = "control"
FIRST_HOLDER = 120.0
"""Seconds in which somebody must take hold of a cluster that was started for tests."""
TICK = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POOL = "jobform.test/pool"
"""Label and taint key of nodes, and what ties the pods of a namespace to them."""
GPUS = 8

Answer = dict[str, Any]


class Stopping(BaseException):
    """A signal asked for the end; it interrupts whatever is going on, the start too."""


@dataclass
class Supervisor:
    """held: stop when the last connection closes; otherwise only on a signal or the request `stop`. kubelet: with a node."""

    plane: ControlPlane
    held: bool
    kubelet: bool = False
    _stopped: bool = False
    _holders: set[socket.socket] = field(default_factory=set)
    _node: Node | None = None
    _simulator: Child | None = None

    def run(self, ready: Callable[[], None]) -> None:
        """Starts, calls `ready`, serves until the end, and cleans up whatever happened."""
        for number in SIGNALS:
            signal.signal(number, _stop)
        directory = self.plane.directory
        fresh = not directory.exists() or not any(directory.iterdir())
        if not fresh:
            raise StartFailed(f"{directory} is not empty")
        with contextlib.suppress(Stopping):
            try:
                self.plane.start()
                if self.kubelet:
                    self.add_node(tainted=False)
                let_view(Api.open(self.plane.access("admin")))
                with self._listening() as listener:
                    ready()
                    self._serve(listener)
            finally:
                _ignore_signals()
                self._stop_parts()
        shutil.rmtree(directory)
        for holder in self._holders:  # whoever waits for the end reads it here
            holder.close()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        path = self.plane.directory / SOCKET
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(64)
            try:
                yield listener
            finally:
                path.unlink()

    def _serve(self, listener: socket.socket) -> None:
        started = time.monotonic()
        seen = False
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self._stopped:
                for key, _ in selector.select(TICK):
                    if key.fileobj is listener:
                        holder, _ = listener.accept()
                        self._holders.add(holder)
                        selector.register(holder, selectors.EVENT_READ, holder)
                        seen = True
                    elif not self._answer(key.data):
                        selector.unregister(key.data)
                        self._holders.discard(key.data)
                        key.data.close()
                idle = not self._holders and (seen or time.monotonic() - started > FIRST_HOLDER)
                self._stopped |= self.held and idle

    def _answer(self, holder: socket.socket) -> bool:
        """Takes one request; False when the other side has gone. A request is short, so it arrives in one piece."""
        try:
            line = holder.recv(65536)
            if not line:
                return False
            holder.sendall(json.dumps(self._do(json.loads(line), holder)).encode() + b"\n")
        except ConnectionError:
            return False
        return True

    def _do(self, request: Answer, holder: socket.socket) -> Answer:
        actions: dict[str, Callable[[], Answer | None]] = {
            "stop-apiserver": self.plane.stop_apiserver,
            "start-apiserver": self.plane.start_apiserver,
            "compact": self.plane.compact,
            "node": lambda: self.add_node(tainted=True),
            "kwok": self.simulate,
            "gpus": lambda: self._with_node().set_gpus(request["count"]),
            "tag": lambda: self._with_node().tag(request["image"], request["name"]),
            "hold": dict,
            "release": lambda: self._release(holder),
            "stop": self._leave,
        }
        try:
            return {"ok": True} | (actions[request["do"]]() or {})
        except Unavailable as reason:
            return {"error": str(reason), "unavailable": True}
        except Exception:  # noqa: BLE001  # told to the test that asked; the others go on
            return {"error": traceback.format_exc(), "unavailable": False}

    def _release(self, holder: socket.socket) -> Answer:
        """last: nobody else needs the cluster, so it goes now; the end of the connection says that it has gone."""
        last = self.held and self._holders == {holder}
        self._stopped |= last
        return {"last": last}

    def _leave(self) -> None:
        self._stopped = True

    def add_node(self, *, tainted: bool) -> None:
        """A kubelet with real containers; nothing if it is there. tainted: for the pods of its pool alone."""
        if self._node:
            return
        find({"KUBEBUILDER_ASSETS": str(self.plane.assets)}, (KUBELET,))
        kubeconfig = self.plane.kubeconfig("system:node:localhost")
        api = Api.open(self.plane.access("admin"))
        self._node = node = Node(api, self.plane.assets, self.plane.directory, kubeconfig, POOL, tainted)
        try:
            node.start(GPUS)
        except BaseException:
            self._node = None
            node.stop()
            raise

    def simulate(self) -> None:
        """Starts what plays nodes; nothing if it runs."""
        if self._simulator is None:
            find({"KUBEBUILDER_ASSETS": str(self.plane.assets)}, (KWOK,))
            self._simulator = kwok.run(self.plane.assets, self.plane.directory, self.plane.kubeconfig("simulator"))

    def _with_node(self) -> Node:
        if self._node is None:
            raise Unavailable("the cluster has no node with a kubelet")
        return self._node

    def _stop_parts(self) -> None:
        try:
            if self._node:
                self._node.stop()
        finally:
            if self._simulator:
                self._simulator.stop(patience=0)
            self.plane.stop()


def _stop(number: int, frame: object) -> None:
    _ignore_signals()  # another one must not interrupt the cleaning up
    raise Stopping


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Connection:
    """The other end: requests of a test process. While it is open the cluster stays."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError if no cluster runs there, or one that is about to end."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._lines = self._socket.makefile("rb")
        try:
            self._socket.connect(str(directory / SOCKET))
            self.ask("hold")  # one that has decided to end takes connections for a moment, and answers none
        except StartFailed as ended:
            self.close()
            raise ConnectionAbortedError(str(ended)) from ended
        except OSError:
            self.close()
            raise

    def ask(self, action: str, **arguments: object) -> Answer:
        """Raises Unavailable for what this machine lacks, StartFailed for what went wrong."""
        self._socket.sendall(json.dumps({"do": action} | arguments).encode())
        line = self._lines.readline()
        if not line:
            raise StartFailed(f"the cluster ended while it was asked to {action}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise (Unavailable if answer["unavailable"] else StartFailed)(answer["error"])
        return answer

    def stop(self) -> None:
        """Asks for the end of the cluster and returns when all of it is gone."""
        try:
            self.ask("stop")
            self._lines.read()
        finally:
            self.close()

    def release(self) -> None:
        """Lets go; returns when the cluster is gone if nobody else holds it."""
        try:
            if self.ask("release")["last"]:
                self._lines.read()
        finally:
            self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
