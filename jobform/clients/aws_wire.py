"""How the requests that boto3 has made and signed are sent: by our own client, in place of boto3's.

boto3's client has no time limit for a whole call, takes an answer of any size, and does not tell a connection that broke before
the request was sent from one that broke later. Its event `before-send` lets somebody else send.
"""

import io
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jobform.clients.aws_errors import BrokenError, NoAnswerError, NotSentError
from jobform.clients.hosts import proxy_for
from jobform.clients.rest.answer import TooLargeError, decoded
from jobform.clients.rest.client import is_distrust
from jobform.clients.text import short

if TYPE_CHECKING:
    import httpx
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.compat import HTTPHeaders

    from jobform.clients.rest.transport import Wire

_CONNECT, _READ = 5.0, 30.0
"""Seconds: of a connection, between two pieces of an answer."""

_MOST = 32 << 20
"""Bytes of an answer. The longest that is asked for, a page of a log, has one MiB."""

_UNSENT = frozenset({"expect", "transfer-encoding"})
"""Headers that are never signed: nobody waits to be told to go on, and a body is sent as a whole."""


class Sender:
    """Sends on behalf of one session of boto3. Safe to use from several threads.

    bundle: a file or directory of certificate authorities and what names it, None for those of `environ` or of the client.
    """

    def __init__(self, environ: Mapping[str, str], bundle: tuple[str, str] | None = None) -> None:
        self._environ = environ
        self._bundle = bundle
        self._call = _Call()
        self._wires: dict[str, Wire] = {}
        self._lock = threading.Lock()

    @contextmanager
    def within(self, seconds: float, *, changing: bool) -> Iterator[None]:
        """All that this thread sends in this context must be over so many seconds from now."""
        self._call.until, self._call.changing = time.monotonic() + seconds, changing
        yield

    def send(self, request: "AWSPreparedRequest", **_: object) -> "AWSResponse":
        """For the event `before-send`. Raises NotSentError, BrokenError, NoAnswerError and BackendError."""
        import httpx
        from botocore.awsrequest import AWSResponse

        left = self._call.until - time.monotonic()
        if left <= 0:
            raise NotSentError("the time for it is over")
        url, sent = str(request.url), _headers(request.headers)
        wire = self._wire(url)
        try:
            with wire.stream(
                str(request.method), url, sent, _body(request.body), connect=_CONNECT, read=_READ, total=left,
                changing=self._call.changing,
            ) as response:
                data = _read(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NotSentError(f"{urlsplit(url).netloc}: {_why(error)}", trusted=not is_distrust(error)) from error
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise NotSentError("the request cannot be sent") from error  # the error may show a header
        except (httpx.HTTPError, OSError) as error:
            raise BrokenError(f"{urlsplit(url).netloc}: {_why(error)}") from error
        headers = dict(response.headers)
        return AWSResponse(url, response.status_code, headers, _Whole(data))  # type: ignore[arg-type]  # any mapping will do

    def _wire(self, url: str) -> "Wire":
        """Raises BackendError for a proxy or authorities that cannot be used."""
        from jobform.clients.rest.transport import Wire

        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if origin not in self._wires:
                wire = self._wires[origin] = Wire(origin, proxy_for(origin, self._environ), self._environ, self._bundle)
                weakref.finalize(self, wire.close)  # its idle connections outlive nobody who could use them
            return self._wires[origin]


class _Call(threading.local):
    """What a thread sends now."""

    until = float("inf")
    changing = True


class _Whole(io.BytesIO):
    """An answer that is there already, as botocore reads one."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _read(response: "httpx.Response") -> bytes:
    try:
        return b"".join(decoded(response.iter_raw(), "", _MOST))
    except TooLargeError as error:
        if response.status_code >= 300:
            return b""  # what it means stands in the status
        raise NoAnswerError(f"status {response.status_code}, {error}") from error


def _headers(given: "HTTPHeaders") -> dict[str, str]:
    """Raises NotSentError for what cannot stand in a header, without showing it: it may be a credential."""
    headers = {"Accept-Encoding": "identity"}
    for name, value in given.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if not text.isascii() or not text.isprintable() or text != text.strip():
            raise NotSentError(f"the header {short(name, 60)} would hold characters that none can have; a line's end, perhaps")
        if name.lower() not in _UNSENT:
            headers[name] = text
    return headers


def _body(given: object) -> bytes:
    if given is None:
        return b""
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, bytes | bytearray):
        return bytes(given)
    read = getattr(given, "read", None)
    assert read is not None, f"botocore sends a {type(given).__name__}"
    return bytes(read())


def _why(error: Exception) -> str:
    return short(str(error), 200) or type(error).__name__
