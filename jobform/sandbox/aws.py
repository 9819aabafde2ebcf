"""S3, CloudWatch Logs and STS by moto's server, for services that keep results and logs there."""

import importlib.util
import os
import select
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobform.model.errors import UsageError

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer


class Aws:
    """A server on a port of 127.0.0.1 that is there from the start and begins its work with the first connection.

    To load moto takes longer than everything else in the sandbox, and most commands never need it. What it keeps is one for the
    whole process; it is empty again when the last server that has begun stops.
    """

    def __init__(self, buckets: Sequence[str] = ()) -> None:
        """buckets: names of S3 buckets that are there from the start. Raises UsageError when the extra is not installed."""
        if any(importlib.util.find_spec(name) is None for name in ("moto", "werkzeug", "flask")):
            raise UsageError.of("extra_missing", "the sandbox needs its extra", hint="pip install 'jobform[sandbox]'")
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._buckets = buckets
        self._wake = os.pipe()
        self._lock = threading.Lock()
        self._stopped = False
        self._server: BaseWSGIServer | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def begun(self) -> bool:
        return self._server is not None

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            server = self._server
        os.write(self._wake[1], b"x")
        if server:
            server.shutdown()
        self._thread.join()
        for end in self._wake:
            os.close(end)

    def _serve(self) -> None:
        with self._socket:
            select.select([self._socket.fileno(), self._wake[0]], [], [])
            if self._stopped:
                return
            with _KEPT:
                if self._begin():
                    assert self._server is not None
                    try:
                        self._server.serve_forever(poll_interval=0.05)
                    finally:
                        self._server.server_close()

    def _begin(self) -> bool:
        """Load moto; False when nobody wants it any more."""
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from moto.s3.models import s3_backends
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002  # the inherited signature
                """Nothing: standard error is the user's."""

        s3 = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        with _KEPT.lock:
            for bucket in self._buckets:
                if bucket not in s3.buckets:  # of another sandbox in this process
                    s3.create_bucket(bucket, "us-east-1")
        app = DomainDispatcherApplication(create_backend_app)
        host, port = self._socket.getsockname()
        server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=self._socket.fileno())
        with self._lock:
            if self._stopped:
                server.server_close()
                return False
            self._server = server
        return True


class _Kept:
    """What moto keeps: a context for as long as one of the servers wants it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._count = 0

    def __enter__(self) -> None:
        with self.lock:
            self._count += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        from moto.moto_api._internal.models import moto_api_backend

        with self.lock:
            self._count -= 1
            if not self._count:
                moto_api_backend.reset()


_KEPT = _Kept()
