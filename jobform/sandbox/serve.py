"""A sandboxed service on a loopback port. Besides the service's own paths it has `/_sandbox/`, by which a test moves it."""

import re
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from jobform.sandbox.faults import Fault, Faults, Then
from jobform.sandbox.wire import Call, Refused, Reply, SandboxService
from jobform.sandbox.world import World

_MOST_BODY = 256 << 20
_MOST_CALLS = 10_000
_LENGTH = re.compile(r"[0-9]{1,12}")


class Server(ThreadingHTTPServer):
    """One service on a port of 127.0.0.1 that the system chose.

    calls: the last of them, whole, with bodies and credentials; none unless they are recorded.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: SandboxService, world: World, faults: Faults, *, record: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: deque[Call] = deque(maxlen=_MOST_CALLS if record else 0)
        self.service = service
        self.world = world
        self.faults = faults
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Quiet for one that never started."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        self.world.stop()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - the names that http.server looks for

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The service's own time, as its jobs have it."""
        return super().date_time_string(self.server.world.now() if timestamp is None else timestamp)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited signature
        """Nothing: the ledger is the log."""

    def _serve(self) -> None:
        call = self._call()
        if isinstance(call, Reply):
            self.close_connection = True  # where the next request begins is not known
            self._send(call)
            return
        if call.path.startswith("/_sandbox/"):
            self._send(self._admin(call))
            return
        server = self.server
        server.calls.append(call)
        fault = server.faults.meet(call.method, call.path, server.service.name)
        if fault:
            time.sleep(fault.delay)
        reply = None
        if fault is None or fault.applied or fault.then in (Then.PROCEED, Then.HALF):
            reply = self._answer(call)
        server.world.ledger.write(
            event="request", service=server.service.name, method=call.method, path=call.path, status=_sent(fault, reply),
            fault=fault.then.value if fault else None, applied=reply.status if reply else None,
        )
        self._finish(fault, reply)

    def _call(self) -> Call | Reply:
        """The request, or what is said of one that no service would be asked."""
        try:
            parts = urlsplit(self.path)
        except ValueError:
            return Reply(400, {"message": "the address of the request is none"})
        size = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not _LENGTH.fullmatch(size) or int(size) > _MOST_BODY:
            return Reply(413, {"message": "the body is too large, or of unknown length"})
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(size))
        if len(body) < int(size):
            raise ConnectionAbortedError("the client hung up in the middle of its request")
        return Call(self.command, parts.path, parse_qsl(parts.query, keep_blank_values=True), headers, body)

    def _answer(self, call: Call) -> Reply:
        service, world = self.server.service, self.server.world
        try:
            with world.held():
                try:
                    return service.answer(call)
                except Refused as refused:
                    return service.refusal(refused)
        except Exception:  # noqa: BLE001  # a fault of the sandbox: told in the answer and the ledger, where it is looked for
            trace = traceback.format_exc(limit=-6)
            world.ledger.write(event="bug", service=service.name, path=call.path, trace=trace)
            return Reply(500, {"message": trace})

    def _finish(self, fault: Fault | None, reply: Reply | None) -> None:
        if fault is None or fault.then is Then.PROCEED:
            assert reply is not None
            self._send(reply)
        elif fault.then is Then.ANSWER:
            kind = fault.headers.get("Content-Type", "application/json")
            self._send(Reply(fault.status, fault.body.encode(), {**fault.headers, "Content-Type": kind}))
        elif fault.then is Then.HALF and reply is not None:
            self._send(reply, half=True)
        else:
            self._hang_up()

    def _send(self, reply: Reply, *, half: bool = False) -> None:
        data, kind = reply.encoded()
        self.send_response(reply.status)
        for name, value in _without_type(reply.headers).items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        with suppress(OSError):  # the client has gone
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if half else b"" if self.command == "HEAD" else data)
            if half:
                self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _admin(self, call: Call) -> Reply:
        """`PUT faults`, a list of rules as `Fault.to_json` gives them; `GET ledger`; `POST jobs/ID/end`, with exit and reason."""
        world = self.server.world
        try:
            match call.method, call.parts[1:]:
                case "PUT", ["faults"]:
                    rules = call.json()
                    self.server.faults.set([Fault.from_json(rule) for rule in rules] if isinstance(rules, list) else [])
                    return Reply(200, {})
                case "GET", ["ledger"]:
                    return Reply(200, list(world.ledger.entries()))
                case "POST", ["jobs", run, "end"] if run in world.jobs:
                    with world.held():
                        wanted = call.object()
                        world.end(world.jobs[run], int(str(wanted.get("exit", 0))), str(wanted.get("reason", "")))
                    return Reply(200, {})
        except (Refused, KeyError, TypeError, ValueError) as error:
            return Reply(400, {"message": f"the sandbox cannot do that: {error}"})
        return Reply(404, {"message": "the sandbox has no such path"})


def _sent(fault: Fault | None, reply: Reply | None) -> int:
    """The status that the client sees, 0 for none."""
    if fault and fault.then is Then.ANSWER:
        return fault.status
    return 0 if reply is None or (fault and fault.then is Then.DROP) else reply.status


def _without_type(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-type"}
