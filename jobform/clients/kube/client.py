"""The client of one API server: patience, credentials and pages around `Wire`."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, overload

from jobform.clients.gate import Gate
from jobform.clients.kube.discovery import Resource, discover
from jobform.clients.kube.errors import KubeError
from jobform.clients.kube.listing import Listing, T, read_pages, whole
from jobform.clients.kube.login import Login, log_in
from jobform.clients.kube.settings import KubeSettings
from jobform.clients.kube.wire import Answer, Query, Request, Stream, Wire
from jobform.clients.text import short
from jobform.model.clock import SPREAD, SystemClock
from jobform.model.values import Json
from jobform.protocols import Clock

FIELD_MANAGER = "jobform"
APPLY = "application/apply-patch+yaml"
OBJECT_CAP = 8 << 20
LIST_CAP = 64 << 20
IDLE = 300.0
"""Seconds without a byte after which a stream counts as dead."""

_TRIES = 5
"""Attempts after a 5xx, a cut connection or a time-out; a 429 is obeyed until the request's time is over."""

_TRIES_OF_A_STRANGER = 2
"""Attempts to connect to a server that has never answered."""

_EARLY = timedelta(seconds=10)
"""Credentials are renewed so long before they end."""


class KubeClient:
    """Requests to one API server. Safe to use from several threads.

    Every method raises KubeError and nothing else. A 429 with Retry-After pauses all threads. Retried, within the total time:
    GET, dry-runs, server-side apply and DELETE with a uid; anything else only where it surely had no effect (429, never
    connected). A 401 loads the credentials once more.
    """

    def __init__(self, settings: KubeSettings, environ: Mapping[str, str], clock: Clock) -> None:
        """Use `open`."""
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._gate = Gate(clock)
        self._lock = threading.Lock()
        self._renewals = 0
        self._wire = self._connect()
        self._served: dict[tuple[str, str], Resource] | None = None
        self._version: tuple[int, int] | None = None

    @classmethod
    def open(cls, settings: KubeSettings, environ: Mapping[str, str], clock: Clock | None = None) -> "KubeClient":
        """Find the cluster and load credentials, without asking the server anything. Raises KubeError."""
        return cls(settings, environ, clock or SystemClock())

    @property
    def login(self) -> Login:
        """Where and as whom."""
        return self._wire.login

    @property
    def namespace(self) -> str:
        """The namespace that settings, context or service account name."""
        return self._wire.login.namespace

    def close(self) -> None:
        """Close idle connections. The client can still be used."""
        self._wire.close()

    def request(
        self, method: str, path: str, *, query: Query | None = None, body: Json = None, content_type: str = "application/json",
        timeout: float | None = None, repeatable: bool | None = None, cap: int = OBJECT_CAP, accept: str = "application/json",
    ) -> Answer:
        """One request with its retries.

        timeout: seconds in all. repeatable: whether doing it twice is as good as once; by default what the request itself shows.
        cap: bytes of the answer at most.
        """
        changing = method != "GET" and not _is_dry(method, query, body)
        if repeatable is None:
            repeatable = not changing or content_type == APPLY or (method == "DELETE" and _has_uid(body))
        request = Request(method, path, query, _encoded(body), content_type, accept, cap, changing)
        deadline = self._clock.monotonic() + (timeout or self._settings.total)
        return self._persist(deadline, repeatable, lambda wire, left: wire.send(request, left))

    def get(self, path: str, query: Query | None = None) -> Answer:
        """GET one object."""
        return self.request("GET", path, query=query)

    def apply(self, path: str, body: Mapping[str, Json], *, dry_run: bool = False, force: bool = False) -> Answer:
        """Server-side apply by our field manager, unknown fields refused."""
        query: Query = {
            "fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": True if force else None,
            "dryRun": "All" if dry_run else None,
        }
        return self.request("PATCH", path, query=query, body=dict(body), content_type=APPLY)

    def delete(
        self, path: str, *, uid: str, propagation: str = "Foreground", resource_version: str | None = None,
        grace: int | None = None, dry_run: bool = False,
    ) -> Answer:
        """DELETE of exactly one object; never without a propagation policy, which would leave a Job's pods running."""
        preconditions: dict[str, Json] = {"uid": uid}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        body: dict[str, Json] = {
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation, "preconditions": preconditions,
        }
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if dry_run:
            body["dryRun"] = ["All"]  # in the query it would be ignored: with a body the server reads nothing else
        return self.request("DELETE", path, body=body)

    @overload
    def list(self, path: str, query: Query | None = None) -> Listing[dict[str, Json]]: ...
    @overload
    def list(self, path: str, query: Query | None, keep: Callable[[dict[str, Json]], T]) -> Listing[T]: ...
    def list(
        self, path: str, query: Query | None = None, keep: Callable[[dict[str, Json]], Any] = whole,
    ) -> Listing[Any]:
        """All objects of a collection, consistent as of the listing's resourceVersion.

        keep: what to keep of each object, called as pages arrive, so that a big list need not be held whole.
        """
        def page(asked: Query) -> dict[str, Json]:
            return self.request("GET", path, query=asked, cap=LIST_CAP).body

        return read_pages(page, query or {}, keep)

    @contextmanager
    def stream(self, path: str, query: Query | None = None, idle: float = IDLE) -> Iterator[Stream]:
        """An open GET, iterable as chunks of bytes, for logs and watches. Opening it is retried, reading is not."""
        request = Request("GET", path, query, accept="application/json, */*")
        deadline = self._clock.monotonic() + self._settings.total

        stream = self._persist(deadline, True, lambda wire, left: wire.stream(request, left, idle))
        try:
            yield stream
        finally:
            stream.release()

    def served(self, *, fresh: bool = False) -> Mapping[tuple[str, str], Resource]:
        """What the server has, by (api, kind) such as ("batch/v1", "Job"). Asked once per client unless `fresh`."""
        with self._lock:
            known = self._served
        if known is None or fresh:
            known = discover(self.request)
            with self._lock:
                self._served = known
        return known

    def version(self) -> tuple[int, int]:
        """The server's (major, minor)."""
        if self._version is None:
            body = self.get("/version").body
            digits = ["".join(c for c in str(body.get(key, "")) if c.isdecimal() and c.isascii()) for key in ("major", "minor")]
            if not all(digits):
                raise KubeError(200, "BadAnswer", f"the server's version is not readable: {short(body.get('gitVersion'), 60)}")
            self._version = (int(digits[0][:6]), int(digits[1][:6]))
        return self._version

    def _persist(self, deadline: float, repeatable: bool, attempt: Callable[[Wire, float], T]) -> T:
        """Make an attempt until it succeeds, fails for good, or the time is over."""
        tries = 0
        renewed = False
        while True:
            if left := self._gate.wait(deadline):
                raise KubeError(0, "Deadline", f"the server asked for a pause of {left:.0f} more seconds", retry_after=left)
            wire = self._current()
            try:
                return attempt(wire, deadline - self._clock.monotonic())
            except KubeError as error:
                if error.status == 401 and not renewed:
                    renewed = self._renew(wire)
                    if renewed:
                        continue
                if error.status == 401:
                    raise _not_known(error, wire.login) from error
                tries += 1
                self._rest(error, tries, wire, repeatable, deadline)

    def _rest(self, error: KubeError, tries: int, wire: Wire, repeatable: bool, deadline: float) -> None:
        """Wait before the next attempt, or raise the error when there is to be none."""
        no_effect = error.status == 429 or (error.reason == "Unreachable" and not error.sent)
        limit = _TRIES if wire.answered else _TRIES_OF_A_STRANGER
        if not error.retryable or not (repeatable or no_effect) or (error.status != 429 and tries >= limit):
            raise error
        pause = error.retry_after or min(8.0, 0.25 * 2 ** (tries - 1))
        pause *= 1 + SPREAD.random() / 4
        if self._clock.monotonic() + pause >= deadline:
            raise error
        if error.status == 429 or error.retry_after:
            self._gate.pause(pause)
        else:
            self._clock.sleep(pause)

    def _connect(self) -> Wire:
        settings = self._settings
        return Wire(log_in(settings, self._environ), settings, self._clock)

    def _current(self) -> Wire:
        """The wire, with credentials that have not just ended."""
        wire = self._wire
        if wire.login.expires is not None and wire.accepted and self._clock.now() >= wire.login.expires - _EARLY:
            self._renew(wire)
        return self._wire

    def _renew(self, refused: Wire) -> bool:
        """Load the credentials again, once for all threads that were refused. False when that cannot help."""
        with self._lock:
            if self._wire is not refused:
                return True
            if self._wire.answered and not self._wire.accepted and self._renewals:
                return False
            self._renewals += 1
            fresh = self._connect()
            fresh.answered = refused.answered
            self._wire = fresh
            return True


def _not_known(error: KubeError, login: Login) -> KubeError:
    who = f"user {short(login.user, 80)}" if login.user else "the credentials"
    return KubeError(
        401, error.reason, f"{short(login.server, 200)} does not accept {who} of {login.source}",
        changing=error.changing, hint="log in again, or renew the token or certificate",
    )


def _encoded(body: Json) -> bytes | None:
    return None if body is None else json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _is_dry(method: str, query: Query | None, body: Json) -> bool:
    if method == "DELETE" and isinstance(body, dict):
        return body.get("dryRun") == ["All"]
    return (query or {}).get("dryRun") == "All"


def _has_uid(body: Json) -> bool:
    preconditions = body.get("preconditions") if isinstance(body, dict) else None
    return isinstance(preconditions, dict) and bool(preconditions.get("uid"))
