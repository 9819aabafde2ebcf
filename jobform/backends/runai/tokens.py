"""Who asks Run:ai: a token from the environment, an application that gets tokens by itself, or nobody.

Wire facts: "Authentication" of the vendor's REST documentation (the realm's endpoint), and the control plane's OpenAPI document
(`POST /api/v1/token`).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from jobform.clients.keys import Key, read_key
from jobform.clients.rest.client import Outgoing, RestError
from jobform.model.errors import BackendError
from jobform.model.values import Json
from jobform.protocols import Clock

ID, SECRET, TOKEN = "RUNAI_CLIENT_ID", "RUNAI_CLIENT_SECRET", "RUNAI_TOKEN"  # names of variables

_EARLY = 60.0
"""Seconds before its end from which a token is renewed."""

_TRIES = 3
_MOST = 64 << 10


@dataclass(frozen=True, slots=True)
class Token:
    """text: what is sent. lasts: seconds, None where the service does not say."""

    text: str = field(repr=False)
    lasts: float | None = None


Issue = Callable[[Key, Key], Token]
"""Gets a token for the id and the secret of an application. Raises BackendError."""


class Nobody:
    """No credentials, for a cluster that asks for none. `clients.rest.client.Credentials`, as all of these are."""

    source = "`unauthenticated` of the backend"

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        del request
        return {}

    def renew(self) -> bool:
        return False


class Fixed:
    """RUNAI_TOKEN, as it is at the moment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._given = threading.local()

    @property
    def source(self) -> str:
        return TOKEN if self._environ.get(TOKEN) else f"{TOKEN}_FILE"

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        del request
        self._given.text = self._read()
        return {"Authorization": f"Bearer {self._given.text}"}

    def renew(self) -> bool:
        """A file may hold another token by now."""
        return self._read() != getattr(self._given, "text", "")

    def _read(self) -> str:
        return read_key(self._environ, [TOKEN], "Run:ai").value


class Application:
    """RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET, for which the service gives tokens. Safe to use from several threads."""

    source = f"{ID} and {SECRET}"

    def __init__(self, issue: Issue, environ: Mapping[str, str], clock: Clock) -> None:
        self._issue = issue
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._given = threading.local()
        self._token = ""
        self._until: float | None = None
        self._failed: tuple[float, BackendError] | None = None

    def headers(self, request: Outgoing) -> Mapping[str, str]:
        del request
        came = self._clock.monotonic()
        with self._lock:
            if not self._token or (self._until is not None and self._clock.monotonic() >= self._until):
                self._renew(came)
            self._given.text = self._token
        return {"Authorization": f"Bearer {self._given.text}"}

    def renew(self) -> bool:
        """A new token, unless another thread has got one since this thread asked last."""
        came = self._clock.monotonic()
        with self._lock:
            if self._token == getattr(self._given, "text", ""):
                self._renew(came)
        return True

    def _renew(self, came: float) -> None:
        """came: when the calling thread began to wait. What failed since then failed for all that waited: a token service that is
        away keeps them no longer than one, and one that refuses hears a wrong secret once.
        """
        if self._failed is not None and self._failed[0] >= came:
            error = self._failed[1]
            raise BackendError(error.summary, error.detail, retryable=error.retryable, retry_after=error.retry_after) from error
        client, secret = (read_key(self._environ, [name], "Run:ai") for name in (ID, SECRET))
        began = self._clock.monotonic()
        try:
            token = self._ask(client, secret)
        except BackendError as error:
            self._failed = (self._clock.monotonic(), error)
            raise
        self._token = token.text
        self._until = None if token.lasts is None else began + token.lasts - min(_EARLY, token.lasts / 2)

    def _ask(self, client: Key, secret: Key) -> Token:
        """Whatever fails here, the call that needed the token was not made: nothing of it is ambiguous."""
        tries = 0
        while True:
            try:
                return self._issue(client, secret)
            except RestError as error:
                tries += 1
                if not error.retryable or tries >= _TRIES:
                    summary = f"no token could be had for {client.source} and {secret.source}: {error.summary}"
                    summary, detail = (_without(secret.value, text) for text in (summary, error.detail))
                    raise BackendError(summary, detail, retryable=error.retryable, retry_after=error.retry_after) from error
                self._clock.sleep(min(2.0, 0.25 * 2**tries))


def token_of(value: Json, name: str, lasts: str) -> Token:
    """A token out of an answer. name, lasts: the keys of the token and of its seconds. Raises BackendError."""
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text or len(text) > _MOST or not text.isascii() or not text.isprintable() or " " in text:
        hint = "; some services give the other of access_token and id_token: see `token_field` of the backend"
        raise BackendError("the service's answer has no token", f"expected {name}{hint if '_' in name else ''}")
    seconds = value.get(lasts) if isinstance(value, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        return Token(text)
    return Token(text, float(seconds))


def _without(secret: str, text: str) -> str:
    """A message that may repeat the request, whose body holds the secret."""
    for form in (secret, quote_plus(secret)):
        text = text.replace(form, "***")
    return text


def is_set(environ: Mapping[str, str], name: str) -> bool:
    """Whether a credential is given, itself or as a file."""
    return bool(environ.get(name) or environ.get(f"{name}_FILE"))
