"""The reference service as a loopback HTTP server, a process of its own.

`python -m jobform.testing.serve` prints one line, `{"url": "http://127.0.0.1:PORT"}`, and serves until its standard input
closes or no request has come for `--idle` seconds. Besides `/v1/`, which clients use, it has `/admin/`, by which a test
commits faults and reads the ledger; `server.ReferenceServer` speaks it.
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from jobform.model.values import Json
from jobform.sandbox.faults import Fault, Faults, Then
from jobform.testing.ledger import Entry, Ledger
from jobform.testing.service import Order, ServiceError
from jobform.testing.world import World

_MOST_BODY = 4 * 1024 * 1024

_Route = Callable[[list[str], Mapping[str, str], Json], Json]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ledger = ledger
        self.world = World(time.time, ledger)
        self.faults = Faults()
        self.last_request = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 300

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited signature
        """Nothing: the ledger is the log."""

    def _serve(self) -> None:
        self.server.last_request = time.monotonic()
        self.close_connection = True
        parts = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(size, _MOST_BODY))
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if parts.path.startswith("/admin/"):
            self._send(*self._answer(self._admin, parts.path, query, body))
            return
        fault = self.server.faults.meet(self.command, parts.path)
        if fault:
            time.sleep(fault.delay)
        status, answer = 0, b""
        if fault is None or fault.applied or fault.then in (Then.PROCEED, Then.HALF):
            status, answer = self._answer(self._client, parts.path, query, body)
        self._log(parts.path, status, fault)
        self._finish(fault, status, answer)

    def _finish(self, fault: Fault | None, status: int, answer: bytes) -> None:
        if fault is None or fault.then is Then.PROCEED:
            self._send(status, answer)
        elif fault.then is Then.ANSWER:
            self._send(fault.status, fault.body.encode(), fault.headers)
        elif fault.then is Then.HALF:
            self._send(status, answer, half=True)
        elif fault.then is Then.KILL and (pid := self._client_pid()) is not None:
            os.kill(pid, signal.SIGKILL)

    def _answer(self, route: _Route, path: str, query: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            parts = [unquote(part) for part in path.strip("/").split("/")]
            value = route(parts, query, json.loads(body) if body else None)
            return 200, json.dumps(value).encode()
        except ServiceError as error:
            return error.status, json.dumps({"code": error.code, "message": error.message}).encode()
        except (ValueError, KeyError, TypeError) as error:
            return 400, json.dumps({"code": "invalid", "message": str(error)}).encode()

    def _client(self, parts: list[str], query: Mapping[str, str], body: Json) -> Json:
        """`/v1/namespaces/NAMESPACE[/runs[/RUN[/cancel]]]`."""
        world, namespace = self.server.world, parts[2]
        match (self.command, parts[3:]):
            case "GET", []:
                return {"name": namespace, "uid": world.scope(namespace)}
            case "GET", ["runs"]:
                runs, token = world.page(namespace, query.get("after", ""), max(1, int(query.get("limit", "100"))))
                return {"items": [run.to_json() for run in runs], "next": token}
            case "POST", ["runs"]:
                return world.create(namespace, Order.from_json(body)).to_json()
            case "GET", ["runs", run]:
                return world.get(namespace, run).to_json()
            case "PATCH", ["runs", run]:
                wanted = _object(body)
                version = wanted["version"]
                if not isinstance(version, int):
                    raise TypeError("version is an integer")
                return world.update(namespace, run, _object(wanted["spec"]), version).to_json()
            case "POST", ["runs", run, "cancel"]:
                world.cancel(namespace, run, only_if_waiting=_object(body)["only_if_waiting"] is True)
                return {}
            case "DELETE", ["runs", run]:
                world.delete(namespace, run)
                return {}
        raise ServiceError(404, "no_path", f"there is no {self.command} {self.path}")

    def _admin(self, parts: list[str], query: Mapping[str, str], body: Json) -> Json:
        """What a test may do."""
        world = self.server.world
        match (self.command, parts[1:]):
            case "GET", ["ledger"]:
                return [entry.to_json() for entry in world.entries(query.get("namespace") or None)]
            case "POST", ["faults"]:
                self.server.faults.set([Fault.from_json(rule) for rule in body] if isinstance(body, list) else [])
            case "POST", ["runs", run, "drift"]:
                world.drift(run, _object(body))
            case "POST", ["runs", run, "end"]:
                code, fail_class = _object(body)["exit"], _object(body)["class"]
                world.end(run, code if isinstance(code, int) else 0, None if fail_class is None else str(fail_class))
            case "POST", ["runs", run, "vanish"]:
                world.vanish(run)
            case "POST", ["scopes", namespace]:
                uid = _object(body)["uid"]
                world.set_scope(namespace, None if uid is None else str(uid))
            case _:
                raise ServiceError(404, "no_path", f"there is no {self.command} {self.path}")
        return {}

    def _send(self, status: int, answer: bytes, headers: Mapping[str, str] | None = None, *, half: bool = False) -> None:
        try:
            self.send_response(status)
            for key, value in ({"Content-Type": "application/json"} | dict(headers or {})).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[: len(answer) // 2] if half else answer)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone; what it asked for was done all the same

    def _log(self, path: str, status: int, fault: Fault | None) -> None:
        namespace = unquote(path.split("/")[3]) if path.startswith("/v1/namespaces/") else ""
        data: dict[str, Json] = {"method": self.command, "path": path, "status": status, "pid": self._client_pid()}
        if fault:
            data["fault"] = fault.then.value
        self.server.ledger.add(Entry(time.time(), "request", namespace, data=data))

    def _client_pid(self) -> int | None:
        """The process that asks, as its User-Agent says."""
        match = re.search(r"pid=([1-9][0-9]*)", self.headers.get("User-Agent", ""))
        return int(match[1]) if match else None


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError("an object was expected")
    return value


def _until_orphaned(server: _Server, idle: float) -> None:
    """Shut down when standard input closes or nobody has asked for a while."""
    closed = threading.Event()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        closed.set()

    threading.Thread(target=watch, daemon=True).start()
    while not closed.wait(1.0) and time.monotonic() - server.last_request < idle:
        pass
    server.shutdown()


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m jobform.testing.serve", description="The reference service on loopback.")
    parser.add_argument("--ledger", type=Path, help="a file that gets every entry as a JSON line")
    parser.add_argument("--idle", type=float, default=86_400.0, help="seconds without a request after which it ends (a day)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    server = _Server(Ledger(options.ledger))
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    threading.Thread(target=_until_orphaned, args=(server, options.idle), daemon=True).start()
    server.serve_forever(poll_interval=0.05)
    server.server_close()


if __name__ == "__main__":
    main()
